/*-------------------------------------------------------------------------
 *
 * passes.c
 *		How many samples each document of a query gets, round by round.
 *
 * Pure: calls nothing.
 *
 * A specification is a list of rounds, and a rule that says which documents
 * take part in each:
 *
 *	FIXED	  the best so many of those that took part in the round before.
 *	ADAPTIVE  those that may still belong to the k best: the mean is not
 *			  further below the k-th best mean than z standard errors, at
 *			  most 3k of them, or 1.5k ("lean").  Leaders take part on
 *			  purpose, for the order among them matters most.
 *	MEMBERS	  those of which it is open whether they belong to the k best;
 *			  leaders that are safely inside are left alone.
 *
 * In the first round nothing is known but priors: if it is limited to so many
 * documents, they are those with the highest, or the first of the caller's.
 * The others do not take part in anything.
 *
 * The standard error comes from one variance for all documents, pooled with
 * a guess: single documents have too few samples for one of their own.  The
 * numbers were found by simulation; test/bench/passes_sim.c measures them
 * again, with this file.
 *
 * Common to the three: samples count whenever they were drawn, so a round
 * only asks for what is missing, and a round that misses nothing is passed
 * over.  A reply without a score is no sample.  A document without any has
 * not been judged yet: it is asked again in each round, for what the first
 * round asks.  One that failed is not asked again, but keeps its place if it
 * has samples.  Everything ranks by plain mean, compared as exact fractions,
 * so that ties are ties; where there are priors, by mean and bonus.
 *
 * What priors add is settled when the first round is over, for then the trust
 * in them is known; later samples do not change it.  So a query that comes
 * again, and is fed round by round, weighs them the same.
 *
 * FIXED ranks by passes first.  Of those that a pass refuses some have a mean
 * of few samples that is higher, by chance, than the means of more samples that
 * the chosen get; ranked by mean alone they would be back at the top, and what
 * was spent on the chosen would push these down.
 *
 * Each round sorts once: O(n log n).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "functions/passes.h"
#include "functions/spread.h"

/* A contender's mean plus z standard errors reaches the k-th best mean ... */
#define ADAPTIVE_Z 1.2

/* ... with a smaller z where rounds that end early show a wish to save */
#define ADAPTIVE_SAVING_Z 1.0
#define ADAPTIVE_SAVING_SAMPLES 8

/* Contenders beyond the k best are at least so many, if k is small */
#define ADAPTIVE_LEAST_BEYOND 2

#define MEMBERS_Z 1.0

typedef struct Doc
{
	int64_t		sum;
	int64_t		sum_squares;
	double		place;			/* of its prior, see prior.h */
	double		bonus;			/* what that adds to the mean */
	int			samples;
	int			target;			/* in this round; 0: left alone */
	int			pass;			/* the last that it took part in, from 1; 0:
								 * none */
	bool		failed;
} Doc;

struct RstarPasses
{
	RstarPassesSpec spec;
	int			ndocs;
	int			k;				/* results that matter, at most ndocs */
	int			round;			/* rounds begun */
	bool		has_priors;
	bool		trusting;		/* the weight is to be multiplied by the trust */
	RstarPassesWeight weight;	/* of the priors; settled ... */
	bool		weighed;		/* ... when the first round is over */
	Doc		  **ranking;		/* all documents, best first when sorted */
	Doc			docs[];			/* in the caller's order; ranking lies behind */
};

