/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		The shared memory of retrostar: what lies there, under which lock, and
 *		the life of a request.
 *
 * Included only by shmem.c (lay-out), request.c (life), queue.c (sessions),
 * dispatch.c (worker), details.c (texts of replies), launch.c (life of the
 * worker), counters.c, progress.c and stat.c (what the views show).
 *
 * Everything below is guarded by one LWLock, rstar_shared->lock, taken
 * exclusively (views read with a shared one): critical sections are a few list
 * operations long, about six per request, and a request takes milliseconds to
 * minutes.  Nobody waits for anything, allocates local memory, or raises an
 * error while holding it.  The DSA area has its own locks, taken after ours.
 * Not under it: what is counted for endpoints and sessions, which one process
 * writes and others copy (counters.c, progress.c).
 *
 * All pointers here point into the main shared-memory segment, which every
 * process maps at the same address.
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
 *	ANSWERED,	FREE		any			nobody waits, nothing in flight,
 *	FAILED								nothing left to store
 *
 * "cancelled" marks a RUNNING or FAILED request that interests nobody while
 * samples are in flight: the worker closes these and calls
 * rstar_dispatch_dropped(), after which it is stored (what was paid) or freed.
 * rstar_shmem_settle(), in request.c, is the one place that decides on all this; whoever
 * takes away a reason for a request to live calls it.
 *
 * A request is found by its key (in a hash bucket) from submission until it
 * is cancelled, has failed, or is freed.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SHMEM_H
#define RSTAR_SHMEM_H

#include "postgres.h"

#include "lib/ilist.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/dsa.h"
#include "utils/timestamp.h"

#include "counters.h"
#include "guc.h"
#include "progress.h"
#include "queue.h"

/*
 * A session's queue has a few lanes, by server, so that pairs for a busy
 * server do not hold up those for an idle one behind them.
 */
#define RSTAR_LANES 4

/* While a worker starts, who waits looks after it this often */
#define RSTAR_STARTING_CHECK_MS 1000

/* A request with which the worker died this often is given up */
#define RSTAR_MAX_LOSSES 3

/* Workers that start because one has left, before anything is answered */
#define RSTAR_MAX_SUCCESSIONS 3

typedef enum RstarState
{
	RSTAR_FREE,
	RSTAR_WAITING,
	RSTAR_RUNNING,
	RSTAR_ANSWERED,
	RSTAR_FAILED
} RstarState;

typedef enum RstarWorkerState
{
	RSTAR_WORKER_NONE,
	RSTAR_WORKER_STARTING,		/* registered, not yet in its loop */
	RSTAR_WORKER_RUNNING
} RstarWorkerState;

typedef struct RstarOwner RstarOwner;

/* One database with requests or a worker */
typedef struct RstarDatabase
{
	Oid			dboid;			/* InvalidOid: this entry is free */
	RstarWorkerState worker;
	int			worker_pid;		/* 0 while STARTING */
	int			worker_procno;
	TimestampTz worker_since;	/* when STARTING began */
	int			starter;		/* process that registered it; 0: a successor */
	int			failed_starts;	/* workers in a row that never ran */
	int			successions;	/* workers in a row that left work to the next
								 * before anything was answered or stored */
	bool		worker_sleeping;	/* its latch must be set for new work */
	bool		work_added;		/* since the worker's last claim */
	int			emptying;		/* commands that need the database for themselves:
								 * its worker goes, and none comes meanwhile */
	bool		paused;			/* nothing is claimed */
	bool		cannot_store;	/* standby, or the last store failed: answers
								 * nobody waits for may be given up for room */
	dlist_head	active;			/* owners with queued requests, round robin */
	int			nactive;
	dlist_head	unstored;		/* answers that the table does not have, oldest
								 * first (RstarRequest.list) */
	dlist_head	cancelled;		/* for the worker to close (same link) */
	int			nrequests;		/* entries of the map */
	int			nwaiting;
	int			nrunning;
	int			nunstored;

	/*
	 * Since the server started, or the last reset.  At any moment, for pairs
	 * (an endpoint that is checked is one, too),
	 *
	 *	asked = answered + failed + cancelled + nwaiting + nrunning
	 *
	 * and for samples (a check has none)
	 *
	 *	sent = scored + unscored + failed + cancelled + samples_running
	 *
	 * A sample is sent when the worker takes it from the queue, whether an
	 * endpoint can have it at once or not.  It has failed when its pair fails
	 * for its sake; it is cancelled when nobody wants its pair any more,
	 * another sample has made it fail, or the worker leaves (what is sent then
	 * by the next one is another sample).
	 */
	int64		asked;
	int64		answered;
	int64		failed;
	int64		cancelled_count;
	int64		joined;			/* interests in requests that were there */
	int64		samples_sent;
	int64		samples_scored;
	int64		samples_unscored;
	int64		samples_failed;
	int64		samples_cancelled;
	int			samples_running;
	int64		stored;			/* answers written */
	int64		store_failures; /* batches that could not be */
	int64		lost;			/* answers given up before they were stored */
	int64		hits;			/* look-ups by sessions that have ended */
	int64		misses;
	int64		hits_before;	/* by those that have not, before the reset */
	int64		misses_before;
	TimestampTz stats_reset;	/* 0: never */
} RstarDatabase;

