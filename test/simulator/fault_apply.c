/*-------------------------------------------------------------------------
 *
 * fault_apply.c
 *		What a chosen failure does to its request.
 *
 * Called by: chat.c, route.c.  Calls: error.c, deliver.c (headers).  The table
 * at the end names all modes; README.md explains them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "fault_apply.h"
#include "gzip.h"
#include "http.h"
#include "log.h"
#include "stats.h"

/* A number that a failure's value, or else its parameter, gives */
static long
number_or(const char *value, long parameter, long otherwise)
{
	if (value[0] != '\0')
		return atol(value);
	return parameter >= 0 ? parameter : otherwise;
}

static const char *
text_or(const char *text, const char *otherwise)
{
	return text[0] != '\0' ? text : otherwise;
}

/* "5", "date:5" (so many seconds from now, as an HTTP date), or any text */
static void
add_retry_after(SimRequest *req, const SimFault *f)
{
	char		date[64];
	const char *value = f->retry_after;

	if (value[0] == '\0')
		return;
	if (strncmp(value, "date:", 5) == 0)
	{
		time_t		when = time(NULL) + atol(value + 5);
		struct tm	tm;

		gmtime_r(&when, &tm);
		strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		value = date;
	}
	sim_reply_header(&req->reply, "Retry-After", value);
}

/* An error reply with the failure's own words, else those given here */
static void
error_reply(SimRequest *req, const SimFault *f, int status, const char *type,
			const char *code, const char *envelope, const char *message)
{
	SimError	e = {
		.status = f->status ? f->status : status,
		.type = f->type[0] ? f->type : type,
		.code = f->code[0] ? f->code : code,
		.param = f->param[0] ? f->param : NULL,
		.envelope = f->envelope[0] ? f->envelope : envelope,
		.message = f->message[0] ? f->message : message,
	};

	sim_error(req, &e);
}

static void
do_status(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 500, NULL, NULL, NULL, NULL);
}

static void
do_too_long(SimRequest *req, SimFault *f)
{
	int			context = f->tokens > 0 ? f->tokens :
		sim_settings.context > 0 ? sim_settings.context : 1024;
	int			prompt = req->prompt_tokens;

	if (prompt < context)
		prompt = context + 1;
	sim_error_too_long(req, prompt, 1024, context,
					   strcmp(f->value, "old") == 0);
}

static void
do_model(SimRequest *req, SimFault *f)
{
	sim_error_model(req, text_or(f->value, "nosuch"));
}

static void
do_key(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_key(req);
}

static void
do_forbidden(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 403, NULL, NULL, NULL,
				"You are not allowed to sample from this model");
}

static void
do_quota(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 429, "insufficient_quota", "insufficient_quota",
				"wrapped",
				"You exceeded your current quota, please check your plan and billing details.");
}

static void
do_rate_limit(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 429, "requests", "rate_limit_exceeded", "wrapped",
				"Rate limit reached for requests per min. Please try again in 1s.");
}

static void
do_queue_full(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_queue_full(req);
}

static void
do_overloaded(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 429, "overloaded", NULL, "string",
				"Model is overloaded");
}

static void
do_preempted(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 503, NULL, NULL, NULL,
				"The request is aborted by a higher priority request.");
}

static void
do_loading(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_loading(req);
}

static void
do_no_worker(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 503, "Service Unavailable", "no_available_workers",
				"wrapped", "No available workers (all circuits open or unhealthy)");
}

static void
do_shed(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 429, "Too Many Requests",
				"worker_overload_protection_shed", "wrapped",
				"All workers are overloaded");
	sim_reply_header(&req->reply, "x-smg-error-code",
					 "worker_overload_protection_shed");
	if (f->retry_after[0] == '\0')
		sim_reply_header(&req->reply, "Retry-After", "1");
}

static void
do_engine_dead(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 500, NULL, NULL, "empty", NULL);
}

static void
do_bad_gateway(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 502, NULL, NULL, "html", NULL);
}

static void
do_gateway_timeout(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 504, NULL, NULL, "html", NULL);
}

static void
do_redirect(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 307, NULL, NULL, "html", NULL);
	sim_reply_header(&req->reply, "Location",
					 text_or(f->value, "http://127.0.0.1:9/elsewhere"));
}

static void
do_duplicate_id(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 400, NULL, NULL, NULL,
				"Request id chatcmpl-sim already running.");
}

static void
do_validation(SimRequest *req, SimFault *f)
{
	error_reply(req, f, 422, NULL, NULL, "details", "Field required");
}

