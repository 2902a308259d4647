/*-------------------------------------------------------------------------
 *
 * passes.c
 *		How many samples each document of a query gets, round by round.
 *
 * Called by: rerank.c, test/unit, test/bench.  Calls nothing.
 *
 * A specification is a list of rounds, and a rule that says which documents
 * take part in each:
 *
 *	FIXED	  the best so many of those that took part in the round before;
 *			  in the first round, the first so many.
 *	ADAPTIVE  those that may still belong to the k best: the mean is not
 *			  further below the k-th best mean than z standard errors, at
 *			  most 3k of them.  Leaders take part on purpose, for the order
 *			  among them matters most.
 *	MEMBERS	  those of which it is open whether they belong to the k best;
 *			  leaders that are safely inside are left alone.
 *
 * The standard error comes from one variance for all documents, pooled with
 * a guess: single documents have too few samples for one of their own.  The
 * numbers were found by simulation; test/bench/passes_sim.c measures them
 * again, with this file.
 *
 * Common to the three: samples count whenever they were drawn, so a round
 * only asks for what is missing, and a round that misses nothing is passed
 * over.  A reply without a score is no sample.  A document without any has
 * not been judged yet: it is asked again in each round, for what the first
 * round asks, and is not out of the race.  One that failed is not asked
 * again, but keeps its place if it has samples.  Everything ranks by plain
 * mean, compared as exact fractions, so that ties are ties.
 *
 * Each round sorts once: O(n log n).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "passes.h"

/*
 * How many results matter when the caller wants all: the ones that people
 * look at, and for which the rule was measured (nDCG@10).  Getting the order
 * of all right would mean to sample all fully.
 */
#define ADAPTIVE_K 10

/* A contender's mean plus z standard errors reaches the k-th best mean ... */
#define ADAPTIVE_Z 1.2

/* ... with a smaller z where rounds that end early show a wish to save */
#define ADAPTIVE_SAVING_Z 1.0
#define ADAPTIVE_SAVING_SAMPLES 8

/* There are at most so many times k contenders */
#define ADAPTIVE_MOST 3

#define MEMBERS_Z 1.0

/* The rounds of a word that names none */
#define ADAPTIVE_ROUNDS "1,3,6,12"
#define MEMBERS_ROUNDS "1,2,4,8,16"

/* A guess at one sample's standard deviation, and how many samples it is worth */
#define SD_GUESS 8.0
#define SD_WEIGHT 20.0

/* A constant of the header as part of a string */
#define TEXT_OF(number) TEXT_OF_TOKEN(number)
#define TEXT_OF_TOKEN(token) #token

typedef struct Doc
{
	int64_t		sum;
	int64_t		sum_squares;
	int			samples;
	int			target;			/* in this round; 0: left alone */
	bool		failed;
	bool		out;			/* FIXED: did not get into an earlier pass */
} Doc;

struct RstarPasses
{
	RstarPassesSpec spec;
	int			ndocs;
	int			k;				/* results that matter, at most ndocs */
	int			round;			/* rounds begun */
	Doc		  **ranking;		/* all documents, best first when sorted */
	Doc			docs[];			/* in the caller's order; ranking lies behind */
};

/* The text that is parsed, and how far; after an error, where it is wrong */
typedef struct Cursor
{
	const char *text;
	int			len;
	int			at;
} Cursor;

typedef struct Number
{
	int			value;			/* not read to the end when too large */
	int			at;				/* where it begins */
} Number;

static RstarPassesCode parse_word(RstarPassesSpec *spec, Cursor *cursor);
static RstarPassesCode parse_rounds(RstarPassesSpec *spec, Cursor *cursor);
static RstarPassesCode parse_passes(RstarPassesSpec *spec, Cursor *cursor);
static RstarPassesCode add_round(RstarPassesSpec *spec, Cursor *cursor,
								 const Number *documents, const Number *samples);
