/*-------------------------------------------------------------------------
 *
 * request.c
 *		The life of a request: queued, satisfied, finished, ended.
 *
 * Called by: queue.c, dispatch.c, shmem.c, launch.c.
 *
 * The states are in shmem.h, as are the declarations; everything here needs
 * rstar_shared->lock held exclusively.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "details.h"
#include "shmem.h"

static int	counted(const RstarRequest *request, bool zero);
static void free_request(RstarRequest *request);
static void cancel_in_flight(RstarRequest *request);

/* Samples that count against "wanted" */
static int
counted(const RstarRequest *request, bool zero)
{
	int			n = request->known.scored + request->scored;

	if (zero)
		n += request->known.unscored + request->unscored;
	return n;
}

bool
rstar_shmem_satisfied(const RstarRequest *request, int wanted, bool zero)
{
	if (request->state == RSTAR_ANSWERED || request->state == RSTAR_FAILED)
		return true;
	return counted(request, zero) >= wanted;
}

int
rstar_shmem_needed(const RstarRequest *request)
{
	int			known = request->known.scored;

	if (request->zero)
		known += request->known.unscored;
	return Max(request->wanted - known, 0);
}

void
rstar_shmem_notify(RstarRequest *request)
{
	dlist_iter	iter;

	dlist_foreach(iter, &request->waiters)
	{
		RstarWaiter *waiter = dlist_container(RstarWaiter, request_link, iter.cur);
		RstarOwner *owner = waiter->owner;

		if (waiter->ready ||
			!rstar_shmem_satisfied(request, waiter->wanted, waiter->zero))
			continue;
		waiter->ready = true;
		dlist_delete(&waiter->owner_link);
		dlist_push_tail(&owner->ready, &waiter->owner_link);
		if (owner->wait_for == NULL || owner->wait_for == waiter)
			rstar_shmem_wake(owner);
	}
}

void
rstar_shmem_enqueue(RstarRequest *request, RstarOwner *owner)
{
	RstarDatabase *db = request->db;

	Assert(!request->queued);
	if (owner->nqueued == 0)
	{
		owner->db = db;
		dlist_push_tail(&db->active, &owner->active);
		db->nactive++;
	}
	Assert(owner->db == db);
	dlist_push_tail(&owner->lanes[request->serverid % RSTAR_LANES], &request->queue);
	request->owner = owner;
	request->queued = true;
	owner->nqueued++;
	rstar_shmem_wake_worker(db);
}

void
rstar_shmem_dequeue(RstarRequest *request)
{
	RstarOwner *owner = request->owner;

	if (!request->queued)
		return;
	dlist_delete(&request->queue);
	request->queued = false;
	request->owner = NULL;
	if (--owner->nqueued == 0)
	{
		dlist_delete(&owner->active);
		owner->db->nactive--;
	}
}

void
rstar_shmem_unlink(RstarRequest *request)
{
	if (request->findable)
		dlist_delete(&request->bucket);
	request->findable = false;
}

void
rstar_shmem_free_body(RstarRequest *request)
{
	if (!DsaPointerIsValid(request->body))
		return;
	dsa_free(rstar_shmem_area(), request->body);
	request->body = InvalidDsaPointer;
	rstar_shared->freed++;
	rstar_shared->text_bytes -= request->body_len;
	if (request->maker)
		request->maker->text_bytes -= request->body_len;
}

void
rstar_shmem_finish(RstarRequest *request, RstarState state)
{
	RstarDatabase *db = request->db;

	Assert(request->in_flight == 0 || state == RSTAR_FAILED);
	if (request->state == RSTAR_WAITING)
		db->nwaiting--;
	else if (request->state == RSTAR_RUNNING)
		db->nrunning--;
	request->state = state;
	request->detached = false;
	rstar_shmem_dequeue(request);
	if (state == RSTAR_FAILED)
		rstar_shmem_unlink(request);
	if (request->in_flight == 0)
	{
		rstar_shmem_free_body(request);
		if (request->maker)
			request->maker->nrequests--;
		request->maker = NULL;
		if (request->kind == RSTAR_KIND_SCORE && !request->unstored &&
			request->scored + request->unscored > 0)
		{
			request->unstored = true;
			dlist_push_tail(&db->unstored, &request->list);
			db->nunstored++;
			rstar_shmem_wake_worker(db);
		}
	}
}

