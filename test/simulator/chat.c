/*-------------------------------------------------------------------------
 *
 * chat.c
 *		POST /v1/chat/completions and POST /abort_request.
 *
 * Called by: route.c, http.c (a request's end).  Calls: chat_input.c,
 * chat_check.c, fault.c, reply.c, sched.c, stats.c, log.c.
 *
 * The reply is made when the request arrives, because its length decides how
 * long a GPU would take; sched.c then lets it wait.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <json-c/json.h>

#include "chat.h"
#include "chat_input.h"
#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "fault_apply.h"
#include "http.h"
#include "log.h"
#include "reply.h"
#include "sched.h"
#include "stats.h"

/* Microseconds that a GPU would take */
static uint64_t
service_time(int prompt_tokens, int completion_tokens)
{
	double		us = sim_settings.delay_ms * 1000;

	if (sim_settings.prefill_tps > 0 || sim_settings.decode_tps > 0)
	{
		us = 0;
		if (sim_settings.prefill_tps > 0)
			us += prompt_tokens / sim_settings.prefill_tps * 1e6;
		if (sim_settings.decode_tps > 0)
			us += completion_tokens / sim_settings.decode_tps * 1e6;
	}
	if (sim_settings.jitter > 0)
		us *= 1 + sim_settings.jitter / 100 * (2 * sim_random() - 1);
	return us > 0 ? us : 0;
}

static void
submit(SimRequest *req)
{
	if (req->fault != NULL && req->fault->delay_ms >= 0)
		req->service = (uint64_t) req->fault->delay_ms * 1000;
	if (!sim_sched_submit(req))
	{
		sim_stats.refused++;
		sim_error_queue_full(req);
	}
}

/* The fixed mode: the body was not kept, the reply is there already */
static void
handle_fixed(SimRequest *req)
{
	req->slots = 1;
	req->prompt_tokens = 1000;
	req->completion_tokens = 300;
	req->service = service_time(req->prompt_tokens, req->completion_tokens);
	req->reply.status = 200;
	if (sim_fault_has_rules() || sim_http_header(req, "X-Sim") != NULL)
	{
		if (!sim_fault_choose(req, NULL, 0, 0))
			return;
		switch (sim_fault_arrival(req))
		{
			case SIM_FAULT_ANSWERED:
				return;
			case SIM_FAULT_LATER:
				submit(req);
				return;
			case SIM_FAULT_NOTHING:
				break;
		}
		if (req->fault != NULL)
		{
			sim_reply_fixed(&req->reply.body, sim_settings.fixed);
			sim_fault_reply(req);
			submit(req);
			return;
		}
	}
	req->reply.fixed = true;
	submit(req);
}

static bool
content_type_valid(SimRequest *req)
{
	const char *type;

	if (sim_settings.dialect != SIM_SGLANG && sim_settings.dialect != SIM_VLLM)
		return true;
	type = sim_http_header(req, "Content-Type");
	if (type != NULL && strncasecmp(type, "application/json", 16) == 0)
		return true;
	if (sim_settings.dialect == SIM_SGLANG)
		sim_error_simple(req, 400, "Bad Request",
						 "Unsupported Media Type: Only 'application/json' is allowed");
	else
		sim_error_simple(req, 415, NULL,
						 "Unsupported Media Type: Only 'application/json' is allowed");
	return false;
}

static void
take_rid(SimRequest *req, struct json_object *root)
{
	const char *rid = root ? sim_json_string(root, "rid") : NULL;

	if (rid == NULL)
		rid = sim_http_header(req, "X-Request-Id");
	if (rid != NULL)
		snprintf(req->rid, sizeof(req->rid), "%s", rid);
}

