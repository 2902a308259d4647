/*-------------------------------------------------------------------------
 *
 * window_func.c
 *		Calls in the arguments of window functions.
 *
 * A window aggregate evaluates its arguments for each row that is in a frame
 * some time.  What other functions evaluate, and when, is up to them.  Of
 * PostgreSQL's own it is known:
 *
 * lag and lead: the value for each row that has another so many rows on, or
 * back, in its partition; the offset for each row.  nth_value: the number for
 * each row.  first_value and last_value: for the first and last rows of
 * frames, which are all rows when each row begins, or ends, its own.  Left
 * out are a default, which is evaluated where there is no such row, what
 * ntile divides by, which is evaluated once a partition, and values at the
 * ends of other frames: often one row for all, or the last of its peers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"

#include "base/compat.h"
#include "prefetch/window_func.h"

/* State of one collection */
typedef struct Windows
{
	const RstarCallParams *params;
	WindowAgg  *window;
	List	   *calls;			/* so far */
} Windows;

static bool collect_walker(Node *expr, void *context);
static bool frames_have_all_rows(int options);
static void collect_function(Windows *windows, WindowFunc *func);
static void collect_shifted(Windows *windows, WindowFunc *func, int direction);
static void collect_value(Windows *windows, Node *value, int shift);
static bool is_needless(List *calls, RstarCallSite *call);

List *
rstar_window_func_calls(const RstarCallParams *params, WindowAgg *window)
{
	Windows		windows = {params, window, NIL};

	(void) collect_walker((Node *) window->plan.targetlist, &windows);
	return windows.calls;
}

static bool
collect_walker(Node *expr, void *context)
{
	Windows    *windows = context;

	if (expr == NULL)
		return false;
	if (!IsA(expr, WindowFunc))
		return expression_tree_walker(expr, collect_walker, context);
	if (!((WindowFunc *) expr)->winagg)
		collect_function(windows, (WindowFunc *) expr);
	else if (frames_have_all_rows(windows->window->frameOptions))
		windows->calls = rstar_calls_collect_aggregated(windows->params, expr, windows->calls);
	return false;
}

/* Each row is in one some time */
static bool
frames_have_all_rows(int options)
{
	const int	starts = FRAMEOPTION_START_UNBOUNDED_PRECEDING |
		FRAMEOPTION_START_OFFSET_PRECEDING | FRAMEOPTION_START_CURRENT_ROW;
	const int	ends = FRAMEOPTION_END_UNBOUNDED_FOLLOWING |
		FRAMEOPTION_END_OFFSET_FOLLOWING | FRAMEOPTION_END_CURRENT_ROW;

	return (options & starts) && (options & ends) && !(options & FRAMEOPTION_EXCLUSION);
}

static void
collect_function(Windows *windows, WindowFunc *func)
{
	int			options = windows->window->frameOptions;
	bool		of_rows = (options & FRAMEOPTION_ROWS) && !(options & FRAMEOPTION_EXCLUSION);

	if (rstar_ignores_nulls(func))
		return;
	switch (func->winfnoid)
	{
		case F_LAG_ANYELEMENT:
		case F_LAG_ANYELEMENT_INT4:
		case F_LAG_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE:
			collect_shifted(windows, func, 1);
			break;
		case F_LEAD_ANYELEMENT:
		case F_LEAD_ANYELEMENT_INT4:
		case F_LEAD_ANYCOMPATIBLE_INT4_ANYCOMPATIBLE:
			collect_shifted(windows, func, -1);
			break;
		case F_FIRST_VALUE:
			if (of_rows && (options & FRAMEOPTION_START_CURRENT_ROW))
				collect_value(windows, linitial(func->args), 0);
			break;
		case F_LAST_VALUE:
			if (of_rows && (options & FRAMEOPTION_END_CURRENT_ROW))
				collect_value(windows, linitial(func->args), 0);
			break;
		case F_NTH_VALUE:
			collect_value(windows, lsecond(func->args), 0);
			break;
		default:
			break;
	}
}

static void
collect_shifted(Windows *windows, WindowFunc *func, int direction)
{
	int64		offset = 1;

	if (list_length(func->args) > 1)
	{
		Const	   *given = lsecond(func->args);

		collect_value(windows, (Node *) given, 0);
		if (!IsA(given, Const) || given->constisnull)
			return;
		offset = DatumGetInt32(given->constvalue);
	}
	if (offset > -RSTAR_MAX_SHIFT && offset < RSTAR_MAX_SHIFT)
		collect_value(windows, linitial(func->args), direction * (int) offset);
}

static void
collect_value(Windows *windows, Node *value, int shift)
{
	ListCell   *lc;

	foreach(lc, rstar_calls_collect(windows->params, value, NIL))
	{
		RstarCallSite *call = lfirst(lc);

		call->shift = shift;
		if (!is_needless(windows->calls, call))
			windows->calls = lappend(windows->calls, call);
	}
}

/* Is it made already when this one would be? */
static bool
is_needless(List *calls, RstarCallSite *call)
{
	ListCell   *lc;

	foreach(lc, calls)
	{
		RstarCallSite *other = lfirst(lc);

		if (other->kind == call->kind && equal(other->func, call->func) &&
			(other->shift == 0 || other->shift == call->shift) &&
			(other->guards == NIL || equal(other->guards, call->guards)))
			return true;
	}
	return false;
}

List *
rstar_window_func_partition(const WindowAgg *window)
{
	List	   *partition = NIL;

	for (int i = 0; i < window->partNumCols; i++)
	{
		partition = lappend_int(partition, window->partColIdx[i]);
		partition = lappend_int(partition, (int) window->partOperators[i]);
		partition = lappend_int(partition, (int) window->partCollations[i]);
	}
	return partition;
}
