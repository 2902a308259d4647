/*-------------------------------------------------------------------------
 *
 * control.c
 *		The control URLs below /sim/.
 *
 * Called by: route.c.  Calls: settings.c, fault.c, sched.c, listen.c, stats.c.
 *
 * Whatever is not understood is refused as a whole, with a word on what is
 * wrong: a test that misspells a setting must not pass.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "control.h"
#include "deliver.h"
#include "fault.h"
#include "front.h"
#include "http.h"
#include "listen.h"
#include "log.h"
#include "sched.h"
#include "settings.h"
#include "stats.h"

/* What a control request asks for, read whole before any of it is done */
typedef struct Order
{
	SimSettings settings;
	SimFault   *faults;
	int			nfaults;
	bool		clear;			/* the rules that are there */
	int			refuse_ms;		/* -1: not asked for */
	int			listening;		/* -1: not asked for */
	int			freeze_ms;		/* -1: not asked for */
	bool		husk;
	char		error[256];
} Order;

void
sim_control_stats(SimRequest *req)
{
	SimBuf		body = {0};

	sim_stats_json(&body);
	sim_reply_json(req, 200, &body);
}

void
sim_control_stats_reset(SimRequest *req)
{
	sim_stats_reset();
	sim_log_clear();
	sim_control_stats(req);
}

void
sim_control_get(SimRequest *req)
{
	SimBuf		body = {0};

	sim_settings_json(&body);
	sim_buf_printf(&body, ",\"listen\":%s,\"fail\":",
				   sim_listen_is_open() ? "true" : "false");
	sim_fault_rules_json(&body);
	sim_buf_puts(&body, "}\n");
	sim_reply_json(req, 200, &body);
}

static void
refuse(SimRequest *req, const char *message)
{
	SimBuf		body = {0};

	sim_buf_puts(&body, "{\"error\":");
	sim_buf_json(&body, message);
	sim_buf_puts(&body, "}\n");
	sim_reply_json(req, 400, &body);
}

static bool
read_faults(Order *order, struct json_object *list)
{
	int			n;

	if (!json_object_is_type(list, json_type_array))
	{
		strcpy(order->error, "\"fail\" is a list");
		return false;
	}
	n = json_object_array_length(list);
	order->faults = sim_alloc((n + 1) * sizeof(SimFault));
	for (int i = 0; i < n; i++)
	{
		if (!sim_fault_from_json(&order->faults[i],
								 json_object_array_get_idx(list, i),
								 order->error, sizeof(order->error)))
			return false;
	}
	order->nfaults = n;
	return true;
}

static bool
read_order(Order *order, struct json_object *root)
{
	json_object_object_foreach(root, name, value)
	{
		if (strcmp(name, "fail") == 0)
		{
			free(order->faults);
			order->faults = NULL;
			if (!read_faults(order, value))
				return false;
		}
		else if (strcmp(name, "fail_clear") == 0)
			order->clear = json_object_get_boolean(value);
		else if (strcmp(name, "refuse_ms") == 0)
			order->refuse_ms = json_object_get_int(value);
		else if (strcmp(name, "freeze_ms") == 0)
			order->freeze_ms = json_object_get_int(value);
		else if (strcmp(name, "husk") == 0)
			order->husk = json_object_get_boolean(value);
		else if (strcmp(name, "listen") == 0)
			order->listening = json_object_get_boolean(value);
		else if (!sim_setting_set(&order->settings, name,
								  json_object_get_string(value) ?
								  json_object_get_string(value) : ""))
		{
			snprintf(order->error, sizeof(order->error),
					 "no setting \"%.60s\", or not with the value %.60s", name,
					 json_object_get_string(value) ?
					 json_object_get_string(value) : "null");
			return false;
		}
	}
	return true;
}

static void
carry_out(const Order *order)
{
	if (order->clear)
		sim_fault_clear_rules();
	for (int i = 0; i < order->nfaults; i++)
		sim_fault_add_rule(&order->faults[i]);
	sim_settings_apply(&order->settings);
	if (order->freeze_ms >= 0)
		sim_sched_freeze(order->freeze_ms);
	if (order->husk)
	{
		sim_listen_close(0);
		sim_sched_lose();
		sim_http_close_idle();
	}
	if (order->refuse_ms > 0 || order->listening == 0)
		sim_listen_close(order->refuse_ms);
	else if (order->listening == 1)
		sim_listen_open();
	sim_stats_changed();
}

void
sim_control_post(SimRequest *req)
{
	Order		order = {
		.settings = sim_settings,.refuse_ms = -1,.listening = -1,.freeze_ms = -1
	};
	struct json_object *root;

	root = json_tokener_parse(req->body.data ? req->body.data : "");
	if (!json_object_is_type(root, json_type_object))
		refuse(req, "the body is not a JSON object");
	else if (!read_order(&order, root))
		refuse(req, order.error);
	else
	{
		carry_out(&order);
		sim_control_get(req);
	}
	free(order.faults);
	json_object_put(root);
}

void
sim_control_release(SimRequest *req)
{
	const char *n = sim_http_arg(req, "n");
	SimBuf		body = {0};

	sim_buf_printf(&body, "{\"released\":%d}\n",
				   sim_sched_release(n ? atoi(n) : -1));
	sim_reply_json(req, 200, &body);
}

void
sim_control_reset(SimRequest *req)
{
	sim_fault_clear_rules();
	sim_settings_reset();
	sim_sched_release(-1);
	sim_sched_freeze(0);
	sim_sched_drop_hung();
	sim_front_reset();
	sim_listen_open();
	sim_stats_reset();
	sim_log_clear();
	sim_control_get(req);
}

void
sim_control_modes(SimRequest *req)
{
	SimBuf		body = {0};

	sim_fault_modes_json(&body);
	sim_reply_json(req, 200, &body);
}
