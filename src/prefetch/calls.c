/*-------------------------------------------------------------------------
 *
 * calls.c
 *		Which score calls of an expression may be made ahead, under which
 *		conditions, and whether that may raise an error.
 *
 * The exact-guard rule: a call is collected together with the conditions
 * under which the executor evaluates it, so that no pair is paid for that
 * the statement would not have asked for.  The walk goes down from the root
 * of an expression through node types whose operands are always evaluated;
 * AND, OR, CASE and COALESCE add conditions.  What is not understood is not
 * gone into: calls in there are not made ahead, which costs concurrency only.
 *
 * Arguments and guards are evaluated twice, ahead and in the call, and for
 * rows that the reader may never get to.  Hence they must not contain
 * volatile functions or subplans, and hence "may_raise": an error in a row
 * that would never have been reached must not fail the statement.  Init plans
 * are a case of their own: running one may raise, but only the first time.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "prefetch/calls.h"
#include "prefetch/raise.h"
#include "session/pair.h"

/* A call under more conditions than this is not worth evaluating them all */
#define MAX_GUARDS 32

#define SCORE_SYMBOL "retrostar_retro_star_score"
#define SET_SYMBOL "retrostar_rerank_agg_transfn"
extern PGDLLEXPORT Datum retrostar_retro_star_score(PG_FUNCTION_ARGS);
extern PGDLLEXPORT Datum retrostar_rerank_agg_transfn(PG_FUNCTION_ARGS);

/* State of one collection */
typedef struct Collector
{
	const RstarCallParams *params;
	List	   *calls;			/* list of RstarCallSite, so far */
} Collector;

/* State of one search for init plans' parameters */
typedef struct InitParams
{
	const Bitmapset *init;		/* all there are in the statement */
	List	   *params;			/* those found (IntList) */
} InitParams;

/* State of one count */
typedef struct Counter
{
	const FuncExpr *func;
	int			count;
} Counter;

static bool has_entry(Oid funcid, const char *name, PGFunction entry);
static bool contain_walker(Node *expr, void *context);
static bool count_walker(Node *expr, void *context);
static void collect(Collector *collector, Node *expr, List *guards);
static void collect_func(Collector *collector, FuncExpr *func, List *guards);
static void collect_bool(Collector *collector, BoolExpr *expr, List *guards);
static void collect_case(Collector *collector, CaseExpr *expr, List *guards);
static void collect_coalesce(Collector *collector, CoalesceExpr *expr, List *guards);
static Node *when_condition(CaseExpr *expr, CaseWhen *when);
static bool has_inner_test(Node *expr, void *context);
static Node *replace_test(Node *expr, void *context);
static bool collect_aggregated_walker(Node *expr, void *context);
static void collect_filtered(Collector *collector, List *args, Expr *filter);
static bool collect_sets_walker(Node *expr, void *context);
static FuncExpr *set_call(Aggref *agg);
static void add_call(Collector *collector, RstarCallKind kind, FuncExpr *func, List *guards);
static List *and_guard(List *guards, Expr *guard);
static bool can_evaluate_ahead(Collector *collector, Node *expr);
static bool bars_evaluation(Node *expr, void *context);
static bool has_column(Node *expr, void *context);
static bool find_init_params(Node *expr, void *context);

/*
 * The entry point in our library, not the name, makes a function ours: it may
 * be in any schema, renamed, or have a second SQL declaration.  One that is
 * run with settings or privileges of its own (SET, SECURITY DEFINER) has
 * another entry point and is left alone, because a call made ahead would run
 * without them; so is one that was declared volatile or has lost arguments.
 */
bool
rstar_calls_is_score_function(Oid funcid)
{
	return funcid >= FirstNormalObjectId &&
		has_entry(funcid, SCORE_SYMBOL, retrostar_retro_star_score) &&
		func_volatile(funcid) != PROVOLATILE_VOLATILE;
}

bool
rstar_calls_is_score(Node *expr)
{
	FuncExpr   *func = (FuncExpr *) expr;

	return expr != NULL && IsA(expr, FuncExpr) && list_length(func->args) == RSTAR_NARGS &&
		rstar_calls_is_score_function(func->funcid);
}

static bool
has_entry(Oid funcid, const char *name, PGFunction entry)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	bool		found = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId)
	{
		bool		isnull;
		Datum		symbol = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		if (!isnull && strcmp(TextDatumGetCString(symbol), name) == 0)
		{
			FmgrInfo	info;

			fmgr_info(funcid, &info);
			found = info.fn_addr == entry;
		}
	}
	ReleaseSysCache(tuple);
	return found;
}

