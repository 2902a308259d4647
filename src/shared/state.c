/*-------------------------------------------------------------------------
 *
 * state.c
 *		What the views read of the map, and the reset of what is counted there.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "shared/progress.h"
#include "shared/request.h"
#include "shared/shmem.h"
#include "shared/state.h"

/* Requests that are looked at under one hold of the lock */
#define ACTIVITY_SLICE 256

static void fill_activity(const RstarRequest *request, RstarActivity *activity);

void
rstar_state_read(RstarQueueState *state)
{
	RstarDatabase *db;

	memset(state, 0, sizeof(RstarQueueState));
	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	state->waiters = rstar_shared->nwaiters - rstar_shared->free_waiters_count;
	state->free_requests = rstar_shared->free_requests_count;
	state->free_waiters = rstar_shared->free_waiters_count;
	state->text_bytes = rstar_shared->text_bytes;
	state->refused_text = rstar_shared->refused_text;
	db = rstar_shmem_database(MyDatabaseId, false);
	if (db != NULL)
	{
		state->requests = db->nrequests;
		state->waiting = db->nwaiting;
		state->running = db->nrunning;
		state->unstored = db->nunstored;
		state->counts = db->counts;
		state->stats_reset = db->stats_reset;
		state->worker_pid = db->worker == RSTAR_WORKER_RUNNING ? db->worker_pid : 0;
		state->paused = db->paused;
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_state_lookups(int64 *hits, int64 *misses)
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

/*
 * In slices: a map of many thousand requests is looked at without holding up
 * the worker and the sessions for longer than some microseconds at a time.
 */
RstarActivity *
rstar_state_activity(int *n)
{
	int			max = ACTIVITY_SLICE;
	RstarActivity *activities = palloc(max * sizeof(RstarActivity));

	*n = 0;
	for (int start = 0; start < rstar_shared->nrequests; start += ACTIVITY_SLICE)
	{
		int			end = Min(start + ACTIVITY_SLICE, rstar_shared->nrequests);

		CHECK_FOR_INTERRUPTS();
		if (max < *n + ACTIVITY_SLICE)
		{
			max *= 2;
			activities = repalloc_huge(activities, max * sizeof(RstarActivity));
		}
		LWLockAcquire(rstar_shared->lock, LW_SHARED);
		for (int i = start; i < end; i++)
		{
			RstarRequest *request = &rstar_shared->requests[i];
			bool		in_work = request->state == RSTAR_WAITING ||
				request->state == RSTAR_RUNNING || request->in_flight > 0;

			if (request->state != RSTAR_FREE && in_work && request->db->dboid == MyDatabaseId)
				fill_activity(request, &activities[(*n)++]);
		}
		LWLockRelease(rstar_shared->lock);
	}
	return activities;
}

static void
fill_activity(const RstarRequest *request, RstarActivity *activity)
{
	activity->pid = request->maker != NULL ? request->pid : 0;
	activity->userid = request->userid;
	activity->serverid = request->serverid;
	activity->state = request->cancelled || request->state == RSTAR_FAILED ? "closing" :
		request->looking == RSTAR_LOOKING_ELSEWHERE ? "elsewhere" :
		request->looking != RSTAR_LOOKING_NOT ? "looked up" :
		request->state == RSTAR_WAITING ? "queued" : "running";
	activity->asked_at = request->asked_at;
	activity->samples = request->wanted;
	activity->in_flight = request->in_flight;
	activity->attempts = request->attempts;
	activity->url = request->url;
	activity->waiters = request->nwaiters;
	activity->detached = request->detached;
	activity->priority = request->priority == RSTAR_PRIORITY_INTERACTIVE ?
		"interactive" : "background";
}

void
rstar_state_reset(TimestampTz at)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, true);
	if (db != NULL)
	{
		int			running = db->counts.samples_running;

		memset(&db->counts, 0, sizeof(RstarPairCounts));
		db->counts.asked = db->nwaiting + db->nrunning;
		db->counts.samples_sent = db->counts.samples_running = running;
		db->hits = db->misses = 0;
		rstar_progress_lookups(MyDatabaseId, &db->hits_before, &db->misses_before);
		db->stats_reset = at;
		rstar_shared->refused_text = 0;
	}
	LWLockRelease(rstar_shared->lock);
	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use retrostar at once")));
}

void
rstar_state_load(RstarLoad *load)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, false);
	load->waiting = db->nwaiting;
	load->running = db->nrunning;
	load->unstored = db->nunstored - db->nrefused;
	load->refused = db->nrefused;
	load->usage = db->nusage;
	load->unread = db->nunread;
	load->lookups = db->nlookups;
	load->untold = db->nuntold;
	load->paused = db->paused;
	LWLockRelease(rstar_shared->lock);
}
