/*-------------------------------------------------------------------------
 *
 * front.c
 *		What stands between client and server: a router or a proxy.
 *
 * Called by: route.c, http.c, control.c.  Calls: error.c, sched.c.
 *
 * Not a second process that passes requests on, but what a client sees of one:
 * one worker, this simulator, behind it.  That is what routers make of several
 * workers too, for Retro* prompts all begin alike, and their default policy
 * sends what begins alike to the same worker.  Wordings and numbers come from
 * sglang-router 0.3.2, smg 1.13.0, vllm-router 0.1.17, LiteLLM 1.108.7 and
 * nginx 1.30.6, as they answered on 30 Nov 2026.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "chat.h"
#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "front.h"
#include "http.h"
#include "probe.h"
#include "sched.h"
#include "stats.h"

/* What each router does when nothing is set */
static const struct
{
	int			attempts;
	int			breaker;		/* failures in a row; 0: it has none */
	bool		counts_429;		/* as a failure of the worker */
	int			pause_ms;		/* before the second attempt; grows by half */
}			defaults[] = {
	[SIM_NO_ROUTER] = {1, 0, false, 0},
	[SIM_SGLANG_ROUTER] = {5, 10, true, 50},
	[SIM_SMG] = {5, 10, true, 50},
	[SIM_VLLM_ROUTER] = {5, 10, false, 50},
	[SIM_LITELLM] = {3, 0, false, 500},
};

static int	failures;			/* of the worker, in a row */
static uint64_t open_until;		/* the breaker; 0: closed */

static bool is_uuid(const char *text);
static bool router_answers(SimRequest *req);
static bool litellm_answers(SimRequest *req);
static bool key_missing(const SimRequest *req);
static bool key_valid(const SimRequest *req);
static void router_models(SimRequest *req);
static void router_key(SimRequest *req);
static void unknown_url(SimRequest *req);
static bool no_worker(SimRequest *req);
static void no_worker_yet(SimRequest *req);
static void all_unavailable(SimRequest *req);
static void worker_down(SimRequest *req);
static void proxy_page(SimRequest *req, int status);
static void proxy_timeout(SimTimer *timer, void *arg);
static bool failed(const SimRequest *req);
static bool to_be_tried_again(const SimRequest *req);
static void note(const SimRequest *req);
static void attempt_due(SimTimer *timer, void *arg);
static void litellm_words(SimRequest *req);

static bool
is_chat(const SimRequest *req)
{
	return req->endpoint != NULL && req->endpoint->handle == sim_chat_handle;
}

static bool
is_path(const SimRequest *req, const char *path)
{
	return req->endpoint != NULL && strcmp(req->endpoint->path, path) == 0;
}

bool
sim_front_answers(SimRequest *req)
{
	const char *id = sim_http_header(req, "X-Request-Id");

	if (sim_settings.proxy_max_body > 0 &&
		req->body_len > (size_t) sim_settings.proxy_max_body)
	{
		proxy_page(req, 413);
		req->reply.close = true;
		return true;
	}
	if (sim_settings.proxy_timeout_ms > 0 && is_chat(req) && req->tries == 0)
		sim_timer_set(&req->proxy, sim_now() +
					  (uint64_t) sim_settings.proxy_timeout_ms * 1000,
					  proxy_timeout, req);
	if (sim_settings.router != SIM_NO_ROUTER && router_answers(req))
	{
		req->given_up = true;
		return true;
	}
	if (sim_settings.uuid_ids && id != NULL && !is_uuid(id))
	{
		SimError	e = {.status = 400,.envelope = "empty"};

		sim_error(req, &e);
		return true;
	}
	if (is_chat(req))
	{
		req->tries++;
		sim_stats.attempts++;
	}
	if (sim_settings.workers == SIM_WORKERS_DOWN && is_chat(req))
	{
		worker_down(req);
		return true;
	}
	return false;
}

/* 32 hexadecimal digits, with or without the dashes, as Python reads it */
static bool
is_uuid(const char *text)
{
	int			digits = 0;

	for (; *text != '\0'; text++)
	{
		if (*text == '-')
			continue;
		if (strchr("0123456789abcdefABCDEF", *text) == NULL)
			return false;
		digits++;
	}
	return digits == 32;
}

