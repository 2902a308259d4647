/*-------------------------------------------------------------------------
 *
 * walk.c
 *		What a finished plan consists of: children and expressions of every
 *		node type, and the facts of a statement that follow from them.
 *
 * PostgreSQL has no walker over finished plans that an extension could use, so
 * this file knows the node types.  A type that it does not know makes
 * rstar_walk_may_run_ahead() say no: a future version of PostgreSQL costs
 * concurrency, not correctness.
 *
 * What the provider of a CustomScan does when it is read is not written in the
 * plan, nor are all the expressions that it evaluates.  But what the statement
 * is to do is written in its query, before any provider has seen it: when that
 * only reads, so does each node that is there for its sake, as a foreign scan
 * does, and such a node cannot tell when, or for how many rows, it is read.
 * So it is with subqueries of a statement that changes a table and does no
 * more, and with the source of an INSERT (source.c).  The rest of an UPDATE,
 * DELETE or MERGE finds the rows that are changed, and a CustomScan there, as
 * in any other statement, may be what changes, locks or has an effect: it
 * counts as unknown.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "prefetch/calls.h"
#include "prefetch/node.h"
#include "prefetch/walk.h"

static bool does_more(Node *node, void *context);
static void note_plan(RstarPlanFacts *facts, Plan *plan);
static bool note_expr(Node *expr, void *context);
static void note_subplan(RstarPlanFacts *facts, SubPlan *subplan);
static bool walk_modify_exprs(ModifyTable *modify, RstarExprWalker walker, void *context);
static bool walk_scan_exprs(Plan *plan, RstarExprWalker walker, void *context);
static bool has_effects(RstarPlanFacts *facts, Plan *plan);
static bool plan_is_observable(RstarPlanFacts *facts, Plan *plan, bool first);
static bool children_are_observable(RstarPlanFacts *facts, Plan *plan, bool first);
static bool drains_input(Plan *plan);
static bool expr_is_observable(Node *expr, void *context);
static bool param_is_observable(RstarPlanFacts *facts, int paramid);
static bool is_volatile(Oid funcid, void *context);
static bool subplan_is_observable(RstarPlanFacts *facts, int plan_id);

RstarEffects
rstar_walk_effects(Query *query)
{
	if (rstar_walk_inserts_values(query) || does_more((Node *) query, query))
		return RSTAR_EFFECTS_OTHER;
	return query->commandType == CMD_SELECT ? RSTAR_EFFECTS_NONE : RSTAR_EFFECTS_TARGET;
}

bool
rstar_walk_inserts_values(const Query *query)
{
	ListCell   *lc;

	if (query->commandType != CMD_INSERT)
		return false;
	foreach(lc, query->rtable)
	{
		const RangeTblEntry *entry = lfirst_node(RangeTblEntry, lc);

		if (entry->rtekind != RTE_VALUES && foreach_current_index(lc) + 1 != query->resultRelation)
			return false;
	}
	return true;
}

/* "context" is the query whose own command does not count */
static bool
does_more(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		return (query->commandType != CMD_SELECT && query != context) || query->rowMarks != NIL ||
			query_tree_walker(query, does_more, context, 0);
	}
	return IsA(node, NextValueExpr) || IsA(node, CurrentOfExpr) ||
		check_functions_in_node(node, is_volatile, NULL) ||
		expression_tree_walker(node, does_more, context);
}

void
rstar_walk_statement(PlannedStmt *stmt, RstarEffects effects, RstarPlanFacts *facts)
{
	ListCell   *lc;

	memset(facts, 0, sizeof(RstarPlanFacts));
	facts->stmt = stmt;
	facts->effects = effects;
	facts->only_reads = effects == RSTAR_EFFECTS_NONE;
	facts->nparams = list_length(stmt->paramExecTypes);
	facts->init_plan = palloc0((facts->nparams + 1) * sizeof(int));
	facts->nsubplans = list_length(stmt->subplans);
	facts->subplans = palloc0((facts->nsubplans + 1) * sizeof(RstarSubplanFacts));

	note_plan(facts, stmt->planTree);
	foreach(lc, stmt->subplans)
		note_plan(facts, lfirst(lc));
	if (!facts->has_calls)
		return;

	for (int i = 0; i < facts->nparams; i++)
	{
		if (facts->init_plan[i] == 0)
			continue;
		facts->params.init = bms_add_member(facts->params.init, i);
		if (param_is_observable(facts, i))
			facts->params.barred = bms_add_member(facts->params.barred, i);
	}
}

