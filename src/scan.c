/*-------------------------------------------------------------------------
 *
 * scan.c
 *		The executor's side of the prefetch node, "Retro* Prefetch".
 *
 * Called by: the executor; stage.c and walk.c for the node's methods.
 * Calls: ring.c, score.c, rerank.c, statement.c, scan_explain.c.
 *
 * The node keeps a ring of rows that it has read from its child.  When a row
 * enters the ring, the pairs of its calls are submitted; when it leaves, the
 * node's own qual and target list are evaluated, and the calls in there (or
 * in the node above, which gets the row) find their answers.  The ring is
 * filled up again for each row that leaves, so as many pairs are under way as
 * the ring has rows.
 *
 * How far to read ahead is fill_target()'s business.  A wide window costs
 * nothing when every row will be asked for.  When the reader may stop, each
 * row too many is GPU time for nothing.
 *
 * A row is copied into a minimal tuple first and arguments are evaluated
 * against the copy, so that the Datums that rstar_score_ahead() has seen stay
 * where they are until the row has left: the call recognizes them and does
 * not hash the document again.  What is announced must be taken back before
 * the row is freed.
 *
 * During EvalPlanQual, and with retrostar.prefetch off, rows pass through one
 * at a time.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "scan.h"

#include "calls.h"
#include "guc.h"
#include "pair.h"
#include "rerank.h"
#include "ring.h"
#include "scan_explain.h"
#include "score.h"
#include "statement.h"
#include "walk.h"

#define NODE_NAME "Retro* Prefetch"

/* Rows to read ahead at first when nobody knows how many will be wanted */
#define FIRST_WINDOW 8

/* Rows to read ahead while no score is waited for */
#define KNOWN_WINDOW 32

/* A call that is made ahead */
typedef struct PrefetchSite
{
	RstarCallKind kind;
	ExprState  *guards;			/* all must be true; NULL: none */
	ExprState  *args[RSTAR_NARGS];	/* NULL: the argument is */
	bool		may_raise;		/* evaluating these may raise an error */
	List	   *init_params;	/* parameters of init plans in them */
	bool		varying;		/* it is guarded, or not all arguments but query
								 * and doc are the same for all rows */
	bool		lasting;		/* query and doc stay valid with the row */
	bool		strict;			/* was declared so: without a NULL it is called */
	/* sets of documents: what is asked for at first, since the last (re)scan */
	int			samples;
	int			documents;
	uint32		query_hash;		/* of the set that gets documents now */
	int			added;			/* documents since the query changed */
} PrefetchSite;

typedef struct PrefetchState
{
	CustomScanState css;

	/* from the plan */
	RstarReadMode mode;
	bool		evaluates;		/* the calls are in our qual or target list */
	bool		exact;			/* the reader never takes more than the bound */
	List	   *bound_exprs;	/* ExprStates: count, offset, count, ... */
	int			nsites;
	PrefetchSite *sites;
	RstarAhead *announced;		/* what the calls made next may take, one for
								 * each site; NULL: none of them is "lasting" */

	/* evaluation of arguments and guards */
	ExprContext *ahead_context;
	TupleTableSlot *ahead_slot;

	RstarRing	ring;			/* rows read ahead */
	int			npending;		/* rows in it that wait for an answer */
	RstarRow   *current;		/* the row that was returned last, or NULL */

	/* since the last (re)scan */
	bool		started;
	bool		passing;		/* rows pass through, nothing is read ahead */
	bool		eof;			/* the child has no more rows */
	double		bound;			/* rows that the reader takes, or infinity */
	double		taken;			/* rows that left the ring */
	double		passed;			/* of these, rows that passed the qual */
	int			window;			/* rows to read ahead when nobody knows */
	int			taken_in_window;	/* rows that left since it grew */

	RstarScanReport report;		/* for EXPLAIN */
} PrefetchState;

