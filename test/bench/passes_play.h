/*-------------------------------------------------------------------------
 *
 * passes_play.h
 *		A policy of src/functions/passes.c, played with a simulated query.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASSES_PLAY_H
#define PASSES_PLAY_H

#include "functions/passes.h"

#include "passes_world.h"

#define TOP 10

/* Sums over queries of a value and of its square */
typedef struct Sum
{
	int			n;
	double		x;
	double		xx;
} Sum;

/* What a policy made of one query */
typedef struct Run
{
	int			order[CANDIDATES];
	int			samples;
	int			behind;			/* of these, those of the first TOP documents */
	int			rounds;
	int			scored;			/* documents */
	RstarPassesWeight weight;	/* of their priors */
	int			again;			/* samples that the same query would ask next time */
} Run;

typedef struct PlayOptions
{
	const double *priors;		/* in the retriever's order; NULL: none */
	double		weight;			/* of theirs */
	bool		trusting;		/* times the trust in them */
	bool		again;			/* what the query asks next time is counted */
} PlayOptions;

extern RstarPassesSpec play_parse(const char *text);

/* A caller's order that knows nothing */
extern void play_shuffle(Random *random, int *order);

extern void play_policy(const RstarPassesSpec *spec, const PlayOptions *options,
						const Query *query, const int *callers_order, Run *run);

/*
 * One round: gives each document what it is to have, of its drawn samples
 * but for the first "skip".  Returns how many samples were paid.
 */
extern int	play_round(RstarPasses *passes, const Query *query, const int *docs, int ndocs,
					   int skip, int *have);

/* Samples of the first TOP */
extern int	play_behind(const int *order, const int *have);

extern double play_ndcg(const Query *query, const int *order);

extern void sum_add(Sum *sum, double x);
extern double sum_mean(Sum sum);
extern double sum_se(Sum sum);

#endif							/* PASSES_PLAY_H */
