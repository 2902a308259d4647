/*-------------------------------------------------------------------------
 *
 * passes_sim.c
 *		What the policies of src/functions/passes.c cost and keep, in a simulated world.
 *
 * Calls: src/functions/passes.c, the file that ships.  See README.md for what is printed
 * and when the exit status is 1.
 *
 * A query has a pool of documents with a true score each.  The first 100 of
 * a noisy retriever are the candidates; a sample of one is its true score
 * plus noise.  All samples that any policy could ask for are drawn before,
 * so that policies see the same ones and their differences are better known
 * than their levels.
 *
 * What the world is like is told in passes_world.c.  With --priors the worlds of
 * passes_priors.c take its place.
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

#include "passes_play.h"
#include "passes_priors.h"
#include "passes_world.h"

/*
 * What the study reports of "adaptive": share of the gain kept and its
 * standard error in percent, samples (as a whole number), over so many
 * queries
 */
#define STUDY_KEPT 95.7
#define STUDY_KEPT_SE 0.5
#define STUDY_SAMPLES 260.0
#define STUDY_QUERIES 200000.0

typedef struct Policy
{
	const char *name;
	const char *passes;			/* NULL: the reference's two passes */
	RstarPassesSpec spec;
	Sum			samples;
	Sum			behind;
	Sum			rounds;
	Sum			again;
	Sum			ndcg;
	Sum			recall;
	Sum			exact;
	Sum			gain;			/* over one sample, of which ... */
	Sum			whole;			/* ... this is the gain of 16 */
	double		product;		/* of the two, summed */
} Policy;

/* The constants below are places in this list */
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
#define ONE 0
#define SIXTEEN 1
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
	double		noise;			/* so many times the fitted one */
	bool		json;
	bool		priors;
} Options;

static Options options = {.queries = 20000, .seed = 1, .noise = 1};

static void read_options(int argc, char **argv);
static void simulate(Table *tables, int ntables);
static void measure(Table *table, const Query *query, const int *callers_order);
static void run_reference(const Query *query, const int *callers_order, Run *run);
static int	found(const Query *query, const int *order);
static int	descending(const void *a, const void *b);
static void print_table(const Table *table);
static void print_json(const Table *tables, int ntables, bool ok);
static double kept(const Policy *policy, double *se);
static bool check_study(const Policy *policy);
static double kept_tolerance(const Policy *policy);
static double samples_tolerance(const Policy *policy);

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
	if (options.priors)
		return !priors_report(options.queries, options.seed);
	simulate(tables, 2);
	ok = options.noise != 1 || check_study(adaptive);
	if (options.json)
	{
		print_json(tables, 2, ok);
		return !ok;
	}
	printf("%d queries, seed %llu, noise x %g\n", options.queries,
		   (unsigned long long) options.seed, options.noise);
	for (int i = 0; i < 2; i++)
		print_table(&tables[i]);
	if (options.noise != 1)
		return 0;
	printf("\nadaptive against the study: kept %.1f %% for %.1f +- %.1f, "
		   "samples %.1f for %.0f +- %.1f: %s\n",
		   kept(adaptive, NULL), STUDY_KEPT, kept_tolerance(adaptive),
		   sum_mean(adaptive->samples), STUDY_SAMPLES, samples_tolerance(adaptive),
		   ok ? "ok" : "NOT REPRODUCED");
	return !ok;
}

static void
read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"queries", required_argument, NULL, 'q'},
		{"seed", required_argument, NULL, 's'},
		{"noise", required_argument, NULL, 'n'},
		{"json", no_argument, NULL, 'j'},
		{"priors", no_argument, NULL, 'p'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
	{
		if (c == 'q')
			options.queries = atoi(optarg);
		else if (c == 's')
			options.seed = strtoull(optarg, NULL, 10);
		else if (c == 'n')
			options.noise = atof(optarg);
		else if (c == 'j')
			options.json = true;
		else if (c == 'p')
			options.priors = true;
		else
			options.queries = 0;
	}
	if (optind < argc || options.queries < 2 || options.noise <= 0 ||
		(options.priors && (options.json || options.noise != 1)))
	{
		fprintf(stderr, "usage: passes_sim [--queries N] [--seed N] [--noise TIMES] [--json]\n"
				"       passes_sim --priors [--queries N] [--seed N]\n");
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

			*policy = policies[i];
			if (policy->passes != NULL)
				policy->spec = play_parse(policy->passes);
		}
	for (int q = 0; q < options.queries; q++)
	{
		Random		random = {world_mix(world_mix(options.seed) + (uint64_t) q)};
		int			retrieved[CANDIDATES];
		int			shuffled[CANDIDATES];
		Query		query;

		world_make_query(WORLD_BASE, &query, &random, options.noise, true);
		for (int i = 0; i < CANDIDATES; i++)
			retrieved[i] = i;
		play_shuffle(&random, shuffled);
		for (int t = 0; t < ntables; t++)
			measure(&tables[t], &query, tables[t].shuffled ? shuffled : retrieved);
	}
}

