/*-------------------------------------------------------------------------
 *
 * endpoint.c
 *		What is known of one endpoint: how much it takes, whether it is well.
 *
 * Called by: route.c, verdict.c.  Calls nothing.
 *
 * States of the breaker:
 *
 *	closed		in use.  5 failures in a row, of 3 different requests: open
 *	open		not in use.  After a while rstar_route_probe() names it:
 *				half-open; an answer to an earlier request: closed
 *	half-open	its /health is being asked.  Healthy, or an answer: closed,
 *				under a small cap; else open again
 *
 * The wait before a probe is 2 s, 4 s, then 5 s while probes fail, so that a
 * server that returns is found soon.  It doubles up to 60 s only for one
 * whose /health is fine while its requests fail ("trips"), and not even then
 * when no other endpoint is closed.
 *
 * How much an endpoint gets has two bounds.  "limit" moves slowly: it doubles
 * in each window (as many answers as the limit) until the first pressure,
 * then grows by a sixteenth, and shrinks to 0.7 of itself once per latency,
 * if something was answered since it shrank last (a server that refuses
 * everything says nothing about its limit).  "cap" moves at once: after a
 * refusal no more are in flight than the server still has, and it grows with
 * each answer.  Without it a server that takes 100 of 800 would be sent 700
 * again for each answer, until the limit has come down.  A breaker that
 * closes sets a cap, too, so the limit that was learnt is soon back.
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

#include "endpoint.h"

/* In-flight limit where the server has no max_in_flight */
#define SLOW_START 32
#define CEILING 1024
/* Where shrinking ends, unless the ceiling is lower; also the least cap */
#define FLOOR 4

/* The breaker */
#define OPEN_FAILURES 5
#define OPEN_FIRST (2 * RSTAR_SECOND)
#define OPEN_LONGEST (60 * RSTAR_SECOND)
#define PROBE_INTERVAL (5 * RSTAR_SECOND)
/* A probe whose outcome we were never told is asked again */
#define PROBE_LOST (30 * RSTAR_SECOND)
#define SUSPECT_SHORTEST (50 * RSTAR_MILLISECOND)

/* After a refusal */
#define PAUSE_SHORTEST (250 * RSTAR_MILLISECOND)
#define PAUSE_LONGEST (2 * RSTAR_SECOND)

/* When a misconfigured endpoint is tried again */
#define RETEST_FIRST (2 * RSTAR_SECOND)
#define RETEST_LONGEST (60 * RSTAR_SECOND)

static int	ceiling(const RstarRouteConfig *config);
static void grow(RstarEndpoint *endpoint, const RstarRouteConfig *config);
static void shrink(RstarEndpoint *endpoint, const RstarRouteConfig *config, int64_t now);
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
	endpoint->served_at = -1;
	endpoint->told_at = INT64_MIN / 2;
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
	endpoint->limit = config->max_in_flight > 0 ? config->max_in_flight : SLOW_START;
	endpoint->cap = INT_MAX;
	endpoint->slow_start = true;
	endpoint->may_shrink = true;
	endpoint->was_full = false;
	endpoint->window = 0;
	endpoint->shrunk_at = INT64_MIN / 2;
}

static int
ceiling(const RstarRouteConfig *config)
{
	return config->max_in_flight > 0 ? config->max_in_flight : CEILING;
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
	return endpoint->cap < endpoint->limit ? endpoint->cap : endpoint->limit;
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
rstar_endpoint_sent(RstarEndpoint *endpoint, const RstarAttempt *attempt, int64_t now)
{
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, attempt->mapping);

	if (mark != NULL && mark->retest_at <= now)
	{
		mark->retest_at = now + mark->retest_wait;
		mark->retest_wait *= 2;
		if (mark->retest_wait > RETEST_LONGEST)
			mark->retest_wait = RETEST_LONGEST;
	}
	endpoint->sent++;
	endpoint->in_flight++;
	if (endpoint->in_flight >= endpoint->limit)
		endpoint->was_full = true;
}

