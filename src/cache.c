/*-------------------------------------------------------------------------
 *
 * cache.c
 *		The cache table retrostar.score_cache: look-up, store, prune.
 *
 * Called by: score.c, explain.c, worker.c, functions.c.
 *
 * Sessions look up by a direct index scan, the worker stores through SPI.
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
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "cache.h"
#include "compat.h"
#include "failure.h"

#define SCHEMA_NAME "retrostar"
#define TABLE_NAME "score_cache"
#define INDEX_NAME "score_cache_pkey"

/* Columns of the table, in the order of the install script */
#define COLUMN_KEY 1
#define COLUMN_VERSION 2
#define COLUMN_SCORES 3
#define COLUMN_UNSCORED 4
#define COLUMN_UPDATED 9
#define COLUMN_REASONING 10

/*
 * A pair that is asked again and again with the cache off, and explained: so
 * many replies are kept (of 64 kB each at most; jsonb ends at 256 MB)
 */
#define MAX_KEPT "1024"

static Oid	relation_oid(const char *name);
static void look_up(const RstarKey *key, RstarTally *known, RstarCacheRow *row);
static bool is_known_version(TupleTableSlot *slot);
static ArrayType *read_scores(TupleTableSlot *slot);
static void read_tally(TupleTableSlot *slot, RstarTally *known);
static void read_row(TupleTableSlot *slot, RstarCacheRow *row);
static bool write_as_owner(Oid table_oid, const RstarAnswered *answers, int n);
static void write_rows(const RstarAnswered *answers, int n);
static Datum text_array(char **strings, int n);
static void log_foreign_rows(int n);
static void log_store_error(bool failed);

/* InvalidOid when it does not exist */
static Oid
relation_oid(const char *name)
{
	Oid			schema = get_namespace_oid(SCHEMA_NAME, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

void
rstar_cache_lookup(const RstarKey *key, RstarTally *known)
{
	memset(known, 0, sizeof(RstarTally));
	look_up(key, known, NULL);
}

void
rstar_cache_row(const RstarKey *key, RstarCacheRow *row)
{
	memset(row, 0, sizeof(RstarCacheRow));
	look_up(key, NULL, row);
}

/* Fills what is given, if there is a row */
static void
look_up(const RstarKey *key, RstarTally *known, RstarCacheRow *row)
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
	if (table != NULL && table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table", SCHEMA_NAME, TABLE_NAME)));
	index_oid = table ? relation_oid(INDEX_NAME) : InvalidOid;
	/* A table that was put in the place of another does not have its index */
	if (!OidIsValid(index_oid) || IndexGetRelation(index_oid, true) != table_oid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" or its primary key does not exist", SCHEMA_NAME, TABLE_NAME),
				 errhint("Create the extension again.")));

	SET_VARSIZE(value, sizeof(buffer.data));
	memcpy(VARDATA(value), key->bytes, sizeof(RstarKey));
	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_BYTEAEQ, PointerGetDatum(value));

	index = index_open(index_oid, AccessShareLock);
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
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
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

/*
 * READ COMMITTED and read-write whatever the database's defaults are, and the
 * table is locked only if that is possible at once: whoever holds a lock on
 * it must not stop the network loop.  The worker's lock_timeout (worker.c)
 * bounds what is left, a row locked by a prune for example.
 */
