/*-------------------------------------------------------------------------
 *
 * quiet.h
 *		Calls that nobody has made in order to get a score: nothing is asked for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_QUIET_H
#define RSTAR_QUIET_H

#include "postgres.h"

#include "fmgr.h"

/* Installs a utility hook; called once by _PG_init */
extern void rstar_quiet_init(void);

/* True when calls of now must send nothing and wait for nothing */
extern bool rstar_quiet(void);

/* Of these, calls of EXPLAIN and ANALYZE, not those of the planner */
extern bool rstar_quiet_estimates(void);

/*
 * In the place of rstar_score_get() then: a score that is known, or NULL where
 * it is good enough for an estimate, or an error as rstar_quiet_unknown().
 */
extern double rstar_quiet_score(FunctionCallInfo fcinfo, bool *isnull);

/*
 * A score is not known.  Returns if NULL may take its place, or calls of now
 * may ask after all; else raises a coded error.  "function": ours that is
 * called, if known.
 */
extern void rstar_quiet_unknown(Oid function);

#endif							/* RSTAR_QUIET_H */
