/*-------------------------------------------------------------------------
 *
 * prior.c
 *		What a retriever's scores of documents add to those of the model.
 *
 * Pure: calls nothing.
 *
 * The score stays absolute, and only the prior is brought to a scale of its
 * set: so a fused value does not depend on the scores of other documents, is
 * the same in every round, and a set of bad documents is not stretched.  Rank
 * fusion needs no rule of its own, for the place of -ln(rank) is its log rank.
 *
 * The trust tells priors that are useless, or have the wrong sign, from those
 * that agree with the model.  It cannot tell "useless" from "right where the
 * model is wrong", hence a ramp that begins below 0: without any correlation
 * half of the weight is left.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "functions/prior.h"

/* Trust grows from 0 to 1 between these correlations */
#define NO_TRUST (-0.1)
#define FULL_TRUST 0.1

/* From so many documents on, at so many standard errors below 0: reversed */
#define REVERSED_DOCUMENTS 20
#define REVERSED_Z 2.0

bool
rstar_prior_scale(double *priors, int n)
{
	double		low = INFINITY;
	double		high = -INFINITY;
	double		unit;

	for (int i = 0; i < n; i++)
	{
		if (isnan(priors[i]))
			continue;
		low = fmin(low, priors[i]);
		high = fmax(high, priors[i]);
	}

	/*
	 * the difference of two huge numbers could be infinite, half of a tiny
	 * one 0
	 */
	unit = fmax(fabs(low), fabs(high)) > 1 ? 2 : 1;
	for (int i = 0; i < n; i++)
		priors[i] = high > low ?
			(priors[i] / unit - low / unit) / (high / unit - low / unit) : NAN;
	return high > low;
}

double
rstar_prior_bonus(double place, double weight)
{
	return isnan(place) ? 0 : 100 * (weight / (1 - weight)) * place;
}

double
rstar_prior_fused(double score, double place, double weight)
{
	return (1 - weight) * score + (isnan(place) ? 0 : weight * 100 * place);
}

int
rstar_prior_compare(double place, double other)
{
	double		x = isnan(place) ? 0 : place;
	double		y = isnan(other) ? 0 : other;

	return (x > y) - (x < y);
}

/* Sums of deviations from the means so far: of equal values they are exactly 0 */
void
rstar_prior_fit(RstarPriorFit *fit, double place, double score)
{
	double		to_place = place - fit->place;
	double		to_score = score - fit->score;

	if (isnan(place))
		return;
	fit->n++;
	fit->place += to_place / fit->n;
	fit->score += to_score / fit->n;
	fit->place_squares += to_place * (place - fit->place);
	fit->score_squares += to_score * (score - fit->score);
	fit->products += to_place * (score - fit->score);
}

double
rstar_prior_correlation(const RstarPriorFit *fit)
{
	if (fit->n < 3 || fit->place_squares <= 0 || fit->score_squares <= 0)
		return 0;
	return fit->products / (sqrt(fit->place_squares) * sqrt(fit->score_squares));
}

double
rstar_prior_trust(double correlation)
{
	double		trust = (correlation - NO_TRUST) / (FULL_TRUST - NO_TRUST);

	return fmin(fmax(trust, 0), 1);
}

bool
rstar_prior_reversed(int n, double correlation)
{
	return n >= REVERSED_DOCUMENTS && correlation < -REVERSED_Z / sqrt(n);
}
