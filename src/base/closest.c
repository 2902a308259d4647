/*-------------------------------------------------------------------------
 *
 * closest.c
 *		"Perhaps you meant": which name somebody had in mind.
 *
 * By Levenshtein distance, whatever the case; up to a third of the name may be
 * wrong.  PostgreSQL has this for its foreign-data wrappers from 16 on only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/varlena.h"

#include "base/closest.h"

/* PostgreSQL's function takes no longer ones, and no name here is longer */
#define LONGEST 255

static char *lower(const char *name);

void
rstar_closest_init(RstarClosest *closest, const char *given)
{
	closest->given = given;
	closest->found = NULL;
	closest->distance = (int) strlen(given) / 3 + 2;
}

void
rstar_closest_offer(RstarClosest *closest, const char *name)
{
	int			given_len = strlen(closest->given);
	int			len = strlen(name);
	char	   *a;
	char	   *b;
	int			distance;

	if (given_len == 0 || given_len > LONGEST || len > LONGEST)
		return;
	a = lower(closest->given);
	b = lower(name);
	distance = varstr_levenshtein_less_equal(a, given_len, b, len, 1, 1, 1,
											 closest->distance - 1, true);
	pfree(a);
	pfree(b);
	if (distance >= closest->distance || distance >= given_len)
		return;
	closest->distance = distance;
	closest->found = pstrdup(name);
}

static char *
lower(const char *name)
{
	char	   *copy = pstrdup(name);

	for (char *c = copy; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	return copy;
}
