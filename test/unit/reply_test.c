/*-------------------------------------------------------------------------
 *
 * reply_test.c
 *		Unit tests of reply.c, and of its parts: reply_scan.c, reply_text.c,
 *		reply_models.c.
 *
 * With the argument "bench": how long a reply takes instead.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "model/reply_models.h"
#include "model/reply_scan.h"
#include "reply_parse.h"

/* Of a copy of the exact size, too */
static int
score(const char *text)
{
	size_t		len = strlen(text);
	char	   *copy = malloc(len > 0 ? len : 1);
	int			found;

	memcpy(copy, text, len);
	found = rstar_reply_score(copy, len);
	free(copy);
	return found;
}

static void
test_score(void)
{
	static const struct
	{
		const char *text;
		int			score;
	}			cases[] = {
		{"<score>7</score>", 7},
		{"<score> 100 </score>", 100},
		{"<score>\n0\n</score>", 0},
		{"<score>\t\r\n 42\f\v</score>", 42},
		{"<score>007</score>", 7},
		{"<score>0100</score>", -1},
		{"<score>101</score>", -1},
		{"<score>999</score>", -1},
		{"<score>55.5</score>", -1},
		{"<score>-5</score>", -1},
		{"<score>+5</score>", -1},
		{"<score>5 5</score>", -1},
		{"<score></score>", -1},
		{"<score> </score>", -1},
		{"<score>50/100</score>", -1},
		{"<score>5", -1},
		{"<score>5</score", -1},
		{"<score>5<score>", -1},
		{"<Score>5</Score>", -1},
		{"<score >5</score>", -1},
		{"<score 5</score>", -1},
		{"<score>5</score ", -1},
		{"<score", -1},
		{"<score>5 ", -1},
		{"<score>", -1},
		{"<score>12", -1},
		{"", -1},
		{"no tag", -1},
		{"<<score>5</score>", 5},
		{"<score><score>5</score></score>", 5},
		/* the last that is well-formed wins */
		{"<score>10</score> then <score>20</score>", 20},
		{"<score>10</score> then <score>200</score>", 10},
		{"<score>10</score> then <score>x</score>", 10},
		{"I will print <score>N</score>. <score>73</score> done", 73},
		/* only after the last </think> */
		{"<think>maybe <score>10</score></think> <score>20</score>", 20},
		{"<think>maybe <score>10</score></think> none", -1},
		{"<score>10</score></think>", -1},
		{"a</think><score>1</score></think><score>2</score>", 2},
		{"</think <score>3</score>", 3},
		{"<score>3</score></think ", 3},
		{"<score>3</score></think", 3},
		{"<score>3</score><think", 3},
		/* a thought that is never closed, but complete otherwise */
		{"<think>so it is <score>30</score>", 30},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[128];

		snprintf(name, sizeof(name), "score of %.100s", cases[i].text);
		CASE(name);
		CHECK_INT(score(cases[i].text), cases[i].score);
	}
	CASE("score is not looked for beyond the length");
	for (size_t len = 0; len < 16; len++)
		CHECK_INT(rstar_reply_score("<score>5</score>", len), -1);
	CHECK_INT(rstar_reply_score("<score>3</score></think>", 23), 3);
	CASE("NUL is no white space");
	CHECK_INT(rstar_reply_score("<score>\0005</score>", 17), -1);
}

