/*-------------------------------------------------------------------------
 *
 * plan.c
 *		Planner hook.
 *
 * Called by: retrostar.c (init), the planner.
 *
 * The planner evaluates stable functions of constants to estimate
 * selectivities, and it must not wait for a model; score.c asks
 * rstar_plan_depth.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "optimizer/planner.h"

#include "plan.h"

int			rstar_plan_depth = 0;

static planner_hook_type prev_planner_hook = NULL;

static PlannedStmt *plan(Query *parse, const char *query_string, int cursor_options,
						 ParamListInfo params);

void
rstar_plan_init(void)
{
	prev_planner_hook = planner_hook;
	planner_hook = plan;
}

static PlannedStmt *
plan(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	PlannedStmt *stmt;

	rstar_plan_depth++;
	PG_TRY();
	{
		if (prev_planner_hook)
			stmt = prev_planner_hook(parse, query_string, cursor_options, params);
		else
			stmt = standard_planner(parse, query_string, cursor_options, params);
	}
	PG_FINALLY();
	{
		rstar_plan_depth--;
	}
	PG_END_TRY();
	return stmt;
}
