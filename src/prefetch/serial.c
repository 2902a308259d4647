/*-------------------------------------------------------------------------
 *
 * serial.c
 *		EXPLAIN tells which calls of a plan are made one after another, and why.
 *
 * Where no prefetch node makes a call there is nothing that could show it, and
 * PostgreSQL lets nobody add to the output of EXPLAIN but a node (before 18).
 * So it is a NOTICE.  It is found in the finished plan: a call that is in the
 * expressions of a node, and for which no prefetch node has a call site; and a
 * function of a user that PostgreSQL has not inlined and whose source has
 * calls.  What such a function calls in turn is not looked at.
 *
 * Nodes that see one row at most are left out, and calls that are the same for
 * each row: there is no next call to wait for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/settings.h"
#include "prefetch/calls.h"
#include "prefetch/columns.h"
#include "prefetch/node.h"
#include "prefetch/plan.h"
#include "prefetch/serial.h"
#include "prefetch/walk.h"

/* Reasons that are told, at most */
#define MAX_REASONS 5

/* A search through one plan */
typedef struct Search
{
	Plan	   *plan;			/* the node whose expressions are looked at */
	List	   *reasons;		/* char *, each once */
	int			varno;			/* of the columns in it that sites have as
								 * INDEX_VAR, or 0 */
	List	   *ahead;			/* FuncExprs of the sites that make its calls */
} Search;

static ExecutorStart_hook_type prev_ExecutorStart = NULL;

static void executor_start(QueryDesc *queryDesc, int eflags);
static void tell(PlannedStmt *stmt);
static void search_plan(Search *search, Plan *plan);
static double evaluated_for(const Plan *plan);
static List *sites_of(const Plan *plan);
static bool search_expr(Node *expr, void *context);
static bool is_of_row(const Search *search, Node *expr);
static bool function_of(Node *expr, Oid *function);
static bool is_ahead(const Search *search, FuncExpr *func);
static const char *why_call(const Search *search, const FuncExpr *func);
static bool has_subplan(Node *expr, void *context);
static const char *why_function(Oid function);
static bool has_calls(HeapTuple tuple);
static void add_reason(Search *search, const char *reason);

void
rstar_serial_init(void)
{
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
}

