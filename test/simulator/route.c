/*-------------------------------------------------------------------------
 *
 * route.c
 *		Which paths there are, who may use them, and what becomes of the rest.
 *
 * Called by: http.c.  Calls: the handlers in chat.c, probe.c, control.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "chat.h"
#include "control.h"
#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "fault_apply.h"
#include "front.h"
#include "http.h"
#include "log.h"
#include "probe.h"
#include "route.h"
#include "stats.h"

#define BIT(dialect) (1u << (dialect))
#define EVERY (BIT(SIM_SGLANG) | BIT(SIM_VLLM) | BIT(SIM_LLAMACPP) | \
			   BIT(SIM_OPENAI))
#define OWN (EVERY & ~BIT(SIM_OPENAI))	/* servers that one runs oneself */

/* "keyed": by those dialects that guard more than /v1, see guarded() */
static const SimEndpoint endpoints[] = {
	{"/v1/chat/completions", "POST", sim_chat_handle, EVERY, true},
	{"/v1/models", "GET", sim_probe_models, EVERY, true},
	{"/health", "GET", sim_probe_health, OWN, false},
	{"/health_generate", "GET", sim_probe_health, BIT(SIM_SGLANG), false},
	{"/get_model_info", "GET", sim_probe_model_info, BIT(SIM_SGLANG), true},
	{"/get_server_info", "GET", sim_probe_server_info, BIT(SIM_SGLANG), true},
	{"/version", "GET", sim_probe_version, BIT(SIM_VLLM), true},
	{"/props", "GET", sim_probe_props, BIT(SIM_LLAMACPP), true},
	{"/metrics", "GET", sim_probe_metrics, OWN, true},
	{"/abort_request", "POST", sim_chat_abort, BIT(SIM_SGLANG), true},
	{"/readiness", "GET", sim_front_path, EVERY, false},
	{"/health/liveliness", "GET", sim_front_path, EVERY, false},
	{"/sim/stats", "GET", sim_control_stats, EVERY, false},
	{"/sim/stats/reset", "POST", sim_control_stats_reset, EVERY, false},
	{"/sim/wait", "GET", sim_stats_wait, EVERY, false},
	{"/sim/log", "GET", sim_log_handle, EVERY, false},
	{"/sim/control", "GET", sim_control_get, EVERY, false},
	{"/sim/control", "POST", sim_control_post, EVERY, false},
	{"/sim/release", "POST", sim_control_release, EVERY, false},
	{"/sim/reset", "POST", sim_control_reset, EVERY, false},
	{"/sim/modes", "GET", sim_control_modes, EVERY, false},
};

static bool
is_control(const SimEndpoint *endpoint)
{
	return endpoint != NULL && strncmp(endpoint->path, "/sim/", 5) == 0;
}

void
sim_route_find(SimRequest *req, const char *path, const char *method)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;

	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++)
	{
		const SimEndpoint *e = &endpoints[i];

		if (strcmp(path, e->path) != 0 ||
			(e->dialects & BIT(sim_settings.dialect)) == 0)
			continue;
		if (strcmp(wanted, e->method) == 0)
		{
			req->endpoint = e;
			req->wrong_method = false;
			break;
		}
		req->wrong_method = true;
	}
	if (is_control(req->endpoint))
	{
		if (req->conn->requests == 1)
			sim_http_mark_control(req->conn);
		return;
	}
	sim_stats.requests++;
	if (strcmp(method, "POST") == 0)
		sim_stats.posts++;
	if (req->conn->requests > 1)
		sim_stats.reused++;
	else
		sim_stats_peaks();
}

bool
sim_route_early(SimRequest *req)
{
	return req->endpoint != NULL && req->endpoint->handle == sim_chat_handle &&
		sim_fault_early(req);
}

/* llama-server guards all but /health, vLLM and OpenAI what is under /v1 */
static bool
guarded(const SimRequest *req)
{
	if (sim_settings.dialect == SIM_SGLANG ||
		sim_settings.dialect == SIM_LLAMACPP)
		return req->endpoint == NULL || req->endpoint->keyed;
	return req->endpoint != NULL && strncmp(req->endpoint->path, "/v1/", 4) == 0;
}

static bool
key_valid(const SimRequest *req)
{
	const char *value = sim_http_header(req, "Authorization");

	if (value != NULL && strncasecmp(value, "Bearer ", 7) == 0 &&
		strcmp(value + 7, sim_options.api_key) == 0)
		return true;
	value = sim_http_header(req, "X-Api-Key");
	return sim_settings.dialect == SIM_LLAMACPP && value != NULL &&
		strcmp(value, sim_options.api_key) == 0;
}

void
sim_route_dispatch(SimRequest *req)
{
	bool		chat = req->endpoint != NULL &&
		req->endpoint->handle == sim_chat_handle;

	if (is_control(req->endpoint))
	{
		req->endpoint->handle(req);
		return;
	}
	if (sim_front_answers(req))
		;
	else if (sim_settings.loading)
		sim_error_loading(req);
	else if (sim_options.api_key != NULL && guarded(req) && !key_valid(req))
		sim_error_key(req);
	else if (req->endpoint == NULL)
		sim_error_path(req);
	else if (chat || !sim_fault_probe(req))
	{
		req->endpoint->handle(req);
		return;
	}

	if (chat)
		sim_chat_count(req);
	sim_stats_changed();
}
