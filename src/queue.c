/*-------------------------------------------------------------------------
 *
 * queue.c
 *		Requests between sessions and the worker, the sessions' side: find,
 *		submit, wait, take, release.
 *
 * Called by: score.c, functions.c, stat.c.  Calls: shmem.c.
 *
 * Single flight: a session that wants a pair which is in work for the same
 * server and user mapping adds itself to the request's waiters.  Requests
 * beyond what the queue holds are not refused: submit answers FULL and the
 * session waits for room.  No session may fill more than a share of the
 * queue, so that a statement over 100,000 pairs leaves room for one over
 * twenty; and pairs of rows that are read ahead leave some to those that are
 * waited for.
 *
 * States and locking: shmem.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"

#include "compat.h"
#include "details.h"
#include "shmem.h"

static RstarSubmitted copy_text(const RstarSpec *spec, dsa_pointer *body);
static void reserve_text(int len);
static void text_given_back(void);
static RstarSubmitted look_up(RstarSpec *spec, uint32 cookie, bool submits,
							  RstarWaiter **waiter, RstarResult *result);
static bool may_join(const RstarRequest *request, const RstarSpec *spec, bool submits);
static RstarSubmitted join(RstarRequest *request, RstarSpec *spec, uint32 cookie,
						   RstarWaiter **waiter);
static RstarSubmitted add_request(RstarSpec *spec, uint32 cookie, dsa_pointer body,
								  RstarWaiter **waiter);
static void fill_request(RstarRequest *request, const RstarSpec *spec);
static RstarWaiter *add_waiter(RstarRequest *request, const RstarSpec *spec, uint32 cookie);
static void read_result(const RstarRequest *request, RstarResult *result);
static bool worker_comes(long timeout);

bool
rstar_queue_ready(void)
{
	return rstar_shared != NULL;
}

RstarSubmitted
rstar_queue_find(RstarSpec *spec, uint32 cookie, RstarWaiter **waiter, RstarResult *result)
{
	RstarSubmitted found;

	(void) rstar_shmem_owner();
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	spec->generation = rstar_shared->generation;
	spec->freed = rstar_shared->freed;
	found = look_up(spec, cookie, false, waiter, result);
	LWLockRelease(rstar_shared->lock);
	return found;
}

RstarSubmitted
rstar_queue_submit(RstarSpec *spec, uint32 cookie, RstarWaiter **waiter, RstarResult *result)
{
	dsa_pointer body = InvalidDsaPointer;
	RstarSubmitted submitted;

	if (spec->body_len > 0)
	{
		submitted = copy_text(spec, &body);
		if (submitted != RSTAR_SUBMITTED_SENT)
			return submitted;
	}

	spec->asked_at = GetCurrentTimestamp();
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (spec->kind == RSTAR_KIND_SCORE && spec->generation != rstar_shared->generation)
		submitted = RSTAR_SUBMITTED_AGAIN;
	else
	{
		submitted = spec->kind == RSTAR_KIND_SCORE ?
			look_up(spec, cookie, true, waiter, result) : RSTAR_SUBMITTED_NONE;
		if (submitted == RSTAR_SUBMITTED_NONE)
			submitted = add_request(spec, cookie, body, waiter);
	}
	if (submitted != RSTAR_SUBMITTED_SENT && DsaPointerIsValid(body))
	{
		dsa_free(rstar_shmem_area(), body);
		reserve_text(-spec->body_len);
		/* where there is no place, one that comes free wakes who waits */
		if (submitted != RSTAR_SUBMITTED_FULL)
			text_given_back();
	}
	LWLockRelease(rstar_shared->lock);
	return submitted;
}

/*
 * Copies the text before the request is made, so that the lock is not held
 * meanwhile.  Room is reserved first: an allocation that fails although
 * nobody has reserved any, nor given any back since we looked, will never
 * succeed.
 */
static RstarSubmitted
copy_text(const RstarSpec *spec, dsa_pointer *body)
{
	int64		share = RSTAR_SHARE_OF_TEXT;
	bool		full;
	bool		alone;

	if (spec->body_len > share)
		return RSTAR_SUBMITTED_TOO_LARGE;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	full = rstar_shmem_owner()->text_bytes > 0 &&
		rstar_shmem_owner()->text_bytes + spec->body_len > share;
	if (!full)
		reserve_text(spec->body_len);
	LWLockRelease(rstar_shared->lock);
	if (full)
		return RSTAR_SUBMITTED_FULL;

	*body = dsa_allocate_extended(rstar_shmem_area(), spec->body_len, DSA_ALLOC_NO_OOM);
	if (DsaPointerIsValid(*body))
	{
		memcpy(dsa_get_address(rstar_shmem_area(), *body), spec->body, spec->body_len);
		return RSTAR_SUBMITTED_SENT;
	}
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	reserve_text(-spec->body_len);
	alone = !rstar_details_evict() && rstar_shared->text_bytes == 0 &&
		rstar_shared->freed == spec->freed;
	text_given_back();
	LWLockRelease(rstar_shared->lock);
	return alone ? RSTAR_SUBMITTED_TOO_LARGE : RSTAR_SUBMITTED_FULL;
}

