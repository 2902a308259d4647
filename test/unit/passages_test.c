/*-------------------------------------------------------------------------
 *
 * passages_test.c
 *		Tests of src/functions/passages.c, which is a part of this file, since
 *		its ranks are looked at.
 *
 * With the argument "bench" it prints what edits change, and how long cutting
 * takes.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "functions/passages.c"

#define MAX_TEXT 400000
#define MAX_PASSAGES 100000

static uint64_t state = 1;
static char text[MAX_TEXT];
static size_t text_len;
static char other[MAX_TEXT];
static RstarPassage found[MAX_PASSAGES];
static RstarPassage found_other[MAX_PASSAGES];

static int
pick(int n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (state >> 33) % n;
}

static int
utf8_length(const char *at)
{
	unsigned char c = *at;

	return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static int
two_bytes(const char *at)
{
	return at != NULL ? 2 : 0;
}

static void
append(const char *piece)
{
	memcpy(text + text_len, piece, strlen(piece));
	text_len += strlen(piece);
}

/* A sentence of so many words, the first of which is its own */
static void
append_sentence(int words)
{
	static const char *const syllables[] = {"ra", "te", "lo", "mi", "sun", "ka", "ver", "o", "pil", "den"};
	char		name[32];

	snprintf(name, sizeof(name), "%c%d", 'A' + pick(26), pick(1000000));
	append(name);
	for (int i = 1; i < words; i++)
	{
		append(pick(12) == 0 ? ", " : " ");
		for (int n = 1 + pick(4); n > 0; n--)
			append(syllables[pick(10)]);
	}
	append(pick(10) == 0 ? "? " : ". ");
}

/* Prose as people write it: paragraphs of two to nine sentences */
static void
write_prose(size_t len)
{
	text_len = 0;
	while (text_len < len)
	{
		for (int n = 2 + pick(8); n > 0; n--)
			append_sentence(4 + pick(20));
		append("\n\n");
	}
}

/* Anything: all kinds of characters, one, two, three and four bytes long */
static void
write_anything(size_t len)
{
	static const char *const pieces[] = {
		"a", "b", "Z", "word", " ", " ", " ", "  ", ". ", ".", "! ", "?\" ", "\n", "\n\n", "\r\n\r\n", "\t", "\f",
		"(", ") ", "\xc3\xa4", "\xe3\x80\x82", "\xe6\x97\xa5\xe6\x9c\xac", "\xe3\x80\x80", "\xe2\x80\x9d",
		"\xf0\x9f\x98\x80", "\xef\xbc\x9f", "\xe2\x80\xa9", "e.g. this", "3.14", "don't"
	};
	int			n = sizeof(pieces) / sizeof(pieces[0]);
	int			among = 1 + pick(n);

	text_len = 0;
	while (text_len < len)
		append(pieces[(pick(among) + text_len / 40) % n]);
}

static RstarPassagesRule
rule_of(const char *data, size_t len, int size, int overlap)
{
	return (RstarPassagesRule)
	{
		.text = {data, len}, .length = utf8_length, .utf8 = true, .size = size, .overlap = overlap
	};
}

static int
cut_text(const RstarPassagesRule *rule, RstarPassage *into)
{
	void	   *memory = malloc(rstar_passages_size(rule));
	RstarPassages *passages = rstar_passages_create(memory, rule);
	int			n = 0;

	while (n < MAX_PASSAGES && rstar_passages_next(passages, &into[n]))
		n++;
	CHECK(!rstar_passages_next(passages, &into[n]));
	free(memory);
	return n;
}

static int
characters(const RstarPassagesRule *rule, size_t from, size_t to)
{
	int			n = 0;

	for (; from < to; n++)
		from += rule->length(rule->text.data + from);
	return n;
}