static Node *create_state(CustomScan *scan);
static void begin(CustomScanState *node, EState *estate, int eflags);
static void init_sites(PrefetchState *state, CustomScan *scan, List *exprs);
static void init_args(PrefetchSite *site, FuncExpr *func, PlanState *parent);
static bool is_lasting(Node *arg);
static TupleTableSlot *exec(CustomScanState *node);
static void start_scan(PrefetchState *state);
static double eval_bound(PrefetchState *state);
static TupleTableSlot *next_row(PrefetchState *state);
static RstarRow *take_row(PrefetchState *state);
static void fill(PrefetchState *state);
static bool reads_to_end(PrefetchState *state);
static int	fill_target(PrefetchState *state);
static void count_taken(PrefetchState *state);
static void submit_row(PrefetchState *state, RstarRow *row, bool to_end);
static bool in_first_pass(PrefetchSite *site, const NullableDatum *args);
static bool may_evaluate(PrefetchState *state, PrefetchSite *site, bool to_end);
static bool is_next(PrefetchState *state);
static void announce(PrefetchState *state, RstarRow *row);
static void unannounce(PrefetchState *state);
static void free_current(PrefetchState *state);
static void drop_rows(PrefetchState *state);
static void end(CustomScanState *node);
static void rescan(CustomScanState *node);
static void shutdown_scan(CustomScanState *node);
static void explain(CustomScanState *node, List *ancestors, ExplainState *es);

const CustomScanMethods rstar_scan_methods = {
	.CustomName = NODE_NAME,
	.CreateCustomScanState = create_state
};

static const CustomExecMethods exec_methods = {
	.CustomName = NODE_NAME,
	.BeginCustomScan = begin,
	.ExecCustomScan = exec,
	.EndCustomScan = end,
	.ReScanCustomScan = rescan,
	.ShutdownCustomScan = shutdown_scan,
	.ExplainCustomScan = explain
};

void
rstar_scan_init(void)
{
	RegisterCustomScanMethods(&rstar_scan_methods);
}

bool
rstar_scan_is_prefetch(const Plan *plan)
{
	return plan != NULL && IsA(plan, CustomScan) &&
		((const CustomScan *) plan)->methods == &rstar_scan_methods;
}

static Node *
create_state(CustomScan *scan)
{
	PrefetchState *state = (PrefetchState *) newNode(sizeof(PrefetchState), T_CustomScanState);

	state->css.methods = &exec_methods;
	return (Node *) state;
}

