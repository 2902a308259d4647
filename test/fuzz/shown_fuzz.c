/*-------------------------------------------------------------------------
 *
 * shown_fuzz.c
 *		libFuzzer target: what people are shown of any bytes.
 *
 * A reply with its key hidden (rstar_hide()), as it is kept for
 * retro_star_explain() (rstar_reply_details()), and the models that a server
 * names (rstar_reply_models()).  The first byte says how many of those that
 * follow are the key, the rest is the body.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "model/hide.h"
#include "model/reply.h"
#include "model/reply_details.h"
#include "model/reply_models.h"

#define MOST_OF_KEY 63

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const RstarReading all_of_it = {&rstar_form_retro, true};

#define REQUIRE(holds) \
	do { if (!(holds)) { fprintf(stderr, "not so: %s\n", #holds); abort(); } } while (0)

/* Nothing but asterisks is new, and the key is not there any more */
static void
require_hidden(char *body, size_t len, const char *key)
{
	char	   *before = malloc(len + 1);
	bool		hidden;

	memcpy(before, body, len);
	hidden = rstar_hide(body, len, key);
	for (size_t i = 0; i < len; i++)
		REQUIRE(body[i] == before[i] || (hidden && body[i] == '*'));
	/* asterisks in the place of one key may be a part of another */
	if (strlen(key) >= RSTAR_HIDE_MIN_LEN && strchr(key, '*') == NULL)
	{
		REQUIRE(memmem(body, len, key, strlen(key)) == NULL);
		REQUIRE(hidden == (memcmp(before, body, len) != 0));
	}
	free(before);
}

static void
require_models(const char *body, size_t len, const char *model)
{
	RstarModels models;

	rstar_reply_models(body, len, model, &models);
	REQUIRE(memchr(models.line, '\0', sizeof(models.line)) != NULL);
	REQUIRE(memchr(models.owner, '\0', sizeof(models.owner)) != NULL);
	for (const char *c = models.line; *c; c++)
		REQUIRE(*c >= ' ' && *c <= '~');
}

static void
require_details(const char *body, size_t len)
{
	RstarReply	reply;
	size_t		details_len = 0;
	char	   *details;
	json_tokener *tokener = json_tokener_new();
	json_object *object;

	rstar_reply_parse(&reply, 200, body, len, &all_of_it);
	details = rstar_reply_details(&reply, "http://127.0.0.1:1", 1500, &details_len);
	REQUIRE(details != NULL);
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	object = json_tokener_parse_ex(tokener, details, (int) details_len);
	REQUIRE(json_tokener_get_error(tokener) == json_tokener_success);
	REQUIRE(json_object_object_length(object) == 7);
	json_object_put(object);
	json_tokener_free(tokener);
	free(details);
	rstar_reply_free(&reply);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char		key[MOST_OF_KEY + 1] = {0};
	size_t		key_len;
	size_t		len;
	char	   *body;

	if (size == 0)
		return 0;
	key_len = data[0] & MOST_OF_KEY;
	if (key_len > size - 1)
		key_len = size - 1;
	memcpy(key, data + 1, key_len);
	len = size - 1 - key_len;
	/* of its own, so that every byte read beyond its end is seen */
	body = malloc(len > 0 ? len : 1);
	memcpy(body, data + 1 + key_len, len);
	require_hidden(body, len, key);
	require_models(body, len, key);
	require_details(body, len);
	free(body);
	return 0;
}
