/*-------------------------------------------------------------------------
 *
 * passages.h
 *		Where a long document is cut into passages.
 *
 * Pure: no I/O, no PostgreSQL; works in memory of the caller's, never
 * allocates.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PASSAGES_H
#define RSTAR_PASSAGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* Characters of a passage: how many at most may be asked for */
#define RSTAR_PASSAGES_MAX_SIZE 1000000

/* Bytes of the character at "at", 1 for those of ASCII */
typedef int (*RstarPassagesLength) (const char *at);

/* What is to be cut, and how */
typedef struct RstarPassagesRule
{
	RstarText	text;			/* whose characters are whole */
	RstarPassagesLength length;
	bool		utf8;			/* punctuation and spaces beyond ASCII are
								 * known */
	int			size;			/* characters of a passage at most, 1 or more */
	int			overlap;		/* of these, shared with the one before at
								 * most; 0 or more, less than size */
} RstarPassagesRule;

typedef struct RstarPassage
{
	size_t		from;			/* bytes */
	size_t		len;
	int			start;			/* characters before it */
	int			chars;
} RstarPassage;

typedef struct RstarPassages RstarPassages;

/* Bytes of memory that a document takes, the text itself not counted */
extern size_t rstar_passages_size(const RstarPassagesRule *rule);

/*
 * Begins a document in "memory", which holds rstar_passages_size() bytes,
 * aligned as malloc aligns.  The text stays where it is until the last call.
 */
extern RstarPassages *rstar_passages_create(void *memory, const RstarPassagesRule *rule);

/*
 * The next passage, from the beginning of the text to its end; false when
 * there is none any more.  Looks at no more than some "size" characters; all
 * calls together take time in proportion to the text.
 */
extern bool rstar_passages_next(RstarPassages *passages, RstarPassage *passage);

#endif							/* RSTAR_PASSAGES_H */
