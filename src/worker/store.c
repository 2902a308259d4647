/*-------------------------------------------------------------------------
 *
 * store.c
 *		Writes answers into the cache table retrostar.score_cache.
 *
 * Through SPI, a batch in one statement.  Whatever is done to the table, the
 * worker goes on: what is not written is said, once and with its cause, and
 * what really was is known from the keys that the statement returns.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "shared/cache.h"
#include "worker/account.h"
#include "worker/store.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_CACHE_TABLE

/*
 * A pair that is asked again and again with the cache off, and explained: so
 * many replies are kept (of 64 kB each at most; jsonb ends at 256 MB)
 */
#define MAX_KEPT "1024"

/*
 * An answer to a pair of which the table had no row is inserted, which costs half
 * of what "ON CONFLICT" does.  When somebody else has written such a row
 * meanwhile, so many batches take the other way.
 */
#define MERGED_AFTER_CONFLICT 100

static int	merged_left = 0;

#define INSERT_ROWS \
	"INSERT INTO " SCHEMA_NAME "." TABLE_NAME " AS c" \
	" (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated, reasoning)" \
	" SELECT u.key, $8, u.scores::pg_catalog.int2[], u.unscored, u.model, u.p, u.c, u.at, u.at, u.r::pg_catalog.jsonb" \
	" FROM (SELECT pg_catalog.unnest($1) AS key, pg_catalog.unnest($2) AS scores, pg_catalog.unnest($3) AS unscored," \
	" pg_catalog.unnest($4) AS model, pg_catalog.unnest($5) AS p, pg_catalog.unnest($6) AS c," \
	" pg_catalog.unnest($7) AS at, pg_catalog.unnest($9) AS r) AS u"
#define MERGE_ROWS \
	" ON CONFLICT (key) DO UPDATE SET" \
	" scores = c.scores OPERATOR(pg_catalog.||) EXCLUDED.scores," \
	" unscored = c.unscored OPERATOR(pg_catalog.+) EXCLUDED.unscored," \
	" prompt_tokens = c.prompt_tokens OPERATOR(pg_catalog.+) EXCLUDED.prompt_tokens," \
	" completion_tokens = c.completion_tokens OPERATOR(pg_catalog.+) EXCLUDED.completion_tokens," \
	" updated = EXCLUDED.updated," \
	" reasoning = CASE" \
	" WHEN c.reasoning IS NULL AND EXCLUDED.reasoning IS NULL THEN NULL" \
	" WHEN pg_catalog.jsonb_typeof(c.reasoning) OPERATOR(pg_catalog.<>) 'array' THEN EXCLUDED.reasoning" \
	" WHEN pg_catalog.jsonb_array_length(c.reasoning) OPERATOR(pg_catalog.>=) " MAX_KEPT " THEN c.reasoning" \
	" ELSE COALESCE(c.reasoning, pg_catalog.to_jsonb(c.scores)) OPERATOR(pg_catalog.||)" \
	" COALESCE(EXCLUDED.reasoning, pg_catalog.to_jsonb(EXCLUDED.scores)) END" \
	" WHERE c.version OPERATOR(pg_catalog.=) EXCLUDED.version"
#define RETURN_KEYS " RETURNING c.key"

static RstarStored store_once(RstarAnswered *answers, int n);
static bool all_new(const RstarAnswered *answers, int n);
static bool write_as_owner(Oid table_oid, RstarAnswered *answers, int n, bool merges);
static void write_rows(RstarAnswered *answers, int n, bool merges);
static SPIPlanPtr statement(bool merges);
static Datum text_array(char **strings, int n);
static bool mark_stored(RstarAnswered *answers, int n);
static int	compare_key(const void *key, const void *answer);
static void log_refused(const RstarAnswered *answers, int n, Datum keys);
static int	foreign_rows(Datum keys);
static void log_store_error(bool failed);

/*
 * READ COMMITTED and read-write whatever the database's defaults are, and the
 * table is locked only if that is possible at once: whoever holds a lock on
 * it must not stop the network loop.  The worker's lock_timeout (worker.c)
 * bounds what is left, a row locked by a prune for example.
 */
RstarStored
rstar_store_answers(RstarAnswered *answers, int n)
{
	RstarStored stored;

	if (RecoveryInProgress())
		return RSTAR_STORED_STANDBY;

	pgstat_report_activity(STATE_RUNNING, "storing scores");
	stored = store_once(answers, n);

	/*
	 * A row was there after all; and the scores do not suffer for the usage,
	 * which is not tried again now
	 */
	for (int i = 0; i < 2 && stored == RSTAR_STORED_AGAIN; i++)
		stored = store_once(answers, n);
	if (stored == RSTAR_STORED_AGAIN)
		stored = RSTAR_STORED_LATER;
	if (stored == RSTAR_STORED && n > 0)
		log_store_error(false);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return stored;
}

static RstarStored
store_once(RstarAnswered *answers, int n)
{
	volatile RstarStored stored = RSTAR_STORED;
	volatile bool inserts = false;
	MemoryContext old = CurrentMemoryContext;

	if (merged_left > 0)
		merged_left--;
	else
		inserts = all_new(answers, n);

	PG_TRY();
	{
		Oid			table;

		StartTransactionCommand();
		table = n > 0 ? rstar_cache_table() : InvalidOid;
		if (n > 0 && !OidIsValid(table))
			stored = RSTAR_STORED_NO_TABLE;
		else if (n > 0 && !ConditionalLockRelationOid(table, RowExclusiveLock))
			stored = RSTAR_STORED_LATER;
		else if (n > 0 && !write_as_owner(table, answers, n, !inserts))
			stored = RSTAR_STORED_LATER;
		inserts = false;
		if (stored != RSTAR_STORED_LATER)
			rstar_account_write();
		CommitTransactionCommand();
		if (stored != RSTAR_STORED_LATER)
			rstar_account_done();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		if (inserts && geterrcode() == ERRCODE_UNIQUE_VIOLATION)
		{
			stored = RSTAR_STORED_AGAIN;
			merged_left = MERGED_AFTER_CONFLICT;
			FlushErrorState();
		}
		else
		{
			stored = rstar_account_writing() ? RSTAR_STORED_AGAIN : RSTAR_STORED_LATER;
			log_store_error(true);
		}
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return stored;
}

static bool
all_new(const RstarAnswered *answers, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (answers[i].first_sample > 0)
			return false;
	}
	return true;
}

