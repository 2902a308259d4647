/*-------------------------------------------------------------------------
 *
 * lease.c
 *		Leases: which pairs other nodes pay for, on their hub.
 *
 * A node whose server names this database as its hub has a session here
 * (functions/shared_sql.c), which holds the leases of the pairs that the node
 * pays for.  While one is held, others are told that somebody pays, and
 * sessions of this node hold their request back.
 *
 * Under the lock of the map: whether a pair is in work here and whether it is
 * leased is decided in one hold of it, so that two never both pay.  There is
 * a fixed number of leases.  Who finds none free pays without one, which costs
 * a second payment at worst.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "shared/lease.h"
#include "shared/request.h"
#include "shared/shmem.h"

#define PART_NAME "retrostar_leases"

/* A session of another node */
typedef struct Holder
{
	dlist_head	leases;			/* Lease.link */
	TimestampTz called_at;
} Holder;

typedef struct Lease
{
	Oid			dboid;
	RstarKey	key;
	Holder	   *holder;			/* NULL: free */
	dlist_node	bucket;
	dlist_node	link;			/* of its holder's, or of those that are free */
} Lease;

typedef struct Leases
{
	int			n;				/* in use */
	int			nbuckets;		/* a power of two */
	dlist_head	free;
	Holder	   *holders;		/* by process */
	Lease	   *leases;
	dlist_head *buckets;
} Leases;

static Leases *all = NULL;
static Holder *me = NULL;

static Size leases_size(void);
static int	number_of_leases(void);
static void attach(void);
static void release_all(int code, Datum arg);
static dlist_head *bucket_of(Oid dboid, const RstarKey *key);
static Lease *find(Oid dboid, const RstarKey *key);
static bool is_silent(const Holder *holder);
static RstarLease take_one(const RstarKey *key);
static bool is_in_work(Oid dboid, const RstarKey *key);
static void end_all(Holder *holder);
static void end_one(Lease *lease);

void
rstar_lease_request(void)
{
	RequestAddinShmemSpace(leases_size());
}

void
rstar_lease_startup(void)
{
	bool		found;
	char	   *p;

	all = ShmemInitStruct(PART_NAME, leases_size(), &found);
	if (found)
		return;
	p = (char *) all;
	memset(p, 0, leases_size());
	p += MAXALIGN(sizeof(Leases));
	all->nbuckets = pg_nextpower2_32(number_of_leases());
	all->holders = (Holder *) p;
	p += MAXALIGN(MaxBackends * sizeof(Holder));
	all->leases = (Lease *) p;
	p += MAXALIGN(number_of_leases() * sizeof(Lease));
	all->buckets = (dlist_head *) p;
	dlist_init(&all->free);
	for (int i = 0; i < MaxBackends; i++)
		dlist_init(&all->holders[i].leases);
	for (int i = 0; i < number_of_leases(); i++)
		dlist_push_tail(&all->free, &all->leases[i].link);
	for (int i = 0; i < all->nbuckets; i++)
		dlist_init(&all->buckets[i]);
}

static Size
leases_size(void)
{
	Size		size = MAXALIGN(sizeof(Leases));
	int			n = number_of_leases();

	size = add_size(size, MAXALIGN(mul_size(MaxBackends, sizeof(Holder))));
	size = add_size(size, MAXALIGN(mul_size(n, sizeof(Lease))));
	return add_size(size, MAXALIGN(mul_size(pg_nextpower2_32(n), sizeof(dlist_head))));
}

/* As many as pairs can be in work here: other nodes have queues of that size */
static int
number_of_leases(void)
{
	return rstar_max_requests;
}

static void
attach(void)
{
	int			number = rstar_shmem_process();

	if (me != NULL)
		return;
	before_shmem_exit(release_all, (Datum) 0);
	me = &all->holders[number];
}

static void
release_all(int code, Datum arg)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	end_all(me);
	LWLockRelease(rstar_shared->lock);
	me = NULL;
}

static dlist_head *
bucket_of(Oid dboid, const RstarKey *key)
{
	uint32		hash;

	memcpy(&hash, key->bytes, sizeof(hash));
	hash = hash_combine(hash, murmurhash32(dboid));
	return &all->buckets[hash & (all->nbuckets - 1)];
}

