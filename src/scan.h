/*-------------------------------------------------------------------------
 *
 * scan.h
 *		The executor's side of the prefetch node, "Retro* Prefetch".
 *
 * Called by: retrostar.c (init), stage.c, walk.c.
 *
 * The plan hands over: custom_exprs, a flat list of expressions: the bound
 * (RstarReader), then for each call site the FuncExpr followed by its guards.  custom_private, a list of integer
 * lists: first the header, then one for each call site; positions are below.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SCAN_H
#define RSTAR_SCAN_H

#include "postgres.h"

#include "nodes/extensible.h"
#include "nodes/plannodes.h"

/* Positions in the header */
enum
{
	RSTAR_SCAN_MODE,			/* RstarReadMode */
	RSTAR_SCAN_NBOUND,			/* expressions of the bound */
	RSTAR_SCAN_EXACT,			/* the reader never takes more than the bound */
	RSTAR_SCAN_EVALUATES		/* the calls are in this node, not above it */
};

/* Positions in the list of a call site */
enum
{
	RSTAR_SITE_KIND,			/* RstarCallKind */
	RSTAR_SITE_NGUARDS,			/* expressions that are guards */
	RSTAR_SITE_MAY_RAISE,		/* evaluating them may raise an error */
	RSTAR_SITE_INIT_PARAMS		/* from here on: parameters of init plans */
};

extern const CustomScanMethods rstar_scan_methods;

/* Makes the node known for plans that are sent to workers; once by _PG_init */
extern void rstar_scan_init(void);

/* Is this plan node one of ours? */
extern bool rstar_scan_is_prefetch(const Plan *plan);

#endif							/* RSTAR_SCAN_H */
