/*-------------------------------------------------------------------------
 *
 * passages.c
 *		Where a long document is cut into passages.
 *
 * Pure.
 *
 * A text is cut by its content, not by counting from its beginning, so that
 * an edit changes the passages around it and no others, whose scores stay
 * known.  Every place between two characters has a rank: what begins there (a
 * paragraph, a sentence, a line, a word, any character), and among equals a
 * hash of the bytes that follow.  While what is left is longer than a passage
 * may be, the place of the highest rank within reach becomes the next cut, of
 * equal ones the first.
 *
 * There is no least length, on purpose: a place that is the highest far and
 * wide is then a cut wherever the passage before it began, so behind an edit
 * the cuts soon are the old ones again.  And a paragraph, sentence or word is
 * cut only if it does not fit.
 *
 * The overlap goes back from a cut to the first beginning of a sentence
 * within reach, else of a word, else as far as it may.
 *
 * To change a rule here changes the passages of all documents, and so the
 * keys of their scores.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "functions/passages.h"

/* Bytes behind a place that its rank depends on */
#define CONTEXT 32

/* Two of these make a blank line; a form feed is one by itself */
#define BLANK_LINE 2

typedef enum Kind
{
	KIND_OTHER,
	KIND_SPACE,
	KIND_LINE,					/* end of a line */
	KIND_PAGE,					/* end of a paragraph by itself */
	KIND_STOP,					/* ends a sentence if a space follows */
	KIND_FULL_STOP,				/* ends it without one */
	KIND_CLOSING				/* belongs to the sentence before it */
} Kind;

/* What begins at a place, in the order of ranks */
typedef enum Place
{
	PLACE_CHARACTER,
	PLACE_WORD,
	PLACE_LINE,
	PLACE_SENTENCE,
	PLACE_PARAGRAPH
} Place;

/* On the way through the text, with what stands before the next character */
typedef struct Walk
{
	size_t		byte;
	int			chars;
	int			lines;			/* ends of lines in these spaces */
	bool		spaces;
	bool		stop;			/* a sentence ended before these spaces */
	bool		full;			/* by a full stop that needs none */
} Walk;

/* A place that may become a cut */
typedef struct Candidate
{
	size_t		byte;
	uint64_t	rank;
	int			chars;
} Candidate;

/*
 * The candidates stand in a ring, in the order of the text and of falling
 * ranks: a place that has a higher one behind it within reach is no more.
 */
struct RstarPassages
{
	RstarPassagesRule rule;
	int			reach;			/* characters from cut to cut at most */
	int			room;			/* of the ring */
	int			first;
	int			count;
	int			cut;			/* the last one, in characters */
	Walk		walk;			/* as far as cuts have been looked for */
	Walk		sentence;		/* where the overlap begins, if it may there */
	Walk		word;
	Walk		any;
	Walk		begin;			/* of the next passage */
	bool		ended;
	Candidate	ring[];
};

static bool find_cut(RstarPassages *passages, Candidate *cut);
static void add_candidate(RstarPassages *passages);
static Walk overlap(RstarPassages *passages, int cut);
static bool seek(const RstarPassagesRule *rule, Walk *walk, Place least, int from, int to);
static void step(const RstarPassagesRule *rule, Walk *walk);
static Place place(const RstarPassagesRule *rule, const Walk *walk);
static int	length(const RstarPassagesRule *rule, size_t byte);
static Kind kind(const RstarPassagesRule *rule, size_t byte);
static Kind kind_wide(const unsigned char *at);
static uint64_t hash(const RstarText *text, size_t byte);

size_t
rstar_passages_size(const RstarPassagesRule *rule)
{
	size_t		room = rule->size - rule->overlap;

	if (room > rule->text.len)
		room = rule->text.len;
	return sizeof(RstarPassages) + (room + 1) * sizeof(Candidate);
}

RstarPassages *
rstar_passages_create(void *memory, const RstarPassagesRule *rule)
{
	RstarPassages *passages = memory;

	memset(passages, 0, sizeof(RstarPassages));
	passages->rule = *rule;
	passages->reach = rule->size - rule->overlap;
	passages->room = (rstar_passages_size(rule) - sizeof(RstarPassages)) / sizeof(Candidate);
	return passages;
}

