/*-------------------------------------------------------------------------
 *
 * prior.h
 *		What a retriever's scores of documents add to those of the model.
 *
 * Pure: arithmetic, no state but what the caller holds, no PostgreSQL.
 *
 * A prior's place is where it lies between the lowest of the set, 0, and the
 * highest, 1; NaN: the document has no prior, and counts as the lowest.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PRIOR_H
#define RSTAR_PRIOR_H

#include <stdbool.h>

/*
 * Puts places where the finite priors of a set are; NaN: none.  False when no
 * two priors differ: then nothing is known by them.
 */
extern bool rstar_prior_scale(double *priors, int n);

/*
 * A document's fused value, (1 - weight) * score + weight * 100 * place, is
 * (1 - weight) times the sum of its score and this bonus: points of score.
 * The weight is at least 0 and less than 1.
 */
extern double rstar_prior_bonus(double place, double weight);
extern double rstar_prior_fused(double score, double place, double weight);

/* Below 0, at 0, above: the first is lower, the same, higher */
extern int	rstar_prior_compare(double place, double other);

/* Places and scores of some documents, one by one; all zeroes: none yet */
typedef struct RstarPriorFit
{
	int			n;
	double		place;			/* means ... */
	double		score;
	double		place_squares;	/* ... and sums of products of deviations */
	double		score_squares;
	double		products;
} RstarPriorFit;

/* A document without a prior is left out */
extern void rstar_prior_fit(RstarPriorFit *fit, double place, double score);

/* 0 when there are fewer than three, or they do not differ */
extern double rstar_prior_correlation(const RstarPriorFit *fit);

/* The share, 0 to 1, of the default weight that counts by this correlation */
extern double rstar_prior_trust(double correlation);

/* Do priors fall where scores rise?  Not by chance, and not for a few. */
extern bool rstar_prior_reversed(int n, double correlation);

#endif							/* RSTAR_PRIOR_H */
