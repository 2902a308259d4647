/*-------------------------------------------------------------------------
 *
 * request.h
 *		A request: what the map knows of it, and its life.
 *
 * A request's states:
 *
 *	from		to			by			when
 *	FREE		WAITING		session		submitted
 *	WAITING		RUNNING		worker		its first sample was claimed
 *	WAITING		FAILED		session		nobody is interested any more (then FREE)
 *	RUNNING		ANSWERED	worker		all samples ended, one has a score
 *	RUNNING		FAILED		worker		a sample failed for good; the others may
 *										still be in flight, and are stored
 *	RUNNING		WAITING		worker		none is in flight, but more are wanted; or
 *										the worker leaves before the end
 *	WAITING		ANSWERED	worker		looked up elsewhere, and all is known
 *	ANSWERED,	FREE		any			nobody waits, nothing in flight,
 *	FAILED								nothing left to store
 *
 * "cancelled" marks a RUNNING or FAILED request that interests nobody while
 * samples are in flight: the worker closes these and calls
 * rstar_dispatch_dropped(), after which it is stored (what was paid) or freed.
 * rstar_request_settle() is the one place that decides on all this; whoever
 * takes away a reason for a request to live calls it.
 *
 * A request is found by its key (in a hash bucket) from submission until it
 * is cancelled, has failed, or is freed.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REQUEST_H
#define RSTAR_REQUEST_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/dsa.h"
#include "utils/timestamp.h"

#include "base/form.h"
#include "base/result.h"
#include "base/settings.h"
#include "base/traceparent.h"
#include "shared/budget.h"
#include "shared/details.h"
#include "shared/map.h"
#include "shared/shmem.h"
#include "shared/usage.h"

typedef enum RstarState
{
	RSTAR_FREE,
	RSTAR_WAITING,
	RSTAR_RUNNING,
	RSTAR_ANSWERED,
	RSTAR_FAILED
} RstarState;

/*
 * Before its first sample a request may be looked up elsewhere: by a hub, or,
 * while somebody else pays for it, again here.  It is WAITING then, in no lane.
 */
typedef enum RstarLooking
{
	RSTAR_LOOKING_NOT,
	RSTAR_LOOKING_WANTED,		/* in db->lookups */
	RSTAR_LOOKING_ASKED,		/* the worker has it in hand ... */
	RSTAR_LOOKING_ELSEWHERE		/* ... and has heard that somebody pays */
} RstarLooking;

struct RstarRequest
{
	/* constant while in use */
	RstarKind	kind;
	RstarKey	key;
	RstarDatabase *db;
	RstarOwner *maker;			/* in whose nrequests it counts, or NULL */
	Oid			serverid;
	Oid			mapping;
	uint64		fingerprint;
	uint64		affinity;
	uint64		serial;			/* no two requests have the same */
	bool		shared;			/* its server has a hub */
	int			endpoint;
	int			first_sample;
	int			pid;			/* of the session that made it, and its user */
	Oid			userid;
	TimestampTz asked_at;
	RstarTally	known;			/* what was there before, or elsewhere */
	char		model[RSTAR_MODEL_LEN];
	char		traceparent[RSTAR_TRACEPARENT_LEN + 1]; /* or "" */

	/* links */
	dlist_node	bucket;			/* in a hash bucket while "findable" */
	dlist_node	queue;			/* in an owner's lane while "queued", in
								 * db->lookups while "looking" is WANTED */
	dlist_node	tell;			/* in db->untold while "untold" */
	dlist_node	list;			/* free list, db->unstored, db->refused or
								 * db->to_close */
	dlist_head	waiters;		/* RstarWaiter.request_link */
	int			nwaiters;
	RstarOwner *owner;			/* of the lane, while queued */
	bool		findable;
	bool		queued;

	/* state */
	RstarState	state;
	RstarLooking looking;
	bool		untold;
	bool		detached;
	RstarPriority priority;		/* the highest of its waiters', and ... */
	RstarPriority detached_as;	/* ... of who asked without waiting */
	bool		zero;
	bool		fresh;			/* constant: made with what the table knows
								 * left out */
	bool		cancelled;
	bool		unstored;		/* in db->unstored ... */
	bool		refused;		/* ... or in db->refused */
	bool		fails;			/* it counts as failed, for usage */
	bool		accounted;		/* its usage is written, or on its way */
	RstarPriority paid_as;		/* its priority when it ended, for usage */
	int64		guess;			/* of the tokens of a sample */
	RstarHold	hold;			/* on budgets, until it is accounted */
	int			wanted;			/* scored samples, known ones included */
	int			claimed;		/* samples given to the worker, new ones */
	int			in_flight;		/* of these, not ended */
	int			next_sample;	/* number (seed) of the next one */
	int			losses;			/* workers that died meanwhile */
	int			attempts;		/* exchanges begun for it, and where the last
								 * one went (rstar_counters_url()): stored by
								 * the worker without the lock while it is
								 * RUNNING */
	uint64		url;
	dsa_pointer body;			/* InvalidDsaPointer: none, or not needed any
								 * more */
	int			body_len;
	int			doc_at;			/* the document's place in it, constant */
	int			doc_len;
	int			doc_kept;		/* less than doc_len: it is too long for the
								 * model, and so much of it is sent */
	RstarForm	form;			/* of the answer, constant */
	bool		reasoning;		/* replies that end from now on are kept ... */
	RstarDetails details;		/* ... here */

