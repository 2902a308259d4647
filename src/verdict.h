/*-------------------------------------------------------------------------
 *
 * verdict.h
 *		What the end of an attempt means, and the state that this needs.
 *
 * Private to route.c and verdict.c.  Pure state, as there.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_VERDICT_H
#define RSTAR_VERDICT_H

#include "route.h"
#include "endpoint.h"

/* Changes that nobody has asked for; what does not fit is forgotten */
#define RSTAR_ROUTE_MAX_CHANGES 4

struct RstarRoute
{
	RstarRouteConfig config;
	RstarEndpoint *endpoints;
	int			n;
	int			in_flight;
	int64_t		waiting_since;	/* sent, and nothing served since; -1: no */
	int64_t		last_event;		/* of sent, finished, end of a Retry-After */
	uint64_t	random;
	RstarChange changes[RSTAR_ROUTE_MAX_CHANGES];
	int			nchanges;
};

/*
 * What becomes of the sample; tells the endpoint, which is NULL when it has
 * gone meanwhile.
 */
extern RstarVerdict rstar_verdict_find(RstarRoute *route, RstarAttempt *attempt,
									   RstarEndpoint *endpoint,
									   const RstarOutcome *outcome, int64_t now);

/* Whether it is a status that says that the endpoint is misconfigured */
extern bool rstar_verdict_is_refusal(const RstarOutcome *outcome);

/* Whether all endpoints are marked for the mapping */
extern bool rstar_verdict_all_marked(const RstarRoute *route, uint32_t mapping);

/* Whether a sample that just failed would go to another, good endpoint now */
extern bool rstar_route_is_other(const RstarRoute *route, const RstarAttempt *attempt,
								 int64_t now);

#endif							/* RSTAR_VERDICT_H */
