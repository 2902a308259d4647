/*-------------------------------------------------------------------------
 *
 * memo.c
 *		What a statement knows of its pairs, and what it waits for.
 *
 * Each pair that a statement asks for has an entry in the statement's memo:
 * PENDING while a request is under way, then a VALUE or FAILED.  Results come
 * out of the queue in the order of completion, with a cookie that leads to
 * the entry, whichever statement of this session it belongs to.
 *
 * An entry that was read ahead stays until its row has been evaluated; others
 * go, oldest first, when the memo outgrows work_mem.
 *
 * When a statement ends, its memo gives up what it still waits for, also of
 * entries that are in no memo: through a reset callback, so after an error, too.
 *
 * While a materialized view is refreshed, requests and results move between
 * the memos of several statements (warm.c).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/settings.h"
#include "session/memo.h"
#include "session/notice.h"
#include "shared/launch.h"
#include "shared/progress.h"

#define NO_COOKIE PG_UINT32_MAX
#define FIRST_COOKIES 256

/* Results that are taken together */
#define DRAIN_BATCH 32

/* Where a cookie leads to */
typedef struct Pending
{
	RstarStatement *statement;	/* NULL: free */
	RstarMemoEntry *entry;
	uint32		next_free;
} Pending;

/* The server whose answer has been taken last, and not looked at yet */
static Oid	answered_by = InvalidOid;

static Pending *pendings = NULL;
static uint32 npendings = 0;
static uint32 free_pending = NO_COOKIE;

static void memo_goes(void *arg);
static void remove_entry(RstarStatement *statement, RstarMemoEntry *entry);
static void free_cookie(uint32 cookie);
static void unpend(RstarStatement *statement, RstarMemoEntry *entry);
static void set_result(RstarStatement *statement, RstarMemoEntry *entry,
					   const RstarResult *result, RstarPlace from);
static void not_needed(RstarStatement *statement, RstarMemoEntry *entry);
static void list_value(RstarStatement *statement, RstarMemoEntry *entry);
static void unlist_value(RstarMemoEntry *entry);
static bool shorten(long *timeout, TimestampTz deadline);
static void look(RstarStatement *statement);
static void look_at_answer(void);
static void give_up(RstarStatement *statement, RstarMemoEntry *entry);

void
rstar_memo_key(const RstarKey *pair, int samples, RstarMemoKey *key)
{
	memset(key, 0, sizeof(RstarMemoKey));
	key->key = *pair;
	key->samples = samples;
	key->zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	key->fresh = !rstar_cache;
}

RstarMemoEntry *
rstar_memo_entry(RstarStatement *statement, const RstarMemoKey *key)
{
	RstarMemoEntry *entry;
	bool		found;

	rstar_memo_prepare(statement);
	entry = hash_search(statement->memo, key, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(RstarMemoKey), 0,
			   sizeof(RstarMemoEntry) - sizeof(RstarMemoKey));
		entry->lives = true;
	}
	return entry;
}

bool
rstar_memo_is(const RstarMemoEntry *entry, const RstarMemoKey *key)
{
	return entry->lives && memcmp(&entry->key, key, sizeof(RstarMemoKey)) == 0;
}

static void
remove_entry(RstarStatement *statement, RstarMemoEntry *entry)
{
	entry->lives = false;
	(void) hash_search(statement->memo, &entry->key, HASH_REMOVE, NULL);
}