RstarStored
rstar_cache_store(const RstarAnswered *answers, int n)
{
	volatile RstarStored stored = RSTAR_STORED;
	MemoryContext old = CurrentMemoryContext;

	if (RecoveryInProgress())
		return RSTAR_STORED_STANDBY;

	pgstat_report_activity(STATE_RUNNING, "storing scores");
	PG_TRY();
	{
		Oid			table;

		StartTransactionCommand();
		table = relation_oid(TABLE_NAME);
		if (!OidIsValid(table))
			stored = RSTAR_STORED_NO_TABLE;
		else if (!ConditionalLockRelationOid(table, RowExclusiveLock))
			stored = RSTAR_STORED_LATER;
		else if (!write_as_owner(table, answers, n))
			stored = RSTAR_STORED_LATER;
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		log_store_error(true);
		AbortCurrentTransaction();
		stored = RSTAR_STORED_LATER;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	if (stored == RSTAR_STORED)
		log_store_error(false);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return stored;
}

/*
 * The worker is a superuser, and whoever owns the table may put code on it
 * (triggers): as in VACUUM, that runs with the owner's rights and cannot get
 * out of them, nor leave settings behind.  False when the table was dropped
 * just before it was locked.
 */
static bool
write_as_owner(Oid table_oid, const RstarAnswered *answers, int n)
{
	Relation	table = try_relation_open(table_oid, NoLock);
	Oid			user;
	int			context;
	int			nest_level;

	if (table == NULL)
		return false;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	relation_close(table, NoLock);
	nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	write_rows(answers, n);
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
	return true;
}

/*
 * Sorted by key by the caller, so that two writers cannot deadlock.  A sample
 * is never dropped: what a row has is kept, the new ones are appended.  Where
 * replies were kept of some samples, the others have their scores in
 * "reasoning", too: its elements are the samples.  A row of a version that we
 * do not know stays as it is, and what we have for its key is not stored: who
 * wrote it may be back.
 */
static void
write_rows(const RstarAnswered *answers, int n)
{
	static SPIPlanPtr plan = NULL;
	static const char *const command =
		"INSERT INTO " SCHEMA_NAME "." TABLE_NAME " AS c"
		" (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated, reasoning)"
		" SELECT u.key, $8, u.scores::pg_catalog.int2[], u.unscored, u.model, u.p, u.c, u.at, u.at, u.r::pg_catalog.jsonb"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($9))"
		" AS u (key, scores, unscored, model, p, c, at, r)"
		" ON CONFLICT (key) DO UPDATE SET"
		" scores = c.scores OPERATOR(pg_catalog.||) EXCLUDED.scores,"
		" unscored = c.unscored OPERATOR(pg_catalog.+) EXCLUDED.unscored,"
		" prompt_tokens = c.prompt_tokens OPERATOR(pg_catalog.+) EXCLUDED.prompt_tokens,"
		" completion_tokens = c.completion_tokens OPERATOR(pg_catalog.+) EXCLUDED.completion_tokens,"
		" updated = EXCLUDED.updated,"
		" reasoning = CASE"
		" WHEN c.reasoning IS NULL AND EXCLUDED.reasoning IS NULL THEN NULL"
		" WHEN pg_catalog.jsonb_typeof(c.reasoning) OPERATOR(pg_catalog.<>) 'array' THEN EXCLUDED.reasoning"
		" WHEN pg_catalog.jsonb_array_length(c.reasoning) OPERATOR(pg_catalog.>=) " MAX_KEPT " THEN c.reasoning"
		" ELSE COALESCE(c.reasoning, pg_catalog.to_jsonb(c.scores)) OPERATOR(pg_catalog.||)"
		" COALESCE(EXCLUDED.reasoning, pg_catalog.to_jsonb(EXCLUDED.scores)) END"
		" WHERE c.version OPERATOR(pg_catalog.=) EXCLUDED.version";
	Oid			types[] = {BYTEAARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT2OID, TEXTARRAYOID};
	Datum		values[9];
	Datum	   *keys = palloc(n * sizeof(Datum));
	Datum	   *unscored = palloc(n * sizeof(Datum));
	Datum	   *prompt = palloc(n * sizeof(Datum));
	Datum	   *completion = palloc(n * sizeof(Datum));
	Datum	   *at = palloc(n * sizeof(Datum));
	char	  **scores = palloc(n * sizeof(char *));
	char	  **models = palloc(n * sizeof(char *));
	char	  **reasoning = palloc(n * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		const RstarAnswered *answer = &answers[i];
		bytea	   *key = palloc(VARHDRSZ + sizeof(RstarKey));
		StringInfoData list;

		SET_VARSIZE(key, VARHDRSZ + sizeof(RstarKey));
		memcpy(VARDATA(key), answer->key.bytes, sizeof(RstarKey));
		keys[i] = PointerGetDatum(key);
		initStringInfo(&list);
		appendStringInfoChar(&list, '{');
		for (int j = 0; j < answer->nscores; j++)
			appendStringInfo(&list, j > 0 ? ",%d" : "%d", answer->scores[j]);
		appendStringInfoChar(&list, '}');
		scores[i] = list.data;
		models[i] = pg_any_to_server(answer->model, strlen(answer->model), PG_UTF8);
		reasoning[i] = answer->reasoning ?
			rstar_failure_text(answer->reasoning, strlen(answer->reasoning)) : NULL;
		unscored[i] = Int32GetDatum(answer->unscored);
		prompt[i] = Int64GetDatum(answer->prompt_tokens);
		completion[i] = Int64GetDatum(answer->completion_tokens);
		at[i] = TimestampTzGetDatum(answer->answered_at);
	}
	values[0] = PointerGetDatum(construct_array(keys, n, BYTEAOID, -1, false, TYPALIGN_INT));
	values[1] = text_array(scores, n);
	values[2] = PointerGetDatum(construct_array(unscored, n, INT4OID, 4, true, TYPALIGN_INT));
	values[3] = text_array(models, n);
	values[4] = PointerGetDatum(construct_array(prompt, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[5] = PointerGetDatum(construct_array(completion, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[6] = PointerGetDatum(construct_array(at, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[7] = Int16GetDatum(RSTAR_CACHE_VERSION);
	values[8] = text_array(reasoning, n);

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(command, lengthof(types), types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the statement that stores scores");
		plan = made;
	}
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store scores");
	log_foreign_rows(n - (int) SPI_processed);
	SPI_finish();
}

/* A NULL pointer is a null */
static Datum
text_array(char **strings, int n)
{
	Datum	   *values = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
	{
		nulls[i] = strings[i] == NULL;
		values[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(strings[i]);
	}
	return PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower, TEXTOID, -1, false,
											  TYPALIGN_INT));
}

static void
log_foreign_rows(int n)
{
	static bool logged = false;

	if (n == 0 || logged)
		return;
	ereport(LOG,
			(errmsg("table \"%s.%s\" has rows of another version of retrostar, which are not changed",
					SCHEMA_NAME, TABLE_NAME),
			 errdetail("Their version is not %d, and new scores for their keys are not stored.",
					   RSTAR_CACHE_VERSION)));
	logged = true;
}

/*
 * A disk that is full or a table that was altered fails each store: the first
 * is logged, and the first that works again.
 */
static void
log_store_error(bool failed)
{
	static bool failing = false;

	if (failed)
	{
		ErrorData  *error = CopyErrorData();

		FlushErrorState();
		if (!failing)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not store scores: %s", error->message),
					 error->detail ? errdetail_internal("%s", error->detail) : 0,
					 errhint("They are kept in memory, and storing is tried again.")));
		FreeErrorData(error);
		failing = true;
	}
	else if (failing)
	{
		ereport(LOG, (errmsg("storing scores works again")));
		failing = false;
	}
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