static void
note_plan(RstarPlanFacts *facts, Plan *plan)
{
	ListCell   *lc;

	/* a parallel worker's list of subplans has holes */
	if (plan == NULL)
		return;
	check_stack_depth();

	facts->last_node_id = Max(facts->last_node_id, plan->plan_node_id);
	foreach(lc, plan->initPlan)
	{
		SubPlan    *subplan = lfirst_node(SubPlan, lc);
		ListCell   *param;

		note_subplan(facts, subplan);
		foreach(param, subplan->setParam)
		{
			if (lfirst_int(param) < facts->nparams)
				facts->init_plan[lfirst_int(param)] = subplan->plan_id;
		}
	}
	(void) note_expr((Node *) plan->targetlist, facts);
	(void) note_expr((Node *) plan->qual, facts);
	(void) rstar_walk_own_exprs(plan, note_expr, facts);
	foreach(lc, rstar_walk_children(plan))
		note_plan(facts, lfirst(lc));
}

static bool
note_expr(Node *expr, void *context)
{
	RstarPlanFacts *facts = context;

	if (expr == NULL)
		return false;
	if (IsA(expr, SubPlan))
		note_subplan(facts, (SubPlan *) expr);
	else if (!facts->has_calls && (rstar_calls_is_score(expr) || rstar_calls_is_set(expr)))
		facts->has_calls = true;
	return expression_tree_walker(expr, note_expr, context);
}

/* CTEs are left out: who reads them is found where their scans are */
static void
note_subplan(RstarPlanFacts *facts, SubPlan *subplan)
{
	ListCell   *lc;

	switch (subplan->subLinkType)
	{
		case CTE_SUBLINK:
			break;
		case EXISTS_SUBLINK:
			rstar_walk_note_reader(facts, subplan->plan_id, RSTAR_READ_PART);
			break;
		case ALL_SUBLINK:
		case ANY_SUBLINK:
			rstar_walk_note_reader(facts, subplan->plan_id,
								   subplan->useHashTable ? RSTAR_READ_ALL : RSTAR_READ_PART);
			break;
		case MULTIEXPR_SUBLINK:
			foreach(lc, subplan->setParam)
				facts->params.barred = bms_add_member(facts->params.barred, lfirst_int(lc));
			RSTAR_FALLTHROUGH;
		default:
			/* a second row is an error, or all rows make an array */
			rstar_walk_note_reader(facts, subplan->plan_id, RSTAR_READ_ALL);
			break;
	}
}

void
rstar_walk_note_reader(RstarPlanFacts *facts, int plan_id, RstarReadMode mode)
{
	RstarSubplanFacts *subplan;

	if (plan_id < 1 || plan_id > facts->nsubplans)
		return;
	subplan = &facts->subplans[plan_id - 1];
	subplan->mode = subplan->used ? Min(subplan->mode, mode) : mode;
	subplan->used = true;
}

List *
rstar_walk_children(Plan *plan)
{
	List	   *children = NIL;

	if (plan->lefttree)
		children = lappend(children, plan->lefttree);
	if (plan->righttree)
		children = lappend(children, plan->righttree);
	switch (nodeTag(plan))
	{
		case T_Append:
			return list_concat(children, ((Append *) plan)->appendplans);
		case T_MergeAppend:
			return list_concat(children, ((MergeAppend *) plan)->mergeplans);
		case T_BitmapAnd:
			return list_concat(children, ((BitmapAnd *) plan)->bitmapplans);
		case T_BitmapOr:
			return list_concat(children, ((BitmapOr *) plan)->bitmapplans);
		case T_SubqueryScan:
			return lappend(children, ((SubqueryScan *) plan)->subplan);
		case T_CustomScan:
			return list_concat(children, ((CustomScan *) plan)->custom_plans);
		default:
			return children;
	}
}

#define WALK(field) \
	do { \
		if (walker((Node *) (field), context)) \
			return true; \
	} while (0)

