/*-------------------------------------------------------------------------
 *
 * clock.h
 *		The clock by which the worker times what it does.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CLOCK_H
#define RSTAR_CLOCK_H

#include "postgres.h"

#include "portability/instr_time.h"

/* Monotonic, in us; means nothing outside of this process */
static inline int64
rstar_clock(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

#endif							/* RSTAR_CLOCK_H */
