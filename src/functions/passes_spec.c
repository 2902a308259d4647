/*-------------------------------------------------------------------------
 *
 * passes_spec.c
 *		How the passes of a set are written.
 *
 * Pure: calls nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdbool.h>
#include <string.h>

#include "functions/passes_spec.h"

/* The rounds of a word that names none */
#define ADAPTIVE_ROUNDS "1,3,6,12"
#define MEMBERS_ROUNDS "1,2,4,8,16"
#define LEAN_ROUNDS "1,2,3"

/*
 * "lean" asks for no others than the first, or best by prior, so many.  What
 * it may cost is better spent on more of them than on more samples of those
 * that are further away from the k best, so it has fewer contenders.
 */
#define LEAN_DOCUMENTS 65
#define LEAN_BEYOND 50
#define ADAPTIVE_BEYOND 200

/* A constant of the header as part of a string */
#define TEXT_OF(number) TEXT_OF_TOKEN(number)
#define TEXT_OF_TOKEN(token) #token

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

RstarPassesCode
rstar_passes_spec_parse(RstarPassesSpec *spec, const char *text, size_t len, int *position)
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
	Cursor		lean = {LEAN_ROUNDS, sizeof(LEAN_ROUNDS) - 1, 0};

	spec->kind = RSTAR_PASSES_ADAPTIVE;
	spec->beyond = ADAPTIVE_BEYOND;
	if (take(cursor, "adaptive"))
		return parse_rounds(spec, take(cursor, ":") ? cursor : &adaptive);
	if (take(cursor, "lean"))
	{
		RstarPassesCode code = parse_rounds(spec, &lean);

		spec->beyond = LEAN_BEYOND;
		for (int i = 0; i < spec->nrounds; i++)
			spec->rounds[i].documents = LEAN_DOCUMENTS;
		return code;
	}
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

/* Words in any case */
static bool
take(Cursor *cursor, const char *word)
{
	int			len = (int) strlen(word);

	if (cursor->len - cursor->at < len)
		return false;
	for (int i = 0; i < len; i++)
	{
		char		c = cursor->text[cursor->at + i];

		if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != word[i])
			return false;
	}
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
rstar_passes_spec_reason(RstarPassesCode code)
{
	static const char *const reasons[] = {
		[RSTAR_PASSES_OK] = "",
		[RSTAR_PASSES_EMPTY] = "There is nothing in it.",
		[RSTAR_PASSES_TEXT_TOO_LONG] = "It is longer than " TEXT_OF(RSTAR_PASSES_MAX_TEXT) " bytes.",
		[RSTAR_PASSES_UNKNOWN_WORD] = "A number, \"adaptive\", \"lean\" or \"members\" is expected here.",
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