/*
 * One backend's queue and what it waits for, by index into ProcGlobal's
 * array; behind those one for each database entry, for detached requests
 * whose backend is gone.
 */
struct RstarOwner
{
	dlist_node	active;			/* in RstarDatabase.active while nqueued > 0 */
	RstarDatabase *db;			/* valid while nqueued > 0 */
	dlist_head	lanes[RSTAR_LANES]; /* RstarRequest.queue */
	int			nqueued;
	int			next_lane;		/* where claiming goes on */
	int			nrequests;		/* requests it made and that are in work */
	int64		text_bytes;		/* and their texts */
	dlist_head	pending;		/* RstarWaiter.owner_link, not ready */
	dlist_head	ready;			/* the same, ready */
	bool		sleeping;		/* its latch is to be set when ... */
	RstarWaiter *wait_for;		/* ... this is ready (NULL: any) */
	bool		wants_space;	/* ... or there is room */
};

typedef struct RstarRequest
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
	int			endpoint;
	int			first_sample;
	int			pid;			/* of the session that made it, and its user */
	Oid			userid;
	TimestampTz asked_at;
	RstarTally	known;			/* what was there before */
	char		model[RSTAR_MODEL_LEN];

	/* links */
	dlist_node	bucket;			/* in a hash bucket while "findable" */
	dlist_node	queue;			/* in an owner's lane while "queued" */
	dlist_node	list;			/* free list, db->unstored or db->cancelled */
	dlist_head	waiters;		/* RstarWaiter.request_link */
	int			nwaiters;
	RstarOwner *owner;			/* of the lane, while queued */
	bool		findable;
	bool		queued;

	/* state */
	RstarState	state;
	bool		detached;
	bool		zero;
	bool		fresh;			/* constant: made with what the table knows left out */
	bool		cancelled;
	bool		unstored;		/* in db->unstored */
	int			wanted;			/* scored samples, known ones included */
	int			claimed;		/* samples given to the worker, new ones */
	int			in_flight;		/* of these, not ended */
	int			next_sample;	/* number (seed) of the next one */
	int			losses;			/* workers that died meanwhile */
	int			attempts;		/* exchanges begun for it, and where the last one
								 * went (rstar_counters_url()): stored by the worker
								 * without the lock while it is RUNNING */
	uint64		url;
	dsa_pointer body;			/* InvalidDsaPointer: none, or not needed any more */
	int			body_len;
	int			doc_at;			/* the document's place in it, constant */
	int			doc_len;
	int			doc_kept;		/* less than doc_len: it is too long for the
								 * model, and so much of it is sent */
	bool		reasoning;		/* replies that end from now on are kept ... */
	dsa_pointer details;		/* ... here, in a list (details.c) */
	dsa_pointer last_detail;
	Size		details_len;	/* of the list, as text */

	/* what came of it */
	RstarStatus status;
	int			http_status;
	int			scored;			/* new ones */
	int			unscored;
	int64		sum;
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		elapsed_us;
	TimestampTz answered_at;
	uint8		scores[RSTAR_MAX_SAMPLES];
	char		detail[RSTAR_DETAIL_LEN];
} RstarRequest;

struct RstarWaiter
{
	RstarRequest *request;
	RstarOwner *owner;			/* NULL: free */
	dlist_node	request_link;
	dlist_node	owner_link;		/* owner's pending or ready list, or free list */
	uint32		cookie;			/* the session's own name for it */
	int			wanted;			/* samples that satisfy it */
	bool		zero;
	bool		ready;
};

