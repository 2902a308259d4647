/*-------------------------------------------------------------------------
 *
 * partition.h
 *		Which rows in a ring have others before or after them in their
 *		partition.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PARTITION_H
#define RSTAR_PARTITION_H

#include "postgres.h"

#include "executor/executor.h"

#include "prefetch/ring.h"

typedef struct RstarPartition
{
	ExprState  *same;			/* are two rows of one? NULL: all are */
	ExprContext *context;
	TupleTableSlot *newest;
	TupleTableSlot *before;
} RstarPartition;

/*
 * "columns": rstar_window_func_partition(), of rows of this descriptor.  What is all
 * zeroes takes all rows for one partition.
 */
extern void rstar_partition_init(RstarPartition *partition, List *columns, TupleDesc desc,
								 PlanState *parent);

/*
 * Gives the newest row its place in the partition.  Rows that have left are
 * not known any more: a row after one of these begins anew.
 */
extern void rstar_partition_enter(RstarPartition *partition, RstarRing *ring);

/*
 * The row for which a call with this shift (RstarCallSite) is known to be made
 * by the newest row, or NULL.
 */
extern RstarRow *rstar_partition_row(const RstarRing *ring, int shift);

#endif							/* RSTAR_PARTITION_H */