bool
rstar_walk_own_exprs(Plan *plan, RstarExprWalker walker, void *context)
{
	switch (nodeTag(plan))
	{
		case T_ProjectSet:
		case T_Append:
		case T_MergeAppend:
		case T_RecursiveUnion:
		case T_BitmapAnd:
		case T_BitmapOr:
		case T_Material:
		case T_Sort:
		case T_IncrementalSort:
		case T_Group:
		case T_Agg:
		case T_Unique:
		case T_Gather:
		case T_GatherMerge:
		case T_SetOp:
		case T_LockRows:
			return false;
		case T_Result:
			WALK(((Result *) plan)->resconstantqual);
			return false;
		case T_ModifyTable:
			return walk_modify_exprs((ModifyTable *) plan, walker, context);
		case T_NestLoop:
			/* nestParams are plain columns */
			WALK(((NestLoop *) plan)->join.joinqual);
			return false;
		case T_MergeJoin:
			WALK(((MergeJoin *) plan)->join.joinqual);
			WALK(((MergeJoin *) plan)->mergeclauses);
			return false;
		case T_HashJoin:
			WALK(((HashJoin *) plan)->join.joinqual);
			WALK(((HashJoin *) plan)->hashclauses);
			WALK(((HashJoin *) plan)->hashkeys);
			return false;
		case T_Hash:
			WALK(((Hash *) plan)->hashkeys);
			return false;
		case T_Memoize:
			WALK(((Memoize *) plan)->param_exprs);
			return false;
		case T_WindowAgg:
			WALK(((WindowAgg *) plan)->startOffset);
			WALK(((WindowAgg *) plan)->endOffset);
			WALK(((WindowAgg *) plan)->runCondition);
			return false;
		case T_Limit:
			WALK(((Limit *) plan)->limitOffset);
			WALK(((Limit *) plan)->limitCount);
			return false;
		default:
			return walk_scan_exprs(plan, walker, context);
	}
}

static bool
walk_modify_exprs(ModifyTable *modify, RstarExprWalker walker, void *context)
{
	WALK(modify->withCheckOptionLists);
	WALK(modify->returningLists);
	WALK(modify->onConflictSet);
	WALK(modify->onConflictWhere);
	WALK(modify->mergeActionLists);
	WALK(rstar_merge_conditions(modify));
	return false;
}

static bool
walk_scan_exprs(Plan *plan, RstarExprWalker walker, void *context)
{
	switch (nodeTag(plan))
	{
		case T_SeqScan:
		case T_SubqueryScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_WorkTableScan:
			return false;
		case T_SampleScan:
			WALK(((SampleScan *) plan)->tablesample);
			return false;
		case T_IndexScan:
			WALK(((IndexScan *) plan)->indexqual);
			WALK(((IndexScan *) plan)->indexqualorig);
			WALK(((IndexScan *) plan)->indexorderby);
			WALK(((IndexScan *) plan)->indexorderbyorig);
			return false;
		case T_IndexOnlyScan:
			WALK(((IndexOnlyScan *) plan)->indexqual);
			WALK(((IndexOnlyScan *) plan)->recheckqual);
			WALK(((IndexOnlyScan *) plan)->indexorderby);
			return false;
		case T_BitmapIndexScan:
			WALK(((BitmapIndexScan *) plan)->indexqual);
			WALK(((BitmapIndexScan *) plan)->indexqualorig);
			return false;
		case T_BitmapHeapScan:
			WALK(((BitmapHeapScan *) plan)->bitmapqualorig);
			return false;
		case T_TidScan:
			WALK(((TidScan *) plan)->tidquals);
			return false;
		case T_TidRangeScan:
			WALK(((TidRangeScan *) plan)->tidrangequals);
			return false;
		case T_FunctionScan:
			WALK(((FunctionScan *) plan)->functions);
			return false;
		case T_ValuesScan:
			WALK(((ValuesScan *) plan)->values_lists);
			return false;
		case T_TableFuncScan:
			WALK(((TableFuncScan *) plan)->tablefunc);
			return false;
		case T_ForeignScan:
			WALK(((ForeignScan *) plan)->fdw_exprs);
			WALK(((ForeignScan *) plan)->fdw_recheck_quals);
			return false;
		case T_CustomScan:
			WALK(((CustomScan *) plan)->custom_exprs);
			return false;
		default:
			return true;		/* not known here */
	}
}

bool
rstar_walk_enter_source(RstarPlanFacts *facts)
{
	bool		before = facts->only_reads;

	facts->only_reads = facts->effects != RSTAR_EFFECTS_OTHER;
	return before;
}

bool
rstar_walk_may_run_ahead(RstarPlanFacts *facts, Plan *plan, List *kept)
{
	if (has_effects(facts, plan))
		return false;
	if (expr_is_observable((Node *) kept, facts))
		return false;
	/* the functions of a function scan run to completion for the first row */
	if (!IsA(plan, FunctionScan) && rstar_walk_own_exprs(plan, expr_is_observable, facts))
		return false;
	return !children_are_observable(facts, plan, true);
}

