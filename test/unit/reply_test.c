/*-------------------------------------------------------------------------
 *
 * reply_test.c
 *		Unit tests of reply.c, and of its parts: reply_scan.c, reply_text.c,
 *		reply_error.c, reply_models.c.
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

#include "check.h"
#include "reply.h"
#include "reply_scan.h"

#define SCORE RSTAR_REPLY_SCORE
#define NO_SCORE RSTAR_REPLY_NO_SCORE
#define TRUNCATED RSTAR_REPLY_TRUNCATED
#define ABORTED RSTAR_REPLY_ABORTED
#define MALFORMED RSTAR_REPLY_MALFORMED
#define ERROR RSTAR_REPLY_ERROR

/* A completion whose only choice has this message and finish_reason */
#define CHOICE(message, finish) \
	"{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"," message \
	"},\"finish_reason\":" finish "}]}"
#define CONTENT(text) CHOICE("\"content\":\"" text "\"", "\"stop\"")

static RstarReply reply;

static void compare_readers(const char *body, size_t len);

static void
parse(int status, const char *body)
{
	/* a copy of the exact size, so that the sanitizer sees each byte too far */
	size_t		len = strlen(body);
	char	   *copy = malloc(len > 0 ? len : 1);

	memcpy(copy, body, len);
	rstar_reply_free(&reply);
	rstar_reply_parse(&reply, status, copy, len, true);
	free(copy);
	if (status == 200 && body[0] == '{')
		compare_readers(body, len);
}

/* Behind a byte order mark a body is left to json-c, which must find the same */
static void
compare_readers(const char *body, size_t len)
{
	char	   *copy = malloc(len + 3);
	RstarReply	other;

	memcpy(copy, "\xef\xbb\xbf", 3);
	memcpy(copy + 3, body, len);
	rstar_reply_parse(&other, 200, copy, len + 3, true);
	free(copy);
	CHECK_INT(other.status, (int) reply.status);
	CHECK_INT(other.score, reply.score);
	CHECK_INT(other.prompt_tokens, reply.prompt_tokens);
	CHECK_INT(other.completion_tokens, reply.completion_tokens);
	CHECK_STR(other.finish_reason, reply.finish_reason);
	CHECK_STR(other.text, reply.text);
	rstar_reply_free(&other);
}

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
	rstar_reply_parse(&reply, 200, body, strlen(body), false);
	CHECK_INT(reply.status, SCORE);
	CHECK_INT(reply.score, 5);
	CHECK(reply.text == NULL);
	rstar_reply_free(&reply);

	CASE("free twice");
	rstar_reply_free(&reply);

	CASE("a NUL in or after the JSON");
	rstar_reply_parse(&reply, 200, CONTENT("<score>5</score>"),
					  sizeof(CONTENT("<score>5</score>")), true);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 200, "{\"choices\0\":[]}", 15, true);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 200, CONTENT("a\\\0<score>5</score>"),
					  sizeof(CONTENT("a\\\0<score>5</score>")) - 1, true);
	CHECK_INT(reply.status, MALFORMED);

	CASE("no body");
	rstar_reply_parse(&reply, 200, NULL, 0, true);
	CHECK_INT(reply.status, MALFORMED);
	rstar_reply_parse(&reply, 500, NULL, 0, true);
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
		rstar_reply_parse(&reply, 200, body, size, true);
		CHECK_INT(reply.status, cases[i].status);
		rstar_reply_free(&reply);
		rstar_reply_parse(&reply, 500, body, size, true);
		CHECK_INT(reply.status, ERROR);
		CHECK(strlen(reply.message) < RSTAR_REPLY_MESSAGE_LEN);
		rstar_reply_free(&reply);
		free(body);
	}
}

#define NONE RSTAR_ERROR_NONE
#define TOO_LONG RSTAR_ERROR_TOO_LONG
#define MODEL RSTAR_ERROR_MODEL
#define QUOTA RSTAR_ERROR_QUOTA
#define OTHER RSTAR_ERROR_OTHER

