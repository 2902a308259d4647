/*-------------------------------------------------------------------------
 *
 * scan.c
 *		The executor's side of the prefetch node, "Retro* Prefetch".
 *
 * The node keeps a ring of rows that it has read from its child.  When a row
 * enters the ring, the pairs of its calls are submitted; when it leaves, the
 * node's own qual and target list are evaluated, and the calls in there (or
 * in the node above, which gets the row) find their answers.  The ring is
 * filled up again for each row that leaves, so as many pairs are under way as
 * the ring has rows.  How far to read ahead is window.c's business.
 *
 * A row is copied into a minimal tuple first and arguments are evaluated
 * against the copy, so that the Datums that rstar_score_ahead() has seen stay
 * where they are until the row has left: the call recognizes them and does
 * not hash the document again.  (A query that is computed for each row is
 * copied.)  What is announced must be taken back before
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

#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/nodeFuncs.h"

#include "base/settings.h"
#include "functions/rerank.h"
#include "prefetch/calls.h"
#include "prefetch/node.h"
#include "prefetch/partition.h"
#include "prefetch/ring.h"
#include "prefetch/scan.h"
#include "prefetch/scan_explain.h"
#include "prefetch/site.h"
#include "prefetch/window.h"
#include "session/pair.h"
#include "session/score.h"
#include "session/statement.h"
#include "session/warm.h"

/* Rows to read ahead while no score is waited for */
#define KNOWN_WINDOW 32

typedef struct PrefetchState
{
	CustomScanState css;

	/* from the plan */
	RstarReadMode mode;
	bool		evaluates;		/* the calls are in our qual or target list */
	bool		exact;			/* the reader never takes more than the bound */
	List	   *bound_exprs;	/* ExprStates: count, offset, count, ... */
	int			nsites;
	RstarSite  *sites;
	RstarAhead *announced;		/* what the calls made next may take, one for
								 * each site; NULL: of none does the document
								 * last */

	/* evaluation of arguments and guards */
	ExprContext *ahead_context;
	TupleTableSlot *ahead_slot;

	RstarRing	ring;			/* rows read ahead */
	RstarPartition partition;	/* of rows, for window functions */
	bool		shifted;		/* a call is made for another row than the one
								 * that has come */
	int			npending;		/* rows in it that wait for an answer */
	int			nfailing;		/* rows in it with a call that will raise */
	RstarRow   *current;		/* the row that was returned last, or NULL */

	/* since the last (re)scan */
	bool		started;
	bool		counted;		/* its pairs are among those expected */
	bool		passing;		/* rows pass through, nothing is read ahead */
	bool		eof;			/* the child has no more rows */
	bool		cut;			/* it had, but they were not kept */
	RstarWindow window;			/* how far to read ahead */

	RstarScanReport report;		/* for EXPLAIN */
} PrefetchState;

static Node *create_state(CustomScan *scan);
static void begin(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec(CustomScanState *node);
static void start_scan(PrefetchState *state);
static double eval_bound(PrefetchState *state);
static void read_on(PrefetchState *state);
static TupleTableSlot *next_row(PrefetchState *state);
static RstarRow *take_row(PrefetchState *state);
static void fill(PrefetchState *state);
static bool reads_to_end(PrefetchState *state);
static void submit_row(PrefetchState *state, RstarRow *row, bool to_end);
static void submit_pair(PrefetchState *state, RstarRow *row, int site,
						const NullableDatum *args);
static bool evaluate_site(PrefetchState *state, RstarSite *site, bool to_end,
						  NullableDatum *args);
static bool in_first_pass(RstarSite *site, const NullableDatum *args);
static bool may_evaluate(PrefetchState *state, RstarSite *site, bool to_end);
static bool is_next(PrefetchState *state, const RstarSite *site);
static void announce(PrefetchState *state, RstarRow *row);
static void unannounce(PrefetchState *state);
static void free_current(PrefetchState *state);
static void drop_rows(PrefetchState *state);
static void end(CustomScanState *node);
static void rescan(CustomScanState *node);
static void shutdown_scan(CustomScanState *node);
static void explain(CustomScanState *node, List *ancestors, ExplainState *es);

const CustomScanMethods rstar_scan_methods = {
	.CustomName = RSTAR_NODE_NAME,
	.CreateCustomScanState = create_state
};

static const CustomExecMethods exec_methods = {
	.CustomName = RSTAR_NODE_NAME,
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
	state->sites = rstar_site_init(scan, list_copy_tail(exprs, nbound), &node->ss.ps,
								   &state->nsites);
	for (int i = 0; i < state->nsites; i++)
	{
		if (state->sites[i].doc_lasts && state->announced == NULL)
			state->announced = palloc0(state->nsites * sizeof(RstarAhead));
		state->shifted = state->shifted || state->sites[i].shift != 0;
	}
	if (state->shifted)
		rstar_partition_init(&state->partition, list_copy_tail(header, RSTAR_SCAN_PARTITION),
							 node->ss.ss_ScanTupleSlot->tts_tupleDescriptor, &node->ss.ps);
	rstar_ring_init(&state->ring, estate->es_query_cxt, state->nsites);
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
			state->window.passed++;
			return slot;
		}
		InstrCountFiltered1(node, 1);
	}
}