static void
do_close(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.delivery = SIM_DELIVER_CLOSE;
	req->state = SIM_READY;
}

static void
do_reset(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.delivery = SIM_DELIVER_RESET;
	req->state = SIM_READY;
}

static void
do_silent(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.delivery = SIM_DELIVER_NEVER;
	req->state = SIM_READY;
}

static void
raw(SimRequest *req, const char *bytes, size_t len)
{
	sim_reply_clear(&req->reply);
	sim_buf_append(&req->reply.body, bytes, len);
	req->reply.delivery = SIM_DELIVER_RAW;
	req->state = SIM_READY;
}

static void
do_garbage(SimRequest *req, SimFault *f)
{
	static const char bytes[] = "\x16\x03\x01\0\xff\xfe not HTTP at all \r\n\r\n";

	if (f->value[0] != '\0')
		raw(req, f->value, strlen(f->value));
	else
		raw(req, bytes, sizeof(bytes) - 1);
}

static void
do_header_cut(SimRequest *req, SimFault *f)
{
	static const char bytes[] = "HTTP/1.1 200 OK\r\nContent-Type: applicat";

	(void) f;
	raw(req, bytes, sizeof(bytes) - 1);
}

static void
do_bad_length(SimRequest *req, SimFault *f)
{
	char		bytes[256];

	snprintf(bytes, sizeof(bytes),
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %.60s\r\n\r\n{\"choices\":[]}",
			 text_or(f->value, "-5"));
	raw(req, bytes, strlen(bytes));
}

static void
do_huge_header(SimRequest *req, SimFault *f)
{
	long		n = number_or(f->value, f->bytes, 200000);
	SimBuf		buf = {0};

	sim_buf_puts(&buf, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Padding: ");
	for (long i = 0; i < n; i++)
		sim_buf_append(&buf, "x", 1);
	sim_buf_puts(&buf, "\r\n\r\n{}");
	raw(req, buf.data, buf.len);
	sim_buf_free(&buf);
}

/*
 * Content: what a model, or the server around it, writes instead.
 */
static void
sh_score(SimShape *s, SimFault *f)
{
	s->score = f->value;
}

static void
sh_no_score(SimShape *s, SimFault *f)
{
	(void) f;
	s->no_score = true;
}

static void
sh_abort(SimShape *s, SimFault *f)
{
	(void) f;
	s->no_score = true;
	s->finish = "abort";
}

static void
sh_length(SimShape *s, SimFault *f)
{
	(void) f;
	s->no_score = true;
	s->finish = "length";
}

static void
sh_finish(SimShape *s, SimFault *f)
{
	s->finish = f->value;
}

static void
sh_quoted(SimShape *s, SimFault *f)
{
	(void) f;
	s->quoted = true;
}

static void
sh_tail(SimShape *s, SimFault *f)
{
	s->tail = text_or(f->value, "\nThat is my score. <score>\n");
}

static void
sh_think(SimShape *s, SimFault *f)
{
	(void) f;
	s->think = true;
}

static void
sh_split(SimShape *s, SimFault *f)
{
	(void) f;
	s->split = true;
}

static void
sh_reasoning_content(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_REASONING_CONTENT;
}

static void
sh_reasoning(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_REASONING;
}

static void
sh_null(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_NOTHING;
}

static void
sh_parts(SimShape *s, SimFault *f)
{
	(void) f;
	s->field = SIM_IN_PARTS;
}

#define INSERT(name, text) \
static void \
name(SimShape *s, SimFault *f) \
{ \
	(void) f; \
	s->insert = text; \
	s->insert_len = sizeof(text) - 1; \
}

INSERT(sh_nul, "a\\u0000b\\u0000")
INSERT(sh_control, "\\u0001\\u0008\\u000b\\u001b[31m\\u007f\\u0085")
INSERT(sh_replacement, "\xEF\xBF\xBD \\ufffd\\ufeff")
INSERT(sh_surrogate, "\\ud83d alone, \\ude00 alone, \\ud800\\u0041")
INSERT(sh_bad_utf8, "\xC3\x28 \xFF\xFE \xE2\x82 \xED\xA0\x80 \xF4\x90\x80\x80")
INSERT(sh_raw_control, "\x01\x1b\n\t")
INSERT(sh_unicode, "\\ud83d\\ude00 \xF0\x9F\x98\x80 \xD7\xA9\xD7\x9C\xD7\x95\xD7\x9D \xE4\xBD\xA0\xE5\xA5\xBD")

/* A raw piece of JSON by name; an unknown name is the JSON itself */
static const char *
pick(const char *const table[][2], const char *name)
{
	for (int i = 0; table[i][0] != NULL; i++)
	{
		if (strcmp(table[i][0], name) == 0)
			return table[i][1];
	}
	return name;
}

static void
sh_usage(SimShape *s, SimFault *f)
{
	static const char *const usages[][2] = {
		{"", ""}, {"missing", ""}, {"null", "null"}, {"string", "\"many\""},
		{"empty", "{}"},
		{"wrong", "{\"prompt_tokens\":\"12\",\"completion_tokens\":[3],\"total_tokens\":null}"},
		{"negative", "{\"prompt_tokens\":-5,\"completion_tokens\":-1,\"total_tokens\":-6}"},
		{"huge", "{\"prompt_tokens\":99999999999999999999,\"completion_tokens\":1e300,\"total_tokens\":9223372036854775808}"},
		{"float", "{\"prompt_tokens\":12.75,\"completion_tokens\":3.5,\"total_tokens\":16.25}"},
		{NULL, NULL}
	};

	s->usage = pick(usages, f->value);
}

static void
sh_choices(SimShape *s, SimFault *f)
{
	static const char *const choices[][2] = {
		{"", "[]"}, {"empty", "[]"}, {"missing", ""}, {"null", "null"},
		{"string", "\"none\""}, {"object", "{\"0\":{}}"}, {"nulls", "[null]"},
		{"no-message", "[{\"index\":0,\"finish_reason\":\"stop\"}]"},
		{"null-message", "[{\"index\":0,\"message\":null,\"finish_reason\":\"stop\"}]"},
		{"text", "[{\"index\":0,\"text\":\"<score>\\n50\\n</score>\",\"finish_reason\":\"stop\"}]"},
		{NULL, NULL}
	};

	if (strcmp(f->value, "short") == 0)
		s->drop = 1;
	else if (strcmp(f->value, "reversed") == 0)
		s->reversed = true;
	else
		s->choices = pick(choices, f->value);
}

/*
 * The reply as it is sent.
 */
static void
replace_body(SimRequest *req, const char *text, const char *content_type)
{
	req->reply.body.len = 0;
	sim_buf_puts(&req->reply.body, text);
	req->reply.content_type = content_type;
}

static void
re_none(SimRequest *req, SimFault *f)
{
	(void) req;
	(void) f;
}

static void
re_hang(SimRequest *req, SimFault *f)
{
	(void) f;
	req->hang = true;
}

static void
re_body(SimRequest *req, SimFault *f)
{
	replace_body(req, f->message[0] ? f->message : f->value, NULL);
}

static void
re_junk(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "<<< this is } not JSON [ at all, <score>50</score>", NULL);
}

static void
re_truncated(SimRequest *req, SimFault *f)
{
	SimBuf	   *body = &req->reply.body;
	size_t		len = number_or(f->value, f->bytes, body->len / 2);

	if (len < body->len)
		body->len = len;
}

static void
re_empty(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "", NULL);
}

