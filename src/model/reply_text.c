/*-------------------------------------------------------------------------
 *
 * reply_text.c
 *		What a model wrote: the score in it, and its text made fit to keep.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "model/reply_text.h"

/*
 * What is said of generations that are not whole, in lower case; whatever else
 * is said (stop, eos_token, end_turn, tool_calls, nothing), the text is all
 * that there is.
 */
static const char *const cut_words[] = {
	"length",					/* OpenAI and who follows it */
	"model_length",				/* Mistral: the context was full */
	"max_tokens",				/* Anthropic, Gemini, Cohere */
	"max_output_tokens",		/* OpenAI's other API */
	"model_context_window_exceeded",	/* Anthropic */
	NULL
};

/* No answer: the server gave up, or took away what the model wrote */
static const char *const broken_words[] = {
	"abort",					/* SGLang, vLLM */
	"aborted", "cancelled", "canceled",
	"error",					/* vLLM, Mistral, OpenRouter */
	"network_error",			/* GLM */
	"insufficient_system_resource", /* DeepSeek */
	"content_filter",			/* OpenAI, Azure, LiteLLM */
	"content-filter", "content_filtered", "guardrail_intervened",
	"sensitive",				/* GLM */
	"safety", "recitation", "blocklist", "prohibited_content", "spii",	/* Gemini */
	"refusal",					/* Anthropic */
	"error_toxic", "error_limit",	/* Cohere */
	NULL
};

static bool is_among(RstarText word, const char *const *words);
static char lower(char c);
static bool is_space(char c);
static bool is_digit(char c);
static bool begins_with(RstarText text, const char *word, size_t len, bool exact);
static int	read_score(RstarText text, const RstarForm *form, bool cut);
static bool read_number(RstarText text, size_t *pos, const RstarForm *form, int64_t *value, bool *exact);
static bool ends_number(RstarText rest, bool cut);
static size_t skip_spaces(RstarText text, size_t i);
static size_t utf8_length(const unsigned char *s, size_t left);

RstarFinish
rstar_text_finish(RstarText reason)
{
	if (is_among(reason, broken_words))
		return RSTAR_FINISH_BROKEN;
	return is_among(reason, cut_words) ? RSTAR_FINISH_CUT : RSTAR_FINISH_WHOLE;
}

/* In whatever case, which no locale has a say in */
static bool
is_among(RstarText word, const char *const *words)
{
	for (; *words != NULL; words++)
	{
		size_t		i = 0;

		while (i < word.len && lower(word.data[i]) == (*words)[i] && (*words)[i] != '\0')
			i++;
		if (i == word.len && (*words)[i] == '\0')
			return true;
	}
	return false;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

/*
 * One pass.  A form that begins with "<" leaves the work to memchr, since "<" is
 * rare.
 */
int
rstar_text_score(RstarText text, const RstarForm *form, bool cut, bool *thinking)
{
	bool		tag = form->text[0] == '<';
	const char *end = text.data + text.len;
	int			score = -1;

	*thinking = false;
	for (const char *p = text.data; p < end; p++)
	{
		RstarText	rest;

		if (tag && (p = memchr(p, '<', (size_t) (end - p))) == NULL)
			break;
		rest.data = p;
		rest.len = (size_t) (end - p);
		if (*p == '<' && begins_with(rest, "</think>", 8, true))
		{
			score = -1;
			*thinking = false;
		}
		else if (*p == '<' && begins_with(rest, "<think>", 7, true))
			*thinking = true;
		if (begins_with(rest, form->text, form->before_len, tag))
		{
			int			found = read_score(rest, form, cut);

			if (found >= 0)
				score = found;
		}
	}
	return score;
}

/* Tags are as they are written, other words in whatever case */
static bool
begins_with(RstarText text, const char *word, size_t len, bool exact)
{
	if (text.len < len)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text.data[i] != word[i] && (exact || lower(text.data[i]) != lower(word[i])))
			return false;
	}
	return true;
}

/* What follows the beginning of a form; -1 when it is not well-formed */
static int
read_score(RstarText text, const RstarForm *form, bool cut)
{
	size_t		i = skip_spaces(text, form->before_len);
	int64_t		span = form->high - form->low;
	int64_t		value = 0;
	RstarText	rest;
	bool		exact = true;

	if (!read_number(text, &i, form, &value, &exact))
		return -1;
	if (form->behind_len > 0)
		i = skip_spaces(text, i);
	rest.data = text.data + i;
	rest.len = text.len - i;
	if (form->behind_len > 0 ?
		!begins_with(rest, form->text + form->before_len, form->behind_len, form->text[0] == '<') :
		!ends_number(rest, cut))
		return -1;
	if (value < form->low || value > form->high || (value == form->high && !exact))
		return -1;
	/* the nearest whole number, halves upwards */
	return (int) ((200 * (value - form->low) + span) / (2 * span));
}

