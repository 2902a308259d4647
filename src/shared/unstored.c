/*-------------------------------------------------------------------------
 *
 * unstored.c
 *		Answers that the cache table does not have yet, for the worker that
 *		writes them there.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "shared/details.h"
#include "shared/request.h"
#include "shared/shmem.h"
#include "shared/unstored.h"

/* Kept texts that are stored at once, all together, if there are several */
#define MAX_REASONING (8 * 1024 * 1024)

static RstarDatabase *my_database(void);
static void end_store(RstarDatabase *db);
static void account(const RstarAnswered *answers, int n, const RstarAccounts *accounts);
#ifdef USE_ASSERT_CHECKING
static bool still_there(const RstarAnswered *answer);
#endif

/* Of this worker; the entry lives as long as it has a worker */
static RstarDatabase *
my_database(void)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);

	Assert(db != NULL);
	return db;
}

int
rstar_unstored_copy(RstarAnswered *answers, int max)
{
	int			n = 0;
	Size		reasoning = 0;
	RstarDatabase *db;
	dlist_iter	iter;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	db->storing = true;
	dlist_foreach(iter, &db->unstored)
	{
		RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);
		RstarAnswered *answer = &answers[n];

		if (n == max || reasoning > MAX_REASONING)
			break;
		answer->request = request;
		answer->key = request->key;
		strlcpy(answer->model, request->model, sizeof(answer->model));
		answer->first_sample = request->first_sample;
		answer->nscores = request->scored;
		answer->unscored = request->unscored;
		answer->prompt_tokens = request->prompt_tokens;
		answer->completion_tokens = request->completion_tokens;
		answer->answered_at = request->answered_at;
		answer->reasoning_size = rstar_details_any(&request->details) ?
			rstar_details_size(&request->details, request->scored) : 0;
		answer->reasoning = NULL;
		answer->accounted = request->accounted;
		rstar_request_usage(request, &answer->usage);
		reasoning += answer->reasoning_size;
		memcpy(answer->scores, request->scores, request->scored);
		n++;
	}
	LWLockRelease(rstar_shared->lock);
	return n;
}

/* The lock is taken for each of them: they may be long */
void
rstar_unstored_reasoning(RstarAnswered *answers, int n)
{
	for (int i = 0; i < n; i++)
	{
		RstarAnswered *answer = &answers[i];

		if (answer->reasoning_size == 0)
			continue;
		answer->reasoning = palloc(answer->reasoning_size);
		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		/* They may have been given up for room; not the answer itself */
		Assert(still_there(answer));
		if (rstar_details_any(&answer->request->details))
			(void) rstar_details_copy(&answer->request->details, answer->request->scores,
									  answer->request->scored, answer->reasoning);
		else
			answer->reasoning_size = 0;
		LWLockRelease(rstar_shared->lock);
		if (answer->reasoning_size == 0)
			answer->reasoning = NULL;
	}
}

void
rstar_unstored_done(const RstarAnswered *answers, int n, const RstarAccounts *accounts)
{
	RstarDatabase *db;
	int			nstored = 0;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	/* Who looked at the table before our commit must look again */
	rstar_shared->generation++;
	db = my_database();
	account(answers, n, accounts);
	for (int i = 0; i < n; i++)
	{
		Assert(still_there(&answers[i]));
		nstored += answers[i].stored ? 1 : 0;
		if (answers[i].stored)
			rstar_request_stored(answers[i].request);
		else
			rstar_request_refused(answers[i].request);
		rstar_request_check(answers[i].request);
	}
	db->counts.stored += nstored;
	db->cannot_store = false;
	if (nstored > 0)
		db->successions = 0;
	if (nstored < n)
		db->counts.store_failures++;
	end_store(db);
	LWLockRelease(rstar_shared->lock);
}

void
rstar_unstored_try_refused(void)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	while (!dlist_is_empty(&db->refused))
	{
		RstarRequest *request = dlist_container(RstarRequest, list,
												dlist_pop_head_node(&db->refused));

		request->refused = false;
		dlist_push_tail(&db->unstored, &request->list);
		db->nrefused--;
		rstar_request_check(request);
	}
	LWLockRelease(rstar_shared->lock);
}

/* What could not be stored may be evicted from now on, by who waits for room */
static void
end_store(RstarDatabase *db)
{
	db->storing = false;
	if (!db->cannot_store && db->nrefused == 0)
		return;
	rstar_shared->freed++;
	rstar_shmem_wake_space(true);
}

void
rstar_unstored_discard(const RstarAnswered *answers, int n, const RstarAccounts *accounts)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	account(answers, n, accounts);
	for (int i = 0; i < n; i++)
	{
		Assert(still_there(&answers[i]));
		db->counts.lost++;
		rstar_request_stored(answers[i].request);
		rstar_request_check(answers[i].request);
	}
	end_store(db);
	LWLockRelease(rstar_shared->lock);
}

/*
 * The usage of answers is written, whether the cache took them or not, or is
 * kept.  In one hold of the lock with what budgets are charged for it: nobody
 * sees it counted twice, or not at all.
 */
static void
account(const RstarAnswered *answers, int n, const RstarAccounts *accounts)
{
	for (int i = 0; i < n; i++)
	{
		if (!answers[i].accounted)
			rstar_request_account(answers[i].request, accounts->written, false);
	}
	rstar_budget_charge(accounts->charges, accounts->ncharges);
	if (accounts->written)
		rstar_usage_written(my_database(), accounts->unwritten, accounts->nunwritten);
	else if (accounts->no_table)
		rstar_usage_purge(my_database());
}

#ifdef USE_ASSERT_CHECKING
/* While it is stored nobody gives it up */
static bool
still_there(const RstarAnswered *answer)
{
	return answer->request->unstored &&
		answer->request->answered_at == answer->answered_at &&
		memcmp(&answer->request->key, &answer->key, sizeof(RstarKey)) == 0;
}
#endif

void
rstar_unstored_kept(bool failed)
{
	RstarDatabase *db;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	db = my_database();
	if (failed)
		db->counts.store_failures++;
	db->cannot_store = true;
	end_store(db);
	LWLockRelease(rstar_shared->lock);
}