/* What a policy makes of it */

static void
measure(Table *table, const Query *query, const int *callers_order)
{
	static const PlayOptions as_told = {.again = true};
	double		points[NPOLICIES];

	for (int i = 0; i < NPOLICIES; i++)
	{
		Policy	   *policy = &table->policies[i];
		int			hits;
		Run			run;

		if (policy->passes != NULL)
			play_policy(&policy->spec, &as_told, query, callers_order, &run);
		else
			run_reference(query, callers_order, &run);
		points[i] = play_ndcg(query, run.order);
		hits = found(query, run.order);
		sum_add(&policy->samples, run.samples);
		sum_add(&policy->behind, run.behind);
		sum_add(&policy->rounds, run.rounds);
		sum_add(&policy->again, run.again);
		sum_add(&policy->ndcg, points[i]);
		sum_add(&policy->recall, 100.0 * hits / TOP);
		sum_add(&policy->exact, hits == TOP ? 100 : 0);
	}
	for (int i = 0; i < NPOLICIES; i++)
	{
		double		gain = points[i] - points[ONE];
		double		whole = points[SIXTEEN] - points[ONE];

		sum_add(&table->policies[i].gain, gain);
		sum_add(&table->policies[i].whole, whole);
		table->policies[i].product += gain * whole;
	}
}

/* The reference: the best 30 by one sample, in the order of 16 other ones */
static void
run_reference(const Query *query, const int *callers_order, Run *run)
{
	RstarPassesSpec one = play_parse("1");
	RstarPassesSpec sixteen = play_parse("16");
	void	   *memory = malloc(rstar_passes_size(CANDIDATES));
	RstarPasses *passes = rstar_passes_create(memory, &one, CANDIDATES, 0);
	int			have[CANDIDATES] = {0};
	int			order[CANDIDATES];
	bool		best[CANDIDATES] = {false};
	int			docs[30];
	int			ndocs = 0;

	memset(run, 0, sizeof(Run));
	run->rounds = 2;
	run->samples = play_round(passes, query, callers_order, CANDIDATES, 0, have);
	rstar_passes_order(passes, order);
	for (int i = 0; i < CANDIDATES; i++)
	{
		run->order[i] = callers_order[order[i]];
		best[order[i]] = i < 30;
	}
	for (int i = 0; i < CANDIDATES; i++)
		if (best[i])
			docs[ndocs++] = callers_order[i];

	memset(have, 0, sizeof(have));
	passes = rstar_passes_create(memory, &sixteen, ndocs, 0);
	run->samples += play_round(passes, query, docs, ndocs, 1, have);
	rstar_passes_order(passes, order);
	run->behind = play_behind(order, have);
	for (int i = 0; i < ndocs; i++)
		run->order[i] = docs[order[i]];
	free(memory);
}

/* Measures */

/* How many of the first ten belong there by their expected score */
static int
found(const Query *query, const int *order)
{
	double		sorted[CANDIDATES];
	int			hits = 0;

	memcpy(sorted, query->expected, sizeof(sorted));
	qsort(sorted, CANDIDATES, sizeof(double), descending);
	for (int i = 0; i < TOP; i++)
		hits += query->expected[order[i]] >= sorted[TOP - 1];
	return hits;
}

static int
descending(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x < y) - (x > y);
}

/*
 * The share of the gain of 16 samples over one, in percent.  Its standard
 * error is that of a ratio of two means over the same queries.
 */
