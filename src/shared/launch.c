/*-------------------------------------------------------------------------
 *
 * launch.c
 *		The life of a database's worker, seen from outside.
 *
 * There is at most one worker a database.  The first session that needs one
 * marks the database's entry STARTING and registers a dynamic background
 * worker; the worker marks it RUNNING.  A session that waits looks again
 * every second while the state is STARTING: the one that registered may be
 * gone, and a worker that the postmaster could not fork tells nobody else.
 * Should two workers start, the second sees the first and leaves.
 *
 * Commands that need a database without sessions (DROP DATABASE, RENAME, SET
 * TABLESPACE, use as a template) would wait five seconds for the worker and
 * fail: a utility hook asks it to leave first, lets none come meanwhile, and
 * calls the next one when the command is over.
 *
 * A worker that leaves although there is work (SIGTERM, an error) has a
 * successor: nobody may be there who would register one, when all requests are
 * detached.  It registers that itself, or is started again by the postmaster:
 * it may have the last slot.  One that is started so and is not wanted any more
 * finds an entry that does not say STARTING.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/wait.h"
#include "shared/cache_scan.h"
#include "shared/counters.h"
#include "shared/evict.h"
#include "shared/launch.h"
#include "shared/shmem.h"

/* How long to go on when all worker slots are taken, and how often to try */
#define REGISTER_TIMEOUT_MS 5000
#define REGISTER_FIRST_DELAY_MS 10
#define REGISTER_MAX_DELAY_MS 500

/* A start that took longer than this never happened */
#define STARTING_TIMEOUT_MS 10000

#define MAX_FAILED_STARTS 3

/* After a worker has ended with 1, the postmaster waits so long (s) */
#define RESTART_DELAY 1

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

/*
 * The database that the command that runs needs for itself (counted in its
 * entry if "held"), and whether a worker can come when that is over
 */
static Oid	emptied = InvalidOid;
static bool held = false;
static bool comes_back = false;

/* The worker that this session registered last */
static BackgroundWorkerHandle *my_worker = NULL;

static bool claim_registration(RstarDatabase *db);
static void register_worker(void);
static void describe_worker(BackgroundWorker *worker, Oid dboid);
static void unregistered(Oid dboid, int starter);
static void registration_failed(int code, Datum arg);
static void utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static void next_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
						 ProcessUtilityContext context, ParamListInfo params,
						 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static Oid	database_to_empty(Node *parsetree);
static bool may_copy(Oid dboid);
static bool allows_connections(Oid dboid);
static void session_ends(int code, Datum arg);
static void call_back(void);
static void purge(void);
static DefElem *find_option(List *options, const char *name);
static void ask_to_leave(Oid dboid);

void
rstar_launch_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}

long
rstar_launch_ensure(void)
{
	RstarDatabase *db;
	RstarWorkerState state;
	bool		failed = false;
	bool		mine = false;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, true);
	state = db ? db->worker : RSTAR_WORKER_NONE;
	if (db != NULL && state != RSTAR_WORKER_RUNNING)
	{
		failed = db->failed_starts >= MAX_FAILED_STARTS;
		if (failed)
			db->failed_starts = 0;
		else
			mine = claim_registration(db);
	}
	LWLockRelease(rstar_shared->lock);

	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use retrostar at once"),
				 errhint("Raise the setting \"max_worker_processes\" (now %d), and restart PostgreSQL.",
						 max_worker_processes)));
	if (failed)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start the retrostar worker of database \"%s\"",
						get_database_name(MyDatabaseId)),
				 errdetail("It ended %d times before it could work.", MAX_FAILED_STARTS),
				 errhint("The server log says why.")));
	if (mine)
		register_worker();
	return state == RSTAR_WORKER_RUNNING ? -1 : RSTAR_STARTING_CHECK_MS;
}

/* Lock held.  True: the caller is the one to register a worker. */
static bool
claim_registration(RstarDatabase *db)
{
	TimestampTz now = GetCurrentTimestamp();
	pid_t		pid;

	if (db->emptying > 0)
		return false;
	if (db->worker == RSTAR_WORKER_STARTING)
	{
		/* A handle from an earlier start says nothing of this one */
		bool		stopped = my_worker != NULL && db->starter == MyProcPid &&
			GetBackgroundWorkerPid(my_worker, &pid) == BGWH_STOPPED;

		if (!stopped &&
			!TimestampDifferenceExceeds(db->worker_since, now, STARTING_TIMEOUT_MS))
			return false;
		db->failed_starts++;
	}
	db->worker = RSTAR_WORKER_STARTING;
	db->starter = MyProcPid;
	db->worker_since = now;
	return true;
}

/*
 * Tries for a while: slots of parallel workers come free in milliseconds.
 * If that fails, or the session ends meanwhile, the entry goes back to NONE, so
 * that others may try.
 */
