/*-------------------------------------------------------------------------
 *
 * shorten.c
 *		How much of a document to send when a text is too long for the model.
 *
 * Called by: send.c, test/unit.
 *
 * Nothing is shortened before it is sent: how many tokens a text has, its
 * server alone knows, and a refusal costs it no work of the model.  The
 * server then says how many tokens there were and how many there may be, and
 * as much is cut from the document's end as that makes in bytes.  Some servers stop counting at their
 * limit ("at least"), and some say nothing, so that it may take several
 * rounds, each of which cuts more.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>

#include "shorten.h"

#define MAX_ROUNDS 6

/* Tokens that servers add, a chat template's for example */
#define SPARE_TOKENS 16

/* Bytes to a token where that is many: English has 4.5, other scripts fewer */
#define LONG_TOKEN 6

/* The same of what is not document, the prompt mostly; rather few */
#define PROMPT_TOKEN 4

static bool is_inside_character(char c);

size_t
rstar_shorten_to(const RstarTooLong *too_long)
{
	double		len = (double) too_long->doc_len;
	double		keep = len / 2;
	double		room = too_long->limit_tokens - too_long->max_tokens - SPARE_TOKENS;
	double		tokens = too_long->prompt_tokens;

	if (too_long->round >= MAX_ROUNDS)
		return 0;
	/* it may have counted up to its limit only, or not at all */
	if (tokens - 1 <= too_long->limit_tokens && tokens < (double) too_long->text_len / LONG_TOKEN)
		tokens = (double) too_long->text_len / LONG_TOKEN;
	/* llama.cpp takes a prompt that leaves less room than max_tokens */
	if (room <= 0)
		room = too_long->limit_tokens / 2;
	if (room > 0 && tokens > room)
	{
		double		other = ((double) too_long->text_len - len) / PROMPT_TOKEN;

		/* not so by far: then as if each byte counted the same */
		if (other > tokens * 15 / 16)
			other = tokens * (1 - len / (double) too_long->text_len);
		keep = (room - other) * len / (tokens - other);
		if (keep <= -len)
			return 0;
		keep -= keep / 32;
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
