/*-------------------------------------------------------------------------
 *
 * stage.c
 *		Puts prefetch nodes into a finished plan: above a node, below it, or
 *		above an Append.
 *
 * Split: a node N with target list T and quals Q becomes
 *
 *		prefetch	T, and the quals from the first with a call on
 *		  N			the columns that these need, and the quals before
 *
 * Quals keep their order, so a call never sees a row that an earlier qual
 * (row-level security, say) would have dropped.  For the same reason there is
 * one prefetch node for each qual with a call, and another for calls that are
 * only in T.  Each is a stage: its input columns are the output columns of
 * the stage below, and all of N's columns keep their numbers through all
 * stages.
 *
 * A call whose arguments or guards contain other calls (a cheap score that
 * decides about an expensive one) is not collected as it stands.  A stage of
 * their own computes the inner calls as further columns, and with these in
 * their place the outer one can be.
 *
 * Insert: a node whose expressions run over its input rows (Agg, WindowAgg,
 * Result, ProjectSet) stays as it is, and the prefetch node below it passes
 * rows through.
 *
 * The child is the node's lefttree, not in custom_plans: EXPLAIN resolves
 * OUTER_VAR through the former only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/planmain.h"

#include "base/compat.h"
#include "prefetch/calls.h"
#include "prefetch/columns.h"
#include "prefetch/node.h"
#include "prefetch/scan.h"
#include "prefetch/stage.h"
#include "prefetch/unfiltered.h"
#include "prefetch/window_func.h"

/* Stages for calls in arguments of calls, at most */
#define MAX_DEPENDENT_STAGES 4

/* What becomes of a node's expressions when it is split */
typedef struct Split
{
	List	   *join_below;		/* join quals that stay */
	List	   *qual_below;		/* quals that stay */
	List	   *above;			/* quals that move up, in order */
	List	   *columns;		/* what N computes: Var, Aggref, ... */
} Split;

/* Replacing calls by the columns of the stage that computes them */
typedef struct Substitution
{
	List	   *sites;			/* RstarCallSites */
	int			first;			/* number of the first one's column */
} Substitution;

/* State while stages are put on a node */
typedef struct Stages
{
	RstarPlanFacts *facts;
	Plan	   *node;			/* N, whose estimates the stages take over */
	Plan	   *top;			/* topmost stage so far, or N */
	RstarReadMode mode;
	bool		exact;
	bool		evaluates;		/* they take over expressions of N */
	Substitution computed;		/* by the topmost stage */
	List	   *partition;		/* rstar_window_func_partition() */
	double		filtered;		/* rows behind all quals taken over ... */
	bool		last_qual;		/* ... which the next one with quals gives */
} Stages;

static bool divide_quals(Plan *plan, Split *split);
static void divide(List *quals, bool *found, List **below, List **above);
static bool has_several_stages(List *tlist, List *quals);
static void keep_join_quals(Join *join, List *quals);
static Plan *add_stages(Stages *stages, List *tlist, List *quals, List *bound);
static List *add_dependent_stages(Stages *stages, List *exprs, List *bound);
static bool choose_substitution(Stages *stages, List *exprs, Substitution *substitution);
static bool try_substitution(Stages *stages, List *exprs, List *sites, bool guarded,
							 Substitution *substitution);
static Expr *guarded_value(RstarCallSite *site);
static Node *replace_calls(Node *expr, void *context);
static bool sites_include(Stages *stages, List *sites, List *exprs);
static Plan *make_stage(Stages *stages, List *tlist, List *qual, List *sites, List *bound);
static List *input_columns(Stages *stages);
static List *site_exprs(List *exprs, List *sites);
static void adopt_estimates(Plan *to, const Plan *from);
static bool can_hoist(Append *append);
static void clear_async(Append *append);
static bool same_stacks(Plan *a, Plan *b);
static bool same_types(List *a, List *b);

