/*-------------------------------------------------------------------------
 *
 * shorten_test.c
 *		Unit tests of shorten.c: where a document may be cut, and how soon it
 *		fits.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "model/shorten.h"

static uint64_t seed = 88172645463325252;

static uint64_t
any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void
test_cut(void)
{
	static const struct
	{
		const char *doc;
		size_t		keep;
		size_t		cut;
	}			cases[] = {
		{"abcdef", 3, 3}, {"abcdef", 0, 0}, {"abcdef", 6, 6}, {"abcdef", 7, 6}, {"", 0, 0},
		/* two bytes */
		{"ab\\ncd", 2, 2}, {"ab\\ncd", 3, 2}, {"ab\\ncd", 4, 4},
		{"\\\"", 1, 0}, {"\\\"x", 2, 2},
		/* backslashes themselves: each pair is one */
		{"\\\\\\\\", 1, 0}, {"\\\\\\\\", 2, 2}, {"\\\\\\\\", 3, 2},
		{"a\\\\nb", 3, 3}, {"a\\\\nb", 4, 4}, {"a\\\\\\nb", 4, 3}, {"a\\\\\\nb", 5, 5},
		/* six bytes, and what only looks like them */
		{"a\\u001fb", 1, 1}, {"a\\u001fb", 2, 1}, {"a\\u001fb", 3, 1}, {"a\\u001fb", 4, 1},
		{"a\\u001fb", 5, 1}, {"a\\u001fb", 6, 1}, {"a\\u001fb", 7, 7},
		{"a\\\\u001f", 3, 3}, {"a\\\\u001f", 5, 5}, {"\\\\\\u001f", 7, 2},
		{"\\nu001f", 4, 4}, {"\\tuuuu", 3, 3},
		/* characters of two, three, four bytes */
		{"\xc3\xa4\xc3\xa4", 1, 0}, {"\xc3\xa4\xc3\xa4", 3, 2}, {"\xe2\x82\xac", 2, 0},
		{"x\xf0\x9f\x98\x80y", 2, 1}, {"x\xf0\x9f\x98\x80y", 4, 1}, {"x\xf0\x9f\x98\x80y", 5, 5},
		/* the character after an escape */
		{"\\n\xe2\x82\xac", 3, 2}, {"\\n\xe2\x82\xac", 4, 2}, {"\\u0001\xe2\x82\xac", 7, 6},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "cut %zu: at %zu", i, cases[i].keep);
		CASE(name);
		CHECK_INT((long long) rstar_shorten_cut(cases[i].doc, strlen(cases[i].doc), cases[i].keep),
				  (long long) cases[i].cut);
	}
}

/* A random text, and where its characters begin */
static void
test_random_cuts(void)
{
	static const char *const pieces[] = {
		"a", "u", "0", "\\n", "\\t", "\\\"", "\\\\", "\\u0000", "\\u001f",
		"\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "<", "<\xe2\x80\x8b|"
	};

	CASE("cut: random texts");
	for (int round = 0; round < 20000; round++)
	{
		char		doc[128] = "";
		bool		begins[129] = {false};
		size_t		len = 0;
		size_t		keep;
		size_t		cut;

		for (int i = 0; i < 12; i++)
		{
			const char *piece = pieces[any() % (sizeof(pieces) / sizeof(pieces[0]))];

			begins[len] = true;
			if (piece[0] == '<' && piece[1] != '\0')
				begins[len + 1] = begins[len + 4] = true;
			strcpy(doc + len, piece);
			len += strlen(piece);
		}
		begins[len] = true;
		keep = any() % (len + 2);
		cut = rstar_shorten_cut(doc, len, keep);
		CHECK(cut <= keep && cut <= len && begins[cut]);
		for (size_t i = cut + 1; i <= keep && i <= len; i++)
			CHECK(!begins[i]);
		if (check_broken)
			break;
	}
}

typedef enum Words
{
	EXACT,						/* how many tokens there are */
	AT_LEAST,					/* at least one more than fit */
	LIMIT,						/* the limit alone */
	NOTHING
} Words;

/*
 * Sends a document until a server takes it: returns the rounds, or -1 when it
 * was given up.  The prompt has 4.5 bytes to a token, the document "density".
 */
