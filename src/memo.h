/*-------------------------------------------------------------------------
 *
 * memo.h
 *		What a statement knows of its pairs, and what it waits for.
 *
 * Called by: score.c, rerank.c, statement.c.
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

#include "queue.h"
#include "score.h"
#include "statement.h"

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

typedef struct RstarMemoEntry
{
	RstarMemoKey key;
	RstarMemoState state;
	bool		lives;			/* false: it has been removed */
	bool		listed;			/* in statement->values: it may go */
	bool		explained;		/* the replies are to be kept */
	bool		warned;			/* its failure has been counted, or that ... */
	bool		shortened;		/* ... the model saw a part of the document */
	int			aheads;			/* calls read ahead and not yet evaluated */
	int			held;			/* by sets of documents */
	RstarTally	tally;			/* VALUE */
	RstarResult *failure;		/* FAILED */
	RstarWaiter *waiter;		/* PENDING */
	uint32		cookie;			/* PENDING */
	RstarScoreStats *stats;		/* to be credited, or NULL */
	dlist_node	link;			/* in statement->pending or ->values */
} RstarMemoEntry;

/* The entry of a pair, NEW when there was none */
extern RstarMemoEntry *rstar_memo_entry(RstarStatement *statement, const RstarMemoKey *key);

/*
 * Whether the entry that was found earlier in this statement is still that of
 * the key.  An entry that was removed may serve another key, but its memory
 * does not go before the statement ends.
 */
extern bool rstar_memo_is(const RstarMemoEntry *entry, const RstarMemoKey *key);

/*
 * A place for a waiter's cookie.  It is not taken yet: between here and
 * rstar_memo_pend() an error may come, and then nothing is lost.
 */
extern uint32 rstar_memo_cookie(void);

/* The entry waits for this waiter, which was given this cookie */
extern void rstar_memo_pend(RstarStatement *statement, RstarMemoEntry *entry,
							RstarWaiter *waiter, uint32 cookie);

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

/* The mean of a VALUE */
extern double rstar_memo_score(const RstarMemoEntry *entry);

/*
 * Waits, interruptibly, until the entry is not PENDING, or until "deadline"
 * (0: none).  Then its request goes on, detached, and the entry has FAILED
 * with status DEADLINE.
 */
extern void rstar_memo_wait(RstarStatement *statement, RstarMemoEntry *entry,
							TimestampTz deadline);

/*
 * Waits, interruptibly, until no more than "left" entries of the statement are
 * PENDING.
 */
extern void rstar_memo_wait_until(RstarStatement *statement, int left);

/*
 * Waits, interruptibly, after FULL for this spec; false when "deadline"
 * (0: none) has passed.
 */
extern bool rstar_memo_wait_for_room(const RstarSpec *spec, TimestampTz deadline);

/* How many entries have FAILED */
extern int64 rstar_memo_failed(const RstarStatement *statement);

/* At the end of a statement: gives up what it waits for.  Never raises. */
extern void rstar_memo_release(RstarStatement *statement);

#endif							/* RSTAR_MEMO_H */
