/*-------------------------------------------------------------------------
 *
 * refresh.c
 *		The procedure retrostar.refresh(): refreshes a materialized view and
 *		holds no snapshot while the model works.
 *
 * First the cache is warmed.  A pass runs the view's query, as REFRESH would,
 * in a transaction of its own, and is stopped where a call would have to wait
 * (warm.c).  After the commit we wait, with neither snapshot nor transaction
 * id, until that and most of the rest has been answered, and run the query
 * again.  A pass that is not stopped is the last one.  Then the view is
 * refreshed, from the cache.
 *
 * There are queries with which this comes to no end: those that ask for other pairs
 * each time they run, or for one pair after another, so that the query would
 * run as often as there are pairs.  Then the REFRESH waits for the rest, with
 * its snapshot, and the log says so; see why_not_again().
 *
 * Requests belong to this session as those of any statement do: if it is
 * cancelled, what is still under way is given up, and the GPU is free.  What
 * was answered is in the cache, where the next refresh finds it.
 *
 * Steps that can fail run in subtransactions, so that snapshots, user and
 * settings are what they were when retrostar.refresh_log is told.  Each entry
 * of the log is written in a transaction of its own.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/version.h"
#include "functions/matview.h"
#include "session/memo.h"
#include "session/score.h"
#include "session/statement.h"
#include "session/warm.h"

PG_FUNCTION_INFO_V1(retrostar_refresh);

/* Advisory locks of SQL have 1 and 2 here */
#define LOCK_CLASS 7

/* Entries of a view that the log keeps */
#define LOG_KEEPS "1000"

/* Keys of failed pairs that an entry of it keeps */
#define LOG_KEYS 10

#define LOG_TABLE "retrostar.refresh_log"

/*
 * What passes may cost: a pair that is asked for is worth that so many others
 * are looked for once more, of which each costs some microseconds.  Some
 * passes, as large as any of them, and some small ones are for nothing.
 */
#define LOOKS_PER_PAIR 100
#define FREE_PASSES 8
#define FREE_LOOKS 2000

typedef struct Refresh
{
	Oid			matview;
	const char *on_error;		/* in the place of the setting; NULL: that */
	RstarWarm	warm;
	int			strays;			/* in a row did not come to what the one
								 * before had waited for */
	int64		looks;			/* pairs that passes looked for */
	int64		most_looks;		/* that one pass did */
	bool		warmed;			/* nothing was left to wait for */
	const char *why_not;		/* static; NULL: not given up */
	int64		run;			/* its entry in the log; 0: it has none */
	int64		logged;			/* pairs sent, as it says */
} Refresh;

static void require_nonatomic(FunctionCallInfo fcinfo);
static void refresh_locked(Refresh *r, const LOCKTAG *tag);
static void refresh(Refresh *r);
static void warm_up(Refresh *r);
static const char *why_not_again(Refresh *r);
static void say_not_warmed(const Refresh *r);
static void wait_for_answers(Refresh *r);
static ErrorData *attempt(void (*step) (Refresh *), Refresh *r);
static void set_on_error(const Refresh *r, bool change);
static void run_query(Refresh *r);
static void refresh_view(Refresh *r);
static void log_skipped(Oid matview);
static void log_begin(Refresh *r);
static int64 returned_run(void);
static void log_progress(Refresh *r);
static void write_progress(Refresh *r);
static void log_end(Refresh *r, const ErrorData *error);
static Datum failed_keys(const RstarStatement *statement);
static void log_end_after(Refresh *r, const ErrorData *error);
static void log_execute(const char *command, int n, Oid *types, Datum *values, bool *isnull);
static Oid	log_owner(void);

