/*-------------------------------------------------------------------------
 *
 * window.h
 *		How many rows a prefetch node reads ahead when its reader may stop.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WINDOW_H
#define RSTAR_WINDOW_H

#include "postgres.h"

#include "utils/float.h"

/* No bound is known */
#define RSTAR_WINDOW_UNBOUND get_float8_infinity()

/* Since the last (re)scan */
typedef struct RstarWindow
{
	double		bound;			/* rows that the reader takes, or infinity */
	double		taken;			/* rows that left the ring */
	double		passed;			/* of these, rows that passed the qual */
	bool		filtered;		/* there is one */
	int			size;			/* rows to read ahead when nobody knows */
	int			taken_since;	/* rows that left since it grew */
} RstarWindow;

extern void rstar_window_start(RstarWindow *window, double bound, bool filtered);

/* A row has left the ring */
extern void rstar_window_taken(RstarWindow *window);

/* How many rows the ring should have; retrostar.prefetch_window at most */
extern int	rstar_window_target(const RstarWindow *window);

#endif							/* RSTAR_WINDOW_H */
