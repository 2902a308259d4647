/*-------------------------------------------------------------------------
 *
 * counters.c
 *		What is counted for each endpoint, in shared memory.
 *
 * Three kinds of counters, by who writes them:
 *
 *	pairs and samples	RstarPairCounts (map.h), under the lock of the map: who
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
 * What a worker has learnt of an endpoint lies with its counters, so that the
 * next one need not find it out again.  It is written in the same way.
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
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared/changecount.h"
#include "shared/counters.h"

/* Of the memory, and of its lock */
#define PART_NAME "retrostar_endpoints"

/* What was learnt of an endpoint that was not used for longer is not believed; ms */
#define LEARNT_FOR (60 * 60 * 1000)

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

typedef struct EndpointTable
{
	LWLock	   *lock;			/* taken alone */
	RstarEndpointStats endpoints[RSTAR_COUNTERS_ENDPOINTS];
} EndpointTable;

static EndpointTable *table = NULL;

static RstarEndpointStats *find(Oid serverid, uint64 url);
static RstarEndpointStats *find_free(void);
static bool has_free(void);
static void copy_now(const RstarEndpointStats *stats, RstarEndpointNow *now);
static void subtract(RstarCounts *counts, const RstarCounts *base);

void
rstar_counters_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(EndpointTable)));
	RequestNamedLWLockTranche(PART_NAME, 1);
}

void
rstar_counters_startup(void)
{
	bool		found;

	table = ShmemInitStruct(PART_NAME, sizeof(EndpointTable), &found);
	if (!found)
	{
		memset(table, 0, sizeof(EndpointTable));
		table->lock = &GetNamedLWLockTranche(PART_NAME)->lock;
	}
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
		RstarEndpointStats *stats = &table->endpoints[i];

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
		RstarEndpointStats *stats = &table->endpoints[i];

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

	LWLockAcquire(table->lock, LW_EXCLUSIVE);
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
		if (stats->writer == 0 && TimestampDifferenceExceeds(stats->left_at, GetCurrentTimestamp(),
															 LEARNT_FOR))
		{
			uint32		heard = stats->now.learnt.heard;

			rstar_changecount_begin(&stats->changecount);
			memset(&stats->now.learnt, 0, sizeof(RstarLearnt));
			stats->now.learnt.heard = heard;
			rstar_changecount_end(&stats->changecount);
		}
		stats->writer = MyProcPid;
		stats->listed = true;
	}
	LWLockRelease(table->lock);
	return stats;
}

void
rstar_counters_let_go(RstarEndpointStats *stats)
{
	if (stats == NULL)
		return;
	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	stats->listed = false;
	LWLockRelease(table->lock);
}

bool
rstar_counters_learnt(const RstarEndpointStats *stats, RstarLearnt *learnt)
{
	RstarEndpointNow now;

	if (stats == NULL)
		return false;
	copy_now(stats, &now);
	*learnt = now.learnt;
	return true;
}

/* The next worker may be there already, and have taken some of them */
void
rstar_counters_leave(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table->endpoints[i];

		if (!OidIsValid(stats->dboid) || stats->writer != MyProcPid)
			continue;
		rstar_changecount_begin(&stats->changecount);
		stats->now.counts.ended[RSTAR_ENDING_CANCELLED] += stats->now.in_flight;
		stats->now.in_flight = 0;
		stats->now.limit = stats->now.learnt.limit.limit;
		stats->now.state[0] = '\0';
		stats->now.gives_up_at = 0;
		rstar_changecount_end(&stats->changecount);
		stats->writer = 0;
		stats->listed = false;
		stats->left_at = now;
	}
	LWLockRelease(table->lock);
}

void
rstar_counters_state(RstarEndpointStats *stats, const char *state, int limit,
					 const RstarLearnt *learnt, TimestampTz gives_up_at)
{
	if (stats == NULL)
		return;
	rstar_changecount_begin(&stats->changecount);
	strlcpy(stats->now.state, state, sizeof(stats->now.state));
	stats->now.limit = limit;
	stats->now.learnt = *learnt;
	stats->now.gives_up_at = gives_up_at;
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
		counts->cached_tokens += end->cached_tokens;
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
	bool		known;

	memset(now, 0, sizeof(RstarEndpointNow));
	LWLockAcquire(table->lock, LW_SHARED);
	stats = find(serverid, rstar_counters_url(url));
	known = stats != NULL || has_free();
	if (stats != NULL)
	{
		copy_now(stats, now);
		subtract(&now->counts, &stats->base);
		if (now->last_error_at < stats->reset_at)
			now->last_error_at = 0;
	}
	LWLockRelease(table->lock);
	return known;
}

void
rstar_counters_outlook(Oid serverid, RstarOutlook *outlook)
{
	memset(outlook, 0, sizeof(RstarOutlook));
	LWLockAcquire(table->lock, LW_SHARED);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		const RstarEndpointStats *stats = &table->endpoints[i];
		RstarEndpointNow now;

		if (stats->dboid != MyDatabaseId || stats->serverid != serverid ||
			stats->writer == 0 || !stats->listed)
			continue;
		copy_now(stats, &now);
		outlook->endpoints++;
		outlook->out_of_use += strcmp(now.state, "open") == 0 || strcmp(now.state, "half-open") == 0;
		outlook->doubted += strcmp(now.state, "doubted") == 0;
		outlook->gives_up_at = Max(outlook->gives_up_at, now.gives_up_at);
		if (now.learnt.misfit[0] != '\0')
			memcpy(outlook->misfit, now.learnt.misfit, sizeof(outlook->misfit));
		if (now.last_error_at <= outlook->last_error_at)
			continue;
		outlook->last_error_at = now.last_error_at;
		outlook->last_status = now.last_status;
		outlook->last_http_status = now.last_http_status;
		strlcpy(outlook->last_detail, now.last_detail, sizeof(outlook->last_detail));
	}
	LWLockRelease(table->lock);
}

/* Whether none had to give way so far; lock of counters held */
static bool
has_free(void)
{
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		if (!OidIsValid(table->endpoints[i].dboid))
			return true;
	}
	return false;
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
	counts->cached_tokens -= base->cached_tokens;
	rstar_histogram_subtract(&counts->latency, &base->latency);
}

void
rstar_counters_reset(TimestampTz at)
{
	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		RstarEndpointStats *stats = &table->endpoints[i];
		RstarEndpointNow now;

		if (stats->dboid != MyDatabaseId)
			continue;
		copy_now(stats, &now);
		stats->base = now.counts;
		stats->base.sent -= now.in_flight;
		stats->reset_at = at;
	}
	LWLockRelease(table->lock);
}

/* Nobody is connected to it any more */
void
rstar_counters_purge(Oid dboid)
{
	LWLockAcquire(table->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_COUNTERS_ENDPOINTS; i++)
	{
		if (table->endpoints[i].dboid == dboid)
			memset(&table->endpoints[i], 0, sizeof(RstarEndpointStats));
	}
	LWLockRelease(table->lock);
}