static void
re_sse_error(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "data: {\"error\":{\"message\":\"Streaming response failed: [503] The request queue is full.\",\"type\":\"InternalServerError\",\"param\":null,\"code\":503}}\n\ndata: [DONE]\n\n",
				 "text/event-stream; charset=utf-8");
}

static void
re_error_200(SimRequest *req, SimFault *f)
{
	SimReply	reply = {.status = f->status ? f->status : 200};
	int			code = f->status ? f->status : 500;

	error_reply(req, f, code, NULL, NULL, f->value[0] ? f->value : "wrapped",
				"CUDA error: an illegal memory access was encountered");
	reply.body = req->reply.body;
	reply.content_type = req->reply.content_type;
	req->reply = reply;
	req->reply.status = 200;
	req->state = SIM_RECEIVING;
}

static void
re_json(SimRequest *req, SimFault *f)
{
	static const char *const values[][2] = {
		{"", "[]"}, {"array", "[]"}, {"null", "null"}, {"number", "50"},
		{"string", "\"<score>50</score>\""}, {"object", "{}"},
		{"true", "true"},
		{NULL, NULL}
	};

	replace_body(req, pick(values, f->value), NULL);
}

static void
re_deep(SimRequest *req, SimFault *f)
{
	long		depth = number_or(f->value, f->bytes, 100000);
	SimBuf	   *body = &req->reply.body;

	replace_body(req, "{\"choices\":", NULL);
	for (long i = 0; i < depth; i++)
		sim_buf_append(body, "[", 1);
	for (long i = 0; i < depth; i++)
		sim_buf_append(body, "]", 1);
	sim_buf_append(body, "}", 1);
}

