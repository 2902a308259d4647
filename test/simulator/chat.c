/*-------------------------------------------------------------------------
 *
 * chat.c
 *		POST /v1/chat/completions and POST /abort_request.
 *
 * Called by: route.c, http.c (a request's end).  Calls: json-c, fault.c,
 * error.c, reply.c, sched.c, stats.c, log.c.
 *
 * The reply is made when the request arrives, because its length decides how
 * long a GPU would take; sched.c then lets it wait.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <json-c/json.h>

#include "chat.h"
#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "fault_apply.h"
#include "http.h"
#include "log.h"
#include "reply.h"
#include "sched.h"
#include "stats.h"

/* Nesting that json-c follows before it calls a body malformed */
#define SIM_JSON_DEPTH 64

/* A chat request, as far as the simulator reads it */
typedef struct ChatInput
{
	SimWish		wish;
	SimBuf		joined;			/* the prompt, when it has several pieces */
	const char *prompt;
	size_t		prompt_len;
	bool		seeded;
} ChatInput;

static uint64_t unseeded;		/* gives requests without a seed different ones */

static double
number_of(struct json_object *root, const char *name, double otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(root, name, &value) || value == NULL)
		return otherwise;
	return json_object_get_double(value);
}

static bool
has(struct json_object *root, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(root, name, &value) && value != NULL;
}