void
rstar_memo_prepare(RstarStatement *statement)
{
	HASHCTL		control;
	MemoryContextCallback *callback;

	if (statement->memo != NULL)
		return;
	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(RstarMemoKey);
	control.entrysize = sizeof(RstarMemoEntry);
	control.hcxt = statement->context;
	callback = MemoryContextAlloc(statement->context, sizeof(MemoryContextCallback));
	statement->memo = hash_create("retrostar memo", 256, &control,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	/*
	 * Its memory goes before that of the context around it, and before its
	 * callbacks
	 */
	callback->func = memo_goes;
	callback->arg = statement;
	MemoryContextRegisterResetCallback(GetMemoryChunkContext(statement->memo), callback);
}

/* The entries still are where they were */
static void
memo_goes(void *arg)
{
	RstarStatement *statement = arg;
	bool		any = statement->npending > 0;

	while (!dlist_is_empty(&statement->pending))
	{
		RstarMemoEntry *entry = dlist_container(RstarMemoEntry, link,
												dlist_pop_head_node(&statement->pending));

		rstar_queue_release(entry->waiter);
		rstar_progress_moved(RSTAR_PLACE_PENDING, RSTAR_PLACE_NOT_AWAITED);
		free_cookie(entry->cookie);
	}
	statement->npending = 0;
	if (any)
		rstar_queue_released();
	statement->memo = NULL;
	dlist_init(&statement->values);
}

uint32
rstar_memo_cookie(RstarStatement *statement)
{
	rstar_memo_prepare(statement);
	if (free_pending == NO_COOKIE)
	{
		uint32		n = npendings == 0 ? FIRST_COOKIES : npendings * 2;

		if (pendings == NULL)
			pendings = MemoryContextAlloc(TopMemoryContext, n * sizeof(Pending));
		else
			pendings = repalloc_huge(pendings, n * sizeof(Pending));
		for (uint32 i = npendings; i < n; i++)
		{
			pendings[i].statement = NULL;
			pendings[i].entry = NULL;
			pendings[i].next_free = i + 1 < n ? i + 1 : NO_COOKIE;
		}
		free_pending = npendings;
		npendings = n;
	}
	return free_pending;
}

static void
free_cookie(uint32 cookie)
{
	pendings[cookie].statement = NULL;
	pendings[cookie].entry = NULL;
	pendings[cookie].next_free = free_pending;
	free_pending = cookie;
}

void
rstar_memo_pend(RstarStatement *statement, RstarMemoEntry *entry,
				RstarWaiter *waiter, uint32 cookie)
{
	Assert(cookie == free_pending && statement->memo != NULL);
	free_pending = pendings[cookie].next_free;
	pendings[cookie].statement = statement;
	pendings[cookie].entry = entry;
	unlist_value(entry);
	rstar_progress_moved(RSTAR_PLACE_LOOKED_FOR, RSTAR_PLACE_PENDING);
	entry->state = RSTAR_MEMO_PENDING;
	entry->waiter = waiter;
	entry->cookie = cookie;
	dlist_push_tail(&statement->pending, &entry->link);
	statement->npending++;
}

/* Its waiter has been released; it is as if it had not been asked for */
static void
unpend(RstarStatement *statement, RstarMemoEntry *entry)
{
	free_cookie(entry->cookie);
	dlist_delete(&entry->link);
	statement->npending--;
	statement->nawaited -= entry->awaited;
	entry->awaited = false;
	entry->state = RSTAR_MEMO_NEW;
	entry->waiter = NULL;
}

void
rstar_memo_await(RstarStatement *statement, RstarMemoEntry *entry)
{
	if (entry->state != RSTAR_MEMO_PENDING || entry->awaited)
		return;
	entry->awaited = true;
	statement->nawaited++;
}

void
rstar_memo_move(RstarStatement *from, RstarMemoEntry *entry, RstarStatement *to,
				RstarMemoEntry *twin)
{
	Assert(entry->state == RSTAR_MEMO_PENDING && twin->state == RSTAR_MEMO_NEW);
	Assert(to->memo != NULL);
	unlist_value(twin);
	twin->state = RSTAR_MEMO_PENDING;
	twin->serverid = entry->serverid;
	twin->waiter = entry->waiter;
	twin->cookie = entry->cookie;
	pendings[twin->cookie].statement = to;
	pendings[twin->cookie].entry = twin;
	dlist_delete(&entry->link);
	from->npending--;
	dlist_push_tail(&to->pending, &twin->link);
	to->npending++;
	from->nawaited -= entry->awaited;
	entry->awaited = false;
	entry->state = RSTAR_MEMO_NEW;
	entry->waiter = NULL;
	entry->stats = NULL;
}

void
rstar_memo_give_up(RstarStatement *statement, RstarMemoEntry *entry)
{
	rstar_queue_release(entry->waiter);
	rstar_queue_released();
	rstar_progress_moved(RSTAR_PLACE_PENDING, RSTAR_PLACE_NOT_AWAITED);
	unpend(statement, entry);
}

void
rstar_memo_set(RstarStatement *statement, RstarMemoEntry *entry, const RstarResult *result)
{
	set_result(statement, entry, result, RSTAR_PLACE_LOOKED_FOR);
}

static void
set_result(RstarStatement *statement, RstarMemoEntry *entry, const RstarResult *result,
		   RstarPlace from)
{
	int			n = rstar_tally_counted(&result->tally, entry->key.zero);
	bool		good = result->status == RSTAR_STATUS_OK && n > 0;

	statement->look_at = 0;
	if (from == RSTAR_PLACE_PENDING && result->new_samples > 0)
		answered_by = entry->serverid;
	rstar_progress_moved(from, good ? RSTAR_PLACE_DONE : RSTAR_PLACE_FAILED);
	if (entry->stats != NULL)
	{
		entry->stats->samples += result->new_samples;
		entry->stats->prompt_tokens += result->prompt_tokens;
		entry->stats->completion_tokens += result->completion_tokens;
		entry->stats->cached_tokens += result->cached_tokens;
		entry->stats->failures += result->status != RSTAR_STATUS_OK;
	}
	if (good)
	{
		entry->state = RSTAR_MEMO_VALUE;
		entry->tally = result->tally;
		entry->shortened = result->shortened;
	}
	else
	{
		entry->failure = MemoryContextAlloc(statement->context, sizeof(RstarResult));
		*entry->failure = *result;
		entry->state = RSTAR_MEMO_FAILED;
	}
	if (statement->warms && entry->key.samples > 0 && rstar_statement_keeper != NULL)
		rstar_statement_keeper->learn(entry);
	else if (statement->refreshes)
		rstar_memo_known(statement, entry);
}

void
rstar_memo_keep(RstarMemoEntry *entry)
{
	entry->aheads++;
	unlist_value(entry);
}

void
rstar_memo_forget(RstarStatement *statement, const RstarMemoKey *key)
{
	RstarMemoEntry *entry = NULL;

	if (statement->memo != NULL)
		entry = hash_search(statement->memo, key, HASH_FIND, NULL);
	if (entry == NULL || entry->aheads == 0 || --entry->aheads > 0 || entry->held > 0)
		return;
	if (entry->state != RSTAR_MEMO_PENDING)
	{
		not_needed(statement, entry);
		return;
	}
	/* or each pass would ask again */
	if (statement->warms && rstar_statement_in_pass())
		rstar_statement_keeper->keep(statement, entry);
	else
		rstar_memo_give_up(statement, entry);
	remove_entry(statement, entry);
}

RstarMemoEntry *
rstar_memo_hold(RstarStatement *statement, const RstarMemoKey *key)
{
	RstarMemoEntry *entry = NULL;

	if (statement->memo != NULL)
		entry = hash_search(statement->memo, key, HASH_FIND, NULL);
	if (entry == NULL || entry->state == RSTAR_MEMO_NEW || entry->aheads == 0)
		return NULL;
	entry->aheads--;
	entry->held++;
	return entry;
}

void
rstar_memo_let_go(RstarStatement *statement, RstarMemoEntry *entry)
{
	entry->held--;
	not_needed(statement, entry);
}

void
rstar_memo_evaluated(RstarStatement *statement, RstarMemoEntry *entry)
{
	if (entry->aheads > 0)
		entry->aheads--;
	not_needed(statement, entry);
}

/* One reason less to keep an entry that is not PENDING; others go now, not it */
static void
not_needed(RstarStatement *statement, RstarMemoEntry *entry)
{
	Size		entry_size = sizeof(RstarMemoEntry) + sizeof(HASHELEMENT);

	unlist_value(entry);
	while (hash_get_num_entries(statement->memo) * entry_size > work_mem * (Size) 1024)
	{
		RstarMemoEntry *oldest;

		if (dlist_is_empty(&statement->values))
			break;
		oldest = dlist_container(RstarMemoEntry, link, dlist_pop_head_node(&statement->values));
		if (oldest->failure)
			pfree(oldest->failure);
		remove_entry(statement, oldest);
	}
	if (entry->aheads == 0 && entry->held == 0)
		list_value(statement, entry);
}

void
rstar_memo_known(RstarStatement *statement, RstarMemoEntry *entry)
{
	unlist_value(entry);
	if (entry->state == RSTAR_MEMO_VALUE && !entry->key.fresh && !entry->unmet)
		not_needed(statement, entry);
}

double
rstar_memo_score(const RstarMemoEntry *entry)
{
	return (double) entry->tally.sum /
		rstar_tally_counted(&entry->tally, entry->key.zero);
}

/* Nothing keeps the entry */
static void
list_value(RstarStatement *statement, RstarMemoEntry *entry)
{
	if (!entry->listed)
		dlist_push_tail(&statement->values, &entry->link);
	entry->listed = true;
}

static void
unlist_value(RstarMemoEntry *entry)
{
	if (entry->listed)
		dlist_delete(&entry->link);
	entry->listed = false;
}

/* All of a batch are taken from the pending ones first: that cannot fail, and the rest may */
void
rstar_memo_drain(void)
{
	RstarTaken	taken[DRAIN_BATCH];
	Pending		whose[DRAIN_BATCH];
	bool		any = false;
	int			n;

	do
	{
		n = rstar_queue_next(taken, DRAIN_BATCH);
		for (int i = 0; i < n; i++)
		{
			uint32		cookie = taken[i].cookie;

			/* an error may have come before it was put down */
			memset(&whose[i], 0, sizeof(Pending));
			if (cookie < npendings && pendings[cookie].statement != NULL)
			{
				whose[i] = pendings[cookie];
				unpend(whose[i].statement, whose[i].entry);
				any = true;
			}
		}
		for (int i = 0; i < n; i++)
		{
			if (whose[i].entry != NULL)
				set_result(whose[i].statement, whose[i].entry, &taken[i].result,
						   RSTAR_PLACE_PENDING);
		}
	} while (n == DRAIN_BATCH);
	if (any)
		rstar_queue_released();
}

void
rstar_memo_wait(RstarStatement *statement, RstarMemoEntry *entry, TimestampTz deadline)
{
	instr_time	start;
	instr_time	waited;

	rstar_memo_drain();
	if (entry->state != RSTAR_MEMO_PENDING)
	{
		look_at_answer();
		return;
	}
	INSTR_TIME_SET_CURRENT(start);
	while (entry->state == RSTAR_MEMO_PENDING)
	{
		long		timeout = -1;

		if (!shorten(&timeout, deadline))
		{
			give_up(statement, entry);
			break;
		}
		timeout = rstar_launch_ensure();
		(void) shorten(&timeout, deadline);
		(void) shorten(&timeout, rstar_notice_due(statement));
		rstar_queue_wait(entry->waiter, NULL, timeout);
		rstar_memo_drain();
		if (entry->state == RSTAR_MEMO_PENDING)
			rstar_notice_look(statement, entry->serverid);
	}
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, start);
	if (entry->stats != NULL)
		entry->stats->wait_us += INSTR_TIME_GET_MICROSEC(waited);
	look_at_answer();
}