static void
executor_start(QueryDesc *queryDesc, int eflags)
{
	if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
		tell(queryDesc->plannedstmt);
	if (prev_ExecutorStart)
		prev_ExecutorStart(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
}

static void
tell(PlannedStmt *stmt)
{
	Search		search = {0};
	StringInfoData detail;
	ListCell   *lc;

	/* Who has switched it off knows */
	if (!rstar_prefetch || !rstar_plan_uses_functions(stmt))
		return;
	search_plan(&search, stmt->planTree);
	foreach(lc, stmt->subplans)
		search_plan(&search, lfirst(lc));
	if (search.reasons == NIL)
		return;
	initStringInfo(&detail);
	foreach(lc, search.reasons)
	{
		if (foreach_current_index(lc) == MAX_REASONS)
		{
			appendStringInfoString(&detail, "\n...");
			break;
		}
		appendStringInfo(&detail, "%s%s", foreach_current_index(lc) > 0 ? "\n" : "", (char *) lfirst(lc));
	}
	ereport(NOTICE,
			(errmsg("this plan has calls of retro_star_score() that are made one after another"),
			 errdetail_internal("%s", detail.data),
			 errhint("doc/planning.md says for each case what to write instead.")));
}

static void
search_plan(Search *search, Plan *plan)
{
	ListCell   *lc;

	/* a parallel worker's list of subplans has holes */
	if (plan == NULL)
		return;
	check_stack_depth();
	search->plan = plan;
	search->varno = 0;
	search->ahead = NIL;
	if (rstar_node_is_prefetch(plan))
		search->ahead = sites_of(plan);
	else
	{
		search->varno = OUTER_VAR;
		for (Plan *below = plan->lefttree; rstar_node_is_prefetch(below); below = below->lefttree)
			search->ahead = list_concat(search->ahead, sites_of(below));
	}
	if (evaluated_for(plan) > 1)
	{
		(void) search_expr((Node *) plan->targetlist, search);
		(void) search_expr((Node *) plan->qual, search);
		if (!IsA(plan, CustomScan))
			(void) rstar_walk_own_exprs(plan, search_expr, search);
	}
	foreach(lc, rstar_walk_children(plan))
		search_plan(search, lfirst(lc));
}

/* An aggregate, for example, gives fewer rows than it looks at */
static double
evaluated_for(const Plan *plan)
{
	return plan->lefttree != NULL ? Max(plan->plan_rows, plan->lefttree->plan_rows) : plan->plan_rows;
}

/* The calls that a prefetch node makes ahead, in terms of its input (INDEX_VAR) */
static List *
sites_of(const Plan *plan)
{
	const CustomScan *scan = (const CustomScan *) plan;
	int			next = list_nth_int(linitial(scan->custom_private), RSTAR_SCAN_NBOUND);
	List	   *sites = NIL;

	for (int i = 1; i < list_length(scan->custom_private); i++)
	{
		sites = lappend(sites, list_nth(scan->custom_exprs, next));
		next += 1 + list_nth_int(list_nth(scan->custom_private, i), RSTAR_SITE_NGUARDS);
	}
	return sites;
}

static bool
search_expr(Node *expr, void *context)
{
	Search	   *search = context;
	Oid			function;

	if (expr == NULL)
		return false;
	if (rstar_calls_is_score(expr))
	{
		if (is_of_row(search, expr) && !is_ahead(search, (FuncExpr *) expr))
			add_reason(search, why_call(search, (FuncExpr *) expr));
	}
	else if (function_of(expr, &function) && is_of_row(search, expr))
		add_reason(search, why_function(function));
	return expression_tree_walker(expr, search_expr, context);
}

/* Of the same pair there is no next call either; each row of VALUES has calls of its own */
static bool
is_of_row(const Search *search, Node *expr)
{
	return IsA(search->plan, ValuesScan) || contain_var_clause(expr) || contain_volatile_functions(expr);
}

static bool
function_of(Node *expr, Oid *function)
{
	*function = IsA(expr, FuncExpr) ? ((FuncExpr *) expr)->funcid :
		IsA(expr, OpExpr) ? ((OpExpr *) expr)->opfuncid : InvalidOid;
	return *function >= FirstNormalObjectId;
}

static bool
is_ahead(const Search *search, FuncExpr *func)
{
	Node	   *call = search->varno == 0 ? (Node *) func :
		rstar_columns_refer((Node *) func, search->varno, INDEX_VAR);

	return list_member(search->ahead, call);
}

/* Of a call in the statement itself: doc/planning.md, in the same order */
static const char *
why_call(const Search *search, const FuncExpr *func)
{
	if (contain_volatile_functions((Node *) func->args))
		return "An argument has a volatile function, which cannot be evaluated twice.";
	if (has_subplan((Node *) func->args, NULL))
		return "An argument has a subquery that depends on its row.";
	switch (nodeTag(search->plan))
	{
		case T_ModifyTable:
			return "RETURNING, ON CONFLICT and MERGE actions are evaluated as each row changes.";
		case T_NestLoop:
		case T_HashJoin:
		case T_MergeJoin:
		case T_Hash:
			return "A condition of an outer or semi join, or one that joins by hash or merge, decides which pairs are compared.";
		case T_ValuesScan:
			return "Rows of VALUES are evaluated one by one.";
		case T_WindowAgg:
			return "A window function evaluates it for some rows only.";
		case T_CustomScan:
			if (rstar_node_is_prefetch(search->plan))
				break;
			return "It is in a node of another extension.";
		default:
			break;
	}
	return "It is above row locks, changes of data, volatile functions or nodes of other extensions, or it is not certain that it is evaluated.";
}

static bool
has_subplan(Node *expr, void *context)
{
	if (expr == NULL)
		return false;
	return IsA(expr, SubPlan) || IsA(expr, AlternativeSubPlan) ||
		expression_tree_walker(expr, has_subplan, context);
}

/* Of a function that is not part of the plan; NULL: it has no calls, or it returns rows, planned by itself */
static const char *
why_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	const char *why = NULL;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prolang != INTERNALlanguageId && proc->prolang != ClanguageId &&
		!proc->proretset && has_calls(tuple))
	{
		why = proc->prolang != SQLlanguageId ? "it is not LANGUAGE sql" :
			proc->prosecdef ? "it is SECURITY DEFINER" :
			!heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL) ? "it has SET" :
			proc->proisstrict ? "it is STRICT" :
			proc->provolatile == PROVOLATILE_IMMUTABLE ? "it is IMMUTABLE" :
			"it is more than a single SELECT or RETURN";
		why = psprintf("Function %s is not part of the plan: %s.", format_procedure(function), why);
	}
	ReleaseSysCache(tuple);
	return why;
}

/* By its source: a body that PostgreSQL has parsed has the OIDs of what it calls */
static bool
has_calls(HeapTuple tuple)
{
	bool		isnull;
	Datum		body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	char	   *source;

	if (isnull)
	{
		source = TextDatumGetCString(SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull));
		return strstr(source, "retro_star_score") != NULL;
	}
	source = TextDatumGetCString(body);
	for (char *at = source; (at = strstr(at, ":funcid ")) != NULL; at++)
	{
		Oid			funcid = strtoul(at + strlen(":funcid "), NULL, 10);

		if (rstar_calls_is_score_function(funcid))
			return true;
	}
	return false;
}

static void
add_reason(Search *search, const char *reason)
{
	ListCell   *lc;

	if (reason == NULL)
		return;
	foreach(lc, search->reasons)
	{
		if (strcmp(lfirst(lc), reason) == 0)
			return;
	}
	search->reasons = lappend(search->reasons, unconstify(char *, reason));
}