bool
rstar_passages_next(RstarPassages *passages, RstarPassage *passage)
{
	const Walk	begin = passages->begin;
	Candidate	cut;

	if (passages->ended)
		return false;
	while (find_cut(passages, &cut))
	{
		passages->begin = overlap(passages, cut.chars);
		/* One that is the beginning of the next is none */
		if (passages->begin.byte > begin.byte)
		{
			passage->from = begin.byte;
			passage->len = cut.byte - begin.byte;
			passage->start = begin.chars;
			passage->chars = cut.chars - begin.chars;
			return true;
		}
	}
	passages->ended = true;
	passage->from = begin.byte;
	passage->len = passages->walk.byte - begin.byte;
	passage->start = begin.chars;
	passage->chars = passages->walk.chars - begin.chars;
	return passage->len > 0;
}

/* The next cut; false when the rest of the text is not too long */
static bool
find_cut(RstarPassages *passages, Candidate *cut)
{
	Walk	   *walk = &passages->walk;

	for (;;)
	{
		if (walk->chars - passages->cut > passages->reach)
		{
			/* There is one: the place before this is the last of the ring */
			*cut = passages->ring[passages->first];
			passages->first = (passages->first + 1) % passages->room;
			passages->count--;
			passages->cut = cut->chars;
			return true;
		}
		if (walk->byte == passages->rule.text.len)
			return false;
		if (walk->byte > 0)
			add_candidate(passages);
		step(&passages->rule, walk);
	}
}

/* The place where we are takes that of all before it that are lower */
static void
add_candidate(RstarPassages *passages)
{
	const Walk *walk = &passages->walk;
	uint64_t	rank = (uint64_t) place(&passages->rule, walk) << 60 |
		hash(&passages->rule.text, walk->byte) >> 4;
	Candidate  *candidate;

	while (passages->count > 0 &&
		   passages->ring[(passages->first + passages->count - 1) % passages->room].rank < rank)
		passages->count--;
	candidate = &passages->ring[(passages->first + passages->count) % passages->room];
	candidate->byte = walk->byte;
	candidate->chars = walk->chars;
	candidate->rank = rank;
	passages->count++;
}

/*
 * Where the passage behind this cut begins.  Each of the three goes through
 * the text once: places before it were not good enough for an earlier cut.
 */
static Walk
overlap(RstarPassages *passages, int cut)
{
	const RstarPassagesRule *rule = &passages->rule;
	int			from = cut - rule->overlap > 0 ? cut - rule->overlap : 0;

	if (rule->overlap > 0 && seek(rule, &passages->sentence, PLACE_SENTENCE, from, cut))
		return passages->sentence;
	if (rule->overlap > 0 && seek(rule, &passages->word, PLACE_WORD, from, cut))
		return passages->word;
	seek(rule, &passages->any, PLACE_CHARACTER, from, cut);
	return passages->any;
}

/* Goes on to the first such place in "from" to "to", false when there is none */
static bool
seek(const RstarPassagesRule *rule, Walk *walk, Place least, int from, int to)
{
	while (walk->chars < to && (walk->chars < from || place(rule, walk) < least))
		step(rule, walk);
	return walk->chars < to;
}

/* Over one character */
static void
step(const RstarPassagesRule *rule, Walk *walk)
{
	Kind		over = kind(rule, walk->byte);

	switch (over)
	{
		case KIND_SPACE:
		case KIND_LINE:
		case KIND_PAGE:
			walk->spaces = true;
			if (walk->lines < BLANK_LINE)
				walk->lines += over == KIND_SPACE ? 0 : over == KIND_LINE ? 1 : BLANK_LINE;
			break;
		case KIND_STOP:
		case KIND_FULL_STOP:
			walk->stop = true;
			walk->full = over == KIND_FULL_STOP;
			walk->spaces = false;
			walk->lines = 0;
			break;
		case KIND_CLOSING:
		case KIND_OTHER:
			if (walk->spaces || over == KIND_OTHER)
				walk->stop = walk->full = false;
			walk->spaces = false;
			walk->lines = 0;
			break;
	}
	walk->byte += length(rule, walk->byte);
	walk->chars++;
}