/* What every text and every rule has in common */
static void
check_passages(const RstarPassagesRule *rule, int n)
{
	size_t		end = 0;
	int			chars = 0;

	CHECK_INT(n > 0, rule->text.len > 0);
	for (int i = 0; i < n; i++)
	{
		RstarPassage *p = &found[i];

		CHECK(p->chars >= 1 && p->chars <= rule->size);
		CHECK_INT(characters(rule, p->from, p->from + p->len), p->chars);
		/* No gap, no more overlap than was asked for, and something new */
		CHECK(p->from <= end && p->start <= chars && p->start >= chars - rule->overlap);
		CHECK(p->from + p->len > end);
		CHECK(i == 0 ? p->from == 0 : p->from > found[i - 1].from);
		CHECK_INT(p->start, i == 0 ? 0 : found[i - 1].start + characters(rule, found[i - 1].from, p->from));
		/* Whole characters */
		CHECK(((unsigned char) rule->text.data[p->from] & 0xc0) != 0x80);
		end = p->from + p->len;
		chars = p->start + p->chars;
	}
	CHECK_INT(end, rule->text.len);
}

static void
anything(void)
{
	for (int i = 0; i < 3000; i++)
	{
		int			size = 1 + pick(i % 2 == 0 ? 12 : 300);
		RstarPassagesRule rule;

		write_anything(pick(2000));
		rule = rule_of(text, text_len, size, pick(3) == 0 ? 0 : pick(size));
		check_passages(&rule, cut_text(&rule, found));
	}
}

/* The same cuts as by looking at all places within reach each time */
static void
definition(void)
{
	static uint64_t ranks[4000];

	for (int i = 0; i < 300; i++)
	{
		int			size = 1 + pick(100);
		int			cut = 0;
		int			n;
		Walk		walk = {0};
		RstarPassagesRule rule;

		write_anything(pick(1000));
		rule = rule_of(text, text_len, size, 0);
		for (; walk.byte < text_len; step(&rule, &walk))
			ranks[walk.chars] = (uint64_t) place(&rule, &walk) << 60 | hash(&rule.text, walk.byte) >> 4;
		n = cut_text(&rule, found);
		for (int j = 0; j < n; j++)
		{
			int			best = cut + 1;

			CHECK_INT(found[j].start, cut);
			for (int k = cut + 1; k <= cut + size && k < walk.chars; k++)
				best = ranks[k] > ranks[best] ? k : best;
			cut = walk.chars - cut > size ? best : walk.chars;
		}
		CHECK_INT(cut, walk.chars);
	}
}

/* What begins at each character, as a digit: 0 nothing .. 4 a paragraph */
static void
check_places(const char *data, const char *expected)
{
	RstarPassagesRule rule = rule_of(data, strlen(data), 1, 0);
	Walk		walk = {0};
	char		actual[128] = "";

	for (; walk.byte < rule.text.len; step(&rule, &walk))
		actual[walk.chars] = '0' + place(&rule, &walk);
	CHECK_STR(actual, expected);
}

static void
places(void)
{
	check_places("A b\nc  D. E", "40102001003");
	check_places("a.\n\nb\r\n\r\nc\fd", "400040000404");
	/* Closing marks belong to the sentence, opening ones to the next */
	check_places("A.\" \"B?) C", "4000300003");
	/* No ends of sentences: numbers, abbreviations */
	check_places("3.14 e.g. pi don't", "400001000010010000");
	/* Wide: full stop, quotation mark, space, ends of lines and paragraphs */
	check_places("\xe6\x97\xa5\xe3\x80\x82\xe6\x9c\xac", "403");
	check_places("\xe3\x80\x82\xe3\x80\x8d\xe6\x9c\xac", "403");
	check_places("A\xe3\x80\x80" "B\xe2\x80\xa8" "C\xe2\x80\xa9" "D", "4010204");
}

/* Where the only passages that there can be begin */
static void
check_cuts(const char *data, int size, int overlap, const char *expected)
{
	RstarPassagesRule rule = rule_of(data, strlen(data), size, overlap);
	int			n = cut_text(&rule, found);
	char		actual[512] = "";

	for (int i = 0; i < n; i++)
		snprintf(actual + strlen(actual), sizeof(actual) - strlen(actual), "%s%.*s", i == 0 ? "" : "|",
				 (int) found[i].len, data + found[i].from);
	CHECK_STR(actual, expected);
}

