/*-------------------------------------------------------------------------
 *
 * passes_priors.c
 *		What priors are worth in simulated worlds.
 *
 * Documents are handed in shuffled, so that what the retriever knows comes in
 * by priors only.  See README.md for what is printed and what is promised.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "passes_priors.h"

/* As retrostar.prior_weight */
#define WEIGHT 0.2

/* What is promised */
#define LEAN_SAMPLES 95.0
#define LEAN_GAIN 1.0
#define LEAN_LEAST 0.7			/* in any single collection */
#define WORST_LOSS 0.3

static const struct
{
	const char *name;
	const char *passes;
	double		weight;
	bool		trusting;
}			ways[PRIORS_WAYS] = {
	[PRIORS_SIXTEEN] = {"16", "16", 0, false},
	[PRIORS_ADAPTIVE] = {"adaptive", "adaptive", 0, false},
	[PRIORS_ZERO] = {"adaptive, weight 0", "adaptive", 0, false},
	[PRIORS_DEFAULT] = {"adaptive, priors", "adaptive", WEIGHT, true},
	[PRIORS_WRITTEN] = {"adaptive, weight 0.2", "adaptive", WEIGHT, false},
	[PRIORS_LEAN] = {"lean, priors", "lean", WEIGHT, true},
	[PRIORS_LEAN_WRITTEN] = {"lean, weight 0.2", "lean", WEIGHT, false}
};

/* The collections of BRIGHT together, each as much as any other */
typedef struct Collections
{
	int			n;
	double		samples;		/* sums of means */
	double		gain;			/* of lean over 16 samples of each ... */
	double		variance;		/* ... and of squared standard errors */
	double		least;
	char		name[64];		/* where that is */
} Collections;

static void play(PriorsWorld *result, const Query *query, const int *order);
static const char *name_of(const PriorsWorld *result);
static void print_world(const PriorsWorld *result);
static void add_collection(Collections *all, const PriorsWorld *result);
static bool check_collections(const Collections *all);
static bool check_world(const PriorsWorld *result);
static bool check(bool holds, const char *what, const PriorsWorld *result, Sum sum);

void
priors_simulate(PriorsWorld *result, int queries, uint64_t seed)
{
	memset(result->ways, 0, sizeof(result->ways));
	result->differing = 0;
	for (int q = 0; q < queries; q++)
	{
		Random		random = {world_mix(world_mix(seed) + (uint64_t) q)};
		int			order[CANDIDATES];
		Query		query;

		world_make_query(result->world, &query, &random, 1, false);
		play_shuffle(&random, order);
		for (int i = 0; i < CANDIDATES; i++)
		{
			if (result->kind == PRIORS_USELESS)
				query.prior[i] = query.noise[i];
			else if (result->kind == PRIORS_REVERSED)
				query.prior[i] = -query.prior[i];
		}
		play(result, &query, order);
	}
}

static void
play(PriorsWorld *result, const Query *query, const int *order)
{
	Run			runs[PRIORS_WAYS];
	double		points[PRIORS_WAYS];

	for (int i = 0; i < PRIORS_WAYS; i++)
	{
		RstarPassesSpec spec = play_parse(ways[i].passes);
		PlayOptions options = {
			.priors = i == PRIORS_SIXTEEN || i == PRIORS_ADAPTIVE ? NULL : query->prior,
			.weight = ways[i].weight,
			.trusting = ways[i].trusting
		};

		play_policy(&spec, &options, query, order, &runs[i]);
		points[i] = play_ndcg(query, runs[i].order);
	}
	for (int i = 0; i < PRIORS_WAYS; i++)
	{
		PriorsSums *sums = &result->ways[i];

		sum_add(&sums->samples, runs[i].samples);
		sum_add(&sums->rounds, runs[i].rounds);
		sum_add(&sums->ndcg, points[i]);
		sum_add(&sums->over_adaptive, points[i] - points[PRIORS_ADAPTIVE]);
		sum_add(&sums->over_sixteen, points[i] - points[PRIORS_SIXTEEN]);
		sum_add(&sums->weight, runs[i].weight.weight);
	}
	if (memcmp(&runs[PRIORS_ZERO], &runs[PRIORS_ADAPTIVE], sizeof(Run)) != 0)
		result->differing++;
}

