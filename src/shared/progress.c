/*-------------------------------------------------------------------------
 *
 * progress.c
 *		How far the statements of each session are, in shared memory.
 *
 * Each session has a slot, which it alone writes, without a lock, and which
 * anybody copies (changecount.h): a statement over 100,000 pairs is seen from
 * another session while it runs, at the cost of some stores for each pair.
 *
 * A slot is in use from the first pair that a session looks for until the
 * last of its statements that had to do with pairs ends; statements inside of
 * others count together.  A pair is counted once for each time that it is
 * looked for: not again for other rows of the statement that have it, too,
 * but again for each round of a set that wants more samples of it.
 *
 * The look-ups of a session are counted here, too, and handed to its database
 * when it ends: so a score that is known costs no lock for being counted.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared/changecount.h"
#include "shared/progress.h"
#include "shared/shmem.h"

#define PART_NAME "retrostar_sessions"

typedef struct Slot
{
	/* written by the session alone */
	uint32		changecount;
	RstarProgress progress;

	/* the same, but cleared under the lock of the map; see leave() */
	Oid			dboid;			/* that the look-ups were made in */
	int64		hits;
	int64		misses;
} Slot;

/* Of MaxBackends sessions */
static Slot *slots = NULL;

static Slot *my_slot = NULL;

static void require(void);
static void begin(void);
static void leave(int code, Datum arg);

void
rstar_progress_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(mul_size(MaxBackends, sizeof(Slot))));
}

void
rstar_progress_startup(void)
{
	Size		size = mul_size(MaxBackends, sizeof(Slot));
	bool		found;

	slots = ShmemInitStruct(PART_NAME, size, &found);
	if (!found)
		memset(slots, 0, size);
}

void
rstar_progress_wanted(void)
{
	int64	   *places;

	require();
	places = my_slot->progress.places;
	rstar_changecount_begin(&my_slot->changecount);
	places[RSTAR_PLACE_FAILED] += places[RSTAR_PLACE_LOOKED_FOR];
	places[RSTAR_PLACE_LOOKED_FOR] = 1;
	rstar_changecount_end(&my_slot->changecount);
}

/* The slot is in use from here on */
static void
require(void)
{
	if (my_slot == NULL || my_slot->progress.pid == 0)
		begin();
}

static void
begin(void)
{
	RstarProgress *progress;
	TimestampTz now = GetCurrentTimestamp();

	if (my_slot == NULL)
	{
		int			number = rstar_shmem_process();

		before_shmem_exit(leave, (Datum) 0);
		my_slot = &slots[number];
	}
	my_slot->dboid = MyDatabaseId;
	progress = &my_slot->progress;
	rstar_changecount_begin(&my_slot->changecount);
	memset(progress, 0, sizeof(RstarProgress));
	progress->pid = MyProcPid;
	progress->dboid = MyDatabaseId;
	progress->userid = GetSessionUserId();
	progress->started = now;
	rstar_changecount_end(&my_slot->changecount);
}

/* The session ends: what it has counted goes to its database */
static void
leave(int code, Datum arg)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	rstar_progress_end();
	db = my_slot->hits + my_slot->misses > 0 ? rstar_shmem_database(MyDatabaseId, true) : NULL;
	if (db != NULL)
	{
		db->hits += my_slot->hits;
		db->misses += my_slot->misses;
	}
	my_slot->hits = my_slot->misses = 0;
	my_slot->dboid = InvalidOid;
	my_slot = NULL;
	LWLockRelease(rstar_shared->lock);
}

void
rstar_progress_unwanted(void)
{
	rstar_changecount_begin(&my_slot->changecount);
	my_slot->progress.places[RSTAR_PLACE_LOOKED_FOR] = 0;
	rstar_changecount_end(&my_slot->changecount);
}

void
rstar_progress_expected(double pairs, bool again)
{
	double	   *expected;

	require();
	expected = &my_slot->progress.expected;
	rstar_changecount_begin(&my_slot->changecount);
	*expected = again ? Max(*expected, pairs) : *expected + pairs;
	rstar_changecount_end(&my_slot->changecount);
}

void
rstar_progress_way(RstarWay way)
{
	rstar_changecount_begin(&my_slot->changecount);
	my_slot->progress.ways[way]++;
	rstar_changecount_end(&my_slot->changecount);
	if (way == RSTAR_WAY_KNOWN)
		my_slot->hits++;
	else
		my_slot->misses++;
}

/* Also at the end of statements that outlive their session's slot */
void
rstar_progress_moved(RstarPlace from, RstarPlace to)
{
	if (my_slot == NULL)
		return;
	rstar_changecount_begin(&my_slot->changecount);
	my_slot->progress.places[from]--;
	my_slot->progress.places[to]++;
	rstar_changecount_end(&my_slot->changecount);
}

void
rstar_progress_end(void)
{
	if (my_slot == NULL)
		return;
	rstar_changecount_begin(&my_slot->changecount);
	my_slot->progress.pid = 0;
	rstar_changecount_end(&my_slot->changecount);
}

void
rstar_progress_lookups(Oid dboid, int64 *hits, int64 *misses)
{
	*hits = *misses = 0;
	for (int i = 0; i < MaxBackends; i++)
	{
		const Slot *slot = &slots[i];

		if (slot->dboid != dboid)
			continue;
		*hits += slot->hits;
		*misses += slot->misses;
	}
}

bool
rstar_progress_read(int i, RstarProgress *progress)
{
	const Slot *slot = &slots[i];

	rstar_changecount_copy(progress, &slot->progress, sizeof(RstarProgress), &slot->changecount);
	return progress->pid != 0;
}
