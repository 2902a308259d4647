/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *		Requests between sessions and the worker, the worker's side: claim,
 *		answer, fail, drop, and what is to be stored.
 *
 * States: request.h.  Locking: shmem.h.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "base/settings.h"
#include "shared/details.h"
#include "shared/dispatch.h"
#include "shared/evict.h"
#include "shared/request.h"
#include "shared/shmem.h"

/* Workers that start because one has left, before anything is answered */
#define MAX_SUCCESSIONS 3


static RstarDatabase *my_database(void);
static int	claim_turn(RstarDatabase *db, RstarTurn turn, RstarClaim *claims, int max,
					   RstarAdmit admit);
static bool claim_one(RstarLanes *queue, RstarTurn turn, RstarClaim *claim, RstarAdmit admit);
static void fill_claim(RstarRequest *request, RstarClaim *claim);
static void sample_ended(RstarRequest *request);
static void set_outcome(RstarRequest *request, RstarStatus status, int http_status,
						const char *detail);
static RstarDatabase *served_database(void);
static void close_all(RstarDatabase *db);
static void take_all_back(RstarDatabase *db, bool lost);
static bool has_left(RstarDatabase *db);

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

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	db->work_added = false;
	db->worker_sleeping = false;
	if (!db->paused)
	{
		if (db->nactive[RSTAR_PRIORITY_INTERACTIVE] > 0)
		{
			n += claim_turn(db, RSTAR_TURN_FLOOR, claims, max, admit);
			n += claim_turn(db, RSTAR_TURN_INTERACTIVE, claims + n, max - n, admit);
		}
		n += claim_turn(db, RSTAR_TURN_BACKGROUND, claims + n, max - n, admit);
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

static int
claim_turn(RstarDatabase *db, RstarTurn turn, RstarClaim *claims, int max, RstarAdmit admit)
{
	RstarPriority priority = turn == RSTAR_TURN_INTERACTIVE ?
		RSTAR_PRIORITY_INTERACTIVE : RSTAR_PRIORITY_BACKGROUND;
	int			n = 0;
	int			idle = 0;

	while (n < max && idle < db->nactive[priority])
	{
		RstarLanes *queue = dlist_head_element(RstarLanes, active, &db->active[priority]);

		dlist_delete(&queue->active);
		dlist_push_tail(&db->active[priority], &queue->active);
		if (claim_one(queue, turn, &claims[n], admit))
		{
			n++;
			idle = 0;
		}
		else
			idle++;
	}
	return n;
}

static bool
claim_one(RstarLanes *queue, RstarTurn turn, RstarClaim *claim, RstarAdmit admit)
{
	for (int i = 0; i < RSTAR_LANES; i++)
	{
		int			lane = (queue->next_lane + i) % RSTAR_LANES;
		RstarRequest *request;

		if (dlist_is_empty(&queue->lanes[lane]))
			continue;
		request = dlist_head_element(RstarRequest, queue, &queue->lanes[lane]);
		/* An endpoint is checked whatever its state: that is what is asked */
		if (request->kind == RSTAR_KIND_SCORE &&
			!admit(request->serverid, request->mapping, turn))
			continue;
		queue->next_lane = (lane + 1) % RSTAR_LANES;
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
		request->db->counts.samples_sent++;
		request->db->counts.samples_running++;
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
	strlcpy(claim->traceparent, request->traceparent, sizeof(claim->traceparent));
	claim->body = DsaPointerIsValid(request->body) ?
		dsa_get_address(rstar_shmem_area(), request->body) : NULL;
	claim->body_len = request->body_len;
	claim->doc_at = request->doc_at;
	claim->doc_len = request->doc_len;
	claim->doc_kept = request->doc_kept;
	claim->form = &request->form;
	if (request->claimed >= rstar_request_needed(request))
		rstar_request_dequeue(request);
	rstar_request_check(request);
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

/* Without the lock: a moment later it may be another in any case */
RstarPriority
rstar_dispatch_priority(const RstarRequest *request)
{
	return request->priority;
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
	request->cached_tokens += answer->cached_tokens;
	request->elapsed_us = answer->elapsed_us;
	request->served_us += answer->elapsed_us;
	request->answered_at = GetCurrentTimestamp();
	if (request->kind == RSTAR_KIND_CHECK)
		set_outcome(request, answer->unscored, answer->http_status, answer->detail);
	else if (answer->score >= 0)
	{
		rstar_details_add(&request->details, kept, request->scored, true);
		if (request->scored < RSTAR_MAX_SAMPLES)
		{
			request->scores[request->scored++] = (uint8) answer->score;
			request->sum += answer->score;
		}
		db->counts.samples_scored++;
	}
	else
	{
		rstar_details_add(&request->details, kept, request->scored, false);
		request->unscored++;
		db->counts.samples_unscored++;
		if (request->state == RSTAR_RUNNING && request->scored == 0)
			set_outcome(request, answer->unscored, answer->http_status, answer->detail);
		if (again && !request->zero && !request->cancelled && request->state == RSTAR_RUNNING)
		{
			*sample = request->next_sample++;
			db->counts.samples_sent++;
			rstar_budget_change(&request->hold, 1, request->guess);
			asks_again = true;
		}
	}
	if (!asks_again)
		sample_ended(request);
	rstar_request_check(request);
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
		db->counts.samples_running--;
	if (request->cancelled)
		return;					/* rstar_dispatch_dropped() ends it */
	if (request->in_flight == 0 && request->state == RSTAR_FAILED)
		rstar_request_finish(request, RSTAR_FAILED);
	else if (request->in_flight == 0 && request->claimed < rstar_request_needed(request))
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
			/* that of a check is known already */
			if (request->kind != RSTAR_KIND_CHECK)
				request->status = RSTAR_STATUS_OK;
			db->counts.answered++;
		}
		else
		{
			request->fails = true;
			db->counts.failed++;
		}
		rstar_request_finish(request, scored ? RSTAR_ANSWERED : RSTAR_FAILED);
	}
	rstar_request_notify(request);
	rstar_request_settle(request);
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
		request->db->counts.samples_failed++;
	if (request->state == RSTAR_RUNNING && !request->cancelled)
	{
		/* The others are closed, unless they end first */
		set_outcome(request, status, http_status, detail);
		request->fails = true;
		request->db->counts.failed++;
		rstar_request_finish(request, RSTAR_FAILED);
	}
	sample_ended(request);
	rstar_request_check(request);
	LWLockRelease(rstar_shared->lock);
}

RstarRequest *
rstar_dispatch_cancelled(int *slot)
{
	RstarRequest *request = NULL;
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	if (!dlist_is_empty(&db->to_close))
	{
		request = dlist_container(RstarRequest, list, dlist_pop_head_node(&db->to_close));
		*slot = (int) (request - rstar_shared->requests);
		rstar_request_check(request);
	}
	LWLockRelease(rstar_shared->lock);
	return request;
}

void
rstar_dispatch_dropped(RstarRequest *request, int n)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	Assert(request->cancelled && request->in_flight == n);
	rstar_request_close(request);
	LWLockRelease(rstar_shared->lock);
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

bool
rstar_dispatch_sleep(void)
{
	RstarDatabase *db;
	bool		sleeps;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();

	/*
	 * the last claim forgot what came before it in the turn, whatever that
	 * was
	 */
	sleeps = !db->work_added && dlist_is_empty(&db->to_close) && db->emptying == 0;
	db->worker_sleeping = sleeps;
	LWLockRelease(rstar_shared->lock);
	return sleeps;
}

bool
rstar_dispatch_leave(bool lost)
{
	RstarDatabase *db;
	bool		succeeded = false;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = served_database();
	if (db != NULL)
	{
		close_all(db);
		take_all_back(db, lost);
		/* On a standby it is the end of the database that ends a worker */
		if (lost && RecoveryInProgress())
			rstar_evict_database(db->dboid);
		succeeded = has_left(db);
		rstar_shmem_wake_space(true);
	}
	LWLockRelease(rstar_shared->lock);
	if (db != NULL)
		ConditionVariableBroadcast(&rstar_shared->worker_left);
	return succeeded;
}

/* NULL when another one serves the database, or this one has retired */
static RstarDatabase *
served_database(void)
{
	for (int i = 0; i < rstar_shared->ndatabases; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];

		if (OidIsValid(db->dboid) && db->worker == RSTAR_WORKER_RUNNING &&
			db->worker_pid == MyProcPid)
			return db;
	}
	return NULL;
}

