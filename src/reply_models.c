/*-------------------------------------------------------------------------
 *
 * reply_models.c
 *		The reply to GET /v1/models.
 *
 * Pure, as reply.c.  Called by: send.c (retrostar.check), test/unit.  Calls
 * reply.c, which bounds what an untrusted body costs.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "reply.h"

static const char *model_name(json_object *list, size_t i);
static void append_name(char *buf, size_t size, const char *name);

bool
rstar_reply_models(const char *body, size_t len, const char *model, char *buf, size_t size)
{
	json_object *root = rstar_reply_json(body, len);
	json_object *list = NULL;
	bool		served = false;
	size_t		n = 0;

	snprintf(buf, size, "it names no models");
	if (root != NULL && json_object_is_type(root, json_type_object) &&
		json_object_object_get_ex(root, "data", &list) &&
		json_object_is_type(list, json_type_array))
		n = json_object_array_length(list);
	if (n > 0)
		snprintf(buf, size, "it serves");
	for (size_t i = 0; i < n; i++)
	{
		const char *name = model_name(list, i);

		if (name == NULL)
			continue;
		served = served || strcmp(name, model) == 0;
		append_name(buf, size, name);
	}
	json_object_put(root);
	return served;
}

static const char *
model_name(json_object *list, size_t i)
{
	json_object *item = json_object_array_get_idx(list, i);
	json_object *id = NULL;

	if (!json_object_is_type(item, json_type_object) ||
		!json_object_object_get_ex(item, "id", &id) ||
		!json_object_is_type(id, json_type_string))
		return NULL;
	return json_object_get_string(id);
}

/* Names are foreign text: printable ASCII only, as many as there is room for */
static void
append_name(char *buf, size_t size, const char *name)
{
	size_t		len = strlen(buf);
	bool		first = strcmp(buf, "it serves") == 0;

	if (len + strlen(name) + 5 > size)
		return;
	len += snprintf(buf + len, size - len, first ? " \"" : ", \"");
	for (; *name; name++)
		buf[len++] = (*name >= ' ' && *name <= '~') ? *name : '?';
	snprintf(buf + len, size - len, "\"");
}