static void
test_errors(void)
{
	static const struct
	{
		int			status;
		const char *body;
		RstarReplyError error;
		int			limit;
		int			request;
		const char *message;
	}			cases[] = {
		/* too long: SGLang, both wordings, flat and wrapped */
		{400, "{\"object\":\"error\",\"message\":\"The input (5000 tokens) is longer than the model's context length (4096 tokens).\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}",
		TOO_LONG, 4096, 5000, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."},
		{400, "{\"error\":{\"message\":\"Requested token count exceeds the model's maximum context length of 65536 tokens. You requested a total of 67298 tokens: 50914 tokens from the input messages and 16384 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.\"}}",
		TOO_LONG, 65536, 50914, NULL},
		{400, "{\"message\":\"Requested token count exceeds the model's maximum context length of 65536 tokens. You requested a total of 67298 tokens.\"}",
		TOO_LONG, 65536, 67298, NULL},
		{400, "{\"message\":\"Input length (265330) exceeds model's maximum context length (262144).\"}", TOO_LONG, 262144, 265330, NULL},
		/* vLLM: new, with and without "at least"; max_tokens alone; old */
		{400, "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, you requested 1024 output tokens and your prompt contains at least 7169 input tokens, for a total of at least 8193 tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=7169)\",\"type\":\"BadRequestError\",\"param\":\"input_tokens\",\"code\":400}}",
		TOO_LONG, 8192, 7169, NULL},
		{400, "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, you requested 1024 output tokens and your prompt contains 9000 input tokens, for a total of 10024 tokens.\"}}",
		TOO_LONG, 8192, 9000, NULL},
		{400, "{\"error\":{\"message\":\"'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 4096 tokens and your request has 100 input tokens (5000 > 4096 - 100).\",\"param\":\"max_tokens\"}}",
		TOO_LONG, 4096, 100, NULL},
		{400, "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, your prompt contains 40000 characters\"}}",
		TOO_LONG, 8192, 0, NULL},
		{400, "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion.\",\"type\":\"BadRequestError\",\"code\":400}",
		TOO_LONG, 4096, 4000, NULL},
		/* OpenAI */
		{400, "{\"error\":{\"message\":\"This model's maximum context length is 4097 tokens. However, your messages resulted in 5012 tokens. Please reduce the length of the messages.\",\"type\":\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_exceeded\"}}",
		TOO_LONG, 4097, 5012, NULL},
		{400, "{\"error\":{\"message\":\"too much\",\"code\":\"context_length_exceeded\"}}", TOO_LONG, 0, 0, "too much"},
		/* llama.cpp: the fields, and the wording alone */
		{400, "{\"error\":{\"code\":400,\"message\":\"request (4015 tokens) exceeds the available context size (1024 tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":4015,\"n_ctx\":1024}}",
		TOO_LONG, 1024, 4015, NULL},
		{400, "{\"error\":{\"message\":\"request (4016 tokens) exceeds the available context size (1025 tokens), try increasing it\"}}",
		TOO_LONG, 1025, 4016, NULL},
		{400, "{\"error\":{\"type\":\"exceed_context_size_error\",\"message\":\"x\",\"n_prompt_tokens\":-5,\"n_ctx\":99999999999}}",
		TOO_LONG, INT_MAX, 0, NULL},
		{400, "{\"error\":{\"type\":\"exceed_context_size_error\",\"message\":\"x\",\"n_prompt_tokens\":4017,\"n_ctx\":1026}}",
		TOO_LONG, 1026, 4017, "x"},
		{400, "{\"error\":{\"message\":\"request (1 tokens) exceeds the available context size (2 tokens)\",\"n_prompt_tokens\":4018,\"n_ctx\":1027}}",
		TOO_LONG, 1027, 4018, NULL},
		/* TGI */
		{422, "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4031 `inputs` tokens and 200 `max_new_tokens`\",\"error_type\":\"validation\"}",
		TOO_LONG, 4096, 4031, NULL},
		{422, "{\"error\":\"Input validation error: `inputs` must have less than 1000 tokens. Given: 2000\",\"error_type\":\"validation\"}",
		TOO_LONG, 1000, 2000, NULL},
		{422, "{\"error\":\"Input validation error: `max_new_tokens` must be <= 4096. Given: 9000\",\"error_type\":\"validation\"}",
		OTHER, 0, 0, NULL},
		/* TensorRT-LLM */
		{400, "{\"object\":\"error\",\"message\":\"The sum of prompt length (72417.0), query length (0) should not exceed max_num_tokens (69632)\",\"type\":\"BadRequestError\",\"param\":null,\"code\":400}",
		TOO_LONG, 69632, 72417, NULL},
		{400, "prompt is too long: 213462 tokens > 200000 maximum", TOO_LONG, 200000, 213462, NULL},
		/* hostile numbers */
		{400, "{\"message\":\"maximum context length is 99999999999999999999999999 tokens, prompt contains 4294967296 input tokens\"}",
		TOO_LONG, INT_MAX, INT_MAX, NULL},
		{400, "{\"message\":\"context length is  tokens\"}", TOO_LONG, 0, 0, NULL},
		/* only where the status fits */
		{500, "{\"message\":\"context length is 4096 tokens\"}", OTHER, 0, 0, NULL},
		{429, "{\"message\":\"context length is 4096 tokens\"}", OTHER, 0, 0, NULL},
		{413, "", OTHER, 0, 0, ""},
		/* the model */
		{404, "{\"error\":{\"message\":\"The model `x` does not exist.\",\"type\":\"NotFoundError\",\"param\":\"model\",\"code\":404}}", MODEL, 0, 0, "The model `x` does not exist."},
		{404, "{\"object\":\"error\",\"message\":\"Model 'x' is not served.\"}", MODEL, 0, 0, NULL},
		{404, "{\"error\":{\"message\":\"model \\\"x\\\" not found, try pulling it first\",\"type\":\"api_error\",\"param\":null,\"code\":null}}", MODEL, 0, 0, NULL},
		{404, "{\"error\":\"Model x not found\"}", MODEL, 0, 0, "Model x not found"},
		{400, "{\"error\":{\"code\":400,\"message\":\"model 'nosuch' not found\",\"type\":\"invalid_request_error\"}}", MODEL, 0, 0, NULL},
		{403, "{\"error\":{\"message\":\"Project p has no access\",\"code\":\"model_not_found\"}}", MODEL, 0, 0, NULL},
		{404, "{\"error\":{\"message\":\"File Not Found\",\"type\":\"not_found_error\",\"code\":404}}", OTHER, 0, 0, "File Not Found"},
		{404, "{\"detail\":\"Not Found\"}", OTHER, 0, 0, "Not Found"},
		{503, "{\"error\":\"Model x is temporarily unavailable\"}", OTHER, 0, 0, NULL},
		/* the account */
		{429, "{\"error\":{\"message\":\"You exceeded your current quota, please check your plan and billing details.\",\"type\":\"insufficient_quota\",\"param\":null,\"code\":\"insufficient_quota\"}}", QUOTA, 0, 0, NULL},
		{429, "{\"error\":{\"code\":\"credit_balance_exhausted\",\"message\":\"no\"}}", QUOTA, 0, 0, "no"},
		{402, "{\"error\":{\"message\":\"Insufficient Balance\"}}", QUOTA, 0, 0, NULL},
		{402, "", QUOTA, 0, 0, ""},
		{429, "{\"error\":{\"message\":\"Rate limit reached for requests\",\"type\":\"requests\",\"code\":\"rate_limit_exceeded\"}}", OTHER, 0, 0, NULL},
		{500, "{\"error\":{\"code\":\"insufficient_quota\"}}", OTHER, 0, 0, NULL},
		/* envelopes and everything else */
		{400, "{\"object\":\"error\",\"message\":\"bad\",\"type\":\"Bad Request\",\"param\":null,\"code\":400}", OTHER, 0, 0, "bad"},
		{401, "{\"error\":\"Unauthorized\"}", OTHER, 0, 0, "Unauthorized"},
		{401, "", OTHER, 0, 0, ""},
		{401, "{\"error\":{\"message\":\"Invalid API Key\",\"type\":\"authentication_error\",\"code\":401}}", OTHER, 0, 0, "Invalid API Key"},
		{422, "{\"detail\":[{\"loc\":[\"body\",\"model\"],\"msg\":\"field required\",\"type\":\"value_error.missing\"}]}", OTHER, 0, 0, "field required"},
		{400, "{\"detail\":{\"message\":\"no\"}}", OTHER, 0, 0, "no"},
		{400, "[{\"error\":{\"message\":\"in a list\"}}]", OTHER, 0, 0, "in a list"},
		{400, "[{\"error\":{\"message\":\"in a list\",\"code\":\"context_length_exceeded\"}}]", TOO_LONG, 0, 0, "in a list"},
		{429, "{\"message\":\"no\",\"code\":\"credit_balance_exhausted\"}", QUOTA, 0, 0, "no"},
		{400, "{\"error\":{\"message\":\"\",\"detail\":\"why\"}}", OTHER, 0, 0, "why"},
		{400, "\"a string\"", OTHER, 0, 0, "a string"},
		{400, "{\"error\":{}}", OTHER, 0, 0, "{\"error\":{}}"},
		{400, "{\"error\":{\"error\":{\"error\":{\"error\":{\"error\":{\"message\":\"deep\"}}}}}}", OTHER, 0, 0,
		"{\"error\":{\"error\":{\"error\":{\"error\":{\"error\":{\"message\":\"deep\"}}}}}}"},
		{502, "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n", OTHER, 0, 0,
		"<html> <head><title>502 Bad Gateway</title></head> <body>"},
		{500, "Internal Server Error", OTHER, 0, 0, "Internal Server Error"},
		{500, "", OTHER, 0, 0, ""},
		{503, "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}", OTHER, 0, 0, "Loading model"},
		{429, "{\"error\":\"Model is overloaded\",\"error_type\":\"overloaded\"}", OTHER, 0, 0, "Model is overloaded"},
		{302, "", OTHER, 0, 0, ""},
		/* errors under 200 */
		{200, "{\"error\":{\"message\":\"The request queue is full.\",\"code\":503}}", OTHER, 0, 0, "The request queue is full."},
		{200, "{\"error\":\"out of memory\"}", OTHER, 0, 0, "out of memory"},
		{200, "{\"object\":\"error\",\"message\":\"bad\",\"code\":400}", OTHER, 0, 0, "bad"},
		{200, "{\"error\":{\"message\":\"The input (5000 tokens) is longer than the model's context length (4096 tokens).\"},\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"}}]}", TOO_LONG, 4096, 5000, NULL},
		{200, "{\"error\":{\"message\":\"context length is 5 tokens\",\"code\":500}}", OTHER, 0, 0, NULL},
		{200, "{\"object\":\"error\",\"message\":\"context length is 5 tokens\",\"code\":500}", OTHER, 0, 0, NULL},
		{200, "{\"object\":\"error\",\"message\":\"context length is 5 tokens\",\"code\":400}", TOO_LONG, 5, 0, NULL},
		{200, "{\"error\":{\"message\":\"context length is 5 tokens\",\"code\":20015}}", TOO_LONG, 5, 0, NULL},
		{200, "data: {\"error\":{\"message\":\"Streaming response failed: [503] The request queue is full.\"}}\n\ndata: [DONE]\n\n", OTHER, 0, 0,
		"Streaming response failed: [503] The request queue is full."},
		{200, "data:{\"error\":\"x\"}", OTHER, 0, 0, "x"},
		/* one clean line */
		{400, "{\"error\":\"  a\\n\\t b\\u0000c\\u007f\\u0085\\u2028d\\u00a0e  \"}", OTHER, 0, 0, "a b c d\xc2\xa0" "e"},
		{400, "\xff\xfe bad \xe2\x82", OTHER, 0, 0, "?? bad ??"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[128];

		snprintf(name, sizeof(name), "error %d %.100s", cases[i].status, cases[i].body);
		CASE(name);
		parse(cases[i].status, cases[i].body);
		CHECK_INT(reply.status, ERROR);
		CHECK_INT(reply.error, cases[i].error);
		CHECK_INT(reply.limit_tokens, cases[i].limit);
		CHECK_INT(reply.request_tokens, cases[i].request);
		if (cases[i].message != NULL)
			CHECK_STR(reply.message, cases[i].message);
		CHECK_INT(reply.score, -1);
		CHECK(reply.text == NULL);
	}
}

