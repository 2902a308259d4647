/*-------------------------------------------------------------------------
 *
 * histogram.c
 *		Times in buckets whose width grows with the time, and percentiles.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "shared/histogram.h"

static int	bucket_of(int64_t us);
static int64_t bucket_start(int bucket);
static int64_t total(const RstarHistogram *histogram);

void
rstar_histogram_add(RstarHistogram *histogram, int64_t us)
{
	if (us < 0)
		us = 0;
	histogram->sum += us;
	histogram->buckets[bucket_of(us)]++;
}

static int
bucket_of(int64_t us)
{
	int			bits;
	int			part;

	if (us < INT64_C(1) << RSTAR_HISTOGRAM_FIRST_BITS)
		return 0;
	if (us >= INT64_C(1) << RSTAR_HISTOGRAM_LAST_BITS)
		return RSTAR_HISTOGRAM_BUCKETS - 1;
	bits = 63 - __builtin_clzll((unsigned long long) us);
	part = (int) ((us >> (bits - 3)) & (RSTAR_HISTOGRAM_PARTS - 1));
	return 1 + (bits - RSTAR_HISTOGRAM_FIRST_BITS) * RSTAR_HISTOGRAM_PARTS + part;
}

/* The shortest time of a bucket */
static int64_t
bucket_start(int bucket)
{
	int			bits = RSTAR_HISTOGRAM_FIRST_BITS + (bucket - 1) / RSTAR_HISTOGRAM_PARTS;

	if (bucket == 0)
		return 0;
	return (INT64_C(1) << bits) +
		((bucket - 1) % RSTAR_HISTOGRAM_PARTS) * (INT64_C(1) << (bits - 3));
}

void
rstar_histogram_subtract(RstarHistogram *histogram, const RstarHistogram *earlier)
{
	histogram->sum -= earlier->sum;
	for (int i = 0; i < RSTAR_HISTOGRAM_BUCKETS; i++)
		histogram->buckets[i] -= earlier->buckets[i];
}

static int64_t
total(const RstarHistogram *histogram)
{
	int64_t		n = 0;

	for (int i = 0; i < RSTAR_HISTOGRAM_BUCKETS; i++)
		n += histogram->buckets[i];
	return n;
}

int64_t
rstar_histogram_mean(const RstarHistogram *histogram)
{
	int64_t		n = total(histogram);

	return n > 0 ? histogram->sum / n : -1;
}

int64_t
rstar_histogram_percentile(const RstarHistogram *histogram, double fraction)
{
	int64_t		n = total(histogram);
	double		rank = fraction * (double) n;
	double		below = 0;

	if (n <= 0)
		return -1;
	for (int i = 0; i < RSTAR_HISTOGRAM_BUCKETS - 1; i++)
	{
		double		here = (double) histogram->buckets[i];

		if (here > 0 && below + here >= rank)
		{
			int64_t		start = bucket_start(i);

			return start + (int64_t) ((double) (bucket_start(i + 1) - start) *
									  (rank > below ? (rank - below) / here : 0));
		}
		below += here;
	}
	return bucket_start(RSTAR_HISTOGRAM_BUCKETS - 1);
}
