/*-------------------------------------------------------------------------
 *
 * cache.c
 *		The cache table retrostar.score_cache: look-up, prune.
 *
 * Sessions look up by a direct index scan.
 *
 * The look-up reads under a catalog snapshot taken at this moment.  The
 * active snapshot would miss what the worker stored since it was taken, so a
 * REPEATABLE READ transaction would ask for the same pair again and again;
 * GetLatestSnapshot() raises an error in the leader of a parallel query.
 * Nothing stays open after the call: a relation or snapshot kept over calls
 * would leak at the end of a subtransaction.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "base/settings.h"
#include "shared/budget.h"
#include "shared/cache.h"
#include "shared/usage.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_CACHE_TABLE
#define INDEX_NAME "score_cache_pkey"

/* Columns of the table, in the order of the install script */
#define COLUMN_KEY 1
#define COLUMN_VERSION 2
#define COLUMN_SCORES 3
#define COLUMN_UNSCORED 4
#define COLUMN_MODEL 5
#define COLUMN_PROMPT_TOKENS 6
#define COLUMN_COMPLETION_TOKENS 7
#define COLUMN_CREATED 8
#define COLUMN_UPDATED 9
#define COLUMN_REASONING 10

static Oid	relation_oid(const char *name);
static void look_up(const RstarKey *key, RstarTally *known, RstarCacheRow *row, RstarCacheCopy *copy);
static void raise_no_key(void);
static bool is_known_version(TupleTableSlot *slot);
static ArrayType *read_scores(TupleTableSlot *slot);
static void read_tally(TupleTableSlot *slot, RstarTally *known);
static void read_row(TupleTableSlot *slot, RstarCacheRow *row);
static void read_copy(TupleTableSlot *slot, RstarCacheCopy *copy);
static bool is_distributed(Oid table_oid);
static void prune_usage(TimestampTz before);

/* InvalidOid when it does not exist */
static Oid
relation_oid(const char *name)
{
	Oid			schema = get_namespace_oid(SCHEMA_NAME, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

Oid
rstar_cache_table(void)
{
	return relation_oid(TABLE_NAME);
}

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
	union
	{
		char		data[VARHDRSZ + sizeof(RstarKey)];
		int32		align;
	}			buffer;
	bytea	   *value = (bytea *) buffer.data;
	Oid			table_oid = relation_oid(TABLE_NAME);
	Oid			index_oid;
	Relation	table = NULL;
	Relation	index;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	ScanKeyData scan_key;

	/* Also when it was dropped while we waited for its lock */
	if (OidIsValid(table_oid))
		table = try_relation_open(table_oid, AccessShareLock);
	if (table != NULL)
		rstar_cache_check_kind(table);
	index_oid = table ? relation_oid(INDEX_NAME) : InvalidOid;
	/* A table that was put in the place of another does not have its index */
	if (!OidIsValid(index_oid) || IndexGetRelation(index_oid, true) != table_oid)
		raise_no_key();
	rstar_cache_check_columns(table);
	/* What is not logged is not on a standby */
	if (table->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && RecoveryInProgress())
	{
		table_close(table, AccessShareLock);
		return;
	}

	SET_VARSIZE(value, sizeof(buffer.data));
	memcpy(VARDATA(value), key->bytes, sizeof(RstarKey));
	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(value));

	index = index_open(index_oid, AccessShareLock);
	if (!index->rd_index->indisprimary || index->rd_rel->relam != BTREE_AM_OID ||
		index->rd_index->indnkeyatts != 1 || index->rd_index->indkey.values[0] != COLUMN_KEY)
		raise_no_key();
	snapshot = RegisterSnapshot(GetCatalogSnapshot(table_oid));
	slot = table_slot_create(table, NULL);
	scan = rstar_index_beginscan(table, index, snapshot, 1);
	index_rescan(scan, &scan_key, 1, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot) && is_known_version(slot))
	{
		if (known != NULL)
			read_tally(slot, known);
		if (row != NULL)
			read_row(slot, row);
		if (copy != NULL)
			read_copy(slot, copy);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

void
rstar_cache_check_kind(Relation table)
{
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table", SCHEMA_NAME, TABLE_NAME)));
}

static void
raise_no_key(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"%s.%s\" or its primary key does not exist", SCHEMA_NAME, TABLE_NAME),
			 errhint("Create the extension again.")));
}

