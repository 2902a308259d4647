/*-------------------------------------------------------------------------
 *
 * source.h
 *		Marks where the source of an INSERT begins.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SOURCE_H
#define RSTAR_SOURCE_H

#include "postgres.h"

#include "nodes/plannodes.h"

/* A mark was made since this was last set to false */
extern bool rstar_source_marked;

extern void rstar_source_init(void);

/* Is it the mark? */
extern bool rstar_source_is_mark(const Plan *plan);

/* What stands in the mark's place when it is taken out: the plan of the source */
extern Plan *rstar_source_unmark(Plan *mark);

#endif							/* RSTAR_SOURCE_H */