static void
re_bom(SimRequest *req, SimFault *f)
{
	SimBuf		body = {0};

	(void) f;
	sim_buf_puts(&body, "\xEF\xBB\xBF");
	sim_buf_append(&body, req->reply.body.data, req->reply.body.len);
	sim_buf_free(&req->reply.body);
	req->reply.body = body;
}

static void
re_twice(SimRequest *req, SimFault *f)
{
	SimBuf	   *body = &req->reply.body;
	size_t		len = body->len;

	(void) f;
	sim_buf_reserve(body, len);
	sim_buf_append(body, body->data, len);
}

static void
re_padded(SimRequest *req, SimFault *f)
{
	long		n = number_or(f->value, f->bytes, 100000);

	/* White space behind the JSON value is still JSON */
	for (long i = 0; i < n; i++)
		sim_buf_append(&req->reply.body, i % 64 ? " " : "\n", 1);
}

static void
re_gzip(SimRequest *req, SimFault *f)
{
	SimBuf		packed = {0};

	(void) f;
	sim_gzip_store(&packed, req->reply.body.data, req->reply.body.len);
	sim_buf_free(&req->reply.body);
	req->reply.body = packed;
	sim_reply_header(&req->reply, "Content-Encoding", "gzip");
}

static void
re_content_type(SimRequest *req, SimFault *f)
{
	req->reply.content_type = f->value;
}

/* From here on the body leaves in a bad way: by deliver.c's reader */
static void
stream(SimRequest *req, size_t total, size_t limit, SimEnd end)
{
	req->reply.streamed = true;
	req->reply.total = total;
	req->reply.limit = limit < total ? limit : total;
	req->reply.end = end;
}

static void
re_cut(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, number_or(f->value, f->bytes, len / 2), SIM_END_CLOSE);
}

static void
re_cut_reset(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, number_or(f->value, f->bytes, len / 2), SIM_END_RESET);
}

static void
re_stall(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, number_or(f->value, f->bytes, len / 2), SIM_END_STALL);
}

static void
re_drip(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, len, SIM_END_NORMAL);
	req->reply.drip_ms = number_or(f->value, f->ms, 100);
	req->reply.drip_bytes = f->bytes > 0 ? f->bytes : 64;
}

static void
re_huge(SimRequest *req, SimFault *f)
{
	long		n = number_or(f->value, f->bytes, 64L * 1024 * 1024);

	stream(req, n, n, SIM_END_NORMAL);
}

static void
re_huge_chunked(SimRequest *req, SimFault *f)
{
	re_huge(req, f);
	req->reply.chunked = true;
}

static void
re_chunked(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, len, SIM_END_NORMAL);
	req->reply.chunked = true;
	req->reply.drip_bytes = number_or(f->value, f->bytes, 200);
}

static void
re_chunked_cut(SimRequest *req, SimFault *f)
{
	re_cut(req, f);
	req->reply.chunked = true;
}

static void
re_last(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.close = true;
}

static void
re_close_behind(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.close_behind = true;
}

#define ARRIVAL SIM_PHASE_ARRIVAL
#define CONTENT SIM_PHASE_CONTENT
#define REPLY SIM_PHASE_REPLY