static double
kept(const Policy *policy, double *se)
{
	double		n = options.queries;
	double		whole = sum_mean(policy->whole);
	double		share = sum_mean(policy->gain) / whole;
	double		residual = policy->gain.xx / n - 2 * share * policy->product / n +
		share * share * policy->whole.xx / n;

	if (se != NULL)
		*se = 100 * sqrt(fmax(residual, 0) / n) / fabs(whole);
	return 100 * share;
}

static bool
check_study(const Policy *policy)
{
	return fabs(kept(policy, NULL) - STUDY_KEPT) <= kept_tolerance(policy) &&
		fabs(sum_mean(policy->samples) - STUDY_SAMPLES) <= samples_tolerance(policy);
}

/* Two standard errors of the difference between this run and the study */
static double
kept_tolerance(const Policy *policy)
{
	double		se;

	(void) kept(policy, &se);
	return 2 * sqrt(se * se + STUDY_KEPT_SE * STUDY_KEPT_SE);
}

/*
 * The study gives a whole number and no error: that of rounding, and that of
 * as many queries as it had with the spread that is seen here
 */
static double
samples_tolerance(const Policy *policy)
{
	double		se = sum_se(policy->samples);
	double		study = se * se * options.queries / STUDY_QUERIES;

	return 2 * sqrt(se * se + study + 1.0 / 12);
}

/* Output */

static void
print_table(const Table *table)
{
	printf("\n%s\n%-24s %15s %6s %6s %15s %14s %14s %13s %6s\n", table->title, "passes", "samples",
		   "top 10", "rounds", "nDCG@10", "kept %", "recall %", "exact %", "again");
	for (int i = 0; i < NPOLICIES; i++)
	{
		const Policy *policy = &table->policies[i];
		double		se;
		double		share = kept(policy, &se);

		printf("%-24s %7.1f +- %4.2f %6.1f %6.2f %6.2f +- %5.3f %6.1f +- %4.2f %6.2f +- %4.2f "
			   "%5.1f +- %4.1f", policy->name, sum_mean(policy->samples), sum_se(policy->samples),
			   sum_mean(policy->behind), sum_mean(policy->rounds), sum_mean(policy->ndcg),
			   sum_se(policy->ndcg), share, se, sum_mean(policy->recall), sum_se(policy->recall),
			   sum_mean(policy->exact), sum_se(policy->exact));
		if (policy->passes != NULL)
			printf(" %6.1f\n", sum_mean(policy->again));
		else
			printf(" %6s\n", "-");
	}
}

static void
print_json(const Table *tables, int ntables, bool ok)
{
	const Policy *adaptive = &tables[0].policies[ADAPTIVE];

	printf("{\"queries\": %d, \"seed\": %llu, \"noise\": %g, \"ties\": {", options.queries,
		   (unsigned long long) options.seed, options.noise);
	for (int t = 0; t < ntables; t++)
	{
		printf("%s\n \"%s\": [", t ? "," : "", tables[t].name);
		for (int i = 0; i < NPOLICIES; i++)
		{
			const Policy *policy = &tables[t].policies[i];
			double		se;
			double		share = kept(policy, &se);

			printf("%s\n  {\"passes\": \"%s\", \"samples\": %.3f, \"samples_se\": %.3f, "
				   "\"top_10\": %.3f, \"rounds\": %.3f, \"ndcg\": %.4f, \"ndcg_se\": %.4f, "
				   "\"kept\": %.3f, \"kept_se\": %.3f, \"recall\": %.3f, \"recall_se\": %.3f, "
				   "\"exact\": %.2f, \"exact_se\": %.2f, \"again\": ",
				   i ? "," : "", policy->name, sum_mean(policy->samples), sum_se(policy->samples),
				   sum_mean(policy->behind), sum_mean(policy->rounds), sum_mean(policy->ndcg),
				   sum_se(policy->ndcg), share, se, sum_mean(policy->recall), sum_se(policy->recall),
				   sum_mean(policy->exact), sum_se(policy->exact));
			if (policy->passes != NULL)
				printf("%.3f}", sum_mean(policy->again));
			else
				printf("null}");
		}
		printf("]");
	}
	printf("},\n \"study\": {\"kept\": %.1f, \"kept_tolerance\": %.3f, \"samples\": %.0f, "
		   "\"samples_tolerance\": %.3f},\n \"ok\": %s}\n", STUDY_KEPT,
		   kept_tolerance(adaptive), STUDY_SAMPLES, samples_tolerance(adaptive),
		   ok ? "true" : "false");
}