static int
send(size_t doc_len, double density, int limit, int max_tokens, Words words, double *used)
{
	size_t		fixed = 2500;
	RstarTooLong sent = {.max_tokens = max_tokens};
	size_t		kept = doc_len;

	for (sent.round = 0;; sent.round++)
	{
		int			tokens = (int) (fixed / 4.5 + kept / density);

		if (tokens + max_tokens < limit)
			break;
		sent.text_len = fixed + kept;
		sent.doc_len = kept;
		sent.limit_tokens = words == NOTHING ? 0 : limit;
		sent.at_least = words == AT_LEAST;
		sent.prompt_tokens = words == EXACT ? tokens :
			words == AT_LEAST ? limit - max_tokens + 1 : 0;
		if (rstar_shorten_to(&sent) == 0)
			return -1;
		CHECK(rstar_shorten_to(&sent) < kept);
		kept = rstar_shorten_to(&sent);
	}
	*used = (fixed / 4.5 + kept / density) / (limit - max_tokens);
	return sent.round;
}

static void
test_rounds(void)
{
	double		used;

	CASE("a server that counts: English, ten times too long, fits the first time");
	CHECK_INT(send(300000, 4.5, 8192, 1024, EXACT, &used), 1);
	CHECK(used > 0.95);
	CASE("a little too long");
	CHECK_INT(send(32000, 4.5, 8192, 1024, EXACT, &used), 1);
	CHECK(used > 0.95);
	CASE("60 MB");
	CHECK_INT(send(60000000, 4.5, 8192, 1024, EXACT, &used), 1);
	CHECK(used > 0.9);
	CASE("other tokens in the document than in the prompt: few rounds, and most is used");
	for (double density = 0.5; density < 20; density *= 1.3)
	{
		for (size_t len = 10000; len < 20000000; len *= 3)
		{
			int			rounds = send(len, density, 8192, 1024, EXACT, &used);

			CHECK(rounds >= 0 && rounds <= 2);
			CHECK(rounds == 0 || used > 0.6);
		}
	}
	CASE("a document that is smaller than the prompt");
	CHECK(send(2000, 1, 2560, 1024, EXACT, &used) >= 1);
	CHECK(send(2000, 1, 2560, 1024, EXACT, &used) <= 3);
	CASE("a server that counts up to its limit only");
	CHECK(send(300000, 4.5, 8192, 1024, AT_LEAST, &used) >= 1);
	CHECK(send(300000, 4.5, 8192, 1024, AT_LEAST, &used) <= 3);
	CHECK(used > 0.5);
	CHECK(send(300000, 2, 8192, 1024, AT_LEAST, &used) >= 1);
	CHECK(send(300000, 2, 8192, 1024, AT_LEAST, &used) <= 5);
	CHECK(used > 0.3);
	CASE("the limit alone");
	CHECK(send(300000, 4.5, 8192, 1024, LIMIT, &used) >= 1);
	CHECK(send(300000, 4.5, 8192, 1024, LIMIT, &used) <= 3);
	CASE("no number at all");
	CHECK(send(100000, 4.5, 8192, 1024, NOTHING, &used) >= 1);
	CHECK(send(100000, 4.5, 8192, 1024, NOTHING, &used) <= 4);
	CASE("query and prompt alone are too long");
	CHECK_INT(send(100, 4.5, 1500, 1024, EXACT, &used), -1);
	CHECK_INT(send(100000, 4.5, 1500, 1024, EXACT, &used), -1);
	CASE("an answer that leaves no room");
	CHECK_INT(send(10000, 4.5, 1024, 2048, EXACT, &used), -1);
	CASE("the largest limit that there is");
	CHECK_INT(send(10000, 4.5, 2147483647, 1024, LIMIT, &used), 0);
	{
		RstarTooLong sent = {.text_len = 12000,.doc_len = 10000,.limit_tokens = 2147483647,
			.prompt_tokens = 2147483647,.max_tokens = 1024};

		CHECK(rstar_shorten_to(&sent) > 0 && rstar_shorten_to(&sent) < 10000);
	}
	CASE("it ends, whatever the server says");
	for (int i = 0; i < 10000; i++)
	{
		RstarTooLong sent = {.limit_tokens = (int) (any() % 10000),
			.prompt_tokens = (int) (any() % 10000),.max_tokens = (int) (any() % 3000)};
		size_t		keep = any() % 100000;

		while (keep > 0)
		{
			size_t		before = keep;

			sent.doc_len = keep;
			sent.text_len = keep + any() % 5000;
			keep = rstar_shorten_to(&sent);
			CHECK(keep < before);
			sent.round++;
		}
		CHECK(sent.round <= 7);
	}
}

