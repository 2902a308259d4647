/*-------------------------------------------------------------------------
 *
 * lookup.c
 *		Requests that are looked up elsewhere before anything is sent for them,
 *		and answers that their hub is to be told.
 *
 * A look-up that is in the worker's hand has no link to its request: that may
 * be cancelled meanwhile, and its place taken by another, which the serial
 * number tells.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "shared/lease.h"
#include "shared/lookup.h"
#include "shared/queue.h"
#include "shared/request.h"
#include "shared/shmem.h"

static RstarDatabase *my_database(void);
static void found(RstarFinding *finding);
static RstarLookedUp known(RstarRequest *request, RstarFinding *finding);
static RstarLookedUp ours(RstarRequest *request, const RstarFinding *finding);
static void copy_told(const RstarRequest *request, RstarTold *told);

/* Of this worker; the entry lives as long as it has a worker */
static RstarDatabase *
my_database(void)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);

	Assert(db != NULL);
	return db;
}

int
rstar_lookup_take(RstarLookup *lookups, int max)
{
	RstarDatabase *db;
	int			n = 0;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	while (n < max && !dlist_is_empty(&db->lookups))
	{
		RstarRequest *request = dlist_head_element(RstarRequest, queue, &db->lookups);
		RstarLookup *lookup = &lookups[n++];

		rstar_request_looked_up(request);
		request->looking = RSTAR_LOOKING_ASKED;
		lookup->request = request;
		lookup->serial = request->serial;
		lookup->key = request->key;
		lookup->serverid = request->serverid;
		lookup->shared = request->shared;
		lookup->have = request->known.scored + request->known.unscored;
		rstar_request_check(request);
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

void
rstar_lookup_found(RstarFinding *findings, int n)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
		found(&findings[i]);
	LWLockRelease(rstar_shared->lock);
}

static void
found(RstarFinding *finding)
{
	const RstarLookup *lookup = finding->lookup;
	RstarRequest *request = lookup->request;

	finding->outcome = RSTAR_LOOKED_UP_GONE;
	if (request->serial != lookup->serial || request->state != RSTAR_WAITING ||
		request->looking == RSTAR_LOOKING_NOT)
		return;
	Assert(request->looking != RSTAR_LOOKING_WANTED);
	switch (finding->found)
	{
		case RSTAR_FOUND_KNOWN:
			finding->outcome = known(request, finding);
			break;
		case RSTAR_FOUND_ELSEWHERE:
			request->looking = RSTAR_LOOKING_ELSEWHERE;
			finding->outcome = RSTAR_LOOKED_UP_MORE;
			break;
		case RSTAR_FOUND_OURS:
			finding->outcome = ours(request, finding);
			break;
	}
	rstar_request_check(request);
}

/* What is sent for the rest has numbers behind those that are known */
static RstarLookedUp
known(RstarRequest *request, RstarFinding *finding)
{
	RstarDatabase *db = request->db;
	const RstarTally *tally = finding->known;
	int			needed = rstar_request_needed(request);
	int			less;

	finding->lookup->have = Max(finding->lookup->have, tally->scored + tally->unscored);
	request->next_sample = Max(request->next_sample, tally->scored + tally->unscored);
	request->first_sample = request->next_sample;
	if (rstar_queue_has_more(tally, &request->known, request->zero))
		request->known = *tally;
	less = needed - rstar_request_needed(request);
	if (rstar_request_needed(request) > 0)
	{
		rstar_budget_change(&request->hold, -less, -less * request->guess);
		rstar_request_notify(request);	/* it may be enough for some */
		return RSTAR_LOOKED_UP_MORE;
	}
	request->status = RSTAR_STATUS_OK;
	db->counts.answered++;
	db->successions = 0;
	rstar_request_finish(request, RSTAR_ANSWERED);
	rstar_request_notify(request);
	rstar_request_settle(request);
	return RSTAR_LOOKED_UP_ANSWERED;
}

/* Unless another node got a lease, or an answer came, since we looked */
static RstarLookedUp
ours(RstarRequest *request, const RstarFinding *finding)
{
	if (!finding->lookup->shared && !finding->regardless &&
		(finding->generation != rstar_shared->generation ||
		 rstar_lease_held(request->db->dboid, &request->key)))
	{
		request->looking = RSTAR_LOOKING_ELSEWHERE;
		return RSTAR_LOOKED_UP_MORE;
	}
	rstar_request_looked_up(request);
	rstar_request_enqueue(request, rstar_request_heir(request));
	return RSTAR_LOOKED_UP_QUEUED;
}

void
rstar_lookup_ended(const RstarLookup *lookups, int n, bool *ended)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		const RstarRequest *request = lookups[i].request;

		/* Not before the hub is told of its answer */
		ended[i] = request->serial != lookups[i].serial ||
			(!request->untold &&
			 (request->cancelled ||
			  !(request->state == RSTAR_RUNNING ||
				(request->state == RSTAR_WAITING && !request->db->paused))));
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_lookup_leased(const RstarLookup *lookups, int n, bool *leased, uint64 *generation)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
		leased[i] = rstar_lease_held(MyDatabaseId, &lookups[i].key);
	/* Afterwards: looking may have ended some */
	*generation = rstar_shared->generation;
	LWLockRelease(rstar_shared->lock);
}

int
rstar_lookup_untold(RstarTold *told, int max)
{
	RstarDatabase *db;
	int			n = 0;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	while (n < max && !dlist_is_empty(&db->untold))
	{
		RstarRequest *request = dlist_head_element(RstarRequest, tell, &db->untold);

		copy_told(request, &told[n++]);
		rstar_request_told(request);
		rstar_request_check(request);
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

/* All samples of the pair that this node knows, as the hub keeps the longer row */
static void
copy_told(const RstarRequest *request, RstarTold *told)
{
	told->key = request->key;
	told->serverid = request->serverid;
	strlcpy(told->model, request->model, sizeof(told->model));
	told->nscores = request->known.nscores;
	memcpy(told->scores, request->known.scores, request->known.nscores);
	memcpy(told->scores + told->nscores, request->scores, request->scored);
	told->nscores += request->scored;
	told->unscored = request->known.unscored + request->unscored;
	told->prompt_tokens = request->prompt_tokens;
	told->completion_tokens = request->completion_tokens;
	told->answered_at = request->answered_at;
}
