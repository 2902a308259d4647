/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *		Requests between sessions and the worker, the worker's side: claim,
 *		answer, fail, drop, and what is to be stored.
 *
 * Called by: worker.c.  Calls: shmem.c.
 *
 * States and locking: shmem.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "details.h"
#include "dispatch.h"
#include "shmem.h"

/* Kept texts that are stored at once, all together, if there are several */
#define MAX_REASONING (8 * 1024 * 1024)

static RstarDatabase *my_database(void);
static bool claim_one(RstarOwner *owner, RstarClaim *claim, RstarAdmit admit);
static void fill_claim(RstarRequest *request, RstarClaim *claim);
static void sample_ended(RstarRequest *request);
static void set_outcome(RstarRequest *request, RstarStatus status, int http_status,
						const char *detail);
static void samples_closed(RstarRequest *request);
static bool still_there(const RstarAnswered *answer);
static void take_back(RstarRequest *request, bool lost);

/* Of this worker; the entry lives as long as it has a worker */
static RstarDatabase *
my_database(void)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);

	Assert(db != NULL);
	return db;
}

int
rstar_dispatch_claim(RstarClaim *claims, int max, RstarAdmit admit)
{
	RstarDatabase *db;
	int			n = 0;
	int			idle = 0;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	db->work_added = false;
	db->worker_sleeping = false;
	while (n < max && !db->paused && idle < db->nactive)
	{
		RstarOwner *owner = dlist_head_element(RstarOwner, active, &db->active);

		dlist_delete(&owner->active);
		dlist_push_tail(&db->active, &owner->active);
		if (claim_one(owner, &claims[n], admit))
		{
			n++;
			idle = 0;
		}
		else
			idle++;
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

static bool
claim_one(RstarOwner *owner, RstarClaim *claim, RstarAdmit admit)
{
	for (int i = 0; i < RSTAR_LANES; i++)
	{
		int			lane = (owner->next_lane + i) % RSTAR_LANES;
		RstarRequest *request;

		if (dlist_is_empty(&owner->lanes[lane]))
			continue;
		request = dlist_head_element(RstarRequest, queue, &owner->lanes[lane]);
		if (!admit(request->serverid, request->mapping))
			continue;
		owner->next_lane = (lane + 1) % RSTAR_LANES;
		fill_claim(request, claim);
		return true;
	}
	return false;
}

static void
fill_claim(RstarRequest *request, RstarClaim *claim)
{
	if (request->state == RSTAR_WAITING)
	{
		request->state = RSTAR_RUNNING;
		request->db->nwaiting--;
		request->db->nrunning++;
	}
	request->claimed++;
	request->in_flight++;
	if (request->kind == RSTAR_KIND_SCORE)
	{
		request->db->samples_sent++;
		request->db->samples_running++;
	}
	claim->request = request;
	claim->slot = (int) (request - rstar_shared->requests);
	claim->kind = request->kind;
	claim->serverid = request->serverid;
	claim->mapping = request->mapping;
	claim->fingerprint = request->fingerprint;
	claim->sample = request->next_sample++;
	claim->endpoint = request->endpoint;
	claim->affinity = request->affinity;
	claim->key = request->key;
	claim->body = DsaPointerIsValid(request->body) ?
		dsa_get_address(rstar_shmem_area(), request->body) : NULL;
	claim->body_len = request->body_len;
	claim->doc_at = request->doc_at;
	claim->doc_len = request->doc_len;
	claim->doc_kept = request->doc_kept;
	if (request->claimed >= rstar_shmem_needed(request))
		rstar_shmem_dequeue(request);
}

/*
 * Without the lock: it changes from false to true only, while the request is
 * in work, and a reply may come too early for that in any case.
 */
bool
rstar_dispatch_keeps(const RstarRequest *request)
{
	return request->reasoning;
}

/* Without the lock: the worker alone changes it, here */
int
rstar_dispatch_doc_kept(const RstarRequest *request)
{
	return request->doc_kept;
}

void
rstar_dispatch_shorten(RstarRequest *request, int kept)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	request->doc_kept = kept;
	LWLockRelease(rstar_shared->lock);
}

bool
rstar_dispatch_answered(RstarRequest *request, const RstarAnswer *answer,
						bool again, int *sample)
{
	RstarDatabase *db = request->db;
	bool		asks_again = false;
	dsa_pointer kept = InvalidDsaPointer;

	if (answer->kept != NULL)
		kept = rstar_details_make(answer->kept, (int) answer->kept_len);
	free(answer->kept);
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db->successions = 0;
	request->prompt_tokens += answer->prompt_tokens;
	request->completion_tokens += answer->completion_tokens;
	request->elapsed_us = answer->elapsed_us;
	request->answered_at = GetCurrentTimestamp();
	if (request->kind == RSTAR_KIND_CHECK)
		set_outcome(request, RSTAR_STATUS_OK, answer->http_status, answer->detail);
	else if (answer->score >= 0)
	{
		rstar_details_add(request, kept, true);
		if (request->scored < RSTAR_MAX_SAMPLES)
		{
			request->scores[request->scored++] = (uint8) answer->score;
			request->sum += answer->score;
		}
		db->samples_scored++;
	}
	else
	{
		rstar_details_add(request, kept, false);
		request->unscored++;
		db->samples_unscored++;
		if (request->state == RSTAR_RUNNING && request->scored == 0)
			set_outcome(request, answer->truncated ? RSTAR_STATUS_TRUNCATED : RSTAR_STATUS_NO_SCORE,
						answer->http_status, answer->detail);
		if (again && !request->zero && !request->cancelled && request->state == RSTAR_RUNNING)
		{
			*sample = request->next_sample++;
			db->samples_sent++;
			asks_again = true;
		}
	}
	if (!asks_again)
		sample_ended(request);
	LWLockRelease(rstar_shared->lock);
	return asks_again;
}

/*
 * One sample less in flight.  With the last one the request is answered, or
 * has failed, or goes on waiting when more samples were asked for meanwhile.
 */
static void
sample_ended(RstarRequest *request)
{
	RstarDatabase *db = request->db;

	Assert(request->in_flight > 0);
	request->in_flight--;
	if (request->kind == RSTAR_KIND_SCORE)
		db->samples_running--;
	if (request->cancelled)
		return;					/* rstar_dispatch_dropped() ends it */
	if (request->in_flight == 0 && request->state == RSTAR_FAILED)
		rstar_shmem_finish(request, RSTAR_FAILED);
	else if (request->in_flight == 0 && request->claimed < rstar_shmem_needed(request))
	{
		Assert(request->queued);
		request->state = RSTAR_WAITING;
		db->nrunning--;
		db->nwaiting++;
	}
	else if (request->in_flight == 0)
	{
		bool		scored = request->known.scored + request->scored > 0 || request->zero ||
			request->kind == RSTAR_KIND_CHECK;

		if (scored)
		{
			request->status = RSTAR_STATUS_OK;
			db->answered++;
		}
		else
			db->failed++;
		rstar_shmem_finish(request, scored ? RSTAR_ANSWERED : RSTAR_FAILED);
	}
	rstar_shmem_notify(request);
	rstar_shmem_settle(request);
}

static void
set_outcome(RstarRequest *request, RstarStatus status, int http_status, const char *detail)
{
	request->status = status;
	request->http_status = http_status;
	strlcpy(request->detail, detail ? detail : "", sizeof(request->detail));
}

void
rstar_dispatch_failed(RstarRequest *request, RstarStatus status, int http_status,
					  const char *detail)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (request->kind == RSTAR_KIND_SCORE)
		request->db->samples_failed++;
	if (request->state == RSTAR_RUNNING && !request->cancelled)
	{
		/* The others are closed, unless they end first */
		set_outcome(request, status, http_status, detail);
		request->db->failed++;
		rstar_shmem_finish(request, RSTAR_FAILED);
	}
	sample_ended(request);
	LWLockRelease(rstar_shared->lock);
}