static bool
router_answers(SimRequest *req)
{
	SimRouter	router = sim_settings.router;
	bool		known = is_chat(req) || is_path(req, "/health") ||
		is_path(req, "/readiness") || is_path(req, "/v1/models");

	if (router == SIM_LITELLM)
		return litellm_answers(req);
	if (is_path(req, "/health") || is_path(req, "/readiness"))
	{
		sim_front_path(req);
		return true;
	}
	if (router == SIM_VLLM_ROUTER)
		return is_chat(req) && no_worker(req);
	if (is_path(req, "/v1/models"))
		router_models(req);
	else if (router == SIM_SMG && !known)
		unknown_url(req);
	else if (is_path(req, "/abort_request"))
	{
		SimError	e = {.status = 404,.envelope = "empty"};

		sim_error(req, &e);
	}
	else if (is_chat(req) && sim_options.api_key != NULL && !key_valid(req))
		router_key(req);
	else
		return is_chat(req) && no_worker(req);
	return true;
}

/* Without a database, as its own quick start has it */
static bool
litellm_answers(SimRequest *req)
{
	if (is_path(req, "/health/liveliness"))
	{
		sim_front_path(req);
		return true;
	}
	if (req->endpoint == NULL || is_path(req, "/abort_request"))
	{
		SimError	e = {.status = 404,.envelope = "detail"};

		sim_error(req, &e);
		return true;
	}
	if (sim_options.api_key == NULL || key_valid(req))
	{
		if (is_path(req, "/v1/models"))
			router_models(req);
		else if (is_path(req, "/health"))
			sim_front_path(req);
		else
			return false;
		return true;
	}
	if (key_missing(req))
	{
		SimError	e = {
			.status = 500,.envelope = "text",.message = "Internal Server Error"
		};

		sim_error(req, &e);
	}
	else
	{
		SimBuf		body = {0};

		sim_buf_puts(&body, "{\"error\":{\"message\":\"No connected db.\",\"type\":\"no_db_connection\",\"param\":null,\"code\":\"400\"}}");
		sim_reply_json(req, 400, &body);
	}
	return true;
}

static bool
key_missing(const SimRequest *req)
{
	return sim_http_header(req, "Authorization") == NULL;
}

static bool
key_valid(const SimRequest *req)
{
	const char *value = sim_http_header(req, "Authorization");

	return value != NULL && strncasecmp(value, "Bearer ", 7) == 0 &&
		strcmp(value + 7, sim_options.api_key) == 0;
}

/* Each has its own list.  sglang-router does not know what a vLLM serves. */
static void
router_models(SimRequest *req)
{
	const char *name = sim_options.nmodels > 0 ? sim_options.models[0] : "default";
	SimBuf		body = {0};

	if (sim_settings.workers != SIM_WORKERS_UP && sim_settings.router != SIM_LITELLM)
	{
		SimError	e = {
			.status = 503,.envelope = "text",.message = "No models available"
		};

		sim_error(req, &e);
		return;
	}
	if (sim_settings.router == SIM_SGLANG_ROUTER &&
		sim_settings.dialect == SIM_VLLM)
		name = "unknown";
	sim_buf_puts(&body, "{\"object\":\"list\",\"data\":[{\"id\":");
	sim_buf_json(&body, name);
	sim_buf_printf(&body, ",\"object\":\"model\",%s\"owned_by\":\"%s\"}]}",
				   sim_settings.router == SIM_SMG ? "\"created\":0," : "",
				   sim_settings.router == SIM_SMG ? "self_hosted" :
				   sim_settings.router == SIM_LITELLM ? "openai" : "local");
	sim_reply_json(req, 200, &body);
}

static void
router_key(SimRequest *req)
{
	SimError	e = {.status = 401,.envelope = "empty"};
	SimBuf		body = {0};

	if (sim_settings.router == SIM_SGLANG_ROUTER)
	{
		sim_error(req, &e);
		return;
	}
	sim_buf_puts(&body, "{\"error\":{\"message\":\"Invalid API key\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\"}}");
	sim_reply_json(req, 401, &body);
	sim_reply_header(&req->reply, "WWW-Authenticate",
					 "Bearer realm=\"data-plane\", error=\"invalid_token\"");
}

static void
unknown_url(SimRequest *req)
{
	SimBuf		body = {0};

	sim_buf_printf(&body, "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"unknown_url\",\"message\":\"Invalid URL (%s %s)\",\"param\":null}}",
				   req->endpoint != NULL ? req->endpoint->method : "GET",
				   req->endpoint != NULL ? req->endpoint->path : "/nosuch");
	sim_reply_json(req, 404, &body);
	sim_reply_header(&req->reply, "x-smg-error-code", "unknown_url");
}

/* Is there none to send it to?  Then it is answered. */
static bool
no_worker(SimRequest *req)
{
	if (sim_settings.workers == SIM_WORKERS_NONE)
		no_worker_yet(req);
	else if (sim_now() < open_until)
		all_unavailable(req);
	else
		return false;
	return true;
}

