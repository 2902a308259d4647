/*-------------------------------------------------------------------------
 *
 * period_test.c
 *		Tests of src/base/period.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "check.h"
#include "base/period.h"

#define DAY (24 * RSTAR_PERIOD_HOUR)

/* Seconds of 2000-01-01 since 1970 */
#define EPOCH INT64_C(946684800)

static RstarPeriod
hours(int64_t n)
{
	return (RstarPeriod) {.us = n * RSTAR_PERIOD_HOUR};
}

/* As the C library counts */
static int64_t
at(int year, int month, int day, int hour)
{
	struct tm	tm = {.tm_year = year - 1900,.tm_mon = month - 1,.tm_mday = day,.tm_hour = hour};

	return ((int64_t) timegm(&tm) - EPOCH) * 1000000;
}

static void
valid(void)
{
	static const RstarPeriod good[] = {
		{.us = RSTAR_PERIOD_HOUR}, {.days = 1}, {.days = 7}, {.months = 1}, {.months = 12},
		{.days = 1,.us = RSTAR_PERIOD_HOUR}, {.days = 1,.us = -RSTAR_PERIOD_HOUR},
		{.months = RSTAR_PERIOD_MAX_MONTHS}, {.us = RSTAR_PERIOD_MAX_HOURS * RSTAR_PERIOD_HOUR}
	};
	static const RstarPeriod bad[] = {
		{.us = 0}, {.us = 1}, {.us = RSTAR_PERIOD_HOUR - 1}, {.us = RSTAR_PERIOD_HOUR / 2}, {.us = -RSTAR_PERIOD_HOUR},
		{.days = -1}, {.months = -1}, {.months = 1,.days = 1}, {.months = 1,.us = RSTAR_PERIOD_HOUR},
		{.months = -1,.days = 60}, {.days = 1,.us = -24 * RSTAR_PERIOD_HOUR},
		{.months = RSTAR_PERIOD_MAX_MONTHS + 1}, {.us = (RSTAR_PERIOD_MAX_HOURS + 1) * RSTAR_PERIOD_HOUR},
		{.months = INT32_MAX,.days = INT32_MAX,.us = INT64_MAX}, {.months = INT32_MIN,.days = INT32_MIN,.us = INT64_MIN},
		{.days = INT32_MAX,.us = INT64_MAX}, {.days = INT32_MIN,.us = INT64_MIN}
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(rstar_period_wrong(&good[i]) == NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(rstar_period_wrong(&bad[i]) != NULL);
}

static void
window_is(RstarPeriod period, int64_t now, int64_t from, int64_t to)
{
	int64_t		starts,
				ends;

	rstar_period_window(&period, now, &starts, &ends);
	CHECK_INT(starts, from);
	CHECK_INT(ends, to);
}

static void
days(void)
{
	int64_t		noon = at(2026, 12, 1, 12);

	window_is(hours(1), noon + 1, noon, noon + RSTAR_PERIOD_HOUR);
	window_is(hours(1), noon - 1, noon - RSTAR_PERIOD_HOUR, noon);
	window_is(hours(24), noon, at(2026, 12, 1, 0), at(2026, 12, 2, 0));
	window_is((RstarPeriod) {.days = 1}, noon, at(2026, 12, 1, 0), at(2026, 12, 2, 0));
	/* a Monday */
	window_is((RstarPeriod) {.days = 7}, noon, at(2026, 11, 30, 0), at(2026, 12, 7, 0));
	window_is((RstarPeriod) {.days = 7}, at(1999, 12, 31, 5), at(1999, 12, 27, 0), at(2000, 1, 3, 0));
}

static void
months(void)
{
	window_is((RstarPeriod) {.months = 1}, at(2026, 12, 31, 23), at(2026, 12, 1, 0), at(2027, 1, 1, 0));
	window_is((RstarPeriod) {.months = 3}, at(2026, 12, 31, 23), at(2026, 10, 1, 0), at(2027, 1, 1, 0));
	window_is((RstarPeriod) {.months = 12}, at(2024, 2, 29, 1), at(2024, 1, 1, 0), at(2025, 1, 1, 0));
	window_is((RstarPeriod) {.months = 1}, at(2000, 1, 1, 0), at(2000, 1, 1, 0), at(2000, 2, 1, 0));
	window_is((RstarPeriod) {.months = 1}, at(2000, 1, 1, 0) - 1, at(1999, 12, 1, 0), at(2000, 1, 1, 0));
	/* every day of some centuries, each as the C library has it */
	for (int64_t day = at(1890, 1, 1, 0); day < at(2410, 1, 1, 0); day += DAY)
	{
		time_t		seconds = (time_t) (day / 1000000 + EPOCH);
		struct tm	tm;
		int64_t		starts,
					ends;

		gmtime_r(&seconds, &tm);
		rstar_period_window(&(RstarPeriod) {.months = 1}, day, &starts, &ends);
		if (starts != at(tm.tm_year + 1900, tm.tm_mon + 1, 1, 0) ||
			ends != at(tm.tm_year + 1900, tm.tm_mon + 2, 1, 0))
		{
			CHECK_INT(starts, at(tm.tm_year + 1900, tm.tm_mon + 1, 1, 0));
			return;
		}
	}
}

static void
hour(void)
{
	CHECK_INT(rstar_period_hour(0), 0);
	CHECK_INT(rstar_period_hour(RSTAR_PERIOD_HOUR - 1), 0);
	CHECK_INT(rstar_period_hour(-1), -RSTAR_PERIOD_HOUR);
	CHECK_INT(rstar_period_hour(at(2026, 12, 1, 12) + 5), at(2026, 12, 1, 12));
}

int
main(void)
{
	CASE("valid");
	valid();
	CASE("days");
	days();
	CASE("months");
	months();
	CASE("hour");
	hour();
	return check_end("period");
}
