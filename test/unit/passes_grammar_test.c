/*-------------------------------------------------------------------------
 *
 * passes_grammar_test.c
 *		Tests of the grammar of src/functions/passes_spec.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>

#include "passes_query.h"

static void test_grammar(void);
static void test_grammar_errors(void);
static void test_grammar_noise(void);

int
main(void)
{
	test_grammar();
	test_grammar_errors();
	test_grammar_noise();
	return check_end("passes_grammar_test");
}

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
	CHECK(parsed("Adaptive").kind == parsed("adaptive").kind);
	CHECK(parsed("LEAN").kind == parsed("lean").kind);
	CASE("adaptive, as it is");
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

	CASE("lean");
	spec = parsed("lean");
	CHECK_INT(spec.kind, RSTAR_PASSES_ADAPTIVE);
	CHECK_INT(spec.nrounds, 3);
	for (int i = 0; i < 3; i++)
	{
		CHECK_INT(spec.rounds[i].documents, 65);
		CHECK_INT(spec.rounds[i].samples, 1 + i);
	}
	CHECK_INT(spec.beyond, 50);
	CHECK_INT(parsed("adaptive").beyond, 200);
	CHECK_INT(parsed("adaptive:1,2").beyond, 200);

	CASE("white space");
	spec = parsed("\t 100 @ 1\n, 30\r@\v16 \f");
	CHECK_INT(spec.nrounds, 2);
	CHECK_INT(spec.rounds[1].samples, 16);
	CHECK_INT(parsed(" adaptive : 1 , 2 ").nrounds, 2);
	CHECK_INT(parsed(" members ").nrounds, 5);
	CHECK_INT(parsed(" lean ").nrounds, 3);
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
		{"members:1", RSTAR_PASSES_TRAILING, 7},
		{"lean:1,2", RSTAR_PASSES_TRAILING, 4},
		{"50@lean", RSTAR_PASSES_NO_NUMBER, 3},
		{"leaner", RSTAR_PASSES_TRAILING, 4},
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
		CHECK(strlen(rstar_passes_spec_reason(wrong[i].code)) > 10);
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
	CHECK_STR(rstar_passes_spec_reason(RSTAR_PASSES_TEXT_TOO_LONG), "It is longer than 256 bytes.");
	CHECK_STR(rstar_passes_spec_reason(RSTAR_PASSES_BAD_SAMPLES), "A number of samples is from 1 to 64.");
}

/* Whatever a specification is made of, what comes out keeps to the limits */
static void
test_grammar_noise(void)
{
	static const char *const pieces[] = {"1", "2", "16", "30", "64", "99", "100", "0", "1000000",
		"@", "@", ",", ",", ":", " ", "\n", "adaptive", "members", "lean", "adaptive:", "x", "\377", "-"
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
