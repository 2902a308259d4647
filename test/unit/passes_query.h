/*-------------------------------------------------------------------------
 *
 * passes_query.h
 *		A query for the tests of src/functions/passes.c, with its samples.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PASSES_QUERY_H
#define RSTAR_PASSES_QUERY_H

#include <stdint.h>
#include <stdlib.h>

#include "check.h"
#include "functions/passes.h"

#define MAX_DOCS 96
#define MAX_KNOWN 256

/* One query, with every sample that was drawn */
typedef struct Query
{
	RstarPassesSpec spec;
	void	   *memory;
	RstarPasses *passes;
	int			ndocs;
	int			top_n;
	int			samples[MAX_DOCS];
	int			scores[MAX_DOCS][MAX_KNOWN];
	bool		failed[MAX_DOCS];
} Query;

/* How a simulated model behaves */
typedef struct Model
{
	int			mean[MAX_DOCS];
	int			noise;			/* scores are mean +- noise */
	double		unscored;		/* chance of a reply without a score */
	double		failing;		/* chance that a document fails for good */
} Model;

static uint64_t random_state = 20260101;

static inline uint64_t
random_bits(void)
{
	uint64_t	x = (random_state += 0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static inline int
random_below(int n)
{
	return (int) (random_bits() % (uint64_t) n);
}

static inline bool
chance(double p)
{
	return random_below(1000000) < p * 1000000;
}

/* From a copy of exactly this size, so that the sanitizer sees a step too far */
static inline RstarPassesCode
parse_bytes(RstarPassesSpec *spec, const char *text, size_t len, int *position)
{
	char	   *copy = malloc(len > 0 ? len : 1);
	RstarPassesCode code;

	memcpy(copy, text, len);
	code = rstar_passes_spec_parse(spec, copy, len, position);
	free(copy);
	return code;
}

static inline RstarPassesSpec
parsed(const char *text)
{
	RstarPassesSpec spec;
	int			position;

	CHECK_INT(parse_bytes(&spec, text, strlen(text), &position), RSTAR_PASSES_OK);
	return spec;
}

static inline void
query_begin(Query *query, const char *text, int ndocs, int top_n)
{
	memset(query, 0, sizeof(Query));
	query->spec = parsed(text);
	query->ndocs = ndocs;
	query->top_n = top_n;
	query->memory = malloc(rstar_passes_size(ndocs));
	query->passes = rstar_passes_create(query->memory, &query->spec, ndocs, top_n);
}

static inline void
query_end(Query *query)
{
	free(query->memory);
}

static inline void
feed(Query *query, int doc)
{
	RstarPassesKnown known = {query->samples[doc], 0, 0, query->failed[doc]};

	for (int i = 0; i < query->samples[doc]; i++)
	{
		known.sum += query->scores[doc][i];
		known.sum_squares += query->scores[doc][i] * query->scores[doc][i];
	}
	CHECK(rstar_passes_feed(query->passes, doc, &known));
}

static inline void
add_score(Query *query, int doc, int score)
{
	query->scores[doc][query->samples[doc]++] = score;
	feed(query, doc);
}

static inline void
fail(Query *query, int doc)
{
	query->failed[doc] = true;
	feed(query, doc);
}

/* The targets as text, "1 1 0 3" */
static inline const char *
targets(const Query *query)
{
	static char text[8 * MAX_DOCS];
	int			len = 0;

	text[0] = '\0';
	for (int i = 0; i < query->ndocs; i++)
		len += snprintf(text + len, sizeof(text) - len, i ? " %d" : "%d",
						rstar_passes_target(query->passes, i));
	return text;
}

static inline const char *
order(const Query *query)
{
	static char text[8 * MAX_DOCS];
	int			docs[MAX_DOCS];
	int			len = 0;

	text[0] = '\0';
	rstar_passes_order(query->passes, docs);
	for (int i = 0; i < query->ndocs; i++)
		len += snprintf(text + len, sizeof(text) - len, i ? " %d" : "%d", docs[i]);
	return text;
}

/* Draws what this round asks for; returns how many samples were paid for */
static inline int
answer(Query *query, const Model *model)
{
	int			paid = 0;

	for (int i = 0; i < query->ndocs; i++)
	{
		int			missing = rstar_passes_target(query->passes, i) - query->samples[i];

		if (missing <= 0)
			continue;
		for (int j = 0; j < missing; j++)
		{
			int			score = model->mean[i] + random_below(2 * model->noise + 1) - model->noise;

			paid++;
			if (!chance(model->unscored))
				query->scores[i][query->samples[i]++] = score < 0 ? 0 : score > 100 ? 100 : score;
		}
		query->failed[i] = chance(model->failing);
		feed(query, i);
	}
	return paid;
}

#endif							/* RSTAR_PASSES_QUERY_H */