/* An aggregate is ours by its transition function */
bool
rstar_calls_is_set(Node *expr)
{
	Aggref	   *agg = (Aggref *) expr;
	HeapTuple	tuple;
	bool		found;

	if (expr == NULL || !IsA(expr, Aggref) || agg->aggfnoid < FirstNormalObjectId ||
		agg->aggsplit != AGGSPLIT_SIMPLE || list_length(agg->aggargtypes) <= RSTAR_SET_ARG_DOC)
		return false;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggfnoid));
	if (!HeapTupleIsValid(tuple))
		return false;
	found = has_entry(((Form_pg_aggregate) GETSTRUCT(tuple))->aggtransfn,
					  SET_SYMBOL, retrostar_rerank_agg_transfn);
	ReleaseSysCache(tuple);
	return found;
}

bool
rstar_calls_contain(Node *expr)
{
	return contain_walker(expr, NULL);
}

static bool
contain_walker(Node *expr, void *context)
{
	if (expr == NULL || IsA(expr, Aggref) || IsA(expr, WindowFunc))
		return false;
	if (rstar_calls_is_score(expr))
		return true;
	return expression_tree_walker(expr, contain_walker, context);
}

int
rstar_calls_count(Node *expr, const FuncExpr *func)
{
	Counter		counter = {func, 0};

	(void) count_walker(expr, &counter);
	return counter.count;
}

static bool
count_walker(Node *expr, void *context)
{
	Counter    *counter = context;

	if (expr == NULL)
		return false;
	if (equal(expr, counter->func))
		counter->count++;
	return expression_tree_walker(expr, count_walker, context);
}

List *
rstar_calls_collect(const RstarCallParams *params, Node *expr, List *calls)
{
	Collector	collector = {params, calls};

	collect(&collector, expr, NIL);
	return collector.calls;
}

static void
collect(Collector *collector, Node *expr, List *guards)
{
	ListCell   *lc;

	if (expr == NULL)
		return;
	check_stack_depth();

	switch (nodeTag(expr))
	{
		case T_List:
			foreach(lc, (List *) expr)
				collect(collector, lfirst(lc), guards);
			break;
		case T_TargetEntry:
			collect(collector, (Node *) ((TargetEntry *) expr)->expr, guards);
			break;
		case T_FuncExpr:
			collect_func(collector, (FuncExpr *) expr, guards);
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			collect(collector, (Node *) ((OpExpr *) expr)->args, guards);
			break;
		case T_ScalarArrayOpExpr:
			collect(collector, (Node *) ((ScalarArrayOpExpr *) expr)->args, guards);
			break;
		case T_RelabelType:
			collect(collector, (Node *) ((RelabelType *) expr)->arg, guards);
			break;
		case T_CoerceViaIO:
			collect(collector, (Node *) ((CoerceViaIO *) expr)->arg, guards);
			break;
		case T_CoerceToDomain:
			collect(collector, (Node *) ((CoerceToDomain *) expr)->arg, guards);
			break;
		case T_ArrayExpr:
			collect(collector, (Node *) ((ArrayExpr *) expr)->elements, guards);
			break;
		case T_RowExpr:
			collect(collector, (Node *) ((RowExpr *) expr)->args, guards);
			break;
		case T_MinMaxExpr:
			collect(collector, (Node *) ((MinMaxExpr *) expr)->args, guards);
			break;
		case T_NullTest:
			collect(collector, (Node *) ((NullTest *) expr)->arg, guards);
			break;
		case T_BooleanTest:
			collect(collector, (Node *) ((BooleanTest *) expr)->arg, guards);
			break;
		case T_BoolExpr:
			collect_bool(collector, (BoolExpr *) expr, guards);
			break;
		case T_CaseExpr:
			collect_case(collector, (CaseExpr *) expr, guards);
			break;
		case T_CoalesceExpr:
			collect_coalesce(collector, (CoalesceExpr *) expr, guards);
			break;
		default:
			break;				/* not understood */
	}
}

static void
collect_func(Collector *collector, FuncExpr *func, List *guards)
{
	if (!rstar_calls_is_score((Node *) func) ||
		!can_evaluate_ahead(collector, (Node *) func->args))
		collect(collector, (Node *) func->args, guards);
	else if (has_column((Node *) func->args, NULL))
		add_call(collector, RSTAR_CALL_SCORE, func, guards);
}

