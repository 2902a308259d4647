/*-------------------------------------------------------------------------
 *
 * planning.h
 *		What becomes of a value that is computed while a statement is planned.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PLANNING_H
#define RSTAR_PLANNING_H

#include "postgres.h"

/*
 * Installs planner and function hooks; called once by _PG_init.  "estimates":
 * whether others than the planner call functions now, for estimates.
 */
extern void rstar_planning_init(bool (*estimates) (void));

/* True while a planner runs, or code that a planner calls */
extern bool rstar_planning(void);

/*
 * Whether the value of this function, called now, or of the one that calls it,
 * stays in the plan.  Else it serves an estimate.
 */
extern bool rstar_planning_folds(Oid function);

/*
 * A score is not known, and there is no time to ask for it.  Raises a coded
 * error if the value would stay.  If it serves an estimate, but a function
 * stands between, which may not expect NULL, raises an error that does not get
 * further than that function, whose value is then NULL.  Returns when the
 * planner itself takes the value (and if no planner runs).
 */
extern void rstar_planning_unknown(Oid function);

#endif							/* RSTAR_PLANNING_H */