Plan *
rstar_stage_split(RstarPlanFacts *facts, Plan *plan, RstarReader reader)
{
	Split		split = {0};
	Stages		stages = {facts, plan, plan, reader.mode, reader.exact, true, {NIL, 0}, NIL, plan->plan_rows, false};
	List	   *tlist;
	List	   *quals;
	List	   *kept;

	if (!divide_quals(plan, &split))
		return plan;
	if (split.above == NIL ? !rstar_calls_contain((Node *) plan->targetlist) : facts->keeps_quals)
		return plan;

	split.columns = rstar_columns_collect((Node *) plan->targetlist, NIL);
	split.columns = rstar_columns_collect((Node *) split.above, split.columns);
	tlist = (List *) rstar_columns_replace((Node *) plan->targetlist, split.columns);
	quals = (List *) rstar_columns_replace((Node *) split.above, split.columns);
	if (rstar_calls_collect(&facts->params, (Node *) tlist, NIL) == NIL &&
		rstar_calls_collect(&facts->params, (Node *) quals, NIL) == NIL)
		return plan;
	kept = list_concat_copy(split.qual_below, split.columns);
	/* a stage that reads ahead from another has quals run ahead, too */
	if (has_several_stages(plan->targetlist, split.above))
		kept = list_concat(kept, split.above);
	if (list_length(split.columns) > MaxTupleAttributeNumber ||
		!rstar_walk_may_run_ahead(facts, plan, kept))
		return plan;

	plan->targetlist = rstar_columns_tlist(split.columns);
	plan->qual = split.qual_below;
	if (IsA(plan, NestLoop) || IsA(plan, HashJoin) || IsA(plan, MergeJoin))
		keep_join_quals((Join *) plan, split.join_below);
	plan->plan_rows = rstar_unfiltered_rows(facts->stmt, plan, split.above);
	return add_stages(&stages, tlist, quals, reader.bound);
}

/*
 * Finds the longest prefix of quals without a call.  The filter of an inner
 * join can as well be applied after the join; that of any other decides what
 * a match is, and with a call in it the node is left alone: false.
 */
static bool
divide_quals(Plan *plan, Split *split)
{
	bool		found = false;

	switch (nodeTag(plan))
	{
		case T_NestLoop:
		case T_HashJoin:
		case T_MergeJoin:
			divide(((Join *) plan)->joinqual, &found, &split->join_below, &split->above);
			if (found && ((Join *) plan)->jointype != JOIN_INNER)
				return false;
			break;
		default:
			break;
	}
	divide(plan->qual, &found, &split->qual_below, &split->above);
	return true;
}

static void
divide(List *quals, bool *found, List **below, List **above)
{
	ListCell   *lc;

	foreach(lc, quals)
	{
		*found = *found || rstar_calls_contain(lfirst(lc));
		if (*found)
			*above = lappend(*above, lfirst(lc));
		else
			*below = lappend(*below, lfirst(lc));
	}
}

/* Could it be more than one?  Then all but the topmost are read ahead from. */
static bool
has_several_stages(List *tlist, List *quals)
{
	int			n = rstar_calls_contain((Node *) tlist);
	ListCell   *lc;

	foreach(lc, quals)
		n += rstar_calls_contain(lfirst(lc));
	return n > 1;
}

/*
 * What makes the join stop at the first match of an outer row, the inner one
 * being unique, may be a qual that it does not have any more.
 */
static void
keep_join_quals(Join *join, List *quals)
{
	if (list_length(quals) < list_length(join->joinqual))
		join->inner_unique = false;
	join->joinqual = quals;
}

/* One stage for each qual with a call, one for the target list if need be */
static Plan *
add_stages(Stages *stages, List *tlist, List *quals, List *bound)
{
	const RstarCallParams *params = &stages->facts->params;
	ListCell   *lc = list_head(quals);
	List	   *sites;
	Substitution unused;

	while (lc != NULL)
	{
		List	   *qual = add_dependent_stages(stages, list_make1(lfirst(lc)), NIL);

		sites = rstar_calls_collect(params, (Node *) qual, NIL);
		for (lc = lnext(quals, lc); lc != NULL; lc = lnext(quals, lc))
		{
			if (rstar_calls_contain(lfirst(lc)))
				break;
			qual = lappend(qual, lfirst(lc));
		}
		stages->last_qual = lc == NULL;
		if (lc == NULL && sites_include(stages, sites, tlist) &&
			!choose_substitution(stages, tlist, &unused))
			return make_stage(stages, tlist, qual, sites, bound);
		(void) make_stage(stages, rstar_columns_pass(stages->top->targetlist, INDEX_VAR), qual, sites,
						  lc == NULL ? bound : NIL);
	}
	tlist = add_dependent_stages(stages, tlist, bound);
	sites = rstar_calls_collect(params, (Node *) tlist, NIL);
	return make_stage(stages, tlist, NIL, sites, bound);
}

