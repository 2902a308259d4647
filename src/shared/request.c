/*-------------------------------------------------------------------------
 *
 * request.c
 *		The life of a request: queued, satisfied, finished, ended.
 *
 * The states are in request.h; everything here needs rstar_shared->lock held
 * exclusively.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/period.h"
#include "shared/details.h"
#include "shared/hubs.h"
#include "shared/request.h"
#include "shared/shmem.h"

/* A request with which the worker died this often is given up */
#define MAX_LOSSES 3

static void put_into(RstarRequest *request, RstarOwner *owner, bool first);
static RstarPriority highest_priority(const RstarRequest *request);
static bool satisfied(const RstarRequest *request, int wanted, bool zero);
static int	counted(const RstarRequest *request, bool zero);
static void unlink_from_bucket(RstarRequest *request);
static void free_body(RstarRequest *request);
static void settle_hold(RstarRequest *request);
static void end(RstarRequest *request);
static void cancel_in_flight(RstarRequest *request);
static void free_request(RstarRequest *request);
static void samples_closed(RstarRequest *request);
#ifdef USE_ASSERT_CHECKING
static void check_state(const RstarRequest *request);
static void check_lists(const RstarRequest *request);
static void check_counts(const RstarDatabase *db);
static bool is_linked(const dlist_node *node);
#endif

int
rstar_request_needed(const RstarRequest *request)
{
	return Max(request->wanted - rstar_tally_counted(&request->known, request->zero), 0);
}

void
rstar_request_enqueue(RstarRequest *request, RstarOwner *owner)
{
	/* A check is not held up by samples that its endpoint cannot take now */
	put_into(request, owner, request->kind == RSTAR_KIND_CHECK);
}

static void
put_into(RstarRequest *request, RstarOwner *owner, bool first)
{
	RstarDatabase *db = request->db;
	RstarLanes *queue = &owner->queue[request->priority];
	dlist_head *lane = &queue->lanes[request->serverid % RSTAR_LANES];

	Assert(!request->queued);
	if (queue->nqueued == 0)
	{
		owner->db = db;
		dlist_push_tail(&db->active[request->priority], &queue->active);
		db->nactive[request->priority]++;
	}
	Assert(owner->db == db);
	if (first)
		dlist_push_head(lane, &request->queue);
	else
		dlist_push_tail(lane, &request->queue);
	request->owner = owner;
	request->queued = true;
	queue->nqueued++;
	rstar_shmem_wake_worker(db);
}

void
rstar_request_dequeue(RstarRequest *request)
{
	RstarOwner *owner = request->owner;
	RstarLanes *queue;

	if (!request->queued)
		return;
	queue = &owner->queue[request->priority];
	dlist_delete(&request->queue);
	request->queued = false;
	request->owner = NULL;
	if (--queue->nqueued == 0)
	{
		dlist_delete(&queue->active);
		owner->db->nactive[request->priority]--;
	}
}

void
rstar_request_look_up(RstarRequest *request)
{
	Assert(request->state == RSTAR_WAITING && !request->queued);
	if (request->looking == RSTAR_LOOKING_WANTED)
		return;
	request->looking = RSTAR_LOOKING_WANTED;
	dlist_push_tail(&request->db->lookups, &request->queue);
	request->db->nlookups++;
	rstar_shmem_wake_worker(request->db);
}

void
rstar_request_looked_up(RstarRequest *request)
{
	if (request->looking == RSTAR_LOOKING_WANTED)
	{
		dlist_delete(&request->queue);
		request->db->nlookups--;
	}
	request->looking = RSTAR_LOOKING_NOT;
}

RstarOwner *
rstar_request_heir(RstarRequest *request)
{
	return dlist_is_empty(&request->waiters) ? rstar_shmem_orphans(request->db) :
		dlist_head_element(RstarWaiter, request_link, &request->waiters)->owner;
}

void
rstar_request_told(RstarRequest *request)
{
	if (!request->untold)
		return;
	dlist_delete(&request->tell);
	request->untold = false;
	request->db->nuntold--;
}

/*
 * One that rises goes behind what its new waiter has asked for already; one
 * that sinks to the head of its maker's, for it is older than most of them.
 */