static void
register_worker(void)
{
	BackgroundWorker worker;
	TimestampTz start = GetCurrentTimestamp();
	long		delay = REGISTER_FIRST_DELAY_MS;
	static uint32 launch_event = 0;
	MemoryContext old;

	if (launch_event == 0)
		launch_event = rstar_wait_event("RetrostarLaunch");
	describe_worker(&worker, MyDatabaseId);
	worker.bgw_notify_pid = MyProcPid;
	if (my_worker != NULL)
		pfree(my_worker);
	my_worker = NULL;
	PG_ENSURE_ERROR_CLEANUP(registration_failed, (Datum) 0);
	{
		for (;;)
		{
			bool		registered;

			old = MemoryContextSwitchTo(TopMemoryContext);
			registered = RegisterDynamicBackgroundWorker(&worker, &my_worker);
			MemoryContextSwitchTo(old);
			if (registered)
				break;
			if (TimestampDifferenceExceeds(start, GetCurrentTimestamp(), REGISTER_TIMEOUT_MS))
				ereport(ERROR,
						(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						 errmsg("could not register a background worker for retrostar"),
						 errdetail("All worker slots were in use for %d s.",
								   REGISTER_TIMEOUT_MS / 1000),
						 errhint("Raise the setting \"max_worker_processes\" (now %d), and restart PostgreSQL.",
								 max_worker_processes)));
			rstar_cache_scan_rest();
			rstar_wait(delay, launch_event);
			delay = Min(delay * 2, REGISTER_MAX_DELAY_MS);
		}
	}
	PG_END_ENSURE_ERROR_CLEANUP(registration_failed, (Datum) 0);
}

static void
describe_worker(BackgroundWorker *worker, Oid dboid)
{
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_ConsistentState;
	worker->bgw_restart_time = RESTART_DELAY;
	worker->bgw_main_arg = ObjectIdGetDatum(dboid);
	strlcpy(worker->bgw_library_name, "retrostar", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, "rstar_worker_main", BGW_MAXLEN);
	snprintf(worker->bgw_name, BGW_MAXLEN, "retrostar worker for database %u", dboid);
	strlcpy(worker->bgw_type, "retrostar worker", BGW_MAXLEN);
}

static void
registration_failed(int code, Datum arg)
{
	unregistered(MyDatabaseId, MyProcPid);
}

/*
 * A postmaster that shuts down starts none, and forgets that one was
 * registered.
 */
bool
rstar_launch_successor(Oid dboid)
{
	BackgroundWorker worker;

	describe_worker(&worker, dboid);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* The worker that this process was to register does not come */
static void
unregistered(Oid dboid, int starter)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(dboid, false);
	if (db != NULL && db->worker == RSTAR_WORKER_STARTING && db->starter == starter)
		db->worker = RSTAR_WORKER_NONE;
	LWLockRelease(rstar_shared->lock);
}

bool
rstar_launch_started(Oid dboid)
{
	RstarDatabase *db;
	bool		expected;
	bool		first;

	(void) rstar_shmem_area();	/* under the lock it would allocate memory */
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(dboid, false);
	expected = db != NULL && db->worker == RSTAR_WORKER_STARTING;
	first = expected && db->emptying == 0;
	if (expected && !first)
		db->worker = RSTAR_WORKER_NONE;
	if (first)
	{
		db->worker = RSTAR_WORKER_RUNNING;
		db->worker_pid = MyProcPid;
		db->worker_procno = (int) (MyProc - ProcGlobal->allProcs);
		db->worker_sleeping = false;
		db->failed_starts++;	/* until rstar_launch_connected() */
	}
	LWLockRelease(rstar_shared->lock);
	if (expected && !first)
		ConditionVariableBroadcast(&rstar_shared->worker_left);
	return first;
}

void
rstar_launch_connected(void)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_shmem_database(MyDatabaseId, true)->failed_starts = 0;
	LWLockRelease(rstar_shared->lock);
}

bool
rstar_launch_leaving(void)
{
	RstarDatabase *db;
	bool		leaving;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, false);
	leaving = db == NULL || db->emptying > 0;
	LWLockRelease(rstar_shared->lock);
	return leaving;
}

