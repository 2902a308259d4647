/*-------------------------------------------------------------------------
 *
 * period.c
 *		The windows of a budget: periods that follow each other, aligned.
 *
 * Pure.  Usage is kept by the hour, so windows begin and end with hours.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "base/period.h"

#include <stddef.h>

#define DAY (24 * RSTAR_PERIOD_HOUR)

/* Monday, 2000-01-03 */
#define FIRST_MONDAY (2 * DAY)

static int64_t divide(int64_t a, int64_t b);
static int64_t months_of(int64_t at);
static int64_t first_of_month(int64_t months);
static int64_t hours(const RstarPeriod *period);

const char *
rstar_period_wrong(const RstarPeriod *period)
{
	if (period->months != 0)
	{
		if (period->days != 0 || period->us != 0)
			return "It has both months and shorter units.";
		if (period->months < 0)
			return "It is not positive.";
		return period->months > RSTAR_PERIOD_MAX_MONTHS ? "It is longer than a hundred years." : NULL;
	}
	if (period->us % RSTAR_PERIOD_HOUR != 0)
		return "It is not a whole number of hours.";
	if (hours(period) <= 0)
		return "It is not positive.";
	return hours(period) > RSTAR_PERIOD_MAX_HOURS ? "It is longer than a hundred years." : NULL;
}

/* Of a period without months; no interval is too long for it */
static int64_t
hours(const RstarPeriod *period)
{
	return (int64_t) period->days * 24 + period->us / RSTAR_PERIOD_HOUR;
}

void
rstar_period_window(const RstarPeriod *period, int64_t now, int64_t *starts, int64_t *ends)
{
	if (period->months > 0)
	{
		int64_t		first = divide(months_of(now), period->months) * period->months;

		*starts = first_of_month(first);
		*ends = first_of_month(first + period->months);
	}
	else
	{
		int64_t		length = hours(period) * RSTAR_PERIOD_HOUR;

		*starts = divide(now - FIRST_MONDAY, length) * length + FIRST_MONDAY;
		*ends = *starts + length;
	}
}

int64_t
rstar_period_hour(int64_t at)
{
	return divide(at, RSTAR_PERIOD_HOUR) * RSTAR_PERIOD_HOUR;
}

/* Rounded down */
static int64_t
divide(int64_t a, int64_t b)
{
	return a / b - (a % b < 0 ? 1 : 0);
}

/* Whole months between 2000-01-01 and then */
static int64_t
months_of(int64_t at)
{
	/* a guess that is never too late, as months have 31 days at most */
	int64_t		months = divide(divide(at, DAY), 31);

	/* before 2000 it is too late, by less than these */
	if (at < 0)
		months += months / 28 - 1;
	while (first_of_month(months + 1) <= at)
		months++;
	return months;
}

static int64_t
first_of_month(int64_t months)
{
	static const int before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	int64_t		year = divide(months, 12);
	int			month = (int) (months - year * 12);
	int64_t		y = year + 2000;
	bool		leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;

	/* leap years since 2000, which is one */
	int64_t		leaps = year > 0 ? divide(year - 1, 4) - divide(year - 1, 100) + divide(year - 1, 400) + 1 :
		-(divide(-year, 4) - divide(-year, 100) + divide(-year, 400));

	return (year * 365 + leaps + before[month] + (leap && month > 1 ? 1 : 0)) * DAY;
}
