/*-------------------------------------------------------------------------
 *
 * cache.c
 *		The cache table retrostar.score_cache: look-up, prune.
 *
 * How a row is found is cache_scan.c's business; here is what its columns mean.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "base/settings.h"
#include "shared/budget.h"
#include "shared/cache.h"
#include "shared/cache_scan.h"
#include "shared/usage.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_CACHE_TABLE

static void look_up(const RstarKey *key, RstarTally *known, RstarCacheRow *row, RstarCacheCopy *copy);
static bool is_known_version(TupleTableSlot *slot);
static ArrayType *read_scores(TupleTableSlot *slot);
static void read_tally(TupleTableSlot *slot, RstarTally *known);
static void read_row(TupleTableSlot *slot, RstarCacheRow *row);
static void read_copy(TupleTableSlot *slot, RstarCacheCopy *copy);
static void prune_usage(TimestampTz before);

void
rstar_cache_lookup(const RstarKey *key, RstarTally *known)
{
	memset(known, 0, sizeof(RstarTally));
	look_up(key, known, NULL, NULL);
}

void
rstar_cache_row(const RstarKey *key, RstarCacheRow *row)
{
	memset(row, 0, sizeof(RstarCacheRow));
	look_up(key, NULL, row, NULL);
}

bool
rstar_cache_copy(const RstarKey *key, RstarCacheCopy *copy)
{
	memset(copy, 0, sizeof(RstarCacheCopy));
	look_up(key, NULL, NULL, copy);
	return copy->model != NULL;
}

/* Fills what is given, if there is a row */
static void
look_up(const RstarKey *key, RstarTally *known, RstarCacheRow *row, RstarCacheCopy *copy)
{
	TupleTableSlot *slot = rstar_cache_scan_find(key);

	if (slot != NULL && is_known_version(slot))
	{
		if (known != NULL)
			read_tally(slot, known);
		if (row != NULL)
			read_row(slot, row);
		if (copy != NULL)
			read_copy(slot, copy);
	}
	rstar_cache_scan_done();
}

/* A row that another version of retrostar wrote may mean something else */
static bool
is_known_version(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		version = slot_getattr(slot, RSTAR_CACHE_COL_VERSION, &isnull);

	return !isnull && DatumGetInt16(version) == RSTAR_CACHE_VERSION;
}

/* Detoasted, checked; NULL when it is */
static ArrayType *
read_scores(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, RSTAR_CACHE_COL_SCORES, &isnull);
	ArrayType  *array;

	if (isnull)
		return NULL;
	array = DatumGetArrayTypeP(datum);
	if (ARR_ELEMTYPE(array) != INT2OID || ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column \"scores\" of table \"%s.%s\" is not a one-dimensional array without nulls",
						SCHEMA_NAME, TABLE_NAME)));
	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)); i++)
	{
		int16		score = ((int16 *) ARR_DATA_PTR(array))[i];

		if (score < 0 || score > 100)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("score %d in table \"%s.%s\" is out of range",
							score, SCHEMA_NAME, TABLE_NAME)));
	}
	return array;
}

static void
read_tally(TupleTableSlot *slot, RstarTally *known)
{
	ArrayType  *array = read_scores(slot);
	bool		isnull;

	if (array == NULL)
		return;
	known->scored = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	for (int i = 0; i < known->scored; i++)
	{
		int16		score = ((int16 *) ARR_DATA_PTR(array))[i];

		known->sum += score;
		if (known->nscores < RSTAR_MAX_SAMPLES)
			known->scores[known->nscores++] = (uint8) score;
	}
	if ((Pointer) array != DatumGetPointer(slot_getattr(slot, RSTAR_CACHE_COL_SCORES, &isnull)))
		pfree(array);
	known->unscored = DatumGetInt32(slot_getattr(slot, RSTAR_CACHE_COL_UNSCORED, &isnull));
}

