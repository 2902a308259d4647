/*-------------------------------------------------------------------------
 *
 * passes_test.c
 *		Tests of the rules of src/functions/passes.c, by example.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>

#include "passes_query.h"

static void test_fixed(void);
static void test_fixed_unscored(void);
static void test_adaptive(void);
static void test_adaptive_pooled(void);
static void test_adaptive_known(void);
static void test_members(void);
static void test_order(void);
static void test_sizes(void);
static void test_feed(void);

int
main(void)
{
	test_fixed();
	test_fixed_unscored();
	test_adaptive();
	test_adaptive_pooled();
	test_adaptive_known();
	test_members();
	test_order();
	test_sizes();
	test_feed();
	return check_end("passes_test");
}

/* Fixed passes */

static void
test_fixed(void)
{
	Query		query;
	Model		model = {.noise = 30};
	static Query many;
	int			paid = 0;

	CASE("100@1,30@16 is 550 samples, not 580");
	many.spec = parsed("100@1,30@16");
	many.memory = malloc(rstar_passes_size(100));
	many.passes = rstar_passes_create(many.memory, &many.spec, 100, 0);
	for (int round = 0; round < 2; round++)
	{
		CHECK_INT(rstar_passes_next(many.passes), round == 0 ? 100 : 30);
		for (int i = 0; i < 100; i++)
		{
			RstarPassesKnown known = {rstar_passes_target(many.passes, i), 0, 0, false};

			if (known.samples == 0)
				continue;
			paid += known.samples - (round > 0);
			known.sum = known.samples * (i % 50);
			known.sum_squares = known.samples * (i % 50) * (i % 50);
			rstar_passes_feed(many.passes, i, &known);
		}
	}
	CHECK_INT(rstar_passes_next(many.passes), 0);
	CHECK_INT(paid, 550);
	free(many.memory);

	CASE("a number is one round for all");
	query_begin(&query, "4", 5, 2);
	CHECK_INT(rstar_passes_next(query.passes), 5);
	CHECK_STR(targets(&query), "4 4 4 4 4");
	CHECK_INT(answer(&query, &model), 20);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(targets(&query), "0 0 0 0 0");
	query_end(&query);

	CASE("each pass keeps the best of the one before");
	query_begin(&query, "5@1,3@2,2@4", 6, 0);
	CHECK_INT(rstar_passes_next(query.passes), 5);
	CHECK_STR(targets(&query), "1 1 1 1 1 0");
	for (int i = 0; i < 5; i++)
		add_score(&query, i, (int[]) {10, 50, 40, 30, 20}[i]);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	CHECK_STR(targets(&query), "0 2 2 2 0 0");
	/* 1, 2 and 3 fall below the others, which are out all the same */
	for (int i = 1; i <= 3; i++)
		add_score(&query, i, 0);
	add_score(&query, 4, 20);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "0 4 4 0 0 0");
	CHECK_STR(order(&query), "1 2 3 4 0 5");
	query_end(&query);

	CASE("who got into a later pass ranks before who did not");
	query_begin(&query, "4@1,2@3", 5, 0);
	CHECK_INT(rstar_passes_reached(query.passes, 0), 0);
	(void) rstar_passes_next(query.passes);
	for (int i = 0; i < 4; i++)
		add_score(&query, i, (int[]) {40, 50, 60, 70}[i]);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	for (int j = 0; j < 2; j++)
	{
		add_score(&query, 2, 0);	/* mean 20 */
		add_score(&query, 3, 10);	/* mean 30 */
	}
	/* many samples, from elsewhere, make nobody one of the chosen */
	for (int j = 0; j < 20; j++)
		add_score(&query, 0, 90);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "3 2 0 1 4");
	for (int i = 0; i < 5; i++)
		CHECK_INT(rstar_passes_reached(query.passes, i), i == 4 ? 0 : i < 2 ? 1 : 2);
	query_end(&query);

	CASE("the other rules know no such rank: plain mean");
	for (int i = 0; i < 2; i++)
	{
		query_begin(&query, i ? "members" : "adaptive", 12, 1);
		(void) rstar_passes_next(query.passes);
		for (int j = 0; j < 12; j++)
			add_score(&query, j, j == 0 ? 90 : j == 1 ? 85 : 10);
		CHECK_INT(rstar_passes_next(query.passes), 2);
		add_score(&query, 0, 0);	/* mean 45 */
		add_score(&query, 1, 0);	/* mean 42.5 */
		add_score(&query, 5, 78);	/* mean 44 */
		CHECK_STR(order(&query), "0 5 1 2 3 4 6 7 8 9 10 11");
		query_end(&query);
	}

	CASE("what is known counts, and a round that misses nothing is passed over");
	query_begin(&query, "3@1,2@2", 3, 0);
	for (int i = 0; i < 3; i++)
		add_score(&query, i, 10 * i);
	add_score(&query, 2, 20);
	CHECK_INT(rstar_passes_next(query.passes), 1);
	CHECK_STR(targets(&query), "0 2 0");
	add_score(&query, 1, 10);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	query_end(&query);
}

