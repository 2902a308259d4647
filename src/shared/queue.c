/*-------------------------------------------------------------------------
 *
 * queue.c
 *		Requests between sessions and the worker, the sessions' side: find,
 *		submit, wait, take, release.
 *
 * Single flight: a session that wants a pair which is in work for the same
 * server and user mapping adds itself to the request's waiters.  Requests
 * beyond what the queue holds are not refused: submit answers FULL and the
 * session waits for room.  No session may fill more than a share of the
 * queue, so that a statement over 100,000 pairs leaves room for one over
 * twenty; and pairs of rows that are read ahead leave some to those that are
 * waited for.
 *
 * States: request.h.  Locking: shmem.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/compat.h"
#include "base/settings.h"
#include "base/wait.h"
#include "shared/cache_scan.h"
#include "shared/evict.h"
#include "shared/lease.h"
#include "shared/owner.h"
#include "shared/queue.h"
#include "shared/request.h"
#include "shared/shmem.h"

/*
 * What is asked for ahead leaves so much of n places free for who waits, or
 * sessions that do not take their answers (a cursor left open, a client that
 * does not read) could have all of them, and everybody else would wait for
 * them.
 */
#define LEFT_FREE(spec, n) ((spec)->ahead ? (n) / 4 : 0)

static RstarSubmitted copy_text(const RstarSpec *spec, uint64 freed, dsa_pointer *body);
static void reserve_text(int len);
static void text_given_back(void);
static RstarSubmitted look_up(const RstarSpec *spec, uint32 cookie, bool submits,
							  RstarTicket *ticket, RstarResult *result);
static bool may_join(const RstarRequest *request, const RstarSpec *spec, bool submits);
static bool pays(const RstarRequest *request, const RstarSpec *spec);
static RstarSubmitted allow(RstarDatabase *db, const RstarSpec *spec, const RstarSpending *more,
							RstarTicket *ticket);
static RstarSubmitted join(RstarRequest *request, const RstarSpec *spec, uint32 cookie,
						   RstarTicket *ticket);
static RstarSubmitted add_request(const RstarSpec *spec, uint32 cookie, dsa_pointer body,
								  RstarTicket *ticket);
static bool is_elsewhere(const RstarRequest *request);
static void fill_request(RstarRequest *request, const RstarSpec *spec, int next_sample);
static RstarWaiter *add_waiter(RstarRequest *request, const RstarSpec *spec, uint32 cookie);
static void read_result(const RstarRequest *request, RstarResult *result);
static bool worker_comes(long timeout);

bool
rstar_queue_ready(void)
{
	return rstar_shared != NULL;
}

void
rstar_queue_require(void)
{
	if (!rstar_queue_ready())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("retrostar must be loaded via \"shared_preload_libraries\""),
				 errhint("Add \"retrostar\" to \"shared_preload_libraries\" and restart PostgreSQL.")));
}

RstarSubmitted
rstar_queue_find(const RstarSpec *spec, uint32 cookie, RstarTicket *ticket, RstarResult *result)
{
	RstarSubmitted found;

	(void) rstar_owner_me();
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	ticket->generation = rstar_shared->generation;
	ticket->freed = rstar_shared->freed;
	ticket->allowed = RSTAR_ALLOWED;
	found = look_up(spec, cookie, false, ticket, result);
	LWLockRelease(rstar_shared->lock);
	return found;
}