/* A parsed request; "in" still points into the JSON tree */
static void
handle_parsed(SimRequest *req, struct json_object *root, SimChatInput *in)
{
	SimShape	shape = {0};
	SimWish    *wish = &in->wish;
	char		seed[32] = "null";
	unsigned	seen;
	int			samples;
	int			longest;

	/* n is not checked yet */
	samples = wish->n < 1 || wish->n > SIM_MAX_CHOICES ? 1 : wish->n;
	seen = sim_stats_prompt(wish->prompt_hash, wish->seed, in->seeded, samples);
	if (!sim_fault_choose(req, in->prompt, in->prompt_len, seen))
		return;
	if (in->seeded)
		snprintf(seed, sizeof(seed), "%lld", (long long) wish->seed);
	sim_log_details(req, seed, req->fault ? req->fault->mode->name : NULL);
	req->prompt_tokens = wish->prompt_tokens;
	req->slots = 1;
	req->service = service_time(wish->prompt_tokens, 0);
	switch (sim_fault_arrival(req))
	{
		case SIM_FAULT_ANSWERED:
			return;
		case SIM_FAULT_LATER:
			submit(req);
			return;
		case SIM_FAULT_NOTHING:
			break;
	}
	if (!sim_chat_check(req, root, wish))
		return;
	req->slots = wish->n;
	sim_fault_shape(req, &shape);
	req->reply.status = 200;
	longest = sim_reply_make(&req->reply.body, wish, &shape,
							 &req->completion_tokens);
	req->service = service_time(wish->prompt_tokens, longest);
	sim_fault_reply(req);
	submit(req);
}

void
sim_chat_count(SimRequest *req)
{
	if (req->chat)
		return;
	req->chat = true;
	req->epoch = sim_stats_epoch();
	sim_stats.chat++;
	sim_log_add(req);
}

void
sim_chat_handle(SimRequest *req)
{
	struct json_object *root;
	SimChatInput in = {.prompt = NULL};

	sim_chat_count(req);
	take_rid(req, NULL);
	if (req->too_large)
	{
		SimError	e = {.status = 413};

		if (sim_settings.dialect == SIM_LLAMACPP)
			e.envelope = "empty";
		sim_error(req, &e);
	}
	else if (sim_settings.fixed >= 0)
		handle_fixed(req);
	else if (content_type_valid(req) && (root = sim_chat_parse(req)) != NULL)
	{
		take_rid(req, root);
		sim_chat_read(&in, root);
		handle_parsed(req, root, &in);
		sim_buf_free(&in.joined);
		json_object_put(root);
	}
	sim_stats_changed();
}

void
sim_chat_abort(SimRequest *req)
{
	SimShape	shape = {
		.choices = "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":\"abort\",\"matched_stop\":null}]"
	};
	SimWish		wish = {.model = "default",.n = 1};
	struct json_object *root = sim_chat_parse(req);
	SimRequest *victim;
	SimBuf		empty = {0};
	bool		all;
	int			total;

	if (root == NULL)
		return;
	all = json_object_get_boolean(json_object_object_get(root, "abort_all"));
	for (;;)
	{
		const char *rid = sim_json_string(root, "rid");

		victim = all ? sim_sched_first() : rid ? sim_sched_find(rid) : NULL;
		if (victim == NULL)
			break;
		sim_stats.aborted_rid++;
		if (sim_http_notice_gone(victim->conn))
			continue;
		sim_sched_remove(victim);
		sim_reply_clear(&victim->reply);
		victim->reply.status = 200;
		wish.prompt_tokens = victim->prompt_tokens;
		sim_reply_make(&victim->reply.body, &wish, &shape, &total);
		victim->state = SIM_READY;
		sim_http_resume(victim);
		if (!all)
			break;
	}
	json_object_put(root);
	sim_reply_json(req, 200, &empty);
	req->reply.content_type = "";
	sim_stats_changed();
}

void
sim_chat_end(SimRequest *req, bool whole)
{
	int			status = req->reply.status;
	bool		count = req->epoch == sim_stats_epoch();

	if (req->reply.deliberate)
	{
		sim_stats.broken_off += count;
		sim_log_end(req, req->state == SIM_SENDING ? status : 0, "broken off");
	}
	else if (req->state != SIM_SENDING || !whole)
	{
		sim_stats.aborted += count && !req->counted;
		sim_log_end(req, 0, "client gone");
	}
	else
	{
		sim_stats.errors += count && status != 200;
		if (status == 200 && count)
		{
			sim_stats.completed++;
			sim_stats.samples += req->slots;
			sim_stats.prompt_tokens += req->prompt_tokens;
			sim_stats.completion_tokens += req->completion_tokens;
		}
		sim_log_end(req, status, "sent");
	}
}