static void
test_fixed_unscored(void)
{
	Query		query;

	CASE("no score: does the first pass over, takes nobody's place");
	query_begin(&query, "4@1,2@3,2@5", 4, 0);
	CHECK_INT(rstar_passes_next(query.passes), 4);
	add_score(&query, 1, 30);
	add_score(&query, 2, 40);
	add_score(&query, 3, 50);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	CHECK_STR(targets(&query), "1 0 3 3");
	CHECK_STR(order(&query), "3 2 1 0");
	add_score(&query, 0, 90);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "0 0 5 5");
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "3 2 0 1");
	query_end(&query);

	CASE("failed in a later pass: keeps its place among those of the pass");
	query_begin(&query, "4@1,2@3", 4, 0);
	(void) rstar_passes_next(query.passes);
	for (int i = 0; i < 4; i++)
		add_score(&query, i, 20 * i);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	fail(&query, 2);
	add_score(&query, 3, 0);	/* mean 30 */
	add_score(&query, 3, 30);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "2 3 1 0");
	query_end(&query);

	CASE("failed: not asked again, last, unless it has samples");
	query_begin(&query, "4@1,3@3", 4, 0);
	CHECK_INT(rstar_passes_next(query.passes), 4);
	fail(&query, 0);
	add_score(&query, 1, 30);
	add_score(&query, 2, 40);
	add_score(&query, 3, 50);
	fail(&query, 3);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "0 3 3 0");
	CHECK_STR(order(&query), "3 2 1 0");
	query_end(&query);

	CASE("nothing but failures");
	query_begin(&query, "adaptive", 3, 0);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	for (int i = 0; i < 3; i++)
		fail(&query, i);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "0 1 2");
	query_end(&query);
}

/* Adaptive */

static void
test_adaptive(void)
{
	Query		query;

	/* means 90 87 84 81 78 (the bar) 75 72 69 66 ..., one sample each */
	CASE("within 1.2 standard deviations of the bar");
	query_begin(&query, "adaptive", 12, 5);
	CHECK_INT(rstar_passes_next(query.passes), 12);
	for (int i = 0; i < 12; i++)
		add_score(&query, i, 90 - 3 * i);
	CHECK_INT(rstar_passes_next(query.passes), 8);	/* 78 - 9.6 = 68.4 */
	CHECK_STR(targets(&query), "3 3 3 3 3 3 3 3 0 0 0 0");
	query_end(&query);

	CASE("within one where the rounds end at 8");
	query_begin(&query, "adaptive:1,2,8", 12, 5);
	CHECK_INT(rstar_passes_next(query.passes), 12);
	for (int i = 0; i < 12; i++)
		add_score(&query, i, 90 - 3 * i);
	CHECK_INT(rstar_passes_next(query.passes), 7);	/* 78 - 8 = 70 */
	CHECK_STR(targets(&query), "2 2 2 2 2 2 2 0 0 0 0 0");
	query_end(&query);

	CASE("on the bar's edge is in");
	query_begin(&query, "adaptive:1,2", 3, 1);
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 50);
	add_score(&query, 1, 42);
	add_score(&query, 2, 41);
	(void) rstar_passes_next(query.passes);
	CHECK_STR(targets(&query), "2 2 0");
	query_end(&query);

	CASE("at most 3k, the caller's first among equals");
	query_begin(&query, "adaptive", 9, 2);
	(void) rstar_passes_next(query.passes);
	for (int i = 0; i < 9; i++)
		add_score(&query, i, 50);
	CHECK_INT(rstar_passes_next(query.passes), 6);
	CHECK_STR(targets(&query), "3 3 3 3 3 3 0 0 0");
	query_end(&query);

	CASE("all wanted: the first ten matter");
	query_begin(&query, "adaptive", 40, 0);
	(void) rstar_passes_next(query.passes);
	for (int i = 0; i < 40; i++)
		add_score(&query, i, 90 - 2 * i);
	CHECK_INT(rstar_passes_next(query.passes), 14);	/* 72 - 9.6 = 62.4 */
	query_end(&query);

	CASE("no score: asked again for what the first round asks, above the bar or not");
	query_begin(&query, "adaptive:2,4", 4, 1);
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 90);
	add_score(&query, 1, 20);
	fail(&query, 3);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "4 0 2 0");
	query_end(&query);

	CASE("fewer than k with a score: no bar yet");
	query_begin(&query, "adaptive", 4, 3);
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 90);
	add_score(&query, 1, 0);
	CHECK_INT(rstar_passes_next(query.passes), 4);
	CHECK_STR(targets(&query), "3 3 1 1");
	query_end(&query);
}