static void
begin(CustomScanState *node, EState *estate, int eflags)
{
	PrefetchState *state = (PrefetchState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	List	   *header = linitial(scan->custom_private);
	List	   *exprs = scan->custom_exprs;
	int			nbound = list_nth_int(header, RSTAR_SCAN_NBOUND);

	Assert(!(eflags & (EXEC_FLAG_BACKWARD | EXEC_FLAG_MARK)));
	outerPlanState(node) = ExecInitNode(outerPlan(scan), estate, eflags);

	state->mode = list_nth_int(header, RSTAR_SCAN_MODE);
	state->exact = list_nth_int(header, RSTAR_SCAN_EXACT);
	state->evaluates = list_nth_int(header, RSTAR_SCAN_EVALUATES);
	for (int i = 0; i < nbound; i++)
		state->bound_exprs = lappend(state->bound_exprs,
									 ExecInitExpr(list_nth(exprs, i), &node->ss.ps));
	state->passing = estate->es_epq_active != NULL;
	state->ahead_context = CreateExprContext(estate);
	state->ahead_slot = ExecInitExtraTupleSlot(estate,
											   node->ss.ss_ScanTupleSlot->tts_tupleDescriptor,
											   &TTSOpsVirtual);
	init_sites(state, scan, list_copy_tail(exprs, nbound));
	rstar_ring_init(&state->ring, estate->es_query_cxt, state->nsites);
}

static void
init_sites(PrefetchState *state, CustomScan *scan, List *exprs)
{
	PlanState  *parent = &state->css.ss.ps;
	ListCell   *expr = list_head(exprs);
	bool		any_lasting = false;

	state->nsites = list_length(scan->custom_private) - 1;
	state->sites = palloc0((state->nsites + 1) * sizeof(PrefetchSite));
	for (int i = 0; i < state->nsites; i++)
	{
		PrefetchSite *site = &state->sites[i];
		List	   *numbers = list_nth(scan->custom_private, i + 1);
		FuncExpr   *func;
		List	   *guards = NIL;

		site->kind = list_nth_int(numbers, RSTAR_SITE_KIND);
		func = lfirst_node(FuncExpr, expr);
		expr = lnext(exprs, expr);
		for (int n = list_nth_int(numbers, RSTAR_SITE_NGUARDS); n > 0; n--)
		{
			guards = lappend(guards, lfirst(expr));
			expr = lnext(exprs, expr);
		}
		site->may_raise = list_nth_int(numbers, RSTAR_SITE_MAY_RAISE);
		site->init_params = list_copy_tail(numbers, RSTAR_SITE_INIT_PARAMS);
		site->guards = ExecInitQual(guards, parent);
		site->varying = guards != NIL;
		init_args(site, func, parent);
		any_lasting = any_lasting || site->lasting;
	}
	if (any_lasting)
		state->announced = palloc0(state->nsites * sizeof(RstarAhead));
}

/* A set's arguments, other than query and document, are settings */
static void
init_args(PrefetchSite *site, FuncExpr *func, PlanState *parent)
{
	bool		is_set = site->kind != RSTAR_CALL_SCORE;
	Node	   *query = list_nth(func->args, is_set ? RSTAR_SET_ARG_QUERY : RSTAR_ARG_QUERY);
	Node	   *doc = list_nth(func->args, is_set ? RSTAR_SET_ARG_DOC : RSTAR_ARG_DOC);
	ListCell   *lc;

	site->lasting = is_lasting(query) && is_lasting(doc);
	site->args[RSTAR_ARG_QUERY] = ExecInitExpr((Expr *) query, parent);
	site->args[RSTAR_ARG_DOC] = ExecInitExpr((Expr *) doc, parent);
	if (is_set)
		return;
	for_each_from(lc, func->args, RSTAR_ARG_DOC + 1)
	{
		site->args[foreach_current_index(lc)] = ExecInitExpr(lfirst(lc), parent);
		site->varying = site->varying || !IsA(lfirst(lc), Const);
	}
	site->strict = func_strict(func->funcid);
}

/* Is the value part of the row, or of something that lives longer? */
static bool
is_lasting(Node *arg)
{
	while (IsA(arg, RelabelType))
		arg = (Node *) ((RelabelType *) arg)->arg;
	return IsA(arg, Var) || IsA(arg, Const) || IsA(arg, Param);
}

static TupleTableSlot *
exec(CustomScanState *node)
{
	PrefetchState *state = (PrefetchState *) node;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;

	if (!ScanDirectionIsForward(node->ss.ps.state->es_direction))
		elog(ERROR, "prefetch node cannot run backwards");
	if (!state->started)
		start_scan(state);
	for (;;)
	{
		TupleTableSlot *slot;
		bool		passes;

		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		slot = next_row(state);
		if (TupIsNull(slot))
		{
			if (node->ss.ps.ps_ProjInfo)
				return ExecClearTuple(node->ss.ps.ps_ProjInfo->pi_state.resultslot);
			return slot;
		}
		econtext->ecxt_scantuple = slot;
		passes = ExecQual(node->ss.ps.qual, econtext);
		if (passes && node->ss.ps.ps_ProjInfo)
			slot = ExecProject(node->ss.ps.ps_ProjInfo);
		if (state->evaluates)
			unannounce(state);
		if (passes)
		{
			state->passed++;
			return slot;
		}
		InstrCountFiltered1(node, 1);
	}
}

static void
start_scan(PrefetchState *state)
{
	state->started = true;
	state->passing = !rstar_prefetch || state->css.ss.ps.state->es_epq_active != NULL;
	state->eof = false;
	state->bound = eval_bound(state);
	/* As a LIMIT tells its child: a sort keeps no more rows than that */
	if (state->exact && state->css.ss.ps.qual == NULL && state->bound <= INT_MAX)
		ExecSetTupleBound((int64) state->bound, outerPlanState(state));
	state->taken = 0;
	state->passed = 0;
	state->window = FIRST_WINDOW;
	state->taken_in_window = 0;
	for (int i = 0; i < state->nsites; i++)
	{
		PrefetchSite *site = &state->sites[i];

		site->added = 0;
		if (site->kind != RSTAR_CALL_SCORE)
			rstar_rerank_first_pass(&site->samples, &site->documents);
	}
}

/*
 * The rows that the LIMITs above take, or infinity.  They have evaluated the
 * same expressions already, so this does not raise.
 */
static double
eval_bound(PrefetchState *state)
{
	double		bound = get_float8_infinity();
	ListCell   *lc;

	foreach(lc, state->bound_exprs)
	{
		bool		is_offset = foreach_current_index(lc) % 2 == 1;
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(lfirst(lc), state->ahead_context, &isnull);

		if (isnull)
			continue;
		if (is_offset)
			bound += DatumGetInt64(value);
		else
			bound = Min(bound, DatumGetInt64(value));
	}
	return bound;
}

/* The next row, with its pairs announced; an empty slot at the end */
static TupleTableSlot *
next_row(PrefetchState *state)
{
	TupleTableSlot *slot = state->css.ss.ss_ScanTupleSlot;

	if (state->passing)
		return rstar_ring_pass(ExecProcNode(outerPlanState(state)), slot);
	free_current(state);
	fill(state);
	if (state->ring.count == 0)
		return ExecClearTuple(slot);
	state->current = take_row(state);
	count_taken(state);
	announce(state, state->current);
	return rstar_ring_store(state->current, slot);
}

static RstarRow *
take_row(PrefetchState *state)
{
	RstarRow   *row = rstar_ring_take(&state->ring);

	state->npending -= row->pending;
	return row;
}

/*
 * Reads rows into the ring as far as is right now.  While all scores are known
 * many rows gain nothing, and few stay in the CPU's cache until they are taken.
 */
static void
fill(PrefetchState *state)
{
	RstarRing  *ring = &state->ring;
	bool		to_end = reads_to_end(state);
	int			target = fill_target(state);

	while (!state->eof &&
		   ring->count < (state->npending > 0 ? target : Min(target, KNOWN_WINDOW)) &&
		   (ring->count == 0 || ring->bytes < work_mem * (Size) 1024))
	{
		TupleTableSlot *slot;

		CHECK_FOR_INTERRUPTS();
		slot = ExecProcNode(outerPlanState(state));
		if (TupIsNull(slot))
		{
			state->eof = true;
			break;
		}
		state->report.rows_read++;
		submit_row(state, rstar_ring_add(ring, slot), to_end);
	}
	state->report.largest_window = Max(state->report.largest_window, ring->count);
}

/* Is it certain that every row of the child will be asked for? */
static bool
reads_to_end(PrefetchState *state)
{
	return state->mode == RSTAR_READ_ALL ||
		(state->mode == RSTAR_READ_RUN && rstar_statement_runs_to_end());
}

/*
 * How many rows the ring should have.  With a bound, as many as the reader
 * still takes, and more when the qual drops some, as far as its rate until
 * now tells; but a rate of few rows tells little, hence the second limit.
 * Without, a few, and twice as many whenever that many were taken.  So what
 * is read for nothing stays within a small multiple of what was wanted.
 */
static int
fill_target(PrefetchState *state)
{
	double		target;

	if (reads_to_end(state))
		return rstar_prefetch_window;
	target = state->bound - state->passed;
	if (target <= 0 || isinf(target))
		target = state->window;
	else if (state->css.ss.ps.qual != NULL)
	{
		target = ceil(target * (state->taken + 2) / (state->passed + 1));
		target = Min(target, Max(state->bound, FIRST_WINDOW) + 2 * state->taken);
	}
	return (int) Min(target, rstar_prefetch_window);
}

static void
count_taken(PrefetchState *state)
{
	state->taken++;
	if (++state->taken_in_window >= state->window)
	{
		state->taken_in_window = 0;
		if (state->window < rstar_prefetch_window)
			state->window *= 2;
	}
}

/* Submits the pairs of the calls that will be made for this row */
static void
submit_row(PrefetchState *state, RstarRow *row, bool to_end)
{
	ExprContext *econtext = state->ahead_context;
	MemoryContext old;

	ResetExprContext(econtext);
	econtext->ecxt_scantuple = rstar_ring_store(row, state->ahead_slot);
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < state->nsites; i++)
	{
		PrefetchSite *site = &state->sites[i];
		NullableDatum args[RSTAR_NARGS];
		bool		called = true;

		if (!may_evaluate(state, site, to_end))
		{
			state->report.not_ahead++;
			site->added++;
			continue;
		}
		if (!ExecQual(site->guards, econtext))
			continue;
		for (int k = 0; k < RSTAR_NARGS; k++)
		{
			args[k].isnull = true;
			if (site->args[k] != NULL)
				args[k].value = ExecEvalExpr(site->args[k], econtext, &args[k].isnull);
			called = called && !(site->strict && args[k].isnull);
		}
		if (!(site->kind == RSTAR_CALL_SCORE ? called : in_first_pass(site, args)))
			continue;
		if (!to_end && !is_next(state) && site->varying &&
			!rstar_pair_resolved(rstar_statement_current(), args))
			state->report.not_ahead++;
		else if (rstar_score_ahead(args, site->samples, &state->report.stats, &row->aheads[i]))
			row->pending = true;
	}
	state->npending += row->pending;
	MemoryContextSwitchTo(old);
	ExecClearTuple(state->ahead_slot);
}