static void weigh(RstarPasses *passes);
static int	choose(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_first(RstarPasses *passes);
static int	choose_fixed(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_adaptive(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_members(RstarPasses *passes);
static int	samples_after(const RstarPasses *passes, const Doc *doc);
static int	ask(const RstarPasses *passes, Doc *doc, int samples);
static double pooled_sd(const RstarPasses *passes);
static double mean_of(const Doc *doc);
static double value_of(const Doc *doc);
static int	compare_priors(const void *a, const void *b);
static int	compare_docs(const void *a, const void *b);

size_t
rstar_passes_size(int ndocs)
{
	return sizeof(RstarPasses) + (sizeof(Doc) + sizeof(Doc *)) * (size_t) ndocs;
}

RstarPasses *
rstar_passes_create(void *memory, const RstarPassesSpec *spec, int ndocs, int top_n)
{
	RstarPasses *passes = memory;

	memset(passes, 0, rstar_passes_size(ndocs));
	passes->spec = *spec;
	passes->ndocs = ndocs;
	passes->ranking = (Doc **) &passes->docs[ndocs];
	for (int i = 0; i < ndocs; i++)
		passes->ranking[i] = &passes->docs[i];

	/* when all are wanted, all are members, and only their order is open */
	if (top_n > 0)
		passes->k = top_n;
	else
		passes->k = spec->kind == RSTAR_PASSES_ADAPTIVE ? RSTAR_PASSES_K : ndocs;
	if (passes->k > ndocs)
		passes->k = ndocs;
	return passes;
}

bool
rstar_passes_feed(RstarPasses *passes, int doc, const RstarPassesKnown *known)
{
	int64_t		n = known->samples;
	Doc		   *d;

	if (doc < 0 || doc >= passes->ndocs || n < 0 || n > RSTAR_PASSES_MAX_KNOWN ||
		known->sum < 0 || known->sum > 100 * n ||
		known->sum_squares < 0 || known->sum_squares > 10000 * n ||
		n * known->sum_squares < known->sum * known->sum)
		return false;
	d = &passes->docs[doc];
	d->samples = known->samples;
	d->sum = known->sum;
	d->sum_squares = known->sum_squares;
	d->failed = known->failed;
	return true;
}

void
rstar_passes_weigh(RstarPasses *passes, double weight, bool trusting)
{
	passes->has_priors = weight > 0;
	passes->trusting = trusting;
	passes->weight.weight = weight;
}

void
rstar_passes_prior(RstarPasses *passes, int doc, double place)
{
	if (passes->has_priors)
		passes->docs[doc].place = place;
}

int
rstar_passes_next(RstarPasses *passes)
{
	int			asked = 0;

	for (int i = 0; i < passes->ndocs; i++)
		passes->docs[i].target = 0;
	while (asked == 0)
	{
		if (passes->round > 0)
			weigh(passes);
		if (passes->round == passes->spec.nrounds)
			break;
		asked = choose(passes, &passes->spec.rounds[passes->round++]);
	}
	return asked;
}

/* Once, by what the first round has brought, and nothing that comes later */
static void
weigh(RstarPasses *passes)
{
	RstarPassesWeight *weight = &passes->weight;
	RstarPriorFit fit = {0};

	if (!passes->has_priors || passes->weighed)
		return;
	passes->weighed = true;
	for (int i = 0; i < passes->ndocs; i++)
	{
		if (passes->docs[i].samples > 0)
			rstar_prior_fit(&fit, passes->docs[i].place, mean_of(&passes->docs[i]));
	}
	weight->documents = fit.n;
	weight->correlation = rstar_prior_correlation(&fit);
	weight->trust = passes->trusting ? rstar_prior_trust(weight->correlation) : 1;
	weight->weight *= weight->trust;
	for (int i = 0; i < passes->ndocs; i++)
		passes->docs[i].bonus = rstar_prior_bonus(passes->docs[i].place, weight->weight);
}

const RstarPassesWeight *
rstar_passes_weight(const RstarPasses *passes)
{
	return &passes->weight;
}

/* Sets the targets of a round; returns how many */
static int
choose(RstarPasses *passes, const RstarPassesRound *round)
{
	if (round == passes->spec.rounds)
		return choose_first(passes);

	qsort(passes->ranking, passes->ndocs, sizeof(Doc *), compare_docs);
	switch (passes->spec.kind)
	{
		case RSTAR_PASSES_FIXED:
			return choose_fixed(passes, round);
		case RSTAR_PASSES_ADAPTIVE:
			return choose_adaptive(passes, round);
		case RSTAR_PASSES_MEMBERS:
			return choose_members(passes);
	}
	return 0;
}

/* Nothing to choose by but priors and the caller's order */
static int
choose_first(RstarPasses *passes)
{
	const RstarPassesRound *round = passes->spec.rounds;
	int			asked = 0;

	if (passes->has_priors && round->documents < passes->ndocs)
		qsort(passes->ranking, passes->ndocs, sizeof(Doc *), compare_priors);
	for (int i = 0; i < passes->ndocs && i < round->documents; i++)
	{
		passes->ranking[i]->pass = 1;
		asked += ask(passes, passes->ranking[i], round->samples);
	}
	return asked;
}

/*
 * The best of those in the pass before take part.  One without a score takes
 * nobody's place: it still is in the first pass, and does that over.
 */
static int
choose_fixed(RstarPasses *passes, const RstarPassesRound *round)
{
	int			asked = 0;
	int			in = 0;

	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];

		if (doc->samples > 0)
		{
			if (doc->pass < passes->round - 1 || in++ >= round->documents)
				continue;
			doc->pass = passes->round;
		}
		if (doc->pass > 0)
			asked += ask(passes, doc, round->samples);
	}
	return asked;
}

static int
choose_adaptive(RstarPasses *passes, const RstarPassesRound *round)
{
	double		margin = rstar_passes_z(&passes->spec) * pooled_sd(passes);
	int64_t		beyond = (int64_t) passes->k * passes->spec.beyond / 100;
	int64_t		most = passes->k +
		(beyond > ADAPTIVE_LEAST_BEYOND ? beyond : ADAPTIVE_LEAST_BEYOND);
	double		bar = -1;		/* below every value: fewer than k have a
								 * score */
	int			asked = 0;

	if (passes->k > 0 && passes->ranking[passes->k - 1]->samples > 0)
		bar = value_of(passes->ranking[passes->k - 1]);
	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];

		if (doc->pass == 0)
			continue;
		if (doc->samples == 0 ||
			(i < most && value_of(doc) + margin / sqrt(doc->samples) >= bar))
			asked += ask(passes, doc, round->samples);
	}
	return asked;
}

/*
 * LUCB with a Gaussian radius: a document's place is open while its interval
 * reaches into that of one on the other side of the boundary.
 */