static void
test_adaptive_pooled(void)
{
	Query		query;

	/*
	 * Squared deviations: 50 + 600 + 20 * 64 = 1930 over 1 + 2 + 20 = 23:
	 * standard deviation 9.1604, of a mean of four half of that.
	 */
	CASE("pooled standard deviation");
	query_begin(&query, "adaptive:1,12", 5, 1);
	for (int i = 0; i < 2; i++)
		add_score(&query, 0, 10 + 10 * i);
	for (int i = 0; i < 3; i++)
		add_score(&query, 1, (int[]) {50, 50, 80}[i]);	/* mean 60 */
	add_score(&query, 2, 49);	/* 60 - 1.2 * 9.1604 = 49.007 */
	add_score(&query, 3, 50);
	for (int i = 0; i < 4; i++)
		add_score(&query, 4, 54);	/* 60 - 1.2 * 4.5802 = 54.504 */
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "0 12 0 12 0");
	query_end(&query);

	/* large sums, small deviations: exact, or the margin would be off */
	CASE("no cancellation");
	query_begin(&query, "adaptive:1,64", 3, 1);
	{
		int			n = RSTAR_PASSES_MAX_KNOWN;
		int64_t		sum = (int64_t) n * 99 + n / 2;
		RstarPassesKnown half = {n, sum, (int64_t) n / 2 * (99 * 99 + 100 * 100), false};

		CHECK(rstar_passes_feed(query.passes, 0, &half));	/* variance 1/4 */
	}
	add_score(&query, 1, 99);	/* 99.5 - 0.5 * 1.2 = 98.9 */
	add_score(&query, 2, 98);
	CHECK_INT(rstar_passes_next(query.passes), 1);
	CHECK_STR(targets(&query), "0 64 0");
	query_end(&query);
}

static void
test_adaptive_known(void)
{
	Query		query;

	CASE("known samples save their rounds");
	query_begin(&query, "adaptive", 4, 1);
	for (int i = 0; i < 4; i++)
		for (int j = 0; j < 3; j++)
			add_score(&query, i, i == 3 ? 10 : 80);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	CHECK_STR(targets(&query), "6 6 6 0");
	query_end(&query);

	CASE("everything is known");
	query_begin(&query, "adaptive", 2, 2);
	for (int i = 0; i < 2; i++)
		for (int j = 0; j < 12; j++)
			add_score(&query, i, 50 + i);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "1 0");
	query_end(&query);
}

/* Members */

static void
test_members(void)
{
	Query		query;

	/* radius 8: inside 82..98 and 62..78, outside 60..76 and 22..38 */
	CASE("only what is open");
	query_begin(&query, "members", 4, 2);
	CHECK_INT(rstar_passes_next(query.passes), 4);
	CHECK_STR(targets(&query), "1 1 1 1");
	for (int i = 0; i < 4; i++)
		add_score(&query, i, (int[]) {90, 70, 68, 30}[i]);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "0 2 2 0");
	add_score(&query, 1, 70);
	add_score(&query, 2, 38);	/* means 70 and 53, apart now */
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "0 1 2 3");
	query_end(&query);

	CASE("intervals that only touch are apart");
	query_begin(&query, "members", 2, 1);
	add_score(&query, 0, 90);
	add_score(&query, 1, 74);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	query_end(&query);

	CASE("doubles what a document has, up to 16");
	query_begin(&query, "members", 3, 1);
	for (int j = 0; j < 3; j++)
		add_score(&query, 0, 50);
	for (int j = 0; j < 16; j++)
		add_score(&query, 1, 50);
	add_score(&query, 2, 50);
	CHECK_INT(rstar_passes_next(query.passes), 2);
	CHECK_STR(targets(&query), "4 0 2");
	query_end(&query);

	CASE("nobody is outside: one sample each");
	query_begin(&query, "members", 3, 0);
	CHECK_INT(rstar_passes_next(query.passes), 3);
	for (int i = 0; i < 3; i++)
		add_score(&query, i, 50);
	CHECK_INT(rstar_passes_next(query.passes), 0);
	query_end(&query);

	CASE("no score: asked again, opens nobody else's place");
	query_begin(&query, "members", 3, 1);
	(void) rstar_passes_next(query.passes);
	add_score(&query, 0, 90);
	add_score(&query, 1, 30);
	CHECK_INT(rstar_passes_next(query.passes), 1);
	CHECK_STR(targets(&query), "0 0 1");
	query_end(&query);
}