void
rstar_endpoint_answered(RstarEndpoint *endpoint, const RstarAttempt *attempt,
						const RstarRouteConfig *config, int64_t now)
{
	RstarMark  *mark = rstar_endpoint_find_mark(endpoint, attempt->mapping);
	int64_t		took = now - attempt->sent_at;

	endpoint->answered++;
	if (mark != NULL)
		*mark = endpoint->marks[--endpoint->nmarks];
	if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED)
		close_circuit(endpoint, now);
	endpoint->failures = endpoint->nfailing = endpoint->trips = 0;
	endpoint->suspect_until = now;
	endpoint->pause_until = now;
	endpoint->pauses = 0;
	endpoint->latency = endpoint->latency < 0 ? took :
		endpoint->latency + (took - endpoint->latency) / 8;
	endpoint->may_shrink = true;
	grow(endpoint, config);
}

static void
grow(RstarEndpoint *endpoint, const RstarRouteConfig *config)
{
	int			step = endpoint->slow_start ? endpoint->limit : endpoint->limit / 16;

	if (endpoint->cap != INT_MAX)
		endpoint->cap += 2;
	if (endpoint->cap >= endpoint->limit)
		endpoint->cap = INT_MAX;

	if (++endpoint->window < endpoint->limit)
		return;
	/* a limit that was not reached proves nothing */
	if (endpoint->was_full)
		endpoint->limit += step > 1 ? step : 1;
	if (endpoint->limit > ceiling(config))
		endpoint->limit = ceiling(config);
	endpoint->window = 0;
	endpoint->was_full = false;
}

void
rstar_endpoint_pushed_back(RstarEndpoint *endpoint, int retry_after,
						   const RstarRouteConfig *config, uint64_t *random, int64_t now)
{
	int			left = endpoint->in_flight > FLOOR ? endpoint->in_flight : FLOOR;
	int64_t		hold = now + retry_after * RSTAR_SECOND;

	shrink(endpoint, config, now);
	if (endpoint->cap > left)
		endpoint->cap = left;
	if (retry_after > 0)
		endpoint->hold_until = hold > endpoint->hold_until ? hold : endpoint->hold_until;
	else if (endpoint->pause_until <= now)
		endpoint->pause_until = now + rstar_endpoint_jitter(random, PAUSE_SHORTEST,
															PAUSE_LONGEST, ++endpoint->pauses);
}

void
rstar_endpoint_timed_out(RstarEndpoint *endpoint, const RstarRouteConfig *config, int64_t now)
{
	shrink(endpoint, config, now);
}

static void
shrink(RstarEndpoint *endpoint, const RstarRouteConfig *config, int64_t now)
{
	int			lowest = ceiling(config) < FLOOR ? 1 : FLOOR;

	if (!endpoint->may_shrink || now - endpoint->shrunk_at < endpoint->latency)
		return;
	endpoint->limit = endpoint->limit * 7 / 10;
	if (endpoint->limit < lowest)
		endpoint->limit = lowest;
	endpoint->slow_start = false;
	endpoint->may_shrink = false;
	endpoint->shrunk_at = now;
	endpoint->window = 0;
	endpoint->was_full = false;
}

void
rstar_endpoint_failed(RstarEndpoint *endpoint, const RstarAttempt *attempt, int64_t now)
{
	int			i = 0;

	if (endpoint->circuit != RSTAR_CIRCUIT_CLOSED || attempt->sent_at < endpoint->closed_at)
		return;
	/* one failure says as much of the request as of the endpoint */
	if (endpoint->failures > 0)
		endpoint->suspect_until = now +
			(SUSPECT_SHORTEST << (endpoint->failures < 6 ? endpoint->failures - 1 : 5));
	endpoint->failures++;
	while (i < endpoint->nfailing && endpoint->failing[i] != attempt->request)
		i++;
	if (i == endpoint->nfailing && i < RSTAR_OPEN_REQUESTS)
		endpoint->failing[endpoint->nfailing++] = attempt->request;
	if (endpoint->failures < OPEN_FAILURES || endpoint->nfailing < RSTAR_OPEN_REQUESTS)
		return;

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
	int			cap = endpoint->trips <= 1 ? SLOW_START : endpoint->trips == 2 ? FLOOR : 1;

	endpoint->circuit = RSTAR_CIRCUIT_CLOSED;
	endpoint->closed_at = now;
	endpoint->failures = endpoint->nfailing = 0;
	endpoint->suspect_until = now;
	endpoint->pause_until = now;
	endpoint->pauses = 0;
	endpoint->cap = cap < endpoint->limit ? cap : INT_MAX;
}

void
rstar_endpoint_probed(RstarEndpoint *endpoint, bool healthy, int64_t now)
{
	if (healthy)
	{
		close_circuit(endpoint, now);
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
