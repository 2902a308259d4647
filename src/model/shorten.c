/*-------------------------------------------------------------------------
 *
 * shorten.c
 *		How much of a document to send when a text is too long for the model.
 *
 * Nothing is shortened before it is sent: how many tokens a text has, its
 * server alone knows, and a refusal costs it no work of the model.  The
 * server then says how many tokens there were and how many there may be, and
 * as much is cut from the document's end as that makes in bytes.  Some servers
 * stop counting at their limit ("at least"), and some say nothing.  Then the
 * replies to earlier texts tell how many bytes a token has, or else a guess
 * does, so that it may take several rounds, each of which cuts more.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "model/shorten.h"

#define MAX_ROUNDS 6

/* Tokens that servers add, a chat template's for example */
#define SPARE_TOKENS 16

/* Bytes to a token where that is many: English has 4.5, other scripts fewer */
#define LONG_TOKEN 6

/* The same of what is not document, the prompt mostly; rather few */
#define PROMPT_TOKEN 4

/* Bytes to a token while nothing is known of the server's */
#define USUAL_TOKEN 4

/* Texts that density remembers, about */
#define REMEMBERED 64

static double count(const RstarTooLong *too_long);
static double count_other(const RstarTooLong *too_long);
static bool is_inside_character(char c);

size_t
rstar_shorten_to(const RstarTooLong *too_long)
{
	double		len = (double) too_long->doc_len;
	double		keep = len / 2;
	double		room = too_long->limit_tokens - too_long->max_tokens - SPARE_TOKENS;
	double		tokens = count(too_long);

	if (too_long->round >= MAX_ROUNDS)
		return 0;
	/* llama.cpp takes a prompt that leaves less room than max_tokens */
	if (room <= 0)
		room = too_long->limit_tokens / 2;
	if (room > 0 && tokens > room)
	{
		double		other = count_other(too_long);

		/* not so by far: then as if each byte counted the same */
		if (other > tokens * 15 / 16)
			other = tokens * (1 - len / (double) too_long->text_len);
		keep = (room - other) * len / (tokens - other);
		if (keep <= -len)
			return 0;
		keep -= keep / 48;
		/* a short one, beside much else, is not given up at once */
		if (keep < len / 8 && tokens <= 4 * room)
			keep = len / 8;
		if (too_long->round == 1 && keep > len * 3 / 4)
			keep = len * 3 / 4;
		else if (too_long->round > 1 && keep > len / 2)
			keep = len / 2;
	}
	if (keep < 1)
		return 0;
	return (size_t) keep;
}

/*
 * Tokens of the text that was sent.  Who stops counting where the text does not
 * fit any more says one more than fit, with or without the answer.
 */
static double
count(const RstarTooLong *too_long)
{
	double		said = too_long->prompt_tokens;
	int			limit = too_long->limit_tokens;
	double		least = (double) too_long->text_len / LONG_TOKEN;
	double		tokens;

	if (said > 0 && !(too_long->at_least && (said - 1 == limit || said - 1 == limit - too_long->max_tokens)))
	{
		/* it may have counted up to its limit only, all the same */
		return said - 1 <= limit && said < least ? least : said;
	}
	tokens = too_long->expected > 0 ? too_long->expected : (double) too_long->text_len / USUAL_TOKEN;
	return tokens > said ? tokens : said;
}

/*
 * Its tokens but for the document's.  What is expected is the far end of a line,
 * which documents of another density bend; too few would mean another refusal.
 */
static double
count_other(const RstarTooLong *too_long)
{
	double		usual = (double) (too_long->text_len - too_long->doc_len) / PROMPT_TOKEN;

	if (too_long->other_expected <= 0 || too_long->other_expected > usual)
		return usual;
	return too_long->other_expected > usual * 7 / 8 ? too_long->other_expected : usual * 7 / 8;
}

void
rstar_density_add(RstarDensity *density, size_t bytes, int tokens)
{
	double		length = (double) bytes;
	double		by_bytes;
	double		by_tokens;

	/* no tokenizer counts like that */
	if (bytes == 0 || tokens <= 0 || tokens > length * 2 || tokens < length / 32)
		return;
	if (density->n < REMEMBERED)
		density->n++;
	by_bytes = length - density->bytes;
	by_tokens = tokens - density->tokens;
	density->bytes += by_bytes / density->n;
	density->tokens += by_tokens / density->n;
	density->spread += (by_bytes * (length - density->bytes) - density->spread) / density->n;
	density->together += (by_bytes * (tokens - density->tokens) - density->together) / density->n;
}

/*
 * A line through what is remembered: prompts are in all texts, and documents
 * may have other tokens.  Texts that are all of a length do not say how steep.
 */
double
rstar_density_tokens(const RstarDensity *density, size_t bytes)
{
	double		mean;
	double		slope;
	double		tokens;

	if (density->n == 0)
		return 0;
	mean = slope = density->tokens / density->bytes;
	if (density->spread > density->bytes * density->bytes / 100)
		slope = density->together / density->spread;
	if (slope < mean / 2)
		slope = mean / 2;
	else if (slope > mean * 2)
		slope = mean * 2;
	tokens = density->tokens + slope * ((double) bytes - density->bytes);
	return tokens < 1 ? 1 : tokens;
}

size_t
rstar_shorten_cut(const char *doc, size_t len, size_t keep)
{
	if (keep >= len)
		return len;
	while (keep > 0 && is_inside_character(doc[keep]))
		keep--;
	/* the nearest backslash begins an escape, or ends one */
	for (size_t back = 1; back <= 5 && back <= keep; back++)
	{
		size_t		run = 0;

		if (doc[keep - back] != '\\')
			continue;
		while (back + run < keep + 1 && doc[keep - back - run] == '\\')
			run++;
		if (run % 2 == 1 && (back == 1 || doc[keep - back + 1] == 'u'))
			keep -= back;
		break;
	}
	return keep;
}

/* In UTF-8: not the first byte of one */
static bool
is_inside_character(char c)
{
	return ((unsigned char) c & 0xC0) == 0x80;
}