static int
choose_members(RstarPasses *passes)
{
	double		margin = rstar_passes_z(&passes->spec) * pooled_sd(passes);
	double		lowest_inside = INFINITY;
	double		highest_outside = -INFINITY;
	int			asked = 0;

	for (int i = 0; i < passes->ndocs && passes->ranking[i]->samples > 0; i++)
	{
		const Doc  *doc = passes->ranking[i];
		double		radius = margin / sqrt(doc->samples);

		if (i < passes->k)
			lowest_inside = fmin(lowest_inside, value_of(doc) - radius);
		else
			highest_outside = fmax(highest_outside, value_of(doc) + radius);
	}
	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];
		double		radius = doc->samples > 0 ? margin / sqrt(doc->samples) : 0;

		if (doc->samples == 0 ||
			(i < passes->k ? value_of(doc) - radius < highest_outside :
			 value_of(doc) + radius > lowest_inside))
			asked += ask(passes, doc, samples_after(passes, doc));
	}
	return asked;
}

/*
 * MEMBERS lets each document climb the list of rounds by itself: one that
 * becomes open late has not fallen behind, there was no need to ask it.
 */
static int
samples_after(const RstarPasses *passes, const Doc *doc)
{
	const RstarPassesSpec *spec = &passes->spec;
	int			i = 0;

	while (i < spec->nrounds - 1 && spec->rounds[i].samples <= doc->samples)
		i++;
	return spec->rounds[i].samples;
}

/* One without a score begins like all others did; returns how many are asked */
static int
ask(const RstarPasses *passes, Doc *doc, int samples)
{
	if (doc->samples == 0)
		samples = passes->spec.rounds[0].samples;
	if (doc->failed || doc->samples >= samples)
		return 0;
	doc->target = samples;
	return 1;
}

double
rstar_passes_z(const RstarPassesSpec *spec)
{
	if (spec->kind == RSTAR_PASSES_MEMBERS)
		return MEMBERS_Z;
	if (spec->kind == RSTAR_PASSES_ADAPTIVE &&
		spec->rounds[spec->nrounds - 1].samples <= ADAPTIVE_SAVING_SAMPLES)
		return ADAPTIVE_SAVING_Z;
	return ADAPTIVE_Z;
}

static double
pooled_sd(const RstarPasses *passes)
{
	RstarSpread spread;

	rstar_spread_begin(&spread);
	for (int i = 0; i < passes->ndocs; i++)
	{
		const Doc  *doc = &passes->docs[i];

		rstar_spread_add(&spread, doc->samples, doc->sum, doc->sum_squares);
	}
	return rstar_spread_sd(&spread);
}

static double
mean_of(const Doc *doc)
{
	return (double) doc->sum / doc->samples;
}

/* What a document is compared by: its fused value is a constant times this */
static double
value_of(const Doc *doc)
{
	return mean_of(doc) + doc->bonus;
}

static int
compare_priors(const void *a, const void *b)
{
	const Doc  *x = *(Doc *const *) a;
	const Doc  *y = *(Doc *const *) b;
	int			order = rstar_prior_compare(y->place, x->place);

	return order != 0 ? order : (x > y) - (x < y);
}

/*
 * Best first.  The rules other than FIXED leave all documents that take part
 * in the first pass.  The array of documents is in the caller's order.
 *
 * Means are numbers in order of the fractions that they are, so that comparing
 * the fractions, too, is still an order: ties of means are ties.
 */
static int
compare_docs(const void *a, const void *b)
{
	const Doc  *x = *(Doc *const *) a;
	const Doc  *y = *(Doc *const *) b;
	int64_t		left = x->sum * y->samples;
	int64_t		right = y->sum * x->samples;

	if ((x->samples > 0) != (y->samples > 0))
		return x->samples > 0 ? -1 : 1;
	if (x->samples == 0 && rstar_prior_compare(x->place, y->place) != 0)
		return rstar_prior_compare(y->place, x->place);
	if (x->pass != y->pass)
		return x->pass > y->pass ? -1 : 1;
	if (x->samples > 0 && value_of(x) != value_of(y))
		return value_of(x) > value_of(y) ? -1 : 1;
	if (x->bonus != y->bonus)
		return x->bonus > y->bonus ? -1 : 1;
	if (left != right)
		return left > right ? -1 : 1;
	return (x > y) - (x < y);
}

int
rstar_passes_target(const RstarPasses *passes, int doc)
{
	return passes->docs[doc].target;
}

int
rstar_passes_reached(const RstarPasses *passes, int doc)
{
	return passes->docs[doc].pass;
}

void
rstar_passes_order(RstarPasses *passes, int *order)
{
	qsort(passes->ranking, passes->ndocs, sizeof(Doc *), compare_docs);
	for (int i = 0; i < passes->ndocs; i++)
		order[i] = (int) (passes->ranking[i] - passes->docs);
}

bool
rstar_passes_score(const RstarPasses *passes, int doc, double *score)
{
	const Doc  *d = &passes->docs[doc];

	*score = d->samples > 0 ? mean_of(d) : 0;
	return d->samples > 0;
}