/* Is it asked for at once?  Sets of one query count as one, which misses some. */
static bool
in_first_pass(PrefetchSite *site, const NullableDatum *args)
{
	text	   *query;
	uint32		hash;

	if (site->documents == INT_MAX)
		return true;
	if (site->kind == RSTAR_CALL_SORTED_SET || args[RSTAR_ARG_QUERY].isnull)
		return false;
	query = DatumGetTextPP(args[RSTAR_ARG_QUERY].value);
	hash = hash_bytes((unsigned char *) VARDATA_ANY(query), VARSIZE_ANY_EXHDR(query));
	if (hash != site->query_hash)
		site->added = 0;
	site->query_hash = hash;
	return site->added++ < site->documents;
}

/*
 * Not when it might raise an error for a row that the reader never gets to.
 * For the next row a call without guards is made in any case: then its init
 * plans run now, and do not again.
 */
static bool
may_evaluate(PrefetchState *state, PrefetchSite *site, bool to_end)
{
	ListCell   *lc;

	if (to_end || (is_next(state) && site->guards == NULL))
		return true;
	if (site->may_raise)
		return false;
	foreach(lc, site->init_params)
	{
		if (state->css.ss.ps.state->es_param_exec_vals[lfirst_int(lc)].execPlan != NULL)
			return false;
	}
	return true;
}