static void
test_completion(void)
{
	static const struct
	{
		const char *body;
		RstarReplyStatus status;
		int			score;
		const char *text;
	}			cases[] = {
		{CONTENT("fine. <score>\\n73\\n</score>"), SCORE, 73, "fine. <score>\n73\n</score>"},
		{CONTENT("no idea"), NO_SCORE, -1, "no idea"},
		{CONTENT("none of it: <score>0</score>"), SCORE, 0, "none of it: <score>0</score>"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"<score>0</score>\",\"reasoning\":\"<score>2</score>\"",
		"\"stop\""), SCORE, 0, "<score>0</score>"},
		{CHOICE("\"content\":null,\"reasoning\":\"<score>0</score>\"", "\"stop\""), SCORE, 0, "<score>0</score>"},
		{CONTENT(""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":null", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"refusal\":null", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":5", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":\"x <score>5</score>\"", "null"), SCORE, 5, "x <score>5</score>"},
		{CHOICE("\"content\":\"x <score>5</score>\"", "{\"type\":\"abort\"}"), SCORE, 5, "x <score>5</score>"},
		/* cut */
		{CHOICE("\"content\":\"because\"", "\"length\""), TRUNCATED, -1, "because"},
		{CHOICE("\"content\":\"<score>9</score>\"", "\"length\""), SCORE, 9, "<score>9</score>"},
		{CHOICE("\"content\":null", "\"length\""), TRUNCATED, -1, NULL},
		{CHOICE("\"content\":\"<think>say <score>9</score> or\"", "\"length\""), TRUNCATED, -1,
		"<think>say <score>9</score> or"},
		{CHOICE("\"content\":\"<think>a</think><score>9</score> or\"", "\"length\""), SCORE, 9,
		"<think>a</think><score>9</score> or"},
		{CHOICE("\"content\":\"<score>9</score> <thinking\"", "\"length\""), SCORE, 9, "<score>9</score> <thinking"},
		{CHOICE("\"content\":\"<score>9</score><think>\"", "\"length\""), TRUNCATED, -1, "<score>9</score><think>"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"say <score>9</score> or\"", "\"length\""),
		TRUNCATED, -1, "say <score>9</score> or"},
		/* parts that are no answer */
		{CHOICE("\"content\":[{\"type\":\"reasoning\",\"text\":\"perhaps <score>90</score>\"},{\"type\":\"text\",\"text\":\"I am not sure.\"}]",
		"\"stop\""), NO_SCORE, -1, "I am not sure."},
		{CHOICE("\"content\":[{\"type\":\"thinking\",\"thinking\":[{\"type\":\"text\",\"text\":\"<score>90</score>\"}]},{\"type\":\"text\",\"text\":\"<score>7</score>\"}]",
		"\"stop\""), SCORE, 7, "<score>7</score>"},
		{CHOICE("\"content\":[{\"type\":\"thinking\",\"text\":\"<score>90</score>\"}]", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":[{\"type\":\"refusal\",\"text\":\"<score>90</score>\"}]", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":[{\"type\":5,\"text\":\"<score>90</score>\"}]", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":[{\"type\":\"output_text\",\"text\":\"<score>4\"},{\"type\":null,\"text\":\"2</sc\"},{\"text\":\"ore>\"}]", "\"stop\""),
		SCORE, 42, "<score>42</score>"},
		{CHOICE("\"content\":null,\"reasoning_content\":[{\"type\":\"reasoning\",\"text\":\"<score>9</score>\"}]", "\"stop\""),
		SCORE, 9, "<score>9</score>"},
		/* aborted, even with a score */
		{CHOICE("\"content\":\"<score>9</score>\"", "\"abort\""), ABORTED, -1, "<score>9</score>"},
		{CHOICE("\"content\":\"\"", "\"abort\""), ABORTED, -1, NULL},
		/* the reasoning, split off by the server */
		{CHOICE("\"content\":\"<score>7</score>\",\"reasoning_content\":\"hm\\n\"", "\"stop\""),
		SCORE, 7, "<think>\nhm\n\n</think>\n\n<score>7</score>"},
		{CHOICE("\"content\":\"not sure\",\"reasoning_content\":\"<score>7</score>\"", "\"stop\""),
		NO_SCORE, -1, "<think>\n<score>7</score>\n</think>\n\nnot sure"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"all <score>7</score>\"", "\"stop\""),
		SCORE, 7, "all <score>7</score>"},
		{CHOICE("\"content\":\"\",\"reasoning\":\"all <score>8</score>\"", "\"stop\""),
		SCORE, 8, "all <score>8</score>"},
		{CHOICE("\"content\":\" \\n\",\"reasoning\":\"all <score>8</score>\"", "\"stop\""),
		SCORE, 8, "all <score>8</score>"},
		{CHOICE("\"reasoning\":\"all <score>8</score>\"", "\"stop\""), SCORE, 8, "all <score>8</score>"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"<score>1</score>\",\"reasoning\":\"<score>2</score>\"",
		"\"stop\""), SCORE, 1, "<score>1</score>"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"none\",\"reasoning\":\"<score>2</score>\"",
		"\"stop\""), SCORE, 2, "<score>2</score>"},
		{CHOICE("\"content\":null,\"reasoning_content\":\"none\",\"reasoning\":null", "\"stop\""),
		NO_SCORE, -1, "none"},
		/* parts */
		{CHOICE("\"content\":[{\"type\":\"text\",\"text\":\"<score>4\"},{\"type\":\"text\",\"text\":\"2</score>\"}]",
		"\"stop\""), SCORE, 42, "<score>42</score>"},
		{CHOICE("\"content\":[]", "\"stop\""), NO_SCORE, -1, NULL},
		{CHOICE("\"content\":[null,5,\"x\",{},{\"text\":null},{\"text\":\"ok\"}]", "\"stop\""), NO_SCORE, -1, "ok"},
		/* what JSON may do to a text */
		{CONTENT("a\\u0000b\\u0001c"), NO_SCORE, -1, "ab\001c"},
		{CONTENT("lone \\ud800 and \\udc00 pair \\ud83d\\ude00"), NO_SCORE, -1,
		"lone \357\277\275 and \357\277\275 pair \360\237\230\200"},
		{CONTENT("bad \xff\xc3( \xed\xa0\x80 \xc0\x80 \xf4\x90\x80\x80 \xe2\x82"), NO_SCORE, -1,
		"bad ?\?( ??? ?? ???? ??"},
		{CONTENT("good \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), NO_SCORE, -1,
		"good \xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{CONTENT("first and last \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"), NO_SCORE, -1,
		"first and last \xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf \xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"},
		{CONTENT("beyond \xc1\xbf \xe0\x9f\xbf \xed\xa0\x80 \xf0\x8f\xbf\xbf \xf4\x90\x80\x80 \xf5\x80\x80\x80"), NO_SCORE, -1,
		"beyond ?\? ??? ??? ???? ???? ????"},
		{CONTENT("a\tb\nc\001 <score>5</score>"), SCORE, 5, "a\tb\nc\001 <score>5</score>"},
		{"\xef\xbb\xbf" CONTENT("<score>5</score>") "\r\n ", SCORE, 5, "<score>5</score>"},
		/* the last of two keys counts */
		{CHOICE("\"content\":\"<score>5</score>\",\"content\":\"<score>6</score>\"", "\"stop\""),
		SCORE, 6, "<score>6</score>"},
		/* only the first choice */
		{"{\"choices\":[{\"message\":{\"content\":\"<score>1</score>\"}},"
			"{\"message\":{\"content\":\"<score>2</score>\"}}]}", SCORE, 1, "<score>1</score>"},
		/* no completion */
		{"", MALFORMED, -1, NULL},
		{" ", MALFORMED, -1, NULL},
		{"null", MALFORMED, -1, NULL},
		{"true", MALFORMED, -1, NULL},
		{"5", MALFORMED, -1, NULL},
		{"\"x\"", MALFORMED, -1, NULL},
		{"[]", MALFORMED, -1, NULL},
		{"{}", MALFORMED, -1, NULL},
		{"{\"choices\":[]}", MALFORMED, -1, NULL},
		{"{\"choices\":null}", MALFORMED, -1, NULL},
		{"{\"choices\":{}}", MALFORMED, -1, NULL},
		{"{\"choices\":[null]}", MALFORMED, -1, NULL},
		{"{\"choices\":[{}]}", MALFORMED, -1, NULL},
		{"{\"choices\":[{\"message\":null}]}", MALFORMED, -1, NULL},
		{"{\"choices\":[{\"message\":\"<score>5</score>\"}]}", MALFORMED, -1, NULL},
		{"<html>hello</html>", MALFORMED, -1, NULL},
		{CONTENT("<score>5</score>") "x", MALFORMED, -1, NULL},
		{CONTENT("<score>5</score>") CONTENT("<score>5</score>"), MALFORMED, -1, NULL},
		{"{\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"", MALFORMED, -1, NULL},
		{"data: {\"choices\":[{\"delta\":{\"content\":\"<score>5</score>\"}}]}\n\ndata: [DONE]\n\n", MALFORMED, -1, NULL},
		{"data:", MALFORMED, -1, NULL},
		{"data", MALFORMED, -1, NULL},
		{"{\"status\":\"ok\"}", MALFORMED, -1, NULL},
		{"{\"error\":null,\"choices\":[]}", MALFORMED, -1, NULL},
		{"{\"error\":null,\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"}}]}", SCORE, 5, "<score>5</score>"},
		{"{\"error\":\"\",\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"}}]}", SCORE, 5, "<score>5</score>"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[128];

		snprintf(name, sizeof(name), "completion %.110s", cases[i].body);
		CASE(name);
		parse(200, cases[i].body);
		CHECK_INT(reply.status, cases[i].status);
		CHECK_INT(reply.score, cases[i].score);
		CHECK_STR(reply.text, cases[i].text);
		if (reply.text != NULL)
		{
			CHECK_INT(reply.text_len, strlen(reply.text));
			if (reply.status == SCORE)
				CHECK_INT(score(reply.text), reply.score);
		}
	}
}