RstarRequest *
rstar_dispatch_cancelled(int *slot)
{
	RstarRequest *request = NULL;
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	if (!dlist_is_empty(&db->cancelled))
	{
		request = dlist_container(RstarRequest, list, dlist_pop_head_node(&db->cancelled));
		*slot = (int) (request - rstar_shared->requests);
	}
	LWLockRelease(rstar_shared->lock);
	return request;
}

void
rstar_dispatch_dropped(RstarRequest *request, int n)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	Assert(request->cancelled && request->in_flight == n);
	samples_closed(request);
	if (request->state == RSTAR_RUNNING)
		request->db->cancelled_count++;
	rstar_shmem_finish(request, RSTAR_FAILED);
	rstar_shmem_settle(request);
	LWLockRelease(rstar_shared->lock);
}

/* What is in flight of it will not be answered */
static void
samples_closed(RstarRequest *request)
{
	if (request->kind == RSTAR_KIND_SCORE)
	{
		request->db->samples_cancelled += request->in_flight;
		request->db->samples_running -= request->in_flight;
	}
	request->in_flight = 0;
}

void
rstar_dispatch_sent(RstarRequest *request, uint64 url)
{
	request->attempts++;
	request->url = url;
}

void
rstar_dispatch_turn_done(void)
{
	rstar_shmem_freed();
}