static void
reserve_text(int len)
{
	rstar_shmem_owner()->text_bytes += len;
	rstar_shared->text_bytes += len;
}

/*
 * Lock held.  Who waits because of what we had reserved looks again, if nobody
 * has any more who would wake him.
 */
static void
text_given_back(void)
{
	if (rstar_shared->text_bytes > 0)
		return;
	rstar_shared->freed++;
	rstar_shmem_wake_space(false);
}

/*
 * A request in work that can be joined comes before an answer of too few
 * samples, of which *result tells all the same.
 */
static RstarSubmitted
look_up(RstarSpec *spec, uint32 cookie, bool submits, RstarWaiter **waiter,
		RstarResult *result)
{
	RstarSubmitted found = RSTAR_SUBMITTED_NONE;
	RstarRequest *joined = NULL;
	RstarResult answer;
	dlist_iter	iter;

	*waiter = NULL;
	spec->next_sample = 0;
	memset(result, 0, offsetof(RstarResult, detail) + 1);
	dlist_foreach(iter, rstar_shmem_bucket(MyDatabaseId, &spec->key))
	{
		RstarRequest *request = dlist_container(RstarRequest, bucket, iter.cur);

		if (request->db->dboid != MyDatabaseId ||
			memcmp(&request->key, &spec->key, sizeof(RstarKey)) != 0)
			continue;
		spec->next_sample = Max(spec->next_sample, request->next_sample);
		if (request->state != RSTAR_ANSWERED)
		{
			if (may_join(request, spec, submits))
				joined = request;
			continue;
		}
		if (spec->fresh)
			continue;
		read_result(request, &answer);
		if (!rstar_queue_has_more(&answer.tally, &result->tally, spec->zero))
			continue;
		*result = answer;
		result->shortened = false;
		if (result->tally.scored + (spec->zero ? result->tally.unscored : 0) >= spec->samples)
			found = RSTAR_SUBMITTED_DONE;
	}
	if (found == RSTAR_SUBMITTED_NONE && joined != NULL && !spec->peek)
		found = join(joined, spec, cookie, waiter);
	return found;
}

bool
rstar_queue_has_more(const RstarTally *one, const RstarTally *other, bool zero)
{
	int			more = one->scored - other->scored;
	int			more_unscored = one->unscored - other->unscored;

	if (zero)
		more += more_unscored;
	return more > 0 || (more == 0 && more_unscored > 0);
}

/*
 * One server under one user mapping: neither another's key nor another's
 * endpoint answers for us while it is uncertain whether they do.  A session
 * that wants fresh answers takes none that count what was known; another one
 * joins a request for such only when it knows, from the table, that there are
 * no others.
 */
static bool
may_join(const RstarRequest *request, const RstarSpec *spec, bool submits)
{
	if (request->kind != RSTAR_KIND_SCORE ||
		request->serverid != spec->serverid ||
		request->mapping != spec->mapping)
		return false;
	if (spec->fresh)
		return request->known.scored + request->known.unscored == 0;
	return !request->fresh ||
		(submits && spec->known.scored + spec->known.unscored == 0);
}

/* Raises what the request wants; a running one is queued again for the rest */
static RstarSubmitted
join(RstarRequest *request, RstarSpec *spec, uint32 cookie, RstarWaiter **waiter)
{
	if (spec->detached)
		request->detached = true;
	else if (rstar_shared->free_waiters_count <= RSTAR_LEFT_FREE(spec, rstar_shared->nwaiters))
		return RSTAR_SUBMITTED_FULL;
	else
		*waiter = add_waiter(request, spec, cookie);
	request->zero = request->zero && spec->zero;
	request->reasoning = request->reasoning || spec->reasoning;
	spec->raised = Max(spec->samples - request->wanted, 0);
	request->wanted += spec->raised;
	request->db->joined++;
	spec->unattended = request->db->worker == RSTAR_WORKER_NONE;
	if (!request->queued && rstar_shmem_needed(request) > request->claimed)
		rstar_shmem_enqueue(request, rstar_shmem_owner());
	/* It may have as many as this session wants already */
	rstar_shmem_notify(request);
	return RSTAR_SUBMITTED_JOINED;
}

