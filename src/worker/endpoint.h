/*-------------------------------------------------------------------------
 *
 * endpoint.h
 *		What is known of one endpoint: how much it takes, whether it is well.
 *
 * Pure: no PostgreSQL.  For choose.c, verdict.c and route.c alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ENDPOINT_H
#define RSTAR_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/attempt.h"
#include "worker/limit.h"
#include "worker/watch.h"

/* Different requests that must have failed before the breaker opens */
#define RSTAR_OPEN_REQUESTS 3

/* State of the breaker */
typedef enum RstarCircuit
{
	RSTAR_CIRCUIT_CLOSED,
	RSTAR_CIRCUIT_OPEN,
	RSTAR_CIRCUIT_HALF_OPEN
} RstarCircuit;

/* A user mapping that the endpoint refuses */
typedef struct RstarMark
{
	uint32_t	mapping;
	int64_t		failed_at;
	int64_t		retest_at;
	int64_t		retest_wait;
	bool		told;			/* to the caller, as a change */
} RstarMark;

typedef struct RstarEndpoint
{
	char	   *url;
	uint64_t	hash;			/* of url */
	int			in_flight;

	RstarLimit	limit;			/* of in_flight */
	int64_t		latency;		/* moving average of answers, -1: none */

	int64_t		hold_until;		/* Retry-After */
	int64_t		pause_until;	/* our own, ended by an answer */
	int			pauses;			/* since the last answer */

	RstarCircuit circuit;
	int			failures;		/* in a row */
	int			nfailing;		/* different requests among them, counted up
								 * to RSTAR_OPEN_REQUESTS */
	uint32_t	failing[RSTAR_OPEN_REQUESTS];
	int			nowhere;		/* failures in a row that found nobody there */
	bool		heard;			/* it has replied something since its server
								 * was altered */
	int			nill;			/* the same of 5xx, whatever has been answered
								 * since that was sent before the first */
	uint32_t	ill[RSTAR_OPEN_REQUESTS];
	int64_t		ill_since;		/* the first of them */
	int64_t		suspect_until;	/* others are preferred after failures */
	int64_t		closed_at;		/* failures of what was sent before are old */
	int64_t		changed_at;		/* opened, or probe began or failed */
	int64_t		probe_wait;		/* time from there to the next probe */
	int			trips;			/* times opened since the last answer */
	bool		trial;			/* closed for one request, which shows */
	int			unwell;			/* probes that it answered with 503, in a row */
	RstarWatch	watch;

	int64_t		sent_at;		/* last request, -1: none */
	int64_t		served_at;		/* when the last request that was answered had
								 * been sent, -1: none */
	int64_t		failed_at;		/* last failure, -1: none */
	RstarMark  *marks;
	int			nmarks;
	int			max_marks;
	int64_t		told_at;		/* when the last mark was told */

	int64_t		sent;
	int64_t		answered;
	int64_t		failed;
} RstarEndpoint;

/* False when out of memory, with nothing to destroy */
extern bool rstar_endpoint_init(RstarEndpoint *endpoint, const char *url,
								const RstarRouteConfig *config);
extern void rstar_endpoint_destroy(RstarEndpoint *endpoint);

/* The limit starts anew, under another configuration */
extern void rstar_endpoint_reset_limit(RstarEndpoint *endpoint,
									   const RstarRouteConfig *config);

/* When it can be used again; open, that is no matter of time: INT64_MAX */
extern int64_t rstar_endpoint_up_at(const RstarEndpoint *endpoint);

/* How many may be in flight now */
extern int	rstar_endpoint_bound(const RstarEndpoint *endpoint);

/*
 * Whether it is below its bound; and whether it could be sent something now,
 * but for marks.
 */
extern bool rstar_endpoint_has_room(const RstarEndpoint *endpoint);
extern bool rstar_endpoint_is_free(const RstarEndpoint *endpoint, int64_t now);

/* The mark of this mapping, or NULL */
extern RstarMark *rstar_endpoint_find_mark(const RstarEndpoint *endpoint,
										   uint32_t mapping);

/* Marks it misconfigured for this mapping; false when out of memory */
extern bool rstar_endpoint_mark(RstarEndpoint *endpoint, uint32_t mapping, int64_t now);

/* A request went there; what came of it */
extern void rstar_endpoint_sent(RstarEndpoint *endpoint, RstarAttempt *attempt, int64_t now);
extern void rstar_endpoint_answered(RstarEndpoint *endpoint, const RstarAttempt *attempt,
									int64_t now);
extern void rstar_endpoint_pushed_back(RstarEndpoint *endpoint, int retry_after,
									   uint64_t *random, int64_t now);
extern void rstar_endpoint_timed_out(RstarEndpoint *endpoint, const RstarAttempt *attempt,
									 bool by_proxy, int64_t now);
extern void rstar_endpoint_failed(RstarEndpoint *endpoint, const RstarAttempt *attempt,
								  bool nowhere, int64_t now);

/* What was sent there, and ended without an answer, has only waited in line */
extern bool rstar_endpoint_kept_waiting(const RstarEndpoint *endpoint,
										const RstarAttempt *attempt);

/* It has gone: out of use at once, if it was not */
extern void rstar_endpoint_gone(RstarEndpoint *endpoint, int64_t now);

/* The outcome of its /health, while half-open */
extern void rstar_endpoint_probed(RstarEndpoint *endpoint, RstarHealth health, int64_t now);

/* When its /health is to be asked; "alone": no other endpoint is in use */
extern int64_t rstar_endpoint_probe_at(const RstarEndpoint *endpoint, bool alone);

/*
 * A random time from "shortest" to a bound that doubles with each round (it
 * is twice "shortest" in the first) up to "longest".
 */
extern int64_t rstar_endpoint_jitter(uint64_t *random, int64_t shortest,
									 int64_t longest, int round);

#endif							/* RSTAR_ENDPOINT_H */
