/*-------------------------------------------------------------------------
 *
 * error.c
 *		Error replies in the words and shapes of each server.
 *
 * Called by: route.c, chat.c, fault_apply.c.  The wordings come from the
 * servers' sources and from a real llama-server; clients classify by them, so
 * none may be polished.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "error.h"
#include "reply.h"

static const char *
reason_phrase(int status)
{
	static const struct
	{
		int			status;
		const char *phrase;
	}			phrases[] = {
		{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
		{404, "Not Found"}, {405, "Method Not Allowed"},
		{408, "Request Timeout"}, {409, "Conflict"},
		{413, "Request Entity Too Large"}, {415, "Unsupported Media Type"},
		{422, "Unprocessable Entity"}, {424, "Failed Dependency"},
		{429, "Too Many Requests"}, {499, "Client Closed Request"},
		{500, "Internal Server Error"}, {501, "Not Implemented"},
		{502, "Bad Gateway"}, {503, "Service Unavailable"},
		{504, "Gateway Time-out"}, {524, "A Timeout Occurred"}, {529, "Site is overloaded"},
	};

	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
	{
		if (phrases[i].status == status)
			return phrases[i].phrase;
	}
	return "Error";
}

static const char *
default_type(int status)
{
	static char number[16];

	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
			if (status == 400)
				return "BadRequestError";
			if (status == 500)
				return "InternalServerError";
			snprintf(number, sizeof(number), "%d", status);
			return number;
		case SIM_VLLM:
			return status == 404 ? "NotFoundError" :
				status == 400 ? "BadRequestError" :
				status == 500 ? "InternalServerError" : reason_phrase(status);
		case SIM_LLAMACPP:
			return status == 401 ? "authentication_error" :
				status == 403 ? "permission_error" :
				status == 404 ? "not_found_error" :
				status == 501 ? "not_supported_error" :
				status == 503 ? "unavailable_error" :
				status < 500 ? "invalid_request_error" : "server_error";
		case SIM_OPENAI:
			return status == 429 ? "rate_limit_error" :
				status < 500 ? "invalid_request_error" : "server_error";
	}
	return "error";
}

/* message, type, param, code, and the closing brace */
static void
append_members(SimBuf *buf, const SimError *e, const char *type)
{
	if (sim_settings.dialect == SIM_LLAMACPP)
	{
		sim_buf_printf(buf, "\"code\":%d,\"message\":", e->status);
		sim_buf_json(buf, e->message);
		sim_buf_puts(buf, ",\"type\":");
		sim_buf_json(buf, type);
		sim_buf_puts(buf, "}");
		return;
	}
	sim_buf_puts(buf, "\"message\":");
	sim_buf_json(buf, e->message);
	sim_buf_puts(buf, ",\"type\":");
	sim_buf_json(buf, type);
	sim_buf_puts(buf, ",\"param\":");
	sim_buf_json(buf, e->param);
	sim_buf_puts(buf, ",\"code\":");
	if (e->code != NULL || sim_settings.dialect == SIM_OPENAI)
		sim_buf_json(buf, e->code);
	else
		sim_buf_printf(buf, "%d", e->status);
	sim_buf_puts(buf, "}");
}

/* The page that nginx puts in the place of an answer */
static void
append_html(SimBuf *buf, int status)
{
	const char *phrase = reason_phrase(status);

	sim_buf_printf(buf,
				   "<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n"
				   "<center><h1>%d %s</h1></center>\r\n"
				   "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n",
				   status, phrase, status, phrase);
}

