/*-------------------------------------------------------------------------
 *
 * columns.c
 *		What a plan node computes when its expressions move to a node above:
 *		columns, and references to them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

#include "prefetch/columns.h"

/* What Vars of an expression refer to */
typedef struct Reference
{
	int			from;
	int			to;
} Reference;

static bool collect_walker(Node *expr, void *context);
static bool is_column(Node *expr);
static bool same_column(Node *a, Node *b);
static Node *replace_mutator(Node *expr, void *context);
static Node *refer_mutator(Node *expr, void *context);

List *
rstar_columns_collect(Node *expr, List *columns)
{
	(void) collect_walker(expr, &columns);
	return columns;
}

static bool
collect_walker(Node *expr, void *context)
{
	List	  **columns = context;
	ListCell   *lc;

	if (expr == NULL)
		return false;
	if (!is_column(expr))
		return expression_tree_walker(expr, collect_walker, context);
	foreach(lc, *columns)
	{
		if (same_column(lfirst(lc), expr))
			return false;
	}
	*columns = lappend(*columns, expr);
	return false;
}

static bool
is_column(Node *expr)
{
	return IsA(expr, Var) || IsA(expr, Aggref) || IsA(expr, WindowFunc) ||
		IsA(expr, GroupingFunc);
}

/* Vars of one node differ in what later versions note beside the number */
static bool
same_column(Node *a, Node *b)
{
	if (IsA(a, Var) && IsA(b, Var))
		return ((Var *) a)->varno == ((Var *) b)->varno &&
			((Var *) a)->varattno == ((Var *) b)->varattno;
	return equal(a, b);
}

List *
rstar_columns_tlist(List *columns)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		tlist = lappend(tlist, makeTargetEntry(copyObject(lfirst(lc)),
											   list_length(tlist) + 1, NULL, false));
	return tlist;
}

Node *
rstar_columns_replace(Node *expr, List *columns)
{
	return replace_mutator(expr, columns);
}

static Node *
replace_mutator(Node *expr, void *context)
{
	List	   *columns = context;
	ListCell   *lc;

	if (expr == NULL || !is_column(expr))
		return expression_tree_mutator(expr, replace_mutator, context);
	foreach(lc, columns)
	{
		if (same_column(lfirst(lc), expr))
			return (Node *) makeVar(INDEX_VAR, foreach_current_index(lc) + 1,
									exprType(expr), exprTypmod(expr),
									exprCollation(expr), 0);
	}
	elog(ERROR, "column not found");
}

Node *
rstar_columns_refer(Node *expr, int from, int to)
{
	Reference	reference = {from, to};

	return refer_mutator(expr, &reference);
}

static Node *
refer_mutator(Node *expr, void *context)
{
	const Reference *reference = context;

	if (expr != NULL && IsA(expr, Var) && ((Var *) expr)->varno == reference->from)
	{
		Var		   *var = copyObject((Var *) expr);

		var->varno = reference->to;
		return (Node *) var;
	}
	return expression_tree_mutator(expr, refer_mutator, context);
}

List *
rstar_columns_pass(List *tlist, int varno)
{
	List	   *passed = NIL;
	ListCell   *lc;

	foreach(lc, tlist)
	{
		TargetEntry *from = lfirst_node(TargetEntry, lc);
		Node	   *expr = (Node *) from->expr;
		Var		   *var = makeVar(varno, list_length(passed) + 1, exprType(expr),
								  exprTypmod(expr), exprCollation(expr), 0);

		passed = lappend(passed, makeTargetEntry((Expr *) var, list_length(passed) + 1,
												 NULL, false));
	}
	rstar_columns_copy_names(passed, tlist);
	return passed;
}

void
rstar_columns_copy_names(List *to, List *from)
{
	ListCell   *lt;
	ListCell   *lf;

	forboth(lt, to, lf, from)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lt);
		TargetEntry *source = lfirst_node(TargetEntry, lf);

		target->resname = source->resname;
		target->resjunk = source->resjunk;
		target->ressortgroupref = source->ressortgroupref;
		target->resorigtbl = source->resorigtbl;
		target->resorigcol = source->resorigcol;
	}
}