static void
start_scan(PrefetchState *state)
{
	state->started = true;
	if (rstar_prefetch)
		rstar_statement_current()->reads_ahead = true;
	state->passing = !rstar_prefetch || state->nsites == 0 ||
		state->css.ss.ps.state->es_epq_active != NULL;
	state->eof = state->cut = false;
	state->nfailing = 0;
	rstar_window_start(&state->window, eval_bound(state), state->css.ss.ps.qual != NULL);
	/* As a LIMIT tells its child: a sort keeps no more rows than that */
	if (state->exact && state->css.ss.ps.qual == NULL && state->window.bound <= INT_MAX)
		ExecSetTupleBound((int64) state->window.bound, outerPlanState(state));
	for (int i = 0; i < state->nsites; i++)
	{
		RstarSite  *site = &state->sites[i];

		site->added = 0;
		if (site->kind != RSTAR_CALL_SCORE)
			rstar_rerank_first_pass(&site->samples, &site->documents);
		if (site->priors)
			state->report.priors = rstar_rerank_prior_use();
	}
}

/*
 * The rows that the LIMITs above take, or infinity.  They have evaluated the
 * same expressions already, so this does not raise.
 */
static double
eval_bound(PrefetchState *state)
{
	double		bound = RSTAR_WINDOW_UNBOUND;
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
	if (state->ring.count == 0 && state->cut)
		rstar_warm_stop(rstar_statement_current());
	if (state->ring.count == 0)
		return ExecClearTuple(slot);
	state->current = take_row(state);
	rstar_window_taken(&state->window);
	announce(state, state->current);
	return rstar_ring_store(state->current, slot);
}

static RstarRow *
take_row(PrefetchState *state)
{
	RstarRow   *row = rstar_ring_take(&state->ring);

	state->npending -= row->pending;
	state->nfailing -= row->fails;
	return row;
}

/*
 * Reads rows into the ring as far as is right now.  While all scores are known
 * many rows gain nothing, and few stay in the CPU's cache until they are taken.
 * Behind one that failed the statement will hardly come.
 */
