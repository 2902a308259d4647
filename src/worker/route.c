/*-------------------------------------------------------------------------
 *
 * route.c
 *		Which endpoint gets the next sample, and what an outcome means.
 *
 * Here the state of a server's endpoints begins, changes with its options, and
 * follows each sample.  endpoint.c keeps what is known of each endpoint (its
 * header explains breaker, limit and pauses), choose.c compares endpoints, and
 * verdict.c says what an outcome means.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "worker/choose.h"
#include "worker/endpoint.h"
#include "worker/route.h"
#include "worker/verdict.h"

/* Without any event for longer than the longest wait, nobody wants us */
#define IDLE (15 * RSTAR_SECOND)

/* An endpoint that is marked and cleared over and over: told so often */
#define MARK_TOLD (60 * RSTAR_SECOND)

static bool is_idle(const RstarRoute *route, int64_t now);
static void note_circuit(RstarRoute *route, int i, RstarCircuit before);
static void note_mark(RstarRoute *route, int i, uint32_t mapping, RstarMark before, int64_t now);
static void gone(RstarRoute *route, int i, int64_t now);
static void add_change(RstarRoute *route, RstarChangeKind kind, int endpoint, uint32_t mapping);

RstarRoute *
rstar_route_create(const char *const *urls, int n, const RstarRouteConfig *config, int64_t now)
{
	RstarRoute *route = calloc(1, sizeof(RstarRoute));
	int			map[1];

	if (route == NULL)
		return NULL;
	route->failing_since = -1;
	route->random = rstar_choose_mix((uint64_t) now + UINT64_C(0x9e3779b97f4a7c15));
	if (!rstar_route_update(route, urls, n, config, map))
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
				   const RstarRouteConfig *config, int *map)
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
			endpoints[j].limit.timeout = config->timeout;
			route->in_flight += endpoints[j].in_flight;
		}
		rstar_endpoint_destroy(old);
	}
	free(route->endpoints);
	route->endpoints = endpoints;
	route->n = n;
	route->nchanges = 0;
	route->config = *config;
	for (int i = 0; i < n; i++)
		route->random ^= endpoints[i].hash;
	if (route->random == 0)
		route->random = 1;
	return true;
}

/* The new configuration has its own time to prove itself */
void
rstar_route_altered(RstarRoute *route, int64_t now)
{
	if (route->failing_since >= 0)
		route->failing_since = now;
	for (int i = 0; i < route->n; i++)
		route->endpoints[i].heard = false;
}

bool
rstar_route_heard(const RstarRoute *route, int endpoint)
{
	return route->endpoints[endpoint].heard;
}

void
rstar_route_hear(RstarRoute *route, int endpoint)
{
	route->endpoints[endpoint].heard = true;
}

/* Of one that is out of use the last failure was a probe, or opened it */
bool
rstar_route_is_nowhere(const RstarRoute *route)
{
	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];

		if (endpoint->heard || endpoint->nowhere == 0)
			return false;
	}
	return true;
}

int64_t
rstar_route_gives_up(const RstarRoute *route, int64_t timeout)
{
	return route->failing_since < 0 ? -1 : route->failing_since + timeout;
}

int
rstar_route_capacity(const RstarRoute *route, uint32_t mapping, int64_t now)
{
	bool		all = rstar_choose_all_marked(route, mapping);
	int			capacity = 0;

	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];

		if (rstar_endpoint_is_free(endpoint, now) && !rstar_choose_spares(route, mapping, i) &&
			(all || rstar_endpoint_find_mark(endpoint, mapping) == NULL))
			capacity += rstar_endpoint_bound(endpoint) - endpoint->in_flight;
	}
	return capacity;
}

int
rstar_route_limit(const RstarRoute *route)
{
	int			limit = 0;

	for (int i = 0; i < route->n; i++)
	{
		if (route->endpoints[i].circuit == RSTAR_CIRCUIT_CLOSED)
			limit += rstar_endpoint_bound(&route->endpoints[i]);
	}
	return limit;
}

/* By the slowest of them: who goes through attempts from the last one ends there */
bool
rstar_route_is_young(const RstarRoute *route, const RstarAttempt *attempt, int64_t now)
{
	int64_t		slowest = 0;

	for (int i = 0; i < route->n; i++)
	{
		if (route->endpoints[i].latency > slowest)
			slowest = route->endpoints[i].latency;
	}
	return now - attempt->sent_at < slowest / 2;
}

