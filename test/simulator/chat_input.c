/*-------------------------------------------------------------------------
 *
 * chat_input.c
 *		A chat request's JSON becomes what the simulator needs of it.
 *
 * Called by: chat.c.  Calls: json-c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "chat_input.h"
#include "error.h"
#include "score.h"

/* Nesting that json-c follows before it calls a body malformed */
#define SIM_JSON_DEPTH 64

static uint64_t unseeded;		/* gives requests without a seed different
								 * ones */

struct json_object *
sim_chat_parse(SimRequest *req)
{
	static struct json_tokener *tokener;
	struct json_object *root;
	enum json_tokener_error error;

	if (tokener == NULL)
	{
		tokener = json_tokener_new_ex(SIM_JSON_DEPTH);
		/* json-c 0.18, when strict, refuses all bytes outside ASCII (its issue 892) */
		if (json_c_version_num() >> 8 != 18)
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

static double
number_of(struct json_object *root, const char *name, double otherwise)
{
	struct json_object *value;

	if (!json_object_object_get_ex(root, name, &value) || value == NULL)
		return otherwise;
	return json_object_get_double(value);
}

bool
sim_json_has(struct json_object *root, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(root, name, &value) && value != NULL;
}

const char *
sim_json_string(struct json_object *root, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(root, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* One more piece of the prompt; the first is not copied while it is alone */
static void
add_prompt(SimChatInput *in, struct json_object *text)
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
read_prompt(SimChatInput *in, struct json_object *root)
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
read_wish(SimChatInput *in, struct json_object *root)
{
	SimWish    *wish = &in->wish;
	bool		both = sim_settings.dialect == SIM_OPENAI;
	double		max_tokens = number_of(root, "max_tokens", -1);

	wish->model = sim_json_string(root, "model");
	if (wish->model == NULL)
		wish->model = sim_options.nmodels > 0 ? sim_options.models[0] : "default";
	wish->temperature = number_of(root, "temperature", both ? 1.0 : 0.6);
	wish->n = clamped(number_of(root, "n", 1));
	wish->max_tokens =
		clamped(number_of(root, "max_completion_tokens", max_tokens));
	if (wish->max_tokens == 0)
		wish->max_tokens = 1;	/* as llama-server does */
	in->seeded = sim_json_has(root, "seed");
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

void
sim_chat_read(SimChatInput *in, struct json_object *root)
{
	in->prompt = NULL;
	read_prompt(in, root);
	if (in->prompt == NULL)
		in->prompt = "";
	read_wish(in, root);
}