void
rstar_memo_keep_pending(RstarStatement *statement)
{
	dlist_iter	iter;

	dlist_foreach(iter, &statement->pending)
		rstar_queue_keep(dlist_container(RstarMemoEntry, link, iter.cur)->waiter);
}

/* The time is up; what was asked for goes on into the cache */
static void
give_up(RstarStatement *statement, RstarMemoEntry *entry)
{
	RstarResult result;

	rstar_queue_detach(entry->waiter, &result);
	rstar_queue_released();
	unpend(statement, entry);
	result.status = RSTAR_STATUS_DEADLINE;
	rstar_notice_reason(entry->serverid, statement->started, result.detail);
	set_result(statement, entry, &result, RSTAR_PLACE_PENDING);
}

/* A wait ends at the deadline; false when that has passed */
static bool
shorten(long *timeout, TimestampTz deadline)
{
	long		left;

	if (deadline == 0)
		return true;
	left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
	if (*timeout < 0 || left < *timeout)
		*timeout = Max(left, 0);
	return left > 0;
}

void
rstar_memo_wait_until(RstarStatement *statement, int left)
{
	rstar_memo_drain();
	while (statement->npending > left || statement->nawaited > 0)
	{
		long		timeout = rstar_launch_ensure();

		(void) shorten(&timeout, rstar_notice_due(statement));
		rstar_queue_wait(NULL, NULL, timeout);
		rstar_memo_drain();
		look(statement);
	}
	look_at_answer();
}

