/*-------------------------------------------------------------------------
 *
 * passes_world.h
 *		The world in which passes_sim.c lets documents be reranked.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASSES_WORLD_H
#define PASSES_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#define CANDIDATES 100

/* Most samples of one document: the reference draws 1 + 16 */
#define DRAWN 17

/*
 * What a world is like; those of the study of priors differ in what retriever
 * and scorer get wrong together, and in the collections of BRIGHT
 */
typedef struct World
{
	const char *name;
	double		retriever_relevance;	/* weights of what the retriever sees: */
	double		retriever_score;	/* relevance and true score */
	double		hard_share;		/* of hard negatives among the others */
	double		noise_sd;		/* of a sample, at score 50 */
	double		relevant_misjudged; /* share of the relevant, by the scorer */
	double		relevant_mean;	/* relevant documents of a query ... */
	double		relevant_in_pool;	/* ... and the share that can be found */
} World;

#define WORLD_NAMED 4			/* then one for each collection of BRIGHT */
#define WORLDS 16
extern const World worlds[WORLDS];

/* The world of the study of adaptive sampling */
#define WORLD_BASE (&worlds[0])

typedef struct Random
{
	uint64_t	state;
} Random;

typedef struct Query
{
	int			nrelevant;		/* in the whole corpus */
	bool		relevant[CANDIDATES];	/* in the retriever's order */
	double		prior[CANDIDATES];	/* by which the retriever sorts */
	double		noise[CANDIDATES];	/* one that knows nothing */
	double		expected[CANDIDATES];	/* mean of infinitely many samples; if
										 * it was asked for */
	int			drawn[CANDIDATES][DRAWN];
} Query;

/* Draws a query, its candidates and their samples; "noise": times the fitted one */
extern void world_make_query(const World *world, Query *query, Random *random, double noise,
							 bool expect);

extern uint64_t world_mix(uint64_t x);

/* Between 0 and 1, neither of them */
extern double world_uniform(Random *random);

#endif							/* PASSES_WORLD_H */