bool
sim_error_envelope_valid(const char *name)
{
	static const char *const names[] = {
		"flat", "wrapped", "string", "detail", "details", "text", "html", "raw",
		"empty",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

void
sim_error(SimRequest *req, const SimError *error)
{
	SimError	e = *error;
	const char *type = e.type ? e.type : default_type(e.status);
	const char *shape = e.envelope;
	SimBuf		body = {0};

	if (e.message == NULL)
		e.message = reason_phrase(e.status);
	if (shape == NULL || shape[0] == '\0')
		shape = sim_settings.dialect == SIM_SGLANG ? "flat" : "wrapped";
	sim_reply_clear(&req->reply);
	if (strcmp(shape, "flat") == 0)
	{
		sim_buf_puts(&body, "{\"object\":\"error\",");
		append_members(&body, &e, type);
	}
	else if (strcmp(shape, "wrapped") == 0)
	{
		sim_buf_puts(&body, "{\"error\":{");
		append_members(&body, &e, type);
		sim_buf_puts(&body, "}");
	}
	else if (strcmp(shape, "string") == 0)
	{
		sim_buf_puts(&body, "{\"error\":");
		sim_buf_json(&body, e.message);
		if (e.type != NULL)
		{
			sim_buf_puts(&body, ",\"error_type\":");
			sim_buf_json(&body, e.type);
		}
		sim_buf_puts(&body, "}");
	}
	else if (strcmp(shape, "detail") == 0)
	{
		sim_buf_puts(&body, "{\"detail\":");
		sim_buf_json(&body, e.message);
		sim_buf_puts(&body, "}");
	}
	else if (strcmp(shape, "details") == 0)
	{
		/* FastAPI's validation errors: a list */
		sim_buf_puts(&body, "{\"detail\":[{\"type\":\"missing\",\"loc\":"
					 "[\"body\",\"messages\"],\"msg\":");
		sim_buf_json(&body, e.message);
		sim_buf_puts(&body, ",\"input\":{}}]}");
	}
	else if (strcmp(shape, "text") == 0)
	{
		req->reply.content_type = "text/plain; charset=utf-8";
		sim_buf_puts(&body, e.message);
	}
	else if (strcmp(shape, "html") == 0)
	{
		req->reply.content_type = "text/html";
		append_html(&body, e.status);
	}
	else if (strcmp(shape, "empty") == 0)
		req->reply.content_type = "";
	else if (strcmp(shape, "raw") == 0)
		sim_buf_puts(&body, e.message);
	req->reply.status = e.status;
	req->reply.body = body;
	req->state = SIM_READY;
}

void
sim_error_simple(SimRequest *req, int status, const char *type,
				 const char *fmt,...)
{
	SimError	e = {.status = status,.type = type};
	char		message[2048];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	e.message = message;
	sim_error(req, &e);
}

/*
 * vLLM since 0.26: counts no further than to the limit, and not at all when the
 * text has more characters than so many tokens can have.  Where the answer is
 * clamped (0.32) the limit is the context, else what the answer leaves.
 */
static void
too_long_for_vllm(SimRequest *req, int prompt_tokens, int max_tokens,
				  int context)
{
	SimError	e = {.status = 400,.param = "input_tokens"};
	bool		clamp = sim_settings.clamp;
	int			limit = clamp ? context : context - max_tokens;
	long		characters = (long) prompt_tokens * SIM_TOKEN_BYTES;
	long		most = (long) sim_settings.char_bound * limit;
	int			count = sim_settings.count_bound ? limit + 1 : prompt_tokens;
	char		asked[64] = "";
	char		message[640];

	if (!clamp)
		snprintf(asked, sizeof(asked), "you requested %d output tokens and ",
				 max_tokens);
	if (sim_settings.char_bound > 0 && characters > most)
	{
		e.param = "input_text";
		snprintf(message, sizeof(message),
				 "This model's maximum context length is %d tokens. However, %syour prompt contains %ld characters (more than %ld characters, which is the upper bound for %d input tokens). Please reduce the length of the input prompt%s. (parameter=input_text, value=%ld)",
				 context, asked, characters, most, limit,
				 clamp ? "" : " or the number of requested output tokens",
				 characters);
	}
	else if (clamp && prompt_tokens == context)
	{
		/* what is left is refused, as if the client had asked for it */
		e.param = "max_tokens";
		strcpy(message, "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)");
	}
	else if (clamp)
		snprintf(message, sizeof(message),
				 "This model's maximum context length is %d tokens. However, your prompt contains %s%d input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=%d)",
				 context, sim_settings.count_bound ? "at least " : "", count, count);
	else
		snprintf(message, sizeof(message),
				 "This model's maximum context length is %d tokens. However, %syour prompt contains at least %d input tokens, for a total of at least %d tokens. Please reduce the length of the input prompt or the number of requested output tokens. (parameter=input_tokens, value=%d)",
				 context, asked, count, count + max_tokens, count);
	e.message = message;
	sim_error(req, &e);
}

void
sim_error_max_tokens(SimRequest *req, const char *name, int max_tokens,
					 int context)
{
	SimError	e = {.status = 400};
	char		message[256];

	if (sim_settings.dialect == SIM_VLLM)
	{
		e.param = name;
		snprintf(message, sizeof(message),
				 "%s=%d cannot be greater than max_model_len=%d. Please request fewer output tokens. (parameter=%s, value=%d)",
				 name, max_tokens, context, name, max_tokens);
	}
	else
		snprintf(message, sizeof(message),
				 "max_completion_tokens is too large: %d.This model supports at most %d completion tokens.",
				 max_tokens, context);
	e.message = message;
	sim_error(req, &e);
}

void
sim_error_too_long(SimRequest *req, int prompt_tokens, int max_tokens,
				   int context, bool old)
{
	SimBuf		body = {0};
	SimError	e = {.status = 400};
	char		message[512];

	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
			if (prompt_tokens >= context)
				sim_error_simple(req, 400, NULL,
								 "The input (%d tokens) is longer than the model's context length (%d tokens).",
								 prompt_tokens, context);
			else
				sim_error_simple(req, 400, NULL,
								 "Requested token count exceeds the model's maximum context length of %d tokens. You requested a total of %d tokens: %d tokens from the input messages and %d tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.",
								 context, prompt_tokens + max_tokens,
								 prompt_tokens, max_tokens);
			break;
		case SIM_VLLM:
			if (!old && (sim_settings.clamp || sim_settings.count_bound ||
						 sim_settings.char_bound > 0))
				too_long_for_vllm(req, prompt_tokens, max_tokens, context);
			else if (old)
				sim_error_simple(req, 400, NULL,
								 "This model's maximum context length is %d tokens. However, you requested %d tokens (%d in the messages, %d in the completion). Please reduce the length of the messages or completion.",
								 context, prompt_tokens + max_tokens,
								 prompt_tokens, max_tokens);
			else
			{
				snprintf(message, sizeof(message),
						 "This model's maximum context length is %d tokens. However, you requested %d output tokens and your prompt contains at least %d input tokens, for a total of at least %d tokens. Please reduce the length of the input prompt or the number of requested output tokens.",
						 context, max_tokens, prompt_tokens,
						 prompt_tokens + max_tokens);
				e.message = message;
				e.param = "input_tokens";
				sim_error(req, &e);
			}
			break;
		case SIM_LLAMACPP:
			sim_buf_printf(&body,
						   "{\"error\":{\"code\":400,\"message\":\"request (%d tokens) exceeds the available context size (%d tokens), try increasing it\",\"type\":\"exceed_context_size_error\",\"n_prompt_tokens\":%d,\"n_ctx\":%d}}",
						   prompt_tokens, context, prompt_tokens, context);
			sim_reply_json(req, 400, &body);
			break;
		case SIM_OPENAI:
			snprintf(message, sizeof(message),
					 "This model's maximum context length is %d tokens. However, your messages resulted in %d tokens. Please reduce the length of the messages.",
					 context, prompt_tokens);
			e.message = message;
			e.param = "messages";
			e.code = "context_length_exceeded";
			sim_error(req, &e);
			break;
	}
}

void
sim_error_model(SimRequest *req, const char *model)
{
	SimError	e = {.status = 404};
	char		message[512];

	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
			sim_error_simple(req, 404, "NotFoundError",
							 "Model '%.200s' is not served.", model);
			return;
		case SIM_VLLM:
			snprintf(message, sizeof(message),
					 "The model `%.200s` does not exist.", model);
			e.param = "model";
			break;
		case SIM_LLAMACPP:
			sim_error_simple(req, 400, NULL, "model '%.200s' not found",
							 model);
			return;
		case SIM_OPENAI:
			snprintf(message, sizeof(message),
					 "The model `%.200s` does not exist or you do not have access to it.",
					 model);
			e.code = "model_not_found";
			break;
	}
	e.message = message;
	sim_error(req, &e);
}

