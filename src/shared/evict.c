/*-------------------------------------------------------------------------
 *
 * evict.c
 *		What is given up before the table has it: for room, or with its
 *		database.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "shared/budget.h"
#include "shared/details.h"
#include "shared/evict.h"
#include "shared/recent.h"
#include "shared/request.h"
#include "shared/shmem.h"
#include "shared/usage.h"

static bool evict_from(dlist_head *answers);
static bool free_details_of(dlist_head *answers);

/*
 * Gives up the oldest answer that cannot be stored and interests nobody, to
 * make room.  False when there is none.  What the worker is just storing may
 * be in the table in a moment, with its usage: it is not given up.
 */
bool
rstar_evict_answer(void)
{
	for (int i = 0; i < rstar_shared->ndatabases; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];

		if (OidIsValid(db->dboid) &&
			(evict_from(&db->refused) ||
			 (db->cannot_store && !db->storing && evict_from(&db->unstored))))
			return true;
	}
	return false;
}

static bool
evict_from(dlist_head *answers)
{
	dlist_iter	iter;

	dlist_foreach(iter, answers)
	{
		RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

		if (!dlist_is_empty(&request->waiters))
			continue;
		request->db->counts.lost++;
		rstar_request_stored(request);
		return true;
	}
	return false;
}

bool
rstar_evict_details(void)
{
	bool		evicted = false;

	for (int i = 0; i < rstar_shared->ndatabases && rstar_shared->detail_bytes > 0; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];

		if (!OidIsValid(db->dboid))
			continue;
		evicted |= free_details_of(&db->refused);
		if (db->cannot_store)
			evicted |= free_details_of(&db->unstored);
	}
	return evicted;
}

static bool
free_details_of(dlist_head *answers)
{
	bool		freed = false;
	dlist_iter	iter;

	dlist_foreach(iter, answers)
	{
		RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

		freed |= rstar_details_any(&request->details);
		rstar_details_free(&request->details);
	}
	return freed;
}

/*
 * No session is left in that database, so nobody waits, and no worker but one
 * that will not find it any more, so nothing is in flight.
 */
void
rstar_evict_database(Oid dboid)
{
	RstarDatabase *db = rstar_shmem_database(dboid, false);

	/* Its place may have gone to another database since */
	rstar_recent_purge(dboid);
	if (db == NULL)
		return;
	for (int i = 0; i < rstar_shared->nrequests && db->nrequests > 0; i++)
	{
		RstarRequest *request = &rstar_shared->requests[i];

		if (request->state == RSTAR_FREE || request->db != db)
			continue;
		request->detached = false;
		if (!request->unstored)
			rstar_request_settle(request);
		/* It may have become so by that */
		if (request->state != RSTAR_FREE && request->unstored)
		{
			db->counts.lost++;
			rstar_request_stored(request);
		}
	}
	db->paused = false;
	rstar_usage_purge(db);
	rstar_budget_purge(dboid);
}
