/*-------------------------------------------------------------------------
 *
 * template.c
 *		A prompt and an answer, as somebody who has another model writes them.
 *
 * Places are written as in Python's format(), from where most prompts come.
 * A brace must belong to one, or be doubled, so that a place whose name is
 * misspelt does not become a part of the prompt unnoticed.
 *
 * Query and document stand in a template exactly once: without one of them
 * there is nothing to score, and of a document that is too long a request can
 * leave out one piece only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "model/template.h"

/* Of a bound of a scale */
#define MAX_DIGITS 4
#define MAX_DECIMALS 3

static const char *const place_names[RSTAR_PLACES] = {
	[RSTAR_PLACE_RELEVANCE_DEFINITION] = "relevance_definition",
	[RSTAR_PLACE_QUERY_TYPE] = "query_type",
	[RSTAR_PLACE_DOC_TYPE] = "doc_type",
	[RSTAR_PLACE_QUERY] = "query",
	[RSTAR_PLACE_DOCUMENT] = "document",
	[RSTAR_PLACE_SCORE] = "score"
};

static void skip(RstarText *text, size_t len);
static RstarPlace take_place(RstarText *rest);
static bool read_scale(RstarText scale, RstarForm *form);
static int	read_bound(RstarText *text, int64_t *bound, bool *fraction);
static RstarFormFault read_answer(RstarText answer, RstarForm *form);
static RstarFormFault add_literal(RstarForm *form, RstarText literal);
static bool is_space(char c);
static bool is_digit(char c);

bool
rstar_template_next(RstarText *rest, RstarPiece *piece)
{
	size_t		len = 0;

	if (rest->len == 0)
		return false;
	while (len < rest->len && rest->data[len] != '{' && rest->data[len] != '}')
		len++;
	piece->literal.data = rest->data;
	piece->literal.len = len;
	piece->place = RSTAR_PLACE_NONE;
	skip(rest, len);
	if (rest->len == 0)
		return true;
	if (rest->len > 1 && rest->data[1] == rest->data[0])
	{
		/* the first of the two is literal */
		piece->literal.len++;
		skip(rest, 2);
		return true;
	}
	piece->place = take_place(rest);
	return true;
}

static void
skip(RstarText *text, size_t len)
{
	text->data += len;
	text->len -= len;
}

/* At a single brace */
static RstarPlace
take_place(RstarText *rest)
{
	for (int place = 0; place < RSTAR_PLACES; place++)
	{
		size_t		len = strlen(place_names[place]);

		if (rest->len >= len + 2 && rest->data[0] == '{' && rest->data[len + 1] == '}' &&
			memcmp(rest->data + 1, place_names[place], len) == 0)
		{
			skip(rest, len + 2);
			return (RstarPlace) place;
		}
	}
	return RSTAR_PLACE_WRONG;
}

const char *
rstar_template_place(RstarPlace place)
{
	return place_names[place];
}

