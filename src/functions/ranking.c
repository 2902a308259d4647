/*-------------------------------------------------------------------------
 *
 * ranking.c
 *		The documents of a set in their final order, and how sure it is.
 *
 * Pure: calls nothing.
 *
 * A document is settled when its place among the first k is not open by the
 * rule that passes.c spends samples by: its value, z standard errors up or
 * down, does not reach the other side of the boundary; MEMBERS compares with
 * intervals there, the others with values.  While fewer than k have a score
 * nothing is settled.  What has no score is nobody's rival.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>

#include "functions/prior.h"
#include "functions/ranking.h"

/* The boundary between the first k and the others, from both sides */
typedef struct Boundary
{
	double		inside;			/* the lowest there */
	double		outside;		/* the highest */
} Boundary;

static Boundary find_boundary(const RstarRanked *ranked, int nscored, const RstarRankingRule *rule);
static bool is_settled(const RstarRanked *doc, bool inside, const Boundary *boundary,
					   const RstarRankingRule *rule);
static double value_of(const RstarRanked *doc, const RstarRankingRule *rule);
static double radius_of(const RstarRanked *doc, const RstarRankingRule *rule);
static int	compare_ranked(const void *a, const void *b);

void
rstar_ranking_sort(RstarRanked *ranked, int n, const RstarRankingRule *rule)
{
	double		sd = rstar_spread_sd(&rule->spread);
	Boundary	boundary;
	int			nscored = 0;

	for (int i = 0; i < n; i++)
	{
		ranked[i].fused = 0;
		ranked[i].unsure = true;
		ranked[i].settled = false;
		if (!ranked[i].scored)
			continue;
		nscored++;
		ranked[i].fused = rstar_prior_fused(ranked[i].score, ranked[i].place, rule->weight);
		ranked[i].unsure = !rule->spread.known;
		ranked[i].error = sd / sqrt(ranked[i].counted);
		if (rule->weight == 0)
			ranked[i].place = NAN;	/* not even ties are broken by it */
	}
	qsort(ranked, n, sizeof(RstarRanked), compare_ranked);
	if (nscored < rule->k)
		return;
	boundary = find_boundary(ranked, nscored, rule);
	for (int i = 0; i < nscored; i++)
		ranked[i].settled = is_settled(&ranked[i], i < rule->k, &boundary, rule);
}

static Boundary
find_boundary(const RstarRanked *ranked, int nscored, const RstarRankingRule *rule)
{
	Boundary	boundary = {INFINITY, -INFINITY};

	for (int i = 0; i < nscored; i++)
	{
		double		value = value_of(&ranked[i], rule);
		double		radius = rule->kind == RSTAR_PASSES_MEMBERS ? radius_of(&ranked[i], rule) : 0;

		if (i < rule->k)
			boundary.inside = fmin(boundary.inside, value - radius);
		else
			boundary.outside = fmax(boundary.outside, value + radius);
	}
	return boundary;
}

/* passes.c asks ADAPTIVE's on the bar's edge, and MEMBERS's not */
static bool
is_settled(const RstarRanked *doc, bool inside, const Boundary *boundary,
		   const RstarRankingRule *rule)
{
	double		value = value_of(doc, rule);
	double		radius = radius_of(doc, rule);
	double		gap = inside ? (value - radius) - boundary->outside :
		boundary->inside - (value + radius);

	return rule->kind == RSTAR_PASSES_MEMBERS ? gap >= 0 : gap > 0;
}

static double
value_of(const RstarRanked *doc, const RstarRankingRule *rule)
{
	return doc->score + rstar_prior_bonus(doc->place, rule->weight);
}

static double
radius_of(const RstarRanked *doc, const RstarRankingRule *rule)
{
	return rule->z * rstar_spread_sd(&rule->spread) / sqrt(doc->counted);
}

/*
 * As rstar_passes_order() has them, but by all samples that are known.
 */
static int
compare_ranked(const void *a, const void *b)
{
	const RstarRanked *x = a;
	const RstarRanked *y = b;

	if (x->scored != y->scored)
		return x->scored ? -1 : 1;
	if (x->scored && x->pass != y->pass)
		return x->pass > y->pass ? -1 : 1;
	if (x->fused != y->fused)
		return x->fused > y->fused ? -1 : 1;
	if (rstar_prior_compare(x->place, y->place) != 0)
		return rstar_prior_compare(y->place, x->place);
	if (x->pass != y->pass)
		return x->pass > y->pass ? -1 : 1;
	return x->doc - y->doc;
}
