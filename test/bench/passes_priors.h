/*-------------------------------------------------------------------------
 *
 * passes_priors.h
 *		What priors are worth in simulated worlds.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASSES_PRIORS_H
#define PASSES_PRIORS_H

#include <stdbool.h>
#include <stdint.h>

#include "passes_play.h"

/* Ways to rank one query, with the same samples */
enum
{
	PRIORS_SIXTEEN,				/* the mean of 16 samples of each */
	PRIORS_ADAPTIVE,			/* without priors */
	PRIORS_ZERO,				/* with, and weight 0 */
	PRIORS_DEFAULT,				/* with the default weight, by trust */
	PRIORS_WRITTEN,				/* with the same weight, written */
	PRIORS_LEAN,				/* passes "lean", default weight */
	PRIORS_LEAN_WRITTEN,
	PRIORS_WAYS
};

/* What the priors of a world are */
typedef enum PriorsKind
{
	PRIORS_RETRIEVER,
	PRIORS_USELESS,
	PRIORS_REVERSED
} PriorsKind;

/* What came of one way */
typedef struct PriorsSums
{
	Sum			samples;
	Sum			rounds;
	Sum			ndcg;
	Sum			over_adaptive;	/* paired differences */
	Sum			over_sixteen;
	Sum			weight;
} PriorsSums;

typedef struct PriorsWorld
{
	const World *world;
	PriorsKind	kind;
	PriorsSums	ways[PRIORS_WAYS];
	int			differing;		/* queries that weight 0 ranks or samples
								 * otherwise */
} PriorsWorld;

/* Fills *result, of which world and kind are given */
extern void priors_simulate(PriorsWorld *result, int queries, uint64_t seed);

/* Prints all worlds; false when what is promised is not so */
extern bool priors_report(int queries, uint64_t seed);

#endif							/* PASSES_PRIORS_H */
