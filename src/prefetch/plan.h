/*-------------------------------------------------------------------------
 *
 * plan.h
 *		Planner hook: finds the calls in a finished plan and lets prefetch
 *		nodes make them ahead.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PLAN_H
#define RSTAR_PLAN_H

#include "postgres.h"

#include "nodes/plannodes.h"

/* Installs the planner hook; called once by _PG_init */
extern void rstar_plan_init(void);

/* Does the plan depend on any function other than built-in ones? */
extern bool rstar_plan_uses_functions(PlannedStmt *stmt);

/*
 * Assign hook of retrostar.prefetch: plans that are kept were made for the
 * other value, so they are made anew when they are next used.
 */
extern void rstar_plan_assign_prefetch(bool newval, void *extra);

#endif							/* RSTAR_PLAN_H */