static RstarSubmitted
add_request(RstarSpec *spec, uint32 cookie, dsa_pointer body, RstarWaiter **waiter)
{
	RstarOwner *me = rstar_shmem_owner();
	RstarRequest *request;
	RstarDatabase *db;

	if (me->nrequests >= RSTAR_SHARE_OF_PLACES ||
		rstar_shared->free_waiters_count <= RSTAR_LEFT_FREE(spec, rstar_shared->nwaiters) ||
		(rstar_shared->free_requests_count <= RSTAR_LEFT_FREE(spec, rstar_shared->nrequests) &&
		 !rstar_shmem_evict()) ||
		(db = rstar_shmem_database(MyDatabaseId, true)) == NULL)
	{
		spec->freed = rstar_shared->freed;
		return RSTAR_SUBMITTED_FULL;
	}

	request = dlist_container(RstarRequest, list,
							  dlist_pop_head_node(&rstar_shared->free_requests));
	rstar_shared->free_requests_count--;
	memset(request, 0, sizeof(RstarRequest));
	fill_request(request, spec);
	request->db = db;
	request->maker = me;
	request->body = body;
	request->body_len = spec->body_len;
	request->doc_at = spec->doc_at;
	request->doc_len = request->doc_kept = spec->doc_len;
	dlist_init(&request->waiters);
	me->nrequests++;
	db->nrequests++;
	db->nwaiting++;
	db->asked++;

	if (spec->kind == RSTAR_KIND_SCORE)
	{
		dlist_push_head(rstar_shmem_bucket(MyDatabaseId, &spec->key), &request->bucket);
		request->findable = true;
	}
	*waiter = spec->detached ? NULL : add_waiter(request, spec, cookie);
	rstar_shmem_enqueue(request, me);
	spec->unattended = db->worker == RSTAR_WORKER_NONE;
	return RSTAR_SUBMITTED_SENT;
}

static void
fill_request(RstarRequest *request, const RstarSpec *spec)
{
	request->kind = spec->kind;
	request->key = spec->key;
	request->serverid = spec->serverid;
	request->mapping = spec->mapping;
	request->fingerprint = spec->fingerprint;
	request->affinity = spec->affinity;
	request->endpoint = spec->endpoint;
	request->pid = MyProcPid;
	request->userid = GetSessionUserId();
	request->asked_at = spec->asked_at;
	/* Also what is not stored yet, or in work for another server, has numbers */
	request->first_sample = Max(spec->first_sample, spec->next_sample);
	request->next_sample = request->first_sample;
	request->known = spec->known;
	request->wanted = spec->samples;
	request->zero = spec->zero;
	request->fresh = spec->fresh;
	request->detached = spec->detached;
	request->reasoning = spec->reasoning;
	request->state = RSTAR_WAITING;
	strlcpy(request->model, spec->model, sizeof(request->model));
}

/* The caller made sure that there is a free one */
static RstarWaiter *
add_waiter(RstarRequest *request, const RstarSpec *spec, uint32 cookie)
{
	RstarOwner *me = rstar_shmem_owner();
	RstarWaiter *waiter = dlist_container(RstarWaiter, owner_link,
										  dlist_pop_head_node(&rstar_shared->free_waiters));

	rstar_shared->free_waiters_count--;
	waiter->request = request;
	waiter->owner = me;
	waiter->cookie = cookie;
	waiter->wanted = spec->samples;
	waiter->zero = spec->zero;
	waiter->ready = false;
	dlist_push_tail(&request->waiters, &waiter->request_link);
	request->nwaiters++;
	dlist_push_tail(&me->pending, &waiter->owner_link);
	return waiter;
}

static void
read_result(const RstarRequest *request, RstarResult *result)
{
	result->status = request->status;
	result->http_status = request->http_status;
	result->tally = request->known;
	result->tally.scored += request->scored;
	result->tally.unscored += request->unscored;
	result->tally.sum += request->sum;
	for (int i = 0; i < request->scored && result->tally.nscores < RSTAR_MAX_SAMPLES; i++)
		result->tally.scores[result->tally.nscores++] = request->scores[i];
	result->new_samples = request->scored + request->unscored;
	result->shortened = request->doc_kept < request->doc_len;
	result->prompt_tokens = request->prompt_tokens;
	result->completion_tokens = request->completion_tokens;
	result->elapsed_us = request->elapsed_us;
	strlcpy(result->detail, request->detail, sizeof(result->detail));
}

