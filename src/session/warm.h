/*-------------------------------------------------------------------------
 *
 * warm.h
 *		Calls while a materialized view is refreshed by retrostar.refresh().
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WARM_H
#define RSTAR_WARM_H

#include "postgres.h"

#include "base/compat.h"
#include "session/memo.h"

/* A refresh that this session runs */
typedef struct RstarWarm
{
	RstarKeeper keeper;
	bool		varies;			/* set by the caller: the query may ask for
								 * other pairs each time it runs */
	int			passes;			/* begun */
	int64		sent;			/* pairs for which a request was queued */
	int			unmet;			/* pairs that the last pass waited for, and
								 * that this one has not come to */

	/* of one pass over the query */
	bool		stopped;		/* a call would have had to wait */
	int			stops;			/* times that its error was raised */
	bool		full;			/* for room in the queue */
	bool		repeats;		/* it came to all that the last one waited for */
	int64		asked;			/* pairs sent */
	int64		early;			/* of these, before it was known to repeat */
	int64		looked_at;		/* times that a pair was looked for */
	uint64		freed;			/* full: for rstar_memo_wait_for_room() */
} RstarWarm;

/* A new refresh, all zeroes until here, by the procedure of this statement */
extern void rstar_warm_init(RstarWarm *warm, RstarStatement *statement);

/* The refresh whose query runs from now on; NULL: none */
extern void rstar_warm_enter(RstarWarm *warm);

/* Around each pass; before it sets its fields */
extern void rstar_warm_begin_pass(RstarWarm *warm);
extern void rstar_warm_end_pass(RstarWarm *warm);

/*
 * After a pass: whether it was stopped, and its error (NULL: none) comes from
 * that.  If not, it ran to its end or the error is the query's own.
 */
extern bool rstar_warm_was_stopped(const RstarWarm *warm, const ErrorData *error);

/* As rstar_memo_wait(), but in a pass: stops it, with an error */
extern void rstar_warm_wait(RstarStatement *statement, RstarMemoEntry *entry,
							TimestampTz deadline);

/* As rstar_memo_wait_for_room(), likewise */
extern bool rstar_warm_wait_for_room(RstarStatement *statement, const RstarTicket *full,
									 TimestampTz deadline);

/*
 * Stops the pass, which would have to wait for what the statement has asked
 * for, whichever it is: raises an error.
 */
RSTAR_NORETURN extern void rstar_warm_stop(RstarStatement *statement);

/*
 * Before something is asked for or waited for in a pass that has been stopped,
 * by a function that has caught the error: raises it again.
 */
extern void rstar_warm_check(void);

/*
 * Before a request is queued.  A pass that has not come to what the last one
 * waited for may send a few only, and is then stopped.
 */
extern void rstar_warm_may_send(RstarStatement *statement);

/* Counts a request, if there is a refresh */
extern void rstar_warm_sent(void);

/*
 * A new entry takes what the refresh knows of its pair, which may be a request
 * that is under way; false when that is nothing, or there is no refresh.
 */
extern bool rstar_warm_take(RstarStatement *statement, RstarMemoEntry *entry);

#endif							/* RSTAR_WARM_H */
