/*-------------------------------------------------------------------------
 *
 * limit.h
 *		How many samples an endpoint gets at once.
 *
 * Pure: no PostgreSQL.  For endpoint.c alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LIMIT_H
#define RSTAR_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/learnt.h"

/* Where a limit that is not given starts, and what a breaker that closes allows */
#define RSTAR_LIMIT_START 32
/* Where shrinking ends, unless the ceiling is lower; also the least cap */
#define RSTAR_LIMIT_FLOOR 4

/* An experiment: is less as good? */
typedef struct RstarTrial
{
	int			from;			/* the limit before all of it; 0: there is
								 * none */
	int			good;			/* the least that was as good */
	double		rate;			/* answers per us that it must reach */
	int64_t		since;			/* down at the limit; or -1 */
	int			answers;		/* since then */
} RstarTrial;

typedef struct RstarLimit
{
	int			given;			/* max_in_flight, start and ceiling; or 0 */
	int64_t		timeout;		/* of a request; 0: none */
	int64_t		proxy_timeout;	/* so long somebody on the way waits for an
								 * answer, as was found out; 0: not known */
	int			limit;
	int			cap;			/* INT_MAX: none */
	bool		slow_start;		/* no pressure so far */
	bool		wave;			/* grows without answers, too */
	int			full;			/* answers to come of those that were in
								 * flight when it was last reached */
	int			credit;			/* answers towards the next step up */
	bool		may_shrink;		/* answered since the limit last shrank */
	int64_t		shrunk_at;
	int64_t		double_at;		/* first wave: when more of it goes out; or
								 * INT64_MAX */

	int64_t		refused_at;		/* last refusal */
	int			taken;			/* answers since refusals began */
	int64_t		shut_since;		/* refused though it had nothing; -1: not so */

	int			in_line;		/* answers in a row that overtook nobody */
	int64_t		line_since;		/* the first of them */
	int64_t		line_at;		/* the last of them, and ... */
	int64_t		line_took;		/* how long it took */
	int			patience;		/* times that many make one doubt */
	bool		queues;			/* found out: no growth ... */
	int64_t		doubt_at;		/* ... until then */
	RstarTrial	trial;

	/* answers of two spans of time, one after the other */
	int64_t		since;
	int			answers;
	int64_t		before_since;	/* of no meaning without answers */
	int			before_answers;
} RstarLimit;

/* An answer: what had been in flight when it was sent, and what came since */
typedef struct RstarWait
{
	int			ahead;			/* itself included */
	int64_t		answered;		/* others, since */
	int64_t		took;			/* us */
} RstarWait;

/* Starts anew; given: max_in_flight, or 0 */
extern void rstar_limit_reset(RstarLimit *limit, int given, int64_t timeout);

/* Starts from what another worker has learnt; not where it is given */
extern void rstar_limit_learn(RstarLimit *limit, const RstarLearntLimit *learnt);
extern void rstar_limit_learnt(const RstarLimit *limit, RstarLearntLimit *learnt);

/* How many may be in flight now */
extern int	rstar_limit_bound(const RstarLimit *limit);

/*
 * When it is to grow though nothing is answered, or INT64_MAX; true: it was
 * time, and it has.
 */
extern int64_t rstar_limit_wake(const RstarLimit *limit);
extern bool rstar_limit_turn(RstarLimit *limit, int64_t now);

/* What happens; in_flight: thereafter */
extern void rstar_limit_sent(RstarLimit *limit, int in_flight, int64_t now);
extern void rstar_limit_answered(RstarLimit *limit, int in_flight, const RstarWait *turn,
								 int64_t now);
extern void rstar_limit_pushed_back(RstarLimit *limit, int in_flight, int64_t latency,
									int64_t now);
extern void rstar_limit_timed_out(RstarLimit *limit, const RstarWait *turn, int64_t latency,
								  int64_t now);
extern void rstar_limit_recalled(RstarLimit *limit, int in_flight);

/* Somebody on the way has given up after so long a time; until an answer takes longer */
extern void rstar_limit_learn_proxy(RstarLimit *limit, int64_t took);

/*
 * What ended without an answer has waited in line: others were answered
 * meanwhile, but not all that were ahead of it.
 */
extern bool rstar_limit_was_in_line(const RstarWait *turn);

/*
 * Whether the last of so many in flight will be late, if the endpoint takes
 * one after the other; and whether one will that was sent at a time, with so
 * many ahead of it, and is better taken back.
 */
extern bool rstar_limit_strained(const RstarLimit *limit, int in_flight, int64_t now);
extern bool rstar_limit_late(const RstarLimit *limit, int ahead, int64_t sent_at, int64_t now);

#endif							/* RSTAR_LIMIT_H */