/* smg takes a model without workers for a model that there is not */
static void
no_worker_yet(SimRequest *req)
{
	SimBuf		body = {0};

	if (sim_settings.router != SIM_SMG)
	{
		all_unavailable(req);
		return;
	}
	sim_buf_puts(&body, "{\"error\":{\"type\":\"invalid_request_error\",\"code\":\"model_not_found\",\"message\":\"No worker available for model 'm'\",\"param\":null}}");
	sim_reply_json(req, 404, &body);
	sim_reply_header(&req->reply, "x-smg-error-code", "model_not_found");
}

static void
all_unavailable(SimRequest *req)
{
	SimBuf		body = {0};

	if (sim_settings.router == SIM_SMG)
		sim_buf_puts(&body, "{\"error\":{\"type\":\"server_error\",\"code\":\"no_available_workers\",\"message\":\"All workers are unavailable (circuit breaker open or unhealthy)\",\"param\":null}}");
	else
		sim_buf_puts(&body, "{\"error\":{\"type\":\"Service Unavailable\",\"code\":\"no_available_workers\",\"message\":\"No available workers (all circuits open or unhealthy)\"}}");
	sim_reply_json(req, 503, &body);
	sim_reply_header(&req->reply, "x-smg-error-code", "no_available_workers");
	if (sim_settings.router == SIM_SMG)
		sim_reply_header(&req->reply, "retry-after", "1");
}

/* The router reaches no worker: each has its own words for that */
static void
worker_down(SimRequest *req)
{
	static const char url[] = "error sending request for url (http://127.0.0.1:9/v1/chat/completions)";
	SimError	e = {.status = 500,.envelope = "text"};
	SimBuf		body = {0};
	char		message[256];

	switch (sim_settings.router)
	{
		case SIM_NO_ROUTER:
			proxy_page(req, 502);
			return;
		case SIM_VLLM_ROUTER:
			snprintf(message, sizeof(message), "Request failed: %s", url);
			e.message = message;
			sim_error(req, &e);
			return;
		case SIM_LITELLM:
			e.envelope = NULL;
			e.message = "Cannot connect to host 127.0.0.1:9 ssl:default [Connect call failed ('127.0.0.1', 9)]";
			sim_error(req, &e);
			return;
		case SIM_SGLANG_ROUTER:
			sim_buf_printf(&body, "{\"error\":{\"type\":\"Internal Server Error\",\"code\":\"call_upstream_request_error\",\"message\":\"%s\"}}",
						   url);
			break;
		case SIM_SMG:
			sim_buf_printf(&body, "{\"error\":{\"type\":\"server_error\",\"code\":\"call_upstream_connection_failed\",\"message\":\"%s\",\"param\":null}}",
						   url);
			break;
	}
	sim_reply_json(req, 500, &body);
	sim_reply_header(&req->reply, "x-smg-error-code",
					 sim_settings.router == SIM_SMG ?
					 "call_upstream_connection_failed" :
					 "call_upstream_request_error");
}

static void
proxy_page(SimRequest *req, int status)
{
	SimError	e = {.status = status,.envelope = "html"};

	sim_error(req, &e);
}

/* It answers in the server's place, and closes its connection to it */
static void
proxy_timeout(SimTimer *timer, void *arg)
{
	SimRequest *req = arg;

	(void) timer;
	if (req->state == SIM_SENDING || req->state == SIM_GONE)
		return;
	sim_sched_remove(req);
	sim_timer_stop(&req->timer);
	proxy_page(req, sim_settings.proxy_timeout_status);
	req->given_up = true;
	sim_stats.proxy_timeouts++;
	sim_http_resume(req);
	sim_stats_changed();
}

bool
sim_front_again(SimRequest *req)
{
	SimRouter	router = sim_settings.router;
	int			most = sim_settings.router_attempts >= 0 ?
		sim_settings.router_attempts : defaults[router].attempts;
	uint64_t	pause = (uint64_t) defaults[router].pause_ms * 1000;

	/* what the front said itself is no word of the server */
	if (router == SIM_NO_ROUTER || !is_chat(req) || req->tries == 0 ||
		req->given_up)
		return false;
	note(req);
	if (!to_be_tried_again(req) || req->tries >= most)
	{
		req->given_up = true;
		if (router == SIM_LITELLM)
		{
			litellm_words(req);
			sim_reply_header(&req->reply, "x-litellm-call-id",
							 "9f64b118-4559-487e-9c0b-359460d6b630");
		}
		else if (req->reply.delivery != SIM_DELIVER_RESPONSE && failed(req))
			worker_down(req);
		return false;
	}
	for (int i = 1; i < req->tries; i++)
		pause += pause / 2;
	req->state = SIM_WAITING;
	sim_timer_set(&req->timer, sim_now() + pause, attempt_due, req);
	return true;
}

