/*-------------------------------------------------------------------------
 *
 * route.c
 *		Which endpoint gets the next sample, and what an outcome means.
 *
 * Called by: send.c, target.c, probe.c, test/unit.  Calls endpoint.c, which
 * keeps what is known of each endpoint (its header explains breaker, limit and
 * pauses), and verdict.c, which says what an outcome means.
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
#include <stdlib.h>
#include <string.h>

#include "route.h"
#include "verdict.h"

/* Without any event for longer than the longest wait, nobody wants us */
#define IDLE (15 * RSTAR_SECOND)

/* An endpoint that is marked and cleared over and over: told so often */
#define MARK_TOLD (60 * RSTAR_SECOND)

/* Grades of endpoints for a sample; the lowest is best */
#define GRADE_SUSPECT 1			/* its last requests failed, just now */
#define GRADE_LAST 2			/* this sample failed there last */
#define GRADE_THIRD 4			/* this sample failed at two others */
#define GRADE_UNUSABLE INT_MAX

static int	choose_marked(const RstarRoute *route, uint32_t mapping, bool all, int64_t now);
static int	choose_best(const RstarRoute *route, const RstarAttempt *attempt, int64_t now);
static int	grade(const RstarRoute *route, const RstarAttempt *attempt, int i, int64_t now);
static bool waits_for(const RstarAttempt *attempt, int i, int g);
static bool tried_two(const RstarAttempt *attempt);
static uint64_t weight(const RstarEndpoint *endpoint, const RstarAttempt *attempt);
static bool is_idle(const RstarRoute *route, int64_t now);
static void note_circuit(RstarRoute *route, int i, RstarCircuit before);
static void note_mark(RstarRoute *route, int i, uint32_t mapping, RstarMark before, int64_t now);
static void add_change(RstarRoute *route, RstarChangeKind kind, int endpoint, uint32_t mapping);
static uint64_t mix(uint64_t x);

RstarRoute *
rstar_route_create(const char *const *urls, int n, const RstarRouteConfig *config, int64_t now)
{
	RstarRoute *route = calloc(1, sizeof(RstarRoute));
	int			map[1];

	if (route == NULL)
		return NULL;
	route->waiting_since = -1;
	route->random = mix((uint64_t) now + UINT64_C(0x9e3779b97f4a7c15));
	if (!rstar_route_update(route, urls, n, config, now, map))
	{
		free(route);
		return NULL;
	}
	return route;
}

void
rstar_route_free(RstarRoute *route)
{
	for (int i = 0; i < route->n; i++)
		rstar_endpoint_destroy(&route->endpoints[i]);
	free(route->endpoints);
	free(route);
}

bool
rstar_route_update(RstarRoute *route, const char *const *urls, int n,
				   const RstarRouteConfig *config, int64_t now, int *map)
{
	bool		limit_changed = config->max_in_flight != route->config.max_in_flight;
	bool		kept[RSTAR_ROUTE_MAX_ENDPOINTS] = {false};
	RstarEndpoint *endpoints;
	int			made = 0;

	if (n < 1 || n > RSTAR_ROUTE_MAX_ENDPOINTS)
		return false;
	endpoints = calloc((size_t) n, sizeof(RstarEndpoint));
	if (endpoints == NULL)
		return false;
	while (made < n && rstar_endpoint_init(&endpoints[made], urls[made], config))
		made++;
	if (made < n)
	{
		while (made-- > 0)
			rstar_endpoint_destroy(&endpoints[made]);
		free(endpoints);
		return false;
	}

	route->in_flight = 0;
	for (int i = 0; i < route->n; i++)
	{
		RstarEndpoint *old = &route->endpoints[i];
		RstarEndpoint fresh;
		int			j = 0;

		/* the same URL may be there twice */
		while (j < n && (kept[j] || strcmp(endpoints[j].url, old->url) != 0))
			j++;
		map[i] = j < n ? j : -1;
		if (j < n)
		{
			kept[j] = true;
			fresh = endpoints[j];
			endpoints[j] = *old;
			*old = fresh;
			endpoints[j].nmarks = 0;
			if (limit_changed)
				rstar_endpoint_reset_limit(&endpoints[j], config);
			route->in_flight += endpoints[j].in_flight;
		}
		rstar_endpoint_destroy(old);
	}
	free(route->endpoints);
	route->endpoints = endpoints;
	route->n = n;
	route->nchanges = 0;
	route->config = *config;
	/* the new configuration has its own time to prove itself */
	if (route->waiting_since >= 0)
		route->waiting_since = now;
	for (int i = 0; i < n; i++)
		route->random ^= endpoints[i].hash;
	if (route->random == 0)
		route->random = 1;
	return true;
}