Datum
retrostar_refresh(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Refresh    *r;
	LOCKTAG		tag;

	require_nonatomic(fcinfo);
	rstar_queue_require();
	rstar_version_require();
	PreventCommandDuringRecovery("retrostar.refresh()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("materialized view must not be null")));
	rstar_matview_check(PG_GETARG_OID(0));
	r = MemoryContextAllocZero(context, sizeof(Refresh));
	r->matview = PG_GETARG_OID(0);
	if (!PG_ARGISNULL(1))
	{
		r->on_error = MemoryContextStrdup(context, text_to_cstring(PG_GETARG_TEXT_PP(1)));
		set_on_error(r, false);
	}
	rstar_warm_init(&r->warm, rstar_statement_current());

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to the server programming interface");
	SPI_commit();				/* the call's own snapshot goes */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, r->matview, 0, LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		log_skipped(r->matview);
	else
		refresh_locked(r, &tag);
	SPI_finish();
	PG_RETURN_VOID();
}

static void
require_nonatomic(FunctionCallInfo fcinfo)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		((CallContext *) fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("retrostar.refresh() cannot run inside a transaction block or a function"),
				 errhint("It commits: use CALL as a statement of its own.")));
}

/* A lock of the session, which an error does not release */
static void
refresh_locked(Refresh *r, const LOCKTAG *tag)
{
	PG_TRY();
	{
		refresh(r);
	}
	PG_CATCH();
	{
		(void) LockRelease(tag, ExclusiveLock, true);
		PG_RE_THROW();
	}
	PG_END_TRY();
	(void) LockRelease(tag, ExclusiveLock, true);
}

static void
refresh(Refresh *r)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorData  *volatile error = NULL;

	log_begin(r);
	PG_TRY();
	{
		warm_up(r);
		error = attempt(refresh_view, r);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	/* Apart from the log: it must not wait for it, nor fail with it */
	if (error == NULL)
	{
		SPI_commit();
		log_end(r, NULL);
		return;
	}
	SPI_rollback();
	log_end_after(r, error);
	ReThrowError(error);
}

static void
warm_up(Refresh *r)
{
	for (;;)
	{
		ErrorData  *error;

		rstar_warm_begin_pass(&r->warm);
		error = attempt(run_query, r);
		rstar_warm_end_pass(&r->warm);
		SPI_commit();
		if (!rstar_warm_was_stopped(&r->warm, error))
		{
			if (error != NULL)
				ReThrowError(error);
			r->warmed = true;
			return;
		}
		if (error != NULL)
			FreeErrorData(error);
		r->why_not = why_not_again(r);
		if (r->why_not != NULL)
		{
			say_not_warmed(r);
			return;
		}
		log_progress(r);
		wait_for_answers(r);
	}
}

/*
 * Why the REFRESH had better wait itself, or NULL.  A pass that runs the same
 * query over the same rows comes to the call that the last one was stopped at.
 * A change of these very rows is no reason yet, unless the query is of those
 * that look like it.  Passes that found no room tell nothing of the query.
 */
static const char *
why_not_again(Refresh *r)
{
	const RstarWarm *warm = &r->warm;

	r->strays = warm->repeats ? 0 : r->strays + 1;
	if (!warm->full)
		r->looks += warm->looked_at;
	r->most_looks = Max(r->most_looks, warm->looked_at);
	if (r->strays > (warm->varies ? 0 : 1))
		return "The query of the view asks for other pairs each time it runs.";
	if (r->looks > FREE_LOOKS + FREE_PASSES * r->most_looks + LOOKS_PER_PAIR * warm->sent)
		return "The query of the view asks for one pair after another, each when the one before is known.";
	return NULL;
}

static void
say_not_warmed(const Refresh *r)
{
	ereport(NOTICE,
			(errmsg("refresh of \"%s\" holds its snapshot while the model works",
					get_rel_name(r->matview)),
			 errdetail_internal("%s", r->why_not)));
}

/*
 * While there is more to ask for, half of the answers is enough to go on, so
 * that the endpoints always have work.  A queue that is full of other
 * sessions' requests has room some time.
 */
static void
wait_for_answers(Refresh *r)
{
	RstarStatement *statement = r->warm.keeper.statement;
	bool		more = r->warm.asked > 0 || r->warm.full;

	InvalidateCatalogSnapshot();
	if (r->warm.full && statement->npending == 0)
	{
		RstarTicket ticket = {0};

		ticket.freed = r->warm.freed;
		(void) rstar_memo_wait_for_room(statement, &ticket, 0);
	}
	else
		rstar_memo_wait_until(statement, more ? statement->npending / 2 : 0);
}