/* What begins here; the text has not ended */
static Place
place(const RstarPassagesRule *rule, const Walk *walk)
{
	unsigned char next = rule->text.data[walk->byte];
	Kind		ahead = kind(rule, walk->byte);

	if (walk->byte == 0)
		return PLACE_PARAGRAPH;
	if (ahead == KIND_SPACE || ahead == KIND_LINE || ahead == KIND_PAGE)
		return PLACE_CHARACTER;
	if (walk->lines >= BLANK_LINE)
		return PLACE_PARAGRAPH;
	/* What goes on in small letters was an abbreviation */
	if (walk->stop && walk->spaces && !(next >= 'a' && next <= 'z'))
		return PLACE_SENTENCE;
	if (walk->full && !walk->spaces && ahead == KIND_OTHER)
		return PLACE_SENTENCE;
	if (walk->lines > 0)
		return PLACE_LINE;
	return walk->spaces ? PLACE_WORD : PLACE_CHARACTER;
}

/* Of a character, in bytes; not more than there are */
static int
length(const RstarPassagesRule *rule, size_t byte)
{
	size_t		rest = rule->text.len - byte;
	int			len;

	if ((unsigned char) rule->text.data[byte] < 0x80)
		return 1;
	len = rule->length(rule->text.data + byte);
	return len < 1 ? 1 : (size_t) len > rest ? (int) rest : len;
}

static Kind
kind(const RstarPassagesRule *rule, size_t byte)
{
	const char *at = rule->text.data + byte;

	switch (*at)
	{
		case ' ':
		case '\t':
		case '\v':
		case '\r':
			return KIND_SPACE;
		case '\n':
			return KIND_LINE;
		case '\f':
			return KIND_PAGE;
		case '.':
		case '!':
		case '?':
			return KIND_STOP;
		case '"':
		case '\'':
		case ')':
		case ']':
		case '}':
			return KIND_CLOSING;
	}
	if (rule->utf8 && (unsigned char) *at >= 0xe0 && rule->text.len - byte >= 3)
		return kind_wide((const unsigned char *) at);
	return KIND_OTHER;
}

/* Of characters of three bytes */
static Kind
kind_wide(const unsigned char *at)
{
	static const struct
	{
		const char *bytes;
		Kind		kind;
	}			known[] = {
		{"\xe3\x80\x82", KIND_FULL_STOP},	/* ideographic full stop */
		{"\xef\xbc\x81", KIND_FULL_STOP},	/* fullwidth exclamation mark */
		{"\xef\xbc\x9f", KIND_FULL_STOP},	/* fullwidth question mark */
		{"\xe3\x80\x80", KIND_SPACE},	/* ideographic space */
		{"\xe2\x80\xa8", KIND_LINE},	/* line separator */
		{"\xe2\x80\xa9", KIND_PAGE},	/* paragraph separator */
		{"\xe2\x80\x99", KIND_CLOSING}, /* right single quotation mark */
		{"\xe2\x80\x9d", KIND_CLOSING}, /* right double quotation mark */
		{"\xe3\x80\x8d", KIND_CLOSING}, /* right corner brackets */
		{"\xe3\x80\x8f", KIND_CLOSING},
		{"\xef\xbc\x89", KIND_CLOSING}	/* fullwidth right parenthesis */
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (memcmp(at, known[i].bytes, 3) == 0)
			return known[i].kind;
	}
	return KIND_OTHER;
}

/* The same on all machines */
static uint64_t
hash(const RstarText *text, size_t byte)
{
	size_t		rest = text->len - byte;
	size_t		n = rest < CONTEXT ? rest : CONTEXT;
	uint64_t	h = n;

	for (size_t i = 0; i < n; i += 8)
	{
		uint64_t	word = 0;

		for (size_t j = i; j < n && j < i + 8; j++)
			word |= (uint64_t) (unsigned char) text->data[byte + j] << (8 * (j - i));
		h = (h ^ word) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 29;
	}
	h *= UINT64_C(0xd6e8feb86659fd93);
	return h ^ h >> 32;
}
