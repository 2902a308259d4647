/*-------------------------------------------------------------------------
 *
 * reply_scan.c
 *		The usual chat completion, read in one pass.
 *
 * json-c builds a tree of some forty objects for a reply of which four values
 * count, and that was a third of what the worker did in user space.  Replies
 * of servers that work look alike; this reads them, and everything else goes
 * to json-c, which decides alone what is an answer and what is not.  So
 * nothing is tolerated here: what is not plain JSON (RFC 8259), what comes
 * twice, has another type, holds a \u escape or a control character, is deep
 * or big, is "unusual".  test/fuzz compares the two readers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "model/reply_scan.h"

/* Longest body and deepest nesting read here; a usual reply has 2 to 8 kB */
#define MAX_BODY (64 * 1024)
#define MAX_DEPTH 12

/* Longest number, and most digits of a count or an exponent */
#define MAX_NUMBER 24
#define MAX_COUNT_DIGITS 9
#define MAX_EXPONENT_DIGITS 2

typedef struct Scanner
{
	const char *p;
	const char *end;
	RstarReplyScan *scan;
	char	   *used;			/* end of what is used of scan->buffer */
	size_t		body_len;
} Scanner;

/* Reads the value of a member, which is next; false: unusual */
typedef bool (*Reader) (Scanner *s, void *arg);

typedef struct Member
{
	const char *key;
	Reader		read;
	void	   *arg;
} Member;

static bool read_object(Scanner *s, const Member *members, int n, int depth);
static bool read_choices(Scanner *s, void *arg);
static bool read_message(Scanner *s, void *arg);
static bool read_usage(Scanner *s, void *arg);
static bool read_one_count(Scanner *s, void *arg);
static bool read_null(Scanner *s, void *arg);
static bool read_kind(Scanner *s, void *arg);
static bool read_text(Scanner *s, void *arg);
static bool read_count(Scanner *s, void *arg);
static bool skip_value(Scanner *s, int depth);
static bool skip_container(Scanner *s, int depth);
static bool skip_number(Scanner *s);
static size_t skip_digits(Scanner *s);
static bool skip_string(Scanner *s, const char **data, size_t *len, bool *escaped);
static bool skip_word(Scanner *s, const char *word);
static char *unescape(char *dst, const char *src, size_t len);
static bool next_is(Scanner *s, char c);
static void skip_space(Scanner *s);

bool
rstar_reply_scan(RstarReplyScan *scan, const char *body, size_t len)
{
	Scanner		s = {.p = body,.end = body + len,.scan = scan,.body_len = len};
	bool		chosen = false;
	Member		timings = {"cache_n", read_count, &scan->cache_n};
	const Member members[] = {
		{"choices", read_choices, &chosen},
		{"usage", read_usage, NULL},
		{"timings", read_one_count, &timings},
		{"error", read_null, NULL},
		{"object", read_kind, NULL}
	};

	memset(scan, 0, sizeof(*scan));
	for (int i = 0; i < RSTAR_SCAN_PARTS; i++)
		scan->texts[i].data = "";
	scan->finish_reason.data = "";
	if (len > MAX_BODY || !read_object(&s, members, 5, 1))
		return false;
	skip_space(&s);
	return s.p == s.end && chosen;
}

void
rstar_reply_scan_free(RstarReplyScan *scan)
{
	free(scan->buffer);
	scan->buffer = NULL;
}

/* An object of which some members count, each at most once */
static bool
read_object(Scanner *s, const Member *members, int n, int depth)
{
	unsigned	seen = 0;

	if (!next_is(s, '{'))
		return false;
	if (next_is(s, '}'))
		return true;
	do
	{
		const char *key;
		size_t		len;
		bool		escaped;
		int			i;

		skip_space(s);
		if (!skip_string(s, &key, &len, &escaped) || escaped || !next_is(s, ':'))
			return false;
		for (i = 0; i < n; i++)
		{
			if (strlen(members[i].key) == len && memcmp(members[i].key, key, len) == 0)
				break;
		}
		skip_space(s);
		if (i == n)
		{
			if (!skip_value(s, depth))
				return false;
			continue;
		}
		if (seen & (1u << i) || !members[i].read(s, members[i].arg))
			return false;
		seen |= 1u << i;
	} while (next_is(s, ','));
	return next_is(s, '}');
}

