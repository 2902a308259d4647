/*-------------------------------------------------------------------------
 *
 * choose.h
 *		Which endpoint is best for a sample, and the state of all of them.
 *
 * Pure: no PostgreSQL.  For route.c and verdict.c alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CHOOSE_H
#define RSTAR_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/attempt.h"
#include "worker/endpoint.h"

/* Changes that nobody has asked for; what does not fit is forgotten */
#define RSTAR_ROUTE_MAX_CHANGES 4

struct RstarRoute
{
	RstarRouteConfig config;
	RstarEndpoint *endpoints;
	int			n;
	int			in_flight;
	int64_t		failing_since;	/* first failure since an answer; -1: none */
	int64_t		last_event;		/* of sent, finished, end of a Retry-After */
	uint64_t	random;
	RstarChange changes[RSTAR_ROUTE_MAX_CHANGES];
	int			nchanges;
};

/* Whether all endpoints are marked for the mapping */
extern bool rstar_choose_all_marked(const RstarRoute *route, uint32_t mapping);

/*
 * Of the endpoints that are marked for the mapping the one that refused
 * longest ago, if "all" are marked, or it is time to try it again; or -1.
 */
extern int	rstar_choose_marked(const RstarRoute *route, uint32_t mapping, bool all,
								int64_t now);

/*
 * Of the endpoints that are not marked, and of the best grade, the one that has
 * affinity, unless it is too loaded: then the one with the fewest in flight
 * relative to its bound; or -1.
 */
extern int	rstar_choose_best(const RstarRoute *route, const RstarAttempt *attempt,
							  int64_t now);

/*
 * Whether endpoint i is in doubt, and there is another one in use, so that
 * nothing new is to go there.
 */
extern bool rstar_choose_spares(const RstarRoute *route, uint32_t mapping, int i);

/* Whether a sample that just failed would go to another, good endpoint now */
extern bool rstar_choose_is_other(const RstarRoute *route, const RstarAttempt *attempt,
								  int64_t now);

/* A hash: every bit of x moves every bit of the result */
extern uint64_t rstar_choose_mix(uint64_t x);

#endif							/* RSTAR_CHOOSE_H */
