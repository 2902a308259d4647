/*-------------------------------------------------------------------------
 *
 * reply_text.h
 *		What a model wrote: the score in it, and its text made fit to keep.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates nothing.
 * Called by: reply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_TEXT_H
#define RSTAR_REPLY_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Any bytes; data is never NULL */
typedef struct RstarText
{
	const char *data;
	size_t		len;
} RstarText;

/*
 * The last well-formed score after the last "</think>", or -1.  *thinking is
 * set when a "<think>" is still open at the end.
 */
extern int	rstar_text_score(RstarText text, bool *thinking);

/* Whether it is empty, or white space */
extern bool rstar_text_blank(RstarText text);

/*
 * Copies without NUL characters, and each byte that is not UTF-8 as "?".
 * Returns the length, which is never more than before; adds no NUL.
 */
extern size_t rstar_text_copy(char *dst, const char *src, size_t len);

/*
 * Copies as one line, with a NUL: valid UTF-8, runs of white space and control
 * characters as one space, none at either end, cut at a character boundary.
 */
extern void rstar_text_line(char *dst, size_t size, const char *src, size_t len);

#endif							/* RSTAR_REPLY_TEXT_H */
