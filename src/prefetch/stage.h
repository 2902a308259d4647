/*-------------------------------------------------------------------------
 *
 * stage.h
 *		Puts prefetch nodes into a finished plan: above a node, below it, or
 *		above an Append.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_STAGE_H
#define RSTAR_STAGE_H

#include "postgres.h"

#include "nodes/plannodes.h"

#include "prefetch/walk.h"

/* Who reads a node's rows, and how */
typedef struct RstarReader
{
	RstarReadMode mode;
	List	   *bound;			/* count and offset of each LIMIT above that
								 * says how many rows it takes, outermost
								 * first; a NULL is none */
	bool		exact;			/* never more: no row is dropped in between */
	bool		marks;			/* it goes back to a marked position */
} RstarReader;

/*
 * Moves the evaluation of calls in the node's target list and quals into
 * prefetch nodes on top of it.  Returns the topmost node, or "plan" unchanged
 * when there is nothing to gain or it is not safe.
 */
extern Plan *rstar_stage_split(RstarPlanFacts *facts, Plan *plan, RstarReader reader);

/*
 * Puts a prefetch node that passes rows through between the node and its
 * outer child.  "calls" are in the node's terms, made once per input row.
 */
extern void rstar_stage_insert(RstarPlanFacts *facts, Plan *plan, List *calls,
							   RstarReader reader);

/*
 * When all children of the Append have got the same prefetch nodes on top,
 * puts these above the Append instead, so that rows of all children are read
 * ahead together.  Returns the topmost node.
 */
extern Plan *rstar_stage_hoist(Append *append);

/* Puts a Material on top of the whole plan, so that it can run backwards */
extern Plan *rstar_stage_materialize(RstarPlanFacts *facts, Plan *plan);

#endif							/* RSTAR_STAGE_H */
