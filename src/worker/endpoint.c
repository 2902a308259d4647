/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *		What is known of one endpoint: how much it takes, whether it is well.
 *
 * States of the breaker:
 *
 *	closed		in use.  5 failures in a row, of 3 different requests: open.
 *				So do 3 of any request that found nobody there
 *	open		not in use.  After a while rstar_route_probe() names it:
 *				half-open; an answer to an earlier request: closed
 *	half-open	its /health is being asked.  Healthy, or an answer: closed,
 *				under a small cap; else open again
 *
 * Not every server has /health, and what LiteLLM says there without a key is
 * 500.  Any other reply than 503 closes it on trial: one request goes there, and
 * its failure opens it again.  So does 503 when it has been said for half a
 * minute, for that may mean something else, too.
 *
 * The wait before a probe is 2 s, 4 s, then 5 s while probes fail, so that a
 * server that returns is found soon.  It doubles up to 60 s only for one
 * whose /health is fine while its requests fail ("trips"), and not even then
 * when no other endpoint is closed.
 *
 * How much it gets at once is limit.c's.
 *
 * A refusal without Retry-After pauses the endpoint, longer each time until
 * something is answered: "loading model" must not cost a thousand requests a
 * second.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "worker/endpoint.h"

/* The breaker */
#define OPEN_FAILURES 5
#define OPEN_NOWHERE 3
#define OPEN_FIRST (2 * RSTAR_SECOND)
#define OPEN_LONGEST (60 * RSTAR_SECOND)
#define PROBE_INTERVAL (5 * RSTAR_SECOND)
/* A probe whose outcome we were never told is asked again */
#define PROBE_LOST (30 * RSTAR_SECOND)
/* As often /health says 503 before a request is tried all the same */
#define UNWELL_PROBES 6
#define SUSPECT_SHORTEST (50 * RSTAR_MILLISECOND)

/* After a refusal */
#define PAUSE_SHORTEST (250 * RSTAR_MILLISECOND)
#define PAUSE_LONGEST (2 * RSTAR_SECOND)

/* When a misconfigured endpoint is tried again */
#define RETEST_FIRST (2 * RSTAR_SECOND)
#define RETEST_LONGEST (60 * RSTAR_SECOND)

static RstarWait wait_of(const RstarEndpoint *endpoint, const RstarAttempt *attempt, int64_t now);
static void open_circuit(RstarEndpoint *endpoint, int64_t now);
static void close_circuit(RstarEndpoint *endpoint, int64_t now);

bool
rstar_endpoint_init(RstarEndpoint *endpoint, const char *url, const RstarRouteConfig *config)
{
	memset(endpoint, 0, sizeof(*endpoint));
	endpoint->url = strdup(url);
	if (endpoint->url == NULL)
		return false;
	/* FNV-1a */
	endpoint->hash = UINT64_C(0xcbf29ce484222325);
	for (const char *p = url; *p != '\0'; p++)
		endpoint->hash = (endpoint->hash ^ (unsigned char) *p) * UINT64_C(0x100000001b3);
	endpoint->latency = -1;
	endpoint->sent_at = endpoint->served_at = endpoint->failed_at = -1;
	endpoint->told_at = INT64_MIN / 2;
	rstar_watch_init(&endpoint->watch);
	rstar_endpoint_reset_limit(endpoint, config);
	return true;
}

void
rstar_endpoint_destroy(RstarEndpoint *endpoint)
{
	free(endpoint->url);
	free(endpoint->marks);
}

void
rstar_endpoint_reset_limit(RstarEndpoint *endpoint, const RstarRouteConfig *config)
{
	rstar_limit_reset(&endpoint->limit, config->max_in_flight, config->timeout);
}

int64_t
rstar_endpoint_up_at(const RstarEndpoint *endpoint)
{
	if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED)
		return INT64_MAX;
	return endpoint->hold_until > endpoint->pause_until ?
		endpoint->hold_until : endpoint->pause_until;
}

int
rstar_endpoint_bound(const RstarEndpoint *endpoint)
{
	return rstar_limit_bound(&endpoint->limit);
}

RstarMark *
rstar_endpoint_find_mark(const RstarEndpoint *endpoint, uint32_t mapping)
{
	for (int i = 0; i < endpoint->nmarks; i++)
	{
		if (endpoint->marks[i].mapping == mapping)
			return &endpoint->marks[i];
	}
	return NULL;
}

