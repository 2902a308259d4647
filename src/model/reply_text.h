/*-------------------------------------------------------------------------
 *
 * reply_text.h
 *		What a model wrote: the score in it, and its text made fit to keep.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_TEXT_H
#define RSTAR_REPLY_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/form.h"
#include "base/text.h"

/*
 * The last well-formed score after the last "</think>", 0 to 100, or -1.
 * "cut": the end of the text is not where the model ended.  *thinking is set
 * when a "<think>" is still open at the end.
 */
extern int	rstar_text_score(RstarText text, const RstarForm *form, bool cut, bool *thinking);

/* How a generation ended, as its finish_reason says */
typedef enum RstarFinish
{
	RSTAR_FINISH_WHOLE,
	RSTAR_FINISH_CUT,			/* at a number of tokens */
	RSTAR_FINISH_BROKEN			/* by the server: what there is is no answer */
} RstarFinish;

extern RstarFinish rstar_text_finish(RstarText reason);

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