/* In a subtransaction; its error, or NULL */
static ErrorData *
attempt(void (*step) (Refresh *), Refresh *r)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (r->on_error != NULL)
			set_on_error(r, true);
		rstar_warm_enter(&r->warm);
		step(r);
		rstar_warm_enter(NULL);
		/* Functions of the view may write: as often as REFRESH calls them */
		if (step == run_query)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		rstar_warm_enter(NULL);
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Until the transaction ends; or it is only looked whether that would do */
static void
set_on_error(const Refresh *r, bool change)
{
	(void) set_config_option("retrostar.on_error", r->on_error, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, change, ERROR, false);
}

/* What the query allocates goes with the pass */
static void
run_query(Refresh *r)
{
	MemoryContext old = MemoryContextSwitchTo(CurTransactionContext);

	rstar_matview_run(r->matview, &r->warm.varies);
	MemoryContextSwitchTo(old);
}

static void
refresh_view(Refresh *r)
{
	int			nest_level = NewGUCNestLevel();

	rstar_matview_same_order();
	if (SPI_execute(rstar_matview_command(r->matview), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not refresh a materialized view");
	AtEOXact_GUC(false, nest_level);
}

static void
log_skipped(Oid matview)
{
	Oid			types[] = {REGCLASSOID};
	Datum		values[] = {ObjectIdGetDatum(matview)};

	log_execute("UPDATE " LOG_TABLE " SET skipped = skipped OPERATOR(pg_catalog.+) 1"
				" WHERE matview OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'",
				1, types, values, NULL);
	ereport(NOTICE,
			(errmsg("skipped: a refresh of \"%s\" still runs", get_rel_name(matview))));
}

/*
 * An entry that still says "running" is of a session that was killed.  The
 * table may have other owners than ours: where a trigger or a rule of theirs
 * leaves no entry, the view is refreshed all the same.
 */
static void
log_begin(Refresh *r)
{
	Oid			types[] = {REGCLASSOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(r->matview), Int32GetDatum(MyProcPid)};

	log_execute("UPDATE " LOG_TABLE " SET status = 'interrupted', finished = pg_catalog.clock_timestamp()"
				" WHERE matview OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'",
				1, types, values, NULL);
	log_execute("DELETE FROM " LOG_TABLE " WHERE matview OPERATOR(pg_catalog.=) $1 AND run OPERATOR(pg_catalog.<=)"
				" (SELECT run FROM " LOG_TABLE " WHERE matview OPERATOR(pg_catalog.=) $1"
				" ORDER BY run DESC OFFSET " LOG_KEEPS " LIMIT 1)",
				1, types, values, NULL);
	log_execute("INSERT INTO " LOG_TABLE " (matview, pid, started, status)"
				" VALUES ($1, $2, pg_catalog.clock_timestamp(), 'running') RETURNING run::pg_catalog.int8",
				2, types, values, NULL);
	r->run = returned_run();
	SPI_commit();
	if (r->run == 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("this refresh of \"%s\" has no entry in " LOG_TABLE, get_rel_name(r->matview)),
				 errhint("Look at the triggers and rules of the table.")));
}

/* The number that INSERT returned, or 0 */
static int64
returned_run(void)
{
	SPITupleTable *table = SPI_tuptable;
	bool		isnull = true;
	int64		run = 0;

	if (table != NULL && table->numvals > 0 && SPI_gettypeid(table->tupdesc, 1) == INT8OID)
		run = DatumGetInt64(SPI_getbinval(table->vals[0], table->tupdesc, 1, &isnull));
	SPI_freetuptable(table);
	return isnull ? 0 : run;
}

/* An error in a trigger leaves SPI in the trigger's hands, hence attempt() */
static void
log_progress(Refresh *r)
{
	ErrorData  *error;

	if (r->run == 0 || r->logged == r->warm.sent)
		return;
	error = attempt(write_progress, r);
	if (error != NULL)
		ReThrowError(error);
	SPI_commit();
	r->logged = r->warm.sent;
}

static void
write_progress(Refresh *r)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(r->run), Int64GetDatum(r->warm.sent)};

	log_execute("UPDATE " LOG_TABLE " SET sent = $2 WHERE run OPERATOR(pg_catalog.=) $1",
				2, types, values, NULL);
}