bool
rstar_endpoint_mark(RstarEndpoint *endpoint, uint32_t mapping, int64_t now)
{
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, mapping);

	if (mark == NULL)
	{
		if (endpoint->nmarks == endpoint->max_marks)
		{
			int			max = endpoint->max_marks * 2 + 4;
			RstarMark  *marks = realloc(endpoint->marks, (size_t) max * sizeof(RstarMark));

			if (marks == NULL)
				return false;
			endpoint->marks = marks;
			endpoint->max_marks = max;
		}
		mark = &endpoint->marks[endpoint->nmarks++];
		mark->mapping = mapping;
		mark->retest_at = now + RETEST_FIRST;
		mark->retest_wait = 2 * RETEST_FIRST;
		mark->told = false;
	}
	mark->failed_at = now;
	return true;
}

void
rstar_endpoint_sent(RstarEndpoint *endpoint, RstarAttempt *attempt, int64_t now)
{
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, attempt->mapping);

	if (mark != NULL && mark->retest_at <= now)
	{
		mark->retest_at = now + mark->retest_wait;
		mark->retest_wait *= 2;
		if (mark->retest_wait > RETEST_LONGEST)
			mark->retest_wait = RETEST_LONGEST;
	}
	rstar_watch_sent(&endpoint->watch, endpoint->in_flight == 0, now);
	endpoint->sent++;
	endpoint->sent_at = now;
	endpoint->in_flight++;
	attempt->ahead = endpoint->in_flight;
	attempt->answered = endpoint->answered;
	rstar_limit_sent(&endpoint->limit, endpoint->in_flight, now);
}

void
rstar_endpoint_answered(RstarEndpoint *endpoint, const RstarAttempt *attempt, int64_t now)
{
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, attempt->mapping);
	int64_t		took = now - attempt->sent_at;
	RstarWait	turn = wait_of(endpoint, attempt, now);

	endpoint->answered++;
	if (mark != NULL)
		*mark = endpoint->marks[--endpoint->nmarks];
	if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED)
		close_circuit(endpoint, now);
	endpoint->failures = endpoint->nfailing = endpoint->nowhere = endpoint->trips = 0;
	endpoint->trial = false;
	endpoint->suspect_until = now;
	endpoint->pause_until = now;
	endpoint->pauses = 0;
	endpoint->latency = endpoint->latency < 0 ? took :
		endpoint->latency + (took - endpoint->latency) / 8;
	rstar_limit_answered(&endpoint->limit, endpoint->in_flight, &turn, now);
}

void
rstar_endpoint_pushed_back(RstarEndpoint *endpoint, int retry_after, uint64_t *random,
						   int64_t now)
{
	int64_t		hold = now + retry_after * RSTAR_SECOND;

	rstar_limit_pushed_back(&endpoint->limit, endpoint->in_flight, endpoint->latency, now);
	if (retry_after > 0)
		endpoint->hold_until = hold > endpoint->hold_until ? hold : endpoint->hold_until;
	else if (endpoint->pause_until <= now)
		endpoint->pause_until = now + rstar_endpoint_jitter(random, PAUSE_SHORTEST,
															PAUSE_LONGEST, ++endpoint->pauses);
}

/* Who has taken longer to answer than that was not cut off by a proxy */
void
rstar_endpoint_timed_out(RstarEndpoint *endpoint, const RstarAttempt *attempt, bool by_proxy,
						 int64_t now)
{
	RstarWait	turn = wait_of(endpoint, attempt, now);

	if (by_proxy && turn.took > endpoint->watch.longest)
		rstar_limit_learn_proxy(&endpoint->limit, turn.took);
	rstar_limit_timed_out(&endpoint->limit, &turn, endpoint->latency, now);
}

bool
rstar_endpoint_kept_waiting(const RstarEndpoint *endpoint, const RstarAttempt *attempt)
{
	RstarWait	turn = wait_of(endpoint, attempt, attempt->sent_at);

	return rstar_limit_was_in_line(&turn);
}

static RstarWait
wait_of(const RstarEndpoint *endpoint, const RstarAttempt *attempt, int64_t now)
{
	RstarWait	turn = {
		.ahead = attempt->ahead,
		.answered = endpoint->answered - attempt->answered,
		.took = now - attempt->sent_at
	};

	return turn;
}