/*
 * The worker is a superuser, and whoever owns the table may put code on it
 * (triggers): as in VACUUM, that runs with the owner's rights and cannot get
 * out of them, nor leave settings behind.  False when the table was dropped
 * just before it was locked.
 */
static bool
write_as_owner(Oid table_oid, RstarAnswered *answers, int n, bool merges)
{
	Relation	table = try_relation_open(table_oid, NoLock);
	Oid			user;
	int			context;
	int			nest_level;

	if (table == NULL)
		return false;
	rstar_cache_check_storable(table);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	relation_close(table, NoLock);
	nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	write_rows(answers, n, merges);
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
 * wrote it may be back.  What is returned has been written, and nothing else.
 */
static void
write_rows(RstarAnswered *answers, int n, bool merges)
{
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
			rstar_encoding_from_utf8(answer->reasoning, strlen(answer->reasoning)) : NULL;
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
	if (SPI_execute_plan(statement(merges), values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not store scores");
	if (!mark_stored(answers, n))
		log_refused(answers, n, values[0]);
	SPI_finish();
}

/* Prepared once, each of the two */
static SPIPlanPtr
statement(bool merges)
{
	static SPIPlanPtr plans[2] = {NULL, NULL};
	static const char *const commands[2] = {INSERT_ROWS RETURN_KEYS, INSERT_ROWS MERGE_ROWS RETURN_KEYS};
	Oid			types[] = {BYTEAARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT2OID, TEXTARRAYOID};

	if (plans[merges] == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(commands[merges], lengthof(types), types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the statement that stores scores");
		plans[merges] = made;
	}
	return plans[merges];
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

/* Those whose keys have come back; false when they are not all */
static bool
mark_stored(RstarAnswered *answers, int n)
{
	int			nstored = 0;

	for (int i = 0; i < n; i++)
		answers[i].stored = false;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		datum = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		bytea	   *key = isnull ? NULL : DatumGetByteaPP(datum);
		RstarAnswered *answer = NULL;

		/* A trigger may have made another of it, or none */
		if (key != NULL && VARSIZE_ANY_EXHDR(key) == sizeof(RstarKey))
			answer = bsearch(VARDATA_ANY(key), answers, n, sizeof(RstarAnswered), compare_key);
		if (answer != NULL && !answer->stored)
		{
			answer->stored = true;
			nstored++;
		}
	}
	return nstored == n;
}

static int
compare_key(const void *key, const void *answer)
{
	return memcmp(key, &((const RstarAnswered *) answer)->key, sizeof(RstarKey));
}

/* Each reason once, however many batches there are */
static void
log_refused(const RstarAnswered *answers, int n, Datum keys)
{
	static bool logged_foreign = false;
	static bool logged_dropped = false;
	int			foreign = foreign_rows(keys);
	int			dropped = -foreign;

	for (int i = 0; i < n; i++)
		dropped += answers[i].stored ? 0 : 1;
	if (foreign > 0 && !logged_foreign)
		ereport(LOG,
				(errmsg("table \"%s.%s\" has rows of another version of retrostar, which are not changed",
						SCHEMA_NAME, TABLE_NAME),
				 errdetail("Their version is not %d, and new scores for their keys are not stored.",
						   RSTAR_CACHE_VERSION),
				 errhint("They are kept in memory, and storing is tried again.")));
	if (dropped > 0 && !logged_dropped)
		ereport(LOG,
				(errmsg("table \"%s.%s\" does not take all scores", SCHEMA_NAME, TABLE_NAME),
				 errdetail("A trigger on the table has dropped or changed %d of %d rows.",
						   dropped, n),
				 errhint("They are kept in memory, and storing is tried again.")));
	logged_foreign |= foreign > 0;
	logged_dropped |= dropped > 0;
}

static int
foreign_rows(Datum keys)
{
	Oid			types[] = {BYTEAARRAYOID, INT2OID};
	Datum		values[] = {keys, Int16GetDatum(RSTAR_CACHE_VERSION)};

	if (SPI_execute_with_args("SELECT FROM " SCHEMA_NAME "." TABLE_NAME
							  " WHERE key OPERATOR(pg_catalog.=) ANY ($1)"
							  " AND version OPERATOR(pg_catalog.<>) $2",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the score cache");
	return (int) SPI_processed;
}

/*
 * A disk that is full or a table that was altered fails each store: the first
 * is logged, and the first that works again.
 */
static void
log_store_error(bool failed)
{
	static bool failing = false;

	if (failed && rstar_account_writing())
	{
		ErrorData  *error = CopyErrorData();

		FlushErrorState();
		rstar_account_failed(error);
		FreeErrorData(error);
	}
	else if (failed)
	{
		ErrorData  *error = CopyErrorData();
		int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

		/* The detail of these quotes the row, with the replies */
		bool		quotes = category == ERRCODE_DATA_EXCEPTION ||
			category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;

		FlushErrorState();
		if (!failing)
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not store scores: %s", error->message),
					 error->detail && !quotes ? errdetail_internal("%s", error->detail) : 0,
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
