/*-------------------------------------------------------------------------
 *
 * histogram.h
 *		Times in buckets whose width grows with the time, and percentiles.
 *
 * Pure, no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HISTOGRAM_H
#define RSTAR_HISTOGRAM_H

#include <stdint.h>

/*
 * The first bucket ends at 64 us; from there on each doubling of the time has
 * 8 buckets, up to 2^34 us, about 4.8 hours; the last bucket has the rest.
 */
#define RSTAR_HISTOGRAM_FIRST_BITS 6
#define RSTAR_HISTOGRAM_LAST_BITS 34
#define RSTAR_HISTOGRAM_PARTS 8
#define RSTAR_HISTOGRAM_BUCKETS \
	(2 + (RSTAR_HISTOGRAM_LAST_BITS - RSTAR_HISTOGRAM_FIRST_BITS) * RSTAR_HISTOGRAM_PARTS)

typedef struct RstarHistogram
{
	int64_t		sum;			/* of the times, in us */
	int64_t		buckets[RSTAR_HISTOGRAM_BUCKETS];
} RstarHistogram;

extern void rstar_histogram_add(RstarHistogram *histogram, int64_t us);

/* Takes away what was in it at an earlier time */
extern void rstar_histogram_subtract(RstarHistogram *histogram, const RstarHistogram *earlier);

/* Mean in us; -1 when there is nothing in it */
extern int64_t rstar_histogram_mean(const RstarHistogram *histogram);

/*
 * The time in us that this fraction (0 to 1) of all did not exceed, found in
 * its bucket by the rule of three, so wrong by an eighth at most; -1 when
 * there is nothing in it.
 */
extern int64_t rstar_histogram_percentile(const RstarHistogram *histogram, double fraction);

#endif							/* RSTAR_HISTOGRAM_H */