/*
 * Adds stages that compute calls on which others depend, and returns the
 * expressions with those calls replaced by columns.  A stage submits the calls
 * that it computes and no others: the memo keeps a pair for each time that it
 * was submitted until it has been evaluated.
 */
static List *
add_dependent_stages(Stages *stages, List *exprs, List *bound)
{
	for (int depth = 0; depth < MAX_DEPENDENT_STAGES; depth++)
	{
		Substitution substitution;
		List	   *tlist;
		ListCell   *lc;

		if (!choose_substitution(stages, exprs, &substitution))
			break;
		tlist = rstar_columns_pass(stages->top->targetlist, INDEX_VAR);
		foreach(lc, substitution.sites)
			tlist = lappend(tlist, makeTargetEntry(copyObject(guarded_value(lfirst(lc))),
												   list_length(tlist) + 1, NULL, false));
		make_stage(stages, tlist, NIL, substitution.sites, bound);
		stages->computed = substitution;
		exprs = (List *) replace_calls((Node *) exprs, &substitution);
	}
	return exprs;
}

/* Would more calls be collected if those that are collected now were columns? */
static bool
choose_substitution(Stages *stages, List *exprs, Substitution *substitution)
{
	List	   *sites = rstar_calls_collect(&stages->facts->params, (Node *) exprs, NIL);

	return try_substitution(stages, exprs, sites, false, substitution) ||
		try_substitution(stages, exprs, sites, true, substitution);
}

/*
 * Takes the calls that are made for every row, and, if asked to, those under
 * guards.  The column of the latter is NULL where the guards do not hold, so
 * it cannot stand for the same call somewhere else, under other guards.
 */
static bool
try_substitution(Stages *stages, List *exprs, List *sites, bool guarded,
				 Substitution *substitution)
{
	ListCell   *lc;
	Node	   *replaced;

	substitution->sites = NIL;
	substitution->first = list_length(stages->top->targetlist) + 1;
	foreach(lc, sites)
	{
		RstarCallSite *site = lfirst(lc);

		if (site->guards != NIL &&
			!(guarded && rstar_calls_count((Node *) exprs, site->func) == 1))
			continue;
		substitution->sites = lappend(substitution->sites, site);
	}
	if (substitution->sites == NIL ||
		substitution->first - 1 + list_length(substitution->sites) > MaxTupleAttributeNumber)
		return false;
	replaced = replace_calls((Node *) exprs, substitution);
	return list_length(rstar_calls_collect(&stages->facts->params, replaced, NIL)) >
		list_length(sites) - list_length(substitution->sites);
}

/*
 * CASE WHEN guards THEN call END.  One guard may keep the next from raising an
 * error also where it is NULL, and an AND goes on after a NULL.
 */
static Expr *
guarded_value(RstarCallSite *site)
{
	Node	   *func = (Node *) site->func;
	List	   *tests = NIL;
	ListCell   *lc;
	CaseExpr   *value;
	CaseWhen   *when;

	if (site->guards == NIL)
		return &site->func->xpr;
	foreach(lc, site->guards)
		tests = lappend(tests, rstar_calls_bool_test(lfirst(lc), IS_TRUE));
	when = makeNode(CaseWhen);
	when->expr = make_ands_explicit(tests);
	when->result = (Expr *) func;
	when->location = -1;
	value = makeNode(CaseExpr);
	value->casetype = exprType(func);
	value->casecollid = exprCollation(func);
	value->args = list_make1(when);
	value->defresult = (Expr *) makeNullConst(exprType(func), exprTypmod(func),
											  exprCollation(func));
	value->location = -1;
	return (Expr *) value;
}

static Node *
replace_calls(Node *expr, void *context)
{
	Substitution *substitution = context;
	ListCell   *lc;

	if (expr != NULL && IsA(expr, FuncExpr))
	{
		foreach(lc, substitution->sites)
		{
			if (equal(((RstarCallSite *) lfirst(lc))->func, expr))
				return (Node *) makeVar(INDEX_VAR,
										substitution->first + foreach_current_index(lc),
										exprType(expr), exprTypmod(expr),
										exprCollation(expr), 0);
		}
	}
	return expression_tree_mutator(expr, replace_calls, context);
}

/* Are all calls of the expressions, under their guards, among these? */
static bool
sites_include(Stages *stages, List *sites, List *exprs)
{
	return list_length(rstar_calls_collect(&stages->facts->params, (Node *) exprs,
										   list_copy(sites))) == list_length(sites);
}