static void
fill(PrefetchState *state)
{
	RstarRing  *ring = &state->ring;
	bool		to_end = reads_to_end(state);
	int			target = to_end ? rstar_prefetch_window : rstar_window_target(&state->window);

	while (!state->eof && state->nfailing == 0 &&
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
	if (rstar_statement_in_pass() && to_end && !state->shifted && !state->eof &&
		state->npending > 0 && state->nfailing == 0)
		read_on(state);
}

/*
 * In a pass of a refresh.  It will be stopped where the first row in the ring
 * waits, and would ask for these pairs after that; but where few scores are
 * missing among many, each pass would then get a few of them.
 */
static void
read_on(PrefetchState *state)
{
	state->eof = state->cut = true;
	while (state->nfailing == 0)
	{
		TupleTableSlot *slot = ExecProcNode(outerPlanState(state));
		RstarRow   *row;

		CHECK_FOR_INTERRUPTS();
		if (TupIsNull(slot))
			break;
		row = rstar_ring_add(&state->ring, slot);
		submit_row(state, row, true);
		state->npending -= row->pending;
		rstar_ring_drop_last(&state->ring);
	}
}

/* Is it certain that every row of the child will be asked for? */
static bool
reads_to_end(PrefetchState *state)
{
	return state->mode == RSTAR_READ_ALL ||
		(state->mode == RSTAR_READ_RUN && rstar_statement_runs_to_end());
}

/*
 * Submits the pairs of the calls that are known to be made now that this row
 * has come: mostly those for itself.
 */
static void
submit_row(PrefetchState *state, RstarRow *row, bool to_end)
{
	ExprContext *econtext = state->ahead_context;
	RstarRow   *stored = NULL;
	MemoryContext old;

	ResetExprContext(econtext);
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	rstar_partition_enter(&state->partition, &state->ring);
	for (int i = 0; i < state->nsites; i++)
	{
		RstarRow   *of = rstar_partition_row(&state->ring, state->sites[i].shift);
		NullableDatum args[RSTAR_NARGS];

		if (of == NULL)
			continue;
		if (of != stored)
			econtext->ecxt_scantuple = rstar_ring_store(of, state->ahead_slot);
		stored = of;
		if (evaluate_site(state, &state->sites[i], to_end, args))
			submit_pair(state, of, i, args);
	}
	MemoryContextSwitchTo(old);
	ExecClearTuple(state->ahead_slot);
}

static void
submit_pair(PrefetchState *state, RstarRow *row, int site, const NullableDatum *args)
{
	RstarAhead *ahead = &row->aheads[site];
	bool		waits = rstar_score_ahead(args, state->sites[site].samples, &state->report.stats, ahead);

	if (ahead->valid && state->sites[site].doc_lasts && !state->sites[site].query_lasts)
		rstar_ring_keep_query(&state->ring, row, site);
	if (ahead->valid && !state->counted)
	{
		rstar_score_expected(rstar_scan_expected((CustomScan *) state->css.ss.ps.plan));
		state->counted = true;
	}
	if (waits && !row->pending)
	{
		row->pending = true;
		state->npending++;
	}
	if (ahead->valid && ahead->fails && !row->fails)
	{
		row->fails = true;
		state->nfailing++;
	}
}

/* Is it called for the row in the context, and may be ahead of it?  With what? */
static bool
evaluate_site(PrefetchState *state, RstarSite *site, bool to_end, NullableDatum *args)
{
	ExprContext *econtext = state->ahead_context;
	bool		called = true;

	if (!may_evaluate(state, site, to_end))
	{
		state->report.not_ahead++;
		site->added++;
		return false;
	}
	if (!ExecQual(site->guards, econtext))
		return false;
	for (int k = 0; k < RSTAR_NARGS; k++)
	{
		args[k].isnull = true;
		if (site->args[k] != NULL)
			args[k].value = ExecEvalExpr(site->args[k], econtext, &args[k].isnull);
		called = called && !(site->strict && args[k].isnull);
	}
	if (!(site->kind == RSTAR_CALL_SCORE ? called : in_first_pass(site, args)))
		return false;
	if (!to_end && !is_next(state, site) && site->varying &&
		!rstar_pair_resolved(rstar_statement_current(), args))
	{
		state->report.not_ahead++;
		return false;
	}
	return true;
}

/* Is it asked for at once?  Sets of one query count as one, which misses some. */
static bool
in_first_pass(RstarSite *site, const NullableDatum *args)
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
may_evaluate(PrefetchState *state, RstarSite *site, bool to_end)
{
	ListCell   *lc;

	if (to_end || (is_next(state, site) && site->guards == NULL))
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
is_next(PrefetchState *state, const RstarSite *site)
{
	return state->ring.count == 1 && site->shift == 0 &&
		(state->evaluates || state->window.taken == 0);
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
		state->announced[i].valid = row->aheads[i].valid && state->sites[i].doc_lasts;
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
	rstar_ring_free_row(&state->ring, state->current);
	state->current = NULL;
}

static void
drop_rows(PrefetchState *state)
{
	free_current(state);
	state->report.rows_dropped += state->ring.count;
	while (state->ring.count > 0)
		rstar_ring_free_row(&state->ring, take_row(state));
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
	{
		rstar_ring_forget(&state->ring);
		state->counted = false;
	}
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
