/*-------------------------------------------------------------------------
 *
 * closest.h
 *		"Perhaps you meant": which name somebody had in mind.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CLOSEST_H
#define RSTAR_CLOSEST_H

#include "postgres.h"

typedef struct RstarClosest
{
	const char *given;
	char	   *found;			/* palloc'd; NULL: none is close */
	int			distance;		/* of it, or what is too far */
} RstarClosest;

/* Looks for names that are like the one given, which must stay */
extern void rstar_closest_init(RstarClosest *closest, const char *given);

/* Here is one that exists.  Of several that are as close the first is taken. */
extern void rstar_closest_offer(RstarClosest *closest, const char *name);

#endif							/* RSTAR_CLOSEST_H */