/*
 * The table may have been altered, or another put in its place: what is not of
 * these types must not be read as if it were.
 */
void
rstar_cache_check_columns(Relation table)
{
	static const Oid types[] = {
		[COLUMN_KEY] = BYTEAOID,
		[COLUMN_VERSION] = INT2OID,
		[COLUMN_SCORES] = INT2ARRAYOID,
		[COLUMN_UNSCORED] = INT4OID,
		[COLUMN_MODEL] = TEXTOID,
		[COLUMN_PROMPT_TOKENS] = INT8OID,
		[COLUMN_COMPLETION_TOKENS] = INT8OID,
		[COLUMN_CREATED] = TIMESTAMPTZOID,
		[COLUMN_UPDATED] = TIMESTAMPTZOID,
		[COLUMN_REASONING] = JSONBOID
	};
	TupleDesc	desc = RelationGetDescr(table);

	for (int i = 1; i < lengthof(types); i++)
	{
		if (types[i] != InvalidOid &&
			(desc->natts < i || TupleDescAttr(desc, i - 1)->atttypid != types[i]))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("table \"%s.%s\" does not have the columns that it was created with",
							SCHEMA_NAME, TABLE_NAME),
					 errdetail("Column %d is not of type %s.", i, format_type_be(types[i])),
					 errhint("Create the extension again.")));
	}
}

/* What PostgreSQL, or Citus, would say of the statement does not name the cause */
void
rstar_cache_check_storable(Relation table)
{
	rstar_cache_check_kind(table);
	rstar_cache_check_columns(table);
	if (table->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" has rules", SCHEMA_NAME, TABLE_NAME)));
	if (is_distributed(RelationGetRelid(table)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" has been distributed by Citus", SCHEMA_NAME, TABLE_NAME),
				 errdetail("Nothing is found in it any more, so all pairs are asked for again.")));
}

/* Citus keeps the rows of such a table, of each kind, in other tables */
static bool
is_distributed(Oid table_oid)
{
	Oid			catalog = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	Relation	rel = OidIsValid(catalog) ? try_relation_open(catalog, AccessShareLock) : NULL;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (rel == NULL)
		return false;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table_oid));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	relation_close(rel, AccessShareLock);
	return found;
}

/* A row that another version of retrostar wrote may mean something else */
static bool
is_known_version(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		version = slot_getattr(slot, COLUMN_VERSION, &isnull);

	return !isnull && DatumGetInt16(version) == RSTAR_CACHE_VERSION;
}

/* Detoasted, checked; NULL when it is */
static ArrayType *
read_scores(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		datum = slot_getattr(slot, COLUMN_SCORES, &isnull);
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
	if ((Pointer) array != DatumGetPointer(slot_getattr(slot, COLUMN_SCORES, &isnull)))
		pfree(array);
	known->unscored = DatumGetInt32(slot_getattr(slot, COLUMN_UNSCORED, &isnull));
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
	row->updated = DatumGetTimestampTz(slot_getattr(slot, COLUMN_UPDATED, &isnull));
	reasoning = slot_getattr(slot, COLUMN_REASONING, &isnull);
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
	copy->unscored = DatumGetInt32(slot_getattr(slot, COLUMN_UNSCORED, &isnull));
	copy->model = DatumGetTextPCopy(slot_getattr(slot, COLUMN_MODEL, &isnull));
	copy->prompt_tokens = DatumGetInt64(slot_getattr(slot, COLUMN_PROMPT_TOKENS, &isnull));
	copy->completion_tokens = DatumGetInt64(slot_getattr(slot, COLUMN_COMPLETION_TOKENS, &isnull));
	copy->created = DatumGetTimestampTz(slot_getattr(slot, COLUMN_CREATED, &isnull));
	copy->updated = DatumGetTimestampTz(slot_getattr(slot, COLUMN_UPDATED, &isnull));
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
	Oid			table = relation_oid(RSTAR_USAGE_TABLE);
	Oid			types[] = {TIMESTAMPTZOID};
	Datum		values[] = {TimestampTzGetDatum(before)};

	if (!OidIsValid(table) ||
		pg_class_aclcheck(table, GetUserId(), ACL_DELETE) != ACLCHECK_OK)
		return;
	if (SPI_execute_with_args(OidIsValid(relation_oid(RSTAR_BUDGET_TABLE)) ? but_counted : old, 1, types, values,
							  NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not prune usage");
}
