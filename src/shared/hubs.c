/*-------------------------------------------------------------------------
 *
 * hubs.c
 *		What is counted of the hubs of servers.
 *
 * A fixed array, under the lock of the map.  An entry is taken when its server
 * is first asked for; when all are taken, the one that was used last the
 * longest ago goes.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared/hubs.h"
#include "shared/shmem.h"

#define PART_NAME "retrostar_hubs"

/* Servers, of all databases */
#define MAX_ENTRIES 128

typedef struct Entry
{
	Oid			dboid;			/* InvalidOid: free */
	Oid			serverid;
	uint64		used;			/* when, on Entries.clock */
	RstarHubNow now;
} Entry;

typedef struct Entries
{
	uint64		clock;
	Entry		entries[MAX_ENTRIES];
} Entries;

static Entries *all = NULL;

static Entry *find(Oid dboid, Oid serverid, bool create);

void
rstar_hubs_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Entries)));
}

void
rstar_hubs_startup(void)
{
	bool		found;

	all = ShmemInitStruct(PART_NAME, sizeof(Entries), &found);
	if (!found)
		memset(all, 0, sizeof(Entries));
}

/* NULL: there is none */
static Entry *
find(Oid dboid, Oid serverid, bool create)
{
	Entry	   *oldest = &all->entries[0];

	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		Entry	   *entry = &all->entries[i];

		if (entry->dboid == dboid && entry->serverid == serverid)
		{
			if (create)
				entry->used = ++all->clock;
			return entry;
		}
		if (entry->used < oldest->used)
			oldest = entry;
	}
	if (!create)
		return NULL;
	memset(oldest, 0, sizeof(Entry));
	oldest->dboid = dboid;
	oldest->serverid = serverid;
	oldest->used = ++all->clock;
	return oldest;
}

void
rstar_hubs_count(Oid dboid, Oid serverid, RstarHubCount what, int64 n)
{
	find(dboid, serverid, true)->now.counts[what] += n;
}

void
rstar_hubs_add(Oid serverid, const int64 *counts)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < RSTAR_NHUB_COUNTS; i++)
	{
		if (counts[i] != 0)
			rstar_hubs_count(MyDatabaseId, serverid, i, counts[i]);
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_hubs_set_state(Oid serverid, RstarHubState state, const char *error)
{
	TimestampTz at = error != NULL ? GetCurrentTimestamp() : 0;
	Entry	   *entry;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	entry = find(MyDatabaseId, serverid, true);
	entry->now.state = state;
	if (error != NULL)
	{
		strlcpy(entry->now.last_error, error, sizeof(entry->now.last_error));
		entry->now.last_error_at = at;
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_hubs_leave(void)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		if (all->entries[i].dboid == MyDatabaseId)
			all->entries[i].now.state = RSTAR_HUB_IDLE;
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_hubs_read(Oid serverid, RstarHubNow *now)
{
	const Entry *entry;

	memset(now, 0, sizeof(RstarHubNow));
	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	entry = find(MyDatabaseId, serverid, false);
	if (entry != NULL)
		*now = entry->now;
	LWLockRelease(rstar_shared->lock);
}

void
rstar_hubs_reset(void)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_ENTRIES; i++)
	{
		if (all->entries[i].dboid == MyDatabaseId)
			memset(all->entries[i].now.counts, 0, sizeof(all->entries[i].now.counts));
	}
	LWLockRelease(rstar_shared->lock);
}

const char *
rstar_hubs_state_name(RstarHubState state)
{
	switch (state)
	{
		case RSTAR_HUB_CONNECTING:
			return "connecting";
		case RSTAR_HUB_CONNECTED:
			return "connected";
		case RSTAR_HUB_AWAY:
			return "away";
		case RSTAR_HUB_IDLE:
			break;
	}
	return "not connected";
}
