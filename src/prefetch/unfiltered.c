/*-------------------------------------------------------------------------
 *
 * unfiltered.c
 *		How many rows a node gives when conditions are taken from it.
 *
 * A finished plan tells how many rows pass, not how many are looked at.  What
 * the planner took for the share of conditions on scores is known: it has no
 * statistics of them, only defaults.  So the rows before are known, too, and
 * where the node has no other conditions its input says it better.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "parser/parsetree.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "prefetch/unfiltered.h"

/* What clause_selectivity() takes for what it does not know */
#define UNKNOWN_SHARE 0.5

/* Rows that a node looks at */
typedef struct Input
{
	double		rows;			/* -1: not known */
	bool		all;			/* it gives them all, but for its quals; else
								 * not more than these */
} Input;

static double share_of(Node *clause);
static double share_of_bool(BoolExpr *expr);
static double share_of_operator(OpExpr *op);
static bool bound_range(Node *a, Node *b);
static int	direction(Node *clause);
static Input input_of(const PlannedStmt *stmt, const Plan *plan);
static Input join_input(const Join *join);
static double table_rows(const PlannedStmt *stmt, Index scanrelid);

double
rstar_unfiltered_rows(const PlannedStmt *stmt, const Plan *plan, List *removed)
{
	Input		input;
	double		rows;

	if (removed == NIL)
		return plan->plan_rows;
	input = input_of(stmt, plan);
	if (input.rows >= 0 && input.all && plan->qual == NIL)
		return clamp_row_est(input.rows);
	rows = plan->plan_rows / Max(rstar_unfiltered_share(removed), 1e-9);
	return clamp_row_est(input.rows >= 0 ? Min(rows, Max(input.rows, plan->plan_rows)) : rows);
}

double
rstar_unfiltered_share(List *quals)
{
	double		share = 1;

	for (int i = 0; i < list_length(quals); i++)
	{
		bool		closed = false;

		for (int j = 0; j < i && !closed; j++)
			closed = bound_range(list_nth(quals, j), list_nth(quals, i));
		if (closed)
			share *= DEFAULT_RANGE_INEQ_SEL / DEFAULT_INEQ_SEL;
		else
			share *= share_of(list_nth(quals, i));
	}
	return share;
}

/* As clause_selectivity(), of what nothing is known of */
static double
share_of(Node *clause)
{
	check_stack_depth();
	switch (nodeTag(clause))
	{
		case T_BoolExpr:
			return share_of_bool((BoolExpr *) clause);
		case T_OpExpr:
			return share_of_operator((OpExpr *) clause);
		case T_NullTest:
			return ((NullTest *) clause)->nulltesttype == IS_NULL ?
				DEFAULT_UNK_SEL : DEFAULT_NOT_UNK_SEL;
		default:
			return UNKNOWN_SHARE;
	}
}

static double
share_of_bool(BoolExpr *expr)
{
	double		others = 1;
	ListCell   *lc;

	if (expr->boolop == AND_EXPR)
		return rstar_unfiltered_share(expr->args);
	if (expr->boolop == NOT_EXPR)
		return 1 - share_of(linitial(expr->args));
	foreach(lc, expr->args)
		others *= 1 - share_of(lfirst(lc));
	return 1 - others;
}

static double
share_of_operator(OpExpr *op)
{
	switch (get_oprrest(op->opno))
	{
		case F_EQSEL:
			return DEFAULT_EQ_SEL;
		case F_NEQSEL:
			return 1 - DEFAULT_EQ_SEL;
		case F_SCALARLTSEL:
		case F_SCALARLESEL:
		case F_SCALARGTSEL:
		case F_SCALARGESEL:
			return DEFAULT_INEQ_SEL;
		default:
			return UNKNOWN_SHARE;
	}
}

/* Both ends of a range of one value */
static bool
bound_range(Node *a, Node *b)
{
	return direction(a) * direction(b) < 0 &&
		equal(linitial(((OpExpr *) a)->args), linitial(((OpExpr *) b)->args));
}

/* Of an upper bound, of a lower one, or 0 */
static int
direction(Node *clause)
{
	if (!IsA(clause, OpExpr))
		return 0;
	switch (get_oprrest(((OpExpr *) clause)->opno))
	{
		case F_SCALARLTSEL:
		case F_SCALARLESEL:
			return 1;
		case F_SCALARGTSEL:
		case F_SCALARGESEL:
			return -1;
		default:
			return 0;
	}
}

static Input
input_of(const PlannedStmt *stmt, const Plan *plan)
{
	Input		input = {-1, false};

	switch (nodeTag(plan))
	{
		case T_SeqScan:
			input.rows = table_rows(stmt, ((const Scan *) plan)->scanrelid);
			input.all = !plan->parallel_aware;
			break;
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_TidScan:
		case T_TidRangeScan:
			input.rows = table_rows(stmt, ((const Scan *) plan)->scanrelid);
			break;
		case T_SubqueryScan:
			input.rows = ((const SubqueryScan *) plan)->subplan->plan_rows;
			input.all = true;
			break;
		case T_CteScan:
			input.rows = ((Plan *) list_nth(stmt->subplans, ((const CteScan *) plan)->ctePlanId - 1))->plan_rows;
			input.all = true;
			break;
		case T_ValuesScan:
			input.rows = list_length(((const ValuesScan *) plan)->values_lists);
			input.all = true;
			break;
		case T_Agg:
		case T_Group:
			input.rows = plan->lefttree->plan_rows;
			break;
		case T_NestLoop:
		case T_HashJoin:
		case T_MergeJoin:
			return join_input((const Join *) plan);
		default:
			break;
	}
	return input;
}

/* The inner rows of a nested loop are those for one outer row */
static Input
join_input(const Join *join)
{
	Input		input = {join->plan.lefttree->plan_rows * join->plan.righttree->plan_rows, false};

	input.all = IsA(join, NestLoop) && join->joinqual == NIL;
	return input;
}

/* As the planner has estimated them; it has locked the table */
static double
table_rows(const PlannedStmt *stmt, Index scanrelid)
{
	Relation	table = table_open(rt_fetch(scanrelid, stmt->rtable)->relid, NoLock);
	BlockNumber pages;
	double		rows;
	double		visible;

	estimate_rel_size(table, NULL, &pages, &rows, &visible);
	table_close(table, NoLock);
	return rows;
}
