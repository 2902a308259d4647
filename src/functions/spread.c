/*-------------------------------------------------------------------------
 *
 * spread.c
 *		How far the samples of a document lie apart: one figure for a set.
 *
 * Pure: calls nothing.
 *
 * Single documents have too few samples for a figure of their own, so there
 * is one for all documents, pooled with a guess.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "functions/spread.h"

/* A guess at one sample's standard deviation, and how many samples it is worth */
#define SD_GUESS 8.0
#define SD_WEIGHT 20.0

void
rstar_spread_begin(RstarSpread *spread)
{
	spread->squares = SD_WEIGHT * SD_GUESS * SD_GUESS;
	spread->freedom = SD_WEIGHT;
	spread->known = false;
}

/*
 * The numerators of the squared deviations are exact integers: a difference
 * of two large sums in floating point could be anything.
 */
void
rstar_spread_add(RstarSpread *spread, int samples, int64_t sum, int64_t sum_squares)
{
	if (samples < 2)
		return;
	spread->squares += (double) (samples * sum_squares - sum * sum) / samples;
	spread->freedom += samples - 1;
	spread->known = true;
}

double
rstar_spread_sd(const RstarSpread *spread)
{
	return sqrt(spread->squares / spread->freedom);
}
