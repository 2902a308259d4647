/*-------------------------------------------------------------------------
 *
 * counters.c
 *		What is counted for each endpoint, in shared memory, and what the
 *		views show of the rest of it.
 *
 * Called by: target.c, send.c, worker.c, stat.c, shmem.c, launch.c.
 *
 * Three kinds of counters, by who writes them:
 *
 *	pairs and samples	RstarDatabase (shmem.h), under the lock of the map: who
 *						changes them holds it anyhow, for the request
 *	endpoints			here; only the database's worker writes them, at
 *						moments when it holds no lock, twice per attempt.  So
 *						no lock, but a changecount: the worker never waits for
 *						a reader, and a reader's copy is of one moment
 *	sessions			progress.c, the same, each session its own
 *
 * Counters of endpoints only grow.  A reset, by whom ever, does not touch
 * them: it puts down what they were ("base"), and readers subtract that, as
 * PostgreSQL does for the counters of its fixed processes.
 *
 * Which entry is whose (its key), the base, and who writes it are guarded by
 * a lock of their own: taken by readers shared, and exclusively when a worker
 * loads a server or leaves, by a reset, and when a database is dropped.
 *
 * The table has a fixed size.  A new endpoint takes an entry that was never
 * used, else the one that has been without a worker for longest, whose
 * counters are gone then, else one whose endpoint was taken out of its server.
 * If there is none it is not counted, and the view has nulls for it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"

#include "changecount.h"
#include "counters.h"
#include "progress.h"
#include "shmem.h"

/* Requests that are looked at under one hold of the lock */
#define ACTIVITY_SLICE 256

struct RstarEndpointStats
{
	/* under the lock of counters */
	Oid			dboid;			/* InvalidOid: free */
	Oid			serverid;
	uint64		url;			/* rstar_counters_url() */
	int			writer;			/* pid of the worker, or 0 */
	bool		listed;			/* part of its server, for the writer */
	TimestampTz left_at;		/* when it had a writer last */
	RstarCounts base;			/* what was counted before the last reset */
	TimestampTz reset_at;

	/* written by the writer alone */
	uint32		changecount;
	RstarEndpointNow now;
};

static RstarEndpointStats *table(void);
static RstarEndpointStats *find(Oid serverid, uint64 url);
static RstarEndpointStats *find_free(void);
static void copy_now(const RstarEndpointStats *stats, RstarEndpointNow *now);
static void subtract(RstarCounts *counts, const RstarCounts *base);
static void reset_endpoints(TimestampTz at);
static void reset_database(TimestampTz at);
static void fill_activity(const RstarRequest *request, RstarActivity *activity);

Size
rstar_counters_size(void)
{
	return MAXALIGN(RSTAR_COUNTERS_ENDPOINTS * sizeof(RstarEndpointStats));
}

void
rstar_counters_place(void *place)
{
	memset(place, 0, rstar_counters_size());
}

static RstarEndpointStats *
table(void)
{
	return rstar_shared->endpoints;
}

/* A server has each URL once */
uint64
rstar_counters_url(const char *url)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) url, (int) strlen(url), 0);

	return hash != 0 ? hash : 1;
}

/* Of this database; lock of counters held */
static RstarEndpointStats *
find(Oid serverid, uint64 url)
{
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table()[i];

		if (stats->dboid == MyDatabaseId && stats->serverid == serverid && stats->url == url)
			return stats;
	}
	return NULL;
}

static RstarEndpointStats *
find_free(void)
{
	RstarEndpointStats *oldest = NULL;
	RstarEndpointStats *unlisted = NULL;

	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table()[i];

		if (!OidIsValid(stats->dboid))
			return stats;
		if (stats->writer == 0 && (oldest == NULL || stats->left_at < oldest->left_at))
			oldest = stats;
		/* Its writer sends nothing to it any more, so it does not write */
		if (stats->writer == MyProcPid && !stats->listed && stats->now.in_flight == 0)
			unlisted = stats;
	}
	return oldest != NULL ? oldest : unlisted;
}

RstarEndpointStats *
rstar_counters_take(Oid serverid, const char *url)
{
	uint64		hash = rstar_counters_url(url);
	RstarEndpointStats *stats;

	LWLockAcquire(rstar_shared->counters_lock, LW_EXCLUSIVE);
	stats = find(serverid, hash);
	if (stats == NULL)
	{
		stats = find_free();
		if (stats != NULL)
		{
			memset(stats, 0, sizeof(RstarEndpointStats));
			stats->dboid = MyDatabaseId;
			stats->serverid = serverid;
			stats->url = hash;
		}
	}
	if (stats != NULL)
	{
		stats->writer = MyProcPid;
		stats->listed = true;
	}
	LWLockRelease(rstar_shared->counters_lock);
	return stats;
}

void
rstar_counters_let_go(RstarEndpointStats *stats)
{
	if (stats == NULL)
		return;
	LWLockAcquire(rstar_shared->counters_lock, LW_EXCLUSIVE);
	stats->listed = false;
	LWLockRelease(rstar_shared->counters_lock);
}

/* The next worker may be there already, and have taken some of them */
void
rstar_counters_leave(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(rstar_shared->counters_lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table()[i];

		if (!OidIsValid(stats->dboid) || stats->writer != MyProcPid)
			continue;
		rstar_changecount_begin(&stats->changecount);
		stats->now.counts.ended[RSTAR_ENDING_CANCELLED] += stats->now.in_flight;
		stats->now.in_flight = 0;
		stats->now.limit = 0;
		stats->now.state[0] = '\0';
		rstar_changecount_end(&stats->changecount);
		stats->writer = 0;
		stats->listed = false;
		stats->left_at = now;
	}
	LWLockRelease(rstar_shared->counters_lock);
}

