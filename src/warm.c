/*-------------------------------------------------------------------------
 *
 * warm.c
 *		Calls while a materialized view is refreshed by retrostar.refresh().
 *
 * Called by: score.c, rerank.c, statement.c, refresh.c.  Calls: score.c,
 * memo.c.
 *
 * While the cache is warmed, the view's query runs as often as is needed.  A
 * call whose score is not known asks for it, does not wait, and is NULL; a set
 * ends after the first round of which something is not known.  When the queue
 * is full the pass has done what it can: later calls look nothing up and are
 * NULL, too.
 *
 * What was asked for, and what came of it, is in the memo of the procedure's
 * own statement, which outlives passes and transactions: a pair that has
 * failed is not asked for again, and retrostar.request_limit counts the
 * samples of the whole refresh.  When the view itself is refreshed, calls
 * look there first.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "memo.h"
#include "statement.h"
#include "warm.h"

RstarWarm  *rstar_warm = NULL;

bool
rstar_warm_asks(void)
{
	return rstar_warm != NULL && rstar_warm->asks;
}

/*
 * Entries that may go when the memo outgrows work_mem are those that the cache
 * knows as well.  Of a failure nobody else knows, nor with retrostar.cache off
 * of a score: the next pass would ask again.
 */
bool
rstar_warm_ask(const RstarCall *call, const RstarKey *key, RstarText query, RstarText doc,
			   int samples, const RstarTally *have, bool explained, RstarTally *tally)
{
	RstarStatement *statement = rstar_warm->statement;
	RstarMemoEntry *entry;
	RstarMemoKey memo_key;
	bool		failed;

	rstar_warm->unknown = true;
	if (rstar_warm->full)
		return false;
	rstar_score_memo_key(&memo_key, key, samples);
	entry = rstar_memo_entry(statement, &memo_key);
	if (entry->state == RSTAR_MEMO_NEW)
	{
		entry->explained = explained;
		(void) rstar_score_fill(statement, call, entry, query, doc, have, false, 0);
	}
	if (entry->state == RSTAR_MEMO_NEW || entry->state == RSTAR_MEMO_PENDING)
		return false;
	rstar_warm->unknown = false;
	rstar_warm->known++;
	(void) rstar_score_outcome(statement, entry, call->server.name, &failed);
	if (failed)
		return false;
	*tally = entry->tally;
	if (!entry->key.fresh)
		rstar_memo_evaluated(statement, entry);
	return true;
}

double
rstar_warm_score(const RstarCall *call, const RstarKey *key, RstarText query, RstarText doc,
				 bool *isnull)
{
	RstarTally	tally;

	*isnull = !rstar_warm_ask(call, key, query, doc, call->samples, NULL, false, &tally);
	if (*isnull)
		return 0;
	return (double) tally.sum /
		(tally.scored + (rstar_unscored_reply == RSTAR_UNSCORED_ZERO ? tally.unscored : 0));
}

bool
rstar_warm_unknown(void)
{
	return rstar_warm_asks() && rstar_warm->unknown;
}

bool
rstar_warm_take(RstarStatement *statement, RstarMemoEntry *entry)
{
	const RstarMemoEntry *known;

	if (rstar_warm == NULL || rstar_warm->asks || rstar_warm->statement->memo == NULL)
		return false;
	known = hash_search(rstar_warm->statement->memo, &entry->key, HASH_FIND, NULL);
	if (known == NULL ||
		(known->state != RSTAR_MEMO_VALUE && known->state != RSTAR_MEMO_FAILED))
		return false;
	entry->state = known->state;
	entry->tally = known->tally;
	if (known->state == RSTAR_MEMO_FAILED)
	{
		entry->failure = MemoryContextAlloc(statement->context, sizeof(RstarResult));
		*entry->failure = *known->failure;
		/* The refresh warns at its end, of all pairs together */
		entry->warned = known->warned;
	}
	return true;
}

void
rstar_warm_sent(void)
{
	if (rstar_warm == NULL)
		return;
	rstar_warm->sent++;
	rstar_warm->asked++;
}

void
rstar_warm_full(const RstarSpec *spec)
{
	rstar_warm->full = true;
	rstar_warm->freed = spec->freed;
}
