/*-------------------------------------------------------------------------
 *
 * statement.c
 *		What calls of one statement share, and for how long.
 *
 * Executor and utility hooks keep a stack of what starts or runs, as a list of
 * frames on the C stack.  A statement is made by the first call that needs one.  In
 * an executor it lives in a child of the query's memory context and goes with
 * it, also after an error, through a reset callback.  In a utility command it goes
 * when the command ends: a procedure may commit meanwhile, so it belongs to
 * no transaction.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "tcop/utility.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "session/statement.h"
#include "shared/cache_scan.h"
#include "shared/progress.h"

/* One start or run of an executor, or utility command, under way */
typedef struct Frame
{
	struct Frame *outer;
	QueryDesc  *query;			/* NULL: utility command ... */
	NodeTag		command;		/* ... of this kind */
	RstarStatement *statement;	/* once it is known */
	bool		to_end;
	bool		explains;		/* this one, or one around it */
	bool		runs;			/* the cache table may stay open */
} Frame;

RstarKeeper *rstar_statement_keeper = NULL;

static Frame *frames = NULL;
static dlist_head statements = DLIST_STATIC_INIT(statements);

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ExecutorEnd_hook_type prev_ExecutorEnd = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static void executor_start(QueryDesc *queryDesc, int eflags);
static void executor_run(RSTAR_RUN_ARGS);
static void executor_finish(QueryDesc *queryDesc);
static void executor_end(QueryDesc *queryDesc);
static void utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static bool is_explain(Node *command);
static void push_frame(Frame *frame);
static void pop_frame(const Frame *frame);
static Frame *started(Frame *frame);
static bool evaluates_rows(NodeTag command);
static RstarStatement *statement_of(Frame *frame);
static void complete(RstarStatement *statement);
static void pop_utility_frame(Frame *frame);
static void transaction_ends(XactEvent event, void *arg);
static RstarStatement *find_statement(MemoryContext parent);
static RstarStatement *make_statement(MemoryContext parent);
static void end_statement(void *arg);
static RstarStatement *payer(RstarStatement *statement);
static void warn(const RstarStatement *statement);

void
rstar_statement_init(void)
{
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
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

/* Run-time pruning of partitions evaluates expressions here */
static void
executor_start(QueryDesc *queryDesc, int eflags)
{
	Frame		frame = {frames, queryDesc, T_Invalid, NULL, false,
	rstar_statement_explains() || (eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0, false};

	push_frame(&frame);
	PG_TRY();
	{
		if (prev_ExecutorStart)
			prev_ExecutorStart(queryDesc, eflags);
		else
			standard_ExecutorStart(queryDesc, eflags);
		rstar_cache_scan_rest();
	}
	PG_FINALLY();
	{
		pop_frame(&frame);
	}
	PG_END_TRY();
}

static void
executor_run(RSTAR_RUN_ARGS)
{
	Frame		frame = {frames, queryDesc, T_Invalid, NULL,
	count == 0 && ScanDirectionIsForward(direction), rstar_statement_explains(), true};

	push_frame(&frame);
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(RSTAR_RUN_PASS);
		else
			standard_ExecutorRun(RSTAR_RUN_PASS);
		rstar_cache_scan_rest();
	}
	PG_FINALLY();
	{
		pop_frame(&frame);
	}
	PG_END_TRY();
}

/* AFTER triggers run here */
static void
executor_finish(QueryDesc *queryDesc)
{
	Frame		frame = {frames, queryDesc, T_Invalid, NULL, true, rstar_statement_explains(), true};

	push_frame(&frame);
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(queryDesc);
		else
			standard_ExecutorFinish(queryDesc);
		rstar_cache_scan_rest();
	}
	PG_FINALLY();
	{
		pop_frame(&frame);
	}
	PG_END_TRY();
}

static void
executor_end(QueryDesc *queryDesc)
{
	RstarStatement *statement = find_statement(queryDesc->estate->es_query_cxt);

	if (statement != NULL)
		complete(statement);
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
	Frame		frame = {frames, NULL, nodeTag(pstmt->utilityStmt), NULL, false,
	rstar_statement_explains() || is_explain(pstmt->utilityStmt), false};

	push_frame(&frame);
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		rstar_cache_scan_rest();
		if (frame.statement != NULL)
			complete(frame.statement);
	}
	PG_FINALLY();
	{
		pop_utility_frame(&frame);
	}
	PG_END_TRY();
}

/*
 * Without ANALYZE.  Parameters of EXPLAIN EXECUTE are evaluated outside of any
 * planner and executor.
 */
static bool
is_explain(Node *command)
{
	bool		analyze = false;
	ListCell   *lc;

	if (!IsA(command, ExplainStmt))
		return false;
	foreach(lc, ((ExplainStmt *) command)->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "analyze") == 0)
			analyze = defGetBoolean(option);
	}
	return !analyze;
}

static void
push_frame(Frame *frame)
{
	rstar_cache_scan_rest();
	rstar_cache_scan_keep(frame->runs);
	frames = frame;
}

/* Also after an error, which leaves the cache table as it is */
static void
pop_frame(const Frame *frame)
{
	frames = frame->outer;
	rstar_cache_scan_keep(frames != NULL && frames->runs);
}

/* It has come to its end without an error */
static void
complete(RstarStatement *statement)
{
	if (rstar_statement_in_pass())
		rstar_statement_keeper->keep_all(statement);
	else
		warn(statement);
}

