/*-------------------------------------------------------------------------
 *
 * reply_details.h
 *		What is kept of a reply, for retro_star_explain().
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates with malloc only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_DETAILS_H
#define RSTAR_REPLY_DETAILS_H

#include <stddef.h>

#include "model/reply.h"

/* Longest text that is kept, in bytes; what is beyond is cut off */
#define RSTAR_REPLY_DETAILS_TEXT (64 * 1024)

/*
 * A JSON object in UTF-8, malloc'd, of *len bytes: score (null when there is
 * none), text, finish_reason, prompt_tokens, completion_tokens, endpoint,
 * elapsed_ms.  What the reply did not say is null.  NULL: out of memory.
 */
extern char *rstar_reply_details(const RstarReply *reply, const char *endpoint,
								 long long elapsed_us, size_t *len);

/* How much of a reply's text that is, in bytes: it ends with a character */
extern size_t rstar_reply_details_text(const RstarReply *reply);

#endif							/* RSTAR_REPLY_DETAILS_H */
