/*-------------------------------------------------------------------------
 *
 * unfiltered.h
 *		How many rows a node gives when conditions are taken from it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_UNFILTERED_H
#define RSTAR_UNFILTERED_H

#include "postgres.h"

#include "nodes/plannodes.h"

/*
 * Rows that the planner would have expected of a node of this statement, whose
 * estimate is that of before, without conditions that it does not have any more.
 */
extern double rstar_unfiltered_rows(const PlannedStmt *stmt, const Plan *plan, List *removed);

/* The share of rows that pass, between 0 and 1 */
extern double rstar_unfiltered_share(List *quals);

#endif							/* RSTAR_UNFILTERED_H */
