/*-------------------------------------------------------------------------
 *
 * ask.h
 *		One pair is looked up, and asked for when it is not known.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ASK_H
#define RSTAR_ASK_H

#include "postgres.h"

#include "session/memo.h"
#include "session/pair.h"

/* How a pair is asked for; all zeroes: by a call that is made now */
typedef struct RstarWish
{
	const RstarTally *have;		/* samples that count also when
								 * retrostar.cache is off, or NULL */
	TimestampTz until;			/* for room in the queue, too; 0: as long as
								 * it takes */
	bool		ahead;			/* the call has not been made yet */
	bool		explained;		/* the replies are kept */
} RstarWish;

/* Setting retrostar.deadline, from the statement's first call on; 0: none */
extern TimestampTz rstar_ask_deadline(const RstarStatement *statement);

/*
 * Fills a NEW entry of the pair, whose key says for how many samples: with
 * what is known, or with a request that it waits for.  Does not wait but,
 * interruptibly, while the queue is full; if that lasts until wish->until the
 * entry has FAILED with DEADLINE.  NONE, and the entry stays NEW: the score is
 * not known and retrostar.on_miss is "skip", or there is no room for what is
 * made ahead.  Raises an error at retrostar.request_limit.
 */
extern RstarSubmitted rstar_ask(RstarStatement *statement, const RstarPair *pair,
								const RstarWish *wish, RstarMemoEntry *entry);

/*
 * The same with an entry of its own, in no memo.  It is allocated in the
 * statement's context and is the caller's to wait for (rstar_warm_wait) and,
 * when it is not PENDING, to free.  NULL when nothing came of it.
 */
extern RstarMemoEntry *rstar_ask_apart(RstarStatement *statement, const RstarPair *pair,
									   int samples, const RstarWish *wish);

/* Frees such an entry */
extern void rstar_ask_free(RstarMemoEntry *entry);

/*
 * Asks for the pair with a request that goes on although nobody waits for it.
 * DONE comes with the result, also of what failed before it was sent.  May
 * block, interruptibly, while the queue is full.
 */
extern RstarSubmitted rstar_ask_detached(RstarStatement *statement, const RstarPair *pair,
										 RstarResult *result);

#endif							/* RSTAR_ASK_H */