RstarSubmitted
rstar_queue_submit(const RstarSpec *spec, uint32 cookie, RstarTicket *ticket, RstarResult *result)
{
	dsa_pointer body = InvalidDsaPointer;
	RstarSubmitted submitted;

	(void) rstar_owner_me();
	if (spec->body_len > 0)
	{
		submitted = copy_text(spec, ticket->freed, &body);
		if (submitted != RSTAR_SUBMITTED_SENT)
			return submitted;
	}

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (spec->kind == RSTAR_KIND_SCORE && ticket->generation != rstar_shared->generation)
		submitted = RSTAR_SUBMITTED_AGAIN;
	else
	{
		submitted = spec->kind == RSTAR_KIND_SCORE ?
			look_up(spec, cookie, true, ticket, result) : RSTAR_SUBMITTED_NONE;
		if (submitted == RSTAR_SUBMITTED_NONE)
			submitted = add_request(spec, cookie, body, ticket);
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
copy_text(const RstarSpec *spec, uint64 freed, dsa_pointer *body)
{
	int64		share = rstar_shared->share_of_text;
	bool		full;
	bool		alone;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (spec->body_len > share)
	{
		rstar_shared->refused_text = Max(rstar_shared->refused_text, spec->body_len);
		LWLockRelease(rstar_shared->lock);
		return RSTAR_SUBMITTED_TOO_LARGE;
	}
	full = rstar_owner_me()->text_bytes > 0 &&
		rstar_owner_me()->text_bytes + spec->body_len > share;
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
	alone = !rstar_evict_details() && rstar_shared->text_bytes == 0 &&
		rstar_shared->freed == freed;
	text_given_back();
	if (alone)
		rstar_shared->refused_text = Max(rstar_shared->refused_text, spec->body_len);
	LWLockRelease(rstar_shared->lock);
	return alone ? RSTAR_SUBMITTED_TOO_LARGE : RSTAR_SUBMITTED_FULL;
}

static void
reserve_text(int len)
{
	rstar_owner_me()->text_bytes += len;
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
look_up(const RstarSpec *spec, uint32 cookie, bool submits, RstarTicket *ticket,
		RstarResult *result)
{
	RstarSubmitted found = RSTAR_SUBMITTED_NONE;
	RstarRequest *joined = NULL;
	RstarResult answer;
	dlist_iter	iter;

	ticket->waiter = NULL;
	ticket->next_sample = 0;
	memset(result, 0, offsetof(RstarResult, detail) + 1);
	dlist_foreach(iter, rstar_shmem_bucket(MyDatabaseId, &spec->key))
	{
		RstarRequest *request = dlist_container(RstarRequest, bucket, iter.cur);

		if (request->db->dboid != MyDatabaseId ||
			memcmp(&request->key, &spec->key, sizeof(RstarKey)) != 0)
			continue;
		ticket->next_sample = Max(ticket->next_sample, request->next_sample);
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
		if (rstar_tally_counted(&result->tally, spec->zero) >= spec->samples)
			found = RSTAR_SUBMITTED_DONE;
	}
	if (found == RSTAR_SUBMITTED_NONE && joined != NULL && !spec->peek)
		found = join(joined, spec, cookie, ticket);
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
	if (request->wanted < spec->samples && !pays(request, spec))
		return false;
	if (spec->fresh)
		return request->known.scored + request->known.unscored == 0 &&
			request->looking == RSTAR_LOOKING_NOT;
	return !request->fresh ||
		(submits && spec->known.scored + spec->known.unscored == 0);
}

/*
 * Who made a request pays for all of it.  Where budgets count, another role does
 * not make it dearer, but makes one of its own.
 */
static bool
pays(const RstarRequest *request, const RstarSpec *spec)
{
	return (request->hold.n == 0 && spec->nbudgets == 0) ||
		request->userid == GetSessionUserId();
}

/* Raises what the request wants; a running one is queued again for the rest */
static RstarSubmitted
join(RstarRequest *request, const RstarSpec *spec, uint32 cookie, RstarTicket *ticket)
{
	int			raise = Max(spec->samples - request->wanted, 0);
	RstarSpending more = {raise, raise * request->guess};
	RstarSubmitted over = raise > 0 ? allow(request->db, spec, &more, ticket) : RSTAR_SUBMITTED_SENT;

	if (over != RSTAR_SUBMITTED_SENT)
		return over;
	if (spec->detached)
	{
		request->detached_as = request->detached ?
			Min(request->detached_as, spec->priority) : spec->priority;
		request->detached = true;
	}
	else if (rstar_shared->free_waiters_count <= LEFT_FREE(spec, rstar_shared->nwaiters))
		return RSTAR_SUBMITTED_FULL;
	else
		ticket->waiter = add_waiter(request, spec, cookie);
	request->zero = request->zero && spec->zero;
	request->reasoning = request->reasoning || spec->reasoning;
	ticket->raised = raise;
	request->wanted += raise;
	rstar_budget_change(&request->hold, more.samples, more.tokens);
	request->db->counts.joined++;
	rstar_request_prioritize(request, rstar_owner_me());
	ticket->unattended = request->db->worker == RSTAR_WORKER_NONE;
	if (!request->queued && request->looking == RSTAR_LOOKING_NOT &&
		rstar_request_needed(request) > request->claimed)
		rstar_request_enqueue(request, rstar_owner_me());
	/* It may have as many as this session wants already */
	rstar_request_notify(request);
	return RSTAR_SUBMITTED_JOINED;
}

/* SENT: they do; FULL: the worker is to say what is used */
static RstarSubmitted
allow(RstarDatabase *db, const RstarSpec *spec, const RstarSpending *more, RstarTicket *ticket)
{
	ticket->allowed = rstar_budget_allows(db, spec->budgets, spec->nbudgets, more, &ticket->refusal);
	if (ticket->allowed == RSTAR_ALLOWED)
		return RSTAR_SUBMITTED_SENT;
	if (ticket->allowed != RSTAR_ALLOWED_LATER)
		return RSTAR_SUBMITTED_OVER;
	ticket->freed = rstar_shared->freed;
	return RSTAR_SUBMITTED_FULL;
}

static RstarSubmitted
add_request(const RstarSpec *spec, uint32 cookie, dsa_pointer body, RstarTicket *ticket)
{
	RstarOwner *me = rstar_owner_me();
	RstarRequest *request;
	RstarDatabase *db;
	int			samples = Max(spec->samples - rstar_tally_counted(&spec->known, spec->zero), 0);

	/* A token has some four bytes of a prompt; of the reply nothing is known */
	int64		guess = spec->body_len / 4;
	RstarSpending spending = {samples, samples * guess};
	RstarSubmitted over;

	if (me->nrequests >= rstar_shared->share_of_places ||
		rstar_shared->free_waiters_count <= LEFT_FREE(spec, rstar_shared->nwaiters) ||
		(rstar_shared->free_requests_count <= LEFT_FREE(spec, rstar_shared->nrequests) &&
		 !rstar_evict_answer()) ||
		(db = rstar_shmem_database(MyDatabaseId, true)) == NULL)
	{
		ticket->freed = rstar_shared->freed;
		return RSTAR_SUBMITTED_FULL;
	}

	over = allow(db, spec, &spending, ticket);
	if (over != RSTAR_SUBMITTED_SENT)
		return over;

	request = dlist_container(RstarRequest, list,
							  dlist_pop_head_node(&rstar_shared->free_requests));
	rstar_shared->free_requests_count--;
	memset(request, 0, sizeof(RstarRequest));
	fill_request(request, spec, ticket->next_sample);
	request->db = db;
	request->maker = me;
	request->body = body;
	request->body_len = spec->body_len;
	request->doc_at = spec->doc_at;
	request->doc_len = request->doc_kept = spec->doc_len;
	request->form = spec->form ? *spec->form : rstar_form_retro;
	dlist_init(&request->waiters);
	me->nrequests++;
	db->nrequests++;
	db->nwaiting++;
	db->counts.asked++;
	request->guess = guess;
	rstar_budget_hold(&request->hold, spec->budgets, spec->nbudgets, &spending);

	if (spec->kind == RSTAR_KIND_SCORE)
	{
		dlist_push_head(rstar_shmem_bucket(MyDatabaseId, &spec->key), &request->bucket);
		request->findable = true;
	}
	ticket->waiter = spec->detached ? NULL : add_waiter(request, spec, cookie);
	if (is_elsewhere(request))
		rstar_request_look_up(request);
	else
		rstar_request_enqueue(request, me);
	ticket->unattended = db->worker == RSTAR_WORKER_NONE;
	return RSTAR_SUBMITTED_SENT;
}

/* It may be known to its hub; or another node pays for it, and will tell us */
static bool
is_elsewhere(const RstarRequest *request)
{
	return request->kind == RSTAR_KIND_SCORE && !request->fresh &&
		(request->shared || rstar_lease_held(request->db->dboid, &request->key));
}

static void
fill_request(RstarRequest *request, const RstarSpec *spec, int next_sample)
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
	request->asked_at = GetCurrentTimestamp();
	/* Also what is not stored yet, or in work for another server, has numbers */
	request->first_sample = Max(spec->first_sample, next_sample);
	request->next_sample = request->first_sample;
	request->known = spec->known;
	request->wanted = spec->samples;
	request->zero = spec->zero;
	request->shared = spec->shared;
	request->serial = ++rstar_shared->serial;
	request->fresh = spec->fresh;
	request->detached = spec->detached;
	request->detached_as = request->priority = spec->priority;
	request->reasoning = spec->reasoning;
	request->state = RSTAR_WAITING;
	strlcpy(request->model, spec->model, sizeof(request->model));
	strlcpy(request->traceparent, spec->traceparent ? spec->traceparent : "",
			sizeof(request->traceparent));
}

/* The caller made sure that there is a free one */
static RstarWaiter *
add_waiter(RstarRequest *request, const RstarSpec *spec, uint32 cookie)
{
	RstarOwner *me = rstar_owner_me();
	RstarWaiter *waiter = dlist_container(RstarWaiter, owner_link,
										  dlist_pop_head_node(&rstar_shared->free_waiters));

	rstar_shared->free_waiters_count--;
	waiter->request = request;
	waiter->owner = me;
	waiter->cookie = cookie;
	waiter->wanted = spec->samples;
	waiter->priority = spec->priority;
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
	result->cached_tokens = request->cached_tokens;
	result->elapsed_us = request->elapsed_us;
	strlcpy(result->detail, request->detail, sizeof(result->detail));
}

int
rstar_queue_next(RstarTaken *taken, int max)
{
	RstarOwner *me = rstar_owner_me();
	int			n = 0;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	while (n < max && !dlist_is_empty(&me->ready))
	{
		RstarWaiter *waiter = dlist_head_element(RstarWaiter, owner_link, &me->ready);

		taken[n].cookie = waiter->cookie;
		read_result(waiter->request, &taken[n].result);
		rstar_request_release_waiter(waiter);
		n++;
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

void
rstar_queue_release(RstarWaiter *waiter)
{
	/*
	 * When the process ends, its waiters are released before its transaction
	 * is aborted, and the statements end after that.
	 */
	if (!rstar_owner_attached())
		return;
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_request_release_waiter(waiter);
	LWLockRelease(rstar_shared->lock);
}

/* The worker may sleep, and would not tell them before it has something to do */
void
rstar_queue_released(void)
{
	rstar_shmem_freed();
}

void
rstar_queue_keep(RstarWaiter *waiter)
{
	RstarRequest *request = waiter->request;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if (request->state == RSTAR_WAITING || request->state == RSTAR_RUNNING)
		request->detached = true;
	LWLockRelease(rstar_shared->lock);
}

void
rstar_queue_detach(RstarWaiter *waiter, RstarResult *result)
{
	RstarRequest *request = waiter->request;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	if ((request->state == RSTAR_WAITING || request->state == RSTAR_RUNNING) &&
		!request->detached)
	{
		/* Nobody waits for it any more */
		request->detached = true;
		request->detached_as = RSTAR_PRIORITY_BACKGROUND;
	}
	read_result(request, result);
	rstar_request_release_waiter(waiter);
	LWLockRelease(rstar_shared->lock);
}

void
rstar_queue_wait(RstarWaiter *waiter, const RstarTicket *full, long timeout)
{
	static uint32 wait_event = 0;
	RstarOwner *me = rstar_owner_me();
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

	/* Nobody is to wait for the table because we wait for a model */
	rstar_cache_scan_rest();
	rstar_wait(timeout, wait_event);
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
