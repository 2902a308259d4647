/*-------------------------------------------------------------------------
 *
 * option_fuzz.c
 *		libFuzzer target: the validator of server and mapping options, of any
 *		names and values.
 *
 * option.c, url.c and dialect.c as they are; what they call of the server is
 * in option_shim.c.  The first byte says which object it is and who sets it,
 * each further line is NAME=VALUE.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"

#include "model/option.h"
#include "option_shim.h"

#define MAX_OPTIONS 64

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern Datum retrostar_fdw_validator(PG_FUNCTION_ARGS);

#define REQUIRE(holds) \
	do { if (!(holds)) { fprintf(stderr, "not so: %s\n", #holds); abort(); } } while (0)

/* DefElem of each line; *key is the value of api_key, if there is one */
static List *
read_options(char *text, const char **key)
{
	List	   *list = palloc(offsetof(List, initial_elements) + MAX_OPTIONS * sizeof(ListCell));
	char	   *line = text;

	list->type = T_List;
	list->length = 0;
	list->max_length = MAX_OPTIONS;
	list->elements = list->initial_elements;
	while (line != NULL && list->length < MAX_OPTIONS)
	{
		char	   *next = strchr(line, '\n');
		DefElem    *elem = palloc0(sizeof(DefElem));
		char	   *value;

		if (next != NULL)
			*next++ = '\0';
		value = strchr(line, '=');
		if (value != NULL)
		{
			String	   *string = palloc0(sizeof(String));

			*value++ = '\0';
			string->type = T_String;
			string->sval = pstrdup(value);
			elem->arg = (Node *) string;
			if (strcmp(line, "api_key") == 0)
				*key = string->sval;
		}
		elem->type = T_DefElem;
		elem->defname = pstrdup(line);
		lfirst(&list->elements[list->length]) = elem;
		list->length++;
		line = next;
	}
	return list;
}

/* Who writes the key into another option, or its name, may be shown that */
static bool
is_once(const uint8_t *data, size_t size, const char *key)
{
	const uint8_t *first = memmem(data, size, key, strlen(key));

	return first != NULL &&
		memmem(first + 1, data + size - first - 1, key, strlen(key)) == NULL;
}

/* What http.c is given: nothing that another parser could take otherwise */
static void
require_url(const RstarUrl *url)
{
	const char *authority;
	size_t		len;

	if (url->unix_socket != NULL)
	{
		REQUIRE(url->unix_socket[0] == '/' && strlen(url->unix_socket) < 108);
		REQUIRE(strcmp(url->base, "http://localhost") == 0);
		return;
	}
	REQUIRE(strncmp(url->base, "http://", 7) == 0 || strncmp(url->base, "https://", 8) == 0);
	for (const char *c = url->base; *c; c++)
		REQUIRE(*c > ' ' && *c < 127 && strchr("\"<>\\^`{|}?#", *c) == NULL);
	authority = strstr(url->base, "://") + 3;
	len = strcspn(authority, "/");
	REQUIRE(len > 0 && memchr(authority, '@', len) == NULL);
	REQUIRE(url->base[strlen(url->base) - 1] != '/');
}

static void
require_text(const char *text, size_t max)
{
	REQUIRE(text[0] != '\0' && strlen(text) <= max);
	for (const char *c = text; *c; c++)
		REQUIRE((unsigned char) *c >= ' ' && *c != 127);
}

static void
require_server(const RstarServer *server)
{
	REQUIRE(server->nurls >= 1 && server->nurls <= RSTAR_SERVER_MAX_URLS);
	for (int i = 0; i < server->nurls; i++)
	{
		require_url(&server->urls[i]);
		for (int j = 0; j < i; j++)
			REQUIRE(!rstar_url_equal(&server->urls[i], &server->urls[j]));
	}
	require_text(server->model, 255);
	REQUIRE(server->temperature >= 0 && server->temperature <= 2);
	REQUIRE(server->top_p > 0 && server->top_p <= 1);
	REQUIRE(server->min_p >= 0 && server->min_p <= 1);
	REQUIRE(server->repetition_penalty > 0 && server->repetition_penalty <= 2);
	REQUIRE(server->top_k == -1 || (server->top_k >= 1 && server->top_k <= 1000000));
	REQUIRE(server->max_tokens >= 1 && server->retries >= 0 && server->retries <= 100);
	REQUIRE(server->context_length == 0 || server->context_length > server->max_tokens);
	REQUIRE(server->timeout >= 1 && server->connect_timeout >= 1 && server->unavailable_timeout >= 1);
	if (server->ca_file != NULL)
		REQUIRE(server->ca_file[0] == '/');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *volatile key = NULL;
	const char *found = NULL;
	List	   *options;
	char	   *text;
	Oid			catalog;

	if (size == 0)
		return 0;
	shim_begin(data[0] & 4);
	catalog = data[0] & 2 ? ForeignDataWrapperRelationId :
		data[0] & 1 ? UserMappingRelationId : ForeignServerRelationId;
	text = palloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	options = read_options(text, &found);
	key = found;

	PG_TRY();
	{
		LOCAL_FCINFO(fcinfo, 2);

		InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = PointerGetDatum(options);
		fcinfo->args[0].isnull = false;
		fcinfo->args[1].value = ObjectIdGetDatum(catalog);
		fcinfo->args[1].isnull = false;
		(void) retrostar_fdw_validator(fcinfo);

		/* What passes is what server.c reads */
		if (catalog == ForeignServerRelationId)
		{
			RstarServer server;

			rstar_option_parse_server(options, &server);
			require_server(&server);
		}
		else if (catalog == UserMappingRelationId)
		{
			RstarMapping mapping;

			rstar_option_parse_mapping(options, &mapping);
			REQUIRE(mapping.api_key == NULL || mapping.api_key_file == NULL);
			if (mapping.api_key != NULL)
				require_text(mapping.api_key, 8192);
			if (mapping.api_key_file != NULL)
				REQUIRE(mapping.api_key_file[0] == '/');
		}
		else
			REQUIRE(options->length == 0);
	}
	PG_CATCH();
	{
		REQUIRE(shim_sqlstate() != 0);
		/* words of ours do not begin so */
		if (key != NULL && strncmp(key, "sk-", 3) == 0 && strlen(key) >= 8 &&
			is_once(data, size, key))
			REQUIRE(strstr(shim_message(), key) == NULL);
	}
	PG_END_TRY();
	shim_end();
	return 0;
}
