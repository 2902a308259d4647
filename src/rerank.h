/*-------------------------------------------------------------------------
 *
 * rerank.h
 *		A set of documents, scored in passes and put in order.
 *
 * Called by: functions.c (set form), aggregate.c, scan.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RERANK_H
#define RSTAR_RERANK_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "score.h"

typedef struct RstarSet RstarSet;

/* One document in its place */
typedef struct RstarRanked
{
	int			doc;			/* number in the order of rstar_rerank_add */
	bool		scored;
	double		score;
	int			samples;		/* with a score, behind it */
} RstarRanked;

/*
 * Begins a set in the current memory context, whose reset ends it and gives
 * up what it waits for.  "args" are the arguments of a call but for the
 * document; they are copied.  "passes" NULL: setting retrostar.passes, else
 * so many samples of each as retrostar.samples says.  "top_n" 0: all.
 * "deadline" 0: setting retrostar.deadline.  Sets of an owner (an Agg node; NULL: none) that are in
 * the same context go through their passes together.  Raises an error for a wrong specification.
 */
extern RstarSet *rstar_rerank_begin(const void *owner, const NullableDatum *args,
									int top_n, const char *passes,
									TimestampTz deadline);

/*
 * Adds a document, and asks for its first samples at once.  It is copied when
 * "copy", else it must stay where it is.  A NULL document costs nothing.
 */
extern void rstar_rerank_add(RstarSet *set, Datum doc, bool isnull, bool copy);

/*
 * What a set without passes of its own asks for at first: so many samples of
 * so many documents (INT_MAX: all) that come first.
 */
extern void rstar_rerank_first_pass(int *samples, int *documents);

/* Raises an error when a set cannot have so many */
extern void rstar_rerank_check_documents(int64 documents);

/* Raises an error unless it is positive */
extern void rstar_rerank_check_top_n(int top_n);

/* The query that all documents of the set belong to (NULL: it was NULL) */
extern bool rstar_rerank_same_query(const RstarSet *set, const NullableDatum *query);

/*
 * Goes through the passes, waiting where it has to, and returns the documents
 * in order, best first, those without a score last; *n of them, top_n at most.
 * Other sets that go together with it go on meanwhile.
 */
extern RstarRanked *rstar_rerank_finish(RstarSet *set, int *n);

#endif							/* RSTAR_RERANK_H */