void
rstar_stage_insert(RstarPlanFacts *facts, Plan *plan, List *calls, RstarReader reader)
{
	Plan	   *child = plan->lefttree;
	Stages		stages = {facts, child, child, reader.mode, reader.exact, false, {NIL, 0}, NIL, 0, false};
	Plan	   *stage;
	ListCell   *lc;

	if (calls == NIL || list_length(child->targetlist) > MaxTupleAttributeNumber ||
		!rstar_walk_may_run_ahead(facts, child,
								  list_concat_copy(child->qual, child->targetlist)))
		return;
	if (IsA(plan, WindowAgg))
		stages.partition = rstar_window_func_partition((WindowAgg *) plan);
	foreach(lc, calls)
	{
		RstarCallSite *site = lfirst(lc);

		site->func = (FuncExpr *) rstar_columns_refer((Node *) site->func, OUTER_VAR, INDEX_VAR);
		site->guards = (List *) rstar_columns_refer((Node *) site->guards, OUTER_VAR, INDEX_VAR);
	}
	stage = make_stage(&stages, rstar_columns_pass(child->targetlist, INDEX_VAR), NIL, calls,
					   reader.bound);
	/* the calls may have parameters that the child has not */
	stage->extParam = bms_copy(plan->extParam);
	stage->allParam = bms_copy(plan->allParam);
	plan->lefttree = stage;
}

/* Puts one prefetch node on top of the stages; returns it */
static Plan *
make_stage(Stages *stages, List *tlist, List *qual, List *sites, List *bound)
{
	CustomScan *scan = makeNode(CustomScan);
	Plan	   *plan = &scan->scan.plan;
	Plan	   *child = stages->top;
	List	   *lists;
	ListCell   *lc;

	adopt_estimates(plan, stages->node);
	plan->plan_rows = child->plan_rows;
	if (qual != NIL)
		plan->plan_rows = stages->last_qual ? stages->filtered :
			clamp_row_est(Max(child->plan_rows * rstar_unfiltered_share(qual), stages->filtered));
	plan->plan_node_id = ++stages->facts->last_node_id;
	plan->targetlist = tlist;
	plan->qual = qual;
	plan->lefttree = child;

	/*
	 * as in materialize_finished_plan(): init plans belong to the topmost
	 * node
	 */
	plan->initPlan = child->initPlan;
	child->initPlan = NIL;
	scan->methods = &rstar_scan_methods;
	scan->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	scan->custom_scan_tlist = input_columns(stages);
	scan->custom_exprs = site_exprs(list_copy(bound), sites);
	lists = list_make1(list_concat(list_make4_int(stages->mode, list_length(bound),
												  stages->exact, stages->evaluates),
								   stages->partition));
	foreach(lc, sites)
	{
		RstarCallSite *site = lfirst(lc);

		lists = lappend(lists,
						list_concat(list_make4_int(site->kind, list_length(site->guards),
												   site->may_raise, site->shift),
									site->init_params));
	}
	scan->custom_private = lists;
	stages->top = plan;
	return plan;
}

/*
 * The columns of the stage or node below.  What it computes under guards is
 * shown by EXPLAIN as what it stands for, as if it stood there.
 */
static List *
input_columns(Stages *stages)
{
	List	   *tlist = rstar_columns_pass(stages->top->targetlist, OUTER_VAR);
	ListCell   *lc;

	foreach(lc, stages->computed.sites)
	{
		TargetEntry *column = list_nth(tlist, stages->computed.first - 1 + foreach_current_index(lc));
		RstarCallSite *site = lfirst(lc);

		column->expr = (Expr *) rstar_columns_refer((Node *) site->func, INDEX_VAR, OUTER_VAR);
	}
	stages->computed.sites = NIL;
	return tlist;
}

static List *
site_exprs(List *exprs, List *sites)
{
	ListCell   *lc;

	foreach(lc, sites)
	{
		RstarCallSite *site = lfirst(lc);

		exprs = lappend(exprs, site->func);
		exprs = list_concat(exprs, site->guards);
	}
	return copyObject(exprs);
}

static void
adopt_estimates(Plan *to, const Plan *from)
{
	to->startup_cost = from->startup_cost;
	to->total_cost = from->total_cost;
	to->plan_rows = from->plan_rows;
	to->plan_width = from->plan_width;
	rstar_plan_set_disabled(to, rstar_plan_disabled(from));
	to->parallel_safe = from->parallel_safe;
	to->extParam = bms_copy(from->extParam);
	to->allParam = bms_copy(from->allParam);
}

