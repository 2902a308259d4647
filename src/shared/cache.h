/*-------------------------------------------------------------------------
 *
 * cache.h
 *		The cache table retrostar.score_cache: look-up, prune.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CACHE_H
#define RSTAR_CACHE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/result.h"
#include "shared/cache_table.h"

/*
 * Looks a key up, whatever has been committed until this moment; all zero
 * when there is no row, or one of another version.  The table may stay open for the
 * next one (cache_scan.h).  Raises an error when it is not there or a row does
 * not make sense.
 */
extern void rstar_cache_lookup(const RstarKey *key, RstarTally *known);

/* All samples of a row, in order of arrival */
typedef struct RstarCacheRow
{
	int			nscores;		/* 0 also when there is no row */
	const int16 *scores;
	Jsonb	   *reasoning;		/* an array with an element for each sample,
								 * also one without a score: an object, or its
								 * score; NULL when nothing was kept */
	TimestampTz updated;		/* 0: there is no row */
} RstarCacheRow;

/* As above, the whole row, palloc'd */
extern void rstar_cache_row(const RstarKey *key, RstarCacheRow *row);

/* A row as another node is told of it, palloc'd; without kept replies */
typedef struct RstarCacheCopy
{
	int			nscores;
	struct ArrayType *scores;	/* smallint[] */
	int			unscored;
	text	   *model;
	int64		prompt_tokens;
	int64		completion_tokens;
	TimestampTz created;
	TimestampTz updated;
} RstarCacheCopy;

/* As above.  False: there is none */
extern bool rstar_cache_copy(const RstarKey *key, RstarCacheCopy *copy);

/*
 * Removes rows last used for a store before "before" (0: none), then the
 * oldest beyond "keep" rows (-1: all stay).  Returns their number.  Usage from
 * hours before "before" goes, too, if the caller may delete it.
 */
extern int64 rstar_cache_prune(TimestampTz before, int64 keep);

#endif							/* RSTAR_CACHE_H */
