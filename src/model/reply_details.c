/*-------------------------------------------------------------------------
 *
 * reply_details.c
 *		What is kept of a reply, for retro_star_explain().
 *
 * Calls json-c.
 *
 * The text is a model's: of any length, with any character but NUL, which
 * reply.c has taken out, and which jsonb could not hold.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "model/reply_details.h"

static void add(json_object *object, const char *key, json_object *value);
static json_object *string_or_null(const char *text);
static json_object *count_or_null(int count);
static json_object *cut_text(const RstarReply *reply);

char *
rstar_reply_details(const RstarReply *reply, const char *endpoint,
					long long elapsed_us, size_t *len)
{
	json_object *object = json_object_new_object();
	const char *json;
	char	   *copy = NULL;

	if (object == NULL)
		return NULL;
	add(object, "score", reply->status == RSTAR_REPLY_SCORE ? json_object_new_int(reply->score) : NULL);
	add(object, "text", cut_text(reply));
	add(object, "finish_reason", string_or_null(reply->finish_reason));
	add(object, "prompt_tokens", count_or_null(reply->prompt_tokens));
	add(object, "completion_tokens", count_or_null(reply->completion_tokens));
	add(object, "endpoint", string_or_null(endpoint));
	add(object, "elapsed_ms", json_object_new_int64((elapsed_us + 500) / 1000));
	json = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN |
											 JSON_C_TO_STRING_NOSLASHESCAPE, len);
	if (json != NULL && (copy = malloc(*len)) != NULL)
		memcpy(copy, json, *len);
	json_object_put(object);
	return copy;
}

/* Without memory a member is missing, or null: that is as good */
static void
add(json_object *object, const char *key, json_object *value)
{
	if (json_object_object_add(object, key, value) < 0)
		json_object_put(value);
}

static json_object *
string_or_null(const char *text)
{
	return text == NULL || text[0] == '\0' ? NULL : json_object_new_string(text);
}

/* Of tokens: 0 when the server did not count */
static json_object *
count_or_null(int count)
{
	return count == 0 ? NULL : json_object_new_int(count);
}

static json_object *
cut_text(const RstarReply *reply)
{
	return reply->text == NULL ? NULL :
		json_object_new_string_len(reply->text, (int) rstar_reply_details_text(reply));
}

/* The text is valid UTF-8 */
size_t
rstar_reply_details_text(const RstarReply *reply)
{
	size_t		len = reply->text_len;

	if (len > RSTAR_REPLY_DETAILS_TEXT)
	{
		len = RSTAR_REPLY_DETAILS_TEXT;
		while (len > 0 && (reply->text[len] & 0xc0) == 0x80)
			len--;
	}
	return len;
}