Plan *
rstar_stage_hoist(Append *append)
{
	Plan	   *first = linitial(append->appendplans);
	Plan	   *lowest = NULL;
	Plan	   *plan;
	double		rows = 0;
	ListCell   *lc;

	if (!can_hoist(append))
	{
		clear_async(append);
		return &append->plan;
	}

	foreach(lc, append->appendplans)
	{
		List	   *init_plans = NIL;
		Plan	   *stage = first;

		for (plan = lfirst(lc); rstar_node_is_prefetch(plan); plan = plan->lefttree)
		{
			init_plans = list_concat(init_plans, plan->initPlan);
			if (plan != stage)
				stage->plan_rows += plan->plan_rows;
			stage = stage->lefttree;
		}
		rows += plan->plan_rows;
		plan->initPlan = list_concat(plan->initPlan, init_plans);
		lfirst(lc) = plan;
	}
	for (plan = first; rstar_node_is_prefetch(plan); plan = plan->lefttree)
	{
		double		stage_rows = plan->plan_rows;

		plan->initPlan = NIL;
		adopt_estimates(plan, &append->plan);
		plan->plan_rows = stage_rows;
		lowest = plan;
	}
	append->plan.plan_rows = rows;
	/* the Append's target list has names that its children's have not */
	rstar_columns_copy_names(first->targetlist, append->plan.targetlist);
	append->plan.targetlist = rstar_columns_pass(lowest->lefttree->targetlist, OUTER_VAR);
	lowest->lefttree = &append->plan;
	first->initPlan = append->plan.initPlan;
	append->plan.initPlan = NIL;
	return first;
}

static bool
can_hoist(Append *append)
{
	Plan	   *first = linitial(append->appendplans);
	ListCell   *lc;

	if (list_length(append->appendplans) < 2 || !rstar_node_is_prefetch(first) ||
		append->plan.qual != NIL)
		return false;
	foreach(lc, append->appendplans)
	{
		if (!same_stacks(first, lfirst(lc)))
			return false;
	}
	return true;
}

/* An Append drives its children asynchronously, but not through another node */
static void
clear_async(Append *append)
{
	ListCell   *lc;

	foreach(lc, append->appendplans)
	{
		Plan	   *plan = lfirst(lc);

		if (!rstar_node_is_prefetch(plan))
			continue;
		while (rstar_node_is_prefetch(plan))
			plan = plan->lefttree;
		plan->async_capable = false;
	}
}

/* Do the same prefetch nodes stand on top of both? */
static bool
same_stacks(Plan *a, Plan *b)
{
	while (rstar_node_is_prefetch(a) && rstar_node_is_prefetch(b))
	{
		CustomScan *x = (CustomScan *) a;
		CustomScan *y = (CustomScan *) b;

		if (!equal(a->targetlist, b->targetlist) || !equal(a->qual, b->qual) ||
			!equal(x->custom_exprs, y->custom_exprs) ||
			!equal(x->custom_private, y->custom_private) ||
			!same_types(x->custom_scan_tlist, y->custom_scan_tlist))
			return false;
		a = a->lefttree;
		b = b->lefttree;
	}
	return !rstar_node_is_prefetch(a) && !rstar_node_is_prefetch(b);
}

static bool
same_types(List *a, List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
	{
		Node	   *x = (Node *) lfirst_node(TargetEntry, la)->expr;
		Node	   *y = (Node *) lfirst_node(TargetEntry, lb)->expr;

		if (exprType(x) != exprType(y) || exprTypmod(x) != exprTypmod(y) ||
			exprCollation(x) != exprCollation(y))
			return false;
	}
	return true;
}

/*
 * PostgreSQL does this to a plan whose references are not set yet, and sets
 * them then: columns of a Material are its child's.
 */
Plan *
rstar_stage_materialize(RstarPlanFacts *facts, Plan *plan)
{
	Plan	   *material = materialize_finished_plan(plan);

	material->plan_node_id = ++facts->last_node_id;
	material->targetlist = rstar_columns_pass(plan->targetlist, OUTER_VAR);
	/* there was no choice */
	rstar_plan_set_disabled(material, rstar_plan_disabled(plan));
	return material;
}
