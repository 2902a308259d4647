/*-------------------------------------------------------------------------
 *
 * plan.h
 *		Planner hook.
 *
 * Called by: retrostar.c, score.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PLAN_H
#define RSTAR_PLAN_H

#include "postgres.h"

/* More than zero while the planner runs: nothing is sent then */
extern int	rstar_plan_depth;

/* Installs the planner hook; called once by _PG_init */
extern void rstar_plan_init(void);

#endif							/* RSTAR_PLAN_H */