void
rstar_request_prioritize(RstarRequest *request, RstarOwner *by)
{
	RstarPriority before = request->priority;
	RstarPriority now = highest_priority(request);
	bool		queued = request->queued;

	if (now == before)
		return;
	rstar_request_dequeue(request);
	request->priority = now;
	if (!queued)
		return;
	if (now < before && by != NULL)
		put_into(request, by, false);
	else
		put_into(request, request->maker != NULL ? request->maker : rstar_shmem_orphans(request->db),
				 true);
}

static RstarPriority
highest_priority(const RstarRequest *request)
{
	RstarPriority highest = request->detached ? request->detached_as : RSTAR_PRIORITY_BACKGROUND;
	dlist_iter	iter;

	dlist_foreach(iter, unconstify(dlist_head *, &request->waiters))
		highest = Min(highest, dlist_container(RstarWaiter, request_link, iter.cur)->priority);
	return highest;
}

void
rstar_request_notify(RstarRequest *request)
{
	dlist_iter	iter;

	dlist_foreach(iter, &request->waiters)
	{
		RstarWaiter *waiter = dlist_container(RstarWaiter, request_link, iter.cur);
		RstarOwner *owner = waiter->owner;

		if (waiter->ready ||
			!satisfied(request, waiter->wanted, waiter->zero))
			continue;
		waiter->ready = true;
		dlist_delete(&waiter->owner_link);
		dlist_push_tail(&owner->ready, &waiter->owner_link);
		if (owner->wait_for == NULL || owner->wait_for == waiter)
			rstar_shmem_wake(owner);
	}
}

static bool
satisfied(const RstarRequest *request, int wanted, bool zero)
{
	if (request->state == RSTAR_ANSWERED || request->state == RSTAR_FAILED)
		return true;
	return counted(request, zero) >= wanted;
}

/* Samples that count against "wanted" */
static int
counted(const RstarRequest *request, bool zero)
{
	int			n = rstar_tally_counted(&request->known, zero) + request->scored;

	if (zero)
		n += request->unscored;
	return n;
}

void
rstar_request_finish(RstarRequest *request, RstarState state)
{
	RstarDatabase *db = request->db;

	Assert(request->in_flight == 0 || state == RSTAR_FAILED);
	if (request->state == RSTAR_WAITING)
		db->nwaiting--;
	else if (request->state == RSTAR_RUNNING)
		db->nrunning--;
	request->state = state;
	request->detached = false;
	rstar_request_dequeue(request);
	rstar_request_looked_up(request);
	if (state == RSTAR_FAILED)
		unlink_from_bucket(request);
	if (request->in_flight == 0)
	{
		free_body(request);
		if (request->maker)
			request->maker->nrequests--;
		request->maker = NULL;
		if (request->kind == RSTAR_KIND_SCORE && !request->unstored &&
			request->scored + request->unscored > 0)
		{
			request->unstored = true;
			dlist_push_tail(&db->unstored, &request->list);
			db->nunstored++;
			if (request->shared)
			{
				request->untold = true;
				dlist_push_tail(&db->untold, &request->tell);
				db->nuntold++;
			}
			rstar_shmem_wake_worker(db);
		}
		settle_hold(request);
	}
}

/*
 * Nothing more comes: what it holds on budgets is what it took.  That stays
 * until it is written; of a request without a reply there is nothing but that
 * it failed.
 */
static void
settle_hold(RstarRequest *request)
{
	RstarHold  *hold = &request->hold;

	if (request->kind != RSTAR_KIND_SCORE || request->accounted)
		return;
	request->paid_as = request->priority;
	if (request->unstored)
		rstar_budget_change(hold, request->scored + request->unscored - hold->spending.samples,
							request->prompt_tokens + request->completion_tokens - hold->spending.tokens);
	else if (request->fails)
		rstar_request_account(request, false, false);
	else
		rstar_budget_release(hold, false);
}

void
rstar_request_usage(const RstarRequest *request, RstarUsage *usage)
{
	TimestampTz at = request->answered_at != 0 ? request->answered_at : GetCurrentTimestamp();

	memset(usage, 0, sizeof(RstarUsage));
	usage->role = request->userid;
	usage->serverid = request->serverid;
	usage->hour = rstar_period_hour(at);
	usage->priority = request->paid_as;
	usage->pairs = 1;
	usage->failures = request->fails;
	usage->samples = request->scored + request->unscored;
	usage->prompt_tokens = request->prompt_tokens;
	usage->cached_tokens = request->cached_tokens;
	usage->completion_tokens = request->completion_tokens;
	usage->elapsed_us = request->served_us;
}

