/*-------------------------------------------------------------------------
 *
 * reply_parse.h
 *		Parses a reply for the tests of reply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_PARSE_H
#define RSTAR_REPLY_PARSE_H

#include <stdlib.h>

#include "check.h"
#include "model/reply.h"

#define SCORE RSTAR_REPLY_SCORE
#define NO_SCORE RSTAR_REPLY_NO_SCORE
#define TRUNCATED RSTAR_REPLY_TRUNCATED
#define ABORTED RSTAR_REPLY_ABORTED
#define MALFORMED RSTAR_REPLY_MALFORMED
#define ERROR RSTAR_REPLY_ERROR

/* A completion whose only choice has this message and finish_reason */
#define CHOICE(message, finish) \
	"{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\"," message \
	"},\"finish_reason\":" finish "}]}"
#define CONTENT(text) CHOICE("\"content\":\"" text "\"", "\"stop\"")

static RstarReply reply;

/* What is read of a reply: its score, or its text, too */
static const RstarReading score_alone = {&rstar_form_retro, false};
static const RstarReading all_of_it = {&rstar_form_retro, true};

static inline void compare_readers(const char *body, size_t len);

static inline void
parse(int status, const char *body)
{
	/* a copy of the exact size, so that the sanitizer sees each byte too far */
	size_t		len = strlen(body);
	char	   *copy = malloc(len > 0 ? len : 1);

	memcpy(copy, body, len);
	rstar_reply_free(&reply);
	rstar_reply_parse(&reply, status, copy, len, &all_of_it);
	free(copy);
	if (status == 200 && body[0] == '{')
		compare_readers(body, len);
}

/* Behind a byte order mark a body is left to json-c, which must find the same */
static inline void
compare_readers(const char *body, size_t len)
{
	char	   *copy = malloc(len + 3);
	RstarReply	other;

	memcpy(copy, "\xef\xbb\xbf", 3);
	memcpy(copy + 3, body, len);
	rstar_reply_parse(&other, 200, copy, len + 3, &all_of_it);
	free(copy);
	CHECK_INT(other.status, (int) reply.status);
	CHECK_INT(other.score, reply.score);
	CHECK_INT(other.prompt_tokens, reply.prompt_tokens);
	CHECK_INT(other.completion_tokens, reply.completion_tokens);
	CHECK_STR(other.finish_reason, reply.finish_reason);
	CHECK_STR(other.text, reply.text);
	rstar_reply_free(&other);
}

#endif							/* RSTAR_REPLY_PARSE_H */