/* An array of choices, of which the first counts, and must have a message */
static bool
read_choices(Scanner *s, void *arg)
{
	bool	   *chosen = arg;
	const Member members[] = {
		{"message", read_message, chosen},
		{"finish_reason", read_text, &s->scan->finish_reason}
	};

	if (!next_is(s, '[') || !read_object(s, members, 2, 3))
		return false;
	while (next_is(s, ','))
	{
		skip_space(s);
		if (!skip_value(s, 2))
			return false;
	}
	return next_is(s, ']');
}

static bool
read_message(Scanner *s, void *arg)
{
	RstarText  *texts = s->scan->texts;
	const Member members[] = {
		{"content", read_text, &texts[RSTAR_SCAN_CONTENT]},
		{"reasoning_content", read_text, &texts[RSTAR_SCAN_REASONING_CONTENT]},
		{"reasoning", read_text, &texts[RSTAR_SCAN_REASONING]}
	};

	*(bool *) arg = true;
	return read_object(s, members, RSTAR_SCAN_PARTS, 4);
}

static bool
read_usage(Scanner *s, void *arg)
{
	Member		details = {"cached_tokens", read_count, &s->scan->cached_tokens};
	const Member members[] = {
		{"prompt_tokens", read_count, &s->scan->prompt_tokens},
		{"completion_tokens", read_count, &s->scan->completion_tokens},
		{"prompt_tokens_details", read_one_count, &details},
		{"prompt_cache_hit_tokens", read_count, &s->scan->cache_hit_tokens}
	};

	(void) arg;
	return skip_word(s, "null") || read_object(s, members, 4, 2);
}

/* null, or an object of which this member counts */
static bool
read_one_count(Scanner *s, void *arg)
{
	return skip_word(s, "null") || read_object(s, arg, 1, 3);
}

/* Nothing is wrong */
static bool
read_null(Scanner *s, void *arg)
{
	(void) arg;
	return skip_word(s, "null");
}

static bool
read_kind(Scanner *s, void *arg)
{
	(void) arg;
	return skip_word(s, "\"chat.completion\"");
}

static bool
read_text(Scanner *s, void *arg)
{
	RstarText  *text = arg;
	char	   *start;
	bool		escaped;

	if (skip_word(s, "null"))
		return true;
	if (!skip_string(s, &text->data, &text->len, &escaped))
		return false;
	if (!escaped)
		return true;
	if (s->scan->buffer == NULL)
	{
		/* all texts together are shorter than the body */
		s->used = s->scan->buffer = malloc(s->body_len);
		if (s->used == NULL)
			return false;
	}
	start = s->used;
	s->used = unescape(start, text->data, text->len);
	text->data = start;
	text->len = (size_t) (s->used - start);
	return true;
}

/* A whole number that an int holds */
static bool
read_count(Scanner *s, void *arg)
{
	int		   *count = arg;
	const char *start = s->p;
	size_t		digits;

	if (skip_word(s, "null"))
		return true;
	digits = skip_digits(s);
	if (digits == 0 || digits > MAX_COUNT_DIGITS || (digits > 1 && *start == '0') ||
		(s->p < s->end && (*s->p == '.' || *s->p == 'e' || *s->p == 'E')))
		return false;
	*count = 0;
	for (; start < s->p; start++)
		*count = *count * 10 + (*start - '0');
	return true;
}

