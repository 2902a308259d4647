/*-------------------------------------------------------------------------
 *
 * score.h
 *		How relevant a document is to a query, by the words they share.
 *
 * Pure: no state but tables, no I/O.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SCORE_H
#define SIM_SCORE_H

#include <stddef.h>
#include <stdint.h>

/* How a prompt wants the score */
typedef enum SimForm
{
	SIM_FORM_RETRO_STAR,		/* <score>, 0 to 100 */
	SIM_FORM_ANSWER,			/* ERank's: <answer>, 0 to 10 */
	SIM_FORM_WORDS				/* DIVER's: "Relevance score: ", 0.0 to 10.0 */
} SimForm;

/* Pieces of the prompt; not NUL-terminated */
typedef struct SimPair
{
	SimForm		form;
	const char *query;
	size_t		query_len;
	const char *doc;
	size_t		doc_len;
} SimPair;

/* A stream of random numbers */
typedef struct SimRng
{
	uint64_t	state;
} SimRng;

extern uint64_t sim_hash(const void *data, size_t len, uint64_t seed);
extern uint64_t sim_rng_next(SimRng *rng);
extern double sim_rng_uniform(SimRng *rng); /* [0, 1) */

/* Finds query and document in the prompt of Retro* or ERank, or cuts another at
 * its first line; and how it wants the score */
extern void sim_score_split(const char *prompt, size_t len, SimPair *pair);

/* The mean of the model's answers, 1..97 */
extern double sim_score_mean(const SimPair *pair, uint64_t prompt_hash);

/* One answer, 0..100 */
extern int	sim_score_sample(double mean, double temperature, SimRng *rng);

/* The next word of a text, any script; false at its end */
extern int	sim_score_word(const char **pos, const char *end,
						   const char **word, size_t *len);

#endif							/* SIM_SCORE_H */
