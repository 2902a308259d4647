/*-------------------------------------------------------------------------
 *
 * window.c
 *		How many rows a prefetch node reads ahead when its reader may stop.
 *
 * When every row will be asked for, scan.c reads as far as
 * retrostar.prefetch_window allows: a wide window costs nothing then.  When
 * the reader may stop, each row too many is GPU time for nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "base/settings.h"
#include "prefetch/window.h"

/* Rows to read ahead at first when nobody knows how many will be wanted */
#define FIRST_WINDOW 8

void
rstar_window_start(RstarWindow *window, double bound, bool filtered)
{
	memset(window, 0, sizeof(RstarWindow));
	window->bound = bound;
	window->filtered = filtered;
	window->size = FIRST_WINDOW;
}

void
rstar_window_taken(RstarWindow *window)
{
	window->taken++;
	if (++window->taken_since < window->size)
		return;
	window->taken_since = 0;
	if (window->size < rstar_prefetch_window)
		window->size *= 2;
}

/*
 * With a bound, as many as the reader still takes, and more when the qual
 * drops some, as far as its rate until now tells; but a rate of few rows tells
 * little, hence the second limit.  Without, a few, and twice as many whenever
 * that many were taken.  So what is read for nothing stays within a small
 * multiple of what was wanted.
 */
int
rstar_window_target(const RstarWindow *window)
{
	double		target = window->bound - window->passed;

	if (target <= 0 || isinf(target))
		target = window->size;
	else if (window->filtered)
	{
		target = ceil(target * (window->taken + 2) / (window->passed + 1));
		target = Min(target, Max(window->bound, FIRST_WINDOW) + 2 * window->taken);
	}
	return (int) Min(target, rstar_prefetch_window);
}
