/*-------------------------------------------------------------------------
 *
 * refresh.c
 *		The procedure retrostar.refresh(): refreshes a materialized view and
 *		holds no snapshot while the model works.
 *
 * Called by: PostgreSQL.  Calls: warm.c, matview.c, memo.c.
 *
 * First the cache is warmed.  A pass runs the view's query in a transaction of
 * its own; calls ask for what is not known and do not wait (warm.c).  After
 * the commit we wait, with neither snapshot nor transaction id, until most of
 * it has been answered, and run the query again.  A pass that asks for nothing
 * is the last one; when the query asks for other pairs each time it runs, it
 * is the one that shows it.  Then the view is refreshed, from the cache.
 *
 * Requests belong to this session as those of any statement do: if it is
 * cancelled, what is still under way is given up, and the GPU is free.  What
 * was answered is in the cache, where the next refresh finds it.
 *
 * A query that cannot bear NULL in the place of a score that is still to come
 * raises an error.  As long as passes ask for something new, such an error
 * may be of that kind, and the query runs again when the answers are there.
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
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "matview.h"
#include "memo.h"
#include "score.h"
#include "statement.h"
#include "warm.h"

PG_FUNCTION_INFO_V1(retrostar_refresh);

/* Advisory locks of SQL have 1 and 2 here */
#define LOCK_CLASS 7

/* Entries of a view that the log keeps */
#define LOG_KEEPS "1000"

#define LOG_TABLE "retrostar.refresh_log"

/* Passes that did not get to their end and knew no more than those before */
#define MAX_CIRCLES 3

typedef struct Refresh
{
	Oid			matview;
	RstarWarm	warm;
	int64		most_known;		/* in one pass, until now */
	int64		asked_since;	/* in that pass and those after it */
	int			circles;		/* of these, which asked for something else */
	int64		run;			/* its entry in the log */
} Refresh;

static void require_nonatomic(FunctionCallInfo fcinfo);
static void refresh_locked(Refresh *r, const LOCKTAG *tag);
static void refresh(Refresh *r);
static void warm_up(Refresh *r);
static bool goes_in_circles(Refresh *r, bool to_end);
static bool pass_failed(const Refresh *r, ErrorData *error);
static void wait_for_answers(Refresh *r);
static ErrorData *attempt(void (*step) (Refresh *), Refresh *r);
static void run_query(Refresh *r);
static bool wants_rows(void);
static void refresh_view(Refresh *r);
static void log_skipped(Oid matview);
static void log_begin(Refresh *r);
static void log_progress(Refresh *r);
static void log_end(Refresh *r, const ErrorData *error);
static void log_execute(const char *command, int n, Oid *types, Datum *values, bool *isnull);
static Oid	log_owner(void);

Datum
retrostar_refresh(PG_FUNCTION_ARGS)
{
	MemoryContext context = CurrentMemoryContext;
	Refresh    *r;
	LOCKTAG		tag;

	require_nonatomic(fcinfo);
	rstar_score_require_preload();
	PreventCommandDuringRecovery("retrostar.refresh()");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("materialized view must not be null")));
	rstar_matview_check(PG_GETARG_OID(0));
	r = MemoryContextAllocZero(context, sizeof(Refresh));
	r->matview = PG_GETARG_OID(0);
	r->warm.statement = rstar_statement_current();

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
	if (error != NULL)
		SPI_rollback();
	else
		SPI_commit();
	log_end(r, error);
	if (error != NULL)
		ReThrowError(error);
}

static void
warm_up(Refresh *r)
{
	r->most_known = -1;
	for (;;)
	{
		ErrorData  *error;
		bool		to_end;

		r->warm.asked = r->warm.known = 0;
		r->warm.full = false;
		r->warm.asks = true;
		error = attempt(run_query, r);
		r->warm.asks = false;
		SPI_commit();
		if (pass_failed(r, error))
			ReThrowError(error);
		to_end = error == NULL && !r->warm.full;
		if (error != NULL)
			FreeErrorData(error);
		if (to_end && r->warm.statement->npending == 0)
			return;
		if (goes_in_circles(r, to_end))
			return;
		log_progress(r);
		wait_for_answers(r);
	}
}

/*
 * Before a pass something was answered that the pass before asked for, or was
 * still waiting for: it knows more.  If it does not, and asks for something,
 * that are other pairs each time.  One that did not get to its end may have
 * read the rows in another order; and where the queue was full of what others
 * ask for, there was nothing to wait for but room.
 */
