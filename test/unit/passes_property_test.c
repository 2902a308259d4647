/*-------------------------------------------------------------------------
 *
 * passes_property_test.c
 *		Properties of src/functions/passes.c that hold for any documents and
 *		any answers; with the argument "bench", its times.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <time.h>

#include "passes_query.h"

static void test_properties(void);
static void test_again(void);
static int	bench(void);

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		return bench();
	test_properties();
	test_again();
	return check_end("passes_property_test");
}

/* How many documents rank before this one, by definition */
static int
rank_of(const Query *query, int doc)
{
	int			pass = rstar_passes_reached(query->passes, doc);
	int			rank = 0;
	double		sum[2] = {0, 0};

	for (int j = 0; j < query->samples[doc]; j++)
		sum[0] += query->scores[doc][j];
	for (int i = 0; i < query->ndocs; i++)
	{
		double		left;
		double		right;

		sum[1] = 0;
		for (int j = 0; j < query->samples[i]; j++)
			sum[1] += query->scores[i][j];
		left = query->samples[i] ? sum[1] * query->samples[doc] : -1;
		right = query->samples[doc] ? sum[0] * query->samples[i] : -1;
		if (query->samples[i] == 0 || query->samples[doc] == 0)
		{
			left = query->samples[i] > 0;
			right = query->samples[doc] > 0;
		}
		else if (rstar_passes_reached(query->passes, i) != pass)
		{
			left = rstar_passes_reached(query->passes, i);
			right = pass;
		}
		rank += left > right || (left == right && i < doc);
	}
	return rank;
}

static double
mean(const Query *query, int doc)
{
	double		sum = 0;

	for (int j = 0; j < query->samples[doc]; j++)
		sum += query->scores[doc][j];
	return sum / query->samples[doc];
}

static double
standard_deviation(const Query *query)
{
	double		squares = 20 * 8 * 8;
	double		freedom = 20;

	for (int i = 0; i < query->ndocs; i++)
		for (int j = 0; j < query->samples[i]; j++)
		{
			squares += pow(query->scores[i][j] - mean(query, i), 2);
			freedom += j > 0;
		}
	return sqrt(squares / freedom);
}

/*
 * The adaptive rule as adaptive.md words it: 1 to be asked, 0 not, -1 too
 * close to say with rounding errors
 */
static int
is_contender(const Query *query, int doc, double bar, double sd)
{
	int			k = query->top_n > 0 ? query->top_n : 10;
	double		z = query->spec.rounds[query->spec.nrounds - 1].samples <= 8 ? 1 : 1.2;
	double		reach;

	if (query->samples[doc] == 0)
		return 1;
	if (rank_of(query, doc) >= 3 * (k < query->ndocs ? k : query->ndocs))
		return 0;
	reach = mean(query, doc) + z * sd / sqrt(query->samples[doc]);
	if (fabs(reach - bar) < 1e-9 && mean(query, doc) < bar)
		return -1;
	return reach >= bar;
}

/* Those asked in a round that is not the first: contenders who miss samples */
static void
check_contenders(const Query *query, int round)
{
	int			k = query->top_n > 0 ? query->top_n : 10;
	double		sd = standard_deviation(query);
	double		bar = -1;
	int			samples = query->spec.rounds[round].samples;

	if (k > query->ndocs)
		k = query->ndocs;
	for (int i = 0; i < query->ndocs; i++)
		if (query->samples[i] > 0 && rank_of(query, i) == k - 1)
			bar = mean(query, i);
	for (int i = 0; i < query->ndocs; i++)
	{
		int			contender = is_contender(query, i, bar, sd);
		int			target = query->samples[i] ? samples : query->spec.rounds[0].samples;

		if (query->failed[i] || query->samples[i] >= target)
			contender = 0;
		if (contender >= 0)
			CHECK_INT(rstar_passes_target(query->passes, i), contender ? target : 0);
	}
}

/*
 * Fixed passes where nothing is known before and each reply has a score:
 * "rank" are the ranks before the round began
 */
static void
check_chosen(const Query *query, int round, const int *rank)
{
	for (int i = 0; i < query->ndocs; i++)
	{
		bool		chosen = (round > 0 ? rank[i] : i) < query->spec.rounds[round].documents;

		CHECK_INT(rstar_passes_target(query->passes, i),
				  chosen ? query->spec.rounds[round].samples : 0);
		CHECK((rstar_passes_reached(query->passes, i) == round + 1) == chosen);
	}
}

static void
check_order(const Query *query)
{
	int			docs[MAX_DOCS];

	rstar_passes_order(query->passes, docs);
	for (int i = 0; i < query->ndocs; i++)
		CHECK_INT(rank_of(query, docs[i]), i);
}

static int
check_round(const Query *query, int asked)
{
	int			targets_set = 0;

	for (int i = 0; i < query->ndocs; i++)
	{
		int			target = rstar_passes_target(query->passes, i);

		targets_set += target > 0;
		if (target == 0)
			continue;
		CHECK(!query->failed[i]);
		CHECK(target > query->samples[i]);
		CHECK(target <= query->spec.rounds[query->spec.nrounds - 1].samples);
	}
	CHECK_INT(asked, targets_set);
	return targets_set;
}

