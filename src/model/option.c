/*-------------------------------------------------------------------------
 *
 * option.c
 *		Options of servers and user mappings: names, ranges, parsing.
 *
 * One table says what every option is called, where it may be given, what
 * values it takes and which field it sets.  The validator parses into a
 * struct that it throws away, so what CREATE SERVER lets through is what
 * server.c can read.
 *
 * The validator gets the whole resulting list of an object, never the change
 * alone, and not the object.  For file options, which only some roles may
 * set, this means: a server or mapping that has one can only be altered, in
 * whatever option, by a role that may set file options itself (file_fdw does
 * the same).  The alternative, to let a path that was already there pass,
 * would let the owner of a server keep a privileged role's file while he
 * changes the rest around it.  For the same reason pg_dump's output has to be
 * restored by such a role; a superuser is one.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "common/string.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/closest.h"
#include "model/dialect.h"
#include "model/header.h"
#include "model/header_list.h"
#include "model/option.h"
#include "model/url.h"

#define MAX_NAME_LEN	255		/* model, cache_scope: bytes of UTF-8 */
#define MAX_SECRET_LEN	8192
#define MAX_JSON_LEN	65536

#define ONE_DAY			86400000.0	/* ms */

#define MAX_SHOWN_LEN	80		/* of a value that is quoted in a message */

typedef enum OptionKind
{
	OPTION_URLS,				/* sets urls and nurls */
	OPTION_NAME,				/* char *: text without control characters */
	OPTION_DIALECT,				/* RstarDialect */
	OPTION_REAL,				/* double */
	OPTION_INTEGER,				/* int */
	OPTION_TIME,				/* int, ms */
	OPTION_BOOLEAN,				/* bool */
	OPTION_HEADERS,				/* RstarHeaderList: must not appear either */
	OPTION_HEADER_NAME,			/* char * */
	OPTION_JSON,				/* char *: text of a JSON object, or NULL */
	OPTION_FILE,				/* char *: absolute path, privileged */
	OPTION_SECRET				/* char *: must not appear in any message */
} OptionKind;

#define OPTION_REQUIRED		0x1
#define OPTION_ABOVE_MIN	0x2 /* min itself is not accepted */

typedef struct OptionDef
{
	const char *name;
	OptionKind	kind;
	Oid			catalog;		/* of the objects that take it */
	size_t		offset;			/* of the field it sets */
	double		preset;			/* default of numbers and times */
	double		min;			/* of numbers and times */
	double		max;
	int			flags;
} OptionDef;

#define SERVER(field)	ForeignServerRelationId, offsetof(RstarServer, field)
#define MAPPING(field)	UserMappingRelationId, offsetof(RstarMapping, field)

/*
 * Ranges of the sampling parameters are what all the dialects' servers take.
 * A preset 0 of context_length, max_in_flight and unavailable_timeout means "not
 * given"; that of a boolean is whether it is on.
 */
static const OptionDef option_defs[] = {
	{"url", OPTION_URLS, SERVER(urls), 0, 0, 0, OPTION_REQUIRED},
	{"model", OPTION_NAME, SERVER(model), 0, 0, 0, OPTION_REQUIRED},
	{"dialect", OPTION_DIALECT, SERVER(dialect), 0, 0, 0, 0},
	{"temperature", OPTION_REAL, SERVER(temperature), 0.6, 0, 2, 0},
	{"top_k", OPTION_INTEGER, SERVER(top_k), 40, -1, 1000000, 0},
	{"top_p", OPTION_REAL, SERVER(top_p), 1, 0, 1, OPTION_ABOVE_MIN},
	{"min_p", OPTION_REAL, SERVER(min_p), 0, 0, 1, 0},
	{"repetition_penalty", OPTION_REAL, SERVER(repetition_penalty), 1, 0, 2, OPTION_ABOVE_MIN},
	{"max_tokens", OPTION_INTEGER, SERVER(max_tokens), 1024, 1, 1000000, 0},
	{"context_length", OPTION_INTEGER, SERVER(context_length), 0, 1, 100000000, 0},
	{"max_in_flight", OPTION_INTEGER, SERVER(max_in_flight), 0, 1, 65536, 0},
	{"timeout", OPTION_TIME, SERVER(timeout), 300000, 1, ONE_DAY, 0},
	{"connect_timeout", OPTION_TIME, SERVER(connect_timeout), 3000, 1, ONE_DAY, 0},
	{"retries", OPTION_INTEGER, SERVER(retries), 2, 0, 100, 0},
	{"unavailable_timeout", OPTION_TIME, SERVER(unavailable_timeout), 0, 1, ONE_DAY, 0},
	{"extra_body", OPTION_JSON, SERVER(extra_body), 0, 0, 0, 0},
	{"cache_scope", OPTION_NAME, SERVER(cache_scope), 0, 0, 0, 0},
	{"ca_file", OPTION_FILE, SERVER(ca_file), 0, 0, 0, 0},
	{"headers", OPTION_HEADERS, SERVER(headers), 0, 0, 0, 0},
	{"api_key_header", OPTION_HEADER_NAME, SERVER(api_key_header), 0, 0, 0, 0},
	{"priority_scheduling", OPTION_BOOLEAN, SERVER(priority_scheduling), 0, 0, 0, 0},
	{"preempt", OPTION_BOOLEAN, SERVER(preempt), 1, 0, 0, 0},
	{"shared_cache", OPTION_NAME, SERVER(shared_cache), 0, 0, 0, 0},
	{"api_key", OPTION_SECRET, MAPPING(api_key), 0, 0, 0, 0},
	{"api_key_file", OPTION_FILE, MAPPING(api_key_file), 0, 0, 0, 0},
	{"api_key_header", OPTION_HEADER_NAME, MAPPING(api_key_header), 0, 0, 0, 0},
	{"headers", OPTION_HEADERS, MAPPING(headers), 0, 0, 0, 0}
};

