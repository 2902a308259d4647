/*-------------------------------------------------------------------------
 *
 * plan.c
 *		Planner hook: finds the calls in a finished plan and lets prefetch
 *		nodes make them ahead.
 *
 * Why the finished plan: only there is it known which node evaluates a call,
 * and everything about parameters, parallel workers and row marks is settled.
 * The call itself stays where it is and finds its answer, so a node that is
 * missing, or reads ahead the wrong pairs, costs time and never a wrong row.
 *
 * The walk goes down with a description of how each node's rows are read
 * (RstarReader), because that decides how far ahead it is right to read: all
 * at once below a Sort, the rows of a LIMIT and no more below that, a few at
 * first where nobody knows.
 *
 * Left as they are, correct but one call after another: leaf Results (one
 * row; PL/pgSQL also wants to find a Result on top), filters of outer, semi
 * and anti joins, arguments with correlated subqueries or volatile functions,
 * everything above volatile functions, row locks or data changes, RETURNING,
 * MERGE actions, hash, merge, index and tid conditions, VALUES lists, window
 * functions with a run condition, nodes that a merge join rewinds by mark,
 * whatever is below somebody else's CustomScan but a ModifyTable and the source
 * of an INSERT, and what is above one that may do more than read (walk.c).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "utils/plancache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "prefetch/calls.h"
#include "prefetch/node.h"
#include "prefetch/plan.h"
#include "prefetch/source.h"
#include "prefetch/stage.h"
#include "prefetch/walk.h"
#include "prefetch/window_func.h"

static planner_hook_type prev_planner_hook = NULL;

static PlannedStmt *plan_statement(RSTAR_PLANNER_ARGS);
static void add_prefetch(RstarPlanFacts *facts, int cursor_options);
static int	count_disabled(Plan *plan);
static bool needs_material(PlannedStmt *stmt, int cursor_options);
static Plan *rewrite(RstarPlanFacts *facts, Plan *plan, RstarReader reader);
static bool inserts_junk(const ModifyTable *modify);
static Plan *rewrite_source(RstarPlanFacts *facts, Plan *mark, RstarReader reader);
static void rewrite_custom(RstarPlanFacts *facts, CustomScan *custom, RstarReader reader);
static void rewrite_children(RstarPlanFacts *facts, Plan *plan, RstarReader reader);
static void rewrite_list(RstarPlanFacts *facts, List *plans, RstarReader reader);
static void rewrite_join(RstarPlanFacts *facts, Join *join, RstarReader reader);
static RstarReader reads(RstarReadMode mode);
static RstarReader unmarked(RstarReader reader);
static RstarReader unbounded(RstarReader reader);
static RstarReader filtered(RstarReader reader, Plan *plan);
static RstarReader limit_reader(Limit *limit, RstarReader reader);
static Node *or_null(Node *expr);
static bool no_limit(Node *count);
static bool depends_on_run(Node *expr, void *context);
static RstarReader modify_reader(ModifyTable *modify, RstarReader reader);
static RstarReader agg_reader(Agg *agg, RstarReader reader);
static RstarReader window_reader(WindowAgg *window, RstarReader reader);
static Plan *rewrite_node(RstarPlanFacts *facts, Plan *plan, RstarReader reader);
static List *projected_calls(RstarPlanFacts *facts, Plan *plan);
static List *aggregated_calls(RstarPlanFacts *facts, Plan *plan);

void
rstar_plan_init(void)
{
	prev_planner_hook = planner_hook;
	planner_hook = plan_statement;
}

void
rstar_plan_assign_prefetch(bool newval, void *extra)
{
	if (newval != rstar_prefetch)
		ResetPlanCache();
}

static PlannedStmt *
plan_statement(RSTAR_PLANNER_ARGS)
{
	/* before it is planned: the planner takes the query to pieces */
	RstarEffects effects = rstar_prefetch ? rstar_walk_effects(parse) : RSTAR_EFFECTS_OTHER;
	bool		outer_marked = rstar_source_marked;
	bool		marked;
	PlannedStmt *stmt;
	RstarPlanFacts facts;

	rstar_source_marked = false;
	if (prev_planner_hook)
		stmt = prev_planner_hook(RSTAR_PLANNER_PASS);
	else
		stmt = standard_planner(RSTAR_PLANNER_PASS);

	marked = rstar_source_marked;
	rstar_source_marked = outer_marked;
	if (!marked && !rstar_plan_uses_functions(stmt))
		return stmt;
	rstar_walk_statement(stmt, effects, &facts);
	/* a call costs seconds, and its declared cost makes every plan look it */
	if (facts.has_calls)
		stmt->jitFlags = PGJIT_NONE;
	if (marked || (facts.has_calls && rstar_prefetch))
		add_prefetch(&facts, cursor_options);
	return stmt;
}