const SimFaultMode sim_fault_modes[] = {
	{"none", REPLY, re_none, NULL, "no failure; for delay=MS alone"},
	{"status", ARRIVAL, do_status, NULL, "=CODE, with message, type, code, param, envelope, retry-after"},
	{"too-long", ARRIVAL, do_too_long, NULL, "400: prompt longer than the context, in the dialect's words (=old: older ones); tokens=CONTEXT"},
	{"model", ARRIVAL, do_model, NULL, "unknown model, in the dialect's words; =NAME"},
	{"auth", ARRIVAL, do_key, NULL, "401, in the dialect's words"},
	{"forbidden", ARRIVAL, do_forbidden, NULL, "403"},
	{"quota", ARRIVAL, do_quota, NULL, "429 insufficient_quota"},
	{"rate-limit", ARRIVAL, do_rate_limit, NULL, "429 rate_limit_exceeded"},
	{"queue-full", ARRIVAL, do_queue_full, NULL, "503, in the dialect's words"},
	{"overloaded", ARRIVAL, do_overloaded, NULL, "429 \"Model is overloaded\", as a string (TGI)"},
	{"preempted", ARRIVAL, do_preempted, NULL, "503 aborted by a higher priority request (SGLang)"},
	{"loading", ARRIVAL, do_loading, NULL, "503 while the model is loaded"},
	{"no-worker", ARRIVAL, do_no_worker, NULL, "503 no_available_workers (SGLang router)"},
	{"shed", ARRIVAL, do_shed, NULL, "429 with Retry-After and x-smg-error-code (SGLang gateway)"},
	{"engine-dead", ARRIVAL, do_engine_dead, NULL, "500 with an empty body (old vLLM)"},
	{"bad-gateway", ARRIVAL, do_bad_gateway, NULL, "502 with a proxy's HTML page"},
	{"gateway-timeout", ARRIVAL, do_gateway_timeout, NULL, "504 with a proxy's HTML page"},
	{"redirect", ARRIVAL, do_redirect, NULL, "307 (or status=302) to =URL"},
	{"duplicate-id", ARRIVAL, do_duplicate_id, NULL, "400 request id already running (vLLM)"},
	{"validation", ARRIVAL, do_validation, NULL, "422 with FastAPI's list of details"},
	{"close", ARRIVAL, do_close, NULL, "closed without a byte"},
	{"reset", ARRIVAL, do_reset, NULL, "TCP reset without a byte"},
	{"silent", ARRIVAL, do_silent, NULL, "never answered, no slot held"},
	{"garbage", ARRIVAL, do_garbage, NULL, "bytes that are not HTTP (=TEXT), then closed"},
	{"header-cut", ARRIVAL, do_header_cut, NULL, "closed within the header"},
	{"bad-length", ARRIVAL, do_bad_length, NULL, "Content-Length: =TEXT (-5), then closed"},
	{"huge-header", ARRIVAL, do_huge_header, NULL, "a header of =BYTES (200000)"},
	{"score", CONTENT, NULL, sh_score, "=TEXT between the tags: 150, -5, 55.5, seventy, .."},
	{"no-score", CONTENT, NULL, sh_no_score, "no tags, finish_reason stop"},
	{"abort", CONTENT, NULL, sh_abort, "no score, finish_reason abort"},
	{"length", CONTENT, NULL, sh_length, "no score, finish_reason length"},
	{"finish", CONTENT, NULL, sh_finish, "finish_reason =TEXT, with a score"},
	{"quoted-score", CONTENT, NULL, sh_quoted, "other tags quoted before the real ones"},
	{"tail", CONTENT, NULL, sh_tail, "=TEXT behind the score (an unclosed tag)"},
	{"think", CONTENT, NULL, sh_think, "a <think> block with another score first"},
	{"split", CONTENT, NULL, sh_split, "reasoning in reasoning_content, score in content"},
	{"reasoning-content", CONTENT, NULL, sh_reasoning_content, "all in reasoning_content, content null"},
	{"reasoning", CONTENT, NULL, sh_reasoning, "all in reasoning, content null"},
	{"null-content", CONTENT, NULL, sh_null, "content null and nothing else"},
	{"parts", CONTENT, NULL, sh_parts, "content is a list of parts"},
	{"nul", CONTENT, NULL, sh_nul, "\\u0000 in the text"},
	{"control", CONTENT, NULL, sh_control, "escaped control characters in the text"},
	{"raw-control", CONTENT, NULL, sh_raw_control, "unescaped control characters in the text"},
	{"replacement", CONTENT, NULL, sh_replacement, "U+FFFD and U+FEFF in the text"},
	{"surrogate", CONTENT, NULL, sh_surrogate, "lone surrogate escapes in the text"},
	{"bad-utf8", CONTENT, NULL, sh_bad_utf8, "bytes that are not UTF-8 in the text"},
	{"unicode", CONTENT, NULL, sh_unicode, "valid characters of several scripts in the text"},
	{"usage", CONTENT, NULL, sh_usage, "=missing, null, empty, string, wrong, negative, huge, float, or JSON"},
	{"choices", CONTENT, NULL, sh_choices, "=empty, missing, null, nulls, string, object, no-message, null-message, text, short, reversed, or JSON"},
	{"hang", REPLY, re_hang, NULL, "never answered, slots held until the client goes or /sim/reset"},
	{"body", REPLY, re_body, NULL, "200 with =TEXT as body"},
	{"junk", REPLY, re_junk, NULL, "200 with a body that is not JSON"},
	{"truncated", REPLY, re_truncated, NULL, "200 with the first =BYTES (half) of the JSON, as if that were all"},
	{"empty", REPLY, re_empty, NULL, "200 without a body"},
	{"sse-error", REPLY, re_sse_error, NULL, "200 with data: {\"error\":..}"},
	{"error-200", REPLY, re_error_200, NULL, "200 with an error body; =ENVELOPE"},
	{"json", REPLY, re_json, NULL, "200 with =array, null, number, string, object, true, or JSON"},
	{"deep", REPLY, re_deep, NULL, "200 with =DEPTH (100000) nested arrays"},
	{"bom", REPLY, re_bom, NULL, "a byte order mark before the JSON"},
	{"twice", REPLY, re_twice, NULL, "the JSON two times"},
	{"padded", REPLY, re_padded, NULL, "=BYTES (100000) of white space behind the JSON"},
	{"gzip", REPLY, re_gzip, NULL, "Content-Encoding: gzip, unasked"},
	{"content-type", REPLY, re_content_type, NULL, "Content-Type: =TEXT; empty: none"},
	{"cut", REPLY, re_cut, NULL, "closed after =BYTES (half) of the body"},
	{"cut-reset", REPLY, re_cut_reset, NULL, "TCP reset after =BYTES (half) of the body"},
	{"stall", REPLY, re_stall, NULL, "nothing more after =BYTES (half) of the body"},
	{"drip", REPLY, re_drip, NULL, "bytes=N (64) of the body every =MS (100)"},
	{"huge", REPLY, re_huge, NULL, "a body of =BYTES (64 MiB)"},
	{"huge-chunked", REPLY, re_huge_chunked, NULL, "the same without Content-Length"},
	{"chunked", REPLY, re_chunked, NULL, "a good reply in chunks of =BYTES (200)"},
	{"chunked-cut", REPLY, re_chunked_cut, NULL, "chunks, closed after =BYTES (half) without the last one"},
	{"last", REPLY, re_last, NULL, "a good reply with Connection: close"},
	{"close-behind", REPLY, re_close_behind, NULL, "a good reply, then the connection is closed unsaid"},
	{NULL, ARRIVAL, NULL, NULL, NULL}
};

