/*-------------------------------------------------------------------------
 *
 * layout.c
 *		The map of requests as a part of shared memory: how much there is of
 *		everything, and where it lies.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "shared/layout.h"
#include "shared/request.h"
#include "shared/shmem.h"

/* Of the memory, and of its lock */
#define PART_NAME "retrostar"

/* Interests in requests: several sessions may want the same pair */
#define WAITERS_PER_REQUEST 4

/* Databases that can have a worker or requests at once */
#define MIN_DATABASES 16

static Size layout_size(RstarShared *layout);
static void place_arrays(RstarShared *shared);

void
rstar_layout_request(void)
{
	RstarShared layout;

	RequestAddinShmemSpace(layout_size(&layout));
	RequestNamedLWLockTranche(PART_NAME, 1);
}

void
rstar_layout_startup(void)
{
	RstarShared layout;
	bool		found;

	rstar_shared = ShmemInitStruct(PART_NAME, layout_size(&layout), &found);
	if (!found)
	{
		*rstar_shared = layout;
		rstar_shared->lock = &GetNamedLWLockTranche(PART_NAME)->lock;
		place_arrays(rstar_shared);
		rstar_shmem_make_area();
	}
}

/* Numbers of everything, from the settings; returns the bytes in all */
static Size
layout_size(RstarShared *layout)
{
	Size		size = MAXALIGN(sizeof(RstarShared));

	memset(layout, 0, sizeof(RstarShared));
	layout->nbackends = MaxBackends;
	layout->ndatabases = Max(MIN_DATABASES, 2 * max_worker_processes);
	layout->nowners = layout->nbackends + layout->ndatabases;
	layout->nrequests = rstar_max_requests;
	layout->nwaiters = rstar_max_requests * WAITERS_PER_REQUEST;
	layout->nbuckets = pg_nextpower2_32(rstar_max_requests);
	layout->share_of_places = layout->nrequests / 4;
	layout->area_size = Max((Size) rstar_shared_memory * 1024, dsa_minimum_size());
	layout->share_of_text = (int64) layout->area_size / 2;

	size = add_size(size, MAXALIGN(mul_size(layout->nowners, sizeof(RstarOwner))));
	size = add_size(size, MAXALIGN(mul_size(layout->ndatabases, sizeof(RstarDatabase))));
	size = add_size(size, MAXALIGN(mul_size(layout->nrequests, sizeof(RstarRequest))));
	size = add_size(size, MAXALIGN(mul_size(layout->nwaiters, sizeof(RstarWaiter))));
	size = add_size(size, MAXALIGN(mul_size(layout->nbuckets, sizeof(dlist_head))));
	size = add_size(size, MAXALIGN(layout->area_size));
	return size;
}

/* The arrays follow the header, in the order of layout_size() */
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
	shared->area = p;
	ConditionVariableInit(&shared->worker_left);

	memset(shared->owners, 0, shared->nowners * sizeof(RstarOwner));
	memset(shared->databases, 0, shared->ndatabases * sizeof(RstarDatabase));
	memset(shared->requests, 0, shared->nrequests * sizeof(RstarRequest));
	memset(shared->waiters, 0, shared->nwaiters * sizeof(RstarWaiter));

	for (int i = 0; i < shared->nowners; i++)
	{
		for (int priority = 0; priority < RSTAR_NPRIORITIES; priority++)
		{
			for (int lane = 0; lane < RSTAR_LANES; lane++)
				dlist_init(&shared->owners[i].queue[priority].lanes[lane]);
		}
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
