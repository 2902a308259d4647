/*-------------------------------------------------------------------------
 *
 * reply_models.c
 *		The reply to GET /v1/models.
 *
 * Few servers say who they are, but each has its own owner of models.
 *
 * Pure, as reply.c.  Calls reply.c, which bounds what an untrusted body costs.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "model/reply.h"
#include "model/reply_models.h"

/* What "owned_by" says where, as seen in replies of running servers */
static const char *const servers[][2] = {
	{"sglang", "SGLang"},
	{"vllm", "vLLM"},
	{"llamacpp", "llama-server"},
	{"me", "llama-cpp-python"},
	{"local", "sglang-router"},
	{"self_hosted", "smg"}
};

static const char *member(json_object *list, size_t i, const char *name);
static bool names(const char *listed, const char *model);
static void note_owner(RstarModels *models, const char *owner, bool first);
static void append_name(RstarModels *models, const char *name);

void
rstar_reply_models(const char *body, size_t len, const char *model, RstarModels *models)
{
	json_object *root = rstar_reply_json(body, len);
	json_object *list = NULL;
	size_t		n = 0;
	bool		first = true;

	memset(models, 0, sizeof(*models));
	snprintf(models->line, sizeof(models->line), "it names no models");
	if (root != NULL && json_object_is_type(root, json_type_object) &&
		json_object_object_get_ex(root, "data", &list) &&
		json_object_is_type(list, json_type_array))
		n = json_object_array_length(list);
	if (n > 0)
		snprintf(models->line, sizeof(models->line), "it serves");
	for (size_t i = 0; i < n; i++)
	{
		const char *name = member(list, i, "id");

		if (name == NULL)
			continue;
		note_owner(models, member(list, i, "owned_by"), first);
		first = false;
		models->listed = models->listed || names(name, model);
		append_name(models, name);
	}
	json_object_put(root);
}

static const char *
member(json_object *list, size_t i, const char *name)
{
	json_object *item = json_object_array_get_idx(list, i);
	json_object *value = NULL;

	if (!json_object_is_type(item, json_type_object) ||
		!json_object_object_get_ex(item, name, &value) ||
		!json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* The model, or one that the adapter in its name belongs to */
static bool
names(const char *listed, const char *model)
{
	size_t		len = strlen(listed);

	return len > 0 && strncmp(listed, model, len) == 0 &&
		(model[len] == '\0' || model[len] == ':');
}

static void
note_owner(RstarModels *models, const char *owner, bool first)
{
	if (first && owner != NULL)
		snprintf(models->owner, sizeof(models->owner), "%s", owner);
	else if (owner == NULL || strcmp(models->owner, owner) != 0)
		models->owner[0] = '\0';
}

/* Names are foreign text: printable ASCII only, as many as there is room for */
static void
append_name(RstarModels *models, const char *name)
{
	char	   *buf = models->line;
	size_t		size = sizeof(models->line);
	size_t		len = strlen(buf);
	bool		first = strcmp(buf, "it serves") == 0;

	if (len + strlen(name) + 5 > size)
		return;
	len += snprintf(buf + len, size - len, first ? " \"" : ", \"");
	for (; *name; name++)
		buf[len++] = (*name >= ' ' && *name <= '~') ? *name : '?';
	snprintf(buf + len, size - len, "\"");
}

bool
rstar_reply_models_other(const RstarModels *models)
{
	return !models->listed &&
		(strcmp(models->owner, "sglang") == 0 || strcmp(models->owner, "self_hosted") == 0);
}

const char *
rstar_reply_models_server(const char *owner)
{
	for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++)
	{
		if (strcmp(servers[i][0], owner) == 0)
			return servers[i][1];
	}
	return NULL;
}
