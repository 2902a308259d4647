/*-------------------------------------------------------------------------
 *
 * chat_check.c
 *		What each server refuses of a chat request.
 *
 * Called by: chat.c.  Calls: error.c, grammar.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "chat_input.h"
#include "error.h"
#include "grammar.h"

static bool
known_model(const char *model)
{
	if (sim_options.nmodels == 0 || sim_settings.any_model || model == NULL)
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
			sim_json_string(message, "role") != NULL)
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
		sim_settings.max_running > 0 ? sim_settings.max_running : SIM_MAX_CHOICES;

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

/* What llama-server says of a forced form; the others take other members */
static bool
form_valid(SimRequest *req, struct json_object *root)
{
	const char *grammar = sim_json_string(root, "grammar");
	bool		schema = sim_json_has(root, "json_schema");
	struct json_object *format;

	if (sim_settings.dialect != SIM_LLAMACPP)
		return true;
	if (json_object_object_get_ex(root, "response_format", &format) &&
		json_object_is_type(format, json_type_object))
	{
		const char *type = sim_json_string(format, "type");

		schema |= type != NULL && strncmp(type, "json_", 5) == 0;
	}
	if (grammar == NULL || grammar[0] == '\0')
		return true;
	if (schema)
		sim_error_simple(req, 500, NULL,
						 "Cannot use both json_schema and grammar");
	else if (!sim_grammar_valid(grammar))
		sim_error_simple(req, 400, NULL,
						 "Failed to initialize samplers: failed to parse grammar");
	else
		return true;
	return false;
}

/* Must the prompt leave room for all of the answer? */
static bool
counts_answer(void)
{
	return !sim_settings.clamp && (sim_settings.dialect == SIM_VLLM ||
								   sim_settings.dialect == SIM_SGLANG);
}

static bool
fits_context(SimRequest *req, struct json_object *root, SimWish *wish)
{
	int			context = sim_settings.context;
	int			asked = wish->max_tokens;

	if (context == 0)
		return true;
	if (asked > context && (sim_settings.dialect == SIM_VLLM ||
							sim_settings.dialect == SIM_SGLANG))
	{
		sim_error_max_tokens(req, sim_json_has(root, "max_completion_tokens") ?
							 "max_completion_tokens" : "max_tokens", asked,
							 context);
		return false;
	}
	if (wish->prompt_tokens >= context ||
		(asked > 0 && counts_answer() &&
		 asked >= context - wish->prompt_tokens +
		 (sim_settings.dialect == SIM_VLLM)))
	{
		sim_error_too_long(req, wish->prompt_tokens, asked < 0 ? 0 : asked,
						   context, false);
		return false;
	}

	/* What is left bounds the answer, which then ends by "length" */
	if (asked < 0 || asked > context - wish->prompt_tokens)
		wish->max_tokens = context - wish->prompt_tokens;
	return true;
}

/* Key and model are looked at before; what llama-server says is not known */
static bool
has_messages(SimRequest *req, struct json_object *root)
{
	if (json_object_array_length(json_object_object_get(root, "messages")) > 0 ||
		sim_settings.dialect == SIM_LLAMACPP)
		return true;
	sim_error_simple(req, 400, NULL, sim_settings.dialect == SIM_VLLM ?
					 "Cannot apply chat template to an empty conversation. Provide at least one message." :
					 "Messages cannot be empty.");
	return false;
}

/* In the words of vLLM and SGLang without priority scheduling */
static bool
priority_valid(SimRequest *req, struct json_object *root)
{
	struct json_object *priority;

	if (!sim_settings.refuse_priority ||
		!json_object_object_get_ex(root, "priority", &priority))
		return true;
	if (sim_settings.dialect == SIM_SGLANG)
		sim_error_simple(req, 503, NULL,
						 "Using priority is disabled for this server. "
						 "Please send a new request without a priority.");
	else if (sim_settings.dialect == SIM_VLLM && json_object_get_int(priority) != 0)
		sim_error_simple(req, 400, NULL, "Got priority %d but Priority scheduling is not enabled.",
						 json_object_get_int(priority));
	else
		return true;
	return false;
}

bool
sim_chat_check(SimRequest *req, struct json_object *root, SimWish *wish)
{
	const char *model = sim_json_string(root, "model");

	if (sim_settings.dialect == SIM_OPENAI && !openai_fields_valid(req, root))
		return false;
	if (!messages_valid(req, root) || !numbers_valid(req, root, wish) ||
		!form_valid(req, root))
		return false;
	if (!known_model(model))
	{
		sim_error_model(req, model);
		return false;
	}
	if (!has_messages(req, root) || !priority_valid(req, root))
		return false;
	if (json_object_get_boolean(json_object_object_get(root, "stream")))
	{
		sim_error_simple(req, 400, NULL, "The simulator does not stream.");
		return false;
	}
	return fits_context(req, root, wish);
}
