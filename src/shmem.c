/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		Lay-out of shared memory, and who uses it.
 *
 * Called by: retrostar.c (once), queue.c, dispatch.c, launch.c, counters.c,
 * progress.c.
 *
 * What lies where, which lock guards it and the states of a request: shmem.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#include "shmem.h"

#define TRANCHE_NAME "retrostar"

/* Interests in requests: several sessions may want the same pair */
#define WAITERS_PER_REQUEST 4

/* Databases that can have a worker or requests at once */
#define MIN_DATABASES 16

RstarShared *rstar_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static dsa_area *text_area = NULL;
static RstarOwner *my_owner = NULL;

static void request_shmem(void);
static void startup_shmem(void);
static Size shmem_size(RstarShared *layout);
static void place_arrays(RstarShared *shared);
static void create_text_area(void);
static void release_owner(int code, Datum arg);
static void count_lookups(void);

void
rstar_shmem_init(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}

static void
request_shmem(void)
{
	RstarShared layout;

	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shmem_size(&layout));
	RequestNamedLWLockTranche(TRANCHE_NAME, 2);
}

/* Numbers of everything, from the settings; returns the bytes in all */
static Size
shmem_size(RstarShared *layout)
{
	Size		size = MAXALIGN(sizeof(RstarShared));

	memset(layout, 0, sizeof(RstarShared));
	layout->nbackends = MaxBackends;
	layout->ndatabases = Max(MIN_DATABASES, 2 * max_worker_processes);
	layout->nowners = layout->nbackends + layout->ndatabases;
	layout->nrequests = rstar_max_requests;
	layout->nwaiters = rstar_max_requests * WAITERS_PER_REQUEST;
	layout->nbuckets = pg_nextpower2_32(rstar_max_requests);
	layout->area_size = Max((Size) rstar_shared_memory * 1024, dsa_minimum_size());

	size = add_size(size, MAXALIGN(mul_size(layout->nowners, sizeof(RstarOwner))));
	size = add_size(size, MAXALIGN(mul_size(layout->ndatabases, sizeof(RstarDatabase))));
	size = add_size(size, MAXALIGN(mul_size(layout->nrequests, sizeof(RstarRequest))));
	size = add_size(size, MAXALIGN(mul_size(layout->nwaiters, sizeof(RstarWaiter))));
	size = add_size(size, MAXALIGN(mul_size(layout->nbuckets, sizeof(dlist_head))));
	size = add_size(size, rstar_counters_size());
	size = add_size(size, rstar_progress_size(layout->nbackends));
	size = add_size(size, MAXALIGN(layout->area_size));
	return size;
}