static bool
goes_in_circles(Refresh *r, bool to_end)
{
	bool		circle = r->warm.asked > 0 && r->warm.known <= r->most_known && r->asked_since > 0;

	r->circles = circle ? r->circles + 1 : 0;
	if (r->warm.known > r->most_known)
	{
		r->most_known = r->warm.known;
		r->asked_since = 0;
	}
	r->asked_since += r->warm.asked;
	return r->circles >= (to_end ? 1 : MAX_CIRCLES);
}

/* True for an error that has another cause than scores which are still to come */
static bool
pass_failed(const Refresh *r, ErrorData *error)
{
	if (error == NULL)
		return false;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
		default:
			return r->warm.asked == 0 && r->warm.statement->npending == 0;
	}
}

/*
 * When there is more to ask for, half of the answers is enough to go on, so
 * that the endpoints always have work.  A queue that is full of other
 * sessions' requests has room some time.
 */
static void
wait_for_answers(Refresh *r)
{
	int			pending = r->warm.statement->npending;

	InvalidateCatalogSnapshot();
	if (pending == 0)
	{
		RstarSpec	spec = {0};

		spec.freed = r->warm.freed;
		(void) rstar_memo_wait_for_room(&spec, 0);
	}
	else
		rstar_memo_wait_until(r->warm.statement, r->warm.full ? pending / 2 : 0);
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
		rstar_warm = &r->warm;
		step(r);
		rstar_warm = NULL;
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		rstar_warm = NULL;
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

/* What the query allocates goes with the pass */
static void
run_query(Refresh *r)
{
	MemoryContext old = MemoryContextSwitchTo(CurTransactionContext);

	rstar_matview_run(r->matview, wants_rows);
	MemoryContextSwitchTo(old);
}

static bool
wants_rows(void)
{
	return !rstar_warm->full;
}

static void
refresh_view(Refresh *r)
{
	if (SPI_execute(rstar_matview_command(r->matview), false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not refresh a materialized view");
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

/* An entry that still says "running" is of a session that was killed */
static void
log_begin(Refresh *r)
{
	Oid			types[] = {REGCLASSOID, INT4OID};
	Datum		values[] = {ObjectIdGetDatum(r->matview), Int32GetDatum(MyProcPid)};
	bool		isnull;

	log_execute("UPDATE " LOG_TABLE " SET status = 'interrupted', finished = pg_catalog.clock_timestamp()"
				" WHERE matview OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'running'",
				1, types, values, NULL);
	log_execute("DELETE FROM " LOG_TABLE " WHERE matview OPERATOR(pg_catalog.=) $1 AND run OPERATOR(pg_catalog.<=)"
				" (SELECT run FROM " LOG_TABLE " WHERE matview OPERATOR(pg_catalog.=) $1"
				" ORDER BY run DESC OFFSET " LOG_KEEPS " LIMIT 1)",
				1, types, values, NULL);
	log_execute("INSERT INTO " LOG_TABLE " (matview, pid, started, status)"
				" VALUES ($1, $2, pg_catalog.clock_timestamp(), 'running') RETURNING run",
				2, types, values, NULL);
	r->run = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	SPI_commit();
}

static void
log_progress(Refresh *r)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(r->run), Int64GetDatum(r->warm.sent)};

	log_execute("UPDATE " LOG_TABLE " SET sent = $2 WHERE run OPERATOR(pg_catalog.=) $1",
				2, types, values, NULL);
	SPI_commit();
}

static void
log_end(Refresh *r, const ErrorData *error)
{
	const RstarStatement *statement = r->warm.statement;
	const char *message = error ? error->message : statement->first_failure;
	Oid			types[] = {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID};
	Datum		values[5];
	bool		isnull[5] = {false};

	values[0] = Int64GetDatum(r->run);
	values[1] = Int64GetDatum(r->warm.sent);
	values[2] = Int64GetDatum(rstar_memo_failed(statement));
	values[3] = CStringGetTextDatum(error ? "failed" : "done");
	isnull[4] = message == NULL;
	values[4] = isnull[4] ? (Datum) 0 : CStringGetTextDatum(message);
	log_execute("UPDATE " LOG_TABLE " SET finished = pg_catalog.clock_timestamp(), sent = $2, failed = $3,"
				" status = $4, message = $5 WHERE run OPERATOR(pg_catalog.=) $1",
				5, types, values, isnull);
	SPI_commit();
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
	char		nulls[8];
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
