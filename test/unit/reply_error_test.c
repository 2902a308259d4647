/*-------------------------------------------------------------------------
 *
 * reply_error_test.c
 *		Unit tests of what reply.c makes of errors: reply_error.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>

#include "reply_parse.h"

static void test_errors(void);
static void test_message_cut(void);
static void test_retry_after(void);

int
main(void)
{
	test_errors();
	test_message_cut();
	test_retry_after();
	rstar_reply_free(&reply);
	return check_end("reply_error_test");
}

#define NONE RSTAR_ERROR_NONE
#define TOO_LONG RSTAR_ERROR_TOO_LONG
#define MODEL RSTAR_ERROR_MODEL
#define NO_ROOM RSTAR_ERROR_NO_ROOM
#define NOT_NOW RSTAR_ERROR_NOT_NOW
#define AWAY RSTAR_ERROR_AWAY
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
		{413, "", TOO_LONG, 0, 0, ""},
		{413, "<html><head><title>413 Request Entity Too Large</title></head></html>", TOO_LONG, 0, 0, NULL},
		/* no room: vLLM twice, SGLang twice */
		{400, "{\"error\":{\"message\":\"max_tokens=16389 cannot be greater than max_model_len=max_total_tokens=16384\",\"type\":\"BadRequestError\",\"code\":400}}",
		NO_ROOM, 0, 0, NULL},
		{400, "{\"error\":{\"message\":\"This model's maximum context length is 2048 tokens. However, you requested 2048 output tokens and your prompt contains 2107 characters (more than 0 characters, which is the upper bound for 0 input tokens).\"}}",
		NO_ROOM, 0, 0, NULL},
		{400, "{\"message\":\"max_completion_tokens is too large: 16389.This model supports at most 16384 completion tokens.\"}",
		NO_ROOM, 0, 0, NULL},
		{400, "{\"message\":\"Requested token count exceeds the model's maximum context length of 16384 tokens. You requested a total of 16852 tokens: 468 tokens from the input messages and 16384 tokens for the completion.\"}",
		NO_ROOM, 0, 0, NULL},
		/* not now: vLLM, smg, sglang-router; and not where the status says more */
		{500, "{\"error\":{\"message\":\"cannot schedule new futures after shutdown\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}}",
		NOT_NOW, 0, 0, "cannot schedule new futures after shutdown"},
		{404, "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"model_not_found\",\"message\":\"No worker available for model 'm'\",\"param\":null}}",
		NOT_NOW, 0, 0, "No worker available for model 'm'"},
		{503, "{\"error\":{\"code\":\"no_available_workers\",\"message\":\"All workers are unavailable (circuit breaker open or unhealthy)\"}}",
		NOT_NOW, 0, 0, NULL},
		{400, "{\"error\":{\"message\":\"the word is shutting down\"}}", OTHER, 0, 0, NULL},
		{500, "{\"error\":{\"message\":\"EngineCore encountered an issue.\"}}", OTHER, 0, 0, NULL},
		/* a gateway that does not come through: vllm-router, smg, LiteLLM twice; and a server */
		{500, "Request failed: error sending request for url (http://127.0.0.1:18206/v1/chat/completions)",
		AWAY, 0, 0, "Request failed: error sending request for url (http://127.0.0.1:18206/v1/chat/completions)"},
		{500, "{\"error\":{\"type\":\"server_error\",\"code\":\"call_upstream_connection_failed\",\"message\":\"error sending request for url (http://127.0.0.1:18204/v1/chat/completions). URL: http://127.0.0.1:18204/v1/chat/completions\",\"param\":null}}",
		AWAY, 0, 0, NULL},
		{500, "{\"error\":{\"message\":\"litellm.InternalServerError: InternalServerError: Hosted_vllmException - [Errno 104] Connection reset by peer\",\"type\":\"internal_server_error\",\"param\":null,\"code\":\"500\"}}",
		AWAY, 0, 0, NULL},
		{500, "{\"error\":{\"message\":\"Cannot connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]\",\"code\":500}}", AWAY, 0, 0, NULL},
		{400, "{\"error\":{\"message\":\"Connection reset by peer\"}}", OTHER, 0, 0, NULL},
		/* priorities: vLLM, SGLang */
		{400, "{\"error\":{\"message\":\"Got priority 1 but Priority scheduling is not enabled.\",\"type\":\"BadRequestError\",\"code\":400}}",
		RSTAR_ERROR_PRIORITY, 0, 0, NULL},
		{503, "{\"object\":\"error\",\"message\":\"Using priority is disabled for this server. Please send a new request without a priority.\",\"code\":503}",
		RSTAR_ERROR_PRIORITY, 0, 0, NULL},
		{503, "{\"message\":\"The request is aborted by a higher priority request.\"}", OTHER, 0, 0, NULL},
		{429, "{\"message\":\"Using priority is disabled\"}", OTHER, 0, 0, NULL},
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
		{400, "{\"error\":{\"message\":\"max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)\",\"type\":\"BadRequestError\",\"param\":\"max_tokens\",\"code\":400}}", TOO_LONG, 0, 0, NULL},
		{400, "{\"error\":{\"message\":\"max_tokens must be at least 1, got -1.\",\"type\":\"BadRequestError\",\"param\":\"max_tokens\",\"code\":400}}", OTHER, 0, 0, NULL},
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