static const char *
string_of(struct json_object *root, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(root, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* One more piece of the prompt; the first is not copied while it is alone */
static void
add_prompt(ChatInput *in, struct json_object *text)
{
	const char *data = json_object_get_string(text);
	size_t		len = json_object_get_string_len(text);

	if (in->prompt == NULL)
	{
		in->prompt = data;
		in->prompt_len = len;
		return;
	}
	if (in->joined.data == NULL)
		sim_buf_append(&in->joined, in->prompt, in->prompt_len);
	sim_buf_append(&in->joined, "\n", 1);
	sim_buf_append(&in->joined, data, len);
	in->prompt = in->joined.data;
	in->prompt_len = in->joined.len;
}

static void
read_prompt(ChatInput *in, struct json_object *root)
{
	struct json_object *messages;
	struct json_object *content;
	struct json_object *text;

	if (!json_object_object_get_ex(root, "messages", &messages) ||
		!json_object_is_type(messages, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(messages); i++)
	{
		struct json_object *message = json_object_array_get_idx(messages, i);

		if (!json_object_is_type(message, json_type_object) ||
			!json_object_object_get_ex(message, "content", &content))
			continue;
		if (json_object_is_type(content, json_type_string))
			add_prompt(in, content);
		else if (json_object_is_type(content, json_type_array))
		{
			for (size_t j = 0; j < json_object_array_length(content); j++)
			{
				struct json_object *part = json_object_array_get_idx(content, j);

				if (json_object_is_type(part, json_type_object) &&
					json_object_object_get_ex(part, "text", &text) &&
					json_object_is_type(text, json_type_string))
					add_prompt(in, text);
			}
		}
	}
}

static void
read_stop(SimWish *wish, struct json_object *root)
{
	struct json_object *stop;

	if (!json_object_object_get_ex(root, "stop", &stop))
		return;
	if (json_object_is_type(stop, json_type_string))
		wish->stop[wish->nstop++] = json_object_get_string(stop);
	else if (json_object_is_type(stop, json_type_array))
	{
		for (size_t i = 0; i < json_object_array_length(stop) && i < 4; i++)
		{
			struct json_object *s = json_object_array_get_idx(stop, i);

			if (json_object_is_type(s, json_type_string))
				wish->stop[wish->nstop++] = json_object_get_string(s);
		}
	}
}

/* An integer of the request that may be huge, or no number at all */
static int
clamped(double value)
{
	return value >= INT_MAX ? INT_MAX : value <= -1 ? -1 : (int) value;
}

static void
read_wish(ChatInput *in, struct json_object *root)
{
	SimWish    *wish = &in->wish;
	bool		both = sim_settings.dialect == SIM_OPENAI;
	double		max_tokens = number_of(root, "max_tokens", -1);

	wish->model = string_of(root, "model");
	if (wish->model == NULL)
		wish->model = sim_options.nmodels > 0 ? sim_options.models[0] : "default";
	wish->temperature = number_of(root, "temperature", both ? 1.0 : 0.6);
	wish->n = clamped(number_of(root, "n", 1));
	wish->max_tokens =
		clamped(number_of(root, "max_completion_tokens", max_tokens));
	if (wish->max_tokens == 0)
		wish->max_tokens = 1;	/* as llama-server does */
	in->seeded = has(root, "seed");
	if (in->seeded)
	{
		struct json_object *seed;

		json_object_object_get_ex(root, "seed", &seed);
		wish->seed = json_object_get_int64(seed);
	}
	else
		wish->seed = UINT64_C(1) << 63 | ++unseeded;
	read_stop(wish, root);
	wish->prompt_hash = sim_hash(in->prompt, in->prompt_len, 0);
	wish->prompt_tokens = sim_tokens(in->prompt_len);
	sim_score_split(in->prompt, in->prompt_len, &wish->pair);
}

static bool
known_model(const char *model)
{
	if (sim_options.nmodels == 0 || model == NULL)
		return true;

	/* A llama-server with one model does not look at the name */
	if (sim_settings.dialect == SIM_LLAMACPP && sim_options.nmodels == 1)
		return true;
	for (int i = 0; i < sim_options.nmodels; i++)
	{
		if (strcmp(model, sim_options.models[i]) == 0)
			return true;
	}
	return false;
}

/* What OpenAI's API does not know, it refuses */
static bool
openai_fields_valid(SimRequest *req, struct json_object *root)
{
	static const char *const known[] = {
		"model", "messages", "max_completion_tokens", "temperature", "top_p",
		"n", "seed", "stop", "stream", "stream_options", "logprobs",
		"top_logprobs", "logit_bias", "frequency_penalty", "presence_penalty",
		"response_format", "user", "metadata", "store", "service_tier",
		"reasoning_effort", "verbosity", "tools", "tool_choice",
		"parallel_tool_calls", "prediction", "modalities",
		"safety_identifier", "prompt_cache_key",
	};

	json_object_object_foreach(root, name, value)
	{
		SimError	e = {.status = 400,.param = name};
		char		message[256];
		bool		found = false;

		(void) value;
		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= strcmp(name, known[i]) == 0;
		if (found)
			continue;
		if (strcmp(name, "max_tokens") == 0)
		{
			e.code = "unsupported_parameter";
			strcpy(message, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.");
		}
		else
		{
			e.code = "unknown_parameter";
			snprintf(message, sizeof(message), "Unknown parameter: '%.100s'.",
					 name);
		}
		e.message = message;
		sim_error(req, &e);
		return false;
	}
	return true;
}

/* llama-server says 500 where the template fails on a message */
static bool
messages_valid(SimRequest *req, struct json_object *root)
{
	struct json_object *messages;

	if (!json_object_object_get_ex(root, "messages", &messages) ||
		!json_object_is_type(messages, json_type_array))
	{
		if (sim_settings.dialect == SIM_LLAMACPP)
			sim_error_simple(req, 400, NULL, "'messages' is required");
		else if (sim_settings.dialect == SIM_OPENAI)
			sim_error_simple(req, 400, NULL,
							 "Missing required parameter: 'messages'.");
		else
			sim_error_simple(req, 400, "Bad Request",
							 "[{'type': 'missing', 'loc': ('body', 'messages'), 'msg': 'Field required'}]");
		return false;
	}
	for (size_t i = 0; i < json_object_array_length(messages); i++)
	{
		struct json_object *message = json_object_array_get_idx(messages, i);

		if (json_object_is_type(message, json_type_object) &&
			string_of(message, "role") != NULL)
			continue;
		if (sim_settings.dialect == SIM_LLAMACPP)
			sim_error_simple(req, 500, NULL,
							 "Failed to parse messages: Missing 'role' in message: %.200s",
							 json_object_to_json_string_ext(message,
															JSON_C_TO_STRING_PLAIN));
		else
			sim_error_simple(req, 400, "Bad Request",
							 "[{'type': 'missing', 'loc': ('body', 'messages', %zu, 'role'), 'msg': 'Field required'}]",
							 i);
		return false;
	}
	return true;
}

static bool
numbers_valid(SimRequest *req, struct json_object *root, const SimWish *wish)
{
	static const char *const names[] = {
		"temperature", "top_p", "min_p", "top_k", "repetition_penalty",
		"max_tokens", "max_completion_tokens", "n", "seed",
	};
	int			most = sim_settings.dialect == SIM_LLAMACPP &&
		sim_settings.max_running > 0 ? sim_settings.max_running : 128;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		struct json_object *value;

		if (!json_object_object_get_ex(root, names[i], &value) ||
			value == NULL || json_object_is_type(value, json_type_int) ||
			json_object_is_type(value, json_type_double))
			continue;
		if (sim_settings.dialect == SIM_LLAMACPP)
			sim_error_simple(req, 400, NULL,
							 "Field '%s': [json.exception.type_error.302] type must be number, but is %s",
							 names[i], json_type_to_name(json_object_get_type(value)));
		else
			sim_error_simple(req, 400, "Bad Request",
							 "[{'type': 'float_type', 'loc': ('body', '%s'), 'msg': 'Input should be a valid number'}]",
							 names[i]);
		return false;
	}
	if (wish->n < 1 || wish->n > most)
	{
		if (sim_settings.dialect == SIM_LLAMACPP)
			sim_error_simple(req, 400, NULL,
							 "Field 'n': Value must be between 1 <= value <= %d, but got %d",
							 most, wish->n);
		else
			sim_error_simple(req, 400, NULL, "n must be between 1 and %d, got %d.",
							 most, wish->n);
		return false;
	}
	if (wish->temperature < 0)
	{
		sim_error_simple(req, 400, NULL,
						 "temperature must be non-negative, got %g.",
						 wish->temperature);
		return false;
	}
	return true;
}

static bool
fits_context(SimRequest *req, SimWish *wish)
{
	int			context = sim_settings.context;
	int			asked = wish->max_tokens;

	if (context == 0)
		return true;
	if (wish->prompt_tokens >= context ||
		(asked > 0 && sim_settings.dialect != SIM_LLAMACPP &&
		 sim_settings.dialect != SIM_OPENAI &&
		 asked >= context - wish->prompt_tokens +
		 (sim_settings.dialect == SIM_VLLM)))
	{
		sim_error_too_long(req, wish->prompt_tokens, asked < 0 ? 0 : asked,
						   context, false);
		return false;
	}

	/* What is left bounds the answer; llama-server then ends by "length" */
	if (asked < 0 || asked > context - wish->prompt_tokens)
		wish->max_tokens = context - wish->prompt_tokens;
	return true;
}

static bool
request_valid(SimRequest *req, struct json_object *root, SimWish *wish)
{
	const char *model = string_of(root, "model");

	if (sim_settings.dialect == SIM_OPENAI && !openai_fields_valid(req, root))
		return false;
	if (!messages_valid(req, root) || !numbers_valid(req, root, wish))
		return false;
	if (!known_model(model))
	{
		sim_error_model(req, model);
		return false;
	}
	if (json_object_get_boolean(json_object_object_get(root, "stream")))
	{
		sim_error_simple(req, 400, NULL, "The simulator does not stream.");
		return false;
	}
	return fits_context(req, wish);
}

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

static struct json_object *
parse_body(SimRequest *req)
{
	static struct json_tokener *tokener;
	struct json_object *root;
	enum json_tokener_error error;

	if (tokener == NULL)
	{
		tokener = json_tokener_new_ex(SIM_JSON_DEPTH);
		json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	}
	json_tokener_reset(tokener);
	root = json_tokener_parse_ex(tokener, req->body.data ? req->body.data : "",
								 (int) req->body.len);
	error = json_tokener_get_error(tokener);

	/* json-c could do this too, a byte at a time */
	if (error == json_tokener_success &&
		!sim_utf8_valid(req->body.data, req->body.len))
		error = json_tokener_error_parse_utf8_string;
	if (error == json_tokener_success &&
		json_object_is_type(root, json_type_object))
		return root;
	json_object_put(root);
	if (sim_settings.dialect == SIM_LLAMACPP)
		sim_error_simple(req, 400, NULL,
						 "[json.exception.parse_error.101] parse error at line 1, column %zu: syntax error while parsing value - %s",
						 json_tokener_get_parse_end(tokener) + 1,
						 error == json_tokener_error_parse_utf8_string ?
						 "invalid string: ill-formed UTF-8 byte" :
						 "unexpected end of input; expected '[', '{', or a literal");
	else if (sim_settings.dialect == SIM_OPENAI)
		sim_error_simple(req, 400, NULL,
						 "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly.)");
	else
		sim_error_simple(req, 400, "Bad Request",
						 "[{'type': 'json_invalid', 'loc': ('body', %zu), 'msg': 'JSON decode error'}]",
						 json_tokener_get_parse_end(tokener));
	return NULL;
}

static void
take_rid(SimRequest *req, struct json_object *root)
{
	const char *rid = root ? string_of(root, "rid") : NULL;

	if (rid == NULL)
		rid = sim_http_header(req, "X-Request-Id");
	if (rid != NULL)
		snprintf(req->rid, sizeof(req->rid), "%s", rid);
}

/* A parsed request; "in" still points into the JSON tree */
static void
handle_parsed(SimRequest *req, struct json_object *root, ChatInput *in)
{
	SimShape	shape = {0};
	SimWish    *wish = &in->wish;
	char		seed[32] = "null";
	unsigned	seen;
	int			longest;

	seen = sim_stats_prompt(wish->prompt_hash, wish->seed, in->seeded, wish->n);
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
	if (!request_valid(req, root, wish))
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
sim_chat_handle(SimRequest *req)
{
	struct json_object *root;
	ChatInput	in = {.prompt = NULL};

	req->chat = true;
	sim_stats.chat++;
	sim_log_add(req);
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
	else if (content_type_valid(req) && (root = parse_body(req)) != NULL)
	{
		take_rid(req, root);
		read_prompt(&in, root);
		if (in.prompt == NULL)
			in.prompt = "";
		read_wish(&in, root);
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
	struct json_object *root = parse_body(req);
	SimRequest *victim;
	SimBuf		empty = {0};
	bool		all;
	int			total;

	if (root == NULL)
		return;
	all = json_object_get_boolean(json_object_object_get(root, "abort_all"));
	for (;;)
	{
		const char *rid = string_of(root, "rid");

		victim = all ? sim_sched_first() : rid ? sim_sched_find(rid) : NULL;
		if (victim == NULL)
			break;
		sim_stats.aborted_rid++;
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

	if (req->reply.deliberate)
		sim_log_end(req, req->state == SIM_SENDING ? status : 0, "broken off");
	else if (req->state != SIM_SENDING || !whole)
	{
		if (!req->counted)
			sim_stats.aborted++;
		sim_log_end(req, 0, "client gone");
	}
	else
	{
		if (status == 200)
		{
			sim_stats.completed++;
			sim_stats.samples += req->slots;
			sim_stats.prompt_tokens += req->prompt_tokens;
			sim_stats.completion_tokens += req->completion_tokens;
		}
		else
			sim_stats.errors++;
		sim_log_end(req, status, "sent");
	}
}