static void hide_statement(void *arg);
static void check_file_privilege(Oid catalog, List *options);
static void check_priority(RstarServer *server);
static void check_key_header(const char *name, const RstarHeaderList *headers);
static void parse_options(Oid catalog, List *options, void *target);
static void set_presets(Oid catalog, void *target);
static const OptionDef *find_option(Oid catalog, const char *name);
static void raise_unknown_option(Oid catalog, const char *name);
static void check_required(Oid catalog, const bool *given);
static void parse_value(const OptionDef *def, const char *value, void *target);
static const char *meant_dialect(const char *value);
static void offer(const char *name, void *closest);
static void parse_number(const OptionDef *def, const char *value, void *field);
static char *number_range(const OptionDef *def);
static char *parse_text(const OptionDef *def, const char *value);
static void parse_urls(const OptionDef *def, const char *value, RstarServer *server);
static void parse_url(const OptionDef *def, char *entry, RstarServer *server);
static void parse_headers(const OptionDef *def, const char *value, RstarHeaderList *headers);
static char *parse_header_name(const OptionDef *def, const char *value);
static char *parse_json(const OptionDef *def, const char *value);
static void raise_invalid(const OptionDef *def, const char *value,
						  const char *detail, const char *hint);

PG_FUNCTION_INFO_V1(retrostar_fdw_validator);

Datum
retrostar_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = hide_statement
	};

	error_context_stack = &callback;
	check_file_privilege(catalog, options);
	if (catalog == ForeignServerRelationId)
	{
		RstarServer server;

		rstar_option_parse_server(options, &server);
	}
	else if (catalog == UserMappingRelationId)
	{
		RstarMapping mapping;

		rstar_option_parse_mapping(options, &mapping);
	}
	else						/* the wrapper, tables, columns: no options */
		parse_options(catalog, options, NULL);
	error_context_stack = callback.previous;
	PG_RETURN_VOID();
}

/* The command may have a key in it, and not only where one belongs */
static void
hide_statement(void *arg)
{
	errhidestmt(true);
}

static void
check_file_privilege(Oid catalog, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);
		const OptionDef *def = find_option(catalog, elem->defname);

		if (def != NULL && def->kind == OPTION_FILE &&
			!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to set option \"%s\"", def->name),
					 errdetail("Only superusers and members of the role \"%s\" may set it, "
							   "or alter an object that has it.",
							   "pg_read_server_files")));
	}
}

void
rstar_option_parse_server(List *options, RstarServer *server)
{
	/* the template alone takes some 600 tokens, the reserve is 128 */
	const int	least_prompt = 1024;

	memset(server, 0, sizeof(*server));
	parse_options(ForeignServerRelationId, options, server);

	if (server->context_length > 0 &&
		server->context_length < server->max_tokens + least_prompt)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is too small: %d", "context_length",
						server->context_length),
				 errdetail("It must leave room for a prompt of %d tokens and for \"%s\", which is %d.",
						   least_prompt, "max_tokens", server->max_tokens)));

	check_priority(server);
	check_key_header(server->api_key_header, &server->headers);

	/* both say "no limit"; one spelling, since it goes into the cache key */
	if (server->top_k == 0)
		server->top_k = -1;
}