/* Documents of one density, as replies to them tell; the prompt is that of send() */
static RstarDensity
learnt(double density, size_t shortest, size_t longest)
{
	RstarDensity known = {0};

	for (int i = 0; i < 100; i++)
	{
		size_t		len = shortest + any() % (longest - shortest + 1);

		rstar_density_add(&known, 2500 + len, (int) (2500 / 4.5 + len / density));
	}
	return known;
}

static void
test_density(void)
{
	static const double densities[] = {1.5, 2.5, 3.5, 4.5, 5.5};
	RstarDensity known = {0};

	CASE("nothing is known");
	CHECK_INT((long long) rstar_density_tokens(&known, 1000), 0);
	CASE("what cannot be is not learnt");
	rstar_density_add(&known, 0, 5);
	rstar_density_add(&known, 1000, 0);
	rstar_density_add(&known, 1000, -1);
	rstar_density_add(&known, 1000, 2147483647);
	rstar_density_add(&known, 1000, 1);
	CHECK_INT(known.n, 0);
	CASE("one text");
	rstar_density_add(&known, 4000, 1000);
	CHECK_INT((long long) rstar_density_tokens(&known, 8000), 2000);
	CASE("short texts do not say less than nothing of an empty one");
	known = learnt(0.6, 2000, 4000);
	CHECK(rstar_density_tokens(&known, 1) >= 1);
	CASE("a server that counts to its limit, and replies that say how dense texts are");
	for (size_t i = 0; i < sizeof(densities) / sizeof(densities[0]); i++)
	{
		for (size_t len = 12000; len < 200000; len += 7919)
		{
			RstarTooLong sent = {.text_len = 2500 + len,.doc_len = len,.limit_tokens = 8192,
				.prompt_tokens = 8192 - 1024 + 1,.at_least = true,.max_tokens = 1024};
			double		tokens = 2500 / 4.5 + len / densities[i];

			if (tokens <= 8192 - 1024)
				continue;
			known = learnt(densities[i], 1000, 12000);
			sent.expected = rstar_density_tokens(&known, sent.text_len);
			sent.other_expected = rstar_density_tokens(&known, 2500);
			CHECK(sent.expected > tokens * 0.98 && sent.expected < tokens * 1.02);
			tokens = 2500 / 4.5 + rstar_shorten_to(&sent) / densities[i];
			CHECK(tokens <= 8192 - 1024);
			CHECK(tokens >= (8192 - 1024) * 0.95);
		}
	}
	CASE("a bound is no count, and what is expected no less than a bound");
	{
		RstarTooLong sent = {.text_len = 20000,.doc_len = 20000,.limit_tokens = 2016,.prompt_tokens = 2017,
			.at_least = true,.expected = 4000};

		CHECK_INT((long long) rstar_shorten_to(&sent), 9791);
		sent.expected = 1000;
		CHECK(rstar_shorten_to(&sent) < 20000);
		sent.at_least = false;
		sent.expected = 4000;
		CHECK_INT((long long) rstar_shorten_to(&sent), 11750);
	}
}

/* The text has 4 bytes to a token but for the document */
static long long
keep(size_t text_len, size_t doc_len, int tokens, int limit, int max_tokens, int round)
{
	RstarTooLong sent = {.text_len = text_len,.doc_len = doc_len,.prompt_tokens = tokens,
		.limit_tokens = limit,.max_tokens = max_tokens,.round = round};

	return (long long) rstar_shorten_to(&sent);
}

static void
test_single(void)
{
	CASE("what fits, less a forty-eighth part of it");
	CHECK_INT(keep(10000, 10000, 2500, 1016, 0, 0), 3916);
	CASE("each round cuts more than the one before");
	CHECK_INT(keep(10000, 10000, 2500, 2496, 0, 0), 9713);
	CHECK_INT(keep(10000, 10000, 2500, 2496, 0, 1), 7500);
	CHECK_INT(keep(10000, 10000, 2500, 2496, 0, 2), 5000);
	CHECK_INT(keep(10000, 10000, 2500, 2496, 0, 5), 5000);
	CHECK_INT(keep(10000, 10000, 2500, 2496, 0, 6), 0);
	CASE("a short document beside much else is not given up at once");
	CHECK_INT(keep(6000, 2000, 1500, 916, 0, 0), 250);
	CHECK_INT(keep(6000, 2000, 1150, 316, 0, 0), 0);
	CASE("a longer answer than there is room for, besides: half of that is the prompt's");
	CHECK_INT(keep(12000, 10000, 3000, 1024, 2048, 0), 47);
}

int
main(void)
{
	test_cut();
	test_single();
	test_random_cuts();
	test_rounds();
	test_density();
	return check_end("shorten_test");
}