static void
test_message_cut(void)
{
	char		body[600];

	/* a character of two to four bytes, at each distance from the end */
	for (int shift = 0; shift < 5; shift++)
	{
		static const char *const characters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};

		for (int c = 0; c < 4; c++)
		{
			char		name[128];
			size_t		width = strlen(characters[c]);
			size_t		used;

			snprintf(name, sizeof(name), "message cut at a character of %zu, shift %d", width, shift);
			CASE(name);
			memset(body, 'a', sizeof(body));
			used = (size_t) shift;
			while (used < 500)
			{
				memcpy(body + used, characters[c], width);
				used += width;
			}
			body[used] = '\0';
			parse(500, body);
			CHECK(strlen(reply.message) < RSTAR_REPLY_MESSAGE_LEN);
			CHECK(strlen(reply.message) > RSTAR_REPLY_MESSAGE_LEN - 1 - width);
			CHECK_INT((strlen(reply.message) - (size_t) shift) % width, 0);
			CHECK(memcmp(reply.message, body, strlen(reply.message)) == 0);
		}
	}
}

static void
test_retry_after(void)
{
	static const struct
	{
		const char *value;
		int			seconds;
	}			cases[] = {
		{"0", 0}, {"1", 1}, {" 30 ", 30}, {"\t7\r\n", 7}, {"60", 60}, {"61", 60},
		{"99999999999999999999999999999999", 60}, {"000000000000000000005", 5},
		{"1.5", 2}, {"1.0", 1}, {"1.000", 1}, {"0.001", 1}, {"2.10", 3}, {"59.5", 60},
		{"1.", -1}, {".5", -1}, {"1.5.5", -1}, {"-1", -1}, {"+1", -1}, {"", -1},
		{"   ", -1}, {"1 2", -1}, {"1s", -1}, {"0x10", -1}, {"1e3", -1}, {"soon", -1},
		/* now is Sun, 06 Nov 1994 08:49:37 GMT */
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0},
		{"Sun, 06 Nov 1994 08:49:38 GMT", 1},
		{" Sun, 06 Nov 1994 08:50:07 GMT ", 30},
		{"Sun, 06 Nov 1994 08:48:37 GMT", 0},
		{"Sun, 06 Nov 1994 08:49:60 GMT", 22},
		{"Mon, 07 Nov 1994 00:00:00 GMT", 60},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 60},
		{"Thu, 01 Jan 1970 00:00:00 GMT", 0},
		{"Tue, 29 Feb 2000 00:00:00 GMT", 60},
		{"Thu, 29 Feb 1996 00:00:00 GMT", 60},
		{"Wed, 29 Feb 1995 00:00:00 GMT", -1},
		{"Thu, 31 Jun 2000 00:00:00 GMT", -1},
		{"Thu, 00 Jun 2000 00:00:00 GMT", -1},
		{"Sun, 06 Nov 1994 24:00:00 GMT", -1},
		{"Sun, 06 Nov 1994 08:60:00 GMT", -1},
		{"Sun, 06 Nov 1994 08:49:61 GMT", -1},
		{"Sun, 06 Nov 1994 08:49:37 UTC", -1},
		{"Sun, 06 nov 1994 08:49:37 GMT", -1},
		{"Son, 06 Nov 1994 08:49:37 GMT", -1},
		{"unM, 06 Nov 1994 08:49:37 GMT", -1},
		{"Sun, 06 anF 1994 08:49:37 GMT", -1},
		{"Sun, 6 Nov 1994 08:49:37 GMT", -1},
		{"Sunday, 06-Nov-94 08:49:37 GMT", -1},
		{"Sun Nov  6 08:49:37 1994", -1},
		{"Sun, 06 Nov 1994 08:49:37 GMT GMT", -1},
	};
	long long	now = 784111777;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[128];

		snprintf(name, sizeof(name), "Retry-After: %s", cases[i].value);
		CASE(name);
		CHECK_INT(rstar_reply_retry_after(cases[i].value, strlen(cases[i].value), now, 60),
				  cases[i].seconds);
	}
	CASE("Retry-After with odd arguments");
	CHECK_INT(rstar_reply_retry_after("5\0", 2, now, 60), -1);
	CHECK_INT(rstar_reply_retry_after("\0" "5", 2, now, 60), -1);
	CHECK_INT(rstar_reply_retry_after("57", 1, now, 60), 5);
	CHECK_INT(rstar_reply_retry_after("5", 1, now, 0), 0);
	CHECK_INT(rstar_reply_retry_after("5", 1, now, -1), 0);
	CHECK_INT(rstar_reply_retry_after("5", 1, LLONG_MIN, INT_MAX), 5);
	CHECK_INT(rstar_reply_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 29, LLONG_MAX, 60), 0);
	CHECK_INT(rstar_reply_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 29, -5, INT_MAX), 784111777);
	CHECK_INT(rstar_reply_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", 29, LLONG_MIN, INT_MAX), INT_MAX);
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
				rstar_reply_parse(&reply, 200, body, (size_t) n, want);
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

static void
models(const char *body, bool served, const char *said)
{
	char	   *buf = malloc(64);

	CHECK(rstar_reply_models(body, strlen(body), "m", buf, 64) == served);
	CHECK_STR(buf, said);
	free(buf);
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
	models("{\"data\":[{\"id\":\"" FIFTY "\"}]}", false, "it serves \"" FIFTY "\"");
	models("{\"data\":[{\"id\":\"" FIFTY FIFTY "\"},{\"id\":\"m\"}]}", true, "it serves \"m\"");
	models("{\"data\":[{\"id\":\"" FIFTY "x\"},{\"id\":\"n\"}]}", false, "it serves \"n\"");
	models("{\"data\":[{\"id\":\"n\"},{\"id\":\"" FIFTY "\"},{\"id\":\"m\"}]}", true, "it serves \"n\", \"m\"");

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
	test_errors();
	test_message_cut();
	test_retry_after();
	test_models();
	rstar_reply_free(&reply);
	return check_end("reply_test");
}
