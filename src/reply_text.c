/*-------------------------------------------------------------------------
 *
 * reply_text.c
 *		What a model wrote: the score in it, and its text made fit to keep.
 *
 * Called by: reply.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "reply_text.h"

static bool is_space(char c);
static int	scan_score(const char *text, size_t len);
static size_t utf8_length(const unsigned char *s, size_t left);

/* One pass; the work is memchr's, since "<" is rare */
int
rstar_text_score(RstarText text, bool *thinking)
{
	const char *end = text.data + text.len;
	const char *p = text.data;
	int			score = -1;

	*thinking = false;
	while ((p = memchr(p, '<', (size_t) (end - p))) != NULL)
	{
		size_t		left = (size_t) (end - p);

		if (left >= 7 && memcmp(p, "<score>", 7) == 0)
		{
			int			found = scan_score(p + 7, left - 7);

			if (found >= 0)
				score = found;
		}
		else if (left >= 8 && memcmp(p, "</think>", 8) == 0)
		{
			score = -1;
			*thinking = false;
		}
		else if (left >= 7 && memcmp(p, "<think>", 7) == 0)
			*thinking = true;
		p++;
	}
	return score;
}

/* The number between "<score>" and "</score>", or -1 when not well-formed */
static int
scan_score(const char *text, size_t len)
{
	size_t		i = 0;
	size_t		digits = 0;
	int			score = 0;

	while (i < len && is_space(text[i]))
		i++;
	for (; i < len && text[i] >= '0' && text[i] <= '9'; i++)
	{
		if (++digits > 3)
			return -1;
		score = score * 10 + (text[i] - '0');
	}
	while (i < len && is_space(text[i]))
		i++;

	if (digits == 0 || score > 100 ||
		len - i < 8 || memcmp(text + i, "</score>", 8) != 0)
		return -1;
	return score;
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