static Lease *
find(Oid dboid, const RstarKey *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, bucket_of(dboid, key))
	{
		Lease	   *lease = dlist_container(Lease, bucket, iter.cur);

		if (lease->dboid == dboid && memcmp(&lease->key, key, sizeof(RstarKey)) == 0)
			return lease;
	}
	return NULL;
}

bool
rstar_lease_held(Oid dboid, const RstarKey *key)
{
	Lease	   *lease = all->n > 0 ? find(dboid, key) : NULL;

	if (lease == NULL)
		return false;
	if (!is_silent(lease->holder))
		return true;
	end_all(lease->holder);
	return false;
}

static bool
is_silent(const Holder *holder)
{
	return TimestampDifferenceExceeds(holder->called_at, GetCurrentTimestamp(),
									  RSTAR_LEASE_SILENCE_MS);
}

void
rstar_lease_take(const RstarKey *keys, int n, RstarLease *leases)
{
	TimestampTz now = GetCurrentTimestamp();

	Assert(n <= RSTAR_LEASE_SLICE);
	attach();
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	me->called_at = now;
	for (int i = 0; i < n; i++)
		leases[i] = take_one(&keys[i]);
	LWLockRelease(rstar_shared->lock);
}

static RstarLease
take_one(const RstarKey *key)
{
	Lease	   *lease = find(MyDatabaseId, key);

	if (lease != NULL && lease->holder == me)
		return RSTAR_LEASE_KEPT;
	if (rstar_lease_held(MyDatabaseId, key) || is_in_work(MyDatabaseId, key))
		return RSTAR_LEASE_ELSEWHERE;
	if (dlist_is_empty(&all->free))
		return RSTAR_LEASE_NONE;
	lease = dlist_container(Lease, link, dlist_pop_head_node(&all->free));
	lease->dboid = MyDatabaseId;
	lease->key = *key;
	lease->holder = me;
	dlist_push_tail(&me->leases, &lease->link);
	dlist_push_head(bucket_of(MyDatabaseId, key), &lease->bucket);
	all->n++;
	return RSTAR_LEASE_NEW;
}

/*
 * Whether a request of this node brings the pair into the table by itself.
 * Not one that itself waits for what another node says, or two nodes would wait
 * for each other; nor one that is paused, or cannot be stored, or has no
 * worker, for that may last.
 */
static bool
is_in_work(Oid dboid, const RstarKey *key)
{
	dlist_iter	iter;

	dlist_foreach(iter, rstar_shmem_bucket(dboid, key))
	{
		const RstarRequest *request = dlist_container(RstarRequest, bucket, iter.cur);
		const RstarDatabase *db = request->db;

		if (db->dboid != dboid || memcmp(&request->key, key, sizeof(RstarKey)) != 0 ||
			db->worker == RSTAR_WORKER_NONE)
			continue;
		if (request->state == RSTAR_RUNNING ||
			(request->state == RSTAR_WAITING && request->looking == RSTAR_LOOKING_NOT &&
			 !db->paused) ||
			(request->unstored && !request->refused && !db->cannot_store))
			return true;
	}
	return false;
}

void
rstar_lease_end(const RstarKey *keys, int n, bool answered)
{
	bool		ended = false;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		Lease	   *lease = find(MyDatabaseId, &keys[i]);

		if (lease == NULL || lease->holder != me)
			continue;
		end_one(lease);
		ended = true;
	}
	/* Once for all: sessions that look meanwhile look again for each */
	if (ended && answered)
		rstar_shared->generation++;
	LWLockRelease(rstar_shared->lock);
}

static void
end_all(Holder *holder)
{
	if (dlist_is_empty(&holder->leases))
		return;
	while (!dlist_is_empty(&holder->leases))
		end_one(dlist_container(Lease, link, dlist_head_node(&holder->leases)));
	rstar_shared->generation++;
}

static void
end_one(Lease *lease)
{
	dlist_delete(&lease->link);
	dlist_delete(&lease->bucket);
	lease->holder = NULL;
	dlist_push_head(&all->free, &lease->link);
	all->n--;
}
