/*-------------------------------------------------------------------------
 *
 * node.h
 *		The prefetch node in a plan: what planner and executor agree upon.
 *
 * custom_exprs is a flat list of expressions: the bound (RstarReader), then for
 * each call site the FuncExpr followed by its guards.  custom_private is a list
 * of integer lists: first the header, then one for each call site.  The child
 * is the node's lefttree.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_NODE_H
#define RSTAR_NODE_H

#include "postgres.h"

#include "nodes/extensible.h"
#include "nodes/plannodes.h"

#define RSTAR_NODE_NAME "Retro* Prefetch"

/* Positions in the header */
enum
{
	RSTAR_SCAN_MODE,			/* RstarReadMode */
	RSTAR_SCAN_NBOUND,			/* expressions of the bound */
	RSTAR_SCAN_EXACT,			/* the reader never takes more than the bound */
	RSTAR_SCAN_EVALUATES,		/* the calls are in this node, not above it */
	RSTAR_SCAN_PARTITION		/* from here on: see
								 * rstar_window_func_partition() */
};

/* Positions in the list of a call site */
enum
{
	RSTAR_SITE_KIND,			/* RstarCallKind */
	RSTAR_SITE_NGUARDS,			/* expressions that are guards */
	RSTAR_SITE_MAY_RAISE,		/* evaluating them may raise an error */
	RSTAR_SITE_SHIFT,			/* RstarCallSite's */
	RSTAR_SITE_INIT_PARAMS		/* from here on: parameters of init plans */
};

/*
 * How a node's rows are read by whoever reads them.  "Once started" is meant:
 * a node that is never asked for a row is none of them.
 */
typedef enum RstarReadMode
{
	RSTAR_READ_PART,			/* reading may stop at any row */
	RSTAR_READ_RUN,				/* to the end, if the executor runs to its end */
	RSTAR_READ_ALL				/* to the end */
} RstarReadMode;

/* Is this plan node one of ours? */
static inline bool
rstar_node_is_prefetch(const Plan *plan)
{
	return plan != NULL && IsA(plan, CustomScan) &&
		strcmp(((const CustomScan *) plan)->methods->CustomName, RSTAR_NODE_NAME) == 0;
}

#endif							/* RSTAR_NODE_H */