static void
read_row(TupleTableSlot *slot, RstarCacheRow *row)
{
	ArrayType  *array = read_scores(slot);
	Datum		reasoning;
	bool		isnull;

	if (array != NULL)
	{
		int16	   *scores = palloc(ARR_SIZE(array));

		row->nscores = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
		memcpy(scores, ARR_DATA_PTR(array), row->nscores * sizeof(int16));
		row->scores = scores;
	}
	row->updated = DatumGetTimestampTz(slot_getattr(slot, RSTAR_CACHE_COL_UPDATED, &isnull));
	reasoning = slot_getattr(slot, RSTAR_CACHE_COL_REASONING, &isnull);
	if (!isnull)
		row->reasoning = DatumGetJsonbPCopy(reasoning);
}

static void
read_copy(TupleTableSlot *slot, RstarCacheCopy *copy)
{
	ArrayType  *array = read_scores(slot);
	bool		isnull;

	copy->nscores = array ? ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) : 0;
	copy->scores = array ? DatumGetArrayTypePCopy(PointerGetDatum(array)) : construct_empty_array(INT2OID);
	copy->unscored = DatumGetInt32(slot_getattr(slot, RSTAR_CACHE_COL_UNSCORED, &isnull));
	copy->model = DatumGetTextPCopy(slot_getattr(slot, RSTAR_CACHE_COL_MODEL, &isnull));
	copy->prompt_tokens = DatumGetInt64(slot_getattr(slot, RSTAR_CACHE_COL_PROMPT_TOKENS, &isnull));
	copy->completion_tokens = DatumGetInt64(slot_getattr(slot, RSTAR_CACHE_COL_COMPLETION_TOKENS, &isnull));
	copy->created = DatumGetTimestampTz(slot_getattr(slot, RSTAR_CACHE_COL_CREATED, &isnull));
	copy->updated = DatumGetTimestampTz(slot_getattr(slot, RSTAR_CACHE_COL_UPDATED, &isnull));
}

int64
rstar_cache_prune(TimestampTz before, int64 keep)
{
	int64		removed = 0;

	SPI_connect();
	if (before != 0)
	{
		Oid			types[] = {TIMESTAMPTZOID};
		Datum		values[] = {TimestampTzGetDatum(before)};

		if (SPI_execute_with_args("DELETE FROM " SCHEMA_NAME "." TABLE_NAME
								  " WHERE updated OPERATOR(pg_catalog.<) $1",
								  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not prune the score cache");
		removed += SPI_processed;
		prune_usage(before);
	}
	if (keep >= 0)
	{
		Oid			types[] = {INT8OID};
		Datum		values[] = {Int64GetDatum(keep)};

		if (SPI_execute_with_args("DELETE FROM " SCHEMA_NAME "." TABLE_NAME
								  " WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM "
								  SCHEMA_NAME "." TABLE_NAME " ORDER BY updated DESC OFFSET $1))",
								  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not prune the score cache");
		removed += SPI_processed;
	}
	SPI_finish();
	return removed;
}

/*
 * Who may delete scores alone does that; rows that he may not see stay, too.
 * So does what a budget counts in its present window, of whatever role: who
 * pays into it may change.
 */
static void
prune_usage(TimestampTz before)
{
	static const char *const old = "DELETE FROM " SCHEMA_NAME "." RSTAR_USAGE_TABLE
		" WHERE hour OPERATOR(pg_catalog.<) ($1 OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval)";
	static const char *const but_counted = "DELETE FROM " SCHEMA_NAME "." RSTAR_USAGE_TABLE
		" WHERE hour OPERATOR(pg_catalog.<) LEAST($1 OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval,"
		" (SELECT pg_catalog.min(w.starts) FROM " SCHEMA_NAME "." RSTAR_BUDGET_TABLE " b"
		" CROSS JOIN LATERAL " SCHEMA_NAME ".budget_window_state(b.period) w))";
	Oid			table = rstar_cache_relation(RSTAR_USAGE_TABLE);
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(before)};

	if (!OidIsValid(table) ||
		pg_class_aclcheck(table, GetUserId(), ACL_DELETE) != ACLCHECK_OK)
		return;
	if (SPI_execute_with_args(OidIsValid(rstar_cache_relation(RSTAR_BUDGET_TABLE)) ? but_counted : old, 1, types, values,
							  NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not prune usage");
}