static void
run_property(Query *query, const Model *model, bool plain)
{
	int64_t		most = 0;
	int			before = 0;
	int			paid = 0;
	int			rounds = 0;
	int			rank[MAX_DOCS] = {0};
	int			asked;

	for (int i = 0; i < query->spec.nrounds; i++)
	{
		int			documents = query->spec.rounds[i].documents;
		int			samples = query->spec.rounds[i].samples;

		if (documents > query->ndocs)
			documents = query->ndocs;
		most += (int64_t) documents * (samples - before);
		before = samples;
	}
	while ((asked = rstar_passes_next(query->passes)) > 0)
	{
		if (check_round(query, asked) == 0)
			return;
		if (plain && rounds > 0 && query->spec.kind == RSTAR_PASSES_ADAPTIVE)
			check_contenders(query, rounds);
		if (plain && query->spec.kind == RSTAR_PASSES_FIXED)
			check_chosen(query, rounds, rank);
		paid += answer(query, model);
		rounds++;
		for (int i = 0; plain && i < query->ndocs; i++)
			rank[i] = rank_of(query, i);
	}
	CHECK(rounds <= query->spec.nrounds);
	CHECK_INT(rstar_passes_next(query->passes), 0);
	check_round(query, 0);
	check_order(query);
	if (plain)
		CHECK(paid <= most);
	if (plain && query->spec.kind == RSTAR_PASSES_FIXED)
		CHECK_INT(paid, most);
}

static void
test_properties(void)
{
	static const char *const specs[] = {"1", "5", "40@1,12@6", "64@2,30@3,7@9,7@10", "adaptive",
		"adaptive:1,2,4,8", "adaptive:3,5", "adaptive:1,2,4,8,16", "members"
	};

	CASE("any documents, any answers");
	for (int run = 0; run < 4000; run++)
	{
		Query		query;
		Model		model;
		bool		plain = run % 2 == 0;	/* nothing known, each reply has a score */

		query_begin(&query, specs[random_below(9)], random_below(MAX_DOCS + 1),
					random_below(3) ? random_below(20) : 0);
		model.noise = random_below(30);
		model.unscored = plain ? 0 : 0.1 * random_below(11);
		model.failing = plain ? 0 : 0.05 * random_below(5);
		for (int i = 0; i < query.ndocs; i++)
		{
			model.mean[i] = random_below(101);
			for (int j = plain ? 0 : random_below(5) * random_below(5); j > 0; j--)
				add_score(&query, i, model.mean[i]);
		}
		run_property(&query, &model, plain);
		query_end(&query);
	}
}

/*
 * A query comes again when all of its samples are known, and tells of them
 * as it did the first time
 */
static void
test_again(void)
{
	static const char *const specs[] = {"3", "40@1,12@6", "adaptive", "members"};

	CASE("the same query again asks for nothing");
	for (int run = 0; run < 1000; run++)
	{
		Query		first;
		Query		again;
		Model		model = {.noise = 20};

		query_begin(&first, specs[run % 4], MAX_DOCS, 10);
		query_begin(&again, specs[run % 4], MAX_DOCS, 10);
		for (int i = 0; i < MAX_DOCS; i++)
			model.mean[i] = random_below(101);
		while (rstar_passes_next(first.passes) > 0)
			(void) answer(&first, &model);
		while (rstar_passes_next(again.passes) > 0)
			for (int i = 0; i < MAX_DOCS; i++)
			{
				int			target = rstar_passes_target(again.passes, i);

				CHECK(target <= first.samples[i]);
				while (again.samples[i] < target)
					add_score(&again, i, first.scores[i][again.samples[i]]);
			}
		for (int i = 0; i < MAX_DOCS; i++)
			CHECK_INT(again.samples[i], first.samples[i]);
		query_end(&first);
		query_end(&again);
	}
}

/* Times of the largest query there is */
static int
bench(void)
{
	enum
	{
		NDOCS = 100000
	};
	static int	docs[NDOCS];
	void	   *memory = malloc(rstar_passes_size(NDOCS));
	RstarPassesSpec spec = parsed("adaptive");
	RstarPasses *passes = rstar_passes_create(memory, &spec, NDOCS, 1000);
	int			asked;

	do
	{
		struct timespec start;
		struct timespec end;

		clock_gettime(CLOCK_MONOTONIC, &start);
		asked = rstar_passes_next(passes);
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("passes: adaptive round of %d documents, %d asked: %.1f ms\n", NDOCS, asked,
			   (end.tv_sec - start.tv_sec) * 1e3 + (end.tv_nsec - start.tv_nsec) / 1e6);
		for (int i = 0; i < NDOCS; i++)
		{
			RstarPassesKnown known = {rstar_passes_target(passes, i), 0, 0, false};

			for (int j = 0; j < known.samples; j++)
			{
				int			score = random_below(101);

				known.sum += score;
				known.sum_squares += score * score;
			}
			if (known.samples > 0)
				(void) rstar_passes_feed(passes, i, &known);
		}
	} while (asked > 0);
	rstar_passes_order(passes, docs);
	free(memory);
	return 0;
}
