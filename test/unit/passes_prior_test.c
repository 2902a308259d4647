/*-------------------------------------------------------------------------
 *
 * passes_prior_test.c
 *		Tests of src/functions/passes.c with priors, by example.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "passes_query.h"

static void test_decisions(void);
static void test_candidates(void);
static void test_trust(void);
static void test_nothing(void);

int
main(void)
{
	test_decisions();
	test_candidates();
	test_trust();
	test_nothing();
	return check_end("passes_prior_test");
}

/* A query whose documents have priors at these places */
static void
begin(Query *query, const char *text, int ndocs, int top_n, const double *places)
{
	query_begin(query, text, ndocs, top_n);
	rstar_passes_weigh(query->passes, 0.2, false);
	for (int i = 0; i < ndocs; i++)
		rstar_passes_prior(query->passes, i, places[i]);
}

/*
 * All rounds of documents with the same score each time: those asked for in
 * each, and the order, both from 1: "123 13 | 3 1 2"
 */
static const char *
play(Query *query, const int *scores)
{
	static char text[512];
	int			docs[MAX_DOCS];
	int			len = 0;

	while (rstar_passes_next(query->passes) > 0)
	{
		for (int i = 0; i < query->ndocs; i++)
		{
			if (rstar_passes_target(query->passes, i) == 0)
				continue;
			len += snprintf(text + len, sizeof(text) - len, "%d", i + 1);
			while (query->samples[i] < rstar_passes_target(query->passes, i))
				add_score(query, i, scores[i]);
		}
		len += snprintf(text + len, sizeof(text) - len, " ");
	}
	rstar_passes_order(query->passes, docs);
	len += snprintf(text + len, sizeof(text) - len, "|");
	for (int i = 0; i < query->ndocs; i++)
		len += snprintf(text + len, sizeof(text) - len, " %d", docs[i] + 1);
	query_end(query);
	return text;
}

static void
test_decisions(void)
{
	Query		query;
	double		score;

	/* 50 40 55: the bar is 55, 50 + 1.2 * 8 = 59.6 reaches it, 49.6 does not */
	CASE("adaptive rounds go by mean and bonus");
	query_begin(&query, "adaptive:1,3", 3, 1);
	CHECK_STR(play(&query, (int[]) {50, 40, 30}), "123 1 | 1 2 3");
	begin(&query, "adaptive:1,3", 3, 1, (double[]) {0, 0, 1});
	CHECK_STR(play(&query, (int[]) {50, 40, 30}), "123 13 | 3 1 2");

	CASE("so does the order");
	query_begin(&query, "1", 3, 0);
	CHECK_STR(play(&query, (int[]) {80, 60, 90}), "123 | 3 1 2");
	begin(&query, "1", 3, 0, (double[]) {1, 0.5, 0});
	CHECK_STR(play(&query, (int[]) {80, 60, 90}), "123 | 1 3 2");

	CASE("and fixed passes");
	query_begin(&query, "3@1,1@4", 3, 1);
	CHECK_STR(play(&query, (int[]) {80, 60, 90}), "123 3 | 3 1 2");
	begin(&query, "3@1,1@4", 3, 1, (double[]) {1, 0.5, 0});
	CHECK_STR(play(&query, (int[]) {80, 60, 90}), "123 1 | 1 3 2");

	CASE("members: 2 is apart when it has two samples");
	begin(&query, "members", 3, 1, (double[]) {0, 0, 1});
	CHECK_STR(play(&query, (int[]) {50, 40, 30}), "123 123 13 13 | 3 1 2");

	CASE("equal fused values: the higher prior first");
	begin(&query, "1", 2, 1, (double[]) {0, 1});
	CHECK_STR(play(&query, (int[]) {75, 50}), "12 | 2 1");

	CASE("the score is left alone");
	begin(&query, "1", 2, 0, (double[]) {0, 1});
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 70);
	add_score(&query, 1, 60);
	(void) rstar_passes_next(query.passes);
	CHECK_STR(order(&query), "1 0");
	CHECK(rstar_passes_score(query.passes, 1, &score) && score == 60);
	query_end(&query);

	CASE("those without a score by prior, none as the lowest, then as they came");
	begin(&query, "1", 5, 0, (double[]) {0, 0.5, NAN, 1, 0});
	(void) rstar_passes_next(query.passes);
	fail(&query, 0);
	fail(&query, 1);
	fail(&query, 2);
	fail(&query, 3);
	add_score(&query, 4, 0);
	(void) rstar_passes_next(query.passes);
	CHECK_STR(order(&query), "4 3 1 0 2");
	query_end(&query);
}

