/*-------------------------------------------------------------------------
 *
 * map.h
 *		What sessions, worker and views may know of the map of requests.
 *
 * Types only.  What lies behind RstarRequest and RstarWaiter is in request.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MAP_H
#define RSTAR_MAP_H

#include "postgres.h"

typedef enum RstarKind
{
	RSTAR_KIND_SCORE,
	RSTAR_KIND_CHECK			/* retrostar.check(): ask one endpoint for its
								 * models */
} RstarKind;

/* One pair in work, in shared memory; stays while samples are in flight */
typedef struct RstarRequest RstarRequest;

/* A session's interest in one request, in shared memory */
typedef struct RstarWaiter RstarWaiter;

/*
 * What is counted of the pairs of one database since the server started, or
 * the last reset.  At any moment, for pairs (an endpoint that is checked is
 * one, too),
 *
 *	asked = answered + failed + cancelled + those that wait or run
 *
 * and for samples (a check has none)
 *
 *	sent = scored + unscored + failed + cancelled + running
 *
 * A sample is sent when the worker takes it from the queue, whether an
 * endpoint can have it at once or not.  It has failed when its pair fails
 * for its sake; it is cancelled when nobody wants its pair any more,
 * another sample has made it fail, or the worker leaves (what is sent then
 * by the next one is another sample).
 */
typedef struct RstarPairCounts
{
	int64		asked;
	int64		answered;
	int64		failed;
	int64		cancelled;
	int64		joined;			/* interests in requests that were there */
	int64		samples_sent;
	int64		samples_scored;
	int64		samples_unscored;
	int64		samples_failed;
	int64		samples_cancelled;
	int			samples_running;
	int64		stored;			/* answers written */
	int64		store_failures; /* batches that could not be, or not all of
								 * them */
	int64		lost;			/* answers given up before they were stored */
} RstarPairCounts;

#endif							/* RSTAR_MAP_H */
