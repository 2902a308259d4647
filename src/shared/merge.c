/*-------------------------------------------------------------------------
 *
 * merge.c
 *		Rows of other nodes come into the cache table.
 *
 * What a hub is told, and what it tells.  The rule is that of replicated.c, so
 * that look-ups and logical replication between the same nodes end with the
 * same rows.  Kept replies stay where they were made: a row that is replaced
 * has none any more, since its samples are others.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "shared/cache.h"
#include "shared/merge.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_CACHE_TABLE

static int	sort_rows(RstarMergeRow *rows, int n);
static int	compare_rows(const void *a, const void *b);
static int	write_rows(const RstarMergeRow *rows, int n, bool adds);
static char *scores_literal(const RstarMergeRow *row);
static SPIPlanPtr statement(void);

int
rstar_merge_rows(RstarMergeRow *rows, int n, bool adds)
{
	Oid			table_oid = rstar_cache_table();
	Relation	table = OidIsValid(table_oid) ? try_relation_open(table_oid, RowExclusiveLock) : NULL;
	Oid			user;
	int			context;
	int			nest_level;

	if (table == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" does not exist", SCHEMA_NAME, TABLE_NAME),
				 errhint("Create the extension again.")));
	rstar_cache_check_storable(table);
	n = sort_rows(rows, n);

	/*
	 * Code on the table runs with its owner's rights, and cannot get out of
	 * them
	 */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	relation_close(table, NoLock);
	nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	n = write_rows(rows, n, adds);
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
	return n;
}

/* So that two writers cannot deadlock, and no key is there twice */
static int
sort_rows(RstarMergeRow *rows, int n)
{
	int			kept = 0;

	qsort(rows, n, sizeof(RstarMergeRow), compare_rows);
	for (int i = 0; i < n; i++)
	{
		if (kept == 0 || memcmp(&rows[kept - 1].key, &rows[i].key, sizeof(RstarKey)) != 0)
			rows[kept++] = rows[i];
	}
	return kept;
}

static int
compare_rows(const void *a, const void *b)
{
	const RstarMergeRow *x = a;
	const RstarMergeRow *y = b;
	int			order = memcmp(&x->key, &y->key, sizeof(RstarKey));

	return order != 0 ? order : y->nscores - x->nscores;
}

static int
write_rows(const RstarMergeRow *rows, int n, bool adds)
{
	Datum		values[10];
	Datum	   *keys = palloc(n * sizeof(Datum));
	Datum	   *scores = palloc(n * sizeof(Datum));
	Datum	   *unscored = palloc(n * sizeof(Datum));
	Datum	   *models = palloc(n * sizeof(Datum));
	Datum	   *prompt = palloc(n * sizeof(Datum));
	Datum	   *completion = palloc(n * sizeof(Datum));
	Datum	   *created = palloc(n * sizeof(Datum));
	Datum	   *updated = palloc(n * sizeof(Datum));
	int			written;

	for (int i = 0; i < n; i++)
	{
		const RstarMergeRow *row = &rows[i];
		bytea	   *key = palloc(VARHDRSZ + sizeof(RstarKey));

		SET_VARSIZE(key, VARHDRSZ + sizeof(RstarKey));
		memcpy(VARDATA(key), row->key.bytes, sizeof(RstarKey));
		keys[i] = PointerGetDatum(key);
		scores[i] = CStringGetTextDatum(scores_literal(row));
		unscored[i] = Int32GetDatum(row->unscored);
		models[i] = CStringGetTextDatum(row->model);
		prompt[i] = Int64GetDatum(row->prompt_tokens);
		completion[i] = Int64GetDatum(row->completion_tokens);
		created[i] = TimestampTzGetDatum(row->created);
		updated[i] = TimestampTzGetDatum(row->updated);
	}
	values[0] = PointerGetDatum(construct_array(keys, n, BYTEAOID, -1, false, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_array(scores, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(unscored, n, INT4OID, 4, true, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(models, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[4] = PointerGetDatum(construct_array(prompt, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[5] = PointerGetDatum(construct_array(completion, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[6] = PointerGetDatum(construct_array(created, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[7] = PointerGetDatum(construct_array(updated, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[8] = Int16GetDatum(RSTAR_CACHE_VERSION);
	values[9] = BoolGetDatum(adds);

	SPI_connect();
	if (SPI_execute_plan(statement(), values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store scores of another node");
	written = (int) SPI_processed;
	SPI_finish();
	return written;
}

static char *
scores_literal(const RstarMergeRow *row)
{
	StringInfoData list;

	initStringInfo(&list);
	appendStringInfoChar(&list, '{');
	for (int i = 0; i < row->nscores; i++)
		appendStringInfo(&list, i > 0 ? ",%d" : "%d", row->scores[i]);
	appendStringInfoChar(&list, '}');
	return list.data;
}

/* Prepared once */
static SPIPlanPtr
statement(void)
{
	static SPIPlanPtr plan = NULL;
	static const char *const command =
		"INSERT INTO " SCHEMA_NAME "." TABLE_NAME " AS c"
		" (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)"
		" SELECT u.key, $9, u.scores::pg_catalog.int2[], u.unscored, u.model, u.p, u.c, u.created, u.updated"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3),"
		" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8))"
		" AS u (key, scores, unscored, model, p, c, created, updated)"
		" ON CONFLICT (key) DO UPDATE SET"
		" scores = EXCLUDED.scores, unscored = EXCLUDED.unscored, model = EXCLUDED.model,"
		" prompt_tokens = EXCLUDED.prompt_tokens OPERATOR(pg_catalog.+) CASE WHEN $10 THEN c.prompt_tokens ELSE 0 END,"
		" completion_tokens = EXCLUDED.completion_tokens OPERATOR(pg_catalog.+) CASE WHEN $10 THEN c.completion_tokens ELSE 0 END,"
		" created = CASE WHEN $10 THEN LEAST(c.created, EXCLUDED.created) ELSE EXCLUDED.created END,"
		" updated = CASE WHEN $10 THEN GREATEST(c.updated, EXCLUDED.updated) ELSE EXCLUDED.updated END, reasoning = NULL"
		" WHERE c.version OPERATOR(pg_catalog.=) EXCLUDED.version AND"
		" (pg_catalog.cardinality(EXCLUDED.scores) OPERATOR(pg_catalog.>) pg_catalog.cardinality(c.scores) OR"
		" pg_catalog.cardinality(EXCLUDED.scores) OPERATOR(pg_catalog.=) pg_catalog.cardinality(c.scores) AND"
		" EXCLUDED.created OPERATOR(pg_catalog.<) c.created)";
	Oid			types[] = {BYTEAARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT2OID, BOOLOID};

	if (plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(command, lengthof(types), types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the statement that stores scores of another node");
		plan = made;
	}
	return plan;
}
