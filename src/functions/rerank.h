/*-------------------------------------------------------------------------
 *
 * rerank.h
 *		A set of documents, scored in passes and put in order.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RERANK_H
#define RSTAR_RERANK_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "functions/ranking.h"
#include "functions/set.h"
#include "session/statement.h"

struct RstarSet;
struct RstarSetIds;

/* How a set is to be ranked */
typedef struct RstarSetOptions
{
	int			top_n;			/* 0: all */
	const char *passes;			/* NULL: setting retrostar.passes, else so
								 * many samples of each as retrostar.samples
								 * says */
	TimestampTz deadline;		/* 0: setting retrostar.deadline */
	bool		has_priors;
	double		prior_weight;	/* NaN: setting retrostar.prior_weight, times
								 * the trust in the priors */
} RstarSetOptions;

/*
 * Begins a set in the current memory context, whose reset ends it and gives
 * up what it waits for.  "args" are the arguments of a call but for the
 * document; they are copied.  Sets of an owner (an Agg node; NULL: none) that
 * are in the same context go through their passes together.  What "ids" names
 * must know a document before it is added.  Raises an error
 * for a wrong specification.
 */
extern struct RstarSet *rstar_rerank_begin(const void *owner, const NullableDatum *args,
										   const RstarSetOptions *options,
										   const RstarSetIds *ids);

/* So many documents will come, all together: there is room for them at once */
extern void rstar_rerank_expect(struct RstarSet *set, int documents);

/*
 * Adds a document with its prior (finite, or NaN: none), and asks for its first
 * samples at once, unless only the best by prior are to be asked for.  It is
 * copied when "copy", else it must stay where it is.  A NULL document costs
 * nothing.
 */
extern void rstar_rerank_add(struct RstarSet *set, const NullableDatum *text, double prior,
							 bool copy);

/*
 * What a set without passes of its own asks for at first: so many samples of
 * so many documents (INT_MAX: all) that come first.
 */
extern void rstar_rerank_first_pass(int *samples, int *documents);

/* Raises an error when a set cannot have so many */
extern void rstar_rerank_check_documents(int64 documents);

/* The query that all documents of the set belong to (NULL: it was NULL) */
extern bool rstar_rerank_same_query(const struct RstarSet *set, const NullableDatum *query);

/*
 * What EXPLAIN shows of the priors of the statement's sets, as they finish.
 * Lives as long as the query.
 */
extern RstarPriorUse *rstar_rerank_prior_use(void);

/*
 * Goes through the passes, waiting where it has to, and returns the documents
 * in order, *n of them, top_n at most.  Other sets that go together with it go
 * on meanwhile.
 */
extern RstarRanked *rstar_rerank_finish(struct RstarSet *set, int *n);

#endif							/* RSTAR_RERANK_H */
