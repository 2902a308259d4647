/*-------------------------------------------------------------------------
 *
 * passes.h
 *		How many samples each document of a query gets, round by round.
 *
 * Pure state, no I/O, no PostgreSQL; works in memory of the caller's, never
 * allocates.  One state per query, nothing is shared between two of them.
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

#include "functions/passes_spec.h"
#include "functions/prior.h"

/*
 * How many results matter when the caller wants all: the ones that people
 * look at, and for which the adaptive rule was measured (nDCG@10).  Getting the
 * order of all right would mean to sample all fully.
 */
#define RSTAR_PASSES_K 10

/* Samples of one document at most; what is computed from them fits 64 bits */
#define RSTAR_PASSES_MAX_KNOWN (1 << 24)

/* One query's documents and where they stand */
typedef struct RstarPasses RstarPasses;

/* What is known of one document, all samples so far together */
typedef struct RstarPassesKnown
{
	int			samples;		/* scored ones; a reply without a score is
								 * none */
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
 * Before the first round: the documents have priors, which weigh so much (0 to
 * 1; at 0 they are not looked at), or that times the trust that the first round
 * finds in them.
 */
extern void rstar_passes_weigh(RstarPasses *passes, double weight, bool trusting);

/* Where a document's prior lies (see prior.h) */
extern void rstar_passes_prior(RstarPasses *passes, int doc, double place);

/* What became of the weight; known when rstar_passes_next() has returned 0 */
typedef struct RstarPassesWeight
{
	double		weight;			/* that counts; 0: no priors, or no trust */
	double		trust;
	double		correlation;	/* of priors and scores of the first round ... */
	int			documents;		/* ... over so many */
} RstarPassesWeight;

extern const RstarPassesWeight *rstar_passes_weight(const RstarPasses *passes);

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
 * The last pass that the document took part in, from 1; 0: none yet, or it is
 * not to be asked at all.  With rules other than FIXED all that take part are in
 * the first.
 */
extern int	rstar_passes_reached(const RstarPasses *passes, int doc);

/* How many standard errors a document may be away from the bar, and be open */
extern double rstar_passes_z(const RstarPassesSpec *spec);

/*
 * Writes the documents, best first, as they stand: who got into a later pass,
 * then by mean, with what its prior adds, ties by prior and then in the caller's
 * order; at the end those without a sample, by prior, then in the caller's
 * order.  "order" has room for all of them.
 */
extern void rstar_passes_order(RstarPasses *passes, int *order);

/* The mean of a document's samples; false when it has none */
extern bool rstar_passes_score(const RstarPasses *passes, int doc, double *score);

#endif							/* RSTAR_PASSES_H */