static void
startup_shmem(void)
{
	RstarShared layout;
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	/* After a crash the postmaster makes the segment anew */
	text_area = NULL;
	my_owner = NULL;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	rstar_shared = ShmemInitStruct(TRANCHE_NAME, shmem_size(&layout), &found);
	if (!found)
	{
		*rstar_shared = layout;
		rstar_shared->lock = &GetNamedLWLockTranche(TRANCHE_NAME)[0].lock;
		rstar_shared->counters_lock = &GetNamedLWLockTranche(TRANCHE_NAME)[1].lock;
		place_arrays(rstar_shared);
		create_text_area();
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The arrays follow the header, in the order of shmem_size() */
static void
place_arrays(RstarShared *shared)
{
	char	   *p = (char *) shared + MAXALIGN(sizeof(RstarShared));

	shared->owners = (RstarOwner *) p;
	p += MAXALIGN(shared->nowners * sizeof(RstarOwner));
	shared->databases = (RstarDatabase *) p;
	p += MAXALIGN(shared->ndatabases * sizeof(RstarDatabase));
	shared->requests = (RstarRequest *) p;
	p += MAXALIGN(shared->nrequests * sizeof(RstarRequest));
	shared->waiters = (RstarWaiter *) p;
	p += MAXALIGN(shared->nwaiters * sizeof(RstarWaiter));
	shared->buckets = (dlist_head *) p;
	p += MAXALIGN(shared->nbuckets * sizeof(dlist_head));
	shared->endpoints = (RstarEndpointStats *) p;
	p += rstar_counters_size();
	shared->progress = (RstarProgressSlot *) p;
	p += rstar_progress_size(shared->nbackends);
	shared->area = p;
	ConditionVariableInit(&shared->worker_left);
	rstar_counters_place(shared->endpoints);
	rstar_progress_place(shared->progress, shared->nbackends);

	memset(shared->owners, 0, shared->nowners * sizeof(RstarOwner));
	memset(shared->databases, 0, shared->ndatabases * sizeof(RstarDatabase));
	memset(shared->requests, 0, shared->nrequests * sizeof(RstarRequest));
	memset(shared->waiters, 0, shared->nwaiters * sizeof(RstarWaiter));

	for (int i = 0; i < shared->nowners; i++)
	{
		for (int lane = 0; lane < RSTAR_LANES; lane++)
			dlist_init(&shared->owners[i].lanes[lane]);
		dlist_init(&shared->owners[i].pending);
		dlist_init(&shared->owners[i].ready);
	}
	dlist_init(&shared->free_requests);
	for (int i = 0; i < shared->nrequests; i++)
		dlist_push_tail(&shared->free_requests, &shared->requests[i].list);
	shared->free_requests_count = shared->nrequests;
	dlist_init(&shared->free_waiters);
	for (int i = 0; i < shared->nwaiters; i++)
		dlist_push_tail(&shared->free_waiters, &shared->waiters[i].owner_link);
	shared->free_waiters_count = shared->nwaiters;
	for (int i = 0; i < shared->nbuckets; i++)
		dlist_init(&shared->buckets[i]);
}

/* In the postmaster: the area is made and pinned, sessions attach to it */
static void
create_text_area(void)
{
	dsa_area   *area;

	rstar_shared->area_tranche = LWLockNewTrancheId();
	LWLockRegisterTranche(rstar_shared->area_tranche, "retrostar_text");
	area = dsa_create_in_place(rstar_shared->area, rstar_shared->area_size,
							   rstar_shared->area_tranche, NULL);
	dsa_pin(area);
	/* It must not grow into DSM segments: /dev/shm may be small */
	dsa_set_size_limit(area, rstar_shared->area_size);
	dsa_detach(area);
}

dsa_area *
rstar_shmem_area(void)
{
	if (text_area == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

		LWLockRegisterTranche(rstar_shared->area_tranche, "retrostar_text");
		text_area = dsa_attach_in_place(rstar_shared->area, NULL);
		dsa_pin_mapping(text_area);
		on_shmem_exit(dsa_on_shmem_exit_release_in_place, PointerGetDatum(rstar_shared->area));
		MemoryContextSwitchTo(old);
	}
	return text_area;
}

RstarOwner *
rstar_shmem_owner(void)
{
	if (my_owner == NULL)
	{
		int			index = (int) (MyProc - ProcGlobal->allProcs);

		if (index < 0 || index >= rstar_shared->nbackends)
			elog(ERROR, "process %d has no place in retrostar's shared memory", index);
		(void) rstar_shmem_area();
		my_owner = &rstar_shared->owners[index];
		before_shmem_exit(release_owner, (Datum) 0);
	}
	return my_owner;
}

bool
rstar_shmem_attached(void)
{
	return my_owner != NULL;
}

/*
 * The process ends: nobody waits any more; its detached requests go to the
 * orphans of their database, queued ones at their tail.
 */
static void
release_owner(int code, Datum arg)
{
	RstarOwner *owner = my_owner;

	my_owner = NULL;
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	owner->sleeping = false;
	if (owner->wants_space)
	{
		owner->wants_space = false;
		rstar_shared->nspace_waiters--;
	}
	while (!dlist_is_empty(&owner->ready))
		rstar_shmem_release_waiter(dlist_head_element(RstarWaiter, owner_link, &owner->ready));
	while (!dlist_is_empty(&owner->pending))
		rstar_shmem_release_waiter(dlist_head_element(RstarWaiter, owner_link, &owner->pending));
	for (int lane = 0; lane < RSTAR_LANES; lane++)
	{
		while (!dlist_is_empty(&owner->lanes[lane]))
		{
			RstarRequest *request = dlist_head_element(RstarRequest, queue, &owner->lanes[lane]);

			rstar_shmem_dequeue(request);
			rstar_shmem_enqueue(request, rstar_shmem_orphans(request->db));
		}
	}
	if (owner->nrequests > 0)
	{
		for (int i = 0; i < rstar_shared->nrequests; i++)
		{
			if (rstar_shared->requests[i].maker == owner)
				rstar_shared->requests[i].maker = NULL;
		}
		owner->nrequests = 0;
		owner->text_bytes = 0;
	}
	count_lookups();
	rstar_shmem_wake_space(false);
	LWLockRelease(rstar_shared->lock);

	dsa_detach(text_area);
	text_area = NULL;
}

/* What the session has counted goes to its database */
static void
count_lookups(void)
{
	int64		hits;
	int64		misses;
	RstarDatabase *db;

	rstar_progress_leave(&hits, &misses);
	db = hits + misses > 0 ? rstar_shmem_database(MyDatabaseId, true) : NULL;
	if (db != NULL)
	{
		db->hits += hits;
		db->misses += misses;
	}
}

RstarDatabase *
rstar_shmem_database(Oid dboid, bool create)
{
	RstarDatabase *unused = NULL;

	for (int i = 0; i < rstar_shared->ndatabases; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];

		if (db->dboid == dboid)
			return db;
		if (!OidIsValid(db->dboid))
			unused = db;
		else if (unused == NULL && db->nrequests == 0 &&
				 db->worker == RSTAR_WORKER_NONE && !db->paused && db->emptying == 0)
			unused = db;
	}
	if (!create || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(RstarDatabase));
	unused->dboid = dboid;
	dlist_init(&unused->active);
	dlist_init(&unused->unstored);
	dlist_init(&unused->cancelled);
	return unused;
}

bool
rstar_shmem_has_work(RstarDatabase *db)
{
	return db->nwaiting > 0 || db->nrunning > 0 || db->nunstored > 0 ||
		!dlist_is_empty(&db->cancelled);
}

RstarOwner *
rstar_shmem_orphans(RstarDatabase *db)
{
	return &rstar_shared->owners[rstar_shared->nbackends + (db - rstar_shared->databases)];
}

dlist_head *
rstar_shmem_bucket(Oid dboid, const RstarKey *key)
{
	uint32		hash;

	/* The key is a cryptographic hash: any four bytes of it will do */
	memcpy(&hash, key->bytes, sizeof(hash));
	hash = hash_combine(hash, murmurhash32(dboid));
	return &rstar_shared->buckets[hash & (rstar_shared->nbuckets - 1)];
}

/* Sets the latch of a sleeping owner; not of the orphans, who never sleep */
void
rstar_shmem_wake(RstarOwner *owner)
{
	if (!owner->sleeping)
		return;
	owner->sleeping = false;
	SetLatch(&ProcGlobal->allProcs[owner - rstar_shared->owners].procLatch);
}

void
rstar_shmem_wake_worker(RstarDatabase *db)
{
	db->work_added = true;
	/* The worker's own doing: it looks again before it sleeps */
	if (!db->worker_sleeping || db->worker_procno == (int) (MyProc - ProcGlobal->allProcs))
		return;
	db->worker_sleeping = false;
	SetLatch(&ProcGlobal->allProcs[db->worker_procno].procLatch);
}

/*
 * Wakes who waits for room, but not yet who has filled his share and would
 * fill it again with his next request: waking him for each costs both sides
 * more than the request.  Of the others all: which of them finds enough
 * depends on the size of its text.
 */
void
rstar_shmem_wake_space(bool all)
{
	if (rstar_shared->nspace_waiters == 0)
		return;
	for (int i = 0; i < rstar_shared->nbackends; i++)
	{
		RstarOwner *owner = &rstar_shared->owners[i];

		if (owner->wants_space && (all || rstar_shmem_fair_room(owner)))
		{
			owner->wants_space = false;
			rstar_shared->nspace_waiters--;
			rstar_shmem_wake(owner);
		}
	}
}

void
rstar_shmem_freed(void)
{
	/* An unlocked look is enough: who comes later sees what was freed */
	if (rstar_shared->nspace_waiters == 0)
		return;
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_shmem_wake_space(false);
	LWLockRelease(rstar_shared->lock);
}

/* An eighth of the session's share is free */
bool
rstar_shmem_fair_room(const RstarOwner *owner)
{
	return owner->nrequests <= RSTAR_SHARE_OF_PLACES / 8 * 7 &&
		owner->text_bytes <= RSTAR_SHARE_OF_TEXT / 8 * 7;
}

