/*-------------------------------------------------------------------------
 *
 * site.c
 *		A call that is made ahead: from the plan to what the executor evaluates.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/extensible.h"
#include "utils/lsyscache.h"

#include "prefetch/node.h"
#include "prefetch/site.h"

static void init_args(RstarSite *site, FuncExpr *func, PlanState *parent);
static bool is_lasting(Node *arg);

RstarSite *
rstar_site_init(CustomScan *scan, List *exprs, PlanState *parent, int *nsites)
{
	int			n = list_length(scan->custom_private) - 1;
	RstarSite  *sites = palloc0((n + 1) * sizeof(RstarSite));
	ListCell   *expr = list_head(exprs);

	for (int i = 0; i < n; i++)
	{
		RstarSite  *site = &sites[i];
		List	   *numbers = list_nth(scan->custom_private, i + 1);
		FuncExpr   *func;
		List	   *guards = NIL;

		site->kind = list_nth_int(numbers, RSTAR_SITE_KIND);
		func = lfirst_node(FuncExpr, expr);
		expr = lnext(exprs, expr);
		for (int k = list_nth_int(numbers, RSTAR_SITE_NGUARDS); k > 0; k--)
		{
			guards = lappend(guards, lfirst(expr));
			expr = lnext(exprs, expr);
		}
		site->shift = list_nth_int(numbers, RSTAR_SITE_SHIFT);
		site->may_raise = list_nth_int(numbers, RSTAR_SITE_MAY_RAISE);
		site->init_params = list_copy_tail(numbers, RSTAR_SITE_INIT_PARAMS);
		site->guards = ExecInitQual(guards, parent);
		site->varying = guards != NIL;
		init_args(site, func, parent);
	}
	*nsites = n;
	return sites;
}

/* A set's arguments, other than query and document, are settings */
static void
init_args(RstarSite *site, FuncExpr *func, PlanState *parent)
{
	bool		is_set = site->kind != RSTAR_CALL_SCORE;
	Node	   *query = list_nth(func->args, is_set ? RSTAR_SET_ARG_QUERY : RSTAR_ARG_QUERY);
	Node	   *doc = list_nth(func->args, is_set ? RSTAR_SET_ARG_DOC : RSTAR_ARG_DOC);
	ListCell   *lc;

	site->doc_lasts = is_lasting(doc);
	site->query_lasts = is_lasting(query);
	site->args[RSTAR_ARG_QUERY] = ExecInitExpr((Expr *) query, parent);
	site->args[RSTAR_ARG_DOC] = ExecInitExpr((Expr *) doc, parent);
	site->priors = is_set && list_length(func->args) > RSTAR_SET_ARG_PRIOR;
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