static void
collect_bool(Collector *collector, BoolExpr *expr, List *guards)
{
	BoolTestType goes_on = expr->boolop == AND_EXPR ? IS_NOT_FALSE : IS_NOT_TRUE;
	ListCell   *lc;

	foreach(lc, expr->args)
	{
		Node	   *arg = lfirst(lc);

		collect(collector, arg, guards);
		if (expr->boolop == NOT_EXPR || list_length(guards) == MAX_GUARDS ||
			!can_evaluate_ahead(collector, arg))
			break;
		guards = and_guard(guards, rstar_calls_bool_test(arg, goes_on));
	}
}

static void
collect_case(Collector *collector, CaseExpr *expr, List *guards)
{
	ListCell   *lc;

	collect(collector, (Node *) expr->arg, guards);
	foreach(lc, expr->args)
	{
		CaseWhen   *when = lfirst_node(CaseWhen, lc);
		Node	   *condition = when_condition(expr, when);

		if (condition == NULL)
			return;
		if (expr->arg == NULL)
			collect(collector, condition, guards);
		if (list_length(guards) == MAX_GUARDS || !can_evaluate_ahead(collector, condition))
			return;
		collect(collector, (Node *) when->result, and_guard(guards, (Expr *) condition));
		guards = and_guard(guards, rstar_calls_bool_test(condition, IS_NOT_TRUE));
	}
	collect(collector, (Node *) expr->defresult, guards);
}

/*
 * The condition of a branch as an expression that stands by itself: in
 * CASE x WHEN 1 the plan has a placeholder for x.  NULL when that cannot be
 * told from the placeholders of an expression inside the condition.
 */
static Node *
when_condition(CaseExpr *expr, CaseWhen *when)
{
	if (expr->arg == NULL)
		return (Node *) when->expr;
	if (has_inner_test((Node *) when->expr, NULL))
		return NULL;
	return replace_test((Node *) when->expr, expr->arg);
}

/* Does something in the expression bring placeholders of its own? */
static bool
has_inner_test(Node *expr, void *context)
{
	if (expr == NULL)
		return false;
	switch (nodeTag(expr))
	{
		case T_CaseTestExpr:
		case T_Var:
		case T_Const:
		case T_Param:
		case T_List:
		case T_FuncExpr:
		case T_OpExpr:
		case T_RelabelType:
		case T_BoolExpr:
		case T_NullTest:
			return expression_tree_walker(expr, has_inner_test, context);
		default:
			return true;
	}
}

static Node *
replace_test(Node *expr, void *context)
{
	if (expr != NULL && IsA(expr, CaseTestExpr))
		return copyObject((Node *) context);
	return expression_tree_mutator(expr, replace_test, context);
}

static void
collect_coalesce(Collector *collector, CoalesceExpr *expr, List *guards)
{
	ListCell   *lc;

	foreach(lc, expr->args)
	{
		Node	   *arg = lfirst(lc);
		NullTest   *test;

		collect(collector, arg, guards);
		if (list_length(guards) == MAX_GUARDS || !can_evaluate_ahead(collector, arg))
			break;
		test = makeNode(NullTest);
		test->arg = (Expr *) arg;
		test->nulltesttype = IS_NULL;
		test->argisrow = false;
		test->location = -1;
		guards = and_guard(guards, (Expr *) test);
	}
}

List *
rstar_calls_collect_aggregated(const RstarCallParams *params, Node *expr, List *calls)
{
	Collector	collector = {params, calls};

	(void) collect_aggregated_walker(expr, &collector);
	return collector.calls;
}

static bool
collect_aggregated_walker(Node *expr, void *context)
{
	if (expr == NULL)
		return false;
	if (IsA(expr, Aggref))
	{
		Aggref	   *agg = (Aggref *) expr;

		collect_filtered(context, agg->args, agg->aggfilter);
		return false;
	}
	if (IsA(expr, WindowFunc))
	{
		WindowFunc *window = (WindowFunc *) expr;

		/* of other window functions window_func.c knows */
		if (window->winagg)
			collect_filtered(context, window->args, window->aggfilter);
		return false;
	}
	return expression_tree_walker(expr, collect_aggregated_walker, context);
}

static void
collect_filtered(Collector *collector, List *args, Expr *filter)
{
	if (filter == NULL)
		collect(collector, (Node *) args, NIL);
	else
	{
		collect(collector, (Node *) filter, NIL);
		if (can_evaluate_ahead(collector, (Node *) filter))
			collect(collector, (Node *) args, list_make1(filter));
	}
}

List *
rstar_calls_collect_sets(const RstarCallParams *params, Node *expr, List *calls)
{
	Collector	collector = {params, calls};

	(void) collect_sets_walker(expr, &collector);
	return collector.calls;
}