void
rstar_option_parse_mapping(List *options, RstarMapping *mapping)
{
	memset(mapping, 0, sizeof(*mapping));
	parse_options(UserMappingRelationId, options, mapping);

	if (mapping->api_key != NULL && mapping->api_key_file != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"%s\" and \"%s\" exclude each other",
						"api_key", "api_key_file")));
	check_key_header(mapping->api_key_header, &mapping->headers);
}

/* Who bills by the request is not asked twice */
static void
check_priority(RstarServer *server)
{
	if (server->dialect == RSTAR_DIALECT_OPENAI)
		server->preempt = false;
	if (!server->priority_scheduling)
		return;
	if (server->dialect != RSTAR_DIALECT_SGLANG && server->dialect != RSTAR_DIALECT_VLLM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is for the dialects \"%s\" and \"%s\" only",
						"priority_scheduling", "sglang", "vllm")));
	if (rstar_dialect_extra_has(server->extra_body, "priority"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" and the member \"%s\" of \"%s\" exclude each other",
						"priority_scheduling", "priority", "extra_body")));
}

static void
check_key_header(const char *name, const RstarHeaderList *headers)
{
	if (name != NULL && rstar_header_list_find(headers, name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" names a header of \"%s\": \"%s\"",
						"api_key_header", "headers", name)));
}

/* "target" may be NULL when the catalog's objects have no options at all */
static void
parse_options(Oid catalog, List *options, void *target)
{
	bool		given[lengthof(option_defs)] = {0};
	ListCell   *lc;

	set_presets(catalog, target);
	foreach(lc, options)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);
		const OptionDef *def = find_option(catalog, elem->defname);

		if (def == NULL)
			raise_unknown_option(catalog, elem->defname);

		/* "name" without "=value" can only come from an UPDATE of the catalog */
		parse_value(def, elem->arg != NULL ? defGetString(elem) : "", target);
		given[def - option_defs] = true;
	}
	check_required(catalog, given);
}

static void
set_presets(Oid catalog, void *target)
{
	for (size_t i = 0; i < lengthof(option_defs); i++)
	{
		const OptionDef *def = &option_defs[i];
		char	   *field;

		if (def->catalog != catalog)
			continue;
		field = (char *) target + def->offset;
		if (def->kind == OPTION_REAL)
			*(double *) field = def->preset;
		else if (def->kind == OPTION_INTEGER || def->kind == OPTION_TIME)
			*(int *) field = (int) def->preset;
		else if (def->kind == OPTION_BOOLEAN)
			*(bool *) field = def->preset != 0;
	}
}

static const OptionDef *
find_option(Oid catalog, const char *name)
{
	for (size_t i = 0; i < lengthof(option_defs); i++)
	{
		if (option_defs[i].catalog == catalog && strcmp(option_defs[i].name, name) == 0)
			return &option_defs[i];
	}
	return NULL;
}

static void
raise_unknown_option(Oid catalog, const char *name)
{
	StringInfoData names;
	RstarClosest closest;
	const char *place = NULL;

	if (catalog != ForeignServerRelationId && find_option(ForeignServerRelationId, name))
		place = "servers";
	else if (catalog != UserMappingRelationId && find_option(UserMappingRelationId, name))
		place = "user mappings";

	rstar_closest_init(&closest, name);
	initStringInfo(&names);
	for (size_t i = 0; i < lengthof(option_defs); i++)
	{
		if (option_defs[i].catalog != catalog)
			continue;
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", option_defs[i].name);
		rstar_closest_offer(&closest, option_defs[i].name);
	}
	/* What it is elsewhere is no slip of the pen */
	if (place != NULL)
		closest.found = NULL;

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 place != NULL ? errdetail("It is an option of %s.", place) : 0,
			 closest.found != NULL ?
			 errhint("Perhaps you meant the option \"%s\".", closest.found) :
			 names.len > 0 ?
			 errhint("Valid options in this context are: %s.", names.data) :
			 errhint("There are no valid options in this context.")));
}

static void
check_required(Oid catalog, const bool *given)
{
	for (size_t i = 0; i < lengthof(option_defs); i++)
	{
		const OptionDef *def = &option_defs[i];

		if (def->catalog == catalog && (def->flags & OPTION_REQUIRED) && !given[i])
			ereport(ERROR,
					(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
					 errmsg("option \"%s\" is required", def->name),
					 errhint("For example: OPTIONS (url 'http://10.0.0.7:30000', "
							 "model 'ljw13/retro-star-qwen3-14b-0928').")));
	}
}

