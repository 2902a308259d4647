/*-------------------------------------------------------------------------
 *
 * dialect.c
 *		What kinds of servers want in a request, besides the prompt.
 *
 * All of them speak the OpenAI chat completion protocol, each with its own
 * extensions, and some refuse what they do not know.  Every sampling
 * parameter is sent, also where its value looks like a default: SGLang and
 * vLLM fill what is missing from the model's generation_config.json, which
 * would silently change the distribution.  No stop string is sent, because
 * the model may quote the score's tag while it reasons.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/shortest_dec.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "model/dialect.h"

/* Positions are those of RstarDialect */
static const char *const dialect_names[] = {"sglang", "vllm", "llamacpp", "openai"};

/*
 * Members that extra_body may not carry, since we send them or rely on their
 * absence, with the option that sets them.  Two members of one name would
 * leave it to the server which one counts.
 */
static const struct
{
	const char *name;
	const char *option;			/* or NULL */
}			reserved_members[] = {
	{"model", "model"},
	{"messages", NULL},
	{"prompt", NULL},
	{"n", NULL},
	{"stream", NULL},
	{"stream_options", NULL},
	{"seed", NULL},
	{"rid", NULL},
	{"request_id", NULL},
	{"max_tokens", "max_tokens"},
	{"max_completion_tokens", "max_tokens"},
	{"temperature", "temperature"},
	{"top_k", "top_k"},
	{"top_p", "top_p"},
	{"min_p", "min_p"},
	{"repetition_penalty", "repetition_penalty"},
	{"repeat_penalty", "repetition_penalty"}
};

static const char *find_reserved(Jsonb *json);
static bool has_member(Jsonb *json, const char *name);
static const char *max_tokens_name(RstarDialect dialect);
static void append_sampling(StringInfo buf, const RstarServer *server);
static void append_integer(StringInfo buf, const char *name, int value);
static void append_real(StringInfo buf, const char *name, double value);
static void append_template(StringInfo buf, const RstarServer *server);
static void append_unless(StringInfo buf, Jsonb *extra, const char *name, const char *value);

bool
rstar_dialect_parse(const char *name, RstarDialect *dialect)
{
	for (size_t i = 0; i < lengthof(dialect_names); i++)
	{
		if (pg_strcasecmp(dialect_names[i], name) == 0)
		{
			*dialect = (RstarDialect) i;
			return true;
		}
	}
	return false;
}

void
rstar_dialect_each(void (*function) (const char *name, void *arg), void *arg)
{
	for (size_t i = 0; i < lengthof(dialect_names); i++)
		function(dialect_names[i], arg);
}

const char *
rstar_dialect_name(RstarDialect dialect)
{
	return dialect_names[dialect];
}

char *
rstar_dialect_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (size_t i = 0; i < lengthof(dialect_names); i++)
		appendStringInfo(&names, "%s\"%s\"", i > 0 ? ", " : "", dialect_names[i]);
	return names.data;
}

const char *
rstar_dialect_read_extra(const char *value, char **canonical)
{
	const char *problem;
	Jsonb	   *json = rstar_dialect_read_jsonb(value, &problem);

	*canonical = NULL;
	if (json == NULL)
		return problem;
	if (!JB_ROOT_IS_OBJECT(json))
		return "It is valid JSON, but not an object.";
	problem = find_reserved(json);
	if (problem == NULL && JB_ROOT_COUNT(json) > 0)
	{
		*canonical = JsonbToCString(NULL, &json->root, VARSIZE(json));
		/* raises, when it could not be sent */
		(void) pg_server_to_any(*canonical, strlen(*canonical), PG_UTF8);
	}
	return problem;
}

/*
 * jsonb_in as a function that returns.  To catch its error is safe without a
 * subtransaction, since it parses and does nothing else.
 */
Jsonb *
rstar_dialect_read_jsonb(const char *value, const char **problem)
{
	MemoryContext caller = CurrentMemoryContext;
	Jsonb	   *volatile json = NULL;

	PG_TRY();
	{
		json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(value)));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		FlushErrorState();
		*problem = error->detail ? error->detail : error->message;
	}
	PG_END_TRY();
	return json;
}

static const char *
find_reserved(Jsonb *json)
{
	for (size_t i = 0; i < lengthof(reserved_members); i++)
	{
		const char *name = reserved_members[i].name;
		const char *option = reserved_members[i].option;

		if (!has_member(json, name))
			continue;
		if (option != NULL)
			return psprintf("The member \"%s\" is set by the option \"%s\".", name, option);
		return psprintf("The member \"%s\" is reserved for the extension.", name);
	}
	return NULL;
}

static bool
has_member(Jsonb *json, const char *name)
{
	JsonbValue	key;

	key.type = jbvString;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(&json->root, JB_FOBJECT, &key) != NULL;
}

