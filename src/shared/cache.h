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
#include "utils/relcache.h"
#include "utils/timestamp.h"

#include "base/result.h"

#define RSTAR_CACHE_SCHEMA	"retrostar"
#define RSTAR_CACHE_TABLE	"score_cache"

/* Version of key and row; part of the key, too */
#define RSTAR_CACHE_VERSION 1

/* InvalidOid when it does not exist */
extern Oid	rstar_cache_table(void);

/* Raises an error for what is no plain table */
extern void rstar_cache_check_kind(Relation table);

/* Raises an error unless the columns are of the types that they are read as */
extern void rstar_cache_check_columns(Relation table);

/* Both, and for what else nothing can be written into it, with the cause */
extern void rstar_cache_check_storable(Relation table);

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
