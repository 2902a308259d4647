/*-------------------------------------------------------------------------
 *
 * window_func.h
 *		Calls in the arguments of window functions.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WINDOW_FUNC_H
#define RSTAR_WINDOW_FUNC_H

#include "postgres.h"

#include "nodes/plannodes.h"

#include "prefetch/calls.h"

/*
 * Those of which it is known for which input rows of the node the executor
 * makes them (list of RstarCallSite).
 */
extern List *rstar_window_func_calls(const RstarCallParams *params, WindowAgg *window);

/*
 * Column, equality operator and collation of each column that the node's
 * input is partitioned by (IntList).
 */
extern List *rstar_window_func_partition(const WindowAgg *window);

#endif							/* RSTAR_WINDOW_FUNC_H */
