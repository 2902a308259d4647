/*-------------------------------------------------------------------------
 *
 * owner.c
 *		A session's place in the map: taken when it first asks for something,
 *		given back when the process ends.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "storage/lwlock.h"

#include "shared/owner.h"
#include "shared/request.h"
#include "shared/shmem.h"

static RstarOwner *my_owner = NULL;

static void release_owner(int code, Datum arg);
static void orphan_all(dlist_head *lane);

RstarOwner *
rstar_owner_me(void)
{
	if (my_owner == NULL)
	{
		int			number = rstar_shmem_process();

		(void) rstar_shmem_area();
		my_owner = &rstar_shared->owners[number];
		before_shmem_exit(release_owner, (Datum) 0);
	}
	return my_owner;
}

bool
rstar_owner_attached(void)
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
		rstar_request_release_waiter(dlist_head_element(RstarWaiter, owner_link, &owner->ready));
	while (!dlist_is_empty(&owner->pending))
		rstar_request_release_waiter(dlist_head_element(RstarWaiter, owner_link, &owner->pending));
	for (int priority = 0; priority < RSTAR_NPRIORITIES; priority++)
	{
		for (int lane = 0; lane < RSTAR_LANES; lane++)
			orphan_all(&owner->queue[priority].lanes[lane]);
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
	rstar_shmem_wake_space(false);
	LWLockRelease(rstar_shared->lock);
}

static void
orphan_all(dlist_head *lane)
{
	while (!dlist_is_empty(lane))
	{
		RstarRequest *request = dlist_head_element(RstarRequest, queue, lane);

		rstar_request_dequeue(request);
		rstar_request_enqueue(request, rstar_shmem_orphans(request->db));
	}
}
