/*-------------------------------------------------------------------------
 *
 * progress.c
 *		How far the statements of each session are, in shared memory.
 *
 * Called by: score.c, memo.c, statement.c, shmem.c, counters.c, stat.c.
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
#include "storage/proc.h"

#include "changecount.h"
#include "progress.h"
#include "shmem.h"

struct RstarProgressSlot
{
	/* written by the session alone */
	uint32		changecount;
	RstarProgress progress;

	/* the same, but cleared under the lock of the map; see rstar_progress_leave() */
	Oid			dboid;			/* that the look-ups were made in */
	int64		hits;
	int64		misses;
};

static RstarProgressSlot *my_slot = NULL;

static void begin(void);

Size
rstar_progress_size(int nbackends)
{
	return MAXALIGN(mul_size(nbackends, sizeof(RstarProgressSlot)));
}

void
rstar_progress_place(void *place, int nbackends)
{
	memset(place, 0, rstar_progress_size(nbackends));
}

void
rstar_progress_wanted(void)
{
	int64	   *places;

	if (my_slot == NULL || my_slot->progress.pid == 0)
		begin();
	places = my_slot->progress.places;
	rstar_changecount_begin(&my_slot->changecount);
	places[RSTAR_PLACE_FAILED] += places[RSTAR_PLACE_LOOKED_FOR];
	places[RSTAR_PLACE_LOOKED_FOR] = 1;
	rstar_changecount_end(&my_slot->changecount);
}

/* rstar_shmem_owner() sees to it that the slot is left when the session ends */
static void
begin(void)
{
	RstarProgress *progress;
	TimestampTz now = GetCurrentTimestamp();
	RstarOwner *me = rstar_shmem_owner();

	my_slot = &rstar_shared->progress[me - rstar_shared->owners];
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

void
rstar_progress_unwanted(void)
{
	rstar_changecount_begin(&my_slot->changecount);
	my_slot->progress.places[RSTAR_PLACE_LOOKED_FOR] = 0;
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
rstar_progress_leave(int64 *hits, int64 *misses)
{
	*hits = *misses = 0;
	if (my_slot == NULL)
		return;
	rstar_progress_end();
	*hits = my_slot->hits;
	*misses = my_slot->misses;
	my_slot->hits = my_slot->misses = 0;
	my_slot->dboid = InvalidOid;
	my_slot = NULL;
}

void
rstar_progress_lookups(Oid dboid, int64 *hits, int64 *misses)
{
	*hits = *misses = 0;
	for (int i = 0; i < rstar_shared->nbackends; i++)
	{
		const RstarProgressSlot *slot = &rstar_shared->progress[i];

		if (slot->dboid != dboid)
			continue;
		*hits += slot->hits;
		*misses += slot->misses;
	}
}

bool
rstar_progress_read(int i, RstarProgress *progress)
{
	const RstarProgressSlot *slot = &rstar_shared->progress[i];

	rstar_changecount_copy(progress, &slot->progress, sizeof(RstarProgress), &slot->changecount);
	return progress->pid != 0;
}
