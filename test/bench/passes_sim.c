/*-------------------------------------------------------------------------
 *
 * passes_sim.c
 *		What the policies of src/passes.c cost and keep, in a simulated world.
 *
 * Calls: src/passes.c, the file that ships.  See README for what is printed
 * and when the exit status is 1.
 *
 * A query has a pool of documents with a true score each.  The first 100 of
 * a noisy retriever are the candidates; a sample of one is its true score
 * plus noise.  All samples that any policy could ask for are drawn before,
 * so that policies see the same ones and their differences are better known
 * than their levels.
 *
 * The world's shape follows the scores that the Retro* paper shows; three
 * parameters (retriever's strength, share of hard negatives, noise) were
 * fitted by the study of adaptive sampling so that retriever, one sample and
 * 16 samples have the paper's nDCG@10 of 32.5, 36.6 and 38.7.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes.h"

#define POOL 500
#define CANDIDATES 100
#define TOP 10

/* Relevant documents: how many, found in the pool, misjudged by the scorer */
#define RELEVANT_MEAN 5.0
#define RELEVANT_MOST 60
#define RELEVANT_IN_POOL 0.85
#define RELEVANT_MISJUDGED 0.28

/* Hard negatives: fitted share of the others, its spread over queries */
#define HARD_SHARE 0.08017
#define HARD_MOST 0.9
#define HARD_LOG_SD 0.6

/* Retriever: fitted weight of relevance, weight of the true score */
#define RETRIEVER_RELEVANCE 1.1593
#define RETRIEVER_SCORE 0.5

/* A shift of all true scores of a query */
#define SHIFT_SD 5.0

/*
 * Noise of a sample: fitted standard deviation at score 50, what is left of
 * it at 0 and 100, spread over documents and queries, and its bounds
 */
#define NOISE_SD 7.203
#define NOISE_AT_ENDS 0.35
#define NOISE_LOG_SD_DOCUMENT 0.3
#define NOISE_LOG_SD_QUERY 0.25
#define NOISE_LEAST 0.45
#define NOISE_MOST 2.0

/* Share of the samples that the model rounds to a multiple of 5 */
#define ROUNDED 0.9

/* Most samples of one document: the reference draws 1 + 16 */
#define DRAWN 17

/*
 * What the study reports of "adaptive": share of the gain kept and its
 * standard error in percent, samples (as a whole number), over so many
 * queries
 */
#define STUDY_KEPT 95.7
#define STUDY_KEPT_SE 0.5
#define STUDY_SAMPLES 260.0
#define STUDY_QUERIES 200000.0

/* Sums over queries of a value and of its square */
typedef struct Sum
{
	double		x;
	double		xx;
} Sum;

typedef struct Random
{
	uint64_t	state;
} Random;

typedef struct Document
{
	double		score;			/* true one, before noise and rounding */
	double		attraction;		/* the retriever sorts by it */
	double		sd;				/* of the noise */
	bool		relevant;
} Document;

typedef struct Query
{
	int			nrelevant;		/* in the whole corpus */
	bool		relevant[CANDIDATES];	/* in the retriever's order */
	double		expected[CANDIDATES];	/* mean of infinitely many samples */
	int			drawn[CANDIDATES][DRAWN];
} Query;

/* What a policy made of one query */
typedef struct Run
{
	int			order[CANDIDATES];
	int			samples;
	int			rounds;
	int			again;			/* samples that the same query would ask next time */
} Run;

typedef struct Policy
{
	const char *name;
	const char *passes;			/* NULL: the reference's two passes */
	RstarPassesSpec spec;
	Sum			samples;
	Sum			rounds;
	Sum			again;
	Sum			ndcg;
	Sum			recall;
	Sum			exact;
	Sum			gain;			/* over one sample, of which ... */
	Sum			whole;			/* ... this is the gain of 16 */
	double		product;		/* of the two, summed */
} Policy;

/* The first two are what the others are compared with */
static const Policy policies[] = {
	{.name = "1", .passes = "1"},
	{.name = "16", .passes = "16"},
	{.name = "4", .passes = "4"},
	{.name = "reference 100@1, 30@16"},
	{.name = "100@1,30@16", .passes = "100@1,30@16"},
	{.name = "adaptive", .passes = "adaptive"},
	{.name = "adaptive:1,2,4,8", .passes = "adaptive:1,2,4,8"},
	{.name = "adaptive:1,2,4", .passes = "adaptive:1,2,4"},
	{.name = "members", .passes = "members"}
};

#define NPOLICIES ((int) (sizeof(policies) / sizeof(policies[0])))
#define ADAPTIVE 5

