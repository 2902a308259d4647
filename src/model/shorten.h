/*-------------------------------------------------------------------------
 *
 * shorten.h
 *		How much of a document to send when a text is too long for the model.
 *
 * Pure: no PostgreSQL, no allocation.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SHORTEN_H
#define RSTAR_SHORTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/learnt.h"

/* What was sent, and what the server said of it; 0: it did not say */
typedef struct RstarTooLong
{
	size_t		text_len;		/* bytes, those of the document included */
	size_t		doc_len;		/* of these, the document's */
	int			limit_tokens;	/* prompt and answer together */
	int			prompt_tokens;	/* of what was sent */
	bool		at_least;		/* ... or a lower bound of that */
	double		expected;		/* the same, by rstar_density_tokens(); and
								 * ... */
	double		other_expected; /* ... of what is not document */
	int			max_tokens;		/* asked for as answer, at most */
	int			round;			/* how often it was shortened before */
} RstarTooLong;

/* A text of so many bytes had so many tokens */
extern void rstar_density_add(RstarDensity *density, size_t bytes, int tokens);

/* How many one of so many bytes is likely to have; 0: nothing is known */
extern double rstar_density_tokens(const RstarDensity *density, size_t bytes);

/*
 * How many bytes of the document to send next: fewer than doc_len, or 0 when
 * that will not do (query and prompt alone are too long, or enough was tried).
 */
extern size_t rstar_shorten_to(const RstarTooLong *too_long);

/*
 * The longest beginning of at most "keep" bytes of a piece of a JSON string
 * (UTF-8, "len" bytes, escapes as prompt.c writes them: two bytes, or \u and
 * four digits) that ends neither inside an escape nor inside a character.
 */
extern size_t rstar_shorten_cut(const char *doc, size_t len, size_t keep);

#endif							/* RSTAR_SHORTEN_H */