void
sim_error_queue_full(SimRequest *req)
{
	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
			sim_error_simple(req, 503, NULL, "The request queue is full.");
			break;
		case SIM_VLLM:
			sim_error_simple(req, 503, "Service Unavailable",
							 "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance.");
			break;
		case SIM_LLAMACPP:
			sim_error_simple(req, 503, NULL, "The request queue is full.");
			break;
		case SIM_OPENAI:
			sim_error_simple(req, 503, NULL,
							 "The engine is currently overloaded, please try again later");
			break;
	}
}

void
sim_error_loading(SimRequest *req)
{
	if (sim_settings.dialect == SIM_LLAMACPP)
	{
		SimBuf		body = {0};

		/* Here the real one has another order of members than elsewhere */
		sim_buf_puts(&body, "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}");
		sim_reply_json(req, 503, &body);
	}
	else
	{
		SimError	e = {.status = 503,.envelope = "empty"};

		sim_error(req, &e);
	}
}

void
sim_error_key(SimRequest *req)
{
	SimError	e = {.status = 401};
	SimBuf		body = {0};

	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
		case SIM_VLLM:
			e.message = "Unauthorized";
			e.envelope = "string";
			sim_error(req, &e);
			break;
		case SIM_LLAMACPP:
			sim_buf_puts(&body, "{\"error\":{\"message\":\"Invalid API Key\",\"type\":\"authentication_error\",\"code\":401}}");
			sim_reply_json(req, 401, &body);
			break;
		case SIM_OPENAI:
			e.message = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys.";
			e.code = "invalid_api_key";
			sim_error(req, &e);
			break;
	}
}

void
sim_error_path(SimRequest *req)
{
	SimError	e = {.status = req->wrong_method ? 405 : 404};
	SimBuf		body = {0};

	switch (sim_settings.dialect)
	{
		case SIM_SGLANG:
		case SIM_VLLM:
			e.envelope = "detail";
			sim_error(req, &e);
			if (req->wrong_method)
				sim_reply_header(&req->reply, "Allow", "POST");
			break;
		case SIM_LLAMACPP:
			sim_buf_puts(&body, "{\"error\":{\"message\":\"File Not Found\",\"type\":\"not_found_error\",\"code\":404}}");
			sim_reply_json(req, 404, &body);
			break;
		case SIM_OPENAI:
			e.message = req->wrong_method ?
				"Not allowed to GET on /v1/chat/completions. (HINT: Perhaps you meant to use a different HTTP method?)" :
				"Invalid URL";
			sim_error(req, &e);
			break;
	}
}
