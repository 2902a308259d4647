/*-------------------------------------------------------------------------
 *
 * routes.h
 *		What the tests of routes share: one route, a clock, and samples that
 *		are sent and finished by their numbers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ROUTES_H
#define RSTAR_ROUTES_H

#include <stdlib.h>

#include "check.h"
#include "worker/route.h"

#define MS INT64_C(1000)
#define S INT64_C(1000000)
#define MAX_SAMPLES 4096

static const char *const urls[] = {
	"http://10.0.0.1:30000", "http://10.0.0.2:30000", "http://10.0.0.3:30000",
	"http://10.0.0.4:30000", "http://10.0.0.5:30000", "http://10.0.0.6:30000",
	"http://10.0.0.7:30000", "http://10.0.0.8:30000"
};

static RstarRoute *route;
static int64_t now;
static RstarAttempt samples[MAX_SAMPLES];
static uint64_t seed = 88172645463325252;

static inline void
setup(int n, int max_in_flight, int retries)
{
	RstarRouteConfig config = {.max_in_flight = max_in_flight,.retries = retries};

	if (route != NULL)
		rstar_route_free(route);
	now = 1000 * S;
	route = rstar_route_create(urls, n, &config, now);
	memset(samples, 0, sizeof(samples));
	for (int i = 0; i < MAX_SAMPLES; i++)
	{
		samples[i].request = (uint32_t) i + 1;
		samples[i].mapping = 1;
		samples[i].affinity = 7;
		samples[i].endpoint = samples[i].last_endpoint = -1;
	}
}

/* Sends where route.c says; -1 when it says wait */
static inline int
send(int i)
{
	int64_t		wake;
	int			endpoint = rstar_route_choose(route, &samples[i], now, &wake);

	if (endpoint >= 0)
		rstar_route_sent(route, &samples[i], endpoint, now);
	else
		CHECK(wake > now);
	return endpoint;
}

static inline void
send_to(int i, int endpoint)
{
	rstar_route_sent(route, &samples[i], endpoint, now);
}

static inline RstarVerdict
finish(int i, RstarOutcomeKind kind)
{
	RstarOutcome outcome = {.kind = kind,.retry_after = -1};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static inline RstarVerdict
finish_status(int i, int status, int retry_after)
{
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = status,
		.retry_after = retry_after};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static inline RstarEndpointState
state(int endpoint)
{
	RstarEndpointState result;

	rstar_route_state(route, endpoint, &result);
	return result;
}

static inline int64_t
wake_of(int i)
{
	int64_t		wake;

	CHECK_INT(rstar_route_choose(route, &samples[i], now, &wake), -1);
	return wake;
}

static inline uint64_t
any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* One round: as many samples as fit are sent, and all are answered */
static inline void
window(int64_t latency)
{
	int			n = 0;

	while (n < MAX_SAMPLES && send(n) >= 0)
		n++;
	now += latency;
	while (n-- > 0)
		finish(n, RSTAR_OUTCOME_ANSWER);
}

/* 5 failures of 5 requests */
static inline void
trip(int endpoint)
{
	for (int i = 0; i < 5; i++)
	{
		send_to(1000 + i, endpoint);
		finish(1000 + i, RSTAR_OUTCOME_TRANSPORT);
	}
}

#endif							/* RSTAR_ROUTES_H */