static bool
failed(const SimRequest *req)
{
	int			status = req->reply.status;

	switch (req->reply.delivery)
	{
		case SIM_DELIVER_RESPONSE:
			return !req->reply.fixed &&
				(status >= 500 || status == 408 ||
				 (status == 429 && defaults[sim_settings.router].counts_429));
		case SIM_DELIVER_NEVER:
			return false;
		default:
			return true;
	}
}

static bool
to_be_tried_again(const SimRequest *req)
{
	return failed(req) || (req->reply.delivery == SIM_DELIVER_RESPONSE &&
						   req->reply.status == 429);
}

/*
 * The breaker counts what follows one another; a half-open one opens at once.
 * What was sent before it opened is of no account.
 */
static void
note(const SimRequest *req)
{
	int			most = sim_settings.router_breaker >= 0 ?
		sim_settings.router_breaker : defaults[sim_settings.router].breaker;

	if (sim_now() < open_until)
		return;
	if (!failed(req))
	{
		failures = 0;
		open_until = 0;
		return;
	}
	failures++;
	if (most > 0 && (failures >= most || open_until > 0))
	{
		open_until = sim_now() + (uint64_t) sim_settings.router_breaker_ms * 1000;
		failures = 0;
		sim_stats.breaker_opened++;
	}
}

static void
attempt_due(SimTimer *timer, void *arg)
{
	SimRequest *req = arg;

	(void) timer;
	sim_reply_clear(&req->reply);
	free(req->fault);
	req->fault = NULL;
	req->hang = req->hold = false;
	req->service = 0;
	req->state = SIM_RECEIVING;
	sim_http_resume(req);
}

/* The server's words, as they are, within a longer text */
static void
litellm_words(SimRequest *req)
{
	SimReply   *reply = &req->reply;
	const char *kind = "InternalServerError";
	const char *type = "null";
	char		status[16];
	SimBuf		message = {0};
	SimBuf		body = {0};

	if (reply->status == 200 || reply->delivery == SIM_DELIVER_NEVER)
		return;
	if (reply->delivery != SIM_DELIVER_RESPONSE)
		worker_down(req);
	if (reply->status == 400)
	{
		kind = reply->body.data != NULL && strstr(reply->body.data, "context") ?
			"ContextWindowExceededError: litellm.BadRequestError" : "BadRequestError";
		type = "\"invalid_request_error\"";
	}
	sim_buf_printf(&message, "litellm.%s: Hosted_vllmException - %s\nmodel=m. context_window_fallbacks=None. fallbacks=None.\n\nLiteLLM: model group 'm' failed with the error above. No fallback was attempted.",
				   kind, reply->body.data != NULL ? reply->body.data : "");
	snprintf(status, sizeof(status), "%d", reply->status);
	sim_buf_puts(&body, "{\"error\":{\"message\":");
	sim_buf_json(&body, message.data);
	sim_buf_printf(&body, ",\"type\":%s,\"param\":null,\"code\":\"%s\"}}", type,
				   status);
	sim_buf_free(&message);
	sim_reply_json(req, atoi(status), &body);
}

void
sim_front_path(SimRequest *req)
{
	SimRouter	router = sim_settings.router;
	SimError	e = {.status = 200,.envelope = "text",.message = "OK"};
	SimBuf		body = {0};

	if (router == SIM_NO_ROUTER)
	{
		sim_error_path(req);
		return;
	}
	if (router == SIM_LITELLM)
	{
		sim_buf_puts(&body, is_path(req, "/health") ?
					 "{\"healthy_endpoints\":[{\"model\":\"hosted_vllm/m\"}],\"unhealthy_endpoints\":[],\"healthy_count\":1,\"unhealthy_count\":0}" :
					 "\"I'm alive!\"");
		sim_reply_json(req, 200, &body);
		return;
	}
	if (is_path(req, "/health"))
		e.message = router == SIM_VLLM_ROUTER ? "All servers healthy" : "OK";
	else if (sim_settings.workers != SIM_WORKERS_UP)
		e.status = 503;
	sim_error(req, &e);
}

bool
sim_front_hides_clients(void)
{
	return sim_settings.router == SIM_LITELLM;
}

void
sim_front_reset(void)
{
	failures = 0;
	open_until = 0;
}
