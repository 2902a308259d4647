/*-------------------------------------------------------------------------
 *
 * ranking.h
 *		The documents of a set in their final order, and how sure it is.
 *
 * Pure.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RANKING_H
#define RSTAR_RANKING_H

#include <stdbool.h>

#include "functions/passes_spec.h"
#include "functions/spread.h"

/* One document in its place */
typedef struct RstarRanked
{
	int			doc;			/* number in the caller's order */
	bool		scored;
	int			pass;			/* the last that it took part in */
	int			samples;		/* with a score, behind it */
	int			counted;		/* those, and replies that count as 0 */
	double		score;
	double		place;			/* of its prior, see prior.h */

	/* found by rstar_ranking_sort(), for those that are scored */
	double		fused;
	double		error;			/* standard error of the score ... */
	bool		unsure;			/* ... which is not known */
	bool		settled;		/* by the bar of the passes, more samples
								 * would not bring it in or out */
} RstarRanked;

/* What the order goes by */
typedef struct RstarRankingRule
{
	double		weight;			/* of the priors */
	RstarPassesKind kind;
	double		z;				/* rstar_passes_z() */
	int			k;				/* those in question are the first so many */
	RstarSpread spread;			/* of the samples behind the scores */
} RstarRankingRule;

/*
 * Best first: who got into a later pass, then by fused value, ties by prior and
 * then in the caller's order; at the end those without a score, by prior.
 */
extern void rstar_ranking_sort(RstarRanked *ranked, int n, const RstarRankingRule *rule);

#endif							/* RSTAR_RANKING_H */
