/*-------------------------------------------------------------------------
 *
 * reply.h
 *		A reply's body becomes a score, or the reason why there is none.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates with malloc only.
 * Called by: worker.c, functions.c (retrostar.parse_reply), test/unit.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_H
#define RSTAR_REPLY_H

#include <stdbool.h>
#include <stddef.h>

/* Longest piece of a server's error message that is kept, with its NUL */
#define RSTAR_REPLY_MESSAGE_LEN 256

typedef enum RstarReplyStatus
{
	RSTAR_REPLY_SCORE,			/* a score 0..100 */
	RSTAR_REPLY_NO_SCORE,		/* complete reply, but no well-formed score */
	RSTAR_REPLY_TRUNCATED,		/* finish_reason "length" and no score */
	RSTAR_REPLY_ABORTED,		/* finish_reason "abort": no answer at all */
	RSTAR_REPLY_MALFORMED,		/* not JSON, or not a chat completion */
	RSTAR_REPLY_ERROR			/* an error object in the body */
} RstarReplyStatus;

/* What a server's error means, from its body (and status, where it is given) */
typedef enum RstarReplyError
{
	RSTAR_ERROR_NONE,
	RSTAR_ERROR_TOO_LONG,		/* prompt longer than the model's context */
	RSTAR_ERROR_MODEL,			/* the model name is not served */
	RSTAR_ERROR_QUOTA,			/* account exhausted: retrying is useless */
	RSTAR_ERROR_OTHER
} RstarReplyError;

typedef struct RstarReply
{
	RstarReplyStatus status;
	RstarReplyError error;
	int			score;			/* 0..100, or -1 */
	int			prompt_tokens;	/* from usage, 0 when absent, never negative */
	int			completion_tokens;
	char		finish_reason[16];	/* as sent, cut; "" when absent */
	char	   *text;			/* the model's whole text (reasoning first when
								 * the server split it off), malloc'd UTF-8
								 * with NUL characters removed; NULL when
								 * there is none or none was asked for */
	size_t		text_len;

	/* for RSTAR_REPLY_ERROR: */
	char		message[RSTAR_REPLY_MESSAGE_LEN];	/* valid UTF-8, one line,
													 * no control characters */
	int			limit_tokens;	/* TOO_LONG: the context's length, for prompt and
								 * completion together, or 0 when not said */
	int			request_tokens; /* TOO_LONG: the prompt's length; with the
								 * completion's where only the sum was said */
} RstarReply;

/*
 * Parses the body of an HTTP reply with this status.  Status 200 is parsed as
 * a chat completion (an error object in it gives RSTAR_REPLY_ERROR), anything
 * else as an error body: object or string under "error", a flat "message",
 * "detail", or text that is not JSON.  The text is kept when want_text.
 * The caller frees with rstar_reply_free(), also after a failure.
 */
extern void rstar_reply_parse(RstarReply *reply, int http_status,
							  const char *body, size_t len, bool want_text);

/* The last well-formed score in a model's text, or -1 */
extern int	rstar_reply_score(const char *text, size_t len);

extern void rstar_reply_free(RstarReply *reply);

/*
 * For reply_models.c: the body as JSON, which json_object_put() frees, or NULL
 * when it is not that, its tree would be too big, or memory is short.
 */
struct json_object;
extern struct json_object *rstar_reply_json(const char *body, size_t len);

/*
 * Reads the reply to GET /v1/models: is this model among those it names?
 * Writes a line for a person that lists them.
 */
extern bool rstar_reply_models(const char *body, size_t len, const char *model,
							   char *buf, size_t size);

/*
 * Seconds that a Retry-After header's value asks for (number, or HTTP date
 * against "now" in Unix seconds), clamped to 0..max; -1 when not understood.
 */
extern int	rstar_reply_retry_after(const char *value, size_t len,
									long long now, int max);

#endif							/* RSTAR_REPLY_H */