bool
rstar_route_may_yield(const RstarRoute *route, const RstarAttempt *attempt,
					  uint32_t mapping, int64_t now)
{
	const RstarEndpoint *endpoint;

	if (attempt->endpoint < 0)
		return false;
	endpoint = &route->endpoints[attempt->endpoint];
	return now - attempt->sent_at < endpoint->latency / 2 &&
		rstar_endpoint_up_at(endpoint) <= now &&
		endpoint->in_flight <= rstar_endpoint_bound(endpoint) &&
		rstar_endpoint_find_mark(endpoint, mapping) == NULL &&
		!rstar_choose_spares(route, mapping, attempt->endpoint);
}

int
rstar_route_choose(RstarRoute *route, const RstarAttempt *attempt, int64_t now, int64_t *wake)
{
	bool		all = rstar_choose_all_marked(route, attempt->mapping);
	int			chosen;

	*wake = INT64_MAX;
	if (attempt->not_before > now)
	{
		*wake = attempt->not_before;
		return -1;
	}
	chosen = rstar_choose_marked(route, attempt->mapping, all, now);
	if (chosen < 0 && !all)
		chosen = rstar_choose_best(route, attempt, now);
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

void
rstar_route_sent(RstarRoute *route, RstarAttempt *attempt, int endpoint, int64_t now)
{
	/*
	 * while others wait, one that is misconfigured is tried again now and
	 * then
	 */
	bool		retest = rstar_endpoint_find_mark(&route->endpoints[endpoint], attempt->mapping) != NULL &&
		!rstar_choose_all_marked(route, attempt->mapping);

	if (is_idle(route, now) && !retest)
		route->failing_since = -1;
	if (route->last_event < now)
		route->last_event = now;
	route->in_flight++;
	if (route->endpoints[endpoint].watch.looked_at < 0)
	{
		for (int i = 0; i < route->n; i++)
			rstar_watch_begin(&route->endpoints[i].watch, now);
	}
	attempt->endpoint = endpoint;
	attempt->sent_at = now;
	rstar_endpoint_sent(&route->endpoints[endpoint], attempt, now);
}

void
rstar_route_wanted(RstarRoute *route, int64_t now)
{
	if (!is_idle(route, now) && route->last_event < now)
		route->last_event = now;
}

/* Nothing in flight, and for long nothing happened, nor did anybody wait */
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
		if (outcome->kind == RSTAR_OUTCOME_ANSWER || outcome->kind == RSTAR_OUTCOME_BAD_REPLY ||
			(outcome->kind == RSTAR_OUTCOME_STATUS && !outcome->own))
		{
			endpoint->heard = true;
			rstar_watch_heard(&endpoint->watch, attempt->sent_at,
							  outcome->kind == RSTAR_OUTCOME_ANSWER, now);
		}
		if (outcome->kind != RSTAR_OUTCOME_ANSWER && outcome->kind != RSTAR_OUTCOME_CANCELLED)
		{
			endpoint->failed++;
			if (!outcome->again)
				attempt->last_endpoint = at;
		}
	}
	attempt->endpoint = -1;
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
rstar_route_turn(RstarRoute *route, int64_t now, int64_t *wake)
{
	bool		more = false;

	*wake = INT64_MAX;
	for (int i = 0; i < route->n; i++)
	{
		RstarLimit *limit = &route->endpoints[i].limit;

		more |= rstar_limit_turn(limit, now);
		if (rstar_limit_wake(limit) < *wake)
			*wake = rstar_limit_wake(limit);
	}
	return more;
}

bool
rstar_route_strained(const RstarRoute *route, int endpoint, int64_t now)
{
	const RstarEndpoint *from = &route->endpoints[endpoint];

	return rstar_limit_strained(&from->limit, from->in_flight, now);
}

bool
rstar_route_late(const RstarRoute *route, const RstarAttempt *attempt, int ahead, int64_t now)
{
	return rstar_limit_late(&route->endpoints[attempt->endpoint].limit, ahead,
							attempt->sent_at, now);
}

void
rstar_route_recalled(RstarRoute *route, RstarAttempt *attempt)
{
	RstarEndpoint *endpoint = &route->endpoints[attempt->endpoint];

	endpoint->in_flight--;
	route->in_flight--;
	attempt->endpoint = -1;
	rstar_limit_recalled(&endpoint->limit, endpoint->in_flight);
}

void
rstar_route_learnt(const RstarRoute *route, int endpoint, RstarLearntLimit *learnt)
{
	const RstarEndpoint *from = &route->endpoints[endpoint];

	rstar_limit_learnt(&from->limit, learnt);
	learnt->latency = from->latency;
}

void
rstar_route_learn(RstarRoute *route, int endpoint, const RstarLearntLimit *learnt)
{
	RstarEndpoint *to = &route->endpoints[endpoint];

	if (to->sent > 0)
		return;
	rstar_limit_learn(&to->limit, learnt);
	to->latency = learnt->latency;
}