/* What all have in common */

static void
test_order(void)
{
	Query		query;
	double		score;

	CASE("mean, then the caller's order, then those without a score");
	query_begin(&query, "16", 6, 0);
	add_score(&query, 1, 40);
	add_score(&query, 2, 70);
	add_score(&query, 4, 30);
	add_score(&query, 4, 50);
	add_score(&query, 5, 0);
	CHECK_STR(order(&query), "2 1 4 5 0 3");
	CHECK(rstar_passes_score(query.passes, 4, &score) && score == 40);
	CHECK(rstar_passes_score(query.passes, 5, &score) && score == 0);
	CHECK(!rstar_passes_score(query.passes, 0, &score));
	query_end(&query);

	CASE("thirds are ties whatever they are made of");
	query_begin(&query, "16", 2, 0);
	for (int i = 0; i < 6; i++)
		add_score(&query, 0, i < 2 ? 51 : 50);
	for (int i = 0; i < 3; i++)
		add_score(&query, 1, i < 1 ? 51 : 50);
	CHECK_STR(order(&query), "0 1");
	add_score(&query, 1, 51);
	CHECK_STR(order(&query), "1 0");
	query_end(&query);
}

static void
test_sizes(void)
{
	static const char *const specs[] = {"16", "100@1,30@16", "adaptive", "members"};
	Model		model = {.noise = 10};
	Query		query;

	for (int i = 0; i < 4; i++)
	{
		CASE(specs[i]);
		query_begin(&query, specs[i], 0, 10);
		CHECK_INT(rstar_passes_next(query.passes), 0);
		CHECK_STR(order(&query), "");
		query_end(&query);

		query_begin(&query, specs[i], 1, 0);
		CHECK_INT(rstar_passes_next(query.passes), 1);
		CHECK(answer(&query, &model) >= 1);
		while (rstar_passes_next(query.passes) > 0)
			(void) answer(&query, &model);
		CHECK_STR(order(&query), "0");
		query_end(&query);

		query_begin(&query, specs[i], 3, INT_MAX);
		CHECK_INT(rstar_passes_next(query.passes), 3);
		CHECK(answer(&query, &model) >= 3);
		while (rstar_passes_next(query.passes) > 0)
			(void) answer(&query, &model);
		CHECK(query.samples[0] == query.samples[1] && query.samples[1] == query.samples[2]);
		CHECK_INT(query.samples[0], i < 2 ? 16 : i == 2 ? 12 : 1);
		query_end(&query);
	}
}

static void
test_feed(void)
{
	static const RstarPassesKnown impossible[] = {
		{-1, 0, 0, false},
		{0, 1, 1, false},
		{1, -1, 1, false},
		{1, 101, 10201, false},
		{2, 100, 20001, false},
		{2, 100, 4999, false},	/* 50 and 50 give 5000, anything else more */
		{2, 100, -1, false},
		{RSTAR_PASSES_MAX_KNOWN + 1, 0, 0, false}
	};
	RstarPassesKnown known = {2, 100, 5000, false};
	Query		query;

	CASE("impossible totals are refused");
	query_begin(&query, "adaptive", 1, 0);
	for (size_t i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++)
		CHECK(!rstar_passes_feed(query.passes, 0, &impossible[i]));
	CHECK(!rstar_passes_feed(query.passes, 1, &known));
	CHECK(!rstar_passes_feed(query.passes, -1, &known));
	CHECK(rstar_passes_feed(query.passes, 0, &known));
	query_end(&query);
}