void
rstar_request_account(RstarRequest *request, bool written, bool spent)
{
	if (!request->accounted && !written)
	{
		RstarUsage	usage;

		rstar_request_usage(request, &usage);
		rstar_usage_add(request->db, &usage);
	}
	request->accounted = true;
	rstar_budget_release(&request->hold, spent);
}

static void
unlink_from_bucket(RstarRequest *request)
{
	if (request->findable)
		dlist_delete(&request->bucket);
	request->findable = false;
}

static void
free_body(RstarRequest *request)
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
rstar_request_settle(RstarRequest *request)
{
	rstar_request_check(request);
	if (dlist_is_empty(&request->waiters) && !request->detached)
		end(request);
	rstar_request_check(request);
}

/* No reason is left for it to live, but for what is in flight or not stored */
static void
end(RstarRequest *request)
{
	switch (request->state)
	{
		case RSTAR_FREE:
			Assert(false);
			break;
		case RSTAR_WAITING:
			/* Samples that another worker got before it left are kept */
			rstar_request_finish(request, RSTAR_FAILED);
			request->db->counts.cancelled++;
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

/* A request is cut off while samples are in flight: the worker closes them */
static void
cancel_in_flight(RstarRequest *request)
{
	if (request->cancelled)
		return;
	request->cancelled = true;
	rstar_request_dequeue(request);
	unlink_from_bucket(request);
	dlist_push_tail(&request->db->to_close, &request->list);
	rstar_shmem_wake_worker(request->db);
}

static void
free_request(RstarRequest *request)
{
	Assert(dlist_is_empty(&request->waiters) && !request->unstored);
	Assert(request->in_flight == 0 && !request->queued && request->maker == NULL);
	Assert(request->hold.n == 0);
	unlink_from_bucket(request);
	if (request->untold)
		rstar_hubs_count(request->db->dboid, request->serverid, RSTAR_HUB_UNTOLD, 1);
	rstar_request_told(request);
	rstar_details_free(&request->details);
	request->state = RSTAR_FREE;
	dlist_push_head(&rstar_shared->free_requests, &request->list);
	rstar_shared->free_requests_count++;
	rstar_shared->freed++;
	request->db->nrequests--;
	if (rstar_shared->free_requests_count == rstar_shared->nrequests ||
		rstar_shared->free_requests_count % Min(64, rstar_shared->nrequests / 16) == 0)
		rstar_shmem_wake_space(false);
}

void
rstar_request_close(RstarRequest *request)
{
	samples_closed(request);
	if (request->state == RSTAR_RUNNING)
		request->db->counts.cancelled++;
	rstar_request_finish(request, RSTAR_FAILED);
	rstar_request_settle(request);
}

static void
samples_closed(RstarRequest *request)
{
	if (request->kind == RSTAR_KIND_SCORE)
	{
		request->db->counts.samples_cancelled += request->in_flight;
		request->db->counts.samples_running -= request->in_flight;
	}
	request->in_flight = 0;
}

void
rstar_request_take_back(RstarRequest *request, bool lost)
{
	RstarDatabase *db = request->db;

	if (request->in_flight == 0)
		return;
	samples_closed(request);
	request->cancelled = false;
	if (request->state == RSTAR_RUNNING)
	{
		RstarOwner *owner = rstar_request_heir(request);

		request->claimed = request->scored + (request->zero ? request->unscored : 0);
		request->losses += lost ? 1 : 0;
		if (request->losses < MAX_LOSSES)
		{
			request->state = RSTAR_WAITING;
			db->nrunning--;
			db->nwaiting++;
			if (!request->queued)
				rstar_request_enqueue(request, owner);
			rstar_request_settle(request);
			return;
		}
		request->status = RSTAR_STATUS_WORKER_LOST;
		request->http_status = 0;
		request->detail[0] = '\0';
		request->fails = true;
		db->counts.failed++;
	}
	rstar_request_finish(request, RSTAR_FAILED);
	rstar_request_notify(request);
	rstar_request_settle(request);
}

void
rstar_request_release_waiter(RstarWaiter *waiter)
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
	if (waiter->priority == request->priority &&
		(request->detached || !dlist_is_empty(&request->waiters)))
		rstar_request_prioritize(request, NULL);
	rstar_request_settle(request);
}

void
rstar_request_refused(RstarRequest *request)
{
	Assert(request->unstored && !request->refused);
	dlist_delete(&request->list);
	dlist_push_tail(&request->db->refused, &request->list);
	request->refused = true;
	request->db->nrefused++;
}

void
rstar_request_stored(RstarRequest *request)
{
	Assert(request->unstored);
	/* The worker does that for what it stores, this is for what is given up */
	if (!request->accounted)
		rstar_request_account(request, false, true);
	dlist_delete(&request->list);
	request->unstored = false;
	request->db->nunstored--;
	if (request->refused)
		request->db->nrefused--;
	request->refused = false;
	rstar_request_settle(request);
}

#ifdef USE_ASSERT_CHECKING
void
rstar_request_check(const RstarRequest *request)
{
	check_state(request);
	check_lists(request);
	check_counts(request->db);
}

static void
check_state(const RstarRequest *request)
{
	switch (request->state)
	{
		case RSTAR_FREE:
			Assert(request->in_flight == 0 && request->nwaiters == 0);
			Assert(request->maker == NULL && !DsaPointerIsValid(request->body));
			Assert(!rstar_details_any(&request->details));
			break;
		case RSTAR_WAITING:
			Assert(request->queued == (request->looking == RSTAR_LOOKING_NOT));
			Assert(request->in_flight == 0);
			break;
		case RSTAR_RUNNING:
			/* one that is to be closed may have ended all by itself */
			Assert(request->in_flight > 0 || request->cancelled);
			break;
		case RSTAR_ANSWERED:
			Assert(request->in_flight == 0 && request->maker == NULL);
			break;
		case RSTAR_FAILED:
			Assert(!request->findable);
			break;
	}
	Assert(request->in_flight >= 0 && request->in_flight <= request->claimed);
}

static void
check_lists(const RstarRequest *request)
{
	bool		in_work = request->state == RSTAR_WAITING || request->state == RSTAR_RUNNING;

	Assert(request->queued == (request->owner != NULL));
	Assert(!request->queued || (in_work && is_linked(&request->queue) &&
								request->owner->queue[request->priority].nqueued > 0 &&
								request->owner->db == request->db));
	Assert(!request->findable || (request->state != RSTAR_FREE && is_linked(&request->bucket)));
	Assert((request->nwaiters == 0) ==
		   dlist_is_empty(unconstify(dlist_head *, &request->waiters)));
	Assert(!request->unstored || (!in_work && request->state != RSTAR_FREE &&
								  request->in_flight == 0 && is_linked(&request->list) &&
								  request->db->nunstored > 0));
	Assert(!request->refused || (request->unstored && request->db->nrefused > 0));
	Assert(!request->cancelled || (!request->queued && !request->findable));
	Assert(request->looking == RSTAR_LOOKING_NOT ||
		   (request->state == RSTAR_WAITING && request->claimed == 0));
	Assert(request->looking != RSTAR_LOOKING_WANTED ||
		   (is_linked(&request->queue) && request->db->nlookups > 0));
	Assert(!request->untold || (request->shared && request->state != RSTAR_FREE &&
								is_linked(&request->tell) && request->db->nuntold > 0));
	Assert(request->state != RSTAR_FREE || is_linked(&request->list));
}

static void
check_counts(const RstarDatabase *db)
{
	const RstarPairCounts *counts = &db->counts;

	Assert(counts->asked == counts->answered + counts->failed + counts->cancelled +
		   db->nwaiting + db->nrunning);
	Assert(counts->samples_sent == counts->samples_scored + counts->samples_unscored +
		   counts->samples_failed + counts->samples_cancelled + counts->samples_running);
}

/* A node that was deleted points to neighbours that do not point to it */
static bool
is_linked(const dlist_node *node)
{
	return node->next != NULL && node->prev != NULL &&
		node->next->prev == node && node->prev->next == node;
}
#endif
