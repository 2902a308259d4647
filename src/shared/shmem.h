/*-------------------------------------------------------------------------
 *
 * shmem.h
 *		The shared memory of retrostar: what lies there, under which lock, and
 *		who is woken.
 *
 * The library's shared memory has parts, each with a file that alone knows
 * it: the map of requests (this header, request.h, layout.c), endpoints
 * (counters.c), sessions (progress.c).
 *
 * The map is guarded by one LWLock, rstar_shared->lock, taken exclusively
 * (views read with a shared one): critical sections are a few list operations
 * long, about six per request, and a request takes milliseconds to minutes.
 * Nobody waits for anything, allocates local memory, or raises an error while
 * holding it.  The DSA area has its own locks, taken after ours.  Not under
 * it: what is counted for endpoints and sessions, which one process writes
 * and others copy.
 *
 * All pointers here point into the main shared-memory segment, which every
 * process maps at the same address.
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
#include "utils/dsa.h"
#include "utils/timestamp.h"

#include "base/result.h"
#include "base/settings.h"
#include "shared/map.h"

/*
 * A session's queue has a few lanes, by server, so that pairs for a busy
 * server do not hold up those for an idle one behind them.
 */
#define RSTAR_LANES 4

/* While a worker starts, who waits looks after it this often */
#define RSTAR_STARTING_CHECK_MS 1000

typedef enum RstarWorkerState
{
	RSTAR_WORKER_NONE,
	RSTAR_WORKER_STARTING,		/* registered, not yet in its loop */
	RSTAR_WORKER_RUNNING
} RstarWorkerState;

typedef struct RstarOwner RstarOwner;

/* The requests of one priority in a queue */
typedef struct RstarLanes
{
	dlist_node	active;			/* in RstarDatabase.active while nqueued > 0 */
	dlist_head	lanes[RSTAR_LANES]; /* RstarRequest.queue */
	int			nqueued;
	int			next_lane;		/* where claiming goes on */
} RstarLanes;

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
	int			emptying;		/* commands that need the database for
								 * themselves: its worker goes, and none comes
								 * meanwhile */
	bool		paused;			/* nothing is claimed */
	bool		cannot_store;	/* standby, or the last store failed: answers
								 * nobody waits for may be given up for room */
	bool		storing;		/* but not while the worker is about it */
	dlist_head	active[RSTAR_NPRIORITIES];	/* RstarLanes with requests, round
											 * robin */
	int			nactive[RSTAR_NPRIORITIES];
	dlist_head	unstored;		/* answers to be stored, oldest first
								 * (RstarRequest.list) */
	dlist_head	refused;		/* answers that the table did not take, to be
								 * tried again; those nobody waits for may be
								 * given up for room (same link) */
	dlist_head	to_close;		/* cancelled, for the worker (same link) */
	dlist_head	lookups;		/* to be looked up elsewhere, for the worker
								 * (RstarRequest.queue) */
	dlist_head	untold;			/* answers that their hub is to be told
								 * (RstarRequest.tell) */
	int			nrequests;		/* entries of the map */
	int			nwaiting;
	int			nrunning;
	int			nunstored;		/* in both lists, and in the second */
	int			nrefused;
	int			nlookups;		/* in that list, and in the next */
	int			nuntold;
	int			nusage;			/* what usage.c has of it, to be written */
	int			nunread;		/* what budget.c has of it, to be read */

	RstarPairCounts counts;
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
	RstarDatabase *db;			/* valid while something is queued */
	RstarLanes	queue[RSTAR_NPRIORITIES];
	int			nrequests;		/* requests it made and that are in work */
	int64		text_bytes;		/* and their texts */
	dlist_head	pending;		/* RstarWaiter.owner_link, not ready */
	dlist_head	ready;			/* the same, ready */
	bool		sleeping;		/* its latch is to be set when ... */
	RstarWaiter *wait_for;		/* ... this is ready (NULL: any) */
	bool		wants_space;	/* ... or there is room */
};

typedef struct RstarShared
{
	LWLock	   *lock;
	int			nowners;		/* backends, then databases */
	int			nbackends;
	int			ndatabases;
	int			nrequests;
	int			nwaiters;
	int			nbuckets;		/* a power of two */
	int			share_of_places;	/* of the queue, that one session may have */
	int64		share_of_text;
	int			free_requests_count;
	int			free_waiters_count;
	uint64		generation;		/* grows when stored answers leave the map */
	uint64		freed;			/* grows with all that comes free */
	uint64		serial;			/* of the last request that was made */
	int64		text_bytes;		/* allocated for bodies and details */
	int64		detail_bytes;	/* the latter */
	int64		refused_text;	/* longest that never finds room; 0: none */
	int			nspace_waiters; /* owners with wants_space */
	ConditionVariable worker_left;	/* broadcast when a worker is gone */
	dlist_head	free_requests;
	dlist_head	free_waiters;
	RstarOwner *owners;
	RstarDatabase *databases;
	RstarRequest *requests;
	RstarWaiter *waiters;
	dlist_head *buckets;
	void	   *area;			/* where the DSA area lies */
	Size		area_size;
	int			area_tranche;
} RstarShared;

extern RstarShared *rstar_shared;	/* NULL when not preloaded */

/* What a part does when memory is asked for, and when it is there */
typedef struct RstarShmemPart
{
	void		(*request) (void);
	void		(*startup) (void);	/* under AddinShmemInitLock */
} RstarShmemPart;

/*
 * Hooks for shared memory of these parts, which stay the caller's; called once
 * by _PG_init while preloading.
 */
extern void rstar_shmem_init(const RstarShmemPart *parts, int n);

/* In the postmaster: makes the text area, in the place that rstar_shared has for it */
extern void rstar_shmem_make_area(void);

/*
 * This process's mapping of the text area; attaches when first called, which
 * may raise an error: do that before taking the lock.
 */
extern dsa_area *rstar_shmem_area(void);

/* This process's number among nbackends; raises an error when it has none */
extern int	rstar_shmem_process(void);

/*
 * Wakes sessions that wait for room, after something was freed; takes the
 * lock.  Once for many requests: see rstar_shmem_wake_space().
 */
extern void rstar_shmem_freed(void);

/* The rest needs rstar_shared->lock held exclusively. */

/*
 * The entry of a database; made when "create", in place of one that is not in
 * use any more if need be.  NULL: there is none.  Without "create" a shared
 * lock is enough.
 */
extern RstarDatabase *rstar_shmem_database(Oid dboid, bool create);

/* Where requests with this key are, if there are any */
extern dlist_head *rstar_shmem_bucket(Oid dboid, const RstarKey *key);

/* Owner of requests of the database whose session is gone */
extern RstarOwner *rstar_shmem_orphans(RstarDatabase *db);

/* Whether there is anything for a worker to do */
extern bool rstar_shmem_has_work(RstarDatabase *db);

extern void rstar_shmem_wake(RstarOwner *owner);
extern void rstar_shmem_wake_worker(RstarDatabase *db);

/* "all": also who has filled his share and would fill it again at once */
extern void rstar_shmem_wake_space(bool all);

/* An eighth of the session's share is free */
extern bool rstar_shmem_fair_room(const RstarOwner *owner);

#endif							/* RSTAR_SHMEM_H */