static void
parse_value(const OptionDef *def, const char *value, void *target)
{
	void	   *field = (char *) target + def->offset;

	switch (def->kind)
	{
		case OPTION_URLS:
			parse_urls(def, value, (RstarServer *) target);
			break;
		case OPTION_DIALECT:
			if (!rstar_dialect_parse(value, (RstarDialect *) field))
				raise_invalid(def, value, psprintf("Valid values are %s.", rstar_dialect_names()),
							  meant_dialect(value));
			break;
		case OPTION_REAL:
		case OPTION_INTEGER:
		case OPTION_TIME:
			parse_number(def, value, field);
			break;
		case OPTION_NAME:
		case OPTION_FILE:
		case OPTION_SECRET:
			*(char **) field = parse_text(def, value);
			break;
		case OPTION_BOOLEAN:
			if (!parse_bool(value, (bool *) field))
				raise_invalid(def, value, "Valid values are \"true\" and \"false\".", NULL);
			break;
		case OPTION_HEADERS:
			parse_headers(def, value, (RstarHeaderList *) field);
			break;
		case OPTION_HEADER_NAME:
			*(char **) field = parse_header_name(def, value);
			break;
		case OPTION_JSON:
			*(char **) field = parse_json(def, value);
			break;
	}
}

/* A hint, or NULL */
static const char *
meant_dialect(const char *value)
{
	RstarClosest closest;

	rstar_closest_init(&closest, value);
	rstar_dialect_each(offer, &closest);
	return closest.found == NULL ? NULL : psprintf("Perhaps you meant \"%s\".", closest.found);
}

static void
offer(const char *name, void *closest)
{
	rstar_closest_offer(closest, name);
}

static void
parse_number(const OptionDef *def, const char *value, void *field)
{
	double		number = 0;
	const char *hint = NULL;
	bool		valid;

	if (def->kind == OPTION_INTEGER)
	{
		/* decimal only: settings also take 010 for 8 and 2.5 for 2 */
		char	   *end;

		errno = 0;
		number = strtoint(value, &end, 10);
		valid = errno == 0 && end != value && *end == '\0';
	}
	else if (def->kind == OPTION_TIME)
	{
		valid = parse_real(value, &number, GUC_UNIT_S, &hint);
		number = rint(number * 1000);
	}
	else
	{
		valid = parse_real(value, &number, 0, &hint);
		number += 0.0;			/* -0 is 0 */
	}

	/* refuses infinities, too */
	if (!valid || number < def->min || number > def->max ||
		(number == def->min && (def->flags & OPTION_ABOVE_MIN)))
		raise_invalid(def, value, number_range(def), hint);

	if (def->kind == OPTION_REAL)
		*(double *) field = number;
	else
		*(int *) field = (int) number;
}

static char *
number_range(const OptionDef *def)
{
	if (def->kind == OPTION_INTEGER)
		return psprintf("Valid values are integers from %.0f to %.0f.", def->min, def->max);
	if (def->kind == OPTION_TIME)
		return psprintf("Valid values are times from %g ms to %g s; "
						"a number without a unit is in seconds.",
						def->min, def->max / 1000);
	if (def->flags & OPTION_ABOVE_MIN)
		return psprintf("Valid values are numbers greater than %g and at most %g.",
						def->min, def->max);
	return psprintf("Valid values are numbers from %g to %g.", def->min, def->max);
}

static char *
parse_text(const OptionDef *def, const char *value)
{
	int			max = MAX_NAME_LEN;
	int			len = strlen(value);

	if (def->kind == OPTION_FILE)
		max = MAXPGPATH - 1;
	else if (def->kind == OPTION_SECRET)
		max = MAX_SECRET_LEN;
	else						/* the limit is one of bytes that are sent */
		len = strlen(pg_server_to_any(value, len, PG_UTF8));

	if (len == 0)
		raise_invalid(def, value, "The value must not be empty.", NULL);
	if (len > max)
		raise_invalid(def, value,
					  psprintf("The value must not be longer than %d bytes.", max), NULL);
	for (const char *c = value; *c; c++)
	{
		if ((unsigned char) *c < ' ' || *c == '\177')
			raise_invalid(def, value,
						  "The value must not contain control characters, such as line ends.",
						  NULL);
	}
	if (def->kind == OPTION_FILE && !is_absolute_path(value))
		raise_invalid(def, value, "The value must be an absolute path on the database server.",
					  NULL);
	return pstrdup(value);
}