/* *exact: but for decimals too small to count */
static bool
read_number(RstarText text, size_t *pos, const RstarForm *form, int64_t *value, bool *exact)
{
	int64_t		unit = RSTAR_FORM_UNIT;
	size_t		i = *pos;

	for (; i < text.len && is_digit(text.data[i]); i++)
	{
		if (i - *pos >= form->digits)
			return false;
		*value = *value * 10 + (text.data[i] - '0');
	}
	*value *= unit;
	if (i == *pos)
		return false;
	if (form->fraction && text.len - i >= 2 && text.data[i] == '.' && is_digit(text.data[i + 1]))
	{
		for (i++; i < text.len && is_digit(text.data[i]); i++)
		{
			unit /= 10;
			*value += (text.data[i] - '0') * unit;
			*exact = *exact && (unit > 0 || text.data[i] == '0');
		}
	}
	*pos = i;
	return true;
}

/*
 * Whether a number has ended, where nothing has to be behind it: not so "10" of
 * "100", "8.5", "0-10", "80%".
 */
static bool
ends_number(RstarText rest, bool cut)
{
	static const char marks[] = ".,;:!)]}*\"'`<";

	if (rest.len == 0)
		return !cut;
	if (is_space(rest.data[0]))
		return true;
	if (rest.data[0] == '\0' || strchr(marks, rest.data[0]) == NULL)
		return false;
	if (rest.data[0] != '.' && rest.data[0] != ',')
		return true;
	return rest.len == 1 ? !cut : !is_digit(rest.data[1]);
}

static size_t
skip_spaces(RstarText text, size_t i)
{
	while (i < text.len && is_space(text.data[i]))
		i++;
	return i;
}

bool
rstar_text_blank(RstarText text)
{
	for (size_t i = 0; i < text.len; i++)
	{
		if (!is_space(text.data[i]))
			return false;
	}
	return true;
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

size_t
rstar_text_copy(char *dst, const char *src, size_t len)
{
	const unsigned char *s = (const unsigned char *) src;
	char	   *start = dst;
	size_t		i = 0;

	while (i < len)
	{
		size_t		n = 0;

		/* as much as is good goes in one piece */
		while (i + n + RSTAR_BLOCK <= len && rstar_text_is_ascii(src + i + n))
			n += RSTAR_BLOCK;
		while (i + n < len && s[i + n] != '\0' && s[i + n] < 0x80)
			n++;
		if (n == 0 && s[i] != '\0')
			n = utf8_length(s + i, len - i);
		memcpy(dst, src + i, n);
		dst += n;
		i += n;
		if (n == 0 && s[i++] != '\0')
			*dst++ = '?';
	}
	return (size_t) (dst - start);
}

/* Length of the valid UTF-8 character that starts here, or 0 */
static size_t
utf8_length(const unsigned char *s, size_t left)
{
	size_t		n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (left < n)
		return 0;
	for (size_t i = 1; i < n; i++)
	{
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
		(s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

void
rstar_text_line(char *dst, size_t size, const char *src, size_t len)
{
	const unsigned char *s = (const unsigned char *) src;
	size_t		used = 0;
	bool		space = false;

	for (size_t i = 0; i < len;)
	{
		size_t		n = utf8_length(s + i, len - i);
		bool		control = s[i] <= ' ' || s[i] == 0x7f ||
			(n == 2 && s[i] == 0xc2 && s[i + 1] < 0xa0) ||
			(n == 3 && s[i] == 0xe2 && s[i + 1] == 0x80 && (s[i + 2] & 0xfe) == 0xa8);
		size_t		need = n == 0 ? 1 : n;

		if (control)
			space = used > 0;
		else
		{
			if (used + space + need >= size)
				break;
			if (space)
				dst[used++] = ' ';
			space = false;
			if (n == 0)
				dst[used] = '?';
			else
				memcpy(dst + used, src + i, n);
			used += need;
		}
		i += need;
	}
	dst[used] = '\0';
}