/* A plan lists the functions it depends on */
bool
rstar_plan_uses_functions(PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->invalItems)
	{
		if (lfirst_node(PlanInvalItem, lc)->cacheId == PROCOID)
			return true;
	}
	return false;
}

/*
 * The main plan comes first and then the subplans, last to first: a CTE has a
 * lower number than any plan that scans it, so all its readers are known by
 * then.
 */
static void
add_prefetch(RstarPlanFacts *facts, int cursor_options)
{
	PlannedStmt *stmt = facts->stmt;
	bool		was_backward = ExecSupportsBackwardScan(stmt->planTree);

	stmt->planTree = rewrite(facts, stmt->planTree, reads(RSTAR_READ_RUN));
	(void) rstar_walk_enter_source(facts);
	for (int i = facts->nsubplans - 1; i >= 0; i--)
	{
		ListCell   *lc = list_nth_cell(stmt->subplans, i);
		RstarSubplanFacts *subplan = &facts->subplans[i];

		lfirst(lc) = rewrite(facts, lfirst(lc),
							 reads(subplan->used ? subplan->mode : RSTAR_READ_PART));
		(void) count_disabled(lfirst(lc));
	}
	(void) count_disabled(stmt->planTree);

	if (was_backward && needs_material(stmt, cursor_options))
		stmt->planTree = rstar_stage_materialize(facts, stmt->planTree);
}

/*
 * A plan counts the nodes in it that the planner was to avoid.  EXPLAIN takes
 * a node for one when it counts more than its children do, among which it does
 * not look for a CustomScan's; so our nodes count none, and those above them
 * only themselves.  (An Append that was left out may have lost some.)
 */
static int
count_disabled(Plan *plan)
{
	List	   *children;
	ListCell   *lc;
	int			own;
	int			below = 0;

	if (plan == NULL || !RSTAR_PLANS_COUNT_DISABLED)
		return 0;
	check_stack_depth();
	children = rstar_walk_children(plan);
	own = rstar_plan_disabled(plan);
	foreach(lc, children)
		own -= rstar_plan_disabled((Plan *) lfirst(lc));
	foreach(lc, children)
		below += count_disabled(lfirst(lc));
	if (rstar_node_is_prefetch(plan))
		rstar_plan_set_disabled(plan, 0);
	else
		rstar_plan_set_disabled(plan, Max(own, 0) + below);
	return rstar_plan_disabled(plan);
}

/*
 * A cursor without SCROLL or NO SCROLL can scroll when its plan can run
 * backwards, which a prefetch node cannot.
 */
static bool
needs_material(PlannedStmt *stmt, int cursor_options)
{
	if (ExecSupportsBackwardScan(stmt->planTree) || (cursor_options & CURSOR_OPT_NO_SCROLL))
		return false;
	if (cursor_options & CURSOR_OPT_SCROLL)
		return true;
	return (cursor_options & CURSOR_OPT_FAST_PLAN) && stmt->rowMarks == NIL;
}

/* Returns what stands in the plan's place */
static Plan *
rewrite(RstarPlanFacts *facts, Plan *plan, RstarReader reader)
{
	if (plan == NULL)
		return NULL;
	check_stack_depth();

	if (rstar_source_is_mark(plan))
		return rewrite_source(facts, plan, reader);
	rewrite_children(facts, plan, reader);
	return rewrite_node(facts, plan, reader);
}