static void
test_candidates(void)
{
	Query		query;

	CASE("so many are the best by prior, ties as they came");
	begin(&query, "3@1,1@2", 5, 0, (double[]) {0.1, 0.5, 1, 0.5, 0.5});
	CHECK_STR(play(&query, (int[]) {99, 10, 20, 30, 99}), "234 3 | 3 4 2 5 1");

	CASE("without priors the first");
	query_begin(&query, "3@1,1@2", 5, 0);
	CHECK_STR(play(&query, (int[]) {99, 10, 20, 30, 99}), "123 1 | 1 3 2 4 5");

	CASE("none is as the lowest");
	begin(&query, "2@1", 4, 0, (double[]) {NAN, 0, 0.4, NAN});
	CHECK_STR(play(&query, (int[]) {1, 2, 3, 4}), "13 | 3 1 2 4");

	CASE("lean: sixty-five of seventy");
	for (int priors = 0; priors < 2; priors++)
	{
		double		places[70];
		int			candidates = 0;

		for (int i = 0; i < 70; i++)
			places[i] = i / 69.0;
		if (priors)
			begin(&query, "lean", 70, 10, places);
		else
			query_begin(&query, "lean", 70, 10);
		CHECK_INT(rstar_passes_next(query.passes), 65);
		for (int i = 0; i < 70; i++)
		{
			CHECK_INT(rstar_passes_target(query.passes, i), priors ? i >= 5 : i < 65);
			if (rstar_passes_target(query.passes, i) > 0)
				add_score(&query, i, 50);
		}
		/* the others are not asked, though they have no score */
		for (int round = 2; round <= 3; round++)
		{
			int			asked = rstar_passes_next(query.passes);

			/* all could, by their means; half as many more as are wanted do */
			CHECK_INT(asked, 15);
			for (int i = 0; i < 70; i++)
			{
				int			target = rstar_passes_target(query.passes, i);

				CHECK(target == 0 || (target == round && query.samples[i] > 0));
				while (query.samples[i] < target)
					add_score(&query, i, 50);
			}
		}
		CHECK_INT(rstar_passes_next(query.passes), 0);
		for (int i = 0; i < 70; i++)
			candidates += rstar_passes_reached(query.passes, i);
		CHECK_INT(candidates, 65);
		query_end(&query);
	}

	CASE("lean: two more at least");
	query_begin(&query, "lean", 9, 1);
	CHECK_STR(play(&query, (int[]) {50, 50, 50, 50, 50, 50, 50, 50, 50}), "123456789 123 123 | 1 2 3 4 5 6 7 8 9");
	CASE("where there are not so many, they are all");
	query_begin(&query, "lean", 2, 1);
	CHECK_STR(play(&query, (int[]) {50, 50}), "12 12 12 | 1 2");
}

static void
test_trust(void)
{
	const RstarPassesWeight *weight;
	Query		query;

	CASE("what the first round says is the trust, whatever comes later");
	query_begin(&query, "3@1,3@2", 3, 0);
	rstar_passes_weigh(query.passes, 0.2, true);
	for (int i = 0; i < 3; i++)
		rstar_passes_prior(query.passes, i, i / 2.0);
	(void) rstar_passes_next(query.passes);
	for (int i = 0; i < 3; i++)
		add_score(&query, i, 60 - 10 * i);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	weight = rstar_passes_weight(query.passes);
	CHECK(fabs(weight->correlation + 1) < 1e-9);
	CHECK_INT(weight->documents, 3);
	CHECK(weight->trust == 0 && weight->weight == 0);
	for (int i = 0; i < 3; i++)
		add_score(&query, i, 90 + i);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK(weight->weight == 0);
	/* means 75, 70.5, 66: no prior breaks the order of the scores */
	CHECK_STR(order(&query), "0 1 2");
	query_end(&query);

	CASE("a written weight is obeyed all the same");
	begin(&query, "1", 3, 0, (double[]) {0, 0.5, 1});
	CHECK_STR(play(&query, (int[]) {60, 50, 40}), "123 | 3 2 1");

	CASE("documents without a score are left out; of two nothing can be said");
	query_begin(&query, "1", 3, 0);
	rstar_passes_weigh(query.passes, 0.2, true);
	for (int i = 0; i < 3; i++)
		rstar_passes_prior(query.passes, i, i / 2.0);
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 10);
	add_score(&query, 2, 90);
	fail(&query, 1);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	weight = rstar_passes_weight(query.passes);
	CHECK_INT(weight->documents, 2);
	CHECK(weight->correlation == 0 && fabs(weight->weight - 0.1) < 1e-9);
	query_end(&query);
}

/* With weight 0 nothing is another way: who is chosen, who is asked, ties */
static void
test_nothing(void)
{
	static const char *const specs[] = {"4@1,2@3", "adaptive", "lean", "members"};
	Query		with;
	Query		without;
	int			docs[6];
	int			expected[6];

	CASE("weight 0");
	for (int i = 0; i < 4; i++)
	{
		query_begin(&with, specs[i], 6, 2);
		query_begin(&without, specs[i], 6, 2);
		rstar_passes_weigh(with.passes, 0, false);
		for (int j = 0; j < 6; j++)
			rstar_passes_prior(with.passes, j, j / 5.0);
		while (rstar_passes_next(without.passes) > 0)
		{
			(void) rstar_passes_next(with.passes);
			for (int j = 0; j < 6; j++)
			{
				CHECK_INT(rstar_passes_target(with.passes, j),
						  rstar_passes_target(without.passes, j));
				while (without.samples[j] < rstar_passes_target(without.passes, j))
				{
					add_score(&with, j, 50 + j / 2);
					add_score(&without, j, 50 + j / 2);
				}
			}
		}
		CHECK_INT(rstar_passes_next(with.passes), 0);
		rstar_passes_order(with.passes, docs);
		rstar_passes_order(without.passes, expected);
		CHECK(memcmp(docs, expected, 6 * sizeof(int)) == 0);
		query_end(&with);
		query_end(&without);
	}
}
