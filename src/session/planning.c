/*-------------------------------------------------------------------------
 *
 * planning.c
 *		What becomes of a value that is computed while a statement is planned.
 *
 * The planner calls functions whose arguments are constants: IMMUTABLE ones to
 * put their value into the plan in place of the call (it folds them), also
 * into plans that are kept and rows that are stored; STABLE ones to estimate
 * how many rows a condition lets through.  Nothing is sent meanwhile.  So a
 * score that is not known is an error in a function that is folded, and must
 * not be one in an estimate, neither ours nor that of a wrapper written in
 * another language, which may raise an error when it gets NULL.
 *
 * A stack tells which of the two is the case: a frame for each planner, and
 * above it one for the function that it calls, until that function plans a
 * statement itself.  All frames lie on the C stack.
 *
 * Of functions the function manager's hook tells, which is asked for when a
 * call is prepared.  It says yes only for what the planner is about to call,
 * so nothing else is slower: that is prepared in an executor state of its own
 * while no function of the planner's is running.  The same question is put
 * before a function in SQL is inlined, which a yes would prevent; then there
 * is no executor state.  (The planner also calls the functions of operators
 * with sample values of a column.  Those are estimates of another kind, and
 * treated as if the planner called us.)
 *
 * The hook's caller calls what the FmgrInfo names that the hook was given.  We
 * put our own function there, which can do what a hook cannot: run the other
 * one in a subtransaction, and end its error.
 *
 * What EXPLAIN and ANALYZE call (quiet.c) is treated as an estimate, too: it
 * may raise an error when it gets NULL, and fails neither of them.
 *
 * An IMMUTABLE function is also called for an estimate when its arguments are
 * STABLE.  It cannot be told from folding, and is declared wrongly anyhow.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "optimizer/planner.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "session/planning.h"

typedef enum FrameKind
{
	FRAME_PLANNER,
	FRAME_FOLDED,
	FRAME_ESTIMATED
} FrameKind;

typedef struct Frame
{
	struct Frame *outer;
	FrameKind	kind;
	Oid			function;		/* FOLDED, ESTIMATED */
	bool		unknown;		/* it has met a score that is not known */
} Frame;

static Frame *frames = NULL;

/* Between FHET_START and the call that follows it: what is to be called */
static PGFunction called = NULL;

static bool (*others_estimate) (void);

static planner_hook_type prev_planner_hook = NULL;
static needs_fmgr_hook_type prev_needs_fmgr_hook = NULL;
static fmgr_hook_type prev_fmgr_hook = NULL;

static PlannedStmt *plan_statement(RSTAR_PLANNER_ARGS);
static bool needs_hook(Oid function);
static void hook(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg);
static bool planner_calls(Oid function, MemoryContext context);
static char watched(Oid function);
static Datum call(PG_FUNCTION_ARGS);
static Datum call_folded(FunctionCallInfo fcinfo, Frame *frame);
static Datum call_estimated(FunctionCallInfo fcinfo, Frame *frame);
static bool follows(const Frame *frame, const ErrorData *error);
RSTAR_NORETURN static void raise_folded(Oid function);

void
rstar_planning_init(bool (*estimates) (void))
{
	others_estimate = estimates;
	prev_planner_hook = planner_hook;
	planner_hook = plan_statement;
	prev_needs_fmgr_hook = needs_fmgr_hook;
	needs_fmgr_hook = needs_hook;
	prev_fmgr_hook = fmgr_hook;
	fmgr_hook = hook;
}

static PlannedStmt *
plan_statement(RSTAR_PLANNER_ARGS)
{
	Frame		frame = {frames, FRAME_PLANNER, InvalidOid, false};
	PlannedStmt *stmt;

	frames = &frame;
	PG_TRY();
	{
		if (prev_planner_hook)
			stmt = prev_planner_hook(RSTAR_PLANNER_PASS);
		else
			stmt = standard_planner(RSTAR_PLANNER_PASS);
	}
	PG_FINALLY();
	{
		frames = frame.outer;
	}
	PG_END_TRY();
	return stmt;
}

static bool
needs_hook(Oid function)
{
	if (prev_needs_fmgr_hook && prev_needs_fmgr_hook(function))
		return true;
	return planner_calls(function, CurrentMemoryContext) && watched(function) != 0;
}

/* Also of functions that have a hook for another's sake, or whose FmgrInfo is old */
static void
hook(FmgrHookEventType event, FmgrInfo *flinfo, Datum *arg)
{
	if (prev_fmgr_hook)
		prev_fmgr_hook(event, flinfo, arg);
	if (event != FHET_START || !planner_calls(flinfo->fn_oid, flinfo->fn_mcxt) ||
		watched(flinfo->fn_oid) == 0)
		return;
	called = flinfo->fn_addr;
	flinfo->fn_addr = call;
}