typedef struct RstarShared
{
	LWLock	   *lock;
	LWLock	   *counters_lock;	/* see counters.c; taken alone */
	int			nowners;		/* backends, then databases */
	int			nbackends;
	int			ndatabases;
	int			nrequests;
	int			nwaiters;
	int			nbuckets;		/* a power of two */
	int			free_requests_count;
	int			free_waiters_count;
	uint64		generation;		/* grows when stored answers leave the map */
	uint64		freed;			/* grows with all that comes free */
	int64		text_bytes;		/* allocated for bodies and details */
	int64		detail_bytes;	/* the latter */
	int			nspace_waiters; /* owners with wants_space */
	ConditionVariable worker_left;	/* broadcast when a worker is gone */
	dlist_head	free_requests;
	dlist_head	free_waiters;
	RstarOwner *owners;
	RstarDatabase *databases;
	RstarRequest *requests;
	RstarWaiter *waiters;
	dlist_head *buckets;
	RstarEndpointStats *endpoints;	/* counters.c */
	RstarProgressSlot *progress;	/* of nbackends; progress.c */
	void	   *area;			/* where the DSA area lies */
	Size		area_size;
	int			area_tranche;
} RstarShared;

extern RstarShared *rstar_shared;	/* NULL when not preloaded */

/* A session's share of the queue: a quarter of the places, half of the text */
#define RSTAR_SHARE_OF_PLACES (rstar_shared->nrequests / 4)
#define RSTAR_SHARE_OF_TEXT ((int64) rstar_shared->area_size / 2)

/*
 * What is asked for ahead leaves so much of n places free for who waits, or
 * sessions that do not take their answers (a cursor left open, a client that
 * does not read) could have all of them, and everybody else would wait for
 * them.
 */
#define RSTAR_LEFT_FREE(spec, n) ((spec)->ahead ? (n) / 4 : 0)

/* Hooks for shared memory; called once by _PG_init while preloading */
extern void rstar_shmem_init(void);

/* This process's mapping of the text area; attaches when first called. */
extern dsa_area *rstar_shmem_area(void);

/*
 * This process's owner entry; the first call arranges for its release when
 * the process ends.
 */
extern RstarOwner *rstar_shmem_owner(void);

/* False before that, and again while the process ends */
extern bool rstar_shmem_attached(void);

/*
 * Wakes sessions that wait for room, after something was freed; takes the
 * lock.  Once for many requests: see rstar_shmem_wake_space().
 */
extern void rstar_shmem_freed(void);

/* The rest needs rstar_shared->lock held exclusively. */

/*
 * The entry of a database; made when "create", in place of one that is not in
 * use any more if need be.  NULL: there is none.
 */
extern RstarDatabase *rstar_shmem_database(Oid dboid, bool create);

extern dlist_head *rstar_shmem_bucket(Oid dboid, const RstarKey *key);

/* True when the waiter needs to wait no longer */
extern bool rstar_shmem_satisfied(const RstarRequest *request, int wanted, bool zero);
/* Makes satisfied waiters ready and wakes their owners */
extern void rstar_shmem_notify(RstarRequest *request);
extern void rstar_shmem_wake(RstarOwner *owner);
extern void rstar_shmem_wake_worker(RstarDatabase *db);
extern void rstar_shmem_wake_space(bool all);
extern bool rstar_shmem_fair_room(const RstarOwner *owner);

extern void rstar_shmem_enqueue(RstarRequest *request, RstarOwner *owner);
extern void rstar_shmem_dequeue(RstarRequest *request);
extern void rstar_shmem_unlink(RstarRequest *request);	/* from its bucket */
extern void rstar_shmem_free_body(RstarRequest *request);
/* Samples, new ones, that the request still has to send */
extern int	rstar_shmem_needed(const RstarRequest *request);
/*
 * All that was to be done is done (ANSWERED) or will not be (FAILED): text and
 * place in the maker's count are given back as soon as nothing is in flight,
 * and new samples are put down for the table.  Call notify and settle after.
 */
extern void rstar_shmem_finish(RstarRequest *request, RstarState state);
/* The table has its samples, or they are given up */
extern void rstar_shmem_stored(RstarRequest *request);
extern bool rstar_shmem_evict(void);
/* Everything of a database that was dropped */
extern void rstar_shmem_purge(Oid dboid);
/* Ends the request when no reason is left for it to live; see above */
extern void rstar_shmem_settle(RstarRequest *request);
extern void rstar_shmem_release_waiter(RstarWaiter *waiter);
extern RstarOwner *rstar_shmem_orphans(RstarDatabase *db);
/* Whether there is anything for a worker to do */
extern bool rstar_shmem_has_work(RstarDatabase *db);

#endif							/* RSTAR_SHMEM_H */
