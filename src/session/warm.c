/*-------------------------------------------------------------------------
 *
 * warm.c
 *		Calls while a materialized view is refreshed by retrostar.refresh().
 *
 * While the cache is warmed, the view's query runs as often as is needed, and
 * each time as it would in REFRESH MATERIALIZED VIEW, with one difference:
 * where a call would have to wait, the pass is stopped, by an error that
 * refresh.c knows.  No call ever gives another value than it would there, so
 * a pass asks for no pair that REFRESH would not ask for.
 *
 * What was asked for, and what came of it, is in the memo of the procedure's
 * own statement, which outlives passes and transactions.  A statement of a
 * pass, which has a memo of its own like any other, takes from there what it
 * looks for; what it still waits for when it ends goes there.  So nothing is
 * cancelled when a pass is stopped, a pair that has failed is not asked for
 * again, and retrostar.request_limit counts the samples of the whole refresh.
 * When the view itself is refreshed, calls look there, too.
 *
 * Of that memo entries go, oldest first, when it outgrows work_mem, if the
 * cache knows them as well.  Of a failure nobody else knows, nor with
 * retrostar.cache off of a score: the next pass would ask again.
 *
 * A query may ask for other pairs each time it runs.  What the last pass was
 * stopped for, this one has to come to; until then it may ask for MAX_EARLY
 * pairs: some, for rows may have changed in between.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "session/warm.h"
#include "shared/progress.h"

/* Pairs that a pass may send before it is known that it repeats the last one */
#define MAX_EARLY 6

/* Cancellations of a pass that functions may catch */
#define MAX_STOPS 1000

/* The refresh whose query runs now */
static RstarWarm *current = NULL;

/* Also found in an error that a procedural language has made of ours */
static const char stop_message[] = "retrostar.refresh() runs the query of the view again";

RSTAR_NORETURN static void stop(void);
static void keep_all(RstarStatement *statement);
static void keep(RstarStatement *statement, RstarMemoEntry *entry);
static void end_of_last(void);
static bool is_early(void);
static void meet(RstarMemoEntry *known);
static void learn(const RstarMemoEntry *entry);

void
rstar_warm_init(RstarWarm *warm, RstarStatement *statement)
{
	statement->refreshes = true;
	warm->keeper.statement = statement;
	warm->keeper.keep_all = keep_all;
	warm->keeper.keep = keep;
	warm->keeper.learn = learn;
}

void
rstar_warm_enter(RstarWarm *warm)
{
	current = warm;
	rstar_statement_keeper = warm != NULL ? &warm->keeper : NULL;
}

void
rstar_warm_begin_pass(RstarWarm *warm)
{
	warm->keeper.in_pass = true;
	warm->passes++;
	warm->stopped = warm->full = false;
	warm->stops = 0;
	warm->repeats = true;
	warm->asked = warm->early = warm->looked_at = 0;
}

void
rstar_warm_end_pass(RstarWarm *warm)
{
	warm->keeper.in_pass = false;
}

/*
 * A function of the view may have caught the error that stopped the pass, and
 * gone on, or made another one of it.
 */
bool
rstar_warm_was_stopped(const RstarWarm *warm, const ErrorData *error)
{
	if (!warm->stopped)
		return false;
	if (error == NULL || (error->message != NULL && strstr(error->message, stop_message) != NULL))
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return false;
		default:
			return true;
	}
}

void
rstar_warm_wait(RstarStatement *statement, RstarMemoEntry *entry, TimestampTz deadline)
{
	rstar_warm_check();
	if (rstar_statement_in_pass())
	{
		rstar_memo_drain();
		if (entry->state == RSTAR_MEMO_PENDING)
		{
			rstar_memo_await(statement, entry);
			stop();
		}
	}
	rstar_memo_wait(statement, entry, deadline);
}

/* The oldest request tells whether the next pass repeats this one */
bool
rstar_warm_wait_for_room(RstarStatement *statement, const RstarTicket *full, TimestampTz deadline)
{
	if (!rstar_statement_in_pass())
		return rstar_memo_wait_for_room(statement, full, deadline);
	if (!current->stopped && statement->npending > 0)
		rstar_memo_await(statement, dlist_head_element(RstarMemoEntry, link, &statement->pending));
	current->full = true;
	current->freed = full->freed;
	stop();
}

void
rstar_warm_stop(RstarStatement *statement)
{
	dlist_iter	iter;

	dlist_foreach(iter, &statement->pending)
		rstar_memo_await(statement, dlist_container(RstarMemoEntry, link, iter.cur));
	stop();
}

/*
 * As a cancellation, which EXCEPTION WHEN OTHERS does not catch.  A function
 * that catches it and tries again would do so for ever, hence another error
 * that OTHERS does not catch, in the end.  What is under way is handed over
 * here, for at the end of the subtransaction nothing can be allocated.
 */