/*
 * A function of a user, prepared in this context, which the planner calls
 * itself, or one of the others that nobody calls in order to get a score
 */
static bool
planner_calls(Oid function, MemoryContext context)
{
	return function >= FirstNormalObjectId && strcmp(context->name, "ExecutorState") == 0 &&
		(frames ? frames->kind == FRAME_PLANNER : others_estimate());
}

/* Volatility of a function that may call ours and be called by the planner, or 0 */
static char
watched(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	char		volatility = 0;

	if (!HeapTupleIsValid(tuple))
		return 0;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prolang != INTERNALlanguageId && proc->prolang != ClanguageId &&
		proc->provolatile != PROVOLATILE_VOLATILE)
		volatility = proc->provolatile;
	ReleaseSysCache(tuple);
	return volatility;
}

/* In the place of a function that the planner calls */
static Datum
call(PG_FUNCTION_ARGS)
{
	Frame		frame = {frames, FRAME_FOLDED, fcinfo->flinfo->fn_oid, false};

	fcinfo->flinfo->fn_addr = called;
	if (frames != NULL && watched(frame.function) == PROVOLATILE_IMMUTABLE)
		return call_folded(fcinfo, &frame);
	/* without a subtransaction nothing can be guarded, and it gets NULL */
	if (!rstar_may_start_subtransaction())
		return FunctionCallInvoke(fcinfo);
	frame.kind = FRAME_ESTIMATED;
	return call_estimated(fcinfo, &frame);
}

/* The function may have caught the error, but its value is still a wrong one */
static Datum
call_folded(FunctionCallInfo fcinfo, Frame *frame)
{
	Datum		value;

	frames = frame;
	PG_TRY();
	{
		value = FunctionCallInvoke(fcinfo);
	}
	PG_FINALLY();
	{
		frames = frame->outer;
	}
	PG_END_TRY();
	if (frame->unknown)
		raise_folded(frame->function);
	return value;
}

/* The subtransaction is rolled back before an error that is another's goes on */
static Datum
call_estimated(FunctionCallInfo fcinfo, Frame *frame)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile Datum value = (Datum) 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	frames = frame;
	PG_TRY();
	{
		value = FunctionCallInvoke(fcinfo);
		frames = frame->outer;
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		frames = frame->outer;
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (!follows(frame, error))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	if (frame->unknown)
	{
		fcinfo->isnull = true;
		return (Datum) 0;
	}
	return value;
}

/*
 * Whether an error comes of the one that we have raised: itself, or what the
 * function has made of it.  Whatever else it did until then has had no such
 * error before, but a cancellation or a fault may come at any time.
 */
static bool
follows(const Frame *frame, const ErrorData *error)
{
	int			category = ERRCODE_TO_CATEGORY(error->sqlerrcode);

	return frame->unknown &&
		category != ERRCODE_OPERATOR_INTERVENTION &&
		category != ERRCODE_INSUFFICIENT_RESOURCES &&
		category != ERRCODE_SYSTEM_ERROR &&
		category != ERRCODE_INTERNAL_ERROR;
}

bool
rstar_planning(void)
{
	return frames != NULL;
}

bool
rstar_planning_folds(Oid function)
{
	if (frames == NULL)
		return false;
	if (frames->kind == FRAME_PLANNER)
		return OidIsValid(function) && func_volatile(function) == PROVOLATILE_IMMUTABLE;
	return frames->kind == FRAME_FOLDED;
}

/*
 * The error goes through what calls the function that is folded.  That is
 * abandoned if it serves an estimate, and else wrong, too.
 */
void
rstar_planning_unknown(Oid function)
{
	Frame	   *frame = frames;

	if (frame == NULL)
		return;
	if (frame->kind == FRAME_PLANNER)
	{
		if (!rstar_planning_folds(function))
			return;
	}
	else
		function = frame->function;
	for (; frame != NULL; frame = frame->outer)
	{
		frame->unknown = true;
		if (frame->kind == FRAME_ESTIMATED)
			break;
	}
	if (frames->kind != FRAME_ESTIMATED)
		raise_folded(function);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("score is not known while the planner calls function %s",
					format_procedure(function)),
			 errdetail("Its value is needed for an estimate only.")));
}

static void
raise_folded(Oid function)
{
	char	   *name = format_procedure(function);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
			 errmsg("score is not known while the planner computes function %s", name),
			 errdetail("The function is declared IMMUTABLE, so its value of now would stay in the plan, and nothing is asked for while planning."),
			 errhint("Declare it as what it is: ALTER FUNCTION %s STABLE.  A score that was asked for before is known.", name)));
}