static void
log_end(Refresh *r, const ErrorData *error)
{
	const RstarStatement *statement = r->warm.keeper.statement;
	const char *message = error ? error->message :
		statement->first_failure ? statement->first_failure : r->why_not;
	Oid			types[] = {INT8OID, INT8OID, INT8OID, TEXTOID, BOOLOID, TEXTOID, BYTEAARRAYOID};
	Datum		values[7];
	bool		isnull[7] = {false};

	if (r->run == 0)
		return;
	values[0] = Int64GetDatum(r->run);
	values[1] = Int64GetDatum(r->warm.sent);
	values[2] = Int64GetDatum(rstar_memo_failed(statement));
	values[3] = CStringGetTextDatum(error ? "failed" : "done");
	values[4] = BoolGetDatum(r->warmed);
	isnull[4] = !r->warmed && r->why_not == NULL;
	isnull[5] = message == NULL;
	values[5] = isnull[5] ? (Datum) 0 : CStringGetTextDatum(message);
	values[6] = failed_keys(statement);
	isnull[6] = values[6] == (Datum) 0;
	log_execute("UPDATE " LOG_TABLE " SET finished = pg_catalog.clock_timestamp(), sent = $2, failed = $3,"
				" status = $4, warmed = $5, message = $6, failed_keys = $7 WHERE run OPERATOR(pg_catalog.=) $1",
				7, types, values, isnull);
	SPI_commit();
}

/* Not the texts: who reads the log need not be allowed to read the documents; or NULL */
static Datum
failed_keys(const RstarStatement *statement)
{
	RstarKey	keys[LOG_KEYS];
	Datum		values[LOG_KEYS];
	int			n = rstar_memo_failed_keys(statement, keys, LOG_KEYS);

	for (int i = 0; i < n; i++)
	{
		bytea	   *key = palloc(VARHDRSZ + sizeof(RstarKey));

		SET_VARSIZE(key, VARHDRSZ + sizeof(RstarKey));
		memcpy(VARDATA(key), keys[i].bytes, sizeof(RstarKey));
		values[i] = PointerGetDatum(key);
	}
	return n == 0 ? (Datum) 0 :
		PointerGetDatum(construct_array(values, n, BYTEAOID, -1, false, TYPALIGN_INT));
}

/* What the refresh failed with is what its caller needs to know */
static void
log_end_after(Refresh *r, const ErrorData *error)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		log_end(r, error);
	}
	PG_CATCH();
	{
		ErrorData  *other;

		MemoryContextSwitchTo(context);
		other = CopyErrorData();
		FlushErrorState();
		ereport(WARNING,
				(errcode(other->sqlerrcode),
				 errmsg("could not write to " LOG_TABLE ": %s", other->message)));
	}
	PG_END_TRY();
}

/*
 * As the log's owner: who may refresh a view need not have rights to the log.
 * READ COMMITTED whatever the default is, for a skipped run may write to our
 * entry at the same time.  Whoever owns the log may have put triggers on it:
 * these cannot become anybody else, nor leave settings behind.
 */
static void
log_execute(const char *command, int n, Oid *types, Datum *values, bool *isnull)
{
	char		nulls[8];		/* as many as any caller has */
	Oid			user;
	int			context;
	int			nest_level;
	int			result;

	for (int i = 0; i < n; i++)
		nulls[i] = isnull != NULL && isnull[i] ? 'n' : ' ';
	if (!FirstSnapshotSet)
		XactIsoLevel = XACT_READ_COMMITTED;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(log_owner(), context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	nest_level = NewGUCNestLevel();
	result = SPI_execute_with_args(command, n, types, values, nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not write to retrostar.refresh_log: %s", SPI_result_code_string(result));
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
}

static Oid
log_owner(void)
{
	Oid			schema = get_namespace_oid("retrostar", false);
	Oid			table = get_relname_relid("refresh_log", schema);
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"retrostar.refresh_log\" does not exist"),
				 errhint("Create the extension again.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}
