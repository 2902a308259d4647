/*-------------------------------------------------------------------------
 *
 * fault_reply.c
 *		Failures of the reply: another body, or a good one sent in a bad way.
 *
 * Called by: fault_apply.c.  Calls: gzip.c, deliver.c (headers).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "fault_modes.h"
#include "gzip.h"

static void
replace_body(SimRequest *req, const char *text, const char *content_type)
{
	req->reply.body.len = 0;
	sim_buf_puts(&req->reply.body, text);
	req->reply.content_type = content_type;
}

void
sim_fault_re_none(SimRequest *req, SimFault *f)
{
	(void) req;
	(void) f;
}

void
sim_fault_re_hang(SimRequest *req, SimFault *f)
{
	(void) f;
	req->hang = true;
}

void
sim_fault_re_hold(SimRequest *req, SimFault *f)
{
	(void) f;
	req->hold = true;
}

void
sim_fault_re_success(SimRequest *req, SimFault *f)
{
	req->reply.status = (int) sim_fault_number(f->value, -1, 201);
}

void
sim_fault_re_body(SimRequest *req, SimFault *f)
{
	replace_body(req, f->message[0] ? f->message : f->value, NULL);
	if (f->status != 0)
		req->reply.status = f->status;
}

void
sim_fault_re_junk(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "<<< this is } not JSON [ at all, <score>50</score>", NULL);
}

void
sim_fault_re_truncated(SimRequest *req, SimFault *f)
{
	SimBuf	   *body = &req->reply.body;
	size_t		len = sim_fault_number(f->value, f->bytes, body->len / 2);

	if (len < body->len)
		body->len = len;
}

void
sim_fault_re_empty(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "", NULL);
}

void
sim_fault_re_sse_error(SimRequest *req, SimFault *f)
{
	(void) f;
	replace_body(req, "data: {\"error\":{\"message\":\"Streaming response failed: [503] The request queue is full.\",\"type\":\"InternalServerError\",\"param\":null,\"code\":503}}\n\ndata: [DONE]\n\n",
				 "text/event-stream; charset=utf-8");
}

void
sim_fault_re_error_200(SimRequest *req, SimFault *f)
{
	SimReply	reply = {.status = f->status ? f->status : 200};
	int			code = f->status ? f->status : 500;

	sim_fault_error(req, f, code, NULL, NULL, f->value[0] ? f->value : "wrapped",
					"CUDA error: an illegal memory access was encountered");
	reply.body = req->reply.body;
	reply.content_type = req->reply.content_type;
	req->reply = reply;
	req->reply.status = 200;
	req->state = SIM_RECEIVING;
}

void
sim_fault_re_json(SimRequest *req, SimFault *f)
{
	static const char *const values[][2] = {
		{"", "[]"}, {"array", "[]"}, {"null", "null"}, {"number", "50"},
		{"string", "\"<score>50</score>\""}, {"object", "{}"},
		{"true", "true"},
		{NULL, NULL}
	};

	replace_body(req, sim_fault_pick(values, f->value), NULL);
}

void
sim_fault_re_deep(SimRequest *req, SimFault *f)
{
	long		depth = sim_fault_number(f->value, f->bytes, 100000);
	SimBuf	   *body = &req->reply.body;

	replace_body(req, "{\"choices\":", NULL);
	for (long i = 0; i < depth; i++)
		sim_buf_append(body, "[", 1);
	for (long i = 0; i < depth; i++)
		sim_buf_append(body, "]", 1);
	sim_buf_append(body, "}", 1);
}

void
sim_fault_re_bom(SimRequest *req, SimFault *f)
{
	SimBuf		body = {0};

	(void) f;
	sim_buf_puts(&body, "\xEF\xBB\xBF");
	sim_buf_append(&body, req->reply.body.data, req->reply.body.len);
	sim_buf_free(&req->reply.body);
	req->reply.body = body;
}

void
sim_fault_re_twice(SimRequest *req, SimFault *f)
{
	SimBuf	   *body = &req->reply.body;
	size_t		len = body->len;

	(void) f;
	sim_buf_reserve(body, len);
	sim_buf_append(body, body->data, len);
}

void
sim_fault_re_padded(SimRequest *req, SimFault *f)
{
	long		n = sim_fault_number(f->value, f->bytes, 100000);

	/* White space behind the JSON value is still JSON */
	for (long i = 0; i < n; i++)
		sim_buf_append(&req->reply.body, i % 64 ? " " : "\n", 1);
}

void
sim_fault_re_gzip(SimRequest *req, SimFault *f)
{
	SimBuf		packed = {0};

	(void) f;
	sim_gzip_store(&packed, req->reply.body.data, req->reply.body.len);
	sim_buf_free(&req->reply.body);
	req->reply.body = packed;
	sim_reply_header(&req->reply, "Content-Encoding", "gzip");
}

void
sim_fault_re_content_type(SimRequest *req, SimFault *f)
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

void
sim_fault_re_cut(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, sim_fault_number(f->value, f->bytes, len / 2), SIM_END_CLOSE);
}

void
sim_fault_re_cut_reset(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, sim_fault_number(f->value, f->bytes, len / 2), SIM_END_RESET);
}

void
sim_fault_re_stall(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, sim_fault_number(f->value, f->bytes, len / 2), SIM_END_STALL);
}

void
sim_fault_re_drip(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, len, SIM_END_NORMAL);
	req->reply.drip_ms = sim_fault_number(f->value, f->ms, 100);
	req->reply.drip_bytes = f->bytes > 0 ? f->bytes : 64;
}

void
sim_fault_re_huge(SimRequest *req, SimFault *f)
{
	long		n = sim_fault_number(f->value, f->bytes, 64L * 1024 * 1024);

	stream(req, n, n, SIM_END_NORMAL);
}

void
sim_fault_re_huge_chunked(SimRequest *req, SimFault *f)
{
	sim_fault_re_huge(req, f);
	req->reply.chunked = true;
}

void
sim_fault_re_chunked(SimRequest *req, SimFault *f)
{
	size_t		len = req->reply.body.len;

	stream(req, len, len, SIM_END_NORMAL);
	req->reply.chunked = true;
	req->reply.drip_bytes = sim_fault_number(f->value, f->bytes, 200);
}

void
sim_fault_re_chunked_cut(SimRequest *req, SimFault *f)
{
	sim_fault_re_cut(req, f);
	req->reply.chunked = true;
}

void
sim_fault_re_last(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.close = true;
}

void
sim_fault_re_close_behind(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.close_behind = true;
}
