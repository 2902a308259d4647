/*-------------------------------------------------------------------------
 *
 * text.h
 *		The reasoning that a model would write before its score.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_TEXT_H
#define SIM_TEXT_H

#include "buf.h"
#include "score.h"

/* Three steps, 150 to 350 words, some of them the pair's; without the score */
extern void sim_text_reasoning(SimBuf *buf, const SimPair *pair, int score,
							   SimRng *rng);

#endif							/* SIM_TEXT_H */