/* The value that is next, inside of so many containers */
static bool
skip_value(Scanner *s, int depth)
{
	const char *data;
	size_t		len;
	bool		escaped;

	if (s->p == s->end)
		return false;
	switch (*s->p)
	{
		case '"':
			return skip_string(s, &data, &len, &escaped);
		case '{':
		case '[':
			return depth < MAX_DEPTH && skip_container(s, depth + 1);
		case 't':
			return skip_word(s, "true");
		case 'f':
			return skip_word(s, "false");
		case 'n':
			return skip_word(s, "null");
		default:
			return skip_number(s);
	}
}

static bool
skip_container(Scanner *s, int depth)
{
	bool		object = *s->p == '{';
	char		close = object ? '}' : ']';
	const char *data;
	size_t		len;
	bool		escaped;

	s->p++;
	if (next_is(s, close))
		return true;
	do
	{
		skip_space(s);
		if (object &&
			(!skip_string(s, &data, &len, &escaped) || !next_is(s, ':')))
			return false;
		skip_space(s);
		if (!skip_value(s, depth))
			return false;
	} while (next_is(s, ','));
	return next_is(s, close);
}

static bool
skip_number(Scanner *s)
{
	const char *start = s->p;
	const char *whole;
	size_t		digits;

	if (s->p < s->end && *s->p == '-')
		s->p++;
	whole = s->p;
	digits = skip_digits(s);
	if (digits == 0 || (digits > 1 && *whole == '0'))
		return false;
	if (s->p < s->end && *s->p == '.')
	{
		s->p++;
		if (skip_digits(s) == 0)
			return false;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E'))
	{
		s->p++;
		if (s->p < s->end && (*s->p == '-' || *s->p == '+'))
			s->p++;
		digits = skip_digits(s);
		if (digits == 0 || digits > MAX_EXPONENT_DIGITS)
			return false;
	}
	return s->p - start <= MAX_NUMBER;
}

static size_t
skip_digits(Scanner *s)
{
	const char *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t) (s->p - start);
}

/* A string with the escapes of one character only */
static bool
skip_string(Scanner *s, const char **data, size_t *len, bool *escaped)
{
	const char *p = s->p;

	*escaped = false;
	if (p == s->end || *p++ != '"')
		return false;
	*data = p;
	for (;;)
	{
		while (s->end - p >= RSTAR_BLOCK)
		{
			int			plain = rstar_text_plain(p);

			p += plain;
			if (plain < RSTAR_BLOCK)
				break;
		}
		while (p < s->end && (unsigned char) *p >= ' ' && *p != '"' && *p != '\\')
			p++;
		if (p == s->end || (unsigned char) *p < ' ')
			return false;
		if (*p == '"')
			break;
		*escaped = true;
		if (++p == s->end || *p == '\0' || strchr("\"\\/bfnrt", *p) == NULL)
			return false;
		p++;
	}
	*len = (size_t) (p - *data);
	s->p = p + 1;
	return true;
}

static bool
skip_word(Scanner *s, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (s->end - s->p) < len || memcmp(s->p, word, len) != 0)
		return false;
	s->p += len;
	return true;
}

/* Of a string that skip_string() has passed; returns the end */
static char *
unescape(char *dst, const char *src, size_t len)
{
	const char *end = src + len;

	while (src < end)
	{
		const char *escape = memchr(src, '\\', (size_t) (end - src));
		size_t		plain = (size_t) ((escape ? escape : end) - src);

		memcpy(dst, src, plain);
		dst += plain;
		src += plain;
		if (escape == NULL)
			break;
		switch (src[1])
		{
			case 'b':
				*dst++ = '\b';
				break;
			case 'f':
				*dst++ = '\f';
				break;
			case 'n':
				*dst++ = '\n';
				break;
			case 'r':
				*dst++ = '\r';
				break;
			case 't':
				*dst++ = '\t';
				break;
			default:
				*dst++ = src[1];
				break;
		}
		src += 2;
	}
	return dst;
}

/* Consumes the character, and white space before it, if it is next */
static bool
next_is(Scanner *s, char c)
{
	skip_space(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

static void
skip_space(Scanner *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
		s->p++;
}
