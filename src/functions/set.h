/*-------------------------------------------------------------------------
 *
 * set.h
 *		What a set of documents is, and how one of them is asked for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SET_H
#define RSTAR_SET_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/timestamp.h"

#include "functions/passes.h"
#include "session/memo.h"
#include "session/pair.h"

/*
 * As RstarTally, in less than half of its size: there are as many as documents, and
 * most of them have few samples.
 */
typedef struct RstarSetTally
{
	int64		sum;
	int			scored;
	int			unscored;
	int			nscores;
	union
	{
		uint8		few[8];		/* the scores, if they fit in here ... */
		uint8	   *many;		/* ... else the set's memory for all */
	}			scores;
} RstarSetTally;

/* One document of a set */
typedef struct RstarSetDoc
{
	Datum		text;
	bool		isnull;
	bool		failed;			/* for good: it is not asked again */
	bool		shortened;		/* the model did not see all of it */
	bool		held;			/* the entry is the memo's, read ahead */
	bool		early;			/* the entry was taken before the round's end */
	int			first;			/* the first document of the same key, or
								 * itself */
	RstarKey	key;
	uint64		prefix;			/* hash of what it has of server and task */
	RstarMemoEntry *entry;		/* asked for, not yet taken */
	int			asked;			/* samples that the entry is for */
	int			pass;			/* the last that it took part in */
	double		prior;			/* NaN: none */
	RstarSetTally tally;		/* what is known */
} RstarSetDoc;

/* What its documents are called by who made the set */
typedef struct RstarSetIds
{
	Oid			type;
	const void *holder;
	NullableDatum (*of) (const void *holder, int doc);
} RstarSetIds;

typedef struct RstarSet
{
	dlist_node	link;			/* in statement->sets until no round is left */
	MemoryContext context;
	const void *owner;
	RstarSetIds ids;
	RstarStatement *statement;
	NullableDatum args[RSTAR_NARGS];
	RstarPassesSpec spec;
	int			top_n;			/* 0: all */
	TimestampTz deadline;
	bool		late;			/* the deadline has passed */
	double		weight;			/* of the priors; 0: they are not looked at */
	bool		trusting;		/* it is to be multiplied by the trust in them */
	RstarSetDoc *docs;
	int			ndocs;
	int			maxdocs;
	int			ntaken;			/* the documents before this one are taken, or
								 * it is too early for them */
	struct keys_hash *keys;		/* the first document of each key; rerank.c */
	RstarPasses *passes;		/* once no document comes any more */
	double	   *places;			/* of the priors; NULL: none, or all alike */
	int		   *order;			/* documents that passes.c knows of */
	int			norder;
	bool		in_round;		/* entries are to be waited for */
} RstarSet;

/*
 * Leaves those that go together.  The statement may have ended before, and
 * then it has let go of the set.
 */
extern void rstar_set_leave(RstarSet *set);

/* Once it has passed the set does not ask for any more documents */
extern bool rstar_set_past_deadline(RstarSet *set);

/* The document's texts, with the key that is known of it */
extern RstarPair rstar_set_pair(const RstarSet *set, const RstarCall *call,
								const RstarSetDoc *doc);

/* Asks for so many samples of a document, those it has included */
extern void rstar_set_ask(RstarSet *set, RstarSetDoc *doc, int samples);

/* Takes what came of that, waiting for it */
extern void rstar_set_take(RstarSet *set, RstarSetDoc *doc);

/*
 * Takes what has come already, of the documents in turn, so that not all of it
 * has to lie there until the round has ended.  What has failed is left to that.
 */
extern void rstar_set_take_early(RstarSet *set);

/* How many samples count */
extern int	rstar_set_samples(const RstarSetDoc *doc);

/* The scores that are known one by one, tally.nscores of them */
extern const uint8 *rstar_set_scores(const RstarSetDoc *doc);

#endif							/* RSTAR_SET_H */