int
rstar_route_capacity(const RstarRoute *route, uint32_t mapping, int64_t now)
{
	bool		all = rstar_verdict_all_marked(route, mapping);
	int			capacity = 0;

	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];

		if (rstar_endpoint_is_free(endpoint, now) &&
			(all || rstar_endpoint_find_mark(endpoint, mapping) == NULL))
			capacity += rstar_endpoint_bound(endpoint) - endpoint->in_flight;
	}
	return capacity;
}

int
rstar_route_choose(RstarRoute *route, const RstarAttempt *attempt, int64_t now, int64_t *wake)
{
	bool		all = rstar_verdict_all_marked(route, attempt->mapping);
	int			chosen;

	*wake = INT64_MAX;
	if (attempt->not_before > now)
	{
		*wake = attempt->not_before;
		return -1;
	}
	chosen = choose_marked(route, attempt->mapping, all, now);
	if (chosen < 0 && !all)
		chosen = choose_best(route, attempt, now);
	if (chosen >= 0)
		return chosen;

	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];
		const RstarMark *mark = rstar_endpoint_find_mark(endpoint, attempt->mapping);
		int64_t		at = rstar_endpoint_up_at(endpoint);

		if (mark != NULL && !all && mark->retest_at > at)
			at = mark->retest_at;
		/* at its limit: when something finishes, not at a time */
		if (at > now && at < *wake && rstar_endpoint_has_room(endpoint))
			*wake = at;
	}
	return -1;
}

/*
 * Of the endpoints that are marked for the mapping the one that refused
 * longest ago, if all are marked, or it is time to try it again; or -1.
 */
static int
choose_marked(const RstarRoute *route, uint32_t mapping, bool all, int64_t now)
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
 * The endpoint of the best grade that has affinity, unless it is too loaded:
 * then the one with the fewest in flight relative to its bound.  A sample
 * that failed goes by affinity alone, and when it has failed at two endpoints
 * it stays with those two: one that kills servers must not kill them all.
 */
static int
choose_best(const RstarRoute *route, const RstarAttempt *attempt, int64_t now)
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
		rstar_endpoint_find_mark(endpoint, attempt->mapping) != NULL)
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
	return mix(attempt->affinity ^ mix(endpoint->hash));
}

bool
rstar_route_is_other(const RstarRoute *route, const RstarAttempt *attempt, int64_t now)
{
	for (int i = 0; i < route->n; i++)
	{
		if (grade(route, attempt, i, now) == 0 && rstar_endpoint_has_room(&route->endpoints[i]))
			return true;
	}
	return false;
}

void
rstar_route_sent(RstarRoute *route, RstarAttempt *attempt, int endpoint, int64_t now)
{
	/* while others wait, one that is misconfigured is tried again now and then */
	bool		retest = rstar_endpoint_find_mark(&route->endpoints[endpoint], attempt->mapping) != NULL &&
		!rstar_verdict_all_marked(route, attempt->mapping);

	if (route->waiting_since < 0 || (is_idle(route, now) && !retest))
		route->waiting_since = now;
	if (route->last_event < now)
		route->last_event = now;
	route->in_flight++;
	attempt->endpoint = endpoint;
	attempt->sent_at = now;
	rstar_endpoint_sent(&route->endpoints[endpoint], attempt, now);
}

/* Nothing in flight, and for long nothing happened */
static bool
is_idle(const RstarRoute *route, int64_t now)
{
	return route->in_flight == 0 && now - route->last_event > IDLE;
}

RstarVerdict
rstar_route_finished(RstarRoute *route, RstarAttempt *attempt,
					 const RstarOutcome *outcome, int64_t now)
{
	RstarEndpoint *endpoint = NULL; /* stays NULL when it has gone meanwhile */
	int			at = attempt->endpoint;
	RstarCircuit circuit = RSTAR_CIRCUIT_CLOSED;
	RstarMark	mark = {0};
	RstarVerdict verdict;
	bool		served = outcome->kind == RSTAR_OUTCOME_ANSWER ||
		(outcome->kind == RSTAR_OUTCOME_STATUS && outcome->status < 500 &&
		 outcome->status != 408 && outcome->status != 429);

	if (at >= 0)
	{
		const RstarMark *marked;

		endpoint = &route->endpoints[at];
		circuit = endpoint->circuit;
		marked = rstar_endpoint_find_mark(endpoint, attempt->mapping);
		if (marked != NULL)
			mark = *marked;
		endpoint->in_flight--;
		route->in_flight--;
		if (outcome->kind != RSTAR_OUTCOME_ANSWER && outcome->kind != RSTAR_OUTCOME_CANCELLED)
		{
			endpoint->failed++;
			if (!outcome->again)
				attempt->last_endpoint = at;
		}
		if (served)
			endpoint->served_at = now;
	}
	attempt->endpoint = -1;
	/* the refusal of one is no answer; that of all is, see verdict.c */
	if (served && !rstar_verdict_is_refusal(outcome))
		route->waiting_since = route->in_flight > 0 ? now : -1;
	if (route->last_event < now)
		route->last_event = now;

	verdict = rstar_verdict_find(route, attempt, endpoint, outcome, now);
	if (endpoint != NULL)
	{
		note_circuit(route, at, circuit);
		note_mark(route, at, attempt->mapping, mark, now);
	}
	return verdict;
}

