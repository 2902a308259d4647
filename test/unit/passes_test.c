/*-------------------------------------------------------------------------
 *
 * passes_test.c
 *		Tests of src/passes.c; with the argument "bench", its times.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "passes.h"

#define MAX_DOCS 64
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

static void test_grammar(void);
static void test_grammar_errors(void);
static void test_grammar_noise(void);
static void test_fixed(void);
static void test_fixed_unscored(void);
static void test_adaptive(void);
static void test_adaptive_pooled(void);
static void test_adaptive_known(void);
static void test_members(void);
static void test_order(void);
static void test_sizes(void);
static void test_feed(void);
static void test_properties(void);
static void test_again(void);
static int	bench(void);

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		return bench();
	test_grammar();
	test_grammar_errors();
	test_grammar_noise();
	test_fixed();
	test_fixed_unscored();
	test_adaptive();
	test_adaptive_pooled();
	test_adaptive_known();
	test_members();
	test_order();
	test_sizes();
	test_feed();
	test_properties();
	test_again();
	return check_end("passes_test");
}

/* Helpers */

static uint64_t
random_bits(void)
{
	uint64_t	x = (random_state += 0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static int
random_below(int n)
{
	return (int) (random_bits() % (uint64_t) n);
}

static bool
chance(double p)
{
	return random_below(1000000) < p * 1000000;
}

/* From a copy of exactly this size, so that the sanitizer sees a step too far */
static RstarPassesCode
parse_bytes(RstarPassesSpec *spec, const char *text, size_t len, int *position)
{
	char	   *copy = malloc(len > 0 ? len : 1);
	RstarPassesCode code;

	memcpy(copy, text, len);
	code = rstar_passes_parse(spec, copy, len, position);
	free(copy);
	return code;
}

static RstarPassesSpec
parsed(const char *text)
{
	RstarPassesSpec spec;
	int			position;

	CHECK_INT(parse_bytes(&spec, text, strlen(text), &position), RSTAR_PASSES_OK);
	return spec;
}

static void
query_begin(Query *query, const char *text, int ndocs, int top_n)
{
	memset(query, 0, sizeof(Query));
	query->spec = parsed(text);
	query->ndocs = ndocs;
	query->top_n = top_n;
	query->memory = malloc(rstar_passes_size(ndocs));
	query->passes = rstar_passes_create(query->memory, &query->spec, ndocs, top_n);
}

static void
query_end(Query *query)
{
	free(query->memory);
}

static void
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

static void
add_score(Query *query, int doc, int score)
{
	query->scores[doc][query->samples[doc]++] = score;
	feed(query, doc);
}

static void
fail(Query *query, int doc)
{
	query->failed[doc] = true;
	feed(query, doc);
}

/* The targets as text, "1 1 0 3" */
static const char *
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

static const char *
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
static int
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

/* The grammar */

static void
test_grammar(void)
{
	RstarPassesSpec spec;

	CASE("a number of samples");
	spec = parsed("16");
	CHECK_INT(spec.kind, RSTAR_PASSES_FIXED);
	CHECK_INT(spec.nrounds, 1);
	CHECK_INT(spec.rounds[0].documents, INT_MAX);
	CHECK_INT(spec.rounds[0].samples, 16);
	CHECK_INT(parsed("1").rounds[0].samples, 1);
	CHECK_INT(parsed("64").rounds[0].samples, 64);

	CASE("passes");
	spec = parsed("100@1,30@16");
	CHECK_INT(spec.kind, RSTAR_PASSES_FIXED);
	CHECK_INT(spec.nrounds, 2);
	CHECK_INT(spec.rounds[0].documents, 100);
	CHECK_INT(spec.rounds[0].samples, 1);
	CHECK_INT(spec.rounds[1].documents, 30);
	CHECK_INT(spec.rounds[1].samples, 16);
	CHECK_INT(parsed("1000000@1").rounds[0].documents, 1000000);
	CHECK_INT(parsed("5@1,5@2").nrounds, 2);
	CHECK_INT(parsed("9@1,9@2,9@3,9@4,9@5,9@6,9@7,9@8,9@9,9@10,9@11,9@12,9@13,9@14,9@15,9@16").nrounds, 16);

	CASE("adaptive");
	spec = parsed("adaptive");
	CHECK_INT(spec.kind, RSTAR_PASSES_ADAPTIVE);
	CHECK_INT(spec.nrounds, 4);
	CHECK_INT(spec.rounds[0].samples, 1);
	CHECK_INT(spec.rounds[1].samples, 3);
	CHECK_INT(spec.rounds[2].samples, 6);
	CHECK_INT(spec.rounds[3].samples, 12);
	CHECK_INT(spec.rounds[0].documents, INT_MAX);
	spec = parsed("adaptive:2,64");
	CHECK_INT(spec.kind, RSTAR_PASSES_ADAPTIVE);
	CHECK_INT(spec.nrounds, 2);
	CHECK_INT(spec.rounds[1].samples, 64);
	CHECK_INT(parsed("adaptive:4").nrounds, 1);

	CASE("members");
	spec = parsed("members");
	CHECK_INT(spec.kind, RSTAR_PASSES_MEMBERS);
	CHECK_INT(spec.nrounds, 5);
	CHECK_INT(spec.rounds[4].samples, 16);

	CASE("white space");
	spec = parsed("\t 100 @ 1\n, 30\r@\v16 \f");
	CHECK_INT(spec.nrounds, 2);
	CHECK_INT(spec.rounds[1].samples, 16);
	CHECK_INT(parsed(" adaptive : 1 , 2 ").nrounds, 2);
	CHECK_INT(parsed(" members ").nrounds, 5);
	CHECK_INT(parsed(" 7 ").rounds[0].samples, 7);
}

static void
test_grammar_errors(void)
{
	static const struct
	{
		const char *text;
		RstarPassesCode code;
		int			position;
	}			wrong[] =
	{
		{"", RSTAR_PASSES_EMPTY, 0},
		{"  ", RSTAR_PASSES_EMPTY, 2},
		{"0", RSTAR_PASSES_BAD_SAMPLES, 0},
		{" 65", RSTAR_PASSES_BAD_SAMPLES, 1},
		{"99999999999999999999", RSTAR_PASSES_BAD_SAMPLES, 0},
		{"4294967297", RSTAR_PASSES_BAD_SAMPLES, 0},
		{"-1", RSTAR_PASSES_UNKNOWN_WORD, 0},
		{"+1", RSTAR_PASSES_UNKNOWN_WORD, 0},
		{"1.5", RSTAR_PASSES_TRAILING, 1},
		{"1 6", RSTAR_PASSES_TRAILING, 2},
		{"16x", RSTAR_PASSES_TRAILING, 2},
		{"16,30", RSTAR_PASSES_NO_DOCUMENTS, 0},
		{"16,", RSTAR_PASSES_NO_DOCUMENTS, 0},
		{"100@1,30", RSTAR_PASSES_NO_DOCUMENTS, 6},
		{"100@", RSTAR_PASSES_NO_NUMBER, 4},
		{"100@x", RSTAR_PASSES_NO_NUMBER, 4},
		{"@1", RSTAR_PASSES_UNKNOWN_WORD, 0},
		{"100@1,", RSTAR_PASSES_NO_NUMBER, 6},
		{"100@1,,30@16", RSTAR_PASSES_NO_NUMBER, 6},
		{"100@1;30@16", RSTAR_PASSES_TRAILING, 5},
		{"100@1@2", RSTAR_PASSES_TRAILING, 5},
		{"0@1", RSTAR_PASSES_BAD_DOCUMENTS, 0},
		{"1000001@1", RSTAR_PASSES_BAD_DOCUMENTS, 0},
		{"100@0", RSTAR_PASSES_BAD_SAMPLES, 4},
		{"100@65", RSTAR_PASSES_BAD_SAMPLES, 4},
		{"30@1, 100@16", RSTAR_PASSES_MORE_DOCUMENTS, 6},
		{"100@4,30@4", RSTAR_PASSES_NO_MORE_SAMPLES, 9},
		{"100@16, 30@1", RSTAR_PASSES_NO_MORE_SAMPLES, 11},
		{"9@1,9@2,9@3,9@4,9@5,9@6,9@7,9@8,9@9,9@10,9@11,9@12,9@13,9@14,9@15,9@16,9@17",
		RSTAR_PASSES_TOO_MANY, 71},
		{"adaptive:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", RSTAR_PASSES_TOO_MANY, 48},
		{"adaptive:", RSTAR_PASSES_NO_NUMBER, 9},
		{"adaptive:1,", RSTAR_PASSES_NO_NUMBER, 11},
		{"adaptive:1,2,2", RSTAR_PASSES_NO_MORE_SAMPLES, 13},
		{"adaptive:0,1", RSTAR_PASSES_BAD_SAMPLES, 9},
		{"adaptive:1,65", RSTAR_PASSES_BAD_SAMPLES, 11},
		{"adaptive:1@2", RSTAR_PASSES_TRAILING, 10},
		{"adaptive 1,2", RSTAR_PASSES_TRAILING, 9},
		{"adaptively", RSTAR_PASSES_TRAILING, 8},
		{"adapt", RSTAR_PASSES_UNKNOWN_WORD, 0},
		{"Adaptive", RSTAR_PASSES_UNKNOWN_WORD, 0},
		{"members:1", RSTAR_PASSES_TRAILING, 7},
		{"16\302\240", RSTAR_PASSES_TRAILING, 2}
	};
	RstarPassesSpec spec;
	char		text[RSTAR_PASSES_MAX_TEXT + 2];
	int			position;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		CASE(wrong[i].text);
		CHECK_INT(parse_bytes(&spec, wrong[i].text, strlen(wrong[i].text), &position),
				  wrong[i].code);
		CHECK_INT(position, wrong[i].position);
		CHECK(strlen(rstar_passes_reason(wrong[i].code)) > 10);
	}

	CASE("a NUL is not the end");
	CHECK_INT(parse_bytes(&spec, "16\0", 3, &position), RSTAR_PASSES_TRAILING);
	CHECK_INT(position, 2);

	CASE("length");
	memset(text, ' ', sizeof(text));
	text[0] = '4';
	CHECK_INT(parse_bytes(&spec, text, RSTAR_PASSES_MAX_TEXT, &position), RSTAR_PASSES_OK);
	CHECK_INT(parse_bytes(&spec, text, RSTAR_PASSES_MAX_TEXT + 1, &position),
			  RSTAR_PASSES_TEXT_TOO_LONG);
	CHECK_INT(position, RSTAR_PASSES_MAX_TEXT);
	CHECK_STR(rstar_passes_reason(RSTAR_PASSES_TEXT_TOO_LONG), "It is longer than 256 bytes.");
	CHECK_STR(rstar_passes_reason(RSTAR_PASSES_BAD_SAMPLES), "A number of samples is from 1 to 64.");
}

/* Whatever a specification is made of, what comes out keeps to the limits */
static void
test_grammar_noise(void)
{
	static const char *const pieces[] = {"1", "2", "16", "30", "64", "99", "100", "0", "1000000",
		"@", "@", ",", ",", ":", " ", "\n", "adaptive", "members", "adaptive:", "x", "\377", "-"
	};
	int			npieces = sizeof(pieces) / sizeof(pieces[0]);
	int			valid = 0;

	CASE("any text");
	for (int run = 0; run < 300000; run++)
	{
		char		text[128] = "";
		RstarPassesSpec spec;
		RstarPassesCode code;
		int			position;
		int			len;

		for (int i = random_below(9); i > 0; i--)
			strcat(text, pieces[random_below(npieces)]);
		len = (int) strlen(text);
		code = parse_bytes(&spec, text, len, &position);
		CHECK(position >= 0 && position <= len);
		for (int i = 0; i < position; i++)
			CHECK((unsigned char) text[i] < 128);
		if (code != RSTAR_PASSES_OK)
			continue;
		valid++;
		CHECK(spec.nrounds >= 1 && spec.nrounds <= RSTAR_PASSES_MAX_ROUNDS);
		for (int i = 0; i < spec.nrounds; i++)
		{
			CHECK(spec.rounds[i].samples >= 1 && spec.rounds[i].samples <= 64);
			CHECK(spec.rounds[i].documents >= 1);
			CHECK(i == 0 || spec.rounds[i].samples > spec.rounds[i - 1].samples);
			CHECK(i == 0 || spec.rounds[i].documents <= spec.rounds[i - 1].documents);
		}
	}
	CHECK(valid > 10000);
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
	CHECK_STR(order(&query), "1 2 4 3 0 5");
	query_end(&query);

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

	CASE("no score: asked again, takes nobody's place, is not out");
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
	CHECK_STR(targets(&query), "5 0 0 5");
	CHECK_INT(rstar_passes_next(query.passes), 0);
	CHECK_STR(order(&query), "0 3 2 1");
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

/* Properties that hold for any documents and any answers */

/* How many documents rank before this one, by definition */
static int
rank_of(const Query *query, int doc)
{
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
		paid += answer(query, model);
		rounds++;
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