bool
priors_report(int queries, uint64_t seed)
{
	Collections all = {0};
	bool		ok = true;

	printf("%d queries a world, seed %llu; errors are standard errors\n", queries,
		   (unsigned long long) seed);
	for (int i = 0; i < WORLDS + 2; i++)
	{
		PriorsWorld result = {
			.world = i < WORLDS ? &worlds[i] : WORLD_BASE,
			.kind = i < WORLDS ? PRIORS_RETRIEVER : i == WORLDS ? PRIORS_USELESS : PRIORS_REVERSED
		};

		priors_simulate(&result, queries, seed);
		print_world(&result);
		if (i >= WORLD_NAMED && i < WORLDS)
			add_collection(&all, &result);
		if (!check_world(&result))
			ok = false;
		fflush(stdout);
	}
	if (!check_collections(&all))
		ok = false;
	printf("\n%s\n", ok ? "ok" : "NOT AS PROMISED");
	return ok;
}

static const char *
name_of(const PriorsWorld *result)
{
	static const char *const kinds[] = {"", ", useless priors", ", reversed priors"};
	static char name[64];

	snprintf(name, sizeof(name), "%s%s", result->world->name, kinds[result->kind]);
	return name;
}

static void
print_world(const PriorsWorld *result)
{
	printf("\n%-22s %15s %6s %14s %14s %14s %7s\n", name_of(result), "samples", "rounds", "nDCG@10",
		   "over adaptive", "over 16", "weight");
	for (int i = 0; i < PRIORS_WAYS; i++)
	{
		const PriorsSums *sums = &result->ways[i];

		printf("%-22s %7.1f +- %4.2f %6.2f %6.2f +- %4.2f %+6.2f +- %4.2f %+6.2f +- %4.2f %7.3f\n",
			   ways[i].name, sum_mean(sums->samples), sum_se(sums->samples), sum_mean(sums->rounds),
			   sum_mean(sums->ndcg), sum_se(sums->ndcg), sum_mean(sums->over_adaptive),
			   sum_se(sums->over_adaptive), sum_mean(sums->over_sixteen),
			   sum_se(sums->over_sixteen), sum_mean(sums->weight));
	}
}

static void
add_collection(Collections *all, const PriorsWorld *result)
{
	const PriorsSums *lean = &result->ways[PRIORS_LEAN];
	double		gain = sum_mean(lean->over_sixteen);

	if (all->n == 0 || gain < all->least)
	{
		all->least = gain;
		snprintf(all->name, sizeof(all->name), "%s", name_of(result));
	}
	all->n++;
	all->samples += sum_mean(lean->samples);
	all->gain += gain;
	all->variance += sum_se(lean->over_sixteen) * sum_se(lean->over_sixteen);
}

/* As in the study, where the collections are one world */
static bool
check_collections(const Collections *all)
{
	double		gain = all->gain / all->n;
	bool		ok = gain >= LEAN_GAIN && all->least >= LEAN_LEAST;

	printf("\nlean over 16 samples of each, mean of %d collections: %+.2f +- %.2f, %.1f samples; "
		   "least in %s: %+.2f\n", all->n, gain, sqrt(all->variance) / all->n,
		   all->samples / all->n, all->name, all->least);
	if (!ok)
		printf("NOT AS PROMISED: lean over 16 samples of each in the collections\n");
	return ok;
}

static bool
check_world(const PriorsWorld *result)
{
	const PriorsSums *lean = &result->ways[PRIORS_LEAN];
	const PriorsSums *usual = &result->ways[PRIORS_DEFAULT];
	bool		ok = true;

	if (result->differing > 0)
	{
		printf("NOT AS PROMISED: with weight 0, %d queries differ\n", result->differing);
		ok = false;
	}
	if (result->kind == PRIORS_RETRIEVER)
	{
		ok &= check(sum_mean(lean->samples) <= LEAN_SAMPLES, "samples of lean", result, lean->samples);
		if (result->world < &worlds[WORLD_NAMED])
			ok &= check(sum_mean(lean->over_sixteen) >= LEAN_GAIN, "lean over 16 samples of each",
						result, lean->over_sixteen);
	}
	else
		ok &= check(sum_mean(usual->over_adaptive) >= -WORST_LOSS, "loss by the default weight",
					result, usual->over_adaptive);
	return ok;
}

static bool
check(bool holds, const char *what, const PriorsWorld *result, Sum sum)
{
	if (!holds)
		printf("NOT AS PROMISED: %s in %s: %.2f +- %.2f\n", what, name_of(result), sum_mean(sum),
			   sum_se(sum));
	return holds;
}
