/*-------------------------------------------------------------------------
 *
 * usage.c
 *		What pairs have cost whom, until the table has it.
 *
 * A fixed array, under the lock of the map.  It has few entries: one for each
 * role and server with failures since the last store, unless the table cannot
 * be written for hours.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared/shmem.h"
#include "shared/usage.h"

#define PART_NAME "retrostar_usage"

/* Of all databases */
#define MAX_ENTRIES 512

typedef struct Entry
{
	RstarDatabase *db;			/* NULL: free */
	RstarUsage	usage;
} Entry;

typedef struct Entries
{
	int			n;				/* none behind these is in use */
	Entry		entries[MAX_ENTRIES];
} Entries;

static Entries *all = NULL;

static Entry *find(const RstarDatabase *db, const RstarUsage *usage, bool any_hour);
static Entry *find_free(void);
static void subtract(RstarUsage *from, const RstarUsage *usage);
static bool is_empty(const RstarUsage *usage);
static void release(Entry *entry);

void
rstar_usage_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Entries)));
}

void
rstar_usage_startup(void)
{
	bool		found;

	all = ShmemInitStruct(PART_NAME, sizeof(Entries), &found);
	if (!found)
		memset(all, 0, sizeof(Entries));
}

bool
rstar_usage_same(const RstarUsage *a, const RstarUsage *b)
{
	return a->role == b->role && a->serverid == b->serverid && a->hour == b->hour &&
		a->priority == b->priority;
}

void
rstar_usage_sum(RstarUsage *to, const RstarUsage *usage)
{
	to->pairs += usage->pairs;
	to->failures += usage->failures;
	to->samples += usage->samples;
	to->prompt_tokens += usage->prompt_tokens;
	to->cached_tokens += usage->cached_tokens;
	to->completion_tokens += usage->completion_tokens;
	to->elapsed_us += usage->elapsed_us;
}

static void
subtract(RstarUsage *from, const RstarUsage *usage)
{
	from->pairs -= usage->pairs;
	from->failures -= usage->failures;
	from->samples -= usage->samples;
	from->prompt_tokens -= usage->prompt_tokens;
	from->cached_tokens -= usage->cached_tokens;
	from->completion_tokens -= usage->completion_tokens;
	from->elapsed_us -= usage->elapsed_us;
}

static bool
is_empty(const RstarUsage *usage)
{
	return usage->pairs == 0 && usage->failures == 0 && usage->samples == 0 &&
		usage->prompt_tokens == 0 && usage->cached_tokens == 0 &&
		usage->completion_tokens == 0 && usage->elapsed_us == 0;
}

RstarUsage *
rstar_usage_unwritten(int *n)
{
	RstarUsage *usage;
	RstarDatabase *db;

	*n = 0;
	/* A look without the lock: what comes later is written later */
	if (all->n == 0)
		return NULL;
	usage = palloc(MAX_ENTRIES * sizeof(RstarUsage));
	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	db = rstar_shmem_database(MyDatabaseId, false);
	for (int i = 0; db != NULL && i < all->n; i++)
	{
		if (all->entries[i].db == db)
			usage[(*n)++] = all->entries[i].usage;
	}
	LWLockRelease(rstar_shared->lock);
	return usage;
}

void
rstar_usage_add(RstarDatabase *db, const RstarUsage *usage)
{
	Entry	   *entry = find(db, usage, false);

	if (entry == NULL && (entry = find_free()) != NULL)
	{
		memset(entry, 0, sizeof(Entry));
		entry->db = db;
		entry->usage.role = usage->role;
		entry->usage.serverid = usage->serverid;
		entry->usage.hour = usage->hour;
		entry->usage.priority = usage->priority;
		db->nusage++;
	}
	/* The hour is worth less than the sum */
	if (entry == NULL)
		entry = find(db, usage, true);
	if (entry != NULL)
		rstar_usage_sum(&entry->usage, usage);
	rstar_shmem_wake_worker(db);
}

static Entry *
find(const RstarDatabase *db, const RstarUsage *usage, bool any_hour)
{
	for (int i = 0; i < all->n; i++)
	{
		Entry	   *entry = &all->entries[i];

		if (entry->db == db && (rstar_usage_same(&entry->usage, usage) ||
								(any_hour && entry->usage.role == usage->role &&
								 entry->usage.serverid == usage->serverid)))
			return entry;
	}
	return NULL;
}

static Entry *
find_free(void)
{
	for (int i = 0; i < all->n; i++)
	{
		if (all->entries[i].db == NULL)
			return &all->entries[i];
	}
	return all->n < MAX_ENTRIES ? &all->entries[all->n++] : NULL;
}

/* Some may have been added to an entry since it was read: that stays */
void
rstar_usage_written(RstarDatabase *db, const RstarUsage *written, int n)
{
	for (int i = 0; i < n; i++)
	{
		Entry	   *entry = find(db, &written[i], false);

		if (entry == NULL)
			continue;
		subtract(&entry->usage, &written[i]);
		if (is_empty(&entry->usage))
			release(entry);
	}
}

static void
release(Entry *entry)
{
	entry->db->nusage--;
	entry->db = NULL;
	while (all->n > 0 && all->entries[all->n - 1].db == NULL)
		all->n--;
}

void
rstar_usage_purge(RstarDatabase *db)
{
	for (int i = all->n - 1; i >= 0; i--)
	{
		if (i < all->n && all->entries[i].db == db)
			release(&all->entries[i]);
	}
}
