/*-------------------------------------------------------------------------
 *
 * reply_error.h
 *		What a server means when it refuses: the wording of an error, and
 *		Retry-After.
 *
 * Words are for reply.c, which finds them in a body.  Pure: no allocation.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_ERROR_H
#define RSTAR_REPLY_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* What a server's error means, from its body (and status, where it is given) */
typedef enum RstarReplyError
{
	RSTAR_ERROR_NONE,
	RSTAR_ERROR_TOO_LONG,		/* prompt longer than the model's context */
	RSTAR_ERROR_NO_ROOM,		/* no prompt is short enough */
	RSTAR_ERROR_MODEL,			/* the model name is not served */
	RSTAR_ERROR_QUOTA,			/* account exhausted: retrying is useless */
	RSTAR_ERROR_NOT_NOW,		/* it goes, or has not come yet */
	RSTAR_ERROR_AWAY,			/* a gateway does not come through to it */
	RSTAR_ERROR_PRIORITY,		/* it takes no priorities */
	RSTAR_ERROR_OTHER
} RstarReplyError;

/* How much of an error's words is kept and searched, with the NUL */
#define RSTAR_WORDING_LEN 2048

/* Everything that an error says, in lower case, a line for each piece */
typedef struct RstarWording
{
	size_t		len;
	char		text[RSTAR_WORDING_LEN];
} RstarWording;

extern void rstar_wording_init(RstarWording *wording);

/* Adds a piece (type, code, message), cut to what still fits */
extern void rstar_wording_add(RstarWording *wording, const char *src, size_t len);

/* The status is 0 when it is not known */
extern RstarReplyError rstar_wording_classify(const RstarWording *wording,
											  int status);

/* The numbers of RSTAR_ERROR_TOO_LONG; those not found are left alone */
extern void rstar_wording_tokens(const RstarWording *wording,
								 int *limit_tokens, int *request_tokens);

/* Whether the request's number may be a lower bound only */
extern bool rstar_wording_at_least(const RstarWording *wording);

/*
 * Seconds that a Retry-After header's value asks for (number, or HTTP date
 * against "now" in Unix seconds), clamped to 0..max; -1 when not understood.
 */
extern int	rstar_reply_retry_after(const char *value, size_t len,
									long long now, int max);

#endif							/* RSTAR_REPLY_ERROR_H */
