/*-------------------------------------------------------------------------
 *
 * route.h
 *		Which endpoint gets the next sample, and what an outcome means.
 *
 * Pure state, no I/O, no PostgreSQL: the caller passes the clock (monotonic
 * microseconds) and does what it is told.  Allocates with malloc only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ROUTE_H
#define RSTAR_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/learnt.h"
#include "worker/attempt.h"

/*
 * NULL when out of memory, or n is not 1..RSTAR_ROUTE_MAX_ENDPOINTS.
 * Endpoints are named 0..n-1, all closed (good).
 */
extern RstarRoute *rstar_route_create(const char *const *urls, int n,
									  const RstarRouteConfig *config, int64_t now);
extern void rstar_route_free(RstarRoute *route);

/*
 * URLs and configuration, which may be the same.  State of URLs that
 * stay is kept, but for "misconfigured".  Requests in flight on endpoints
 * that went are remembered by the caller's attempt: map[i] gives the new
 * number of old endpoint i, or -1.  False when out of memory (nothing changed).
 */
extern bool rstar_route_update(RstarRoute *route, const char *const *urls, int n,
							   const RstarRouteConfig *config, int *map);

/* Its server was altered, and is not unavailable because of what was before */
extern void rstar_route_altered(RstarRoute *route, int64_t now);

/* How many more samples could be sent at this moment, over all endpoints */
extern int	rstar_route_capacity(const RstarRoute *route, uint32_t mapping, int64_t now);

/* How many samples may be in flight at once, over all endpoints */
extern int	rstar_route_limit(const RstarRoute *route);

/*
 * Whether an attempt in flight was sent no longer ago than half of the time that
 * a reply takes at the slowest endpoint; and whether it is so at its own, and a
 * sample of this mapping could have its room there.
 */
extern bool rstar_route_is_young(const RstarRoute *route, const RstarAttempt *attempt,
								 int64_t now);
extern bool rstar_route_may_yield(const RstarRoute *route, const RstarAttempt *attempt,
								  uint32_t mapping, int64_t now);

/*
 * The endpoint for this attempt, or -1: nothing may be sent now, and *wake is
 * set to when it is worth asking again (INT64_MAX: when something finishes,
 * or a probe does).
 */
extern int	rstar_route_choose(RstarRoute *route, const RstarAttempt *attempt,
							   int64_t now, int64_t *wake);

/*
 * Somebody waits for it, which is told every few seconds at least: between two
 * trials of an endpoint that is ill more time may pass than is taken for the end
 * of a time of work, after which rstar_route_unavailable() counts anew.
 */
extern void rstar_route_wanted(RstarRoute *route, int64_t now);

/* The attempt was sent to the endpoint that choose named */
extern void rstar_route_sent(RstarRoute *route, RstarAttempt *attempt,
							 int endpoint, int64_t now);

/*
 * The attempt ended; the verdict says what becomes of the sample (CANCELLED:
 * FAIL).  An attempt whose endpoint has gone by rstar_route_update(), which the
 * caller set to -1, says nothing of any endpoint.
 */
extern RstarVerdict rstar_route_finished(RstarRoute *route, RstarAttempt *attempt,
										 const RstarOutcome *outcome, int64_t now);

/*
 * Endpoints that get more as time goes by, though nothing is answered, do: true
 * when one does.  *wake: when to ask again (INT64_MAX: when something has been
 * sent).
 */
extern bool rstar_route_turn(RstarRoute *route, int64_t now, int64_t *wake);

/*
 * Whether some of what is in flight at the endpoint may be late, and whether
 * one is that has so many ahead of it there; and it was taken back: it is to be
 * sent again, and says nothing of the endpoint.
 */
extern bool rstar_route_strained(const RstarRoute *route, int endpoint, int64_t now);
extern bool rstar_route_late(const RstarRoute *route, const RstarAttempt *attempt,
							 int ahead, int64_t now);
extern void rstar_route_recalled(RstarRoute *route, RstarAttempt *attempt);

/*
 * What was learnt of an endpoint's limit; and that it was learnt before, which
 * counts for one that has not been used.  All start anew: it is another model.
 */
extern void rstar_route_learnt(const RstarRoute *route, int endpoint, RstarLearntLimit *learnt);
extern void rstar_route_learn(RstarRoute *route, int endpoint, const RstarLearntLimit *learnt);
extern void rstar_route_forget_limits(RstarRoute *route);

/*
 * An endpoint whose /health should be asked now, on a new connection, or -1 and
 * *wake when there may be one, when an endpoint's pause is over, or when
 * rstar_route_lost() may name one.  The outcome must be told, under the
 * endpoint's number at that time; one that is not told within 30 s counts as
 * lost.
 */
extern int	rstar_route_probe(RstarRoute *route, int64_t now, int64_t *wake);
extern void rstar_route_probed(RstarRoute *route, int endpoint, RstarHealth health,
							   int64_t now);

/*
 * An endpoint that has gone with what was sent there before the time *before:
 * that is to be closed, and finished as RSTAR_OUTCOME_LOST; or -1.
 */
extern int	rstar_route_lost(RstarRoute *route, int64_t now, int64_t *before);

/*
 * True when the first failure since the last answer of any endpoint is
 * "timeout" microseconds ago, and nothing that is in flight gives hope: it is
 * at endpoints that went on to fail, and nothing was sent there since.
 */
extern bool rstar_route_unavailable(const RstarRoute *route, int64_t now, int64_t timeout);

/* When that will be so, if nothing else happens; -1: nothing has failed since the last answer */
extern int64_t rstar_route_gives_up(const RstarRoute *route, int64_t timeout);

/*
 * Whether an endpoint has replied anything since the route was made, or
 * rstar_route_altered(); that it did before, and it is known from elsewhere;
 * and whether none has, and there is nobody where they should be.
 */
extern bool rstar_route_heard(const RstarRoute *route, int endpoint);
extern void rstar_route_hear(RstarRoute *route, int endpoint);
extern bool rstar_route_is_nowhere(const RstarRoute *route);

/*
 * Takes the oldest change that was not taken; false when there is none.  To be
 * asked after finished and probed.  An endpoint that is marked and cleared
 * over and over is named once a minute.
 */
extern bool rstar_route_next_change(RstarRoute *route, RstarChange *change);

/* State of one endpoint, for views and messages */
typedef struct RstarEndpointState
{
	const char *url;
	int			in_flight;
	int			limit;
	const char *state;			/* "closed", "open", "half-open",
								 * "misconfigured", "doubted" */
	int64_t		sent;
	int64_t		answered;
	int64_t		failed;
} RstarEndpointState;
extern void rstar_route_state(const RstarRoute *route, int endpoint,
							  RstarEndpointState *state);

#endif							/* RSTAR_ROUTE_H */