bool
rstar_launch_retire(void)
{
	RstarDatabase *db;
	bool		retires;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, false);
	retires = db == NULL || !rstar_shmem_has_work(db);
	if (retires && db != NULL)
	{
		db->worker = RSTAR_WORKER_NONE;
		db->worker_pid = 0;
		db->worker_sleeping = false;
	}
	LWLockRelease(rstar_shared->lock);
	if (retires)
		ConditionVariableBroadcast(&rstar_shared->worker_left);
	return retires;
}

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	static bool registered = false;
	Oid			dboid = rstar_shared ? database_to_empty(pstmt->utilityStmt) : InvalidOid;

	if (!OidIsValid(dboid))
	{
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	(void) rstar_shmem_area();	/* before anything takes the lock: purge() */
	if (!registered)
		before_shmem_exit(session_ends, (Datum) 0);
	registered = true;
	emptied = dboid;
	held = false;
	comes_back = allows_connections(dboid);
	PG_TRY();
	{
		ask_to_leave(emptied);
		next_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_CATCH();
	{
		call_back();
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (IsA(pstmt->utilityStmt, DropdbStmt))
	{
		comes_back = false;
		purge();
	}
	call_back();
}

static void
next_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_ProcessUtility)
		prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

/*
 * The database that this command needs without sessions, if it is one and the
 * user may do that (nobody else shall be able to send workers away).
 */
static Oid
database_to_empty(Node *parsetree)
{
	Oid			dboid = InvalidOid;
	DefElem    *template;
	bool		own = false;	/* may it be the one that we are connected to? */

	switch (nodeTag(parsetree))
	{
		case T_DropdbStmt:
			dboid = get_database_oid(((DropdbStmt *) parsetree)->dbname, true);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) parsetree)->renameType == OBJECT_DATABASE)
				dboid = get_database_oid(((RenameStmt *) parsetree)->subname, true);
			break;
		case T_AlterDatabaseStmt:
			if (find_option(((AlterDatabaseStmt *) parsetree)->options, "tablespace"))
				dboid = get_database_oid(((AlterDatabaseStmt *) parsetree)->dbname, true);
			break;
		case T_CreatedbStmt:
			template = find_option(((CreatedbStmt *) parsetree)->options, "template");
			dboid = get_database_oid(template && template->arg ? defGetString(template) : "template1", true);
			own = true;
			if (OidIsValid(dboid) && may_copy(dboid))
				return dboid;
			break;
		default:
			break;
	}
	if (OidIsValid(dboid) && (own || dboid != MyDatabaseId) &&
		rstar_database_ownercheck(dboid, GetUserId()))
		return dboid;
	return InvalidOid;
}

/* A template, by whom may create databases; others copy what they own */
static bool
may_copy(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		may = HeapTupleIsValid(tuple) &&
		((Form_pg_database) GETSTRUCT(tuple))->datistemplate;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!may)
		return false;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return may;
}

static bool
allows_connections(Oid dboid)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dboid));
	bool		allows = HeapTupleIsValid(tuple) &&
		((Form_pg_database) GETSTRUCT(tuple))->datallowconn;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return allows;
}

/* In the middle of the command, perhaps */
static void
session_ends(int code, Datum arg)
{
	call_back();
}

/*
 * The command is over: if the worker left work, the next one takes it up, unless
 * another command needs the database, too.  One that has not left yet (we were
 * cancelled) need not do so for our sake.  If there is no slot for it, who
 * waits or comes will try again.
 */
static void
call_back(void)
{
	Oid			dboid = emptied;
	RstarDatabase *db;
	bool		mine;

	if (!OidIsValid(dboid))
		return;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(dboid, false);
	if (held)
		db->emptying--;
	emptied = InvalidOid;
	held = false;
	mine = comes_back && db != NULL && db->worker == RSTAR_WORKER_NONE &&
		rstar_shmem_has_work(db) && claim_registration(db);
	if (mine)
		db->starter = 0;
	LWLockRelease(rstar_shared->lock);
	if (mine && !rstar_launch_successor(dboid))
		unregistered(dboid, 0);
}

/* It was dropped */
static void
purge(void)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_evict_database(emptied);
	db = rstar_shmem_database(emptied, false);
	/* One that has not come until now need not try */
	if (db != NULL && db->worker == RSTAR_WORKER_STARTING)
		db->worker = RSTAR_WORKER_NONE;
	LWLockRelease(rstar_shared->lock);
	rstar_counters_purge(emptied);
}

static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/*
 * Returns when the worker is gone, or never came.  What it has to do stays
 * queued.  A database without an entry has no worker, and had none lately.
 */
static void
ask_to_leave(Oid dboid)
{
	static uint32 leave_event = 0;
	TimestampTz since = 0;		/* of the worker that we ask */

	if (leave_event == 0)
		leave_event = rstar_wait_event("RetrostarLeave");
	ConditionVariablePrepareToSleep(&rstar_shared->worker_left);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		RstarDatabase *db;
		bool		gone;

		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		db = rstar_shmem_database(dboid, false);
		if (db != NULL && !held)
		{
			db->emptying++;
			held = true;
		}
		gone = db == NULL || db->worker == RSTAR_WORKER_NONE ||
			(since != 0 && db->worker_since != since) ||
			(db->worker == RSTAR_WORKER_STARTING &&
			 TimestampDifferenceExceeds(db->worker_since, now, STARTING_TIMEOUT_MS));
		if (!gone)
		{
			since = db->worker_since;
			rstar_shmem_wake_worker(db);
		}
		LWLockRelease(rstar_shared->lock);
		if (gone)
			break;
		/* One that is STARTING may never come: look again after a while */
		(void) ConditionVariableTimedSleep(&rstar_shared->worker_left,
										   RSTAR_STARTING_CHECK_MS, leave_event);
	}
	ConditionVariableCancelSleep();
}