/*
 * What is read in one pass, and what is left to json-c: all that it might
 * read in another way.
 */
static void
test_scan(void)
{
#define USUAL(more) "{\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"}}]" more "}"
#define VALUE(value) USUAL(",\"x\":" value)
	static const struct
	{
		const char *body;
		bool		usual;
	}			cases[] = {
		{USUAL(""), true},
		{" \t\r\n" USUAL("") " \t\r\n", true},
		{"{ \"choices\" : [ { \"message\" : { \"content\" : \"x\" } } , { } ] , \"error\" : null }", true},
		{USUAL(",\"object\":\"chat.completion\",\"error\":null,\"usage\":null"), true},
		{USUAL(",\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":999999999,\"total\":1}"), true},
		{USUAL(",\"usage\":{\"prompt_tokens\":null}"), true},
		{USUAL(",\"usage\":{\"prompt_tokens\":9,\"prompt_tokens_details\":{\"cached_tokens\":4,\"x\":[]}}"), true},
		{USUAL(",\"usage\":{\"prompt_tokens\":9,\"prompt_tokens_details\":null,\"prompt_cache_hit_tokens\":4}"), true},
		{USUAL(",\"timings\":{\"cache_n\":4,\"prompt_ms\":1.5},\"usage\":{\"prompt_tokens\":9}"), true},
		{USUAL(",\"usage\":{\"prompt_tokens_details\":{\"cached_tokens\":-4}}"), false},
		{CHOICE("\"content\":null,\"reasoning_content\":\"a\",\"reasoning\":\"b\"", "\"stop\""), true},
		{CHOICE("\"content\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\",\"reasoning\":\"\\n\"", "null"), true},
		{VALUE("\"a b\""), true}, {VALUE("[ { \"a\" : 1 } , [ ] , 2 ]"), true}, {VALUE("{ \"a\" : { } }"), true},
		{VALUE("[]"), true}, {VALUE("{}"), true}, {VALUE("[1,{\"a\":[true,false,null]},\"b\"]"), true},
		{VALUE("0"), true}, {VALUE("-0"), true}, {VALUE("10"), true}, {VALUE("-1.05e-07"), true}, {VALUE("1E+5"), true},
		{VALUE("[[[[[[[[[[[0]]]]]]]]]]]"), true},
		/* too deep, too long */
		{VALUE("[[[[[[[[[[[[0]]]]]]]]]]]]"), false},
		{VALUE("1e100"), false}, {VALUE("123456789012345678901234"), true}, {VALUE("1234567890123456789012345"), false},
		/* no JSON, or not plain */
		{"", false}, {" ", false}, {"[]", false}, {"\"choices\"", false}, {"{", false}, {"{\"choices\"", false},
		{USUAL("") "x", false}, {USUAL(","), false}, {USUAL(",\"x\""), false}, {USUAL(",x:1"), false}, {USUAL(",\"\\n\":1"), false},
		{VALUE(""), false}, {VALUE("x"), false}, {VALUE("tru"), false}, {VALUE("nulls"), false}, {VALUE("NaN"), false},
		{VALUE("01"), false}, {VALUE("-"), false}, {VALUE("+1"), false}, {VALUE("1."), false}, {VALUE(".5"), false}, {VALUE("1e"), false},
		{VALUE("1e+"), false}, {VALUE("0x1"), false}, {VALUE("[1,]"), false}, {VALUE("[1 2]"), false}, {VALUE("{\"a\"}"), false},
		{VALUE("{\"a\":}"), false}, {VALUE("{a:1}"), false}, {VALUE("[}"), false}, {VALUE("'a'"), false}, {VALUE("\"a"), false},
		{VALUE("\"\\u0041\""), false}, {VALUE("\"\\x\""), false}, {VALUE("\"a\nb\""), false}, {VALUE("\"\\"), false},
		/* twice */
		{USUAL(",\"choices\":[]"), false}, {USUAL(",\"error\":null,\"error\":null"), false},
		{CHOICE("\"content\":\"a\",\"content\":\"b\"", "null"), false}, {USUAL(",\"usage\":{\"prompt_tokens\":1,\"prompt_tokens\":1}"), false},
		/* of another type, or not there */
		{"{}", false}, {"{\"choices\":[]}", false}, {"{\"choices\":{}}", false}, {"{\"choices\":[{}]}", false}, {"{\"choices\":[{\"message\":null}]}", false},
		{"{\"choices\":[{},{\"message\":{}}]}", false}, {"{\"message\":{\"content\":\"<score>5</score>\"}}", false},
		{CHOICE("\"content\":5", "null"), false}, {CHOICE("\"content\":[]", "null"), false}, {CHOICE("\"content\":\"a\"", "5"), false},
		{USUAL(",\"error\":\"\""), false}, {USUAL(",\"error\":{}"), false}, {USUAL(",\"object\":\"error\""), false}, {USUAL(",\"object\":null"), false},
		{USUAL(",\"usage\":[]"), false}, {USUAL(",\"usage\":{\"prompt_tokens\":-1}"), false}, {USUAL(",\"usage\":{\"prompt_tokens\":1.0}"), false},
		{USUAL(",\"usage\":{\"prompt_tokens\":1e3}"), false}, {USUAL(",\"usage\":{\"prompt_tokens\":01}"), false},
		{USUAL(",\"usage\":{\"prompt_tokens\":1000000000}"), false}, {USUAL(",\"usage\":{\"prompt_tokens\":\"1\"}"), false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		size_t		len = strlen(cases[i].body);
		char	   *copy = malloc(len > 0 ? len : 1);
		char		name[128];
		RstarReplyScan scan;

		snprintf(name, sizeof(name), "scan of %.100s", cases[i].body);
		CASE(name);
		memcpy(copy, cases[i].body, len);
		CHECK_INT(rstar_reply_scan(&scan, copy, len), cases[i].usual);
		rstar_reply_scan_free(&scan);
		free(copy);
		parse(200, cases[i].body);
	}
}

static void
test_details(void)
{
	const char *body = CONTENT("a\\u0000<score>5</score>");

	CASE("usage");
	parse(200, "{\"choices\":[{\"message\":{}}],\"usage\":{\"prompt_tokens\":12,"
		  "\"completion_tokens\":34,\"total_tokens\":46}}");
	CHECK_INT(reply.prompt_tokens, 12);
	CHECK_INT(reply.cached_tokens, 0);
	CHECK_INT(reply.completion_tokens, 34);

	CASE("usage out of range");
	parse(200, "{\"choices\":[{\"message\":{}}],\"usage\":{\"prompt_tokens\":-12,"
		  "\"completion_tokens\":99999999999999999999999999}}");
	CHECK_INT(reply.prompt_tokens, 0);
	CHECK_INT(reply.completion_tokens, INT_MAX);

	CASE("usage of the wrong type");
	parse(200, "{\"choices\":[{\"message\":{}}],\"usage\":{\"prompt_tokens\":\"7\","
		  "\"completion_tokens\":1e999}}");
	CHECK_INT(reply.prompt_tokens, 0);
	CHECK_INT(reply.completion_tokens, 0);

	CASE("no usage");
	parse(200, "{\"choices\":[{\"message\":{}}],\"usage\":null}");
	CHECK_INT(reply.prompt_tokens, 0);

	CASE("finish_reason");
	parse(200, CHOICE("\"content\":\"x\"", "\"stop\""));
	CHECK_STR(reply.finish_reason, "stop");
	parse(200, CHOICE("\"content\":\"x\"", "\"a very long finish reason\""));
	CHECK_STR(reply.finish_reason, "a very long fin");
	parse(200, CHOICE("\"content\":\"x\"", "null"));
	CHECK_STR(reply.finish_reason, "");
	parse(200, CHOICE("\"content\":\"x\"", "\"12345678901234\xc3\xa9\""));
	CHECK_STR(reply.finish_reason, "12345678901234");

	CASE("no text unless it is wanted");
	rstar_reply_free(&reply);
	rstar_reply_parse(&reply, 200, body, strlen(body), &score_alone);
	CHECK_INT(reply.status, SCORE);
	CHECK_INT(reply.score, 5);
	CHECK(reply.text == NULL);
	rstar_reply_free(&reply);

	CASE("free twice");
	rstar_reply_free(&reply);

	CASE("a NUL in or after the JSON");
	rstar_reply_parse(&reply, 200, CONTENT("<score>5</score>"),
					  sizeof(CONTENT("<score>5</score>")), &all_of_it);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 200, "{\"choices\0\":[]}", 15, &all_of_it);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 200, CONTENT("a\\\0<score>5</score>"),
					  sizeof(CONTENT("a\\\0<score>5</score>")) - 1, &all_of_it);
	CHECK_INT(reply.status, MALFORMED);

	CASE("no body");
	rstar_reply_parse(&reply, 200, NULL, 0, &all_of_it);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 500, NULL, 0, &all_of_it);
	CHECK_INT(reply.status, ERROR);
	CHECK_STR(reply.message, "");

	CASE("log probabilities are passed over");
	parse(200, "{\"choices\":[{\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[{\"token\":\"9\","
		  "\"bytes\":[57],\"logprob\":-7.19,\"top_logprobs\":[{\"token\":\" f\",\"bytes\":[32,102],"
		  "\"logprob\":-Infinity}]}]},\"message\":{\"content\":\"<score>9</score>\"}}]}");
	CHECK_INT(reply.score, 9);
}