int
rstar_dispatch_unstored(RstarAnswered *answers, int max)
{
	int			n = 0;
	Size		reasoning = 0;
	dlist_iter	iter;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	dlist_foreach(iter, &my_database()->unstored)
	{
		RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);
		RstarAnswered *answer = &answers[n];

		if (n == max || reasoning > MAX_REASONING)
			break;
		answer->request = request;
		answer->key = request->key;
		strlcpy(answer->model, request->model, sizeof(answer->model));
		answer->first_sample = request->first_sample;
		answer->nscores = request->scored;
		answer->unscored = request->unscored;
		answer->prompt_tokens = request->prompt_tokens;
		answer->completion_tokens = request->completion_tokens;
		answer->answered_at = request->answered_at;
		answer->reasoning_size = DsaPointerIsValid(request->details) ? rstar_details_size(request) : 0;
		answer->reasoning = NULL;
		reasoning += answer->reasoning_size;
		memcpy(answer->scores, request->scores, request->scored);
		n++;
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

/* The lock is taken for each of them: they may be long */
void
rstar_dispatch_reasoning(RstarAnswered *answers, int n)
{
	for (int i = 0; i < n; i++)
	{
		RstarAnswered *answer = &answers[i];

		if (answer->reasoning_size == 0)
			continue;
		answer->reasoning = palloc(answer->reasoning_size);
		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		/* It may have been given up for room, all of it or its details */
		if (still_there(answer) && DsaPointerIsValid(answer->request->details))
			(void) rstar_details_copy(answer->request, answer->reasoning);
		else
			answer->reasoning_size = 0;
		LWLockRelease(rstar_shared->lock);
		if (answer->reasoning_size == 0)
			answer->reasoning = NULL;
	}
}

void
rstar_dispatch_stored(const RstarAnswered *answers, int n)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	/* Who looked at the table before our commit must look again */
	rstar_shared->generation++;
	my_database()->stored += n;
	my_database()->successions = 0;
	for (int i = 0; i < n; i++)
	{
		if (still_there(&answers[i]))
			rstar_shmem_stored(answers[i].request);
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_dispatch_discard(const RstarAnswered *answers, int n)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		if (still_there(&answers[i]))
		{
			my_database()->lost++;
			rstar_shmem_stored(answers[i].request);
		}
	}
	LWLockRelease(rstar_shared->lock);
}

/* Between copy and commit a session may have evicted it for room */
static bool
still_there(const RstarAnswered *answer)
{
	return answer->request->unstored &&
		answer->request->answered_at == answer->answered_at &&
		memcmp(&answer->request->key, &answer->key, sizeof(RstarKey)) == 0;
}

void
rstar_dispatch_cannot_store(bool cannot)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	my_database()->cannot_store = cannot;
	if (cannot)
	{
		/* What cannot be stored may be evicted by who waits for room */
		rstar_shared->freed++;
		rstar_shmem_wake_space(true);
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_dispatch_store_failed(void)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	my_database()->store_failures++;
	LWLockRelease(rstar_shared->lock);
}

