/*-------------------------------------------------------------------------
 *
 * chat_input.h
 *		A chat request's JSON becomes what the simulator needs of it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CHAT_INPUT_H
#define SIM_CHAT_INPUT_H

#include <json-c/json.h>

#include "reply.h"
#include "sim.h"

/* The n that is refused by all but llama-server, which has a limit of its own */
#define SIM_MAX_CHOICES 128

/* A chat request, as far as the simulator reads it; points into the JSON */
typedef struct SimChatInput
{
	SimWish		wish;
	SimBuf		joined;			/* the prompt, when it has several pieces */
	const char *prompt;
	size_t		prompt_len;
	bool		seeded;
} SimChatInput;

/* The body as a JSON object, to be put; NULL when the request is answered */
extern struct json_object *sim_chat_parse(SimRequest *req);

/* Reads what is there, and makes something of what is not as it should be */
extern void sim_chat_read(SimChatInput *in, struct json_object *root);

/* What is not as it should be is answered as the dialect does; then false */
extern bool sim_chat_check(SimRequest *req, struct json_object *root,
						   SimWish *wish);

/* A member of an object: NULL when it is no string; false when null */
extern const char *sim_json_string(struct json_object *object,
								   const char *name);
extern bool sim_json_has(struct json_object *object, const char *name);

#endif							/* SIM_CHAT_INPUT_H */
