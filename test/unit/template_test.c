/*-------------------------------------------------------------------------
 *
 * template_test.c
 *		Unit tests of template.c, and of answers in another form than Retro*'s
 *		(reply_text.c, reply.c).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "model/reply_text.h"
#include "model/template.h"
#include "reply_parse.h"

/* The pieces, with what is inserted as [name] */
static const char *
pieces(const char *template)
{
	static char text[512];
	RstarText	rest = rstar_text(template);
	RstarPiece	piece;
	int			n = 0;

	text[0] = '\0';
	while (rstar_template_next(&rest, &piece))
	{
		n += snprintf(text + n, sizeof(text) - n, "%.*s", (int) piece.literal.len, piece.literal.data);
		if (piece.place == RSTAR_PLACE_WRONG)
		{
			n += snprintf(text + n, sizeof(text) - n, "[wrong]");
			break;
		}
		if (piece.place != RSTAR_PLACE_NONE)
			n += snprintf(text + n, sizeof(text) - n, "[%s]", rstar_template_place(piece.place));
	}
	return text;
}

static void
test_pieces(void)
{
	static const char *const cases[][2] = {
		{"", ""}, {"a", "a"}, {"{query}", "[query]"}, {"a{query}b{document}c", "a[query]b[document]c"},
		{"{query}{document}{query_type}{doc_type}{relevance_definition}{score}",
		"[query][document][query_type][doc_type][relevance_definition][score]"},
		{"{{", "{"}, {"}}", "}"}, {"{{query}}", "{query}"}, {"{{{query}}}", "{[query]}"},
		{"{{}}{{{{", "{}{{"}, {"a}}b", "a}b"},
		{"{", "[wrong]"}, {"}", "[wrong]"}, {"a{", "a[wrong]"}, {"a{b}", "a[wrong]"}, {"{query", "[wrong]"},
		{"{ query}", "[wrong]"}, {"{Query}", "[wrong]"}, {"{query }", "[wrong]"}, {"{queryx}", "[wrong]"},
		{"{quer}", "[wrong]"}, {"{}", "[wrong]"}, {"{{{", "{[wrong]"}, {"{query}}", "[query][wrong]"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CASE(cases[i][0]);
		CHECK_STR(pieces(cases[i][0]), cases[i][1]);
	}
}

static void
test_check(void)
{
	static const struct
	{
		const char *template;
		RstarTemplateFault fault;
		const char *detail;		/* the place, or what is at the brace */
	}			cases[] = {
		{"{query}{document}", RSTAR_TEMPLATE_GOOD, NULL},
		{"{document} and {query}", RSTAR_TEMPLATE_GOOD, NULL},
		{"{query}{document}{doc_type}{doc_type}", RSTAR_TEMPLATE_GOOD, NULL},
		{"", RSTAR_TEMPLATE_LACKS, "query"}, {"{document}", RSTAR_TEMPLATE_LACKS, "query"},
		{"{query}{{document}}", RSTAR_TEMPLATE_LACKS, "document"},
		{"{query}{query}{document}", RSTAR_TEMPLATE_TWICE, "query"},
		{"{query}{document}{document}", RSTAR_TEMPLATE_TWICE, "document"},
		{"{query}{doc}", RSTAR_TEMPLATE_BRACE, "{doc}"},
		{"{query}{document} {\"score\": 1}", RSTAR_TEMPLATE_BRACE, "{\"score\": 1}"},
		{"{query}{document}}", RSTAR_TEMPLATE_BRACE, "}"},
		{"{query}{document}{score}", RSTAR_TEMPLATE_BRACE, "{score}"},
		{"a {score} b", RSTAR_TEMPLATE_BRACE, "{score} b"},
	};
	RstarTemplateReport report;
	RstarText	text;
	char	   *large = malloc(RSTAR_TEMPLATE_LEN + 1);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CASE(cases[i].template);
		CHECK_INT((int) rstar_template_check(rstar_text(cases[i].template), &report), (int) cases[i].fault);
		if (cases[i].fault == RSTAR_TEMPLATE_BRACE)
			CHECK_STR(report.at.data, cases[i].detail);
		else if (cases[i].detail != NULL)
			CHECK_STR(rstar_template_place(report.place), cases[i].detail);
	}
	CASE("as long as it may be, and longer");
	memset(large, ' ', RSTAR_TEMPLATE_LEN + 1);
	memcpy(large, "{query}{document}", 17);
	text.data = large;
	text.len = RSTAR_TEMPLATE_LEN;
	CHECK_INT((int) rstar_template_check(text, &report), RSTAR_TEMPLATE_GOOD);
	text.len++;
	CHECK_INT((int) rstar_template_check(text, &report), RSTAR_TEMPLATE_TOO_LONG);
	free(large);
}

