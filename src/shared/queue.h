/*-------------------------------------------------------------------------
 *
 * queue.h
 *		Requests between sessions and the worker, the sessions' side.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_QUEUE_H
#define RSTAR_QUEUE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/form.h"
#include "base/result.h"
#include "base/settings.h"
#include "shared/budget.h"
#include "shared/map.h"

/*
 * What is asked: never written to, but for where budgets are; rstar_queue_submit
 * copies all of it
 */
typedef struct RstarSpec
{
	RstarKind	kind;
	RstarKey	key;
	Oid			serverid;
	Oid			mapping;		/* user mapping, or InvalidOid */
	uint64		fingerprint;	/* of what the server puts into the key */
	int			samples;		/* wanted, those that are known included */
	bool		zero;			/* a reply without a score counts as a sample */
	bool		fresh;			/* do not take answers that are already there */
	bool		peek;			/* find: do not join */
	bool		detached;		/* goes on although nobody waits */
	bool		ahead;			/* nobody waits for it yet: leaves room for
								 * who does */
	bool		reasoning;		/* keep the replies, not their scores only */
	bool		shared;			/* its server has a hub */
	RstarPriority priority;
	const char *traceparent;	/* of who makes the request, or NULL */
	int			first_sample;	/* number of the first new sample */
	RstarTally	known;			/* samples that count and need not be asked */
	uint64		affinity;		/* hash of task and query, for routing */
	int			endpoint;		/* CHECK: which */
	const char *model;			/* UTF-8, for the cache table */
	const char *body;			/* request body but for its end; may be NULL */
	int			body_len;
	int			doc_at;			/* the document's place in it */
	int			doc_len;
	const RstarForm *form;		/* of the answer; may be NULL as the body */
	RstarBudget *budgets;		/* that count for it */
	int			nbudgets;
} RstarSpec;

/* What find and submit answer beside the result; the same for both, in turn */
typedef struct RstarTicket
{
	uint64		generation;		/* from find, for submit; see there */
	uint64		freed;			/* from both, for wait after FULL */
	int			next_sample;	/* from both: behind the numbers that requests
								 * in the map have given away */
	int			raised;			/* JOINED: samples that it has to get more */
	bool		unattended;		/* JOINED or SENT: and there is no worker */
	RstarWaiter *waiter;		/* JOINED or SENT: the caller's interest, to
								 * be released; NULL when detached, and else */
	RstarAllowed allowed;		/* OVER: why not, and ... */
	RstarRefusal refusal;		/* ... by which budget */
} RstarTicket;

typedef enum RstarSubmitted
{
	RSTAR_SUBMITTED_NONE,		/* find: no such request */
	RSTAR_SUBMITTED_DONE,		/* the answer is there, in *result */
	RSTAR_SUBMITTED_JOINED,		/* waits for another's request */
	RSTAR_SUBMITTED_SENT,		/* a request was queued */
	RSTAR_SUBMITTED_AGAIN,		/* answers were stored meanwhile: look again */
	RSTAR_SUBMITTED_FULL,		/* no room, or the worker has to read a
								 * budget: wait and try again */
	RSTAR_SUBMITTED_OVER,		/* a budget would be passed */
	RSTAR_SUBMITTED_TOO_LARGE	/* would not fit into an empty area */
} RstarSubmitted;

/*
 * True when the library was preloaded; every function below needs that.
 * "require" raises an error when it was not.
 */
extern bool rstar_queue_ready(void);
extern void rstar_queue_require(void);

/*
 * Looks for a request or an answer of the key; joins the request when it is
 * in work.  NONE comes with what the map knows all the same: an answer of too
 * few samples, for "known".  "cookie" comes back from rstar_queue_next().  Never
 * waits but for the lock, never raises an error.
 */
extern RstarSubmitted rstar_queue_find(const RstarSpec *spec, uint32 cookie,
									   RstarTicket *ticket, RstarResult *result);

/*
 * Whether the one has more samples that count, or as many and more replies
 * (which is what has been sent for it)
 */
extern bool rstar_queue_has_more(const RstarTally *one, const RstarTally *other, bool zero);

/*
 * As find, and queues the request when there is none; AGAIN when answers went
 * from the map to the table since ticket->generation was set, so that the
 * caller's look at the table may have come too early.  A check needs no find
 * before it, but a ticket that is all zero at first.
 */
extern RstarSubmitted rstar_queue_submit(const RstarSpec *spec, uint32 cookie,
										 RstarTicket *ticket, RstarResult *result);

/* What came of a waiter */
typedef struct RstarTaken
{
	uint32		cookie;
	RstarResult result;
} RstarTaken;

/*
 * Takes the next waiters of this session that are ready, "max" at most, under
 * one hold of the lock; they are released.  Returns how many.  Never raises.
 */
extern int	rstar_queue_next(RstarTaken *taken, int max);

/*
 * Gives up interest; a request that interests nobody ends.  Never raises.
 * Call rstar_queue_released() after the last of several.
 */
extern void rstar_queue_release(RstarWaiter *waiter);

/*
 * After waiters were released, detached, or taken by rstar_queue_next(): sessions that
 * wait for room are told.  Never raises.
 */
extern void rstar_queue_released(void);

/* The request goes on for the cache's sake, also when nobody is interested any more */
extern void rstar_queue_keep(RstarWaiter *waiter);

/*
 * Gives up interest, but the request goes on for the cache's sake.  Reads what
 * came of it until now.
 */
extern void rstar_queue_detach(RstarWaiter *waiter, RstarResult *result);

/*
 * Sleeps until this waiter is ready (NULL: any of this session), something
 * was freed since this ticket (after FULL; else NULL), the worker left,
 * or "timeout" ms (-1: none) passed.  May return early; callers loop.
 * Interruptible, and by the end of the client's connection.
 */
extern void rstar_queue_wait(RstarWaiter *waiter, const RstarTicket *full, long timeout);

/* Keeps the requests of this database queued, or lets them go on */
extern void rstar_queue_pause(bool pause);

#endif							/* RSTAR_QUEUE_H */
