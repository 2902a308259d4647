/*-------------------------------------------------------------------------
 *
 * grammar.c
 *		Would llama-server take this grammar?
 *
 * Called by: chat_check.c.  Calls: nothing; it is pure.
 *
 * A reader of GBNF that keeps nothing but names.  It refuses what has no rule
 * "root", a rule that is named but not defined, an item outside of a rule, and
 * brackets, quotes and escapes that do not end.  It is more lenient than the
 * real parser in what needs a tree: several rules on a line, an operator with
 * nothing before it, recursion on the left.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "grammar.h"

#define SIM_MAX_RULES 256

typedef struct Name
{
	const char *start;
	size_t		len;
} Name;

typedef struct Grammar
{
	const char *pos;			/* what is read next */
	int			depth;			/* open parentheses */
	int			ndefined;
	int			nused;
	Name		defined[SIM_MAX_RULES];
	Name		used[SIM_MAX_RULES];
} Grammar;

static bool
name_char(char c)
{
	return isalnum((unsigned char) c) || c == '-';
}

/* White space and comments */
static void
skip_space(Grammar *g)
{
	for (;;)
	{
		g->pos += strspn(g->pos, " \t\r\n");
		if (*g->pos != '#')
			return;
		g->pos += strcspn(g->pos, "\n");
	}
}

static bool
is_in(const Name *names, int n, const char *start, size_t len)
{
	for (int i = 0; i < n; i++)
	{
		if (names[i].len == len && memcmp(names[i].start, start, len) == 0)
			return true;
	}
	return false;
}

/* False when there are too many */
static bool
add(Name *names, int *n, const char *start, size_t len)
{
	if (is_in(names, *n, start, len))
		return true;
	if (*n == SIM_MAX_RULES)
		return false;
	names[*n].start = start;
	names[(*n)++].len = len;
	return true;
}

/* To behind the "end" of a literal or a set of characters, on its line */
static bool
quoted(Grammar *g, char end)
{
	for (g->pos++; *g->pos != end; g->pos++)
	{
		if (*g->pos == '\\')
			g->pos++;
		if (*g->pos == '\0' || *g->pos == '\n')
			return false;
	}
	g->pos++;
	return true;
}

/* A repetition: {2}, {2,}, {,3}, {2,3} */
static bool
repetition(Grammar *g)
{
	g->pos++;
	g->pos += strspn(g->pos, "0123456789, ");
	return *g->pos++ == '}';
}

/* The name of a rule, which is defined here if "::=" follows */
static bool
rule_name(Grammar *g)
{
	const char *start = g->pos;
	size_t		len = 0;

	while (name_char(start[len]))
		len++;
	g->pos += len;
	skip_space(g);
	if (strncmp(g->pos, "::=", 3) != 0)
		return g->ndefined > 0 && add(g->used, &g->nused, start, len);
	g->pos += 3;
	return g->depth == 0 && add(g->defined, &g->ndefined, start, len);
}

static bool
item(Grammar *g)
{
	if (name_char(*g->pos))
		return rule_name(g);

	/* All else belongs to a rule */
	if (g->ndefined == 0)
		return false;
	switch (*g->pos)
	{
		case '"':
			return quoted(g, '"');
		case '[':
			return quoted(g, ']');
		case '{':
			return repetition(g);
		case '(':
			g->depth++;
			break;
		case ')':
			if (g->depth-- == 0)
				return false;
			break;
		case '|':
		case '*':
		case '+':
		case '?':
		case '.':
			break;
		default:
			return false;
	}
	g->pos++;
	return true;
}

bool
sim_grammar_valid(const char *text)
{
	Grammar		g = {.pos = text};

	for (skip_space(&g); *g.pos != '\0'; skip_space(&g))
	{
		if (!item(&g))
			return false;
	}
	for (int i = 0; i < g.nused; i++)
	{
		if (!is_in(g.defined, g.ndefined, g.used[i].start, g.used[i].len))
			return false;
	}
	return g.depth == 0 && is_in(g.defined, g.ndefined, "root", 4);
}
