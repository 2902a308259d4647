/*-------------------------------------------------------------------------
 *
 * score.h
 *		Pairs become scores: the one place that puts memo, map, cache table
 *		and queue together.
 *
 * Called by: functions.c, scan.c, rerank.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SCORE_H
#define RSTAR_SCORE_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "prompt.h"
#include "queue.h"

/* Positions of retro_star_score's arguments; explain and prefetch share them */
enum
{
	RSTAR_ARG_QUERY,
	RSTAR_ARG_DOC,
	RSTAR_ARG_TASK,
	RSTAR_ARG_RELEVANCE_DEFINITION,
	RSTAR_ARG_QUERY_TYPE,
	RSTAR_ARG_DOC_TYPE,
	RSTAR_ARG_SAMPLES,
	RSTAR_ARG_SERVER,
	RSTAR_NARGS
};

/* What calls cost, for EXPLAIN ANALYZE.  Lives at least as long as the query. */
typedef struct RstarScoreStats
{
	int64		cached;			/* pairs whose answer was known */
	int64		joined;			/* pairs that wait for another's request */
	int64		sent;			/* pairs for which a request was queued */
	int64		samples;		/* scored samples received for those */
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		failures;		/* pairs that failed */
	int64		wait_us;		/* time the session waited for answers */
} RstarScoreStats;

/* One call read ahead: what rstar_score_announce() needs */
typedef struct RstarAhead
{
	RstarKey	key;
	struct RstarMemoEntry *entry;	/* where it was then; see rstar_memo_is() */
	Datum		query;			/* the argument values it was computed from */
	Datum		doc;
	uint64		call;			/* fingerprint of the other arguments */
	int			samples;		/* that the call asks for */
	bool		valid;
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

struct RstarCall;
struct RstarMemoEntry;
struct RstarMemoKey;
struct RstarStatement;

/*
 * For a set of documents: asks for so many samples of one pair, those that
 * are known included, and does not wait.  The entry is allocated in the
 * statement's context and is the caller's to wait for (rstar_memo_wait) and,
 * when it is not PENDING, to free; NULL when retrostar.on_miss is "skip" and
 * the samples are not known.  "have" (or NULL): samples that count also when
 * retrostar.cache is off.  May block while the queue is full, until "until"
 * (0: as long as it takes), and then the entry has FAILED with DEADLINE.
 */
extern struct RstarMemoEntry *rstar_score_submit(struct RstarStatement *statement,
												 const struct RstarCall *call,
												 const RstarKey *key,
												 RstarText query, RstarText doc,
												 int samples, const RstarTally *have,
												 TimestampTz until);

/* The memo's key of a pair, for so many samples under the settings of now */
extern void rstar_score_memo_key(struct RstarMemoKey *memo_key, const RstarKey *key,
								 int samples);

/*
 * The key of a pair whose query and doc are these very Datums, if it has been
 * announced; else false.
 */
extern bool rstar_score_announced(const struct RstarStatement *statement,
								  const struct RstarCall *call,
								  Datum query, Datum doc, RstarKey *key);

/*
 * For warm.c.  Fills a new entry: with a score that is known, or with a
 * request that it waits for.  NONE, and the entry stays RSTAR_MEMO_NEW: the
 * score is not known and on_miss is "skip", or it was not to be waited for
 * (the cache is warmed) and the queue is full.
 */
extern RstarSubmitted rstar_score_fill(struct RstarStatement *statement,
									   const struct RstarCall *call,
									   struct RstarMemoEntry *entry,
									   RstarText query, RstarText doc,
									   const RstarTally *have, bool ahead, TimestampTz until);

/*
 * The score of an entry that is not PENDING; of a FAILED one NULL, counted for
 * the statement's warning, or an error, as retrostar.on_error says.
 */
extern double rstar_score_outcome(struct RstarStatement *statement,
								  struct RstarMemoEntry *entry,
								  const char *server, bool *isnull);

/*
 * The score of a pair for retro_star_explain(): the replies to what it asks
 * for are kept.  *tally: the samples behind the score, none when it failed or
 * is not to be asked for.  Waits, and raises errors, as rstar_score_get().
 */
extern void rstar_score_explain(struct RstarStatement *statement,
								const struct RstarCall *call, const RstarKey *key,
								RstarText query, RstarText doc, RstarTally *tally);

/* Raises an error when the library was not preloaded */
extern void rstar_score_require_preload(void);

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
							  RstarScoreStats *stats, RstarAhead *ahead);

/*
 * Tells the calls that are evaluated next which pairs they will ask for: a
 * call whose query and doc are these very Datums takes the key from here and
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
