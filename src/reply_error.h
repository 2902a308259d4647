/*-------------------------------------------------------------------------
 *
 * reply_error.h
 *		What the wording of a server's error means.
 *
 * Private to reply.c, which finds the words in a body.  Pure: no allocation.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_ERROR_H
#define RSTAR_REPLY_ERROR_H

#include "reply.h"

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

#endif							/* RSTAR_REPLY_ERROR_H */
