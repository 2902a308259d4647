/*-------------------------------------------------------------------------
 *
 * ranking_test.c
 *		Tests of src/functions/ranking.c and spread.c, by example.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "functions/passes.h"
#include "functions/ranking.h"

static void test_order(void);
static void test_error(void);
static void test_settled(void);

int
main(void)
{
	test_order();
	test_error();
	test_settled();
	return check_end("ranking_test");
}

static RstarRankingRule
rule_of(RstarPassesKind kind, double z, int k)
{
	RstarRankingRule rule = {.kind = kind, .z = z, .k = k};

	rstar_spread_begin(&rule.spread);
	return rule;
}

static RstarRanked
scored(int doc, double score, int samples)
{
	return (RstarRanked) {
		.doc = doc,
		.scored = true,
		.pass = 1,
		.samples = samples,
		.counted = samples,
		.score = score,
		.place = NAN
	};
}

/* Who is where, a dot behind each that is settled: "2. 0 1." */
static const char *
text_of(const RstarRanked *ranked, int n)
{
	static char text[256];
	int			len = 0;

	text[0] = '\0';
	for (int i = 0; i < n; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s%d%s", i ? " " : "", ranked[i].doc,
						ranked[i].settled ? "." : "");
	return text;
}

static void
test_order(void)
{
	RstarRankingRule rule = rule_of(RSTAR_PASSES_FIXED, 1.2, 99);
	RstarRanked ranked[6];

	CASE("passes, fused value, prior, the caller's order; at the end by prior");
	rule.weight = 0.2;
	for (int i = 0; i < 6; i++)
	{
		ranked[i] = scored(i, (int[]) {90, 75, 50, 40, 0, 0}[i], 1);
		ranked[i].place = (double[]) {0, 0, 1, NAN, 0.2, 0.4}[i];
		ranked[i].pass = i == 3 ? 2 : i < 4;
		ranked[i].scored = i < 4;
	}
	rstar_ranking_sort(ranked, 6, &rule);
	CHECK_STR(text_of(ranked, 6), "3 0 2 1 5 4");
	CHECK(fabs(ranked[1].fused - 72) < 1e-9 && fabs(ranked[2].fused - 60) < 1e-9);

	CASE("weight 0: priors break no tie, and fused is the score");
	rule.weight = 0;
	for (int i = 0; i < 3; i++)
	{
		ranked[i] = scored(i, 100.0 / 3, 3);
		ranked[i].place = i / 2.0;
	}
	rstar_ranking_sort(ranked, 3, &rule);
	CHECK_STR(text_of(ranked, 3), "0 1 2");
	CHECK(ranked[2].fused == 100.0 / 3);

	CASE("nothing");
	rstar_ranking_sort(ranked, 0, &rule);
}

static void
test_error(void)
{
	RstarRankingRule rule = rule_of(RSTAR_PASSES_ADAPTIVE, 1.2, 1);
	RstarRanked ranked[2] = {scored(0, 50, 1), scored(1, 40, 4)};

	CASE("one sample of each: nothing to pool, so none");
	rstar_spread_add(&rule.spread, 1, 50, 2500);
	rstar_ranking_sort(ranked, 2, &rule);
	CHECK(ranked[0].unsure && ranked[1].unsure);

	/* squared deviations 100 of 30 30 40 40 (sum of squares 5000), and the guess: 20 * 64 */
	CASE("pooled, of one sample too");
	rstar_spread_add(&rule.spread, 4, 140, 5000);
	rstar_ranking_sort(ranked, 2, &rule);
	CHECK(!ranked[0].unsure && !ranked[1].unsure);
	CHECK(fabs(ranked[0].error - sqrt((1280.0 + 100) / 23)) < 1e-9);
	CHECK(fabs(ranked[1].error - ranked[0].error / 2) < 1e-9);

	CASE("large sums, small deviations");
	rstar_spread_begin(&rule.spread);
	rstar_spread_add(&rule.spread, 1 << 24, (INT64_C(1) << 24) * 99 + (1 << 23),
					 (INT64_C(1) << 23) * (99 * 99 + 100 * 100));
	CHECK(fabs(rstar_spread_sd(&rule.spread) - 0.5) < 0.001);
}

/* Means 90 70 65 40, one sample each: sd 8, nothing pooled */
static void
test_settled(void)
{
	RstarRankingRule adaptive = rule_of(RSTAR_PASSES_ADAPTIVE, 1.2, 2);
	RstarRankingRule members = rule_of(RSTAR_PASSES_MEMBERS, 1, 2);
	RstarRanked ranked[4];

	CASE("away from the boundary by more than z standard errors");
	for (int i = 0; i < 4; i++)
		ranked[i] = scored(i, (int[]) {90, 70, 65, 40}[i], 1);
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0. 1 2 3.");

	CASE("on the edge is open");
	for (int i = 0; i < 4; i++)
		ranked[i] = scored(i, (double[]) {90, 70, 60.4, 40}[i], 1);
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0. 1 2 3.");
	ranked[2] = scored(2, 60.3, 1);
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0. 1. 2. 3.");

	CASE("more samples settle");
	for (int i = 0; i < 4; i++)
		ranked[i] = scored(i, (int[]) {90, 70, 65, 40}[i], 4);
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0. 1. 2. 3.");

	CASE("members compare with intervals, which may touch");
	for (int i = 0; i < 4; i++)
		ranked[i] = scored(i, (int[]) {90, 70, 55, 40}[i], 1);
	rstar_ranking_sort(ranked, 4, &members);
	CHECK_STR(text_of(ranked, 4), "0. 1 2 3.");
	ranked[2] = scored(2, 54, 1);
	rstar_ranking_sort(ranked, 4, &members);
	CHECK_STR(text_of(ranked, 4), "0. 1. 2. 3.");

	CASE("by fused values");
	adaptive.weight = 0.2;
	for (int i = 0; i < 4; i++)
	{
		ranked[i] = scored(i, (int[]) {90, 70, 65, 40}[i], 1);
		ranked[i].place = i == 1;
	}
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "1. 0. 2. 3.");

	CASE("one that an earlier pass refused, and is better");
	for (int i = 0; i < 3; i++)
		ranked[i] = scored(i, (int[]) {80, 70, 90}[i], 16);
	ranked[0].pass = ranked[1].pass = 2;
	adaptive.weight = 0;
	rstar_ranking_sort(ranked, 3, &adaptive);
	CHECK_STR(text_of(ranked, 3), "0 1 2");

	CASE("fewer than k have a score: nothing is; all are inside: everything");
	for (int i = 0; i < 4; i++)
		ranked[i] = scored(i, 90 - 20 * i, 9);
	ranked[3].scored = false;
	adaptive.k = 4;
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0 1 2 3");
	adaptive.k = 3;
	rstar_ranking_sort(ranked, 4, &adaptive);
	CHECK_STR(text_of(ranked, 4), "0. 1. 2. 3");
}