/*
 * The only row in the ring is taken next.  But what reads groups may only look
 * at it, to see that a group has ended.
 */
static bool
is_next(PrefetchState *state)
{
	return state->ring.count == 1 && (state->evaluates || state->taken == 0);
}

/*
 * Values that do not last are gone by now, and their addresses must not be
 * met again.  The array is the node's own: what is announced may be looked at
 * until the query's memory goes.
 */
static void
announce(PrefetchState *state, RstarRow *row)
{
	if (state->announced == NULL)
		return;
	memcpy(state->announced, row->aheads, state->nsites * sizeof(RstarAhead));
	for (int i = 0; i < state->nsites; i++)
		state->announced[i].valid = row->aheads[i].valid && state->sites[i].lasting;
	rstar_score_announce(state->announced, state->nsites);
}

static void
unannounce(PrefetchState *state)
{
	for (int i = 0; state->announced != NULL && i < state->nsites; i++)
		state->announced[i].valid = false;
}

static void
free_current(PrefetchState *state)
{
	if (state->current == NULL)
		return;
	unannounce(state);
	ExecClearTuple(state->css.ss.ss_ScanTupleSlot);
	rstar_ring_free_row(state->current);
	state->current = NULL;
}

static void
drop_rows(PrefetchState *state)
{
	free_current(state);
	state->report.rows_dropped += state->ring.count;
	while (state->ring.count > 0)
		rstar_ring_free_row(take_row(state));
}

/* The memory goes with the query's, and with it what was submitted */
static void
end(CustomScanState *node)
{
	ExecEndNode(outerPlanState(node));
}

/* Without changed parameters the same rows come again, and with them the pairs */
static void
rescan(CustomScanState *node)
{
	PrefetchState *state = (PrefetchState *) node;

	if (node->ss.ps.chgParam != NULL)
		rstar_ring_forget(&state->ring);
	drop_rows(state);
	ReScanExprContext(state->ahead_context);
	state->started = false;
	if (outerPlanState(node)->chgParam == NULL)
		ExecReScan(outerPlanState(node));
}

/* After each run, also of a cursor: only a run to the end is the last one */
static void
shutdown_scan(CustomScanState *node)
{
	if (rstar_statement_runs_to_end())
		rstar_ring_forget(&((PrefetchState *) node)->ring);
}

static void
explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	PrefetchState *state = (PrefetchState *) node;
	RstarScanReport report = state->report;

	report.rows_dropped += state->ring.count;
	rstar_scan_explain((CustomScan *) node->ss.ps.plan, &report, ancestors, es);
}
