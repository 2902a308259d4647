/*-------------------------------------------------------------------------
 *
 * header_list.c
 *		The option "headers": a JSON object becomes a list of headers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "model/dialect.h"
#include "model/header.h"
#include "model/header_list.h"

static const char *read_header(const JsonbValue *key, const JsonbValue *value,
							   RstarHeaderList *list);

const char *
rstar_header_list_read(const char *value, RstarHeaderList *list)
{
	const char *problem = NULL;
	Jsonb	   *json = rstar_dialect_read_jsonb(value, &problem);
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	member;

	list->n = 0;
	list->headers = NULL;
	/* What the parser says may quote a value */
	if (json == NULL)
		return "It is no valid JSON.";
	if (!JB_ROOT_IS_OBJECT(json))
		return "It is valid JSON, but not an object.";
	if (JB_ROOT_COUNT(json) > RSTAR_HEADER_LIST_MAX)
		return psprintf("At most %d headers are accepted.", RSTAR_HEADER_LIST_MAX);
	list->headers = palloc0_array(RstarHeader, JB_ROOT_COUNT(json) + 1);
	iterator = JsonbIteratorInit(&json->root);
	token = JsonbIteratorNext(&iterator, &key, false);
	while (problem == NULL &&
		   (token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &member, true);
		problem = read_header(&key, &member, list);
	}
	return problem;
}

static const char *
read_header(const JsonbValue *key, const JsonbValue *value, RstarHeaderList *list)
{
	RstarHeader *header = &list->headers[list->n];
	const char *problem;

	header->name = pnstrdup(key->val.string.val, key->val.string.len);
	problem = rstar_header_name_problem(header->name, false);
	if (problem != NULL)
		return problem;
	if (value->type != jbvString)
		return psprintf("The value of the header \"%s\" is not a string.", header->name);
	header->value = pnstrdup(value->val.string.val, value->val.string.len);
	problem = rstar_header_value_problem(header->value);
	if (problem != NULL)
		return psprintf("Header \"%s\": %s", header->name, problem);
	if (rstar_header_list_find(list, header->name) != NULL)
		return psprintf("The header \"%s\" is there twice.", header->name);
	list->n++;
	return NULL;
}

const RstarHeader *
rstar_header_list_find(const RstarHeaderList *list, const char *name)
{
	for (int i = 0; i < list->n; i++)
	{
		if (rstar_header_same_name(list->headers[i].name, name))
			return &list->headers[i];
	}
	return NULL;
}
