/*-------------------------------------------------------------------------
 *
 * route.h
 *		Which endpoint gets the next sample, and what an outcome means.
 *
 * Pure state, no I/O, no PostgreSQL: the caller passes the clock (monotonic
 * microseconds) and does what it is told.  Allocates with malloc only.
 * Called by: worker.c, test/unit.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ROUTE_H
#define RSTAR_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

/* Endpoints of one server at most: attempts keep sets of them in 64 bits */
#define RSTAR_ROUTE_MAX_ENDPOINTS 64

typedef struct RstarRoute RstarRoute;	/* one server's endpoints */

typedef struct RstarRouteConfig
{
	int			max_in_flight;	/* per endpoint: start and ceiling; 0: probe */
	int			retries;		/* further attempts for 5xx, bad replies */
} RstarRouteConfig;

typedef enum RstarOutcomeKind
{
	RSTAR_OUTCOME_ANSWER,		/* a 200 that was understood (score or not) */
	RSTAR_OUTCOME_BAD_REPLY,	/* 200 with junk, abort, or an in-band error */
	RSTAR_OUTCOME_STATUS,		/* any other HTTP status */
	RSTAR_OUTCOME_TRANSPORT,	/* not connected, reset, empty reply, TLS */
	RSTAR_OUTCOME_UNTRUSTED,	/* its certificate cannot be verified */
	RSTAR_OUTCOME_TIMEOUT,		/* sent, no whole reply in time */
	RSTAR_OUTCOME_CANCELLED		/* we closed it; says nothing of the endpoint */
} RstarOutcomeKind;

typedef struct RstarOutcome
{
	RstarOutcomeKind kind;
	int			status;			/* HTTP status for STATUS */
	int			retry_after;	/* seconds, -1 when not sent */
	bool		unknown_model;	/* 404/400 whose body says so */
	bool		quota;			/* 429 that will not go away */
	bool		again;			/* STATUS: for this sample only, which goes
								 * again at once, with another text */
} RstarOutcome;

/*
 * What route.c keeps per sample, inside the caller's struct; zeroed at start
 * but for last_endpoint = -1.
 */
typedef struct RstarAttempt
{
	uint64_t	affinity;		/* hash of (task, query), set by the caller */
	uint32_t	request;		/* identity of the pair, for the breaker's
								 * "different requests"; set by the caller */
	uint32_t	mapping;		/* user mapping, for the misconfigured state */
	int			failures;		/* attempts used up */
	int			transports;		/* transport errors so far */
	int			endpoint;		/* where it is now, -1 when nowhere */
	int			last_endpoint;	/* where it failed last, -1 none */
	int64_t		not_before;		/* do not send earlier than this */
	/* of no use to the caller: */
	int			pushbacks;		/* 429, 503, 408 in a row */
	int			refusals;		/* by endpoints that were not marked */
	int64_t		sent_at;
	int64_t		failed_at;		/* time of the last transport error */
	uint64_t	tried;			/* set of endpoints where it failed; not
								 * renumbered, it is a preference only */
} RstarAttempt;

typedef enum RstarVerdict
{
	RSTAR_VERDICT_DONE,			/* it was an answer */
	RSTAR_VERDICT_RETRY,		/* again, not before attempt->not_before */
	RSTAR_VERDICT_FAIL			/* for good */
} RstarVerdict;

/*
 * NULL when out of memory, or n is not 1..RSTAR_ROUTE_MAX_ENDPOINTS.
 * Endpoints are named 0..n-1, all closed (good).
 */
extern RstarRoute *rstar_route_create(const char *const *urls, int n,
									  const RstarRouteConfig *config, int64_t now);
extern void rstar_route_free(RstarRoute *route);

/*
 * The server was altered: new URLs and configuration.  State of URLs that
 * stay is kept, but for "misconfigured".  Requests in flight on endpoints
 * that went are remembered by the caller's attempt: map[i] gives the new
 * number of old endpoint i, or -1.  False when out of memory (nothing changed).
 */
extern bool rstar_route_update(RstarRoute *route, const char *const *urls, int n,
							   const RstarRouteConfig *config, int64_t now, int *map);

/* How many more samples could be sent at this moment, over all endpoints */
extern int	rstar_route_capacity(const RstarRoute *route, uint32_t mapping, int64_t now);

/*
 * The endpoint for this attempt, or -1: nothing may be sent now, and *wake is
 * set to when it is worth asking again (INT64_MAX: when something finishes,
 * or a probe does).
 */
extern int	rstar_route_choose(RstarRoute *route, const RstarAttempt *attempt,
							   int64_t now, int64_t *wake);

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
 * An endpoint whose /health should be asked now, or -1 and *wake when there
 * may be one, or when an endpoint's pause is over.  The outcome must be told,
 * under the endpoint's number at that time; one that is not told within 30 s
 * counts as lost.
 */
extern int	rstar_route_probe(RstarRoute *route, int64_t now, int64_t *wake);
extern void rstar_route_probed(RstarRoute *route, int endpoint, bool healthy, int64_t now);

/*
 * True when nothing has been answered by any endpoint for "timeout"
 * microseconds although something was tried or waits to be.
 */
extern bool rstar_route_unavailable(const RstarRoute *route, int64_t now, int64_t timeout);

/* What became of an endpoint, for the log */
typedef enum RstarChangeKind
{
	RSTAR_CHANGE_OPENED,		/* out of use after failures */
	RSTAR_CHANGE_CLOSED,		/* and in use again */
	RSTAR_CHANGE_MARKED,		/* misconfigured, for one mapping */
	RSTAR_CHANGE_CLEARED		/* and not any more */
} RstarChangeKind;

typedef struct RstarChange
{
	RstarChangeKind kind;
	int			endpoint;		/* as it was numbered then */
	uint32_t	mapping;		/* MARKED, CLEARED */
} RstarChange;

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
	const char *state;			/* "closed", "open", "half-open", "misconfigured" */
	int64_t		sent;
	int64_t		answered;
	int64_t		failed;
} RstarEndpointState;
extern void rstar_route_state(const RstarRoute *route, int endpoint,
							  RstarEndpointState *state);

#endif							/* RSTAR_ROUTE_H */
