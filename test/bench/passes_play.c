/*-------------------------------------------------------------------------
 *
 * passes_play.c
 *		A policy of src/functions/passes.c, played with a simulated query.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes_play.h"

static void give_priors(RstarPasses *passes, const PlayOptions *options,
						const int *callers_order);
static void feed(RstarPasses *passes, const Query *query, const int *docs, int doc, int skip,
				 int samples);

RstarPassesSpec
play_parse(const char *text)
{
	RstarPassesSpec spec;
	int			position;

	if (rstar_passes_spec_parse(&spec, text, strlen(text), &position) != RSTAR_PASSES_OK)
	{
		fprintf(stderr, "cannot parse \"%s\"\n", text);
		exit(2);
	}
	return spec;
}

void
play_shuffle(Random *random, int *order)
{
	for (int i = 0; i < CANDIDATES; i++)
	{
		int			j = (int) (world_uniform(random) * (i + 1));

		if (j != i)
			order[i] = order[j];
		order[j] = i;
	}
}

void
play_policy(const RstarPassesSpec *spec, const PlayOptions *options, const Query *query,
			const int *callers_order, Run *run)
{
	void	   *memory = malloc(rstar_passes_size(CANDIDATES));
	RstarPasses *passes = rstar_passes_create(memory, spec, CANDIDATES, TOP);
	int			have[CANDIDATES] = {0};
	int			paid;

	memset(run, 0, sizeof(Run));
	give_priors(passes, options, callers_order);
	while ((paid = play_round(passes, query, callers_order, CANDIDATES, 0, have)) > 0)
	{
		run->samples += paid;
		run->rounds++;
	}
	rstar_passes_order(passes, run->order);
	run->behind = play_behind(run->order, have);
	for (int i = 0; i < CANDIDATES; i++)
		run->order[i] = callers_order[run->order[i]];

	run->weight = *rstar_passes_weight(passes);
	for (int i = 0; i < CANDIDATES; i++)
		run->scored += have[i] > 0;

	/* the next time all of these samples are known from the start */
	if (!options->again)
	{
		free(memory);
		return;
	}
	passes = rstar_passes_create(memory, spec, CANDIDATES, TOP);
	give_priors(passes, options, callers_order);
	for (int i = 0; i < CANDIDATES; i++)
		feed(passes, query, callers_order, i, 0, have[i]);
	while ((paid = play_round(passes, query, callers_order, CANDIDATES, 0, have)) > 0)
		run->again += paid;
	free(memory);
}

/* Scaled over the set, as they are in a statement */
static void
give_priors(RstarPasses *passes, const PlayOptions *options, const int *callers_order)
{
	double		places[CANDIDATES];

	if (options->priors == NULL || options->weight == 0)
		return;
	memcpy(places, options->priors, sizeof(places));
	if (!rstar_prior_scale(places, CANDIDATES))
		return;
	rstar_passes_weigh(passes, options->weight, options->trusting);
	for (int i = 0; i < CANDIDATES; i++)
		rstar_passes_prior(passes, i, places[callers_order[i]]);
}

int
play_round(RstarPasses *passes, const Query *query, const int *docs, int ndocs, int skip, int *have)
{
	int			paid = 0;

	if (rstar_passes_next(passes) == 0)
		return 0;
	for (int i = 0; i < ndocs; i++)
	{
		int			target = rstar_passes_target(passes, i);

		if (target == 0)
			continue;
		paid += target - have[i];
		have[i] = target;
		feed(passes, query, docs, i, skip, target);
	}
	return paid;
}

static void
feed(RstarPasses *passes, const Query *query, const int *docs, int doc, int skip, int samples)
{
	RstarPassesKnown known = {samples, 0, 0, false};

	for (int i = skip; i < skip + samples; i++)
	{
		int			score = query->drawn[docs[doc]][i];

		known.sum += score;
		known.sum_squares += score * score;
	}
	if (!rstar_passes_feed(passes, doc, &known))
	{
		fprintf(stderr, "passes_sim: document %d refused\n", doc);
		exit(2);
	}
}

double
play_ndcg(const Query *query, const int *order)
{
	double		dcg = 0;
	double		ideal = 0;

	for (int i = 0; i < TOP; i++)
	{
		double		discount = 1 / log2(i + 2);

		dcg += query->relevant[order[i]] ? discount : 0;
		ideal += i < query->nrelevant ? discount : 0;
	}
	return 100 * dcg / ideal;
}

int
play_behind(const int *order, const int *have)
{
	int			n = 0;

	for (int i = 0; i < TOP; i++)
		n += have[order[i]];
	return n;
}

void
sum_add(Sum *sum, double x)
{
	sum->n++;
	sum->x += x;
	sum->xx += x * x;
}

double
sum_mean(Sum sum)
{
	return sum.x / sum.n;
}

double
sum_se(Sum sum)
{
	double		mean = sum_mean(sum);

	return sqrt(fmax(sum.xx / sum.n - mean * mean, 0) / (sum.n - 1));
}
