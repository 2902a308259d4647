/*-------------------------------------------------------------------------
 *
 * passes_world.c
 *		The world in which passes_sim.c lets documents be reranked.
 *
 * Its shape follows the scores that the Retro* paper shows; three parameters
 * (retriever's strength, share of hard negatives, noise) were fitted by the
 * study of adaptive sampling so that retriever, one sample and 16 samples have
 * the paper's nDCG@10 of 32.5, 36.6 and 38.7.  In "indep", "shared" and "agree"
 * the retriever makes none, more and most of the scorer's mistakes, refitted to
 * the same numbers.  The collections of BRIGHT are fitted to theirs, in
 * the retriever's strength and one difficulty of the scorer, which moves hard
 * negatives and misjudged documents together.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>

#include "passes_world.h"

#define POOL 500

/* name, relevance, score, hard share, noise, misjudged, relevant, of these in the pool */
const World worlds[WORLDS] = {
	{"base", 1.1593, 0.5, 0.08017, 7.203, 0.28, 5, 0.85},
	{"shared", 0.7583, 0.85, 0.05885, 6.437, 0.28, 5, 0.85},
	{"agree", 0.4666, 1.2, 0.05472, 6.066, 0.28, 5, 0.85},
	{"indep", 1.9143, 0, 0.23229, 7.124, 0.28, 5, 0.85},
	{"biology", 0.8120, 0.85, 0.01663, 7.2, 0.0665, 3.6, 0.85},
	{"earth science", 0.7378, 0.85, 0.02085, 7.2, 0.0834, 5.3, 0.85},
	{"economics", 0.6131, 0.85, 0.07630, 7.2, 0.3052, 8, 0.7},
	{"psychology", 0.6026, 0.85, 0.04754, 7.2, 0.1902, 7.3, 0.85},
	{"robotics", 0.5843, 0.85, 0.06524, 7.2, 0.2610, 5.5, 0.7},
	{"stackoverflow", 0.6367, 0.85, 0.06263, 7.2, 0.2505, 7, 0.7},
	{"sustainable living", 0.5767, 0.85, 0.05354, 7.2, 0.2142, 5.6, 0.8},
	{"leetcode", 1.5502, 0.85, 0.11800, 7.2, 0.4720, 1.8, 0.85},
	{"pony", 0.3419, 0.85, 0.12442, 7.2, 0.4977, 22.5, 0.6},
	{"aops", 0.5869, 0.85, 0.13243, 7.2, 0.5297, 4.7, 0.4},
	{"theoremqa questions", 0.8193, 0.85, 0.05158, 7.2, 0.2063, 3.2, 0.85},
	{"theoremqa theorems", 1.2104, 0.85, 0.03021, 7.2, 0.1209, 2, 0.85}
};

#define RELEVANT_MOST 60

/* Hard negatives: most of the others that are, spread over queries */
#define HARD_MOST 0.9
#define HARD_LOG_SD 0.6

/* A shift of all true scores of a query */
#define SHIFT_SD 5.0

/*
 * Noise of a sample: what is left at 0 and 100 of the standard deviation at
 * 50, spread over documents and queries, and its bounds
 */
#define NOISE_AT_ENDS 0.35
#define NOISE_LOG_SD_DOCUMENT 0.3
#define NOISE_LOG_SD_QUERY 0.25
#define NOISE_LEAST 0.45
#define NOISE_MOST 2.0

/* Share of the samples that the model rounds to a multiple of 5 */
#define ROUNDED 0.9

typedef struct Document
{
	double		score;			/* true one, before noise and rounding */
	double		attraction;		/* the retriever sorts by it */
	double		sd;				/* of the noise */
	bool		relevant;
} Document;

static void make_pool(const World *world, Document *pool, int *nrelevant, Random *random,
					  double noise);
static int	by_attraction(const void *a, const void *b);
static int	draw_sample(const Document *doc, Random *random);
static double expected_score(const Document *doc);
static double reaches(const Document *doc, double threshold);
static double normal(Random *random);
static double gamma_variate(Random *random, double shape);
static double beta_score(Random *random, double a, double b);

void
world_make_query(const World *world, Query *query, Random *random, double noise, bool expect)
{
	Document	pool[POOL];
	Random		apart;

	make_pool(world, pool, &query->nrelevant, random, noise);
	qsort(pool, POOL, sizeof(Document), by_attraction);
	for (int i = 0; i < CANDIDATES; i++)
	{
		query->relevant[i] = pool[i].relevant;
		query->prior[i] = pool[i].attraction;
		query->expected[i] = expect ? expected_score(&pool[i]) : 0;
		for (int j = 0; j < DRAWN; j++)
			query->drawn[i][j] = draw_sample(&pool[i], random);
	}
	apart.state = world_mix(random->state);
	for (int i = 0; i < CANDIDATES; i++)
		query->noise[i] = normal(&apart);
}