static void
note_circuit(RstarRoute *route, int i, RstarCircuit before)
{
	bool		was_closed = before == RSTAR_CIRCUIT_CLOSED;
	bool		is_closed = route->endpoints[i].circuit == RSTAR_CIRCUIT_CLOSED;

	if (was_closed != is_closed)
		add_change(route, is_closed ? RSTAR_CHANGE_CLOSED : RSTAR_CHANGE_OPENED, i, 0);
}

/* "before" was all zero when there was none.  What was not told does not end. */
static void
note_mark(RstarRoute *route, int i, uint32_t mapping, RstarMark before, int64_t now)
{
	RstarEndpoint *endpoint = &route->endpoints[i];
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, mapping);

	if (mark == NULL && before.told)
		add_change(route, RSTAR_CHANGE_CLEARED, i, mapping);
	if (mark == NULL || mark->told || now - endpoint->told_at < MARK_TOLD)
		return;
	mark->told = true;
	endpoint->told_at = now;
	add_change(route, RSTAR_CHANGE_MARKED, i, mapping);
}

static void
add_change(RstarRoute *route, RstarChangeKind kind, int endpoint, uint32_t mapping)
{
	RstarChange *change = &route->changes[route->nchanges];

	if (route->nchanges == RSTAR_ROUTE_MAX_CHANGES)
		return;
	route->nchanges++;
	change->kind = kind;
	change->endpoint = endpoint;
	change->mapping = mapping;
}

bool
rstar_route_next_change(RstarRoute *route, RstarChange *change)
{
	if (route->nchanges == 0)
		return false;
	*change = route->changes[0];
	route->nchanges--;
	memmove(route->changes, route->changes + 1, (size_t) route->nchanges * sizeof(RstarChange));
	return true;
}

int
rstar_route_probe(RstarRoute *route, int64_t now, int64_t *wake)
{
	bool		alone = true;

	*wake = INT64_MAX;
	for (int i = 0; i < route->n; i++)
		alone = alone && route->endpoints[i].circuit != RSTAR_CIRCUIT_CLOSED;
	for (int i = 0; i < route->n; i++)
	{
		RstarEndpoint *endpoint = &route->endpoints[i];
		int64_t		at = rstar_endpoint_up_at(endpoint);

		if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED)
		{
			at = rstar_endpoint_probe_at(endpoint, alone);
			if (at <= now)
			{
				endpoint->circuit = RSTAR_CIRCUIT_HALF_OPEN;
				endpoint->changed_at = now;
				return i;
			}
		}
		if (at > now && at < *wake)
			*wake = at;
	}
	return -1;
}

void
rstar_route_probed(RstarRoute *route, int endpoint, bool healthy, int64_t now)
{
	RstarEndpoint *probed = &route->endpoints[endpoint];

	/* an answer may have closed it meanwhile */
	if (probed->circuit != RSTAR_CIRCUIT_HALF_OPEN)
		return;
	/* who says that he is well has time to show it, but once only */
	if (healthy && probed->trips == 1 && route->waiting_since >= 0)
		route->waiting_since = now;
	rstar_endpoint_probed(probed, healthy, now);
	note_circuit(route, endpoint, RSTAR_CIRCUIT_HALF_OPEN);
}

/*
 * Silence counts from the first request that nobody answered.  After a while
 * in which nobody asked it proves nothing, if there is an endpoint to try.
 */
bool
rstar_route_unavailable(const RstarRoute *route, int64_t now, int64_t timeout)
{
	if (route->waiting_since < 0 || now - route->waiting_since < timeout)
		return false;
	if (!is_idle(route, now))
		return true;
	for (int i = 0; i < route->n; i++)
	{
		if (rstar_endpoint_up_at(&route->endpoints[i]) <= now)
			return false;
	}
	return true;
}

void
rstar_route_state(const RstarRoute *route, int endpoint, RstarEndpointState *state)
{
	const RstarEndpoint *from = &route->endpoints[endpoint];

	state->url = from->url;
	state->in_flight = from->in_flight;
	state->limit = rstar_endpoint_bound(from);
	state->state = from->circuit == RSTAR_CIRCUIT_OPEN ? "open" :
		from->circuit == RSTAR_CIRCUIT_HALF_OPEN ? "half-open" :
		from->nmarks > 0 ? "misconfigured" : "closed";
	state->sent = from->sent;
	state->answered = from->answered;
	state->failed = from->failed;
}

/* The finalizer of splitmix64: every bit of x moves every bit of the result */
static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}