static RstarPassesCode fail_at(Cursor *cursor, int at, RstarPassesCode code);
static bool take_number(Cursor *cursor, Number *number);
static bool take(Cursor *cursor, const char *word);
static bool at_digit(const Cursor *cursor);
static void skip_space(Cursor *cursor);
static int	choose(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_first(RstarPasses *passes);
static int	choose_fixed(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_adaptive(RstarPasses *passes, const RstarPassesRound *round);
static int	choose_members(RstarPasses *passes);
static int	samples_after(const RstarPasses *passes, const Doc *doc);
static int	ask(const RstarPasses *passes, Doc *doc, int samples);
static double pooled_sd(const RstarPasses *passes);
static double mean_of(const Doc *doc);
static int	compare_docs(const void *a, const void *b);

RstarPassesCode
rstar_passes_parse(RstarPassesSpec *spec, const char *text, size_t len, int *position)
{
	Cursor		cursor = {text, 0, 0};
	RstarPassesCode code;

	memset(spec, 0, sizeof(RstarPassesSpec));
	*position = RSTAR_PASSES_MAX_TEXT;
	if (len > RSTAR_PASSES_MAX_TEXT)
		return RSTAR_PASSES_TEXT_TOO_LONG;

	cursor.len = (int) len;
	skip_space(&cursor);
	if (cursor.at == cursor.len)
		code = RSTAR_PASSES_EMPTY;
	else if (at_digit(&cursor))
		code = parse_passes(spec, &cursor);
	else
		code = parse_word(spec, &cursor);
	if (code == RSTAR_PASSES_OK && cursor.at < cursor.len)
		code = RSTAR_PASSES_TRAILING;
	*position = cursor.at;
	return code;
}

static RstarPassesCode
parse_word(RstarPassesSpec *spec, Cursor *cursor)
{
	Cursor		adaptive = {ADAPTIVE_ROUNDS, sizeof(ADAPTIVE_ROUNDS) - 1, 0};
	Cursor		members = {MEMBERS_ROUNDS, sizeof(MEMBERS_ROUNDS) - 1, 0};

	spec->kind = RSTAR_PASSES_ADAPTIVE;
	if (take(cursor, "adaptive"))
		return parse_rounds(spec, take(cursor, ":") ? cursor : &adaptive);
	spec->kind = RSTAR_PASSES_MEMBERS;
	if (take(cursor, "members"))
		return parse_rounds(spec, &members);
	return RSTAR_PASSES_UNKNOWN_WORD;
}

/* samples, samples, ... */
static RstarPassesCode
parse_rounds(RstarPassesSpec *spec, Cursor *cursor)
{
	RstarPassesCode code;
	Number		samples;

	do
	{
		if (!take_number(cursor, &samples))
			return RSTAR_PASSES_NO_NUMBER;
		code = add_round(spec, cursor, NULL, &samples);
		if (code != RSTAR_PASSES_OK)
			return code;
	} while (take(cursor, ","));
	return RSTAR_PASSES_OK;
}

/* documents@samples, documents@samples, ... or just one number of samples */
static RstarPassesCode
parse_passes(RstarPassesSpec *spec, Cursor *cursor)
{
	RstarPassesCode code;
	Number		documents;
	Number		samples;

	spec->kind = RSTAR_PASSES_FIXED;
	do
	{
		if (!take_number(cursor, &documents))
			return RSTAR_PASSES_NO_NUMBER;
		if (!take(cursor, "@"))
		{
			if (spec->nrounds > 0 || take(cursor, ","))
				return fail_at(cursor, documents.at, RSTAR_PASSES_NO_DOCUMENTS);
			return add_round(spec, cursor, NULL, &documents);
		}
		if (!take_number(cursor, &samples))
			return RSTAR_PASSES_NO_NUMBER;
		code = add_round(spec, cursor, &documents, &samples);
		if (code != RSTAR_PASSES_OK)
			return code;
	} while (take(cursor, ","));
	return RSTAR_PASSES_OK;
}

/* "documents" is NULL for all */
static RstarPassesCode
add_round(RstarPassesSpec *spec, Cursor *cursor, const Number *documents,
		  const Number *samples)
{
	const RstarPassesRound *before = NULL;
	RstarPassesRound *round;

	if (spec->nrounds == RSTAR_PASSES_MAX_ROUNDS)
		return fail_at(cursor, documents ? documents->at : samples->at,
					   RSTAR_PASSES_TOO_MANY);
	if (spec->nrounds > 0)
		before = &spec->rounds[spec->nrounds - 1];

	if (documents && (documents->value < 1 || documents->value > RSTAR_PASSES_MAX_DOCUMENTS))
		return fail_at(cursor, documents->at, RSTAR_PASSES_BAD_DOCUMENTS);
	if (documents && before && documents->value > before->documents)
		return fail_at(cursor, documents->at, RSTAR_PASSES_MORE_DOCUMENTS);
	if (samples->value < 1 || samples->value > RSTAR_PASSES_MAX_SAMPLES)
		return fail_at(cursor, samples->at, RSTAR_PASSES_BAD_SAMPLES);
	if (before && samples->value <= before->samples)
		return fail_at(cursor, samples->at, RSTAR_PASSES_NO_MORE_SAMPLES);

	round = &spec->rounds[spec->nrounds++];
	round->documents = documents ? documents->value : INT_MAX;
	round->samples = samples->value;
	return RSTAR_PASSES_OK;
}

static RstarPassesCode
fail_at(Cursor *cursor, int at, RstarPassesCode code)
{
	cursor->at = at;
	return code;
}

/* Like take: white space behind it is taken too */
static bool
take_number(Cursor *cursor, Number *number)
{
	number->value = 0;
	number->at = cursor->at;
	while (at_digit(cursor))
	{
		int			digit = cursor->text[cursor->at++] - '0';

		if (number->value <= RSTAR_PASSES_MAX_DOCUMENTS)
			number->value = number->value * 10 + digit;
	}
	if (cursor->at == number->at)
		return false;
	skip_space(cursor);
	return true;
}

static bool
take(Cursor *cursor, const char *word)
{
	int			len = (int) strlen(word);

	if (cursor->len - cursor->at < len ||
		memcmp(cursor->text + cursor->at, word, len) != 0)
		return false;
	cursor->at += len;
	skip_space(cursor);
	return true;
}

static bool
at_digit(const Cursor *cursor)
{
	return cursor->at < cursor->len &&
		cursor->text[cursor->at] >= '0' && cursor->text[cursor->at] <= '9';
}

/* The white space of PostgreSQL's own scanner, whatever the locale */
static void
skip_space(Cursor *cursor)
{
	while (cursor->at < cursor->len &&
		   cursor->text[cursor->at] != '\0' &&
		   strchr(" \t\n\r\f\v", cursor->text[cursor->at]) != NULL)
		cursor->at++;
}

const char *
rstar_passes_reason(RstarPassesCode code)
{
	static const char *const reasons[] = {
		[RSTAR_PASSES_OK] = "",
		[RSTAR_PASSES_EMPTY] = "There is nothing in it.",
		[RSTAR_PASSES_TEXT_TOO_LONG] = "It is longer than " TEXT_OF(RSTAR_PASSES_MAX_TEXT) " bytes.",
		[RSTAR_PASSES_UNKNOWN_WORD] = "A number, \"adaptive\" or \"members\" is expected here.",
		[RSTAR_PASSES_NO_NUMBER] = "A number is expected here.",
		[RSTAR_PASSES_BAD_SAMPLES] = "A number of samples is from 1 to " TEXT_OF(RSTAR_PASSES_MAX_SAMPLES) ".",
		[RSTAR_PASSES_BAD_DOCUMENTS] = "A number of documents is from 1 to " TEXT_OF(RSTAR_PASSES_MAX_DOCUMENTS) ".",
		[RSTAR_PASSES_TOO_MANY] = "There are at most " TEXT_OF(RSTAR_PASSES_MAX_ROUNDS) " passes or rounds.",
		[RSTAR_PASSES_MORE_DOCUMENTS] = "A pass takes no more documents than the one before.",
		[RSTAR_PASSES_NO_MORE_SAMPLES] = "Samples of earlier passes or rounds count, so each needs a larger number than the one before.",
		[RSTAR_PASSES_NO_DOCUMENTS] = "Each of several passes is written documents@samples.",
		[RSTAR_PASSES_TRAILING] = "The specification ends before this."
	};

	return reasons[code];
}

size_t
rstar_passes_size(int ndocs)
{
	return sizeof(RstarPasses) + (sizeof(Doc) + sizeof(Doc *)) * (size_t) ndocs;
}

RstarPasses *
rstar_passes_create(void *memory, const RstarPassesSpec *spec, int ndocs, int top_n)
{
	RstarPasses *passes = memory;

	memset(passes, 0, rstar_passes_size(ndocs));
	passes->spec = *spec;
	passes->ndocs = ndocs;
	passes->ranking = (Doc **) &passes->docs[ndocs];
	for (int i = 0; i < ndocs; i++)
		passes->ranking[i] = &passes->docs[i];

	/* when all are wanted, all are members, and only their order is open */
	if (top_n > 0)
		passes->k = top_n;
	else
		passes->k = spec->kind == RSTAR_PASSES_ADAPTIVE ? ADAPTIVE_K : ndocs;
	if (passes->k > ndocs)
		passes->k = ndocs;
	return passes;
}

bool
rstar_passes_feed(RstarPasses *passes, int doc, const RstarPassesKnown *known)
{
	int64_t		n = known->samples;
	Doc		   *d;

	if (doc < 0 || doc >= passes->ndocs || n < 0 || n > RSTAR_PASSES_MAX_KNOWN ||
		known->sum < 0 || known->sum > 100 * n ||
		known->sum_squares < 0 || known->sum_squares > 10000 * n ||
		n * known->sum_squares < known->sum * known->sum)
		return false;
	d = &passes->docs[doc];
	d->samples = known->samples;
	d->sum = known->sum;
	d->sum_squares = known->sum_squares;
	d->failed = known->failed;
	return true;
}

int
rstar_passes_next(RstarPasses *passes)
{
	int			asked = 0;

	for (int i = 0; i < passes->ndocs; i++)
		passes->docs[i].target = 0;
	while (asked == 0 && passes->round < passes->spec.nrounds)
		asked = choose(passes, &passes->spec.rounds[passes->round++]);
	return asked;
}

/* Sets the targets of a round; returns how many */
static int
choose(RstarPasses *passes, const RstarPassesRound *round)
{
	if (round == passes->spec.rounds)
		return choose_first(passes);

	qsort(passes->ranking, passes->ndocs, sizeof(Doc *), compare_docs);
	switch (passes->spec.kind)
	{
		case RSTAR_PASSES_FIXED:
			return choose_fixed(passes, round);
		case RSTAR_PASSES_ADAPTIVE:
			return choose_adaptive(passes, round);
		case RSTAR_PASSES_MEMBERS:
			return choose_members(passes);
	}
	return 0;
}

/* Nothing to choose by but the caller's order */
static int
choose_first(RstarPasses *passes)
{
	const RstarPassesRound *round = passes->spec.rounds;
	int			asked = 0;

	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = &passes->docs[i];

		doc->out = i >= round->documents;
		if (!doc->out)
			asked += ask(passes, doc, round->samples);
	}
	return asked;
}

/*
 * The best of those that are in take part; the other scored ones are out.
 * One without a score stays in and takes nobody's place.
 */
static int
choose_fixed(RstarPasses *passes, const RstarPassesRound *round)
{
	int			asked = 0;
	int			in = 0;

	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];

		if (doc->out)
			continue;
		if (doc->samples > 0 && in++ >= round->documents)
			doc->out = true;
		else
			asked += ask(passes, doc, round->samples);
	}
	return asked;
}