/* A table: the order in which a caller hands in documents breaks ties */
typedef struct Table
{
	const char *name;
	const char *title;
	bool		shuffled;
	Policy		policies[NPOLICIES];
} Table;

typedef struct Options
{
	int			queries;
	uint64_t	seed;
	bool		json;
} Options;

static Options options = {.queries = 20000, .seed = 1};

static void read_options(int argc, char **argv);
static void simulate(Table *tables, int ntables);
static void make_query(Query *query, Random *random);
static void make_pool(Document *pool, Query *query, Random *random);
static int	by_attraction(const void *a, const void *b);
static double expected_score(const Document *doc);
static double reaches(const Document *doc, double threshold);
static int	draw_sample(const Document *doc, Random *random);
static void measure(Table *table, const Query *query, const int *callers_order);
static void run_policy(const Policy *policy, const Query *query, const int *callers_order,
					   Run *run);
static void run_reference(const Policy *policy, const Query *query, const int *callers_order,
						  Run *run);
static int	ask_all(const RstarPassesSpec *spec, const Query *query, const int *docs, int ndocs,
					int skip, int *known, int *rounds, int *order);
static double ndcg(const Query *query, const int *order);
static int	found(const Query *query, const int *order);
static int	descending(const void *a, const void *b);
static void print_table(const Table *table);
static void print_json(const Table *tables, int ntables, bool ok);
static double kept(const Policy *policy, double *se);
static bool check_study(const Policy *policy);
static double kept_tolerance(const Policy *policy);
static double samples_tolerance(const Policy *policy);
static void add(Sum *sum, double x);
static double mean_of(Sum sum);
static double se_of(Sum sum);
static double uniform(Random *random);
static double normal(Random *random);
static double gamma_variate(Random *random, double shape);
static double beta_score(Random *random, double a, double b);

int
main(int argc, char **argv)
{
	static Table tables[] = {
		{.name = "arbitrary", .title = "ties broken arbitrarily, as in the study", .shuffled = true},
		{.name = "caller", .title = "ties broken by the retriever's order, as shipped"}
	};
	const Policy *adaptive = &tables[0].policies[ADAPTIVE];
	bool		ok;

	read_options(argc, argv);
	simulate(tables, 2);
	ok = check_study(adaptive);
	if (options.json)
	{
		print_json(tables, 2, ok);
		return !ok;
	}
	printf("%d queries, seed %llu\n", options.queries, (unsigned long long) options.seed);
	for (int i = 0; i < 2; i++)
		print_table(&tables[i]);
	printf("\nadaptive against the study: kept %.1f %% for %.1f +- %.1f, "
		   "samples %.1f for %.0f +- %.1f: %s\n",
		   kept(adaptive, NULL), STUDY_KEPT, kept_tolerance(adaptive),
		   mean_of(adaptive->samples), STUDY_SAMPLES, samples_tolerance(adaptive),
		   ok ? "ok" : "NOT REPRODUCED");
	return !ok;
}

static void
read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"queries", required_argument, NULL, 'q'},
		{"seed", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
	{
		if (c == 'q')
			options.queries = atoi(optarg);
		else if (c == 's')
			options.seed = strtoull(optarg, NULL, 10);
		else if (c == 'j')
			options.json = true;
		else
			options.queries = 0;
	}
	if (optind < argc || options.queries < 2)
	{
		fprintf(stderr, "usage: passes_sim [--queries N] [--seed N] [--json]\n");
		exit(2);
	}
}

static void
simulate(Table *tables, int ntables)
{
	for (int t = 0; t < ntables; t++)
		for (int i = 0; i < NPOLICIES; i++)
		{
			Policy	   *policy = &tables[t].policies[i];
			int			position;

			*policy = policies[i];
			if (policy->passes != NULL &&
				rstar_passes_parse(&policy->spec, policy->passes, strlen(policy->passes),
								   &position) != RSTAR_PASSES_OK)
				abort();
		}
	for (int q = 0; q < options.queries; q++)
	{
		/* far apart: a stream has 2^64 states, and each query draws some 10,000 */
		Random		random = {options.seed * 0x9e3779b97f4a7c15 + ((uint64_t) q << 24)};
		int			retrieved[CANDIDATES];
		int			shuffled[CANDIDATES];
		Query		query;

		make_query(&query, &random);
		for (int i = 0; i < CANDIDATES; i++)
		{
			int			j = (int) (uniform(&random) * (i + 1));

			retrieved[i] = i;
			shuffled[i] = shuffled[j];
			shuffled[j] = i;
		}
		for (int t = 0; t < ntables; t++)
			measure(&tables[t], &query, tables[t].shuffled ? shuffled : retrieved);
	}
}