static bool
collect_sets_walker(Node *expr, void *context)
{
	Collector  *collector = context;
	Aggref	   *agg = (Aggref *) expr;
	FuncExpr   *func;

	if (expr == NULL)
		return false;
	if (!rstar_calls_is_set(expr))
		return expression_tree_walker(expr, collect_sets_walker, context);
	func = set_call(agg);
	if (can_evaluate_ahead(collector, (Node *) func->args) &&
		can_evaluate_ahead(collector, (Node *) agg->aggfilter) &&
		has_column((Node *) func->args, NULL))
		add_call(collector, agg->aggorder || agg->aggdistinct ||
				 list_length(func->args) > RSTAR_SET_ARG_PRIOR ?
				 RSTAR_CALL_SORTED_SET : RSTAR_CALL_SET,
				 func, agg->aggfilter ? list_make1(agg->aggfilter) : NIL);
	return false;
}

/* The aggregate's arguments, without what it only sorts by, as those of a call */
static FuncExpr *
set_call(Aggref *agg)
{
	List	   *args = NIL;
	ListCell   *lc;

	foreach(lc, agg->args)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (!entry->resjunk)
			args = lappend(args, entry->expr);
	}
	return makeFuncExpr(agg->aggfnoid, agg->aggtype, args, agg->aggcollid,
						agg->inputcollid, COERCE_EXPLICIT_CALL);
}

/* A call that is made in any case makes the same one under a guard needless */
static void
add_call(Collector *collector, RstarCallKind kind, FuncExpr *func, List *guards)
{
	InitParams	found = {collector->params->init, NIL};
	RstarCallSite *call;
	ListCell   *lc;

	Assert(list_length(guards) <= MAX_GUARDS);
	foreach(lc, collector->calls)
	{
		call = lfirst(lc);
		if (call->kind != kind || call->shift != 0 || !equal(call->func, func))
			continue;
		if (call->guards == NIL || equal(call->guards, guards))
			return;
		if (guards == NIL)
			collector->calls = foreach_delete_current(collector->calls, lc);
	}
	call = palloc0(sizeof(RstarCallSite));
	call->kind = kind;
	call->func = func;
	call->guards = guards;
	call->may_raise = rstar_raise_possible((Node *) func->args) ||
		rstar_raise_possible((Node *) guards);
	(void) find_init_params((Node *) func->args, &found);
	(void) find_init_params((Node *) guards, &found);
	call->init_params = found.params;
	collector->calls = lappend(collector->calls, call);
}

static List *
and_guard(List *guards, Expr *guard)
{
	return lappend(list_copy(guards), guard);
}

Expr *
rstar_calls_bool_test(Node *arg, BoolTestType type)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = (Expr *) arg;
	test->booltesttype = type;
	test->location = -1;
	return (Expr *) test;
}

/* May it be evaluated before its time, and again then, without a difference? */
static bool
can_evaluate_ahead(Collector *collector, Node *expr)
{
	return !bars_evaluation(expr, collector) && !contain_volatile_functions(expr);
}

static bool
bars_evaluation(Node *expr, void *context)
{
	Collector  *collector = context;

	if (expr == NULL)
		return false;
	switch (nodeTag(expr))
	{
		case T_SubPlan:
		case T_AlternativeSubPlan:
		case T_Aggref:
		case T_WindowFunc:
		case T_GroupingFunc:
		case T_CurrentOfExpr:
		case T_SetToDefault:
			return true;
		case T_Param:
			return ((Param *) expr)->paramkind == PARAM_EXEC &&
				bms_is_member(((Param *) expr)->paramid, collector->params->barred);
		case T_FuncExpr:
			if (rstar_calls_is_score(expr))
				return true;
			break;
		default:
			break;
	}
	return expression_tree_walker(expr, bars_evaluation, context);
}

/* Without a column there is one pair for all rows: nothing to read ahead for */
static bool
has_column(Node *expr, void *context)
{
	if (expr == NULL)
		return false;
	return IsA(expr, Var) || expression_tree_walker(expr, has_column, context);
}

static bool
find_init_params(Node *expr, void *context)
{
	InitParams *found = context;

	if (expr == NULL)
		return false;
	if (IsA(expr, Param) && ((Param *) expr)->paramkind == PARAM_EXEC &&
		bms_is_member(((Param *) expr)->paramid, found->init))
		found->params = list_append_unique_int(found->params, ((Param *) expr)->paramid);
	return expression_tree_walker(expr, find_init_params, context);
}
