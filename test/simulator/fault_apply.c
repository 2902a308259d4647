/*-------------------------------------------------------------------------
 *
 * fault_apply.c
 *		What a chosen failure does to its request.
 *
 * Called by: chat.c, route.c.  Calls: the functions of the failures, in
 * fault_error.c, fault_content.c and fault_reply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chat.h"
#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "fault_apply.h"
#include "fault_modes.h"
#include "http.h"
#include "log.h"
#include "stats.h"

#define ARRIVAL SIM_PHASE_ARRIVAL
#define CONTENT SIM_PHASE_CONTENT
#define REPLY SIM_PHASE_REPLY

const SimFaultMode sim_fault_modes[] = {
	{"none", REPLY, sim_fault_re_none, NULL, "no failure; for delay=MS alone"},
	{"status", ARRIVAL, sim_fault_do_status, NULL, "=CODE, with message, type, code, param, envelope, retry-after"},
	{"too-long", ARRIVAL, sim_fault_do_too_long, NULL, "400: prompt longer than the context, in the dialect's words (=old: older ones); tokens=CONTEXT"},
	{"model", ARRIVAL, sim_fault_do_model, NULL, "unknown model, in the dialect's words; =NAME"},
	{"auth", ARRIVAL, sim_fault_do_key, NULL, "401, in the dialect's words"},
	{"echo-key", ARRIVAL, sim_fault_do_echo_key, NULL, "401 that repeats the key it was given; status=CODE, envelope"},
	{"forbidden", ARRIVAL, sim_fault_do_forbidden, NULL, "403"},
	{"quota", ARRIVAL, sim_fault_do_quota, NULL, "429 insufficient_quota"},
	{"rate-limit", ARRIVAL, sim_fault_do_rate_limit, NULL, "429 rate_limit_exceeded"},
	{"queue-full", ARRIVAL, sim_fault_do_queue_full, NULL, "503, in the dialect's words"},
	{"overloaded", ARRIVAL, sim_fault_do_overloaded, NULL, "429 \"Model is overloaded\", as a string (TGI)"},
	{"preempted", ARRIVAL, sim_fault_do_preempted, NULL, "503 aborted by a higher priority request (SGLang)"},
	{"loading", ARRIVAL, sim_fault_do_loading, NULL, "503 while the model is loaded"},
	{"no-worker", ARRIVAL, sim_fault_do_no_worker, NULL, "503 no_available_workers (SGLang router)"},
	{"shed", ARRIVAL, sim_fault_do_shed, NULL, "429 with Retry-After and x-smg-error-code (SGLang gateway)"},
	{"draining", ARRIVAL, sim_fault_do_draining, NULL, "500 cannot schedule new futures after shutdown, /health is well (vLLM 0.32, --shutdown-timeout)"},
	{"engine-dead", ARRIVAL, sim_fault_do_engine_dead, NULL, "500 with an empty body (old vLLM)"},
	{"body-too-large", ARRIVAL, sim_fault_do_body_too_large, NULL, "413 with a proxy's HTML page"},
	{"bad-gateway", ARRIVAL, sim_fault_do_bad_gateway, NULL, "502 with a proxy's HTML page"},
	{"gateway-timeout", ARRIVAL, sim_fault_do_gateway_timeout, NULL, "504 (or status=524) with a proxy's HTML page"},
	{"redirect", ARRIVAL, sim_fault_do_redirect, NULL, "307 (or status=302) to =URL"},
	{"duplicate-id", ARRIVAL, sim_fault_do_duplicate_id, NULL, "400 request id already running (vLLM)"},
	{"validation", ARRIVAL, sim_fault_do_validation, NULL, "422 with FastAPI's list of details"},
	{"close", ARRIVAL, sim_fault_do_close, NULL, "closed without a byte"},
	{"reset", ARRIVAL, sim_fault_do_reset, NULL, "TCP reset without a byte"},
	{"silent", ARRIVAL, sim_fault_do_silent, NULL, "never answered, no slot held"},
	{"garbage", ARRIVAL, sim_fault_do_garbage, NULL, "bytes that are not HTTP (=TEXT), then closed"},
	{"header-cut", ARRIVAL, sim_fault_do_header_cut, NULL, "closed within the header"},
	{"bad-length", ARRIVAL, sim_fault_do_bad_length, NULL, "Content-Length: =TEXT (-5), then closed"},
	{"huge-header", ARRIVAL, sim_fault_do_huge_header, NULL, "a header of =BYTES (200000)"},
	{"score", CONTENT, NULL, sim_fault_sh_score, "=TEXT between the tags: 150, -5, 55.5, seventy, .."},
	{"no-score", CONTENT, NULL, sim_fault_sh_no_score, "no tags, finish_reason stop"},
	{"abort", CONTENT, NULL, sim_fault_sh_abort, "no score, finish_reason abort"},
	{"length", CONTENT, NULL, sim_fault_sh_length, "no score, finish_reason length after max_tokens; =early: before"},
	{"finish", CONTENT, NULL, sim_fault_sh_finish, "finish_reason =TEXT, with a score"},
	{"quoted-score", CONTENT, NULL, sim_fault_sh_quoted, "other tags quoted before the real ones"},
	{"tail", CONTENT, NULL, sim_fault_sh_tail, "=TEXT behind the score (an unclosed tag)"},
	{"think", CONTENT, NULL, sim_fault_sh_think, "a <think> block with another score first"},
	{"split", CONTENT, NULL, sim_fault_sh_split, "reasoning in reasoning_content, score in content"},
	{"reasoning-content", CONTENT, NULL, sim_fault_sh_reasoning_content, "all in reasoning_content, content null"},
	{"reasoning", CONTENT, NULL, sim_fault_sh_reasoning, "all in reasoning, content null"},
	{"null-content", CONTENT, NULL, sim_fault_sh_null, "content null and nothing else"},
	{"parts", CONTENT, NULL, sim_fault_sh_parts, "content is a list of parts"},
	{"nul", CONTENT, NULL, sim_fault_sh_nul, "\\u0000 in the text"},
	{"control", CONTENT, NULL, sim_fault_sh_control, "escaped control characters in the text"},
	{"raw-control", CONTENT, NULL, sim_fault_sh_raw_control, "unescaped control characters in the text"},
	{"replacement", CONTENT, NULL, sim_fault_sh_replacement, "U+FFFD and U+FEFF in the text"},
	{"surrogate", CONTENT, NULL, sim_fault_sh_surrogate, "lone surrogate escapes in the text"},
	{"bad-utf8", CONTENT, NULL, sim_fault_sh_bad_utf8, "bytes that are not UTF-8 in the text"},
	{"unicode", CONTENT, NULL, sim_fault_sh_unicode, "valid characters of several scripts in the text"},
	{"usage", CONTENT, NULL, sim_fault_sh_usage, "=missing, null, empty, string, wrong, negative, huge, float, or JSON"},
	{"choices", CONTENT, NULL, sim_fault_sh_choices, "=empty, missing, null, nulls, string, object, no-message, null-message, text, short, reversed, or JSON"},
	{"hang", REPLY, sim_fault_re_hang, NULL, "never answered, slots held until the client goes or /sim/reset"},
	{"hold", REPLY, sim_fault_re_hold, NULL, "a good reply, but not before POST /sim/release"},
	{"success", REPLY, sim_fault_re_success, NULL, "a good reply under status =CODE (201)"},
	{"body", REPLY, sim_fault_re_body, NULL, "200 (or status=CODE) with =TEXT as body"},
	{"junk", REPLY, sim_fault_re_junk, NULL, "200 with a body that is not JSON"},
	{"truncated", REPLY, sim_fault_re_truncated, NULL, "200 with the first =BYTES (half) of the JSON, as if that were all"},
	{"empty", REPLY, sim_fault_re_empty, NULL, "200 without a body"},
	{"sse-error", REPLY, sim_fault_re_sse_error, NULL, "200 with data: {\"error\":..}"},
	{"error-200", REPLY, sim_fault_re_error_200, NULL, "200 with an error body; =ENVELOPE"},
	{"json", REPLY, sim_fault_re_json, NULL, "200 with =array, null, number, string, object, true, or JSON"},
	{"deep", REPLY, sim_fault_re_deep, NULL, "200 with =DEPTH (100000) nested arrays"},
	{"bom", REPLY, sim_fault_re_bom, NULL, "a byte order mark before the JSON"},
	{"twice", REPLY, sim_fault_re_twice, NULL, "the JSON two times"},
	{"padded", REPLY, sim_fault_re_padded, NULL, "=BYTES (100000) of white space behind the JSON"},
	{"gzip", REPLY, sim_fault_re_gzip, NULL, "Content-Encoding: gzip, unasked"},
	{"content-type", REPLY, sim_fault_re_content_type, NULL, "Content-Type: =TEXT; empty: none"},
	{"cut", REPLY, sim_fault_re_cut, NULL, "closed after =BYTES (half) of the body"},
	{"cut-reset", REPLY, sim_fault_re_cut_reset, NULL, "TCP reset after =BYTES (half) of the body"},
	{"stall", REPLY, sim_fault_re_stall, NULL, "nothing more after =BYTES (half) of the body"},
	{"drip", REPLY, sim_fault_re_drip, NULL, "bytes=N (64) of the body every =MS (100)"},
	{"huge", REPLY, sim_fault_re_huge, NULL, "a body of =BYTES (64 MiB)"},
	{"huge-chunked", REPLY, sim_fault_re_huge_chunked, NULL, "the same without Content-Length"},
	{"chunked", REPLY, sim_fault_re_chunked, NULL, "a good reply in chunks of =BYTES (200)"},
	{"chunked-cut", REPLY, sim_fault_re_chunked_cut, NULL, "chunks, closed after =BYTES (half) without the last one"},
	{"last", REPLY, sim_fault_re_last, NULL, "a good reply with Connection: close"},
	{"close-behind", REPLY, sim_fault_re_close_behind, NULL, "a good reply, then the connection is closed unsaid"},
	{NULL, ARRIVAL, NULL, NULL, NULL}
};

long
sim_fault_number(const char *value, long parameter, long otherwise)
{
	if (value[0] != '\0')
		return atol(value);
	return parameter >= 0 ? parameter : otherwise;
}

const char *
sim_fault_text(const char *text, const char *otherwise)
{
	return text[0] != '\0' ? text : otherwise;
}

const char *
sim_fault_pick(const char *const table[][2], const char *name)
{
	for (int i = 0; table[i][0] != NULL; i++)
	{
		if (strcmp(table[i][0], name) == 0)
			return table[i][1];
	}
	return name;
}

void
sim_fault_error(SimRequest *req, const SimFault *f, int status, const char *type,
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
	sim_chat_count(req);
	sim_log_details(req, "null", req->fault->mode->name);
	if (req->fault->mode->phase == SIM_PHASE_ARRIVAL)
		apply_error(req, req->fault);
	else
		sim_fault_do_close(req, req->fault);
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