/* All that is below was planned for a query that reads */
static Plan *
rewrite_source(RstarPlanFacts *facts, Plan *mark, RstarReader reader)
{
	bool		only_reads = rstar_walk_enter_source(facts);
	Plan	   *plan = rewrite(facts, rstar_source_unmark(mark), reader);

	facts->only_reads = only_reads;
	return plan;
}

/*
 * A CustomScan may look for the nodes that it has put below itself, so they stay
 * as they are.  Not its own are what is below a ModifyTable, which has to stand
 * above the plan of any query, and below the mark of a source.  Who is between
 * those two has to read to the end as ModifyTable does: he would change what
 * the statement means if he did not.
 */
static void
rewrite_custom(RstarPlanFacts *facts, CustomScan *custom, RstarReader reader)
{
	bool		keeps_quals = facts->keeps_quals;
	ListCell   *lc;

	foreach(lc, custom->custom_plans)
	{
		Plan	   *child = lfirst(lc);

		/*
		 * Who is above may act by the conditions on the rows to be changed:
		 * TimescaleDB deletes whole compressed batches
		 */
		facts->keeps_quals = IsA(child, ModifyTable) && ((ModifyTable *) child)->operation != CMD_INSERT;
		if (IsA(child, ModifyTable) || rstar_source_is_mark(child))
			lfirst(lc) = rewrite(facts, child, reader);
		else if (IsA(child, CustomScan))
			rewrite_custom(facts, (CustomScan *) child, reader);
	}
	facts->keeps_quals = keeps_quals;
}

/* Columns that are not the table's, as those of an INSERT that a rule makes of an UPDATE */
static bool
inserts_junk(const ModifyTable *modify)
{
	ListCell   *lc;

	if (modify->operation != CMD_INSERT)
		return false;
	foreach(lc, outerPlan(modify)->targetlist)
	{
		if (lfirst_node(TargetEntry, lc)->resjunk)
			return true;
	}
	return false;
}

static void
rewrite_children(RstarPlanFacts *facts, Plan *plan, RstarReader reader)
{
	RstarReader child = unmarked(reader);
	bool		only_reads;
	bool		keeps_quals = facts->keeps_quals;

	switch (nodeTag(plan))
	{
		case T_Limit:
			child = limit_reader((Limit *) plan, reader);
			break;
		case T_Sort:
		case T_Hash:
			child = reads(RSTAR_READ_ALL);
			break;
		case T_ModifyTable:
			child = modify_reader((ModifyTable *) plan, reader);
			if (!inserts_junk((ModifyTable *) plan))
				break;

			/*
			 * PostgreSQL evaluates the list of such a source itself, and for
			 * that it must not be ours
			 */
			if (rstar_source_is_mark(plan->lefttree))
				plan->lefttree = rstar_source_unmark(plan->lefttree);
			rewrite_children(facts, plan->lefttree, child);
			return;
		case T_Agg:
			child = agg_reader((Agg *) plan, reader);
			break;
		case T_Append:
			/* each child gives at most what is read of all */
			rewrite_list(facts, ((Append *) plan)->appendplans, reader);
			return;
		case T_MergeAppend:
			rewrite_list(facts, ((MergeAppend *) plan)->mergeplans, unbounded(child));
			return;
		case T_SubqueryScan:
			only_reads = rstar_walk_enter_source(facts);
			facts->keeps_quals = false;
			((SubqueryScan *) plan)->subplan =
				rewrite(facts, ((SubqueryScan *) plan)->subplan, filtered(child, plan));
			facts->only_reads = only_reads;
			facts->keeps_quals = keeps_quals;
			return;
		case T_NestLoop:
		case T_HashJoin:
		case T_MergeJoin:
			rewrite_join(facts, (Join *) plan, reader);
			return;
		case T_SetOp:
			plan->lefttree = rewrite(facts, plan->lefttree, unbounded(child));
			plan->righttree = rewrite(facts, plan->righttree, reads(RSTAR_READ_PART));
			return;
		case T_CteScan:
			rstar_walk_note_reader(facts, ((CteScan *) plan)->ctePlanId, reader.mode);
			return;
		case T_CustomScan:
			rewrite_custom(facts, (CustomScan *) plan, unbounded(child));
			return;
		case T_Result:
			/* passes marks on to its child */
			child = filtered(reader, plan);
			break;
		case T_LockRows:
			/* gives each row that it can lock */
			child.exact = false;
			break;
		case T_WindowAgg:
			child = window_reader((WindowAgg *) plan, child);
			break;
		default:
			child = unbounded(child);
			break;
	}
	plan->lefttree = rewrite(facts, plan->lefttree, child);
	plan->righttree = rewrite(facts, plan->righttree, child);
}