static void
pop_utility_frame(Frame *frame)
{
	pop_frame(frame);
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

RstarStatement *
rstar_statement_current(void)
{
	return statement_of(started(frames));
}

/* The next one outwards that has memory: what other hooks do before is not its work yet */
static Frame *
started(Frame *frame)
{
	while (frame != NULL && frame->query != NULL && frame->query->estate == NULL)
		frame = frame->outer;
	return frame;
}

/* NULL, outside of all (a deferred trigger, one of logical replication): the transaction's */
static RstarStatement *
statement_of(Frame *frame)
{
	MemoryContext parent = frame == NULL ? TopTransactionContext :
		frame->query ? frame->query->estate->es_query_cxt : NULL;
	RstarStatement *statement = frame ? frame->statement : NULL;

	if (statement == NULL && parent != NULL)
		statement = find_statement(parent);
	if (statement == NULL)
		statement = make_statement(parent ? parent : TopMemoryContext);
	if (frame)
		frame->statement = statement;
	return statement;
}

/*
 * What a client does not run in a portal is the transaction's: queries of
 * deferred triggers, each of which would be a statement of its own.
 */
void
rstar_statement_add_sent(int64 samples)
{
	for (Frame *frame = started(frames); frame != NULL; frame = started(frame->outer))
		statement_of(frame)->sent += samples;
	if (ActivePortal == NULL)
		statement_of(NULL)->sent += samples;
}

int64
rstar_statement_sent(void)
{
	int64		most = ActivePortal == NULL ? statement_of(NULL)->sent : 0;

	for (Frame *frame = started(frames); frame != NULL; frame = started(frame->outer))
		most = Max(most, statement_of(frame)->sent);
	return most;
}

RstarStatement *
rstar_statement_outermost(RstarWithin *within)
{
	Frame	   *outermost = NULL;

	*within = RSTAR_WITHIN_PLAN;
	for (Frame *frame = started(frames); frame != NULL; frame = started(frame->outer))
	{
		if (evaluates_rows(frame->command))
			*within = RSTAR_WITHIN_COMMAND;
		else if (outermost != NULL &&
				 (frame->query != NULL || frame->command == T_DoStmt || frame->command == T_CallStmt))
			*within = RSTAR_WITHIN_FUNCTION;
		outermost = frame;
	}
	return statement_of(outermost);
}

/* Expressions of indexes and constraints, row by row, which are in no plan */
static bool
evaluates_rows(NodeTag command)
{
	return command == T_IndexStmt || command == T_ReindexStmt ||
		command == T_VacuumStmt || command == T_AlterTableStmt;
}

bool
rstar_statement_for_others(void)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	if (user != GetOuterUserId() || context != 0)
		return true;
	for (Frame *frame = started(frames); frame != NULL; frame = started(frame->outer))
	{
		ListCell   *lc;

		if (frame->query == NULL)
			continue;
		foreach(lc, RSTAR_PERMISSIONS(frame->query->plannedstmt))
		{
			Oid			as = ((RstarPermission *) lfirst(lc))->checkAsUser;

			if (OidIsValid(as) && as != user)
				return true;
		}
	}
	return false;
}

void
rstar_statement_each_around(void (*function) (RstarStatement *statement))
{
	for (Frame *frame = started(frames); frame != NULL; frame = started(frame->outer))
		function(statement_of(frame));
}

void
rstar_statement_each(void (*function) (RstarStatement *statement))
{
	dlist_iter	iter;

	dlist_foreach(iter, &statements)
		function(dlist_container(RstarStatement, link, iter.cur));
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
	statement->warms = rstar_statement_keeper != NULL;
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
	/* Their memory may be another's, which goes later than ours */
	while (!dlist_is_empty(&statement->sets))
		dlist_pop_head_node(&statement->sets)->next = NULL;
	if (dlist_is_empty(&statements))
		rstar_progress_end();
}

void
rstar_statement_failed(RstarStatement *statement, const char *why, const char *which)
{
	if (rstar_statement_in_pass())
		return;
	statement = payer(statement);
	if (statement->failures++ > 0)
		return;
	statement->first_failure = MemoryContextStrdup(statement->context, why);
	statement->first_which = MemoryContextStrdup(statement->context, which);
}

void
rstar_statement_shortened(RstarStatement *statement)
{
	if (!rstar_statement_in_pass())
		payer(statement)->shortened++;
}

void
rstar_statement_reversed(RstarStatement *statement)
{
	if (!rstar_statement_in_pass())
		payer(statement)->reversed++;
}

bool
rstar_statement_in_pass(void)
{
	return rstar_statement_keeper != NULL && rstar_statement_keeper->in_pass;
}

/* Whose warning counts: its own, or that of the refresh */
static RstarStatement *
payer(RstarStatement *statement)
{
	return rstar_statement_keeper != NULL ? rstar_statement_keeper->statement : statement;
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
	if (statement->reversed > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("priors of " INT64_FORMAT " set fall where scores rise",
							   "priors of " INT64_FORMAT " sets fall where scores rise",
							   (unsigned long) statement->reversed, statement->reversed),
				 errhint("A higher prior must mean a better document: of a distance, pass its negative.")));
	if (statement->failures == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural(INT64_FORMAT " pair could not be scored and is NULL",
						   INT64_FORMAT " pairs could not be scored and are NULL",
						   (unsigned long) statement->failures, statement->failures),
			 errdetail("The first: %s\n%s", statement->first_failure, statement->first_which),
			 errdetail_log("The first: %s", statement->first_failure)));
}

bool
rstar_statement_runs_to_end(void)
{
	return frames != NULL && frames->to_end;
}

bool
rstar_statement_explains(void)
{
	return frames != NULL && frames->explains;
}