/* A body of "len" bytes or a few more: first, then unit again and again, last */
static char *
repeated(const char *first, const char *unit, const char *last, size_t len, size_t *size)
{
	char	   *body = malloc(len + strlen(first) + strlen(unit) + strlen(last) + 1);
	size_t		used = strlen(first);

	memcpy(body, first, used);
	while (used < len)
	{
		memcpy(body + used, unit, strlen(unit));
		used += strlen(unit);
	}
	memcpy(body + used, last, strlen(last) + 1);
	*size = used + strlen(last);
	return body;
}

static void
test_hostile(void)
{
#define CHOICES ",\"choices\":[{\"message\":{}}]}"
	static const char before[] = "{\"choices\":[{\"message\":{\"content\":\"";
	static const char after[] = "<score>5</score>\"}}]}";
	static const struct
	{
		const char *name;
		const char *first;
		const char *unit;
		const char *last;
		size_t		len;
		RstarReplyStatus status;
	}			cases[] = {
		{"8 MB of text", before, "text ", after, 8 << 20, SCORE},
		{"8 MB of escapes", before, "\\n\\u00e9", after, 8 << 20, SCORE},
		{"8 MB of invalid bytes", before, "\xff\xfe", after, 8 << 20, SCORE},
		{"8 MB of tags", before, "<score>   ", after, 8 << 20, SCORE},
		{"8 MB of <", before, "<", after, 8 << 20, SCORE},
		{"8 MB of white space before the score", before, " ", after, 8 << 20, SCORE},
		{"8 MB of empty objects", "{\"a\":[", "{},", "0]" CHOICES, 8 << 20, MALFORMED},
		{"8 MB of empty arrays", "{\"a\":[", "[],", "0]" CHOICES, 8 << 20, MALFORMED},
		{"8 MB of numbers", "{\"a\":[", "0,", "0]" CHOICES, 8 << 20, MALFORMED},
		{"8 MB of members", "{", "\"a\":1,", "\"b\":1" CHOICES, 8 << 20, MALFORMED},
		{"objects in objects", "{\"a\":[", "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{}}}}}}},", "0]" CHOICES, 1 << 20, MALFORMED},
		{"arrays in arrays", "{\"a\":[", "[[[[[[[[[[]]]]]]]]]],", "0]" CHOICES, 2 << 20, MALFORMED},
		{"1 MB of text in many parts", "{\"a\":[", "\"some text that is longer than it costs\",", "0]" CHOICES, 1 << 20, NO_SCORE},
		{"8 MB of comments", "{\"choices\":", "/**/", "}", 8 << 20, MALFORMED},
		{"a comment of 8 MB", "{\"choices\":/*", "* ", "}", 8 << 20, MALFORMED},
		{"8 MB of one number", "{\"choices\":", "9", "}", 8 << 20, MALFORMED},
		{"a small body of objects", "{\"a\":[", "{},", "0],\"choices\":[{\"message\":{}}]}", 60000, NO_SCORE},
		{"deep arrays", "{\"choices\":", "[", "", 100000, MALFORMED},
		{"deep objects", "", "{\"a\":", "", 100000, MALFORMED},
		{"33 levels", "", "[", "0", 33, MALFORMED},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		size_t		size;
		char	   *body = repeated(cases[i].first, cases[i].unit, cases[i].last,
									cases[i].len, &size);

		CASE(cases[i].name);
		rstar_reply_free(&reply);
		rstar_reply_parse(&reply, 200, body, size, &all_of_it);
		CHECK_INT(reply.status, cases[i].status);
		rstar_reply_free(&reply);
		rstar_reply_parse(&reply, 500, body, size, &all_of_it);
		CHECK_INT(reply.status, ERROR);
		CHECK(strlen(reply.message) < RSTAR_REPLY_MESSAGE_LEN);
		rstar_reply_free(&reply);
		free(body);
	}
}

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static int
bench(void)
{
	static const char *const kinds[] = {"score only", "with its text"};
	char		text[1200];
	char		body[2000];
	int			n;

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = "the passage answers the question in its second part. "[i % 53];
	text[950] = '\0';
	n = snprintf(body, sizeof(body),
				 "{\"id\":\"8c1f\",\"object\":\"chat.completion\",\"created\":1795396537,"
				 "\"model\":\"retro\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
				 "\"content\":\"%s\\n\\n<score>\\n73\\n</score>\",\"reasoning_content\":null,"
				 "\"tool_calls\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
				 "\"matched_stop\":151645}],\"usage\":{\"prompt_tokens\":1200,\"total_tokens\":1500,"
				 "\"completion_tokens\":300,\"prompt_tokens_details\":null},"
				 "\"metadata\":{\"weight_version\":\"default\"}}", text);
	for (int want = 0; want < 2; want++)
	{
		double		best = 1;

		for (int round = 0; round < 20; round++)
		{
			double		start = seconds();

			for (int i = 0; i < 20000; i++)
			{
				rstar_reply_parse(&reply, 200, body, (size_t) n, want ? &all_of_it : &score_alone);
				rstar_reply_free(&reply);
			}
			if (seconds() - start < best)
				best = seconds() - start;
		}
		printf("a reply of %d bytes, %s: %.2f us\n", n, kinds[want], best / 20000 * 1e6);
	}
	return 0;
}

