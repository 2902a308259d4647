/*-------------------------------------------------------------------------
 *
 * choose.c
 *		Which endpoint is best for a sample.
 *
 * Misconfigured: an endpoint that is marked for a mapping gets none of its
 * samples but one after 2 s, 4 s, ... 60 s, so that a rolling change of models
 * heals without ALTER SERVER.  Where all are marked, each sample goes to the
 * one that refused longest ago: it costs the server nothing, the user gets
 * the server's own words, and the first answer clears the mark.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stddef.h>

#include "worker/choose.h"

/* Grades of endpoints for a sample; the lowest is best */
#define GRADE_SUSPECT 1			/* its last requests failed, just now */
#define GRADE_LAST 2			/* this sample failed there last */
#define GRADE_THIRD 4			/* this sample failed at two others */
#define GRADE_UNUSABLE INT_MAX

static int	grade(const RstarRoute *route, const RstarAttempt *attempt, int i, int64_t now);
static bool waits_for(const RstarAttempt *attempt, int i, int g);
static bool tried_two(const RstarAttempt *attempt);
static uint64_t weight(const RstarEndpoint *endpoint, const RstarAttempt *attempt);

bool
rstar_choose_all_marked(const RstarRoute *route, uint32_t mapping)
{
	for (int i = 0; i < route->n; i++)
	{
		if (rstar_endpoint_find_mark(&route->endpoints[i], mapping) == NULL)
			return false;
	}
	return true;
}

int
rstar_choose_marked(const RstarRoute *route, uint32_t mapping, bool all, int64_t now)
{
	int64_t		oldest = INT64_MAX;
	int			chosen = -1;

	for (int i = 0; i < route->n; i++)
	{
		const RstarMark *mark = rstar_endpoint_find_mark(&route->endpoints[i], mapping);

		if (mark != NULL && (all || mark->retest_at <= now) &&
			mark->failed_at < oldest && rstar_endpoint_is_free(&route->endpoints[i], now))
		{
			oldest = mark->failed_at;
			chosen = i;
		}
	}
	return chosen;
}

/*
 * A sample that failed goes by affinity alone, and when it has failed at two
 * endpoints it stays with those two: one that kills servers must not kill them
 * all.
 */
int
rstar_choose_best(const RstarRoute *route, const RstarAttempt *attempt, int64_t now)
{
	bool		failed = attempt->tried != 0;
	int			best = GRADE_UNUSABLE;
	int			affine = -1;
	int			least = -1;
	uint64_t	heaviest = 0;
	int			n = 0;
	int			total = 0;

	for (int i = 0; i < route->n; i++)
	{
		int			g = grade(route, attempt, i, now);

		if (g < best && (rstar_endpoint_has_room(&route->endpoints[i]) || waits_for(attempt, i, g)))
			best = g;
	}
	if (best == GRADE_UNUSABLE)
		return -1;

	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];
		const RstarEndpoint *other = least >= 0 ? &route->endpoints[least] : NULL;
		uint64_t	w;

		if (grade(route, attempt, i, now) != best)
			continue;
		n++;
		total += endpoint->in_flight;
		w = weight(endpoint, attempt);
		if ((affine < 0 || w > heaviest) && (!failed || rstar_endpoint_has_room(endpoint)))
		{
			affine = i;
			heaviest = w;
		}
		if (rstar_endpoint_has_room(endpoint) &&
			(other == NULL || (int64_t) endpoint->in_flight * rstar_endpoint_bound(other) <
			 (int64_t) other->in_flight * rstar_endpoint_bound(endpoint)))
			least = i;
	}
	if (failed)
		return affine;
	/* within 1.25 times the mean, plus 4 */
	if (rstar_endpoint_has_room(&route->endpoints[affine]) &&
		(int64_t) 4 * n * route->endpoints[affine].in_flight <=
		(int64_t) 5 * total + (int64_t) 16 * n)
		return affine;
	return least;
}

static int
grade(const RstarRoute *route, const RstarAttempt *attempt, int i, int64_t now)
{
	const RstarEndpoint *endpoint = &route->endpoints[i];
	int			g = 0;

	if (rstar_endpoint_up_at(endpoint) > now ||
		rstar_endpoint_find_mark(endpoint, attempt->mapping) != NULL ||
		rstar_choose_spares(route, attempt->mapping, i))
		return GRADE_UNUSABLE;
	if (now < endpoint->suspect_until)
		g += GRADE_SUSPECT;
	if (i == attempt->last_endpoint)
		g += GRADE_LAST;
	/* a third is better only than one of the two that seems to be down */
	if (tried_two(attempt) && (attempt->tried >> i & 1) == 0)
		g += GRADE_THIRD;
	else if (tried_two(attempt) && attempt->transports > 0 && endpoint->failures > 1)
		g += GRADE_THIRD + 1;
	return g;
}

/*
 * Whether it waits until endpoint i, of grade g, has room: for one of its two,
 * rather than go to a third; and for the second one, rather than use up all
 * attempts at the first while that is the only one with room.
 */
static bool
waits_for(const RstarAttempt *attempt, int i, int g)
{
	if (tried_two(attempt))
		return g < GRADE_THIRD;
	return attempt->failures > 0 && attempt->transports == 0 &&
		(attempt->tried >> i & 1) == 0;
}

static bool
tried_two(const RstarAttempt *attempt)
{
	return (attempt->tried & (attempt->tried - 1)) != 0;
}

/* Rendezvous hashing: the highest weight has the affinity */
static uint64_t
weight(const RstarEndpoint *endpoint, const RstarAttempt *attempt)
{
	return rstar_choose_mix(attempt->affinity ^ rstar_choose_mix(endpoint->hash));
}

/* One that has to rest, or is at its limit, is in use, and waited for */
bool
rstar_choose_spares(const RstarRoute *route, uint32_t mapping, int i)
{
	if (!rstar_watch_doubts(&route->endpoints[i].watch))
		return false;
	for (int j = 0; j < route->n; j++)
	{
		const RstarEndpoint *other = &route->endpoints[j];

		if (other->circuit == RSTAR_CIRCUIT_CLOSED && !rstar_watch_doubts(&other->watch) &&
			rstar_endpoint_find_mark(other, mapping) == NULL)
			return true;
	}
	return false;
}

bool
rstar_choose_is_other(const RstarRoute *route, const RstarAttempt *attempt, int64_t now)
{
	for (int i = 0; i < route->n; i++)
	{
		if (grade(route, attempt, i, now) == 0 && rstar_endpoint_has_room(&route->endpoints[i]))
			return true;
	}
	return false;
}

/* The finalizer of splitmix64: every bit of x moves every bit of the result */
uint64_t
rstar_choose_mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}