RstarTemplateFault
rstar_template_check(RstarText template, RstarTemplateReport *report)
{
	static const RstarPlace needed[] = {RSTAR_PLACE_QUERY, RSTAR_PLACE_DOCUMENT};
	RstarPiece	piece;

	memset(report, 0, sizeof(*report));
	report->at = template;
	if (template.len > RSTAR_TEMPLATE_LEN)
		return RSTAR_TEMPLATE_TOO_LONG;
	while (rstar_template_next(&template, &piece))
	{
		report->at.data = piece.literal.data + piece.literal.len;
		report->at.len = (size_t) (template.data + template.len - report->at.data);
		if (piece.place == RSTAR_PLACE_WRONG || piece.place == RSTAR_PLACE_SCORE)
			return RSTAR_TEMPLATE_BRACE;
		if (piece.place != RSTAR_PLACE_NONE)
			report->count[piece.place]++;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
	{
		report->place = needed[i];
		if (report->count[needed[i]] != 1)
			return report->count[needed[i]] == 0 ? RSTAR_TEMPLATE_LACKS : RSTAR_TEMPLATE_TWICE;
	}
	return RSTAR_TEMPLATE_GOOD;
}

RstarFormFault
rstar_template_form(RstarText answer, RstarText scale, RstarForm *form)
{
	memset(form, 0, sizeof(*form));
	if (!read_scale(scale, form))
		return RSTAR_FORM_SCALE;
	if (form->low >= form->high)
		return RSTAR_FORM_EMPTY;
	return read_answer(answer, form);
}

/*
 * Two bounds with ".." between them.  Answers have a fraction where a bound is
 * written with one, and on 0..1: two answers would be no scale.
 */
static bool
read_scale(RstarText scale, RstarForm *form)
{
	if (read_bound(&scale, &form->low, &form->fraction) == 0 ||
		scale.len < 2 || memcmp(scale.data, "..", 2) != 0)
		return false;
	skip(&scale, 2);
	form->digits = (uint8_t) read_bound(&scale, &form->high, &form->fraction);
	if (form->high - form->low <= RSTAR_FORM_UNIT)
		form->fraction = true;
	return form->digits > 0 && scale.len == 0;
}

/* Its digits before the point; 0: it is no number, or one of too many digits */
static int
read_bound(RstarText *text, int64_t *bound, bool *fraction)
{
	int64_t		unit = RSTAR_FORM_UNIT;
	int			digits = 0;

	*bound = 0;
	for (; text->len > 0 && is_digit(text->data[0]); skip(text, 1))
	{
		if (++digits > MAX_DIGITS)
			return 0;
		*bound = *bound * 10 + (text->data[0] - '0');
	}
	*bound *= unit;
	if (digits == 0 || text->len < 2 || text->data[0] != '.' || !is_digit(text->data[1]))
		return digits;
	*fraction = true;
	skip(text, 1);
	for (int decimals = 1; text->len > 0 && is_digit(text->data[0]); decimals++, skip(text, 1))
	{
		if (decimals > MAX_DECIMALS)
			return 0;
		unit /= 10;
		*bound += (text->data[0] - '0') * unit;
	}
	return digits;
}

/* White space next to the number may be in each answer, and so is in none */
static RstarFormFault
read_answer(RstarText answer, RstarForm *form)
{
	RstarFormFault fault = RSTAR_FORM_GOOD;
	RstarPiece	piece;
	int			places = 0;
	int			start = 0;
	int			end;

	while (fault == RSTAR_FORM_GOOD && rstar_template_next(&answer, &piece))
	{
		fault = add_literal(form, piece.literal);
		if (fault != RSTAR_FORM_GOOD || piece.place == RSTAR_PLACE_NONE)
			continue;
		if (piece.place != RSTAR_PLACE_SCORE || ++places > 1)
			return RSTAR_FORM_PLACE;
		while (form->behind_len > 0 && is_space(form->text[form->behind_len - 1]))
			form->behind_len--;
		form->before_len = form->behind_len;
		form->behind_len = 0;
		if (form->before_len == 0)
			return RSTAR_FORM_BEFORE;
	}
	if (fault != RSTAR_FORM_GOOD)
		return fault;
	if (places == 0)
		return RSTAR_FORM_PLACE;
	end = form->before_len + form->behind_len;
	while (start < form->behind_len && is_space(form->text[form->before_len + start]))
		start++;
	while (end > form->before_len + start && is_space(form->text[end - 1]))
		end--;
	form->behind_len = (uint8_t) (end - form->before_len - start);
	memmove(form->text + form->before_len, form->text + form->before_len + start, form->behind_len);
	return RSTAR_FORM_GOOD;
}

/* To what is behind; until there is a number, all is */
static RstarFormFault
add_literal(RstarForm *form, RstarText literal)
{
	size_t		len = (size_t) form->before_len + form->behind_len;

	if (literal.len > RSTAR_FORM_LEN - len)
		return RSTAR_FORM_TOO_LONG;
	memcpy(form->text + len, literal.data, literal.len);
	form->behind_len = (uint8_t) (form->behind_len + literal.len);
	return RSTAR_FORM_GOOD;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}