static int
choose_adaptive(RstarPasses *passes, const RstarPassesRound *round)
{
	const RstarPassesSpec *spec = &passes->spec;
	bool		saving = spec->rounds[spec->nrounds - 1].samples <= ADAPTIVE_SAVING_SAMPLES;
	double		margin = (saving ? ADAPTIVE_SAVING_Z : ADAPTIVE_Z) * pooled_sd(passes);
	int64_t		most = (int64_t) ADAPTIVE_MOST * passes->k;
	double		bar = -1;		/* below every mean: fewer than k have a score */
	int			asked = 0;

	if (passes->k > 0 && passes->ranking[passes->k - 1]->samples > 0)
		bar = mean_of(passes->ranking[passes->k - 1]);
	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];

		if (doc->samples == 0 ||
			(i < most && mean_of(doc) + margin / sqrt(doc->samples) >= bar))
			asked += ask(passes, doc, round->samples);
	}
	return asked;
}

/*
 * LUCB with a Gaussian radius: a document's place is open while its interval
 * reaches into that of one on the other side of the boundary.
 */
static int
choose_members(RstarPasses *passes)
{
	double		margin = MEMBERS_Z * pooled_sd(passes);
	double		lowest_inside = INFINITY;
	double		highest_outside = -INFINITY;
	int			asked = 0;

	for (int i = 0; i < passes->ndocs && passes->ranking[i]->samples > 0; i++)
	{
		const Doc  *doc = passes->ranking[i];
		double		radius = margin / sqrt(doc->samples);

		if (i < passes->k)
			lowest_inside = fmin(lowest_inside, mean_of(doc) - radius);
		else
			highest_outside = fmax(highest_outside, mean_of(doc) + radius);
	}
	for (int i = 0; i < passes->ndocs; i++)
	{
		Doc		   *doc = passes->ranking[i];
		double		radius = doc->samples > 0 ? margin / sqrt(doc->samples) : 0;

		if (doc->samples == 0 ||
			(i < passes->k ? mean_of(doc) - radius < highest_outside :
			 mean_of(doc) + radius > lowest_inside))
			asked += ask(passes, doc, samples_after(passes, doc));
	}
	return asked;
}

