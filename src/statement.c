/*-------------------------------------------------------------------------
 *
 * statement.c
 *		What calls of one statement share, and for how long.
 *
 * Called by: score.c, pair.c, scan.c.  Calls: memo.c (release of what a
 * statement still waits for, at its end).
 *
 * Executor and utility hooks keep a stack of what runs, as a list of frames
 * on the C stack.  A statement is made by the first call that needs one.  In
 * an executor it lives in a child of the query's memory context and goes with
 * it, also after an error, through a reset callback; that is where requests
 * are released that nobody waits for any more.  In a utility command it goes
 * when the command ends: a procedure may commit meanwhile, so it belongs to
 * no transaction.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/executor.h"
#include "tcop/utility.h"
#include "utils/memutils.h"

#include "compat.h"
#include "memo.h"
#include "progress.h"
#include "statement.h"
#include "warm.h"

/* One executor run or utility command under way */
typedef struct Frame
{
	struct Frame *outer;
	MemoryContext query;		/* es_query_cxt; NULL: utility command */
	RstarStatement *statement;	/* once it is known */
	bool		to_end;
} Frame;

static Frame *frames = NULL;
static dlist_head statements = DLIST_STATIC_INIT(statements);

static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ExecutorEnd_hook_type prev_ExecutorEnd = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static void executor_run(RSTAR_RUN_ARGS);
static void executor_finish(QueryDesc *queryDesc);
static void executor_end(QueryDesc *queryDesc);
static void utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static void pop_utility_frame(Frame *frame);
static void transaction_ends(XactEvent event, void *arg);
static RstarStatement *find_statement(MemoryContext parent);
static RstarStatement *make_statement(MemoryContext parent);
static void end_statement(void *arg);
static void warn(const RstarStatement *statement);

void
rstar_statement_init(void)
{
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	prev_ExecutorEnd = ExecutorEnd_hook;
	ExecutorEnd_hook = executor_end;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
	RegisterXactCallback(transaction_ends, NULL);
}

static void
executor_run(RSTAR_RUN_ARGS)
{
	Frame		frame = {frames, queryDesc->estate->es_query_cxt, NULL,
	count == 0 && ScanDirectionIsForward(direction)};

	frames = &frame;
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(RSTAR_RUN_PASS);
		else
			standard_ExecutorRun(RSTAR_RUN_PASS);
	}
	PG_CATCH();
	{
		frames = frame.outer;
		PG_RE_THROW();
	}
	PG_END_TRY();
	frames = frame.outer;
}

/* AFTER triggers run here */
static void
executor_finish(QueryDesc *queryDesc)
{
	Frame		frame = {frames, queryDesc->estate->es_query_cxt, NULL, true};

	frames = &frame;
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
	}
	PG_CATCH();
	{
		frames = frame.outer;
		PG_RE_THROW();
	}
	PG_END_TRY();
	frames = frame.outer;
}

static void
executor_end(QueryDesc *queryDesc)
{
	RstarStatement *statement = find_statement(queryDesc->estate->es_query_cxt);

	if (statement != NULL && !rstar_warm_asks())
		warn(statement);
	if (prev_ExecutorEnd)
		prev_ExecutorEnd(queryDesc);
	else
		standard_ExecutorEnd(queryDesc);
}

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Frame		frame = {frames, NULL, NULL, false};

	frames = &frame;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		if (frame.statement != NULL)
			warn(frame.statement);
	}
	PG_CATCH();
	{
		pop_utility_frame(&frame);
		PG_RE_THROW();
	}
	PG_END_TRY();
	pop_utility_frame(&frame);
}

static void
pop_utility_frame(Frame *frame)
{
	frames = frame->outer;
	if (frame->statement != NULL)
		MemoryContextDelete(frame->statement->context);
}

/* Deferred triggers have run */
static void
transaction_ends(XactEvent event, void *arg)
{
	RstarStatement *statement;

	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		return;
	statement = find_statement(TopTransactionContext);
	if (statement != NULL)
		warn(statement);
}

/* Outside of all (a deferred trigger, one of logical replication): the transaction's */
RstarStatement *
rstar_statement_current(void)
{
	MemoryContext parent = frames == NULL ? TopTransactionContext :
		frames->query ? frames->query : NULL;
	RstarStatement *statement = frames ? frames->statement : NULL;

	if (statement == NULL && parent != NULL)
		statement = find_statement(parent);
	if (statement == NULL)
		statement = make_statement(parent ? parent : TopMemoryContext);
	if (frames)
		frames->statement = statement;
	return statement;
}

static RstarStatement *
find_statement(MemoryContext parent)
{
	dlist_iter	iter;

	dlist_foreach(iter, &statements)
	{
		RstarStatement *statement = dlist_container(RstarStatement, link, iter.cur);

		if (statement->parent == parent)
			return statement;
	}
	return NULL;
}

static RstarStatement *
make_statement(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "retrostar statement",
												  ALLOCSET_DEFAULT_SIZES);
	RstarStatement *statement = MemoryContextAllocZero(context, sizeof(RstarStatement));
	MemoryContextCallback *callback = MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	statement->context = context;
	statement->parent = parent;
	statement->started = GetCurrentTimestamp();
	dlist_init(&statement->pending);
	dlist_init(&statement->values);
	dlist_init(&statement->sets);
	dlist_push_head(&statements, &statement->link);
	callback->func = end_statement;
	callback->arg = statement;
	MemoryContextRegisterResetCallback(context, callback);
	return statement;
}

static void
end_statement(void *arg)
{
	RstarStatement *statement = arg;

	dlist_delete(&statement->link);
	rstar_memo_release(statement);
	/* Their memory may be another's, which goes later than ours */
	while (!dlist_is_empty(&statement->sets))
		dlist_pop_head_node(&statement->sets)->next = NULL;
	if (dlist_is_empty(&statements))
		rstar_progress_end();
}

void
rstar_statement_failed(RstarStatement *statement, const char *why)
{
	if (statement->failures++ == 0)
		statement->first_failure = MemoryContextStrdup(statement->context, why);
}

void
rstar_statement_shortened(RstarStatement *statement)
{
	statement->shortened++;
}

static void
warn(const RstarStatement *statement)
{
	if (statement->shortened > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING_STRING_DATA_RIGHT_TRUNCATION),
				 errmsg_plural(INT64_FORMAT " document was too long for the model and was shortened",
							   INT64_FORMAT " documents were too long for the model and were shortened",
							   (unsigned long) statement->shortened, statement->shortened),
				 errdetail("The model saw the beginning."),
				 errhint("Score passages of long documents, or serve the model with a longer context.")));
	if (statement->failures == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural(INT64_FORMAT " pair could not be scored and is NULL",
						   INT64_FORMAT " pairs could not be scored and are NULL",
						   (unsigned long) statement->failures, statement->failures),
			 errdetail("The first: %s", statement->first_failure)));
}

bool
rstar_statement_runs_to_end(void)
{
	return frames != NULL && frames->to_end;
}