static void
order_of_places(void)
{
	check_cuts("", 10, 0, "");
	check_cuts("short", 10, 0, "short");
	check_cuts("exactly 10", 10, 0, "exactly 10");
	check_cuts("one two.\n\nThree. Four", 20, 0, "one two.\n\n|Three. Four");
	check_cuts("One two. Three four\nfive", 20, 0, "One two. |Three four\nfive");
	check_cuts("one two\nthree four", 16, 0, "one two\n|three four");
	check_cuts("onetwothree four", 15, 0, "onetwothree |four");
	/* The spaces belong to the passage before them */
	check_cuts("one\n\n   two", 9, 0, "one\n\n   |two");
}

static void
overlaps(void)
{
	/* From the beginning of a sentence, of a word, of nothing */
	check_cuts("Xa. Yb cd.\n\nZe fg hi jk.", 20, 8, "Xa. Yb cd.\n\n|Yb cd.\n\nZe fg hi jk.");
	check_cuts("abc ijk\n\nlmnop qr", 16, 6, "abc ijk\n\n|ijk\n\nlmnop qr");
	check_cuts("abcdefg\n\nlmnop", 15, 5, "abcdefg\n\n|efg\n\nlmnop");
	/* What the next passage begins with is none of its own */
	check_cuts("Ab.\n\nCd.\n\nEf gh.", 12, 6, "Ab.\n\nCd.\n\n|Cd.\n\nEf gh.");
}

/* What fits into a passage is in one piece: all sentences of prose do */
static void
whole_sentences(void)
{
	for (int i = 0; i < 20; i++)
	{
		RstarPassagesRule rule;
		int			n;

		write_prose(20000);
		rule = rule_of(text, text_len, 1000 + pick(2000), pick(500));
		n = cut_text(&rule, found);
		check_passages(&rule, n);
		for (int j = 1; j < n; j++)
		{
			const char *end = text + found[j - 1].from + found[j - 1].len;

			CHECK(end[-1] == ' ' || (end[-1] == '\n' && end[-2] == '\n'));
			CHECK(*end >= 'A' && *end <= 'Z');
		}
	}
}

/* The same letter everywhere: nothing to choose by */
static void
monotony(void)
{
	RstarPassagesRule rule;

	memset(text, 'a', 10000);
	rule = rule_of(text, 10000, 100, 10);
	check_passages(&rule, cut_text(&rule, found));
	memset(text, ' ', 10000);
	check_passages(&rule, cut_text(&rule, found));
}

/* Other encodings: two bytes each; and a text that ends within a character */
static void
encodings(void)
{
	RstarPassagesRule rule = rule_of(text, 4000, 30, 5);
	int			n;

	for (int i = 0; i < 4000; i++)
		text[i] = (char) (0xa1 + pick(90));
	rule.length = two_bytes;
	rule.utf8 = false;
	n = cut_text(&rule, found);
	CHECK(n >= 2000 / 30);
	for (int i = 0; i < n; i++)
	{
		CHECK_INT(found[i].from % 2, 0);
		CHECK_INT(found[i].len, 2 * found[i].chars);
		CHECK(found[i].chars <= 30);
	}
	rule.text.len = 3999;
	n = cut_text(&rule, found);
	CHECK_INT(found[n - 1].from + found[n - 1].len, 3999);
}

/* Passages of "other" that are none of the n in "text" */
static int
count_changed(int n, int n_other)
{
	int			changed = 0;

	for (int i = 0; i < n_other; i++)
	{
		bool		same = false;

		for (int j = 0; j < n && !same; j++)
			same = found[j].len == found_other[i].len &&
				memcmp(text + found[j].from, other + found_other[i].from, found[j].len) == 0;
		changed += same ? 0 : 1;
	}
	return changed;
}