	/* what came of it */
	RstarStatus status;
	int			http_status;
	int			scored;			/* new ones */
	int			unscored;
	int64		sum;
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		cached_tokens;
	int64		elapsed_us;
	int64		served_us;		/* the same, of all replies */
	TimestampTz answered_at;
	uint8		scores[RSTAR_MAX_SAMPLES];
	char		detail[RSTAR_DETAIL_LEN];
};

struct RstarWaiter
{
	RstarRequest *request;
	RstarOwner *owner;			/* NULL: free */
	dlist_node	request_link;
	dlist_node	owner_link;		/* owner's pending or ready list, or free list */
	uint32		cookie;			/* the session's own name for it */
	int			wanted;			/* samples that satisfy it */
	RstarPriority priority;
	bool		zero;
	bool		ready;
};

/* Everything here needs rstar_shared->lock held exclusively. */

/* Samples, new ones, that the request still has to send */
extern int	rstar_request_needed(const RstarRequest *request);

/* Puts it into the owner's queue, and tells the worker */
extern void rstar_request_enqueue(RstarRequest *request, RstarOwner *owner);

/* Takes it out of that, if it is in one */
extern void rstar_request_dequeue(RstarRequest *request);

/* It is to be looked up elsewhere, again if it was in the worker's hand */
extern void rstar_request_look_up(RstarRequest *request);

/* That is over; the caller enqueues it, or it ends */
extern void rstar_request_looked_up(RstarRequest *request);

/* In whose queue it goes on when it comes back from somewhere */
extern RstarOwner *rstar_request_heir(RstarRequest *request);

/* Its hub is told, or will not be */
extern void rstar_request_told(RstarRequest *request);

/*
 * After who is interested has changed: it has the highest priority of them.
 * "by", or NULL, is who came, in whose queue it is when it rises.
 */
extern void rstar_request_prioritize(RstarRequest *request, RstarOwner *by);

/* Makes satisfied waiters ready and wakes their owners */
extern void rstar_request_notify(RstarRequest *request);

/*
 * All that was to be done is done (ANSWERED) or will not be (FAILED): text and
 * place in the maker's count are given back as soon as nothing is in flight,
 * and new samples are put down for the table.  Call notify and settle after.
 */
extern void rstar_request_finish(RstarRequest *request, RstarState state);

/* A cancelled one ends: what is in flight of it will not be answered */
extern void rstar_request_close(RstarRequest *request);

/*
 * Its worker has left: what was in flight is asked again by the next one, under
 * new sample numbers: a number may not be used twice, its reply would be the
 * same.  "lost": it died, perhaps of this request.
 */
extern void rstar_request_take_back(RstarRequest *request, bool lost);

/* What it has cost, once nothing of it is in flight */
extern void rstar_request_usage(const RstarRequest *request, RstarUsage *usage);

/*
 * Its usage is "written", or will be, by usage.c.  The budgets that it was held
 * on are charged: by the caller, who knows of others too, or here ("spent").
 */
extern void rstar_request_account(RstarRequest *request, bool written, bool spent);

/* The table did not take its samples: it goes to db->refused */
extern void rstar_request_refused(RstarRequest *request);

/* The table has its samples, or they are given up */
extern void rstar_request_stored(RstarRequest *request);

/* Ends the request when no reason is left for it to live; see above */
extern void rstar_request_settle(RstarRequest *request);
extern void rstar_request_release_waiter(RstarWaiter *waiter);

/*
 * With assertions: whether what is said of a request is so, and its database's
 * counts add up.  Whoever changes a request calls it when he is done.
 */
#ifdef USE_ASSERT_CHECKING
extern void rstar_request_check(const RstarRequest *request);
#else
#define rstar_request_check(request) ((void) (request))
#endif

#endif							/* RSTAR_REQUEST_H */
