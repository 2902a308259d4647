/*-------------------------------------------------------------------------
 *
 * priors_sim_test.c
 *		A small part of what test/bench/passes_sim --priors asserts.
 *
 * 400 queries of a few worlds: enough to see that what is far away from the
 * limits has not come nearer.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "passes_priors.h"

#define QUERIES 400

static void test_useful(const char *name, int world, double least);
static void test_bad(const char *name, PriorsKind kind);

int
main(void)
{
	test_useful("the retriever's prior", 0, 2);
	test_useful("errors that are shared", 1, 1);
	test_bad("useless priors", PRIORS_USELESS);
	test_bad("reversed priors", PRIORS_REVERSED);
	return check_end("priors_sim_test");
}

static void
test_useful(const char *name, int world, double least)
{
	PriorsWorld result = {.world = &worlds[world], .kind = PRIORS_RETRIEVER};

	priors_simulate(&result, QUERIES, 1);
	CASE(name);
	CHECK(sum_mean(result.ways[PRIORS_LEAN].samples) <= 95);
	CHECK(sum_mean(result.ways[PRIORS_LEAN].over_sixteen) > least);
	CHECK(sum_mean(result.ways[PRIORS_DEFAULT].over_adaptive) > least);
	CHECK(sum_mean(result.ways[PRIORS_DEFAULT].samples) <
		  sum_mean(result.ways[PRIORS_ADAPTIVE].samples));
	CHECK_INT(result.differing, 0);
}

static void
test_bad(const char *name, PriorsKind kind)
{
	PriorsWorld result = {.world = WORLD_BASE, .kind = kind};

	priors_simulate(&result, QUERIES, 1);
	CASE(name);
	CHECK(sum_mean(result.ways[PRIORS_DEFAULT].over_adaptive) > -1);
	CHECK(sum_mean(result.ways[PRIORS_DEFAULT].over_adaptive) >
		  sum_mean(result.ways[PRIORS_WRITTEN].over_adaptive));
	CHECK_INT(result.differing, 0);
}
