/*-------------------------------------------------------------------------
 *
 * warm.h
 *		Calls while a materialized view is refreshed by retrostar.refresh().
 *
 * Called by: score.c, rerank.c, statement.c (what calls do), refresh.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WARM_H
#define RSTAR_WARM_H

#include "postgres.h"

#include "pair.h"
#include "queue.h"
#include "score.h"

struct RstarMemoEntry;
struct RstarStatement;

/* A refresh that this session runs */
typedef struct RstarWarm
{
	struct RstarStatement *statement;	/* the procedure's */
	bool		asks;			/* it warms the cache; else it refreshes the view */
	int64		sent;			/* pairs for which a request was queued */

	/* of one pass over the query */
	int64		asked;			/* pairs sent */
	int64		known;			/* calls whose score, or failure, was known */
	bool		unknown;		/* the last call's score was not */
	bool		full;			/* so is the queue: no more is asked for */
	uint64		freed;			/* if so, for rstar_memo_wait_for_room() */
} RstarWarm;

/* The refresh whose query runs now; NULL: none */
extern RstarWarm *rstar_warm;

/* The cache is warmed: calls do not wait */
extern bool rstar_warm_asks(void);

/*
 * A call while the cache is warmed: true with the samples behind its score.
 * False when it is not known; then it has been asked for if there was room, or
 * has failed.  Raises an error for one that has failed, as retrostar.on_error
 * demands.  *tally is set only if it is true.  "have" as in rstar_score_submit(); "explained": replies are kept.
 */
extern bool rstar_warm_ask(const RstarCall *call, const RstarKey *key, RstarText query,
						   RstarText doc, int samples, const RstarTally *have,
						   bool explained, RstarTally *tally);

/* The same for a plain score: NULL in place of false */
extern double rstar_warm_score(const RstarCall *call, const RstarKey *key, RstarText query,
							   RstarText doc, bool *isnull);

/* The last such call gave false because the answer is still to come */
extern bool rstar_warm_unknown(void);

/*
 * While the view itself is refreshed: an entry takes what the refresh has
 * learnt of its pair; false when that is nothing, or there is no refresh.
 */
extern bool rstar_warm_take(struct RstarStatement *statement, struct RstarMemoEntry *entry);

/* Counts a request, if there is a refresh */
extern void rstar_warm_sent(void);

/* There was no room in the queue */
extern void rstar_warm_full(const RstarSpec *spec);

#endif							/* RSTAR_WARM_H */