/* How many edits change so many passages: one more sentence at each "every"-th */
static void
count_edits(int size, int overlap, int every, int *edits)
{
	RstarPassagesRule rule = rule_of(text, text_len, size, overlap);
	int			n = cut_text(&rule, found);
	Walk		walk = {0};

	while (walk.byte < text_len)
	{
		if (place(&rule, &walk) >= PLACE_SENTENCE && pick(every) == 0)
		{
			size_t		len = text_len;
			size_t		added;
			int			changed;

			append_sentence(4 + pick(20));
			added = text_len - len;
			text_len = len;
			memcpy(other, text, walk.byte);
			memcpy(other + walk.byte, text + len, added);
			memcpy(other + walk.byte + added, text + walk.byte, len - walk.byte);
			rule.text = (RstarText) {other, len + added};
			changed = count_changed(n, cut_text(&rule, found_other));
			rule.text = (RstarText) {text, len};
			edits[changed < 9 ? changed : 9]++;
		}
		step(&rule, &walk);
	}
}

/*
 * One more sentence in 50 kB.  That it changes more than three passages is
 * rare, 2 in 1000 edits, and cannot be ruled out.
 */
static void
edits(void)
{
	static const int sizes[][2] = {{4000, 400}, {4000, 0}, {2000, 200}, {1000, 100}};
	int			more = 0;
	int			all = 0;

	for (int i = 0; i < 4; i++)
	{
		int			edits[10] = {0};
		int			here = 0;

		write_prose(50000);
		count_edits(sizes[i][0], sizes[i][1], 5, edits);
		for (int j = 0; j < 10; j++)
			here += edits[j];
		CHECK(here > 50);
		CHECK_INT(edits[0], 0);
		CHECK(edits[1] > here * 6 / 10);
		CHECK(edits[1] + edits[2] > here * 9 / 10);
		more += here - edits[1] - edits[2] - edits[3];
		all += here;
	}
	CHECK(more * 100 <= all);
}

static int
bench(void)
{
	static const int sizes[][2] = {{4000, 400}, {4000, 0}, {2000, 200}, {1000, 100}};
	clock_t		before;
	RstarPassagesRule rule;

	for (int i = 0; i < 4; i++)
	{
		int			edits[10] = {0};
		long		chars = 0;
		int			n = 0;

		for (int document = 0; document < 5; document++)
		{
			write_prose(50000);
			count_edits(sizes[i][0], sizes[i][1], 1, edits);
			rule = rule_of(text, text_len, sizes[i][0], sizes[i][1]);
			n += cut_text(&rule, found);
			chars += text_len;
		}
		printf("size %d, overlap %d: %.1f passages of 50 kB, a sentence more changes", sizes[i][0], sizes[i][1],
			   n * 50000.0 / chars);
		for (int j = 1; j < 10; j++)
			printf(" %d: %d%s", j, edits[j], j < 9 ? "," : " times\n");
	}
	write_prose(MAX_TEXT / 2);
	rule = rule_of(text, text_len, 4000, 400);
	before = clock();
	for (int i = 0; i < 100; i++)
		cut_text(&rule, found);
	printf("%.1f ns a character\n", (clock() - before) * 1e9 / CLOCKS_PER_SEC / 100 / text_len);
	return 0;
}

int
main(int argc, char **argv)
{
	(void) argv;
	if (argc > 1)
		return bench();
	CASE("any text: all of it, in pieces that are not too long");
	anything();
	CASE("the place of the highest rank within reach is the next cut");
	definition();
	CASE("places");
	places();
	CASE("paragraphs, sentences, lines, words, in this order");
	order_of_places();
	CASE("overlaps");
	overlaps();
	CASE("sentences that fit stay whole");
	whole_sentences();
	CASE("the same character everywhere");
	monotony();
	CASE("other encodings");
	encodings();
	CASE("one more sentence in 50 kB changes one passage or two, seldom three");
	edits();
	return check_end("passages_test");
}