static void
test_form(void)
{
	static const struct
	{
		const char *answer;
		const char *scale;
		RstarFormFault fault;
	}			cases[] = {
		{"<answer>{score}</answer>", "0..10", RSTAR_FORM_GOOD}, {"s{score}", "0..1", RSTAR_FORM_GOOD},
		{"s{score}", "1..5", RSTAR_FORM_GOOD}, {"s{score}", "0.5..9999.999", RSTAR_FORM_GOOD},
		{"s{score}", "", RSTAR_FORM_SCALE}, {"s{score}", "10", RSTAR_FORM_SCALE},
		{"s{score}", "0-10", RSTAR_FORM_SCALE}, {"s{score}", "0..", RSTAR_FORM_SCALE},
		{"s{score}", "..10", RSTAR_FORM_SCALE}, {"s{score}", "0...10", RSTAR_FORM_SCALE},
		{"s{score}", "0.10", RSTAR_FORM_SCALE}, {"s{score}", " 0..10", RSTAR_FORM_SCALE},
		{"s{score}", "0..10 ", RSTAR_FORM_SCALE}, {"s{score}", "-1..1", RSTAR_FORM_SCALE},
		{"s{score}", "0..10000", RSTAR_FORM_SCALE}, {"s{score}", "00000..1", RSTAR_FORM_SCALE},
		{"s{score}", "0..1.0000", RSTAR_FORM_SCALE}, {"s{score}", "0..1.", RSTAR_FORM_SCALE},
		{"s{score}", "0..1e1", RSTAR_FORM_SCALE}, {"s{score}", "0..inf", RSTAR_FORM_SCALE},
		{"s{score}", "5..5", RSTAR_FORM_EMPTY}, {"s{score}", "10..0", RSTAR_FORM_EMPTY},
		{"s{score}", "1.50..1.5", RSTAR_FORM_EMPTY},
		{"", "0..10", RSTAR_FORM_PLACE}, {"score", "0..10", RSTAR_FORM_PLACE},
		{"s{score}{score}", "0..10", RSTAR_FORM_PLACE}, {"s{query}", "0..10", RSTAR_FORM_PLACE},
		{"s{score}{", "0..10", RSTAR_FORM_PLACE}, {"{\"s\": {score}}", "0..10", RSTAR_FORM_PLACE},
		{"{{\"s\": {score}}}", "0..10", RSTAR_FORM_GOOD},
		{"{score}", "0..10", RSTAR_FORM_BEFORE}, {" \n{score}</a>", "0..10", RSTAR_FORM_BEFORE},
		/* 64 bytes, and one more */
		{"0123456789012345678901234567890123456789{score}012345678901234567890123", "0..10", RSTAR_FORM_GOOD},
		{"0123456789012345678901234567890123456789{score}0123456789012345678901234", "0..10", RSTAR_FORM_TOO_LONG},
	};
	RstarForm	form;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[128];

		snprintf(name, sizeof(name), "answer %.80s, scale %s", cases[i].answer, cases[i].scale);
		CASE(name);
		CHECK_INT((int) rstar_template_form(rstar_text(cases[i].answer), rstar_text(cases[i].scale), &form),
				  (int) cases[i].fault);
	}
	CASE("white space at the number is left out");
	rstar_template_form(rstar_text("a b \n{score} \tc d \n"), rstar_text("0..10"), &form);
	CHECK_INT(form.before_len, 3);
	CHECK_INT(form.behind_len, 3);
	CHECK(memcmp(form.text, "a bc d", 6) == 0);
	CASE("Retro*'s own, written down");
	rstar_template_form(rstar_text("<score>{score}</score>"), rstar_text("0..100"), &form);
	CHECK(memcmp(&form, &rstar_form_retro, sizeof(form)) == 0);
}