bool
rstar_memo_wait_for_room(RstarStatement *statement, const RstarTicket *full, TimestampTz deadline)
{
	long		timeout;

	timeout = rstar_launch_ensure();
	if (!shorten(&timeout, deadline))
		return false;
	(void) shorten(&timeout, rstar_notice_due(statement));
	rstar_queue_wait(NULL, full, timeout);
	rstar_memo_drain();
	look(statement);
	return true;
}

/* Of many that it waits for, the first speaks for all */
static void
look(RstarStatement *statement)
{
	/* Also where it waits for none: a look that is due must not stay so */
	rstar_notice_look(statement, dlist_is_empty(&statement->pending) ? InvalidOid :
					  dlist_head_element(RstarMemoEntry, link, &statement->pending)->serverid);
}

/* Of answers that were taken together, the last one speaks for all */
static void
look_at_answer(void)
{
	Oid			serverid = answered_by;

	answered_by = InvalidOid;
	if (OidIsValid(serverid))
		rstar_notice_dialect(serverid);
}

int
rstar_memo_failed_keys(const RstarStatement *statement, RstarKey *keys, int max)
{
	HASH_SEQ_STATUS status;
	const RstarMemoEntry *entry;
	int			n = 0;

	if (statement->memo == NULL)
		return 0;
	hash_seq_init(&status, statement->memo);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->state == RSTAR_MEMO_FAILED && n < max)
			keys[n++] = entry->key.key;
	}
	return n;
}

int64
rstar_memo_failed(const RstarStatement *statement)
{
	HASH_SEQ_STATUS status;
	const RstarMemoEntry *entry;
	int64		n = 0;

	if (statement->memo == NULL)
		return 0;
	hash_seq_init(&status, statement->memo);
	while ((entry = hash_seq_search(&status)) != NULL)
		n += entry->state == RSTAR_MEMO_FAILED;
	return n;
}
