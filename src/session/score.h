/*-------------------------------------------------------------------------
 *
 * score.h
 *		Pairs become scores: what the statement knows, or else asks for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SCORE_H
#define RSTAR_SCORE_H

#include "postgres.h"

#include "session/memo.h"
#include "session/pair.h"

/* One call read ahead: what rstar_score_announce() needs */
typedef struct RstarAhead
{
	RstarKey	key;
	RstarMemoEntry *entry;		/* where it was then; see rstar_memo_is() */
	Datum		query;			/* the argument values it was computed from,
								 * or (the query) a copy */
	Datum		doc;
	uint64		call;			/* fingerprint of the other arguments */
	int			samples;		/* that the call asks for */
	bool		fails;			/* the call raises an error, if it is
								 * evaluated */
	bool		valid;
	bool		copied;			/* "query" is such a copy: its owner's, never
								 * set here */
} RstarAhead;

/*
 * The score of one call, arguments evaluated: 0..100, or *isnull.  Waits for
 * the model when it has to, interruptibly.  Raises coded errors as
 * retrostar.on_error and the arguments demand.
 */
extern double rstar_score_get(const NullableDatum *args, bool *isnull);

/*
 * Submits a pair as a detached request and returns at once; true when its
 * score is known already.  May block, interruptibly, while the queue is full.
 */
extern bool rstar_score_prefetch(const NullableDatum *args, bool *isnull);

/*
 * The key of a pair whose doc is this very Datum, with the same query, if it has
 * been announced; else false.
 */
extern bool rstar_score_announced(const RstarStatement *statement, const RstarCall *call,
								  Datum query, Datum doc, RstarKey *key);

/* So many pairs are expected of a part of the running statement, for its progress */
extern void rstar_score_expected(double pairs);

/*
 * The score of a pair for retro_star_explain(): the replies to what it asks
 * for are kept.  *tally: the samples behind the score, none when it failed or
 * is not to be asked for.  Waits, and raises errors, as rstar_score_get().
 */
extern void rstar_score_explain(RstarStatement *statement, const RstarPair *pair,
								RstarTally *tally);

/*
 * Submits the pair of one call, arguments evaluated, and returns without
 * waiting: true when its answer is still to come.  It asks for "samples" of
 * it, or for as many as the call says (0).  Strict arguments that are NULL
 * give ahead->valid = false.  "stats"
 * (may be NULL) is credited now and when the answer is read.  "query" and
 * "doc" may be toasted; they must stay where they are until the call ran or
 * the ahead is forgotten.  May block, interruptibly, while the queue is full.
 */
extern bool rstar_score_ahead(const NullableDatum *args, int samples,
							  RstarMemoStats *stats, RstarAhead *ahead);

/*
 * Tells the calls that are evaluated next which pairs they will ask for: a
 * call whose doc is this very Datum, with the same query, takes the key from here and
 * neither detoasts nor hashes.  Replaces what was announced before; n = 0
 * clears.  The array must stay valid until then.
 */
extern void rstar_score_announce(const RstarAhead *aheads, int n);

/*
 * These calls will not be evaluated after all: what the statement waits for on
 * behalf of nothing else is given up.  Those not valid are skipped.
 */
extern void rstar_score_forget(const RstarAhead *aheads, int n);

#endif							/* RSTAR_SCORE_H */
