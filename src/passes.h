/*-------------------------------------------------------------------------
 *
 * passes.h
 *		How many samples each document of a query gets, round by round.
 *
 * Pure state, no I/O, no PostgreSQL; works in memory of the caller's, never
 * allocates.  One state per query, nothing is shared between two of them.
 * Called by: rerank.c, test/unit, test/bench.
 *
 * The caller's loop:
 *
 *		rstar_passes_feed(...)			what is known already, if anything
 *		while (rstar_passes_next(passes) > 0)
 *			for each document with rstar_passes_target() > 0:
 *				bring it up to that many samples, all of them at once
 *			rstar_passes_feed(...)		what came of it
 *		rstar_passes_order(...)
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PASSES_H
#define RSTAR_PASSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Limits of a specification: bytes, passes or rounds, and the numbers in it */
#define RSTAR_PASSES_MAX_TEXT 256
#define RSTAR_PASSES_MAX_ROUNDS 16
#define RSTAR_PASSES_MAX_SAMPLES 64
#define RSTAR_PASSES_MAX_DOCUMENTS 1000000

/* Samples of one document at most; what is computed from them fits 64 bits */
#define RSTAR_PASSES_MAX_KNOWN (1 << 24)

/* What a specification looks like, as a hint for whoever wrote a wrong one */
#define RSTAR_PASSES_GRAMMAR \
	"Valid are a number of samples (\"16\"), passes of documents@samples " \
	"(\"100@1,30@16\"), \"adaptive\", \"adaptive\" with rounds of your own " \
	"(\"adaptive:1,2,4,8\") and \"members\"."

typedef enum RstarPassesKind
{
	RSTAR_PASSES_FIXED,			/* each pass keeps the best of the one before */
	RSTAR_PASSES_ADAPTIVE,		/* samples go where the first k are open */
	RSTAR_PASSES_MEMBERS		/* the same, but their order does not matter */
} RstarPassesKind;

/* One pass or round */
typedef struct RstarPassesRound
{
	int			documents;		/* FIXED: how many; INT_MAX: all */
	int			samples;		/* of each, those of earlier rounds included */
} RstarPassesRound;

/* A specification, parsed */
typedef struct RstarPassesSpec
{
	RstarPassesKind kind;
	int			nrounds;
	RstarPassesRound rounds[RSTAR_PASSES_MAX_ROUNDS];
} RstarPassesSpec;

typedef enum RstarPassesCode
{
	RSTAR_PASSES_OK,
	RSTAR_PASSES_EMPTY,
	RSTAR_PASSES_TEXT_TOO_LONG,
	RSTAR_PASSES_UNKNOWN_WORD,
	RSTAR_PASSES_NO_NUMBER,		/* something else stands where one belongs */
	RSTAR_PASSES_BAD_SAMPLES,	/* out of range */
	RSTAR_PASSES_BAD_DOCUMENTS,
	RSTAR_PASSES_TOO_MANY,		/* passes or rounds */
	RSTAR_PASSES_MORE_DOCUMENTS,	/* than in the pass before */
	RSTAR_PASSES_NO_MORE_SAMPLES,	/* than in the pass or round before */
	RSTAR_PASSES_NO_DOCUMENTS,	/* "16,30": a list, but a pass has no "@" */
	RSTAR_PASSES_TRAILING		/* a whole specification, then something else */
} RstarPassesCode;

/*
 * Parses a specification of "len" bytes, which need not end in NUL.  Unless
 * the result is OK, *spec is undefined and *position is the byte (from 0; all
 * before it are ASCII) where the text goes wrong.
 */
extern RstarPassesCode rstar_passes_parse(RstarPassesSpec *spec, const char *text,
										  size_t len, int *position);

/* The rule that was broken, as a sentence; a constant */
extern const char *rstar_passes_reason(RstarPassesCode code);

/* One query's documents and where they stand */
typedef struct RstarPasses RstarPasses;

/* What is known of one document, all samples so far together */
typedef struct RstarPassesKnown
{
	int			samples;		/* scored ones; a reply without a score is none */
	int64_t		sum;			/* of their scores, 0..100 each */
	int64_t		sum_squares;
	bool		failed;			/* for good: is not asked again */
} RstarPassesKnown;

/* Bytes that a query with so many documents (0 or more) needs */
extern size_t rstar_passes_size(int ndocs);

/*
 * Makes a query's state in "memory", which holds rstar_passes_size(ndocs)
 * bytes, aligned as malloc aligns, and is the caller's to free.  Documents
 * are named 0..ndocs-1 in the caller's order, which breaks ties.  "top_n" is
 * how many results are wanted, 0 when all are.
 */
extern RstarPasses *rstar_passes_create(void *memory, const RstarPassesSpec *spec,
										int ndocs, int top_n);

/*
 * Says what is known of a document: totals, which replace what was said
 * before.  False, and nothing is changed, when no samples could add up to
 * that.
 *
 * All that is known may be said at any time, and counts.  But samples change
 * the choice of who is asked, so a query that comes again would ask for some
 * more.  A caller that knows samples one by one can have the same choice as
 * the first time, and ask for nothing: it says no more of a document than
 * its first rstar_passes_target() samples, and the rest after the last round.
 */
extern bool rstar_passes_feed(RstarPasses *passes, int doc,
							  const RstarPassesKnown *known);

/*
 * Begins the next round in which something is to be asked and returns the
 * number of documents it concerns; 0 when there is no such round (any more).
 */
extern int	rstar_passes_next(RstarPasses *passes);

/*
 * Samples that the document should have at the end of this round, those it
 * has included; 0: it is left alone.
 */
extern int	rstar_passes_target(const RstarPasses *passes, int doc);

/*
 * Writes the documents, best first, as they stand: by mean, ties in the
 * caller's order, then those without a sample in the caller's order.  "order"
 * has room for all of them.
 */
extern void rstar_passes_order(RstarPasses *passes, int *order);

/* The mean of a document's samples; false when it has none */
extern bool rstar_passes_score(const RstarPasses *passes, int doc, double *score);

#endif							/* RSTAR_PASSES_H */