#define FIFTY "12345678901234567890123456789012345678901234567890"
/* As long as there is room for */
#define LONGEST FIFTY FIFTY "1234567890123456789012345678901234567890123456"

static void
models(const char *body, bool served, const char *said)
{
	RstarModels models;

	rstar_reply_models(body, strlen(body), "m", &models);
	CHECK_INT(models.listed, served);
	CHECK_STR(models.line, said);
}

/* Who says that, when "m:a" is wanted; and would he answer for another? */
static void
owner(const char *body, const char *said, bool other)
{
	RstarModels models;

	rstar_reply_models(body, strlen(body), "m:a", &models);
	CHECK_STR(models.owner, said);
	CHECK_INT(rstar_reply_models_other(&models), other);
}

static void
test_models(void)
{
	static const char start[] = "{\"data\":[";
	static const char end[] = "{\"id\":\"m\"}]}";
	size_t		n = 1000000;
	char	   *huge = malloc(sizeof(start) + 3 * n + sizeof(end));
	char	   *p = huge;

	CASE("lists of models");
	models("{\"data\":[{\"id\":\"n\"},{\"id\":\"m\"}]}\n", true, "it serves \"n\", \"m\"");
	models("{\"data\":[{\"id\":\"n\"}]}", false, "it serves \"n\"");
	models("{\"data\":[]}", false, "it names no models");
	models("", false, "it names no models");
	models("{\"data\":[null,5,{},{\"id\":7},{\"id\":\"m\"}]}", true, "it serves \"m\"");
	models("{\"data\":[{\"id\":\"a\\nb\\u00e9\"}]}", false, "it serves \"a?b??\"");

	CASE("names for which there is no room");
	models("{\"data\":[{\"id\":\"" LONGEST "\"}]}", false, "it serves \"" LONGEST "\"");
	models("{\"data\":[{\"id\":\"" LONGEST FIFTY "\"},{\"id\":\"m\"}]}", true, "it serves \"m\"");
	models("{\"data\":[{\"id\":\"" LONGEST "x\"},{\"id\":\"n\"}]}", false, "it serves \"n\"");
	models("{\"data\":[{\"id\":\"n\"},{\"id\":\"" LONGEST "\"},{\"id\":\"m\"}]}", true, "it serves \"n\", \"m\"");

	CASE("what the owner says of the server");
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"sglang\"}]}", "sglang", true);
	owner("{\"data\":[{\"id\":\"m\",\"owned_by\":\"sglang\"}]}", "sglang", false);
	owner("{\"data\":[{\"id\":\"m:b\",\"owned_by\":\"sglang\"}]}", "sglang", true);
	owner("{\"data\":[{\"id\":\"\",\"owned_by\":\"sglang\"}]}", "sglang", true);
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"vllm\"}]}", "vllm", false);
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"self_hosted\"}]}", "self_hosted", true);
	owner("{\"data\":[{\"id\":\"m\",\"owned_by\":\"self_hosted\"}]}", "self_hosted", false);
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"sglang\"},{\"id\":\"o\",\"owned_by\":\"vllm\"}]}", "", false);
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"sglang\"},{\"id\":\"o\"}]}", "", false);
	owner("{\"data\":[{\"id\":\"n\"},{\"id\":\"o\",\"owned_by\":\"sglang\"}]}", "", false);
	owner("{\"data\":[{\"id\":\"n\",\"owned_by\":\"" FIFTY "\"}]}", "12345678901234567890123", false);
	CHECK_STR(rstar_reply_models_server("vllm"), "vLLM");
	CHECK(rstar_reply_models_server("") == NULL && rstar_reply_models_server("openai") == NULL);

	/* in memory it would be 300 times as big */
	CASE("a list of models that is too big");
	p += sprintf(p, "%s", start);
	for (size_t i = 0; i < n; i++)
		p += sprintf(p, "{},");
	strcpy(p, end);
	models(huge, false, "it names no models");
	free(huge);
}

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		return bench();
	test_score();
	test_completion();
	test_scan();
	test_details();
	test_hostile();
	test_models();
	rstar_reply_free(&reply);
	return check_end("reply_test");
}
