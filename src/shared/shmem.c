/*-------------------------------------------------------------------------
 *
 * shmem.c
 *		The parts of shared memory, the text area, databases, and who is woken.
 *
 * What lies where and which lock guards it: shmem.h.  That each part asks for
 * its own memory and lock is all that this file knows of them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "shared/shmem.h"

#define AREA_TRANCHE "retrostar_text"

RstarShared *rstar_shared = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static const RstarShmemPart *parts = NULL;
static int	nparts = 0;

static dsa_area *text_area = NULL;

static void request_shmem(void);
static void startup_shmem(void);

void
rstar_shmem_init(const RstarShmemPart *of, int n)
{
	parts = of;
	nparts = n;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
}

static void
request_shmem(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < nparts; i++)
		parts[i].request();
}

/* Again after a crash: the postmaster makes the segment anew */
static void
startup_shmem(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < nparts; i++)
		parts[i].startup();
	LWLockRelease(AddinShmemInitLock);
}

/* It is made and pinned; sessions attach to it */
void
rstar_shmem_make_area(void)
{
	dsa_area   *area;

	rstar_shared->area_tranche = rstar_new_tranche(AREA_TRANCHE);
	rstar_name_tranche(rstar_shared->area_tranche, AREA_TRANCHE);
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

		rstar_name_tranche(rstar_shared->area_tranche, AREA_TRANCHE);
		text_area = dsa_attach_in_place(rstar_shared->area, NULL);
		dsa_pin_mapping(text_area);
		on_shmem_exit(dsa_on_shmem_exit_release_in_place, PointerGetDatum(rstar_shared->area));
		MemoryContextSwitchTo(old);
	}
	return text_area;
}

int
rstar_shmem_process(void)
{
	int			number = (int) (MyProc - ProcGlobal->allProcs);

	if (number < 0 || number >= rstar_shared->nbackends)
		elog(ERROR, "process %d has no place in retrostar's shared memory", number);
	return number;
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
				 db->worker == RSTAR_WORKER_NONE && !db->paused && db->emptying == 0 &&
				 db->nusage == 0 && db->nunread == 0)
			unused = db;
	}
	if (!create || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(RstarDatabase));
	unused->dboid = dboid;
	for (int i = 0; i < RSTAR_NPRIORITIES; i++)
		dlist_init(&unused->active[i]);
	dlist_init(&unused->unstored);
	dlist_init(&unused->refused);
	dlist_init(&unused->to_close);
	dlist_init(&unused->lookups);
	dlist_init(&unused->untold);
	return unused;
}

bool
rstar_shmem_has_work(RstarDatabase *db)
{
	return db->nwaiting > 0 || db->nrunning > 0 || db->nunstored > 0 || db->nunread > 0 ||
		!dlist_is_empty(&db->to_close);
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

bool
rstar_shmem_fair_room(const RstarOwner *owner)
{
	return owner->nrequests <= rstar_shared->share_of_places / 8 * 7 &&
		owner->text_bytes <= rstar_shared->share_of_text / 8 * 7;
}
