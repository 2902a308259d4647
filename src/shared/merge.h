/*-------------------------------------------------------------------------
 *
 * merge.h
 *		Rows of other nodes come into the cache table.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MERGE_H
#define RSTAR_MERGE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"

/* All samples of a pair that the other node knows */
typedef struct RstarMergeRow
{
	RstarKey	key;
	const char *model;			/* server encoding */
	const uint8 *scores;		/* 0 to 100 each */
	int			nscores;
	int			unscored;
	int64		prompt_tokens;
	int64		completion_tokens;
	TimestampTz created;
	TimestampTz updated;
} RstarMergeRow;

/*
 * Of two rows of a key the one with more scores stays, or the older one, as
 * with logical replication; a row of another version stays in any case.
 * "adds": the tokens are those of new samples alone.  In a transaction; the
 * caller has locked the table, or knows that it can be waited for.  As the
 * table's owner.  The rows are sorted here, and of those with one key the
 * longest is taken.  Returns how many were written.  Raises an error when the
 * table is not there or cannot take them.
 */
extern int	rstar_merge_rows(RstarMergeRow *rows, int n, bool adds);

#endif							/* RSTAR_MERGE_H */