/*
 * MEMBERS lets each document climb the list of rounds by itself: one that
 * becomes open late has not fallen behind, there was no need to ask it.
 */
static int
samples_after(const RstarPasses *passes, const Doc *doc)
{
	const RstarPassesSpec *spec = &passes->spec;
	int			i = 0;

	while (i < spec->nrounds - 1 && spec->rounds[i].samples <= doc->samples)
		i++;
	return spec->rounds[i].samples;
}

/* One without a score begins like all others did; returns how many are asked */
static int
ask(const RstarPasses *passes, Doc *doc, int samples)
{
	if (doc->samples == 0)
		samples = passes->spec.rounds[0].samples;
	if (doc->failed || doc->samples >= samples)
		return 0;
	doc->target = samples;
	return 1;
}

/*
 * The numerators of the squared deviations are exact integers: a difference
 * of two large sums in floating point could be anything.
 */
static double
pooled_sd(const RstarPasses *passes)
{
	double		squares = SD_WEIGHT * SD_GUESS * SD_GUESS;
	double		freedom = SD_WEIGHT;

	for (int i = 0; i < passes->ndocs; i++)
	{
		const Doc  *doc = &passes->docs[i];

		if (doc->samples < 2)
			continue;
		squares += (double) (doc->samples * doc->sum_squares - doc->sum * doc->sum) /
			doc->samples;
		freedom += doc->samples - 1;
	}
	return sqrt(squares / freedom);
}

static double
mean_of(const Doc *doc)
{
	return (double) doc->sum / doc->samples;
}

/* Best first.  The array of documents is in the caller's order. */
static int
compare_docs(const void *a, const void *b)
{
	const Doc  *x = *(Doc *const *) a;
	const Doc  *y = *(Doc *const *) b;
	int64_t		left = x->sum * y->samples;
	int64_t		right = y->sum * x->samples;

	if ((x->samples > 0) != (y->samples > 0))
		return x->samples > 0 ? -1 : 1;
	if (left != right)
		return left > right ? -1 : 1;
	return (x > y) - (x < y);
}

int
rstar_passes_target(const RstarPasses *passes, int doc)
{
	return passes->docs[doc].target;
}

void
rstar_passes_order(RstarPasses *passes, int *order)
{
	qsort(passes->ranking, passes->ndocs, sizeof(Doc *), compare_docs);
	for (int i = 0; i < passes->ndocs; i++)
		order[i] = (int) (passes->ranking[i] - passes->docs);
}

bool
rstar_passes_score(const RstarPasses *passes, int doc, double *score)
{
	const Doc  *d = &passes->docs[doc];

	*score = d->samples > 0 ? mean_of(d) : 0;
	return d->samples > 0;
}