/* Of a copy of the exact size */
static int
score_of(const char *answer, const char *scale, const char *text, bool cut)
{
	size_t		len = strlen(text);
	char	   *copy = malloc(len > 0 ? len : 1);
	RstarText	exact = {copy, len};
	RstarForm	form;
	bool		thinking;
	int			score;

	memcpy(copy, text, len);
	CHECK_INT((int) rstar_template_form(rstar_text(answer), rstar_text(scale), &form), RSTAR_FORM_GOOD);
	score = rstar_text_score(exact, &form, cut, &thinking);
	free(copy);
	return score;
}

#define ERANK "<answer>{score}</answer>", "0..10"
#define DIVER "Relevance score: {score}", "0.0..10.0"

static void
test_score(void)
{
	static const struct
	{
		const char *answer;
		const char *scale;
		const char *text;
		int			score;
	}			cases[] = {
		{ERANK, "<think>Hm. <answer>3</answer></think><answer>8</answer>", 80},
		{ERANK, "<answer> 10\n</answer>", 100}, {ERANK, "<answer>0</answer>", 0}, {ERANK, "<answer>08</answer>", 80},
		{ERANK, "<answer>11</answer>", -1}, {ERANK, "<answer>8.5</answer>", -1}, {ERANK, "<answer>-1</answer>", -1},
		{ERANK, "<answer>008</answer>", -1}, {ERANK, "<score>8</score>", -1}, {ERANK, "<Answer>8</Answer>", -1},
		{ERANK, "<answer>8", -1}, {ERANK, "<answer></answer>", -1}, {ERANK, "<answer>ten</answer>", -1},
		{ERANK, "<answer>7</answer> or <answer>12</answer>", 70}, {ERANK, "<answer>7</answer> no <answer>2</answer>", 20},
		{ERANK, "<answer><answer>7</answer>", 70}, {ERANK, "<answer>8</answer></think>", -1},
		{DIVER, "Relevance score: 8", 80}, {DIVER, "Relevance score: 8.", 80}, {DIVER, "relevance Score:  8.5.", 85},
		{DIVER, "Relevance score: 10", 100}, {DIVER, "Relevance score: 10.0", 100}, {DIVER, "Relevance score: 0.04", 0},
		{DIVER, "Relevance score: 0.05", 1}, {DIVER, "Relevance score: 100", -1}, {DIVER, "Relevance score: 10.01", -1},
		{DIVER, "Relevance score: 10.0000000", 100}, {DIVER, "Relevance score: 10.0000000000000001", -1},
		{DIVER, "Relevance score: 3.33333333333333333333333", 33}, {DIVER, "Relevance score: X.", -1},
		{DIVER, "Relevance score: 0-10", -1}, {DIVER, "Relevance score: 8/10", -1}, {DIVER, "Relevance score: 8%", -1},
		{DIVER, "Relevance score: 8th", -1}, {DIVER, "Relevance score: 8,5", -1}, {DIVER, "Relevance score: 8, for", 80},
		{DIVER, "Relevance score: 8**", 80}, {DIVER, "Relevance score: .5", -1}, {DIVER, "Relevance score:8\nx", 80},
		{DIVER, "Relevance score: 8.5.1", -1}, {DIVER, "Relevance score", -1}, {DIVER, "", -1},
		{DIVER, "The answer should be 'Relevance score: X.' Relevance score: 4.", 40},
		{DIVER, "Relevance score: 9.</think>Relevance score: 2.", 20}, {DIVER, "Relevance score: 9.</think>", -1},
		{"\"score\": {score}", "0..1", "{\"score\": 0.85}", 85}, {"\"score\": {score}", "0..1", "{\"score\": 1}", 100},
		{"\"score\": {score}", "0..1", "{\"score\": 0.5, \"why\": \"\"}", 50},
		{"\"score\": {score}", "0..1", "{\"score\": 1.5}", -1}, {"\"score\": {score}", "0..1", "{\"score\": \"1\"}", -1},
		{"{{{score}}}", "0..3", "{2}", 67}, {"{{{score}}}", "0..3", "{ 1 }", 33}, {"{{{score}}}", "0..3", "{4}", -1},
		{"s{score}", "1..5", "s1", 0}, {"s{score}", "1..5", "s2", 25}, {"s{score}", "1..5", "s5", 100}, {"s{score}", "1..5", "s0", -1},
		{"s{score}", "0.5..2.5", "s0.49", -1}, {"s{score}", "0.5..2.5", "s1", 25}, {"s{score}", "0..200", "s1", 1},
		{"</think>{score}", "0..10", "<think>a</think> 6", 60}, {"</think>{score}", "0..10", "6", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[200];

		snprintf(name, sizeof(name), "%s of %s in %s", cases[i].answer, cases[i].scale, cases[i].text);
		CASE(name);
		CHECK_INT(score_of(cases[i].answer, cases[i].scale, cases[i].text, false), cases[i].score);
	}
	CASE("a number at the end of what was cut off may be the beginning of one");
	CHECK_INT(score_of(DIVER, "Relevance score: 1", true), -1);
	CHECK_INT(score_of(DIVER, "Relevance score: 8.", true), -1);
	CHECK_INT(score_of(DIVER, "Relevance score: 8. ", true), 80);
	CHECK_INT(score_of(DIVER, "Relevance score: 8\n", true), 80);
	CHECK_INT(score_of(ERANK, "<answer>8</answer>", true), 80);
}

/* All answers of a scale, as numbers, in order */
static void
test_linear(void)
{
	CASE("linear, and so in order");
	for (int high = 1; high <= 250; high++)
	{
		char		scale[16];
		int			last = -1;

		snprintf(scale, sizeof(scale), "0..%d", high);
		for (int n = 0; n <= high; n++)
		{
			char		text[16];
			int			score;

			snprintf(text, sizeof(text), "s%d", n);
			score = score_of("s{score}", scale, text, false);
			CHECK(score >= last && abs(2 * score * high - 200 * n) <= high);
			last = score;
		}
		CHECK_INT(last, 100);
	}
}

static void
parse_as(const RstarReading *reading, const char *body)
{
	rstar_reply_free(&reply);
	rstar_reply_parse(&reply, 200, body, strlen(body), reading);
}

static void
test_reply(void)
{
	RstarForm	form;
	RstarReading reading = {&form, true};

	rstar_template_form(rstar_text("Relevance score: {score}"), rstar_text("0..10"), &form);
	CASE("whole replies");
	parse_as(&reading, CONTENT("Relevance score: 7"));
	CHECK_INT(reply.status, SCORE);
	CHECK_INT(reply.score, 70);
	CHECK_STR(reply.text, "Relevance score: 7");
	parse_as(&reading, CONTENT("<score>7</score>"));
	CHECK_INT(reply.status, NO_SCORE);
	CHECK_INT(reply.score, -1);
	CASE("cut off in the number");
	parse_as(&reading, CHOICE("\"content\":\"Relevance score: 1\"", "\"length\""));
	CHECK_INT(reply.status, TRUNCATED);
	parse_as(&reading, CHOICE("\"content\":\"Relevance score: 1\\nSo\"", "\"length\""));
	CHECK_INT(reply.score, 10);
	CASE("content before reasoning, both");
	parse_as(&reading, CHOICE("\"content\":\"relevance score: 3\",\"reasoning_content\":\"Relevance score: 9\"", "\"stop\""));
	CHECK_INT(reply.score, 30);
	parse_as(&reading, CHOICE("\"content\":null,\"reasoning_content\":\"Relevance score: 9\"", "\"stop\""));
	CHECK_INT(reply.score, 90);
	CASE("an odd one, by json-c");
	parse_as(&reading, CHOICE("\"content\":[{\"type\":\"text\",\"text\":\"Relevance score: 4\"}]", "\"stop\""));
	CHECK_INT(reply.score, 40);
	rstar_reply_free(&reply);
}

int
main(void)
{
	test_pieces();
	test_check();
	test_form();
	test_score();
	test_linear();
	test_reply();
	return check_end("template_test");
}
