/*-------------------------------------------------------------------------
 *
 * period.h
 *		The windows of a budget: periods that follow each other, aligned.
 *
 * Pure.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PERIOD_H
#define RSTAR_PERIOD_H

#include <stdbool.h>
#include <stdint.h>

/* Microseconds; times count from 2000-01-01 00:00 UTC, as PostgreSQL's do */
#define RSTAR_PERIOD_HOUR INT64_C(3600000000)

/* A hundred years */
#define RSTAR_PERIOD_MAX_MONTHS 1200
#define RSTAR_PERIOD_MAX_HOURS (INT64_C(876600))

/* As an interval has it */
typedef struct RstarPeriod
{
	int			months;
	int			days;
	int64_t		us;
} RstarPeriod;

/* Why it is none; NULL: it is one */
extern const char *rstar_period_wrong(const RstarPeriod *period);

/*
 * The window of a valid period that "now" lies in: from *starts, until before
 * *ends.  Months are those of the calendar, in UTC, counted from January 2000;
 * windows of hours follow each other since Monday, 2000-01-03.
 */
extern void rstar_period_window(const RstarPeriod *period, int64_t now,
								int64_t *starts, int64_t *ends);

/* The start of the hour */
extern int64_t rstar_period_hour(int64_t at);

#endif							/* RSTAR_PERIOD_H */