void
rstar_route_forget_limits(RstarRoute *route)
{
	for (int i = 0; i < route->n; i++)
		rstar_endpoint_reset_limit(&route->endpoints[i], &route->config);
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
	bool		several = route->n > 1 && route->in_flight > 0;
	bool		alone = true;

	*wake = INT64_MAX;
	for (int i = 0; i < route->n; i++)
		alone = alone && route->endpoints[i].circuit != RSTAR_CIRCUIT_CLOSED;
	for (int i = 0; i < route->n; i++)
	{
		RstarEndpoint *endpoint = &route->endpoints[i];
		int64_t		at = rstar_endpoint_up_at(endpoint);
		bool		closed = endpoint->circuit == RSTAR_CIRCUIT_CLOSED;
		int64_t		ask_at = closed ?
			rstar_watch_ask_at(&endpoint->watch, endpoint->in_flight, several) :
			rstar_endpoint_probe_at(endpoint, alone);
		int64_t		due;

		if (ask_at <= now)
		{
			rstar_watch_ask(&endpoint->watch, now);
			if (!closed)
			{
				endpoint->circuit = RSTAR_CIRCUIT_HALF_OPEN;
				endpoint->changed_at = now;
			}
			return i;
		}
		due = rstar_watch_lost_at(&endpoint->watch);
		if (ask_at < *wake)
			*wake = ask_at;
		if (at > now && at < *wake)
			*wake = at;
		if (due > now && due < *wake)
			*wake = due;
	}
	return -1;
}

void
rstar_route_probed(RstarRoute *route, int endpoint, RstarHealth health, int64_t now)
{
	RstarEndpoint *probed = &route->endpoints[endpoint];
	RstarCircuit circuit = probed->circuit;

	rstar_watch_asked(&probed->watch, health, now);
	if (health == RSTAR_HEALTH_WELL || health == RSTAR_HEALTH_REPLY || health == RSTAR_HEALTH_UNWELL)
		probed->heard = true;
	if (circuit == RSTAR_CIRCUIT_CLOSED)
	{
		/* In use, or an answer closed it meanwhile */
		if (probed->in_flight == 0 && probed->watch.refusals >= RSTAR_WATCH_REFUSALS)
			gone(route, endpoint, now);
		return;
	}
	if (circuit == RSTAR_CIRCUIT_OPEN)
		return;
	/* who says that he is well has time to show it, but once only */
	if (health == RSTAR_HEALTH_WELL && probed->trips == 1)
		route->failing_since = -1;
	if (health != RSTAR_HEALTH_WELL && health != RSTAR_HEALTH_REPLY)
		rstar_verdict_failed(route, probed, now);
	rstar_endpoint_probed(probed, health, now);
	note_circuit(route, endpoint, circuit);
}

static void
gone(RstarRoute *route, int i, int64_t now)
{
	RstarEndpoint *endpoint = &route->endpoints[i];
	RstarCircuit circuit = endpoint->circuit;

	rstar_endpoint_gone(endpoint, now);
	rstar_verdict_failed(route, endpoint, now);
	note_circuit(route, i, circuit);
}

int
rstar_route_lost(RstarRoute *route, int64_t now, int64_t *before)
{
	for (int i = 0; i < route->n; i++)
	{
		RstarWatch *watch = &route->endpoints[i].watch;
		bool		restarted = watch->restarted;

		*before = rstar_watch_lost(watch, now);
		if (*before < 0)
			continue;
		if (!restarted)
			gone(route, i, now);
		return i;
	}
	return -1;
}

/*
 * Silence is no failure: a long generation says nothing until it ends.  So
 * the time counts from a failure, and while something is in flight at an
 * endpoint that has not failed after the time was up, or was sent there since,
 * it is not known yet.  After a while in which nobody asked a failure proves
 * nothing, if there is an endpoint to try.
 */
bool
rstar_route_unavailable(const RstarRoute *route, int64_t now, int64_t timeout)
{
	if (route->failing_since < 0 || now - route->failing_since < timeout)
		return false;
	for (int i = 0; i < route->n; i++)
	{
		const RstarEndpoint *endpoint = &route->endpoints[i];

		if (endpoint->in_flight > 0 &&
			(endpoint->failed_at < route->failing_since + timeout ||
			 endpoint->sent_at > endpoint->failed_at))
			return false;
	}
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
		from->nmarks > 0 ? "misconfigured" :
		rstar_watch_doubts(&from->watch) ? "doubted" : "closed";
	state->sent = from->sent;
	state->answered = from->answered;
	state->failed = from->failed;
}