static void
make_pool(const World *world, Document *pool, int *nrelevant, Random *random, double noise)
{
	double		shift = SHIFT_SD * normal(random);
	double		query_noise = NOISE_LOG_SD_QUERY * normal(random);
	double		hard = world->hard_share * exp(HARD_LOG_SD * normal(random) - HARD_LOG_SD * HARD_LOG_SD / 2);
	double		more = log(world_uniform(random)) / log(1 - 1 / world->relevant_mean);
	int			in_pool = 0;

	/* one, and a geometric number more */
	*nrelevant = more > RELEVANT_MOST - 1 ? RELEVANT_MOST : 1 + (int) more;
	for (int i = 0; i < *nrelevant; i++)
		in_pool += world_uniform(random) < world->relevant_in_pool;

	for (int i = 0; i < POOL; i++)
	{
		Document   *doc = &pool[i];
		double		score;
		double		middle;
		double		factor;

		doc->relevant = i < in_pool;
		if (doc->relevant)
			score = world_uniform(random) < world->relevant_misjudged ?
				beta_score(random, 1.6, 2.6) : beta_score(random, 7, 2.6);
		else
			score = world_uniform(random) < fmin(hard, HARD_MOST) ?
				beta_score(random, 2.8, 2.6) : beta_score(random, 1.3, 6);
		score += shift;
		doc->attraction = world->retriever_relevance * doc->relevant +
			world->retriever_score * (score - 30) / 25 + normal(random);
		doc->score = fmin(fmax(score, 1), 99);

		middle = sqrt(4 * doc->score / 100 * (1 - doc->score / 100));	/* 1 at score 50 */
		factor = exp(NOISE_LOG_SD_DOCUMENT * normal(random) + query_noise);
		doc->sd = noise * world->noise_sd * (NOISE_AT_ENDS + (1 - NOISE_AT_ENDS) * middle) *
			fmin(fmax(factor, NOISE_LEAST), NOISE_MOST);
	}
}

static int
by_attraction(const void *a, const void *b)
{
	double		x = ((const Document *) a)->attraction;
	double		y = ((const Document *) b)->attraction;

	return (x < y) - (x > y);
}

static int
draw_sample(const Document *doc, Random *random)
{
	double		score = doc->score + doc->sd * normal(random);
	int			whole = (int) floor(fmin(fmax(score, 0), 100) + 0.5);

	return world_uniform(random) < ROUNDED ? (whole + 2) / 5 * 5 : whole;
}

/*
 * The mean of what draw_sample returns.  A sample is at least v when the
 * score is at least v - 0.5, or v - 2.5 where it goes by fives.
 */
static double
expected_score(const Document *doc)
{
	double		by_ones = 0;
	double		by_fives = 0;

	for (int v = 1; v <= 100; v++)
		by_ones += reaches(doc, v - 0.5);
	for (int v = 5; v <= 100; v += 5)
		by_fives += 5 * reaches(doc, v - 2.5);
	return ROUNDED * by_fives + (1 - ROUNDED) * by_ones;
}

/* The probability that a score with its noise reaches a threshold */
static double
reaches(const Document *doc, double threshold)
{
	double		z = (threshold - doc->score) / doc->sd;

	if (fabs(z) > 6)
		return z < 0;
	return 0.5 * erfc(z * M_SQRT1_2);
}

/* Random numbers: splitmix64, Box and Muller, Marsaglia and Tsang */

uint64_t
world_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

double
world_uniform(Random *random)
{
	random->state += 0x9e3779b97f4a7c15;
	return ((double) (world_mix(random->state) >> 11) + 0.5) / 9007199254740992.0;
}

static double
normal(Random *random)
{
	double		radius = sqrt(-2 * log(world_uniform(random)));

	return radius * cos(2 * M_PI * world_uniform(random));
}

/* For shapes of at least one */
static double
gamma_variate(Random *random, double shape)
{
	double		d = shape - 1.0 / 3;
	double		c = 1 / sqrt(9 * d);

	for (;;)
	{
		double		x = normal(random);
		double		v = pow(1 + c * x, 3);

		if (v > 0 && log(world_uniform(random)) < 0.5 * x * x + d - d * v + d * log(v))
			return d * v;
	}
}

static double
beta_score(Random *random, double a, double b)
{
	double		x = gamma_variate(random, a);

	return 100 * x / (x + gamma_variate(random, b));
}
