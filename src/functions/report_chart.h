/*-------------------------------------------------------------------------
 *
 * report_chart.h
 *		Drawings of a page, as SVG, each with its table.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPORT_CHART_H
#define RSTAR_REPORT_CHART_H

#include "postgres.h"

#include "lib/stringinfo.h"

/* Colours that there are */
#define RSTAR_CHART_SERIES 6

/* One bar: a part for each series, none below 0 */
typedef struct RstarBar
{
	char	   *label;
	double		parts[RSTAR_CHART_SERIES];
} RstarBar;

/* Bars side by side; one series needs no name */
typedef struct RstarBarChart
{
	const char *title;
	const char *summary;		/* what is to be seen, in a sentence */
	const char *across;			/* what the labels are */
	const char *up;				/* what is counted */
	int			nseries;
	const char *series[RSTAR_CHART_SERIES];
	int			nbars;
	const RstarBar *bars;
} RstarBarChart;

/* One line with points on it, and one of them marked */
typedef struct RstarRange
{
	char	   *label;
	double		mark;
	int			npoints;
	const double *points;
} RstarRange;

/* Lines one below the other, from 0 on */
typedef struct RstarRangeChart
{
	const char *title;
	const char *summary;
	double		high;			/* where the axis ends; 0: behind the last
								 * point */
	int			nranges;
	const RstarRange *ranges;
} RstarRangeChart;

/*
 * A figure with its title, the drawing with title and description for who does
 * not see it, and the same as a table.
 */
extern void rstar_chart_bars(StringInfo page, const RstarBarChart *chart);

/* The same, but that the table is the caller's */
extern void rstar_chart_ranges(StringInfo page, const RstarRangeChart *chart);

#endif							/* RSTAR_REPORT_CHART_H */