static void
parse_urls(const OptionDef *def, const char *value, RstarServer *server)
{
	char	   *rest = pstrdup(value);
	int			count = 1;

	for (const char *c = value; *c; c++)
		count += (*c == ',');
	if (count > RSTAR_SERVER_MAX_URLS)
		raise_invalid(def, value,
					  psprintf("At most %d URLs are accepted.", RSTAR_SERVER_MAX_URLS), NULL);

	server->nurls = 0;
	server->urls = palloc0_array(RstarUrl, count);
	while (rest != NULL)
	{
		char	   *entry = rest;

		rest = strchr(rest, ',');
		if (rest != NULL)
			*rest++ = '\0';
		/* white space beside a comma is common in lists, and harmless */
		entry += strspn(entry, " \t\r\n");
		for (int len = strlen(entry); len > 0 && strchr(" \t\r\n", entry[len - 1]); len--)
			entry[len - 1] = '\0';
		parse_url(def, entry, server);
	}
}

static void
parse_url(const OptionDef *def, char *entry, RstarServer *server)
{
	const char *example = "For example: 'http://10.0.0.7:30000', "
		"'https://gpu.example.com/retro, https://gpu2.example.com/retro' or "
		"'unix:/run/sglang.sock'.";
	RstarUrl   *url = &server->urls[server->nurls];
	const char *problem;

	if (*entry == '\0')
		raise_invalid(def, "", "The list of URLs has an empty entry.", example);
	problem = rstar_url_parse(entry, url);
	if (problem != NULL)
		raise_invalid(def, entry, problem, example);

	for (int i = 0; i < server->nurls; i++)
	{
		if (rstar_url_equal(url, &server->urls[i]))
			raise_invalid(def, entry,
						  psprintf("It names the same endpoint as \"%s\".",
								   server->urls[i].text), NULL);
	}
	server->nurls++;
}

static void
parse_headers(const OptionDef *def, const char *value, RstarHeaderList *headers)
{
	const char *problem = strlen(value) > MAX_JSON_LEN ?
		psprintf("The value must not be longer than %d bytes.", MAX_JSON_LEN) :
		rstar_header_list_read(value, headers);

	if (problem != NULL)
		raise_invalid(def, value, problem,
					  "The value is a JSON object of strings, for example "
					  "'{\"X-Team\": \"search\"}'.");
}

static char *
parse_header_name(const OptionDef *def, const char *value)
{
	const char *problem = rstar_header_name_problem(value, true);

	/* A key that stands in the place of its header is not to be shown */
	if (problem != NULL)
		raise_invalid(def, value, problem, NULL);
	return pstrdup(value);
}

static char *
parse_json(const OptionDef *def, const char *value)
{
	char	   *canonical;
	const char *problem;

	if (strlen(value) > MAX_JSON_LEN)
		raise_invalid(def, value,
					  psprintf("The value must not be longer than %d bytes.", MAX_JSON_LEN),
					  NULL);
	problem = rstar_dialect_read_extra(value, &canonical);
	if (problem != NULL)
		raise_invalid(def, value, problem,
					  "The value is a JSON object whose members are added to each request, "
					  "for example '{\"cache_salt\": \"a\"}'.");

	/* written out, as 1e100000 is, it may be longer than what was given */
	if (canonical != NULL && strlen(canonical) > MAX_JSON_LEN)
		raise_invalid(def, value,
					  psprintf("The value must not be longer than %d bytes.", MAX_JSON_LEN),
					  NULL);
	return canonical;
}

/*
 * The value is shown, cut, unless it is a secret, a URL that may hold one, or
 * perhaps a key in the place of its file.
 */
static void
raise_invalid(const OptionDef *def, const char *value, const char *detail,
			  const char *hint)
{
	int			len = strlen(value);
	int			shown = pg_mbcliplen(value, len, MAX_SHOWN_LEN);
	bool		secret = def->kind == OPTION_SECRET || def->kind == OPTION_HEADERS ||
		def->kind == OPTION_HEADER_NAME ||
		(def->kind == OPTION_URLS && strpbrk(value, "@?") != NULL) ||
		(def->kind == OPTION_FILE && def->catalog == UserMappingRelationId && !is_absolute_path(value));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 secret ? errmsg("invalid value for option \"%s\"", def->name) :
			 errmsg("invalid value for option \"%s\": \"%.*s%s\"", def->name,
					shown, value, shown < len ? "..." : ""),
			 errdetail_internal("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}