bool
rstar_queue_next(uint32 *cookie, RstarResult *result)
{
	RstarOwner *me = rstar_shmem_owner();
	bool		found = false;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (!dlist_is_empty(&me->ready))
	{
		RstarWaiter *waiter = dlist_head_element(RstarWaiter, owner_link, &me->ready);

		*cookie = waiter->cookie;
		read_result(waiter->request, result);
		rstar_shmem_release_waiter(waiter);
		found = true;
	}
	LWLockRelease(rstar_shared->lock);
	return found;
}

void
rstar_queue_release(RstarWaiter *waiter)
{
	/*
	 * When the process ends, its waiters are released before its transaction
	 * is aborted, and the statements end after that.
	 */
	if (!rstar_shmem_attached())
		return;
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_shmem_release_waiter(waiter);
	LWLockRelease(rstar_shared->lock);
}

/* The worker may sleep, and would not tell them before it has something to do */
void
rstar_queue_released(void)
{
	rstar_shmem_freed();
}

void
rstar_queue_detach(RstarWaiter *waiter, RstarResult *result)
{
	RstarRequest *request = waiter->request;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (request->state == RSTAR_WAITING || request->state == RSTAR_RUNNING)
		request->detached = true;
	read_result(request, result);
	rstar_shmem_release_waiter(waiter);
	LWLockRelease(rstar_shared->lock);
}

void
rstar_queue_wait(RstarWaiter *waiter, const RstarSpec *full, long timeout)
{
	static uint32 wait_event = 0;
	RstarOwner *me = rstar_shmem_owner();
	bool		sleeps;

	if (wait_event == 0)
		wait_event = rstar_wait_event("RetrostarScore");

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	sleeps = waiter ? !waiter->ready : dlist_is_empty(&me->ready);
	if (full != NULL && full->freed != rstar_shared->freed && rstar_shmem_fair_room(me))
		sleeps = false;
	/* A worker that left since the caller looked did not see us sleep */
	if (sleeps && !worker_comes(timeout))
		sleeps = false;
	if (sleeps)
	{
		me->sleeping = true;
		me->wait_for = waiter;
		if (full != NULL && !me->wants_space)
		{
			me->wants_space = true;
			rstar_shared->nspace_waiters++;
		}
	}
	LWLockRelease(rstar_shared->lock);
	if (!sleeps)
		return;

	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
					 timeout, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * Lock held.  One that only starts wakes nobody if that fails, nor does a
 * command that sent it away: the caller is to look again soon (launch.c).
 */
static bool
worker_comes(long timeout)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);

	if (db == NULL || (db->worker == RSTAR_WORKER_NONE && db->emptying == 0))
		return false;
	return db->worker == RSTAR_WORKER_RUNNING ||
		(timeout >= 0 && timeout <= RSTAR_STARTING_CHECK_MS);
}

void
rstar_queue_pause(bool pause)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, pause);
	if (db != NULL)
	{
		db->paused = pause;
		if (!pause)
			rstar_shmem_wake_worker(db);
	}
	LWLockRelease(rstar_shared->lock);
	if (pause && db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use retrostar at once")));
}

void
rstar_queue_state(RstarQueueState *state)
{
	RstarDatabase *db;

	memset(state, 0, sizeof(RstarQueueState));
	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	state->waiters = rstar_shared->nwaiters - rstar_shared->free_waiters_count;
	state->free_requests = rstar_shared->free_requests_count;
	state->free_waiters = rstar_shared->free_waiters_count;
	state->text_bytes = rstar_shared->text_bytes;
	db = rstar_shmem_database(MyDatabaseId, false);
	if (db != NULL)
	{
		state->requests = db->nrequests;
		state->waiting = db->nwaiting;
		state->running = db->nrunning;
		state->unstored = db->nunstored;
		state->asked = db->asked;
		state->answered = db->answered;
		state->failed = db->failed;
		state->cancelled = db->cancelled_count;
		state->joined = db->joined;
		state->samples_sent = db->samples_sent;
		state->samples_scored = db->samples_scored;
		state->samples_unscored = db->samples_unscored;
		state->samples_failed = db->samples_failed;
		state->samples_cancelled = db->samples_cancelled;
		state->samples_running = db->samples_running;
		state->stored = db->stored;
		state->store_failures = db->store_failures;
		state->lost = db->lost;
		state->stats_reset = db->stats_reset;
		state->worker_pid = db->worker == RSTAR_WORKER_RUNNING ? db->worker_pid : 0;
		state->paused = db->paused;
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_queue_lookups(int64 *hits, int64 *misses)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	rstar_progress_lookups(MyDatabaseId, hits, misses);
	db = rstar_shmem_database(MyDatabaseId, false);
	if (db != NULL)
	{
		*hits += db->hits - db->hits_before;
		*misses += db->misses - db->misses_before;
	}
	LWLockRelease(rstar_shared->lock);
}
