/*-------------------------------------------------------------------------
 *
 * cache.h
 *		The cache table retrostar.score_cache: look-up, store, prune.
 *
 * Called by: score.c and explain.c (look-up), worker.c (store), functions.c
 * (prune).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CACHE_H
#define RSTAR_CACHE_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "dispatch.h"
#include "queue.h"

/* Version of key and row; part of the key, too */
#define RSTAR_CACHE_VERSION 1

/*
 * Looks a key up, whatever has been committed until this moment; all zero
 * when there is no row, or one of another version.  Opens and closes the table.  Raises an error when
 * the table is not there or a row does not make sense.
 */
extern void rstar_cache_lookup(const RstarKey *key, RstarTally *known);

/* All samples of a row, in order of arrival */
typedef struct RstarCacheRow
{
	int			nscores;		/* 0 also when there is no row */
	const int16 *scores;
	Jsonb	   *reasoning;	/* an array with an element for each sample,
								 * also one without a score: an object, or its
								 * score; NULL when nothing was kept */
	TimestampTz updated;		/* 0: there is no row */
} RstarCacheRow;

/* As above, the whole row, palloc'd */
extern void rstar_cache_row(const RstarKey *key, RstarCacheRow *row);

typedef enum RstarStored
{
	RSTAR_STORED,
	RSTAR_STORED_LATER,			/* locked, failed: try again */
	RSTAR_STORED_STANDBY,		/* read-only until promotion */
	RSTAR_STORED_NO_TABLE		/* the extension is gone */
} RstarStored;

/*
 * In the worker, outside a transaction: writes the answers in a transaction
 * of its own, merging with what the table has.  Keys must differ.  Never
 * raises an error; logs why it could not, once until it can again.
 */
extern RstarStored rstar_cache_store(const RstarAnswered *answers, int n);

/*
 * Removes rows last used for a store before "before" (0: none), then the
 * oldest beyond "keep" rows (-1: all stay).  Returns their number.
 */
extern int64 rstar_cache_prune(TimestampTz before, int64 keep);

#endif							/* RSTAR_CACHE_H */