static void
rewrite_list(RstarPlanFacts *facts, List *plans, RstarReader reader)
{
	ListCell   *lc;

	foreach(lc, plans)
		lfirst(lc) = rewrite(facts, lfirst(lc), reader);
}

/*
 * A nested loop reads its outer side as it is read itself; a hash or merge
 * join may find out early that the rest of a side has no match.
 */
static void
rewrite_join(RstarPlanFacts *facts, Join *join, RstarReader reader)
{
	RstarReader outer = reads(RSTAR_READ_PART);
	RstarReader inner = reads(RSTAR_READ_PART);

	switch (nodeTag(join))
	{
		case T_NestLoop:
			outer.mode = reader.mode;
			if (!join->inner_unique && join->jointype != JOIN_SEMI &&
				join->jointype != JOIN_ANTI)
				inner.mode = reader.mode;
			break;
		case T_MergeJoin:
			inner.marks = !((MergeJoin *) join)->skip_mark_restore;
			break;
		default:
			break;
	}
	join->plan.lefttree = rewrite(facts, join->plan.lefttree, outer);
	join->plan.righttree = rewrite(facts, join->plan.righttree, inner);
}

static RstarReader
reads(RstarReadMode mode)
{
	RstarReader reader = {mode, NIL, true, false};

	return reader;
}

static RstarReader
unmarked(RstarReader reader)
{
	reader.marks = false;
	return reader;
}

static RstarReader
unbounded(RstarReader reader)
{
	reader.bound = NIL;
	reader.exact = true;
	return reader;
}

/* How a node is read whose reader drops rows by a filter of its own */
static RstarReader
filtered(RstarReader reader, Plan *plan)
{
	return plan->qual == NIL ? reader : unbounded(reader);
}

static RstarReader
limit_reader(Limit *limit, RstarReader reader)
{
	RstarReader child = reads(no_limit(limit->limitCount) ? reader.mode : RSTAR_READ_PART);

	/* FETCH ... WITH TIES may go on, and an expression may depend on much */
	if (limit->limitOption == LIMIT_OPTION_COUNT &&
		!depends_on_run(limit->limitCount, NULL) &&
		!depends_on_run(limit->limitOffset, NULL))
	{
		child.bound = lappend(lappend(list_copy(reader.bound),
									  or_null(limit->limitCount)),
							  or_null(limit->limitOffset));
		child.exact = reader.exact;
	}
	return child;
}

static Node *
or_null(Node *expr)
{
	return expr != NULL ? expr : (Node *) makeNullConst(INT8OID, -1, InvalidOid);
}

/* LIMIT ALL, or OFFSET alone */
static bool
no_limit(Node *count)
{
	return count == NULL || (IsA(count, Const) && ((Const *) count)->constisnull);
}

/* Constants and parameters of the statement can be had anywhere in the plan */
static bool
depends_on_run(Node *expr, void *context)
{
	if (expr == NULL || IsA(expr, Const))
		return false;
	if (IsA(expr, Param))
		return ((Param *) expr)->paramkind != PARAM_EXTERN;
	if (IsA(expr, FuncExpr) || IsA(expr, OpExpr))
		return contain_mutable_functions(expr) ||
			expression_tree_walker(expr, depends_on_run, context);
	return true;
}

/*
 * A ModifyTable without RETURNING changes all rows before it returns, and one
 * in a CTE is run to its end whoever reads it.  With RETURNING on top of a
 * statement the caller may stop it (SPI's row count does).
 */
