/*-------------------------------------------------------------------------
 *
 * histogram_test.c
 *		Tests of src/shared/histogram.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "shared/histogram.h"

static RstarHistogram histogram;

static void
clear(void)
{
	memset(&histogram, 0, sizeof(histogram));
}

/* Of so many that are all the same, every percentile is that, nearly */
static bool
close_to(int64_t actual, int64_t expected)
{
	int64_t		off = actual > expected ? actual - expected : expected - actual;

	return off <= expected / 8 + 64;
}

static void
nothing(void)
{
	clear();
	CHECK_INT(rstar_histogram_mean(&histogram), -1);
	CHECK_INT(rstar_histogram_percentile(&histogram, 0.5), -1);
}

static void
one_time(void)
{
	for (int64_t us = 1; us < INT64_C(1) << RSTAR_HISTOGRAM_LAST_BITS; us = us * 5 / 4 + 1)
	{
		clear();
		for (int i = 0; i < 3; i++)
			rstar_histogram_add(&histogram, us);
		CHECK_INT(rstar_histogram_mean(&histogram), us);
		CHECK(close_to(rstar_histogram_percentile(&histogram, 0), us));
		CHECK(close_to(rstar_histogram_percentile(&histogram, 0.5), us));
		CHECK(close_to(rstar_histogram_percentile(&histogram, 0.99), us));
		CHECK(close_to(rstar_histogram_percentile(&histogram, 1), us));
	}
}

static void
extremes(void)
{
	clear();
	rstar_histogram_add(&histogram, -5);
	CHECK_INT(histogram.buckets[0], 1);
	CHECK_INT(histogram.sum, 0);
	clear();
	rstar_histogram_add(&histogram, INT64_MAX / 4);
	CHECK_INT(histogram.buckets[RSTAR_HISTOGRAM_BUCKETS - 1], 1);
	CHECK(rstar_histogram_percentile(&histogram, 0.5) == INT64_C(1) << RSTAR_HISTOGRAM_LAST_BITS);
}

/* Every bucket is reached, in order */
static void
buckets(void)
{
	int64_t		last = -1;

	clear();
	for (int64_t us = 0; us < INT64_C(1) << 20; us++)
		rstar_histogram_add(&histogram, us);
	for (int i = 0; i < 2 + (20 - RSTAR_HISTOGRAM_FIRST_BITS) * RSTAR_HISTOGRAM_PARTS - 1; i++)
	{
		CHECK(histogram.buckets[i] > 0);
		if (i > 0)
			CHECK(histogram.buckets[i] >= last / 8);
		last = histogram.buckets[i];
	}
	CHECK(close_to(rstar_histogram_percentile(&histogram, 0.5), INT64_C(1) << 19));
	CHECK(close_to(rstar_histogram_percentile(&histogram, 0.95), (INT64_C(1) << 20) * 95 / 100));
}

static void
since(void)
{
	RstarHistogram before;

	clear();
	rstar_histogram_add(&histogram, 1000);
	before = histogram;
	rstar_histogram_add(&histogram, 50000);
	rstar_histogram_subtract(&histogram, &before);
	CHECK_INT(rstar_histogram_mean(&histogram), 50000);
	CHECK(close_to(rstar_histogram_percentile(&histogram, 0.5), 50000));
	before = histogram;
	rstar_histogram_subtract(&histogram, &before);
	CHECK_INT(rstar_histogram_percentile(&histogram, 0.5), -1);
}

int
main(void)
{
	CASE("nothing");
	nothing();
	CASE("one time");
	one_time();
	CASE("extremes");
	extremes();
	CASE("buckets");
	buckets();
	CASE("since a reset");
	since();
	return check_end("histogram");
}