static void
apply_error(SimRequest *req, SimFault *f)
{
	f->mode->apply(req, f);
	add_retry_after(req, f);
}

SimFaultResult
sim_fault_arrival(SimRequest *req)
{
	SimFault   *f = req->fault;

	if (f == NULL || f->mode->phase != SIM_PHASE_ARRIVAL)
		return SIM_FAULT_NOTHING;
	apply_error(req, f);
	if (!f->late)
		return SIM_FAULT_ANSWERED;
	req->state = SIM_RECEIVING;
	return SIM_FAULT_LATER;
}

void
sim_fault_shape(SimRequest *req, SimShape *shape)
{
	if (req->fault != NULL && req->fault->mode->shape != NULL)
		req->fault->mode->shape(shape, req->fault);
}

void
sim_fault_reply(SimRequest *req)
{
	SimFault   *f = req->fault;

	if (f == NULL || f->mode->phase != SIM_PHASE_REPLY)
		return;
	f->mode->apply(req, f);
	add_retry_after(req, f);
}

bool
sim_fault_early(SimRequest *req)
{
	if (!sim_fault_choose_early(req))
		return false;
	req->chat = true;
	sim_stats.chat++;
	sim_log_add(req);
	sim_log_details(req, "null", req->fault->mode->name);
	if (req->fault->mode->phase == SIM_PHASE_ARRIVAL)
		apply_error(req, req->fault);
	else
		do_close(req, req->fault);
	sim_stats_changed();
	return true;
}

bool
sim_fault_probe(SimRequest *req)
{
	if (!sim_fault_choose_probe(req))
		return false;

	/* An X-Sim header that was not understood is answered already */
	if (req->fault == NULL)
		return true;
	if (req->fault->mode->phase == SIM_PHASE_ARRIVAL)
	{
		apply_error(req, req->fault);
		return true;
	}

	/* A body to fail with: that of the path itself */
	req->endpoint->handle(req);
	if (req->fault->mode->phase == SIM_PHASE_REPLY)
		req->fault->mode->apply(req, req->fault);
	if (req->hang)
		req->reply.delivery = SIM_DELIVER_NEVER;
	req->state = SIM_READY;
	return true;
}
