/*-------------------------------------------------------------------------
 *
 * reply.h
 *		A reply's body becomes a score, or the reason why there is none.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates with malloc only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_H
#define RSTAR_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/form.h"
#include "model/reply_error.h"

/* Longest piece of a server's error message that is kept, with its NUL */
#define RSTAR_REPLY_MESSAGE_LEN 256

typedef enum RstarReplyStatus
{
	RSTAR_REPLY_SCORE,			/* a score 0..100 */
	RSTAR_REPLY_NO_SCORE,		/* complete reply, but no well-formed score */
	RSTAR_REPLY_TRUNCATED,		/* cut at a number of tokens, and no score */
	RSTAR_REPLY_ABORTED,		/* the server broke it off: no answer at all */
	RSTAR_REPLY_MALFORMED,		/* not JSON, or not a chat completion */
	RSTAR_REPLY_ERROR			/* an error object in the body */
} RstarReplyStatus;

typedef struct RstarReply
{
	RstarReplyStatus status;
	RstarReplyError error;
	int			score;			/* 0..100, or -1 */
	int			prompt_tokens;	/* from usage, 0 when absent, never negative */
	int			completion_tokens;
	int			cached_tokens;	/* of the prompt's, those that the server had
								 * in its prefix cache, if it says so; at most
								 * as many */
	char		finish_reason[16];	/* as sent, cut; "" when absent */
	char	   *text;			/* the model's whole text (reasoning first
								 * when the server split it off), malloc'd
								 * UTF-8 with NUL characters removed; NULL
								 * when there is none or none was asked for */
	size_t		text_len;

	/* for RSTAR_REPLY_ERROR: */
	char		message[RSTAR_REPLY_MESSAGE_LEN];	/* valid UTF-8, one line,
													 * no control characters */
	int			limit_tokens;	/* TOO_LONG: the context's length, for prompt
								 * and completion together, or 0 when not said */
	int			request_tokens; /* TOO_LONG: the prompt's length; with the
								 * completion's where only the sum was said */
	bool		at_least;		/* TOO_LONG: the last may be a lower bound */
} RstarReply;

/* What is wanted of a reply */
typedef struct RstarReading
{
	const RstarForm *form;		/* of the score in it */
	bool		text;			/* the text, too */
} RstarReading;

/*
 * Parses the body of an HTTP reply with this status.  A 2xx is parsed as
 * a chat completion (an error object in it gives RSTAR_REPLY_ERROR), anything
 * else as an error body: object or string under "error", a flat "message",
 * "detail", or text that is not JSON.  The text is kept when it is wanted.
 * The caller frees with rstar_reply_free(), also after a failure.
 */
extern void rstar_reply_parse(RstarReply *reply, int http_status,
							  const char *body, size_t len,
							  const RstarReading *reading);

/* The last well-formed score in a text of Retro*'s, or -1 */
extern int	rstar_reply_score(const char *text, size_t len);

extern void rstar_reply_free(RstarReply *reply);

/*
 * For reply_models.c: the body as JSON, which json_object_put() frees, or NULL
 * when it is not that, its tree would be too big, or memory is short.
 */
struct json_object;
extern struct json_object *rstar_reply_json(const char *body, size_t len);

#endif							/* RSTAR_REPLY_H */
