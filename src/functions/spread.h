/*-------------------------------------------------------------------------
 *
 * spread.h
 *		How far the samples of a document lie apart: one figure for a set.
 *
 * Pure.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SPREAD_H
#define RSTAR_SPREAD_H

#include <stdbool.h>
#include <stdint.h>

/* Squared deviations of samples from the mean of their document, pooled */
typedef struct RstarSpread
{
	double		squares;
	double		freedom;
	bool		known;			/* not only guessed */
} RstarSpread;

/* Begins with a guess, which counts as some samples */
extern void rstar_spread_begin(RstarSpread *spread);

/* A document's samples; fewer than two say nothing */
extern void rstar_spread_add(RstarSpread *spread, int samples, int64_t sum,
							 int64_t sum_squares);

/* The standard deviation of one sample */
extern double rstar_spread_sd(const RstarSpread *spread);

#endif							/* RSTAR_SPREAD_H */
