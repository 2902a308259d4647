/*-------------------------------------------------------------------------
 *
 * memo.h
 *		What a statement knows of its pairs, and what it waits for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MEMO_H
#define RSTAR_MEMO_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/timestamp.h"

#include "session/statement.h"
#include "shared/queue.h"

typedef enum RstarMemoState
{
	RSTAR_MEMO_NEW,				/* made, but then an error came in between */
	RSTAR_MEMO_PENDING,
	RSTAR_MEMO_VALUE,
	RSTAR_MEMO_FAILED
} RstarMemoState;

/* Calls that differ in these see different scores of a pair */
typedef struct RstarMemoKey
{
	RstarKey	key;
	uint16		samples;
	bool		zero;			/* replies without a score count as 0 */
	bool		fresh;			/* what was known does not count */
} RstarMemoKey;

/* What calls cost, for EXPLAIN ANALYZE.  Lives at least as long as the query. */
typedef struct RstarMemoStats
{
	int64		cached;			/* pairs whose answer was known */
	int64		joined;			/* pairs that wait for another's request */
	int64		sent;			/* pairs for which a request was queued */
	int64		samples;		/* scored samples received for those */
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		cached_tokens;	/* of the prompts' */
	int64		failures;		/* pairs that failed */
	int64		wait_us;		/* time the session waited for answers */
} RstarMemoStats;

typedef struct RstarMemoEntry
{
	RstarMemoKey key;
	RstarMemoState state;
	Oid			serverid;		/* whom it was asked of; InvalidOid: nobody
								 * yet */
	bool		lives;			/* false: it has been removed */
	bool		listed;			/* in statement->values: it may go */
	bool		explained;		/* the replies are to be kept */
	bool		warned;			/* its failure has been counted, or that ... */
	bool		shortened;		/* ... the model saw a part of the document */
	bool		awaited;		/* PENDING, and a refresh was stopped for it */
	bool		unmet;			/* since then no pass of it came here */
	int			aheads;			/* calls read ahead and not yet evaluated */
	int			held;			/* by sets of documents */
	RstarTally	tally;			/* VALUE */
	RstarResult *failure;		/* FAILED */
	RstarWaiter *waiter;		/* PENDING */
	uint32		cookie;			/* PENDING */
	RstarMemoStats *stats;		/* to be credited, or NULL */
	dlist_node	link;			/* in statement->pending or ->values */
} RstarMemoEntry;

/* What a pair is found by, for so many samples under the settings of now */
extern void rstar_memo_key(const RstarKey *pair, int samples, RstarMemoKey *key);

/* The entry of a pair, NEW when there was none */
extern RstarMemoEntry *rstar_memo_entry(RstarStatement *statement, const RstarMemoKey *key);

/*
 * Whether the entry that was found earlier in this statement is still that of
 * the key.  An entry that was removed may serve another key, but its memory
 * does not go before the statement ends.
 */
extern bool rstar_memo_is(const RstarMemoEntry *entry, const RstarMemoKey *key);

/*
 * The statement will have a PENDING entry, which its memo is to give up at the
 * end: makes the memo when there is none.
 */
extern void rstar_memo_prepare(RstarStatement *statement);

/*
 * A place for a waiter's cookie, in a statement that is prepared for it.  It is
 * not taken yet: between here and rstar_memo_pend() an error may come, and then
 * nothing is lost.
 */
extern uint32 rstar_memo_cookie(RstarStatement *statement);

/* The entry waits for this waiter, which was given this cookie */
extern void rstar_memo_pend(RstarStatement *statement, RstarMemoEntry *entry,
							RstarWaiter *waiter, uint32 cookie);

/*
 * A PENDING entry of which rstar_memo_wait_until() does not return before it
 * is not.  Others are left alone.
 */
extern void rstar_memo_await(RstarStatement *statement, RstarMemoEntry *entry);

/*
 * Moves what a PENDING entry waits for to a NEW one of another statement, which
 * is prepared for it.  Never raises.
 */
extern void rstar_memo_move(RstarStatement *from, RstarMemoEntry *entry,
							RstarStatement *to, RstarMemoEntry *twin);

/* A PENDING entry is NEW again, as if it had not been asked for.  Never raises. */
extern void rstar_memo_give_up(RstarStatement *statement, RstarMemoEntry *entry);

/* The entry has its result: VALUE or FAILED */
extern void rstar_memo_set(RstarStatement *statement, RstarMemoEntry *entry,
						   const RstarResult *result);

/* A call was read ahead: the entry stays until it has been evaluated */
extern void rstar_memo_keep(RstarMemoEntry *entry);

/* A call that was read ahead will not be evaluated */
extern void rstar_memo_forget(RstarStatement *statement, const RstarMemoKey *key);

/*
 * For a set of documents: takes the place of one call that was read ahead and
 * not yet evaluated.  Its entry, which stays until rstar_memo_let_go(); NULL
 * when there was no such call.
 */
extern RstarMemoEntry *rstar_memo_hold(RstarStatement *statement, const RstarMemoKey *key);
extern void rstar_memo_let_go(RstarStatement *statement, RstarMemoEntry *entry);

/*
 * The entry has been evaluated, or nothing came of it, and may go one day;
 * the oldest others go now when the memo outgrows work_mem.
 */
extern void rstar_memo_evaluated(RstarStatement *statement, RstarMemoEntry *entry);

/*
 * The entry has a result that nobody may come for: a VALUE that the cache
 * knows, too, may go one day.
 */
extern void rstar_memo_known(RstarStatement *statement, RstarMemoEntry *entry);

/* The mean of a VALUE */
extern double rstar_memo_score(const RstarMemoEntry *entry);

/* Takes what has been answered, for whichever statement of the session */
extern void rstar_memo_drain(void);

/*
 * Waits, interruptibly, until the entry is not PENDING, or until "deadline"
 * (0: none).  Then its request goes on, detached, and the entry has FAILED
 * with status DEADLINE.
 */
extern void rstar_memo_wait(RstarStatement *statement, RstarMemoEntry *entry,
							TimestampTz deadline);

/* Requests of its PENDING entries go on, also when the statement ends before */
extern void rstar_memo_keep_pending(RstarStatement *statement);

/*
 * Waits, interruptibly, until no more than "left" entries of the statement are
 * PENDING, and none that is awaited.
 */
extern void rstar_memo_wait_until(RstarStatement *statement, int left);

/*
 * Waits, interruptibly, after FULL with this ticket; false when "deadline"
 * (0: none) has passed.
 */
extern bool rstar_memo_wait_for_room(RstarStatement *statement, const RstarTicket *full,
									 TimestampTz deadline);

/* Keys of entries that have FAILED, so many at most, in no order; how many */
extern int	rstar_memo_failed_keys(const RstarStatement *statement, RstarKey *keys, int max);

/* How many entries have FAILED */
extern int64 rstar_memo_failed(const RstarStatement *statement);

#endif							/* RSTAR_MEMO_H */