void
rstar_counters_state(RstarEndpointStats *stats, const RstarEndpointState *state)
{
	if (stats == NULL)
		return;
	rstar_changecount_begin(&stats->changecount);
	strlcpy(stats->now.state, state->state, sizeof(stats->now.state));
	stats->now.limit = state->limit;
	rstar_changecount_end(&stats->changecount);
}

void
rstar_counters_sent(RstarEndpointStats *stats, bool again)
{
	if (stats == NULL)
		return;
	rstar_changecount_begin(&stats->changecount);
	stats->now.counts.sent++;
	stats->now.counts.retries += again ? 1 : 0;
	stats->now.in_flight++;
	rstar_changecount_end(&stats->changecount);
}

void
rstar_counters_ended(RstarEndpointStats *stats, const RstarAttemptEnd *end)
{
	RstarCounts *counts;
	TimestampTz at = 0;

	if (stats == NULL)
		return;
	if (end->ending != RSTAR_ENDING_ANSWERED && end->ending != RSTAR_ENDING_CANCELLED)
		at = GetCurrentTimestamp();
	counts = &stats->now.counts;
	rstar_changecount_begin(&stats->changecount);
	stats->now.in_flight--;
	counts->ended[end->ending]++;
	if (end->ending == RSTAR_ENDING_ANSWERED)
	{
		counts->unscored += end->unscored ? 1 : 0;
		counts->prompt_tokens += end->prompt_tokens;
		counts->completion_tokens += end->completion_tokens;
		rstar_histogram_add(&counts->latency, end->elapsed_us);
	}
	else if (at != 0)
	{
		stats->now.last_status = end->status;
		stats->now.last_http_status = end->http_status;
		stats->now.last_error_at = at;
		strlcpy(stats->now.last_detail, end->detail, sizeof(stats->now.last_detail));
	}
	rstar_changecount_end(&stats->changecount);
}

static void
copy_now(const RstarEndpointStats *stats, RstarEndpointNow *now)
{
	rstar_changecount_copy(now, &stats->now, sizeof(RstarEndpointNow), &stats->changecount);
}

bool
rstar_counters_read(Oid serverid, const char *url, RstarEndpointNow *now)
{
	RstarEndpointStats *stats;

	LWLockAcquire(rstar_shared->counters_lock, LW_SHARED);
	stats = find(serverid, rstar_counters_url(url));
	if (stats != NULL)
	{
		copy_now(stats, now);
		subtract(&now->counts, &stats->base);
		if (now->last_error_at < stats->reset_at)
			now->last_error_at = 0;
	}
	LWLockRelease(rstar_shared->counters_lock);
	return stats != NULL;
}

static void
subtract(RstarCounts *counts, const RstarCounts *base)
{
	counts->sent -= base->sent;
	counts->retries -= base->retries;
	for (int i = 0; i < RSTAR_NENDINGS; i++)
		counts->ended[i] -= base->ended[i];
	counts->unscored -= base->unscored;
	counts->prompt_tokens -= base->prompt_tokens;
	counts->completion_tokens -= base->completion_tokens;
	rstar_histogram_subtract(&counts->latency, &base->latency);
}

void
rstar_counters_reset(void)
{
	TimestampTz at = GetCurrentTimestamp();

	reset_endpoints(at);
	reset_database(at);
}

static void
reset_endpoints(TimestampTz at)
{
	LWLockAcquire(rstar_shared->counters_lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table()[i];
		RstarEndpointNow now;

		if (stats->dboid != MyDatabaseId)
			continue;
		copy_now(stats, &now);
		stats->base = now.counts;
		stats->base.sent -= now.in_flight;
		stats->reset_at = at;
	}
	LWLockRelease(rstar_shared->counters_lock);
}

static void
reset_database(TimestampTz at)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = rstar_shmem_database(MyDatabaseId, true);
	if (db != NULL)
	{
		db->asked = db->nwaiting + db->nrunning;
		db->answered = db->failed = db->cancelled_count = 0;
		db->joined = 0;
		db->samples_sent = db->samples_running;
		db->samples_scored = db->samples_unscored = 0;
		db->samples_failed = db->samples_cancelled = 0;
		db->stored = db->store_failures = db->lost = 0;
		db->hits = db->misses = 0;
		rstar_progress_lookups(MyDatabaseId, &db->hits_before, &db->misses_before);
		db->stats_reset = at;
	}
	LWLockRelease(rstar_shared->lock);
	if (db == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many databases use retrostar at once")));
}

/* Nobody is connected to it any more */
void
rstar_counters_purge(Oid dboid)
{
	LWLockAcquire(rstar_shared->counters_lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		if (table()[i].dboid == dboid)
			memset(&table()[i], 0, sizeof(RstarEndpointStats));
	}
	LWLockRelease(rstar_shared->counters_lock);
}

/*
 * In slices: a map of many thousand requests is looked at without holding up
 * the worker and the sessions for longer than some microseconds at a time.
 */
RstarActivity *
rstar_counters_activity(int *n)
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
		request->state == RSTAR_WAITING ? "queued" : "running";
	activity->asked_at = request->asked_at;
	activity->samples = request->wanted;
	activity->in_flight = request->in_flight;
	activity->attempts = request->attempts;
	activity->url = request->url;
	activity->waiters = request->nwaiters;
	activity->detached = request->detached;
}