void
rstar_dispatch_load(RstarLoad *load)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	load->waiting = db->nwaiting;
	load->running = db->nrunning;
	load->unstored = db->nunstored;
	load->paused = db->paused;
	LWLockRelease(rstar_shared->lock);
}

bool
rstar_dispatch_sleep(void)
{
	RstarDatabase *db;
	bool		sleeps;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	/* a claim takes note of new work, but not of what came for others to do */
	sleeps = !db->work_added && dlist_is_empty(&db->cancelled) && !db->leave;
	db->worker_sleeping = sleeps;
	LWLockRelease(rstar_shared->lock);
	return sleeps;
}

bool
rstar_dispatch_leave(bool lost)
{
	RstarDatabase *db;
	bool		succeeded;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < rstar_shared->ndatabases; i++)
	{
		db = &rstar_shared->databases[i];
		if (OidIsValid(db->dboid) && db->worker == RSTAR_WORKER_RUNNING &&
			db->worker_pid == MyProcPid)
			break;
		db = NULL;
	}
	if (db == NULL)
	{
		/* Another one serves the database, or this one has retired */
		LWLockRelease(rstar_shared->lock);
		return false;
	}

	while (!dlist_is_empty(&db->cancelled))
	{
		RstarRequest *request = dlist_container(RstarRequest, list,
												dlist_pop_head_node(&db->cancelled));

		samples_closed(request);
		if (request->state == RSTAR_RUNNING)
			db->cancelled_count++;
		rstar_shmem_finish(request, RSTAR_FAILED);
		rstar_shmem_settle(request);
	}
	for (int i = 0; i < rstar_shared->nrequests; i++)
	{
		RstarRequest *request = &rstar_shared->requests[i];
		dlist_iter	iter;

		if (request->state == RSTAR_FREE || request->db != db)
			continue;
		/* Who waits looks after a new worker */
		dlist_foreach(iter, &request->waiters)
			rstar_shmem_wake(dlist_container(RstarWaiter, request_link, iter.cur)->owner);
		take_back(request, lost);
	}
	/* On a standby it is the end of the database that ends a worker */
	if (lost && RecoveryInProgress())
		rstar_shmem_purge(db->dboid);
	/* Not one that could not start, or a line of those that achieve nothing */
	succeeded = rstar_shmem_has_work(db) && !db->leave && db->failed_starts == 0 &&
		db->successions < RSTAR_MAX_SUCCESSIONS;
	if (succeeded)
		db->successions++;
	db->worker = succeeded ? RSTAR_WORKER_STARTING : RSTAR_WORKER_NONE;
	db->starter = 0;
	db->worker_since = GetCurrentTimestamp();
	db->worker_pid = 0;
	db->worker_sleeping = false;
	db->leave = false;
	rstar_shmem_wake_space(true);
	LWLockRelease(rstar_shared->lock);
	ConditionVariableBroadcast(&rstar_shared->worker_left);
	return succeeded;
}

/*
 * What was in flight is asked again by the next worker, under new sample
 * numbers: a number may not be used twice, its reply would be the same.
 */
static void
take_back(RstarRequest *request, bool lost)
{
	RstarDatabase *db = request->db;

	if (request->in_flight == 0)
		return;
	samples_closed(request);
	request->cancelled = false;
	if (request->state == RSTAR_RUNNING)
	{
		RstarOwner *owner = dlist_is_empty(&request->waiters) ? rstar_shmem_orphans(db) :
			dlist_head_element(RstarWaiter, request_link, &request->waiters)->owner;

		request->claimed = request->scored + (request->zero ? request->unscored : 0);
		request->losses += lost ? 1 : 0;
		if (request->losses < RSTAR_MAX_LOSSES)
		{
			request->state = RSTAR_WAITING;
			db->nrunning--;
			db->nwaiting++;
			if (!request->queued)
				rstar_shmem_enqueue(request, owner);
			rstar_shmem_settle(request);
			return;
		}
		set_outcome(request, RSTAR_STATUS_WORKER_LOST, 0, NULL);
		db->failed++;
	}
	rstar_shmem_finish(request, RSTAR_FAILED);
	rstar_shmem_notify(request);
	rstar_shmem_settle(request);
}
