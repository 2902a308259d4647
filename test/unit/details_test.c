/*-------------------------------------------------------------------------
 *
 * details_test.c
 *		Tests of src/model/reply_details.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "model/reply_details.h"

static const char *
text_of(json_object *object, const char *key)
{
	return json_object_get_string(json_object_object_get(object, key));
}

static void
whole(void)
{
	RstarReply	reply = {.status = RSTAR_REPLY_SCORE,.score = 0,.prompt_tokens = 7,.completion_tokens = 9};
	char		text[] = "a \"b\" / \x01 \xc3\xa4\n";
	size_t		len = 0;
	char	   *json;
	char		copy[1000];
	json_object *object;

	strcpy(reply.finish_reason, "stop");
	reply.text = text;
	reply.text_len = strlen(text);
	json = rstar_reply_details(&reply, "http://h:1", 1499, &len);
	if (!CHECK(json != NULL && len < sizeof(copy)))
		return;
	memcpy(copy, json, len);
	copy[len] = '\0';
	CHECK(strcmp(copy, "{\"score\":0,\"text\":\"a \\\"b\\\" / \\u0001 \xc3\xa4\\n\",\"finish_reason\":\"stop\","
				 "\"prompt_tokens\":7,\"completion_tokens\":9,\"endpoint\":\"http://h:1\",\"elapsed_ms\":1}") == 0);
	object = json_tokener_parse(copy);
	CHECK(object != NULL && strcmp(text_of(object, "text"), text) == 0);
	json_object_put(object);
	free(json);
}

static void
empty(void)
{
	RstarReply	reply = {.status = RSTAR_REPLY_NO_SCORE,.score = -1};
	static const char expected[] = "{\"score\":null,\"text\":null,\"finish_reason\":null,\"prompt_tokens\":null,"
		"\"completion_tokens\":null,\"endpoint\":null,\"elapsed_ms\":0}";
	size_t		len = 0;
	char	   *json = rstar_reply_details(&reply, NULL, 0, &len);

	CHECK(json != NULL && len == strlen(expected) && memcmp(json, expected, len) == 0);
	free(json);
}

/* Cut before the character that would not fit, wherever it begins */
static void
cut(void)
{
	for (size_t shift = 0; shift < 4; shift++)
	{
		RstarReply	reply = {.status = RSTAR_REPLY_SCORE,.score = 100};
		size_t		size = RSTAR_REPLY_DETAILS_TEXT + 100;
		size_t		len = 0;
		size_t		kept;
		char	   *json;
		json_object *object;

		reply.text = malloc(size);
		memset(reply.text, 'x', shift);
		for (size_t i = shift; i < size; i++)
			reply.text[i] = "\xf0\x9f\x98\x80"[(i - shift) % 4];
		reply.text_len = size - (size - shift) % 4;
		json = rstar_reply_details(&reply, NULL, 0, &len);
		CHECK(json != NULL);
		json = realloc(json, len + 1);
		json[len] = '\0';
		object = json_tokener_parse(json);
		kept = (size_t) json_object_get_string_len(json_object_object_get(object, "text"));
		CHECK(kept <= RSTAR_REPLY_DETAILS_TEXT && kept > RSTAR_REPLY_DETAILS_TEXT - 4);
		CHECK(kept % 4 == shift);
		json_object_put(object);
		free(json);
		free(reply.text);
	}
}

int
main(void)
{
	CASE("a whole reply");
	whole();
	CASE("an empty reply");
	empty();
	CASE("a long text is cut");
	cut();
	return check_end("details_test");
}