/* Requests that were to be closed */
static void
close_all(RstarDatabase *db)
{
	while (!dlist_is_empty(&db->to_close))
		rstar_request_close(dlist_container(RstarRequest, list, dlist_pop_head_node(&db->to_close)));
}

static void
take_all_back(RstarDatabase *db, bool lost)
{
	for (int i = 0; i < rstar_shared->nrequests; i++)
	{
		RstarRequest *request = &rstar_shared->requests[i];
		dlist_iter	iter;

		if (request->state == RSTAR_FREE || request->db != db)
			continue;
		/* Who waits looks after a new worker */
		dlist_foreach(iter, &request->waiters)
			rstar_shmem_wake(dlist_container(RstarWaiter, request_link, iter.cur)->owner);
		/* What it was told of a look-up may be over when the next one asks */
		if (request->looking != RSTAR_LOOKING_NOT)
			rstar_request_look_up(request);
		rstar_request_take_back(request, lost);
	}
}

/* Whether another worker is put down as coming */
static bool
has_left(RstarDatabase *db)
{
	/* Not one that could not start, or a line of those that achieve nothing */
	bool		succeeded = rstar_shmem_has_work(db) && db->emptying == 0 &&
		db->failed_starts == 0 && db->successions < MAX_SUCCESSIONS;

	if (succeeded)
		db->successions++;
	db->worker = succeeded ? RSTAR_WORKER_STARTING : RSTAR_WORKER_NONE;
	db->starter = 0;
	db->worker_since = GetCurrentTimestamp();
	db->worker_pid = 0;
	db->worker_sleeping = false;
	db->storing = false;
	return succeeded;
}