static RstarReader
modify_reader(ModifyTable *modify, RstarReader reader)
{
	bool		may_stop = modify->returningLists != NIL && reader.mode == RSTAR_READ_RUN;

	return reads(may_stop ? RSTAR_READ_RUN : RSTAR_READ_ALL);
}

static RstarReader
agg_reader(Agg *agg, RstarReader reader)
{
	bool		all_at_once = agg->aggstrategy == AGG_PLAIN || agg->aggstrategy == AGG_HASHED;

	return reads(all_at_once ? RSTAR_READ_ALL : reader.mode);
}

/* A run condition ends it, unless there are more partitions or windows to come */
static RstarReader
window_reader(WindowAgg *window, RstarReader reader)
{
	bool		may_stop = window->runCondition != NIL && window->topWindow &&
		window->partNumCols == 0;

	return may_stop ? reads(RSTAR_READ_PART) : unbounded(reader);
}

static Plan *
rewrite_node(RstarPlanFacts *facts, Plan *plan, RstarReader reader)
{
	switch (nodeTag(plan))
	{
		case T_Append:
			return rstar_stage_hoist((Append *) plan);
		case T_Agg:
			rstar_stage_insert(facts, plan, aggregated_calls(facts, plan),
							   agg_reader((Agg *) plan, reader));
			return rstar_stage_split(facts, plan, reader);
		case T_WindowAgg:
			/* the run condition counts on the places of its target list */
			if (((WindowAgg *) plan)->runCondition != NIL)
				return plan;
			rstar_stage_insert(facts, plan, rstar_window_func_calls(&facts->params, (WindowAgg *) plan),
							   unbounded(reader));
			return rstar_stage_split(facts, plan, reader);
		case T_Result:
			if (!reader.marks)
				rstar_stage_insert(facts, plan, projected_calls(facts, plan), reader);
			return plan;
		case T_ProjectSet:
			rstar_stage_insert(facts, plan, projected_calls(facts, plan), unbounded(reader));
			return plan;
		case T_SeqScan:
		case T_SampleScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
		case T_SubqueryScan:
		case T_FunctionScan:
		case T_TableFuncScan:
		case T_ValuesScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_WorkTableScan:
		case T_ForeignScan:
		case T_NestLoop:
		case T_HashJoin:
		case T_MergeJoin:
		case T_Group:
		case T_Gather:
		case T_GatherMerge:
			if (reader.marks)
				return plan;
			return rstar_stage_split(facts, plan, reader);
		case T_CustomScan:

			/*
			 * Where this is allowed the planner, too, changes the target list
			 * after the provider has made the node, so nothing that the
			 * provider has kept is built upon it.
			 */
			if (reader.marks ||
				!(((CustomScan *) plan)->flags & CUSTOMPATH_SUPPORT_PROJECTION))
				return plan;
			return rstar_stage_split(facts, plan, reader);
		default:
			return plan;
	}
}

/* Calls of a Result or ProjectSet with an input, which evaluates them all */
static List *
projected_calls(RstarPlanFacts *facts, Plan *plan)
{
	if (plan->lefttree == NULL || plan->qual != NIL)
		return NIL;
	return rstar_calls_collect(&facts->params, (Node *) plan->targetlist, NIL);
}

static List *
aggregated_calls(RstarPlanFacts *facts, Plan *plan)
{
	List	   *calls;

	calls = rstar_calls_collect_aggregated(&facts->params, (Node *) plan->targetlist, NIL);
	calls = rstar_calls_collect_aggregated(&facts->params, (Node *) plan->qual, calls);
	/* what reads all its input first asks for all groups before it waits */
	if (agg_reader((Agg *) plan, reads(RSTAR_READ_PART)).mode != RSTAR_READ_ALL)
	{
		calls = rstar_calls_collect_sets(&facts->params, (Node *) plan->targetlist, calls);
		calls = rstar_calls_collect_sets(&facts->params, (Node *) plan->qual, calls);
	}
	return calls;
}