/* Does the node do more than to read, or may it? */
static bool
has_effects(RstarPlanFacts *facts, Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_LockRows:
		case T_ModifyTable:
			return true;
		case T_ForeignScan:
			return ((ForeignScan *) plan)->operation != CMD_SELECT;
		case T_CustomScan:
			return !facts->only_reads && !rstar_node_is_prefetch(plan);
		default:
			return false;
	}
}

/*
 * Could anybody tell that the plan ran earlier, or for more rows, than its
 * reader wanted?  "first": the plan is started by the first row that is read
 * above it and nothing else.  What runs to completion at once does so then,
 * in any case: the functions of a function scan, and all below a sort.
 */
static bool
plan_is_observable(RstarPlanFacts *facts, Plan *plan, bool first)
{
	check_stack_depth();

	if (has_effects(facts, plan))
		return true;
	if (expr_is_observable((Node *) plan->targetlist, facts) ||
		expr_is_observable((Node *) plan->qual, facts))
		return true;
	if (!(first && IsA(plan, FunctionScan)) &&
		rstar_walk_own_exprs(plan, expr_is_observable, facts))
		return true;
	return children_are_observable(facts, plan, first);
}

static bool
children_are_observable(RstarPlanFacts *facts, Plan *plan, bool first)
{
	List	   *children = rstar_walk_children(plan);
	bool		only_reads = facts->only_reads;
	bool		observable = false;
	ListCell   *lc;

	if (IsA(plan, CteScan) &&
		subplan_is_observable(facts, ((CteScan *) plan)->ctePlanId))
		return true;
	if (first && drains_input(plan))
		return false;
	first = first && list_length(children) == 1;
	if (IsA(plan, SubqueryScan))
		(void) rstar_walk_enter_source(facts);
	foreach(lc, children)
		observable = observable || plan_is_observable(facts, lfirst(lc), first);
	facts->only_reads = only_reads;
	return observable;
}

static bool
drains_input(Plan *plan)
{
	return IsA(plan, Sort) ||
		(IsA(plan, Agg) && (((Agg *) plan)->aggstrategy == AGG_PLAIN ||
							((Agg *) plan)->aggstrategy == AGG_HASHED));
}

static bool
expr_is_observable(Node *expr, void *context)
{
	RstarPlanFacts *facts = context;

	if (expr == NULL)
		return false;
	if (check_functions_in_node(expr, is_volatile, NULL))
		return true;
	switch (nodeTag(expr))
	{
		case T_NextValueExpr:
		case T_CurrentOfExpr:
		case T_AlternativeSubPlan:
			return true;
		case T_SubPlan:
			if (subplan_is_observable(facts, ((SubPlan *) expr)->plan_id))
				return true;
			break;
		case T_Param:
			if (((Param *) expr)->paramkind == PARAM_EXEC &&
				param_is_observable(facts, ((Param *) expr)->paramid))
				return true;
			break;
		default:
			break;
	}
	return expression_tree_walker(expr, expr_is_observable, context);
}

/* A parameter that an init plan sets runs that plan when it is first used */
static bool
param_is_observable(RstarPlanFacts *facts, int paramid)
{
	if (paramid >= facts->nparams || facts->init_plan[paramid] == 0)
		return false;
	return subplan_is_observable(facts, facts->init_plan[paramid]);
}

static bool
is_volatile(Oid funcid, void *context)
{
	return func_volatile(funcid) == PROVOLATILE_VOLATILE;
}

static bool
subplan_is_observable(RstarPlanFacts *facts, int plan_id)
{
	RstarSubplanFacts *subplan;
	Plan	   *plan;
	bool		only_reads;

	if (plan_id < 1 || plan_id > facts->nsubplans)
		return true;
	subplan = &facts->subplans[plan_id - 1];
	if (subplan->ahead == RSTAR_AHEAD_UNKNOWN)
	{
		plan = list_nth(facts->stmt->subplans, plan_id - 1);
		only_reads = rstar_walk_enter_source(facts);
		subplan->ahead = RSTAR_AHEAD_LOOKING;
		subplan->ahead = plan == NULL || plan_is_observable(facts, plan, false) ?
			RSTAR_AHEAD_NO : RSTAR_AHEAD_YES;
		facts->only_reads = only_reads;
	}
	return subplan->ahead != RSTAR_AHEAD_YES;
}
