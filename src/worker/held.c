/*-------------------------------------------------------------------------
 *
 * held.c
 *		Requests that are held back while another node pays for their pairs.
 *
 * On a hub.  When the other node's lease has ended, its answer is in our
 * table, or there is none and we pay.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "shared/cache.h"
#include "worker/held.h"

/* Requests that are told what was found under one hold of the lock */
#define BATCH 64

/* us: it is looked whether the lease has ended */
#define LOOK_FIRST INT64CONST(50000)
#define LOOK_MAX INT64CONST(500000)

typedef struct Held
{
	dlist_node	link;
	RstarLookup lookup;
	int64		since;			/* us */
	int64		due;
	int64		delay;
} Held;

static dlist_head all = DLIST_STATIC_INIT(all);
static int64 next_due = PG_INT64_MAX;

static void look(Held **held, int n, int64 now);
static bool look_up(const RstarFinding *findings, int n, RstarTally *tallies);
static void look_again(Held *held, int64 now);

void
rstar_held_add(const RstarLookup *lookup, int64 now)
{
	Held	   *held = MemoryContextAllocZero(TopMemoryContext, sizeof(Held));

	held->lookup = *lookup;
	held->delay = LOOK_FIRST;
	held->since = now;
	look_again(held, now);
}

static void
look_again(Held *held, int64 now)
{
	held->due = now + held->delay;
	held->delay = Min(held->delay * 2, LOOK_MAX);
	next_due = Min(next_due, held->due);
	dlist_push_tail(&all, &held->link);
}

int64
rstar_held_wake(void)
{
	return next_due;
}

void
rstar_held_turn(int64 now)
{
	dlist_head	due = DLIST_STATIC_INIT(due);
	dlist_mutable_iter iter;

	if (now < next_due)
		return;
	next_due = PG_INT64_MAX;
	dlist_foreach_modify(iter, &all)
	{
		Held	   *held = dlist_container(Held, link, iter.cur);

		if (now < held->due)
			next_due = Min(next_due, held->due);
		else
		{
			dlist_delete(&held->link);
			dlist_push_tail(&due, &held->link);
		}
	}
	while (!dlist_is_empty(&due))
	{
		Held	   *batch[BATCH];
		int			n = 0;

		while (n < BATCH && !dlist_is_empty(&due))
			batch[n++] = dlist_container(Held, link, dlist_pop_head_node(&due));
		look(batch, n, now);
	}
}

/* Known at first; then, where that is not all, ours, unless something has changed meanwhile */
static void
look(Held **held, int n, int64 now)
{
	RstarLookup lookups[BATCH];
	RstarFinding findings[BATCH];
	RstarTally *tallies = palloc(BATCH * sizeof(RstarTally));
	bool		leased[BATCH];
	uint64		generation;

	for (int i = 0; i < n; i++)
		lookups[i] = held[i]->lookup;
	rstar_lookup_leased(lookups, n, leased, &generation);
	memset(findings, 0, sizeof(findings));
	for (int i = 0; i < n; i++)
	{
		RstarFinding *finding = &findings[i];

		finding->lookup = &held[i]->lookup;
		finding->found = leased[i] ? RSTAR_FOUND_ELSEWHERE : RSTAR_FOUND_KNOWN;
		finding->known = &tallies[i];
		finding->generation = generation;
	}
	if (!look_up(findings, n, tallies))
	{
		for (int i = 0; i < n; i++)
			findings[i].found = RSTAR_FOUND_ELSEWHERE;
	}
	rstar_lookup_found(findings, n);
	for (int i = 0; i < n; i++)
	{
		RstarFinding *finding = &findings[i];

		if (finding->outcome == RSTAR_LOOKED_UP_MORE)
			finding->regardless = now - held[i]->since >= RSTAR_ELSEWHERE_PATIENCE;
		if (finding->outcome == RSTAR_LOOKED_UP_MORE &&
			(finding->found == RSTAR_FOUND_KNOWN || finding->regardless))
		{
			finding->found = RSTAR_FOUND_OURS;
			rstar_lookup_found(finding, 1);
		}
		if (finding->outcome == RSTAR_LOOKED_UP_MORE)
			look_again(held[i], now);
		else
			pfree(held[i]);
	}
	pfree(tallies);
}

/* What cannot be read is not known; false: it is locked at the moment */
static bool
look_up(const RstarFinding *findings, int n, RstarTally *tallies)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool locked = false;

	memset(tallies, 0, n * sizeof(RstarTally));
	PG_TRY();
	{
		StartTransactionCommand();
		for (int i = 0; i < n; i++)
		{
			if (findings[i].found == RSTAR_FOUND_KNOWN)
				rstar_cache_lookup(&findings[i].lookup->key, &tallies[i]);
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		MemoryContextSwitchTo(old);
		locked = code == ERRCODE_LOCK_NOT_AVAILABLE || code == ERRCODE_QUERY_CANCELED;
		if (!locked)
		{
			HOLD_INTERRUPTS();
			EmitErrorReport();
			RESUME_INTERRUPTS();
		}
		FlushErrorState();
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return !locked;
}