bool
rstar_dialect_extra_has(const char *canonical, const char *name)
{
	const char *problem;

	return canonical != NULL && has_member(rstar_dialect_read_jsonb(canonical, &problem), name);
}

const char *
rstar_dialect_id_name(RstarDialect dialect)
{
	return dialect == RSTAR_DIALECT_SGLANG ? "rid" :
		dialect == RSTAR_DIALECT_VLLM ? "request_id" : NULL;
}

/*
 * vLLM: lower first, and without one it is 0; another is an error of an engine
 * that does not schedule by priority.  SGLang: higher first, and without one it
 * is below all others.
 */
bool
rstar_dialect_priority(RstarDialect dialect, RstarPriority priority, int *value)
{
	bool		background = priority == RSTAR_PRIORITY_BACKGROUND;

	*value = dialect == RSTAR_DIALECT_VLLM ? background : !background;
	return dialect == RSTAR_DIALECT_SGLANG || (dialect == RSTAR_DIALECT_VLLM && background);
}

char *
rstar_dialect_params(const RstarServer *server)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "\"model\":");
	escape_json(&buf, server->model);
	append_sampling(&buf, server);
	append_template(&buf, server);
	appendStringInfoString(&buf, ",\"stream\":false,\"n\":1");
	if (server->extra_body != NULL)
	{
		/* {"a": 1} without its braces */
		appendStringInfoChar(&buf, ',');
		appendBinaryStringInfo(&buf, server->extra_body + 1, strlen(server->extra_body) - 2);
	}
	return pg_server_to_any(buf.data, buf.len, PG_UTF8);
}

char *
rstar_dialect_question(const RstarServer *server)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"model\":");
	escape_json(&buf, server->model);
	append_integer(&buf, max_tokens_name(server->dialect), 1);
	appendStringInfoString(&buf, ",\"stream\":false,\"messages\":[]}");
	return pg_server_to_any(buf.data, buf.len, PG_UTF8);
}

static const char *
max_tokens_name(RstarDialect dialect)
{
	return dialect == RSTAR_DIALECT_OPENAI ? "max_completion_tokens" : "max_tokens";
}

static void
append_sampling(StringInfo buf, const RstarServer *server)
{
	bool		openai = server->dialect == RSTAR_DIALECT_OPENAI;
	bool		llamacpp = server->dialect == RSTAR_DIALECT_LLAMACPP;

	append_integer(buf, max_tokens_name(server->dialect), server->max_tokens);
	append_real(buf, "temperature", server->temperature);
	append_real(buf, "top_p", server->top_p);
	if (openai)
		return;					/* others may be refused there */

	/* llama.cpp: 0 is "no limit", -1 is not documented for it */
	append_integer(buf, "top_k", llamacpp && server->top_k < 0 ? 0 : server->top_k);
	append_real(buf, "min_p", server->min_p);
	append_real(buf, llamacpp ? "repeat_penalty" : "repetition_penalty",
				server->repetition_penalty);
}

static void
append_integer(StringInfo buf, const char *name, int value)
{
	appendStringInfo(buf, ",\"%s\":%d", name, value);
}

static void
append_real(StringInfo buf, const char *name, double value)
{
	appendStringInfo(buf, ",\"%s\":", name);
	rstar_dialect_append_real(buf, value);
}

void
rstar_dialect_append_real(StringInfo buf, double number)
{
	char		digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(number, digits);
	appendStringInfoString(buf, digits);
}

/*
 * How the chat template is applied and the answer's tokens become text: as
 * in the model's reference code, unless extra_body says otherwise.
 */
static void
append_template(StringInfo buf, const RstarServer *server)
{
	Jsonb	   *extra = NULL;
	const char *problem;

	if (server->extra_body != NULL)
		extra = rstar_dialect_read_jsonb(server->extra_body, &problem);

	switch (server->dialect)
	{
		case RSTAR_DIALECT_SGLANG:
			append_unless(buf, extra, "skip_special_tokens", "false");
			/* it is from there that SGLang reads the second one */
			append_unless(buf, extra, "chat_template_kwargs",
						  "{\"enable_thinking\":false,\"spaces_between_special_tokens\":false}");
			break;
		case RSTAR_DIALECT_VLLM:
			append_unless(buf, extra, "skip_special_tokens", "false");
			append_unless(buf, extra, "spaces_between_special_tokens", "false");
			append_unless(buf, extra, "chat_template_kwargs", "{\"enable_thinking\":false}");
			break;
		case RSTAR_DIALECT_LLAMACPP:
			append_unless(buf, extra, "chat_template_kwargs", "{\"enable_thinking\":false}");
			break;
		case RSTAR_DIALECT_OPENAI:
			break;
	}
}

static void
append_unless(StringInfo buf, Jsonb *extra, const char *name, const char *value)
{
	if (extra == NULL || !has_member(extra, name))
		appendStringInfo(buf, ",\"%s\":%s", name, value);
}
