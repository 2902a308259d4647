/*-------------------------------------------------------------------------
 *
 * scan_explain.h
 *		What EXPLAIN shows of a prefetch node.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SCAN_EXPLAIN_H
#define RSTAR_SCAN_EXPLAIN_H

#include "postgres.h"

#include "nodes/plannodes.h"

#include "base/compat.h"
#include "session/memo.h"

/* What the node has done, for EXPLAIN ANALYZE */
typedef struct RstarScanReport
{
	RstarMemoStats stats;		/* what its calls cost */
	int64		rows_read;
	int64		rows_dropped;	/* read ahead for nothing */
	int64		not_ahead;		/* calls whose arguments might raise an error */
	int			largest_window; /* most rows read ahead at once */
	const RstarPriorUse *priors;	/* what the statement's sets made of them;
									 * NULL: the node reads for none that has
									 * any */
} RstarScanReport;

/* Pairs that the planner expects the node to see, for all of its calls */
extern double rstar_scan_expected(const CustomScan *scan);

extern void rstar_scan_explain(CustomScan *scan, const RstarScanReport *report,
							   List *ancestors, ExplainState *es);

#endif							/* RSTAR_SCAN_EXPLAIN_H */