void
rstar_endpoint_failed(RstarEndpoint *endpoint, const RstarAttempt *attempt, bool nowhere,
					  int64_t now)
{
	int			i = 0;

	if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED || attempt->sent_at < endpoint->closed_at)
		return;
	/* one failure says as much of the request as of the endpoint */
	if (endpoint->failures > 0)
		endpoint->suspect_until = now +
			(SUSPECT_SHORTEST << (endpoint->failures < 6 ? endpoint->failures - 1 : 5));
	endpoint->failures++;
	endpoint->nowhere = nowhere ? endpoint->nowhere + 1 : 0;
	while (i < endpoint->nfailing && endpoint->failing[i] != attempt->request)
		i++;
	if (i == endpoint->nfailing && i < RSTAR_OPEN_REQUESTS)
		endpoint->failing[endpoint->nfailing++] = attempt->request;
	if (endpoint->trial || endpoint->nowhere == OPEN_NOWHERE ||
		(endpoint->failures >= OPEN_FAILURES && endpoint->nfailing == RSTAR_OPEN_REQUESTS))
		open_circuit(endpoint, now);
}

void
rstar_endpoint_gone(RstarEndpoint *endpoint, int64_t now)
{
	if (endpoint->circuit == RSTAR_CIRCUIT_CLOSED)
		open_circuit(endpoint, now);
}

static void
open_circuit(RstarEndpoint *endpoint, int64_t now)
{
	endpoint->trial = false;
	endpoint->circuit = RSTAR_CIRCUIT_OPEN;
	endpoint->changed_at = now;
	endpoint->probe_wait = OPEN_FIRST << (endpoint->trips < 5 ? endpoint->trips : 5);
	if (endpoint->probe_wait > OPEN_LONGEST)
		endpoint->probe_wait = OPEN_LONGEST;
	endpoint->trips++;
}

/* Starts small, and smaller each time that /health alone was fine */
static void
close_circuit(RstarEndpoint *endpoint, int64_t now)
{
	int			cap = endpoint->trips <= 1 ? RSTAR_LIMIT_START :
		endpoint->trips == 2 ? RSTAR_LIMIT_FLOOR : 1;

	endpoint->circuit = RSTAR_CIRCUIT_CLOSED;
	endpoint->closed_at = now;
	endpoint->failures = endpoint->nfailing = endpoint->nowhere = endpoint->unwell = 0;
	endpoint->trial = false;
	endpoint->suspect_until = now;
	endpoint->pause_until = now;
	endpoint->pauses = 0;
	endpoint->limit.cap = cap < endpoint->limit.limit ? cap : INT_MAX;
}

void
rstar_endpoint_probed(RstarEndpoint *endpoint, RstarHealth health, int64_t now)
{
	endpoint->unwell = health == RSTAR_HEALTH_UNWELL ? endpoint->unwell + 1 : 0;
	if (health == RSTAR_HEALTH_WELL)
	{
		close_circuit(endpoint, now);
		return;
	}
	if (health == RSTAR_HEALTH_REPLY || endpoint->unwell == UNWELL_PROBES)
	{
		close_circuit(endpoint, now);
		endpoint->trial = true;
		/* besides what is in flight there, and may never end */
		endpoint->limit.cap = endpoint->in_flight + 1;
		return;
	}
	endpoint->circuit = RSTAR_CIRCUIT_OPEN;
	endpoint->changed_at = now;
	endpoint->probe_wait *= 2;
	if (endpoint->probe_wait > PROBE_INTERVAL)
		endpoint->probe_wait = PROBE_INTERVAL;
}

int64_t
rstar_endpoint_probe_at(const RstarEndpoint *endpoint, bool alone)
{
	int64_t		wait = endpoint->probe_wait;

	if (endpoint->circuit == RSTAR_CIRCUIT_HALF_OPEN)
		wait = PROBE_LOST;
	else if (alone && wait > PROBE_INTERVAL)
		wait = PROBE_INTERVAL;
	return endpoint->changed_at + wait;
}

int64_t
rstar_endpoint_jitter(uint64_t *random, int64_t shortest, int64_t longest, int round)
{
	int64_t		most = shortest << (round < 10 ? round : 10);

	if (most > longest)
		most = longest;
	/* xorshift64, which never leaves 0 and never comes there */
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return shortest + (int64_t) (*random % (uint64_t) (most - shortest + 1));
}

bool
rstar_endpoint_has_room(const RstarEndpoint *endpoint)
{
	return endpoint->in_flight < rstar_endpoint_bound(endpoint);
}

bool
rstar_endpoint_is_free(const RstarEndpoint *endpoint, int64_t now)
{
	return rstar_endpoint_up_at(endpoint) <= now && rstar_endpoint_has_room(endpoint);
}