static void
free_request(RstarRequest *request)
{
	Assert(dlist_is_empty(&request->waiters) && !request->unstored);
	Assert(request->in_flight == 0 && !request->queued && request->maker == NULL);
	rstar_shmem_unlink(request);
	rstar_details_free(request);
	request->state = RSTAR_FREE;
	dlist_push_head(&rstar_shared->free_requests, &request->list);
	rstar_shared->free_requests_count++;
	rstar_shared->freed++;
	request->db->nrequests--;
	if (rstar_shared->free_requests_count == rstar_shared->nrequests ||
		rstar_shared->free_requests_count % Min(64, rstar_shared->nrequests / 16) == 0)
		rstar_shmem_wake_space(false);
}

/* A request is cut off while samples are in flight: the worker closes them */
static void
cancel_in_flight(RstarRequest *request)
{
	if (request->cancelled)
		return;
	request->cancelled = true;
	rstar_shmem_dequeue(request);
	rstar_shmem_unlink(request);
	dlist_push_tail(&request->db->cancelled, &request->list);
	rstar_shmem_wake_worker(request->db);
}

void
rstar_shmem_settle(RstarRequest *request)
{
	RstarDatabase *db = request->db;

	if (!dlist_is_empty(&request->waiters) || request->detached)
		return;
	switch (request->state)
	{
		case RSTAR_FREE:
			Assert(false);
			break;
		case RSTAR_WAITING:
			/* Samples that another worker got before it left are kept */
			rstar_shmem_finish(request, RSTAR_FAILED);
			db->cancelled_count++;
			if (!request->unstored)
				free_request(request);
			break;
		case RSTAR_RUNNING:
			Assert(request->in_flight > 0);
			cancel_in_flight(request);
			break;
		case RSTAR_ANSWERED:
		case RSTAR_FAILED:
			if (request->in_flight > 0)
				cancel_in_flight(request);
			else if (!request->unstored)
				free_request(request);
			break;
	}
}

void
rstar_shmem_release_waiter(RstarWaiter *waiter)
{
	RstarRequest *request = waiter->request;

	dlist_delete(&waiter->request_link);
	request->nwaiters--;
	dlist_delete(&waiter->owner_link);
	if (waiter->owner->wait_for == waiter)
		waiter->owner->wait_for = NULL;
	waiter->owner = NULL;
	waiter->request = NULL;
	dlist_push_head(&rstar_shared->free_waiters, &waiter->owner_link);
	if (rstar_shared->free_waiters_count++ == 0)
		rstar_shared->freed++;
	rstar_shmem_settle(request);
}

/*
 * Gives up the oldest answer that cannot be stored and interests nobody, to
 * make room.  False when there is none.
 */
bool
rstar_shmem_evict(void)
{
	for (int i = 0; i < rstar_shared->ndatabases; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];
		dlist_iter	iter;

		if (!OidIsValid(db->dboid) || !db->cannot_store)
			continue;
		dlist_foreach(iter, &db->unstored)
		{
			RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

			if (!dlist_is_empty(&request->waiters))
				continue;
			db->lost++;
			rstar_shmem_stored(request);
			return true;
		}
	}
	return false;
}

void
rstar_shmem_stored(RstarRequest *request)
{
	Assert(request->unstored);
	dlist_delete(&request->list);
	request->unstored = false;
	request->db->nunstored--;
	rstar_shmem_settle(request);
}

/*
 * No session is left in that database, so nobody waits, and no worker but one
 * that will not find it any more, so nothing is in flight.
 */
void
rstar_shmem_purge(Oid dboid)
{
	RstarDatabase *db = rstar_shmem_database(dboid, false);

	if (db == NULL)
		return;
	for (int i = 0; i < rstar_shared->nrequests && db->nrequests > 0; i++)
	{
		RstarRequest *request = &rstar_shared->requests[i];

		if (request->state == RSTAR_FREE || request->db != db)
			continue;
		request->detached = false;
		if (request->unstored)
		{
			db->lost++;
			rstar_shmem_stored(request);
		}
		else
			rstar_shmem_settle(request);
	}
	db->paused = false;
}
