/*-------------------------------------------------------------------------
 *
 * reply_end_test.c
 *		Unit tests of what reply.c takes for an answer: how the generation
 *		ended, statuses, and errors that say nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "reply_parse.h"

static void test_finish(void);
static void test_success(void);
static void test_error_member(void);

int
main(void)
{
	test_finish();
	test_success();
	test_error_member();
	rstar_reply_free(&reply);
	return check_end("reply_end_test");
}

/*
 * Every finish_reason that is known of a server or gateway, alone, with a
 * score, and with one in a thought that is still open.
 */
static void
test_finish(void)
{
	static const struct
	{
		const char *reason;
		RstarReplyStatus bare;
		RstarReplyStatus scored;
		RstarReplyStatus thinking;
	}			cases[] = {
		/* OpenAI, SGLang, vLLM, llama.cpp, LiteLLM */
		{"\"stop\"", NO_SCORE, SCORE, SCORE},
		{"\"length\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"tool_calls\"", NO_SCORE, SCORE, SCORE},
		{"\"function_call\"", NO_SCORE, SCORE, SCORE},
		{"\"content_filter\"", ABORTED, ABORTED, ABORTED},
		{"\"abort\"", ABORTED, ABORTED, ABORTED},
		{"\"error\"", ABORTED, ABORTED, ABORTED},
		{"\"repetition\"", NO_SCORE, SCORE, SCORE},
		{"\"unknown\"", NO_SCORE, SCORE, SCORE},
		/* TGI */
		{"\"eos_token\"", NO_SCORE, SCORE, SCORE},
		{"\"stop_sequence\"", NO_SCORE, SCORE, SCORE},
		/* Anthropic, and Bedrock */
		{"\"end_turn\"", NO_SCORE, SCORE, SCORE},
		{"\"tool_use\"", NO_SCORE, SCORE, SCORE},
		{"\"max_tokens\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"model_context_window_exceeded\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"refusal\"", ABORTED, ABORTED, ABORTED},
		{"\"guardrail_intervened\"", ABORTED, ABORTED, ABORTED},
		{"\"content_filtered\"", ABORTED, ABORTED, ABORTED},
		/* Gemini */
		{"\"STOP\"", NO_SCORE, SCORE, SCORE},
		{"\"MAX_TOKENS\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"SAFETY\"", ABORTED, ABORTED, ABORTED},
		{"\"RECITATION\"", ABORTED, ABORTED, ABORTED},
		{"\"BLOCKLIST\"", ABORTED, ABORTED, ABORTED},
		{"\"PROHIBITED_CONTENT\"", ABORTED, ABORTED, ABORTED},
		{"\"SPII\"", ABORTED, ABORTED, ABORTED},
		{"\"FINISH_REASON_UNSPECIFIED\"", NO_SCORE, SCORE, SCORE},
		/* Mistral, DeepSeek, GLM, Cohere */
		{"\"model_length\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"insufficient_system_resource\"", ABORTED, ABORTED, ABORTED},
		{"\"sensitive\"", ABORTED, ABORTED, ABORTED},
		{"\"network_error\"", ABORTED, ABORTED, ABORTED},
		{"\"COMPLETE\"", NO_SCORE, SCORE, SCORE},
		{"\"ERROR_TOXIC\"", ABORTED, ABORTED, ABORTED},
		/* others, and none of them */
		{"\"max_output_tokens\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"content-filter\"", ABORTED, ABORTED, ABORTED},
		{"\"cancelled\"", ABORTED, ABORTED, ABORTED},
		{"\"Length\"", TRUNCATED, SCORE, TRUNCATED},
		{"\"lengthy\"", NO_SCORE, SCORE, SCORE},
		{"\"lengt\"", NO_SCORE, SCORE, SCORE},
		{"\"no error\"", NO_SCORE, SCORE, SCORE},
		{"\"\"", NO_SCORE, SCORE, SCORE},
		{"null", NO_SCORE, SCORE, SCORE},
		{"5", NO_SCORE, SCORE, SCORE},
		{"{\"type\":\"length\"}", NO_SCORE, SCORE, SCORE},
		{"[\"abort\"]", NO_SCORE, SCORE, SCORE},
	};
	static const char *const texts[] = {"it fits", "<score>9</score>", "<think>say <score>9</score> or"};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const RstarReplyStatus expected[] = {cases[i].bare, cases[i].scored, cases[i].thinking};
		char		name[128];

		snprintf(name, sizeof(name), "finish_reason %.100s", cases[i].reason);
		CASE(name);
		for (int t = 0; t < 3; t++)
		{
			char		body[300];

			snprintf(body, sizeof(body), CHOICE("\"content\":\"%s\"", "%s"), texts[t], cases[i].reason);
			parse(200, body);
			CHECK_INT(reply.status, expected[t]);
			CHECK_INT(reply.score, expected[t] == SCORE ? 9 : -1);
		}
	}
}

/* An answer under any success, and no answer under anything else */
static void
test_success(void)
{
	CASE("every status");
	for (int status = 0; status < 1000; status++)
	{
		bool		success = status >= 200 && status <= 299;

		parse(status, CONTENT("<score>5</score>"));
		CHECK_INT(reply.status, success ? SCORE : ERROR);
		CHECK_INT(reply.score, success ? 5 : -1);
		parse(status, "");
		CHECK_INT(reply.status, success ? MALFORMED : ERROR);
		parse(status, "<html>please log in</html>");
		CHECK_INT(reply.status, success ? MALFORMED : ERROR);
		parse(status, "{\"error\":\"no\"}");
		CHECK_INT(reply.status, ERROR);
		CHECK_STR(reply.message, "no");
	}
}

/* What "error" may hold beside a good choice, without being one */
static void
test_error_member(void)
{
	static const struct
	{
		const char *error;
		bool		says;
	}			cases[] = {
		{"null", false}, {"{}", false}, {"\"\"", false}, {"[]", false}, {"false", false}, {"0", false}, {"0.0", false},
		{"{\"message\":\"\",\"code\":null}", false}, {"{\"message\":null,\"type\":\"\",\"code\":0,\"details\":[{}]}", false},
		{"[null,{},\"\"]", false},
		{"{\"message\":\"no\"}", true}, {"{\"message\":\"\",\"code\":500}", true}, {"{\"message\":\"\",\"code\":\"overloaded\"}", true},
		{"{\"type\":\"server_error\"}", true}, {"{\"a\":{\"b\":[\"c\"]}}", true}, {"\"no\"", true}, {"true", true}, {"500", true},
		{"[\"no\"]", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		body[300];
		char		name[128];

		snprintf(name, sizeof(name), "error %.100s beside a choice", cases[i].error);
		CASE(name);
		snprintf(body, sizeof(body), "{\"error\":%s,\"choices\":[{\"message\":{\"content\":\"<score>5</score>\"}}]}", cases[i].error);
		parse(200, body);
		CHECK_INT(reply.status, cases[i].says ? ERROR : SCORE);
		snprintf(body, sizeof(body), "{\"error\":%s}", cases[i].error);
		parse(200, body);
		CHECK_INT(reply.status, cases[i].says ? ERROR : MALFORMED);
	}
}
