/*-------------------------------------------------------------------------
 *
 * fault_error.c
 *		Failures in the place of any service: errors, and no answer at all.
 *
 * Called by: fault_apply.c.  Calls: error.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "error.h"
#include "fault_modes.h"
#include "http.h"

void
sim_fault_do_status(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 500, NULL, NULL, NULL, NULL);
}

void
sim_fault_do_too_long(SimRequest *req, SimFault *f)
{
	int			context = f->tokens > 0 ? f->tokens :
		sim_settings.context > 0 ? sim_settings.context : 1024;
	int			prompt = req->prompt_tokens;

	if (prompt < context)
		prompt = context + 1;
	sim_error_too_long(req, prompt, 1024, context,
					   strcmp(f->value, "old") == 0);
}

void
sim_fault_do_model(SimRequest *req, SimFault *f)
{
	sim_error_model(req, sim_fault_text(f->value, "nosuch"));
}

void
sim_fault_do_key(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_key(req);
}

/* Some servers say which key they refused, as a whole or in parts */
void
sim_fault_do_echo_key(SimRequest *req, SimFault *f)
{
	const char *value = sim_http_header(req, "Authorization");
	char		message[16384];

	snprintf(message, sizeof(message), "Incorrect API key provided: %s",
			 value != NULL ? value : "none");
	sim_fault_error(req, f, 401, NULL, "invalid_api_key", NULL, message);
}

void
sim_fault_do_forbidden(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 403, NULL, NULL, NULL,
					"You are not allowed to sample from this model");
}

void
sim_fault_do_quota(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 429, "insufficient_quota", "insufficient_quota",
					"wrapped",
					"You exceeded your current quota, please check your plan and billing details.");
}

void
sim_fault_do_rate_limit(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 429, "requests", "rate_limit_exceeded", "wrapped",
					"Rate limit reached for requests per min. Please try again in 1s.");
}

void
sim_fault_do_queue_full(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_queue_full(req);
}

void
sim_fault_do_overloaded(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 429, "overloaded", NULL, "string",
					"Model is overloaded");
}

void
sim_fault_do_preempted(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 503, NULL, NULL, NULL,
					"The request is aborted by a higher priority request.");
}

void
sim_fault_do_loading(SimRequest *req, SimFault *f)
{
	(void) f;
	sim_error_loading(req);
}

void
sim_fault_do_no_worker(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 503, "Service Unavailable", "no_available_workers",
					"wrapped", "No available workers (all circuits open or unhealthy)");
}

void
sim_fault_do_shed(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 429, "Too Many Requests",
					"worker_overload_protection_shed", "wrapped",
					"All workers are overloaded");
	sim_reply_header(&req->reply, "x-smg-error-code",
					 "worker_overload_protection_shed");
	if (f->retry_after[0] == '\0')
		sim_reply_header(&req->reply, "Retry-After", "1");
}

void
sim_fault_do_draining(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 500, "InternalServerError", NULL, "wrapped",
					"cannot schedule new futures after shutdown");
}

void
sim_fault_do_engine_dead(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 500, NULL, NULL, "empty", NULL);
}

void
sim_fault_do_body_too_large(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 413, NULL, NULL, "html", NULL);
}

void
sim_fault_do_bad_gateway(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 502, NULL, NULL, "html", NULL);
}

void
sim_fault_do_gateway_timeout(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 504, NULL, NULL, "html", NULL);
}

void
sim_fault_do_redirect(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 307, NULL, NULL, "html", NULL);
	sim_reply_header(&req->reply, "Location",
					 sim_fault_text(f->value, "http://127.0.0.1:9/elsewhere"));
}

void
sim_fault_do_duplicate_id(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 400, NULL, NULL, NULL,
					"Request id chatcmpl-sim already running.");
}

void
sim_fault_do_validation(SimRequest *req, SimFault *f)
{
	sim_fault_error(req, f, 422, NULL, NULL, "details", "Field required");
}

void
sim_fault_do_close(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.delivery = SIM_DELIVER_CLOSE;
	req->state = SIM_READY;
}

void
sim_fault_do_reset(SimRequest *req, SimFault *f)
{
	(void) f;
	req->reply.delivery = SIM_DELIVER_RESET;
	req->state = SIM_READY;
}

void
sim_fault_do_silent(SimRequest *req, SimFault *f)
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

void
sim_fault_do_garbage(SimRequest *req, SimFault *f)
{
	static const char bytes[] = "\x16\x03\x01\0\xff\xfe not HTTP at all \r\n\r\n";

	if (f->value[0] != '\0')
		raw(req, f->value, strlen(f->value));
	else
		raw(req, bytes, sizeof(bytes) - 1);
}

void
sim_fault_do_header_cut(SimRequest *req, SimFault *f)
{
	static const char bytes[] = "HTTP/1.1 200 OK\r\nContent-Type: applicat";

	(void) f;
	raw(req, bytes, sizeof(bytes) - 1);
}

void
sim_fault_do_bad_length(SimRequest *req, SimFault *f)
{
	char		bytes[256];

	snprintf(bytes, sizeof(bytes),
			 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %.60s\r\n\r\n{\"choices\":[]}",
			 sim_fault_text(f->value, "-5"));
	raw(req, bytes, strlen(bytes));
}

void
sim_fault_do_huge_header(SimRequest *req, SimFault *f)
{
	long		n = sim_fault_number(f->value, f->bytes, 200000);
	SimBuf		buf = {0};

	sim_buf_puts(&buf, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Padding: ");
	for (long i = 0; i < n; i++)
		sim_buf_append(&buf, "x", 1);
	sim_buf_puts(&buf, "\r\n\r\n{}");
	raw(req, buf.data, buf.len);
	sim_buf_free(&buf);
}