static void
stop(void)
{
	if (!current->stopped)
	{
		current->stopped = true;
		rstar_progress_unwanted();
		end_of_last();
		rstar_statement_each(keep_all);
	}
	ereport(ERROR,
			(errcode(current->stops++ < MAX_STOPS ? ERRCODE_QUERY_CANCELED : ERRCODE_ASSERT_FAILURE),
			 errmsg_internal(stop_message)));
}

/* What the last pass waited for has served its purpose */
static void
end_of_last(void)
{
	RstarMemoEntry **unmet;
	RstarMemoEntry *known;
	HASH_SEQ_STATUS status;
	int			n = 0;

	current->repeats = current->unmet == 0;
	if (current->repeats)
		return;
	unmet = palloc(current->unmet * sizeof(RstarMemoEntry *));
	hash_seq_init(&status, current->keeper.statement->memo);
	while ((known = hash_seq_search(&status)) != NULL)
	{
		if (known->unmet)
			unmet[n++] = known;
	}
	/* Others may go from the memo now */
	while (n > 0)
		meet(unmet[--n]);
	pfree(unmet);
}

void
rstar_warm_check(void)
{
	if (rstar_statement_in_pass() && current->stopped)
		stop();
}

static void
keep_all(RstarStatement *statement)
{
	dlist_mutable_iter iter;

	if (!statement->warms)
		return;
	dlist_foreach_modify(iter, &statement->pending)
		keep(statement, dlist_container(RstarMemoEntry, link, iter.cur));
}

/* The procedure may have another waiter of the same request: of a set, or a call that explains */
static void
keep(RstarStatement *statement, RstarMemoEntry *entry)
{
	RstarStatement *mine = current->keeper.statement;
	RstarMemoEntry *known = rstar_memo_entry(mine, &entry->key);
	bool		awaited = entry->awaited;

	known->explained = entry->explained || (known->explained && known->state != RSTAR_MEMO_NEW);
	if (known->state == RSTAR_MEMO_NEW)
		rstar_memo_move(statement, entry, mine, known);
	else
		rstar_memo_give_up(statement, entry);
	if (!awaited)
		return;
	rstar_memo_await(mine, known);
	current->unmet += !known->unmet;
	known->unmet = true;
}

void
rstar_warm_may_send(RstarStatement *statement)
{
	if (rstar_statement_in_pass() && is_early() && current->early >= MAX_EARLY)
		rstar_warm_stop(statement);
}

/* The first pass has none to repeat; it matters if the second may not repeat it */
static bool
is_early(void)
{
	return current->unmet > 0 || (current->varies && current->passes == 1);
}

void
rstar_warm_sent(void)
{
	if (current == NULL)
		return;
	current->sent++;
	current->asked++;
	current->early += is_early();
}

bool
rstar_warm_take(RstarStatement *statement, RstarMemoEntry *entry)
{
	RstarMemoEntry *known;

	rstar_warm_check();
	if (current == NULL || statement == current->keeper.statement)
		return false;
	current->looked_at++;
	if (current->keeper.statement->memo == NULL)
		return false;
	known = hash_search(current->keeper.statement->memo, &entry->key, HASH_FIND, NULL);
	if (known == NULL || known->state == RSTAR_MEMO_NEW ||
		(known->state == RSTAR_MEMO_PENDING && entry->explained && !known->explained))
		return false;
	if (known->unmet)
		meet(known);
	if (known->state == RSTAR_MEMO_PENDING)
	{
		rstar_memo_prepare(statement);
		rstar_memo_move(current->keeper.statement, known, statement, entry);
		rstar_memo_evaluated(current->keeper.statement, known);
		return true;
	}
	entry->state = known->state;
	entry->tally = known->tally;
	entry->shortened = known->shortened;
	if (known->state == RSTAR_MEMO_FAILED)
	{
		entry->failure = MemoryContextAlloc(statement->context, sizeof(RstarResult));
		*entry->failure = *known->failure;
	}
	return true;
}

static void
meet(RstarMemoEntry *known)
{
	known->unmet = false;
	current->unmet--;
	rstar_memo_known(current->keeper.statement, known);
}

static void
learn(const RstarMemoEntry *entry)
{
	RstarStatement *mine = current->keeper.statement;
	RstarMemoEntry *known;

	if (!current->keeper.in_pass && entry->state != RSTAR_MEMO_FAILED)
		return;
	known = rstar_memo_entry(mine, &entry->key);
	if (known->state != RSTAR_MEMO_NEW)
		return;
	if (entry->state == RSTAR_MEMO_FAILED)
	{
		known->failure = MemoryContextAlloc(mine->context, sizeof(RstarResult));
		*known->failure = *entry->failure;
	}
	known->state = entry->state;
	known->tally = entry->tally;
	known->shortened = entry->shortened;
	rstar_memo_known(mine, known);
}
