/*-------------------------------------------------------------------------
 *
 * route_test.c
 *		Unit tests of route.c and endpoint.c: each rule, small simulations of
 *		servers in trouble, and random sequences under invariants.
 *
 * With the argument "bench": how long a choice takes instead.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "route.h"

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

static void
setup(int n, int max_in_flight, int retries)
{
	RstarRouteConfig config = {max_in_flight, retries};

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
static int
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

static void
send_to(int i, int endpoint)
{
	rstar_route_sent(route, &samples[i], endpoint, now);
}

static RstarVerdict
finish(int i, RstarOutcomeKind kind)
{
	RstarOutcome outcome = {.kind = kind,.retry_after = -1};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static RstarVerdict
finish_status(int i, int status, int retry_after)
{
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = status,
		.retry_after = retry_after};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static RstarEndpointState
state(int endpoint)
{
	RstarEndpointState result;

	rstar_route_state(route, endpoint, &result);
	return result;
}

static int64_t
wake_of(int i)
{
	int64_t		wake;

	CHECK_INT(rstar_route_choose(route, &samples[i], now, &wake), -1);
	return wake;
}

static uint64_t
any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

/* One round: as many samples as fit are sent, and all are answered */
static void
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
static void
trip(int endpoint)
{
	for (int i = 0; i < 5; i++)
	{
		send_to(1000 + i, endpoint);
		finish(1000 + i, RSTAR_OUTCOME_TRANSPORT);
	}
}

static void
test_choice(void)
{
	int64_t		wake;
	int			at[8] = {0};
	int			moved = 0;
	int			home[1000];

	CASE("one endpoint takes up to its limit");
	setup(1, 3, 2);
	CHECK_INT(rstar_route_capacity(route, 1, now), 3);
	CHECK_INT(send(0), 0);
	CHECK_INT(send(1), 0);
	CHECK_INT(send(2), 0);
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	CHECK_INT(wake_of(3), INT64_MAX);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	CHECK_INT(send(3), 0);
	CHECK_INT(state(0).in_flight, 3);
	CHECK_INT(state(0).sent, 4);
	CHECK_INT(state(0).answered, 1);
	CHECK_STR(state(0).url, urls[0]);

	CASE("a sample is not sent before its time");
	setup(1, 0, 2);
	samples[0].not_before = now + 5;
	CHECK_INT(wake_of(0), now + 5);
	now += 5;
	CHECK_INT(send(0), 0);

	CASE("no endpoint, or too many");
	{
		RstarRouteConfig config = {0, 2};
		const char *many[RSTAR_ROUTE_MAX_ENDPOINTS + 1];

		for (int i = 0; i <= RSTAR_ROUTE_MAX_ENDPOINTS; i++)
			many[i] = urls[0];
		CHECK(rstar_route_create(urls, 0, &config, now) == NULL);
		CHECK(rstar_route_create(many, RSTAR_ROUTE_MAX_ENDPOINTS + 1, &config, now) == NULL);
		rstar_route_free(route);
		route = rstar_route_create(many, RSTAR_ROUTE_MAX_ENDPOINTS, &config, now);
		CHECK(route != NULL);
	}

	CASE("affinity: one query stays at one endpoint");
	setup(4, 256, 2);
	home[0] = send(0);
	for (int i = 1; i < 5; i++)
		CHECK_INT(send(i), home[0]);

	CASE("affinity: queries spread evenly");
	setup(4, 1024, 2);
	for (int i = 0; i < 1000; i++)
	{
		samples[0].affinity = any();
		at[rstar_route_choose(route, &samples[0], now, &wake)]++;
	}
	for (int i = 0; i < 4; i++)
		CHECK(at[i] > 180 && at[i] < 320);

	CASE("affinity: another endpoint takes only its share");
	setup(4, 1024, 2);
	for (int i = 0; i < 1000; i++)
	{
		samples[i].affinity = any();
		home[i] = rstar_route_choose(route, &samples[i], now, &wake);
	}
	{
		RstarRouteConfig config = {1024, 2};
		int			map[4];

		CHECK(rstar_route_update(route, urls, 5, &config, now, map));
	}
	for (int i = 0; i < 1000; i++)
	{
		int			new_home = rstar_route_choose(route, &samples[i], now, &wake);

		if (new_home != home[i])
		{
			CHECK_INT(new_home, 4);
			moved++;
		}
	}
	CHECK(moved > 140 && moved < 260);

	CASE("affinity ends at 1.25 times the mean, plus 4");
	setup(4, 1024, 2);
	for (int i = 0; i < 400; i++)
		(void) send(i);
	for (int i = 0; i < 4; i++)
	{
		CHECK(state(i).in_flight >= 80);
		CHECK(state(i).in_flight <= 130);
	}

	CASE("overflow goes where there is least, relative to the limit");
	setup(2, 100, 2);
	/* endpoint 0 shrinks to 70, and answers lift its cap again */
	send_to(0, 0);
	finish_status(0, 503, -1);
	for (int i = 0; i < 40; i++)
	{
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_ANSWER);
	}
	CHECK_INT(state(0).limit, 70);
	for (int i = 10; i < 150; i++)
		(void) send(i);
	CHECK(state(0).in_flight >= 48 && state(0).in_flight <= 70);
	CHECK(state(1).in_flight >= 70 && state(1).in_flight <= 92);

	CASE("overflow: two endpoints with other limits beside one that is full");
	setup(3, 100, 2);
	send_to(0, 0);
	finish_status(0, 503, -1);
	for (int i = 0; i < 40; i++)
	{
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_ANSWER);
	}
	while (rstar_route_choose(route, &samples[200], now, &wake) != 2)
		samples[200].affinity++;
	for (int i = 10; i < 110; i++)
		send_to(i, 2);
	for (int i = 200; i < 285; i++)
	{
		samples[i].affinity = samples[200].affinity;
		CHECK(send(i) >= 0);
	}
	CHECK_INT(state(0).in_flight, 35);
}

/* One that fails now and then is avoided for a moment */
static void
test_suspect(void)
{
	int			home;

	CASE("suspect: after two failures in a row others are preferred, for 50 ms");
	setup(2, 0, 2);
	home = send(0);
	send_to(50, home);
	finish_status(50, 500, -1);
	CHECK_INT(send(1), home);
	send_to(50, home);
	finish_status(50, 500, -1);
	CHECK_INT(send(2), 1 - home);
	now += 50 * MS - 1;
	CHECK_INT(send(3), 1 - home);
	now += 1;
	CHECK_INT(send(4), home);

	CASE("suspect: an answer ends it");
	send_to(50, home);
	finish_status(50, 500, -1);
	CHECK_INT(send(5), 1 - home);
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(6), home);

	CASE("suspect: rather there than where it failed last");
	for (int last = 0; last < 2; last++)
	{
		setup(2, 0, 2);
		send_to(0, last);
		finish_status(0, 500, -1);
		now = samples[0].not_before;
		for (int i = 0; i < 2; i++)
		{
			send_to(50, 1 - last);
			finish_status(50, 500, -1);
		}
		CHECK_INT(send(0), 1 - last);
	}
}

static void
test_limit(void)
{
	CASE("slow start doubles in each window that was full");
	setup(1, 0, 2);
	for (int limit = 32; limit <= 1024; limit *= 2)
	{
		CHECK_INT(state(0).limit, limit);
		window(200 * MS);
	}
	CHECK_INT(state(0).limit, 1024);

	CASE("a small limit grows, too");
	setup(1, 10, 2);
	window(200 * MS);
	send_to(3000, 0);
	finish(3000, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 7);
	for (int limit = 7; limit < 10; limit++)
	{
		CHECK_INT(state(0).limit, limit);
		window(200 * MS);
	}

	CASE("a limit that is not used does not grow, also when it was used before");
	setup(1, 0, 2);
	window(200 * MS);
	CHECK_INT(state(0).limit, 64);
	for (int i = 0; i < 1000; i++)
	{
		(void) send(0);
		finish(0, RSTAR_OUTCOME_ANSWER);
	}
	CHECK_INT(state(0).limit, 64);

	CASE("a limit that is not used does not grow");
	setup(1, 0, 2);
	for (int i = 0; i < 1000; i++)
	{
		(void) send(0);
		(void) send(1);
		now += 10 * MS;
		finish(0, RSTAR_OUTCOME_ANSWER);
		finish(1, RSTAR_OUTCOME_ANSWER);
	}
	CHECK_INT(state(0).limit, 32);

	CASE("an explicit max_in_flight is start and ceiling");
	setup(1, 256, 2);
	CHECK_INT(state(0).limit, 256);
	for (int i = 0; i < 5; i++)
		window(200 * MS);
	CHECK_INT(state(0).limit, 256);

	CASE("pressure: 0.7, then a sixteenth in each window, up to the ceiling");
	setup(1, 160, 2);
	window(200 * MS);
	send_to(3000, 0);
	finish(3000, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 112);
	window(200 * MS);
	CHECK_INT(state(0).limit, 119);
	window(200 * MS);
	CHECK_INT(state(0).limit, 126);
	for (int i = 0; i < 10; i++)
		window(200 * MS);
	CHECK_INT(state(0).limit, 160);

	CASE("pressure counts once per latency");
	setup(1, 0, 2);
	window(1 * S);
	CHECK_INT(state(0).limit, 64);
	for (int i = 0; i < 40; i++)
		send_to(i, 0);
	now += 1 * S;
	finish(0, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 44);
	finish(1, RSTAR_OUTCOME_ANSWER);
	finish(2, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 44);
	now += 999 * MS;
	finish(3, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 44);
	now += 1 * MS;
	finish(4, RSTAR_OUTCOME_TIMEOUT);
	CHECK_INT(state(0).limit, 30);

	CASE("a server that refuses everything says nothing about its limit");
	setup(1, 256, 2);
	window(200 * MS);
	for (int i = 3000; i < 3100; i++)
	{
		send_to(i, 0);
		finish_status(i, 503, -1);
		now += 1 * S;
	}
	CHECK_INT(state(0).limit, 4);
	now += 2 * S;
	for (int i = 0; i < 5; i++)
		window(200 * MS);
	CHECK(state(0).limit >= 179);

	CASE("the floor is 4");
	setup(1, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		send_to(0, 0);
		now += 2 * S;
		finish(0, RSTAR_OUTCOME_ANSWER);
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_TIMEOUT);
		CHECK(state(0).limit >= 4);
	}
	CHECK_INT(state(0).limit, 4);

	CASE("the floor is 1 where the maximum is lower");
	setup(1, 3, 2);
	for (int i = 0; i < 10; i++)
	{
		send_to(0, 0);
		now += 2 * S;
		finish(0, RSTAR_OUTCOME_ANSWER);
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_TIMEOUT);
	}
	CHECK_INT(state(0).limit, 1);

	CASE("after refusals no more are in flight than the server has");
	setup(1, 800, 2);
	for (int i = 0; i < 800; i++)
		(void) send(i);
	for (int i = 100; i < 800; i++)
		finish_status(i, 503, -1);
	CHECK_INT(state(0).limit, 100);
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(rstar_route_capacity(route, 1, now), 3);
}

static void
test_classes(void)
{
	static const struct
	{
		const char *name;
		RstarOutcome outcome;
		RstarVerdict verdict;
		int			used;
	}			cases[] = {
		{"200 understood", {RSTAR_OUTCOME_ANSWER, 0, -1, false, false, false}, RSTAR_VERDICT_DONE, 0},
		{"200 with junk", {RSTAR_OUTCOME_BAD_REPLY, 0, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"time-out", {RSTAR_OUTCOME_TIMEOUT, 0, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"transport", {RSTAR_OUTCOME_TRANSPORT, 0, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"untrusted", {RSTAR_OUTCOME_UNTRUSTED, 0, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"cancelled", {RSTAR_OUTCOME_CANCELLED, 0, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"204", {RSTAR_OUTCOME_STATUS, 204, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"301", {RSTAR_OUTCOME_STATUS, 301, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"400", {RSTAR_OUTCOME_STATUS, 400, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"400 unknown model", {RSTAR_OUTCOME_STATUS, 400, -1, true, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"401", {RSTAR_OUTCOME_STATUS, 401, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"402", {RSTAR_OUTCOME_STATUS, 402, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"403", {RSTAR_OUTCOME_STATUS, 403, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"403 quota", {RSTAR_OUTCOME_STATUS, 403, -1, false, true, false}, RSTAR_VERDICT_FAIL, 0},
		{"404", {RSTAR_OUTCOME_STATUS, 404, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"404 unknown model", {RSTAR_OUTCOME_STATUS, 404, -1, true, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"408", {RSTAR_OUTCOME_STATUS, 408, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"413", {RSTAR_OUTCOME_STATUS, 413, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"418", {RSTAR_OUTCOME_STATUS, 418, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"422", {RSTAR_OUTCOME_STATUS, 422, -1, false, false, false}, RSTAR_VERDICT_FAIL, 0},
		{"429", {RSTAR_OUTCOME_STATUS, 429, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"429 quota", {RSTAR_OUTCOME_STATUS, 429, 5, false, true, false}, RSTAR_VERDICT_FAIL, 0},
		{"500", {RSTAR_OUTCOME_STATUS, 500, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"501", {RSTAR_OUTCOME_STATUS, 501, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"502", {RSTAR_OUTCOME_STATUS, 502, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"503", {RSTAR_OUTCOME_STATUS, 503, -1, false, false, false}, RSTAR_VERDICT_RETRY, 0},
		{"504", {RSTAR_OUTCOME_STATUS, 504, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
		{"599", {RSTAR_OUTCOME_STATUS, 599, -1, false, false, false}, RSTAR_VERDICT_RETRY, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char		name[64];
		int			first;
		RstarVerdict verdict;

		snprintf(name, sizeof(name), "class of %s", cases[i].name);
		CASE(name);
		setup(2, 0, 2);
		first = send(0);
		verdict = rstar_route_finished(route, &samples[0], &cases[i].outcome, now);
		CHECK_INT(verdict, cases[i].verdict);
		CHECK_INT(samples[0].failures, cases[i].used);
		CHECK_INT(samples[0].endpoint, -1);
		CHECK_INT(state(first).in_flight, 0);
		if (verdict == RSTAR_VERDICT_RETRY)
		{
			/* the second on another endpoint */
			CHECK(samples[0].not_before >= now && samples[0].not_before <= now + S);
			now = samples[0].not_before;
			CHECK_INT(send(0), 1 - first);
		}
	}

	CASE("at most \"retries\" further attempts");
	for (int retries = 0; retries < 4; retries++)
	{
		int			sent = 0;

		setup(2, 0, retries);
		do
		{
			now = now > samples[0].not_before ? now : samples[0].not_before;
			(void) send(0);
			sent++;
		} while (finish_status(0, 500, -1) == RSTAR_VERDICT_RETRY);
		CHECK_INT(sent, retries + 1);
	}

	CASE("a shortened sample goes again at once, to the same endpoint, at no cost");
	setup(3, 0, 0);
	{
		int			home = send(0);
		RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = 400,
			.retry_after = -1,.again = true};

		for (int i = 0; i < 10; i++)
		{
			CHECK_INT(rstar_route_finished(route, &samples[0], &outcome, now), RSTAR_VERDICT_RETRY);
			CHECK_INT(samples[0].not_before, now);
			CHECK_INT(samples[0].failures, 0);
			CHECK_INT(send(0), home);
		}
		CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
		CHECK_STR(state(home).state, "closed");
	}

	CASE("an answer clears what a sample has used up");
	setup(2, 0, 1);
	(void) send(0);
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
	now += S;
	(void) send(0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	(void) send(0);
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);

	CASE("an answer: the sample goes where it belongs again");
	setup(2, 0, 2);
	{
		int			home = send(0);

		CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
		now = samples[0].not_before;
		CHECK_INT(send(0), 1 - home);
		CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
		CHECK_INT(send(0), home);
	}

	CASE("an answer: refusals and waits begin anew");
	setup(2, 0, 2);
	send_to(0, 0);
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
	for (int i = 0; i < 8; i++)
	{
		send_to(0, 1);
		finish_status(0, 503, -1);
	}
	send_to(0, 1);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	send_to(0, 1);
	finish_status(0, 503, -1);
	CHECK(samples[0].not_before <= now + 500 * MS);
	send_to(1, 0);
	finish(1, RSTAR_OUTCOME_ANSWER);
	send_to(0, 1);
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
}

static void
test_pushback(void)
{
	int64_t		longest = 0;

	CASE("jitter between 0.25 s and a bound that grows to 10 s");
	setup(1, 0, 0);
	for (int i = 0; i < 300; i++)
	{
		int64_t		bound = 500 * MS;

		for (int round = 0; round < 8; round++)
		{
			int64_t		wait;

			send_to(i, 0);
			CHECK_INT(finish_status(i, 503, -1), RSTAR_VERDICT_RETRY);
			wait = samples[i].not_before - now;
			CHECK(wait >= 250 * MS && wait <= bound);
			longest = wait > longest ? wait : longest;
			bound = bound * 2 > 10 * S ? 10 * S : bound * 2;
		}
		CHECK_INT(samples[i].failures, 0);
	}
	CHECK(longest > 5 * S);

	CASE("Retry-After holds sample and endpoint");
	setup(1, 0, 2);
	(void) send(0);
	(void) send(1);
	CHECK_INT(finish_status(0, 429, 20), RSTAR_VERDICT_RETRY);
	CHECK(samples[0].not_before >= now + 250 * MS && samples[0].not_before <= now + 500 * MS);
	now += 1 * S;
	CHECK_INT(wake_of(0), now + 19 * S);
	now -= 1 * S;
	CHECK_INT(wake_of(2), now + 20 * S);
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	/* an answer does not end it */
	finish(1, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(wake_of(2), now + 20 * S);
	now += 20 * S;
	CHECK_INT(send(2), 0);
	CHECK_INT(send(0), 0);

	CASE("Retry-After is at most 60 s");
	setup(1, 0, 2);
	(void) send(0);
	finish_status(0, 503, 86400);
	CHECK_INT(wake_of(1), now + 60 * S);

	CASE("Retry-After 0 is no reason to hurry");
	setup(1, 0, 2);
	(void) send(0);
	finish_status(0, 503, 0);
	CHECK(samples[0].not_before >= now + 250 * MS);
	CHECK(wake_of(1) >= now + 250 * MS);

	CASE("a sample is sent where a hold ends first");
	for (int first = 0; first < 2; first++)
	{
		setup(2, 0, 2);
		send_to(0, first);
		send_to(1, 1 - first);
		finish_status(0, 503, 1);
		finish_status(1, 503, 9);
		CHECK_INT(wake_of(2), now + 1 * S);
	}

	CASE("refusals at one time pause an endpoint once");
	setup(1, 0, 2);
	for (int round = 0; round < 20; round++)
	{
		for (int i = 0; i < 10; i++)
			send_to(i, 0);
		for (int i = 0; i < 10; i++)
			finish_status(i, 503, -1);
		CHECK(wake_of(40) <= now + 500 * MS);
		send_to(40, 0);
		finish(40, RSTAR_OUTCOME_ANSWER);
	}

	CASE("and an answer ends the count of them");
	for (int i = 0; i < 20; i++)
	{
		now += 2 * S;
		send_to(40, 0);
		finish_status(40, 503, -1);
	}
	now += 2 * S;
	send_to(40, 0);
	finish(40, RSTAR_OUTCOME_ANSWER);
	send_to(40, 0);
	finish_status(40, 503, -1);
	CHECK(wake_of(41) <= now + 500 * MS);

	CASE("Retry-After of one endpoint does not hold a sample that has another");
	setup(2, 0, 2);
	{
		int			first = send(0);

		finish_status(0, 503, 30);
		CHECK(samples[0].not_before <= now + 500 * MS);
		now = samples[0].not_before;
		CHECK_INT(send(0), 1 - first);
		/* it goes where the hold ends first */
		finish_status(0, 503, 60);
		now += 20 * S;
		CHECK(wake_of(0) < now + 10 * S);
		now += 10 * S;
		CHECK_INT(send(0), first);
	}

	CASE("Retry-After of one endpoint: a sample waits for room at another");
	setup(2, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	CHECK_INT(send(0), 0);
	finish_status(0, 503, 60);
	now += 1 * S;
	CHECK_INT(wake_of(0), now + 59 * S);
	finish(10, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(0), 1);

	CASE("a shorter Retry-After does not cut a longer one");
	setup(1, 0, 2);
	(void) send(0);
	(void) send(1);
	finish_status(0, 503, 30);
	finish_status(1, 503, 1);
	CHECK_INT(wake_of(2), now + 30 * S);

	CASE("a refusal pauses the endpoint until something is answered");
	setup(1, 0, 2);
	(void) send(0);
	(void) send(1);
	finish_status(0, 503, -1);
	CHECK(wake_of(2) >= now + 250 * MS && wake_of(2) <= now + 500 * MS);
	finish(1, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(2), 0);

	CASE("the pause is over in at most 2 s");
	setup(1, 0, 2);
	for (int i = 0; i < 20; i++)
	{
		send_to(0, 0);
		finish_status(0, 503, -1);
		CHECK(wake_of(1) <= now + 2 * S);
		now += 2 * S;
		CHECK_INT(send(1), 0);
		finish(1, RSTAR_OUTCOME_CANCELLED);
	}

	CASE("429, 503, 408 and 4xx never open the breaker");
	setup(1, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		static const int statuses[] = {429, 503, 408, 400, 404, 413, 422};

		send_to(i, 0);
		finish_status(i, statuses[i % 7], -1);
		CHECK_STR(state(0).state, "closed");
	}
}

static void
test_transport(void)
{
	int			first;
	int			visited;

	CASE("transport: elsewhere at once");
	setup(2, 0, 2);
	first = send(0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
	CHECK_INT(samples[0].not_before, now);
	CHECK_INT(send(0), 1 - first);

	CASE("transport: alone it waits, 50 ms to 2 s, and never fails in an outage");
	setup(1, 0, 2);
	(void) send(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	for (int i = 0; i < 200; i++)
	{
		now++;
		CHECK_INT(send(0), 0);
		CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
		CHECK(samples[0].not_before >= now + 50 * MS);
		CHECK(samples[0].not_before <= now + 2 * S);
		if (i == 0)
			CHECK(samples[0].not_before <= now + 100 * MS);
		now = samples[0].not_before;
	}
	CHECK(now > 1100 * S);
	CHECK_INT(send(0), 0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);

	CASE("transport: two that are down are not hammered in turn");
	setup(2, 0, 2);
	for (int i = 0; i < 20; i++)
	{
		CHECK(send(0) >= 0);
		CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
		now = samples[0].not_before;
	}
	CHECK(now > 1003 * S);

	CASE("transport: one request finds the third endpoint when two are down");
	for (int up = 0; up < 3; up++)
	{
		int			tries = 0;

		setup(3, 0, 2);
		while (send(0) != up)
		{
			CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
			now = samples[0].not_before;
			tries++;
		}
		CHECK(tries <= 6);
	}

	CASE("poison: fails after retries + 1 transport errors, at two endpoints");
	for (int retries = 1; retries < 5; retries++)
	{
		for (int n = 1; n <= 4; n++)
		{
			int			errors = 0;

			setup(n, 0, retries);
			for (int i = 0; i < n; i++)
			{
				send_to(500 + i, i);
				finish(500 + i, RSTAR_OUTCOME_ANSWER);
			}
			visited = 0;
			for (;;)
			{
				int			endpoint = send(0);

				CHECK(endpoint >= 0);
				visited |= 1 << endpoint;
				errors++;
				now += 5 * MS;
				if (finish(0, RSTAR_OUTCOME_TRANSPORT) == RSTAR_VERDICT_FAIL)
					break;
				now = samples[0].not_before > now ? samples[0].not_before : now;
				/* others succeed meanwhile */
				for (int i = 0; i < n; i++)
				{
					send_to(500 + i, i);
					finish(500 + i, RSTAR_OUTCOME_ANSWER);
				}
			}
			CHECK_INT(errors, retries + 1);
			CHECK(__builtin_popcount((unsigned) visited) <= 2);
		}
	}

	CASE("poison: a 500 visits two endpoints");
	setup(4, 0, 5);
	visited = 0;
	do
	{
		int			endpoint = send(0);

		CHECK(endpoint >= 0);
		visited |= 1 << endpoint;
		now = samples[0].not_before + S;
	} while (finish_status(0, 500, -1) == RSTAR_VERDICT_RETRY && (now += 2 * S));
	CHECK_INT(__builtin_popcount((unsigned) visited), 2);

	CASE("a second attempt waits for another endpoint, which is full");
	setup(2, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	CHECK_INT(send(0), 0);
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
	now = samples[0].not_before;
	CHECK_INT(wake_of(0), INT64_MAX);
	finish(10, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(0), 1);
	/* it has failed at both: where it failed last it does not wait for */
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
	now = samples[0].not_before;
	CHECK_INT(send(0), 0);

	CASE("a second attempt: who was only pushed back does not wait");
	setup(2, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	send_to(0, 0);
	finish_status(0, 503, -1);
	now += 10 * S;
	CHECK_INT(send(0), 0);

	CASE("a second attempt: nor for where it has failed");
	setup(2, 4, 2);
	send_to(0, 0);
	finish_status(0, 500, -1);
	send_to(0, 1);
	finish_status(0, 503, -1);
	for (int i = 10; i < 14; i++)
		send_to(i, 0);
	now += 10 * S;
	CHECK_INT(send(0), 1);

	CASE("a third attempt: one of the two, though it has to wait");
	for (uint64_t affinity = 0; affinity < 16; affinity++)
	{
		setup(3, 4, 5);
		samples[0].affinity = affinity;
		for (int i = 0; i < 2; i++)
		{
			send_to(0, i);
			CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
			now = samples[0].not_before;
		}
		for (int i = 10; i < 14; i++)
			send_to(i, 0);
		CHECK_INT(wake_of(0), INT64_MAX);
		finish(10, RSTAR_OUTCOME_ANSWER);
		trip(0);
		/* rather the second again than a third */
		CHECK_INT(send(0), 1);
	}

	CASE("a second attempt: not for one that is out of use");
	setup(2, 4, 2);
	send_to(0, 0);
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
	trip(1);
	now = samples[0].not_before;
	CHECK_INT(send(0), 0);

	CASE("a second attempt: a third endpoint has room");
	setup(3, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	send_to(0, 0);
	CHECK_INT(finish_status(0, 500, -1), RSTAR_VERDICT_RETRY);
	now = samples[0].not_before;
	CHECK_INT(send(0), 2);

	CASE("a second attempt: an outage is no reason to wait for another one");
	setup(2, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	send_to(20, 0);
	finish(20, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(0), 0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
	CHECK_INT(samples[0].failures, 1);
	CHECK(samples[0].not_before > now);
	now = samples[0].not_before;
	CHECK_INT(send(0), 0);

	CASE("transport: with retries 0 one stale connection is forgiven");
	setup(1, 0, 0);
	(void) send(1);
	finish(1, RSTAR_OUTCOME_ANSWER);
	(void) send(0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
	now += S;
	(void) send(1);
	finish(1, RSTAR_OUTCOME_ANSWER);
	(void) send(0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_FAIL);
}

static void
test_breaker(void)
{
	int64_t		wake;

	CASE("breaker: 5 failures in a row, of 3 requests");
	setup(1, 0, 20);
	for (int i = 0; i < 4; i++)
	{
		send_to(i % 3, 0);
		finish(i % 3, i % 2 ? RSTAR_OUTCOME_TRANSPORT : RSTAR_OUTCOME_TIMEOUT);
	}
	CHECK_STR(state(0).state, "closed");
	send_to(0, 0);
	finish_status(0, 500, -1);
	CHECK_STR(state(0).state, "open");
	CHECK_INT(state(0).failed, 5);
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	now += 2 * S;
	CHECK_INT(wake_of(5), INT64_MAX);

	CASE("breaker: not of 2 requests, however often");
	setup(1, 0, 1000);
	for (int i = 0; i < 100; i++)
	{
		send_to(i % 2, 0);
		finish_status(i % 2, 500, -1);
	}
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: others that failed before an answer do not count");
	setup(1, 0, 1000);
	for (int i = 0; i < 2; i++)
	{
		send_to(i, 0);
		finish_status(i, 500, -1);
	}
	send_to(2, 0);
	finish(2, RSTAR_OUTCOME_ANSWER);
	for (int i = 0; i < 20; i++)
	{
		send_to(3, 0);
		finish_status(3, 500, -1);
	}
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: nor those from before it was closed");
	setup(1, 0, 1000);
	trip(0);
	now += 2 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	rstar_route_probed(route, 0, true, now);
	now += 1 * S;
	for (int i = 0; i < 20; i++)
	{
		send_to(3, 0);
		finish_status(3, 500, -1);
	}
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: a cancelled request is no failure");
	setup(1, 0, 2);
	for (int i = 0; i < 20; i++)
	{
		send_to(i, 0);
		finish(i, RSTAR_OUTCOME_CANCELLED);
	}
	CHECK_STR(state(0).state, "closed");
	CHECK_INT(state(0).failed, 0);

	CASE("breaker: a success in between starts the count anew");
	setup(1, 0, 1000);
	for (int i = 0; i < 100; i++)
	{
		send_to(i, 0);
		finish(i, i % 5 == 4 ? RSTAR_OUTCOME_ANSWER : RSTAR_OUTCOME_TRANSPORT);
	}
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: probed after 2, 4, 5, 5 ... s while the probes fail");
	setup(2, 0, 2);
	trip(0);
	CHECK_STR(state(0).state, "open");
	{
		static const int waits[] = {2, 4, 5, 5, 5};

		for (int i = 0; i < 5; i++)
		{
			CHECK_INT(rstar_route_probe(route, now, &wake), -1);
			CHECK_INT(wake, now + waits[i] * S);
			now = wake - 1;
			CHECK_INT(rstar_route_probe(route, now, &wake), -1);
			now = wake;
			CHECK_INT(rstar_route_probe(route, now, &wake), 0);
			CHECK_STR(state(0).state, "half-open");
			CHECK_INT(rstar_route_probe(route, now, &wake), -1);
			rstar_route_probed(route, 0, false, now);
			CHECK_STR(state(0).state, "open");
		}
	}

	CASE("breaker: the others serve meanwhile");
	CHECK_INT(send(0), 1);

	CASE("breaker: the wait before a probe begins when the last one ended");
	setup(1, 0, 2);
	trip(0);
	now += 2 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	now += 3 * S;
	rstar_route_probed(route, 0, false, now);
	CHECK_INT(rstar_route_probe(route, now, &wake), -1);
	CHECK_INT(wake, now + 4 * S);

	CASE("breaker: closes when healthy, at 32");
	setup(1, 256, 2);
	trip(0);
	now += 2 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	rstar_route_probed(route, 0, true, now);
	CHECK_STR(state(0).state, "closed");
	CHECK_INT(state(0).limit, 32);
	window(200 * MS);
	window(200 * MS);
	CHECK_INT(state(0).limit, 256);

	CASE("breaker: an answer closes it");
	setup(1, 256, 2);
	send_to(0, 0);
	trip(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK_STR(state(0).state, "closed");
	rstar_route_probed(route, 0, false, now);
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: failures of what was sent before it closed are old");
	setup(1, 256, 2);
	for (int i = 0; i < 50; i++)
		send_to(i, 0);
	trip(0);
	now += 2 * S;
	(void) rstar_route_probe(route, now, &wake);
	rstar_route_probed(route, 0, true, now);
	for (int i = 0; i < 50; i++)
		finish(i, RSTAR_OUTCOME_TIMEOUT);
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: a /health that lies costs longer each time, and less");
	setup(2, 256, 2);
	{
		static const int waits[] = {2, 4, 8, 16, 32, 60, 60};
		static const int limits[] = {32, 4, 1, 1, 1, 1, 1};

		for (int i = 0; i < 7; i++)
		{
			trip(0);
			CHECK_INT(rstar_route_probe(route, now, &wake), -1);
			CHECK_INT(wake, now + waits[i] * S);
			now = wake;
			CHECK_INT(rstar_route_probe(route, now, &wake), 0);
			rstar_route_probed(route, 0, true, now);
			CHECK_INT(state(0).limit, limits[i]);
		}
		/* but at most 5 s when there is no other */
		trip(0);
		trip(1);
		(void) rstar_route_probe(route, now, &wake);
		CHECK(wake <= now + 5 * S);
		now += 5 * S;
		CHECK_INT(rstar_route_probe(route, now, &wake), 0);
		CHECK_INT(rstar_route_probe(route, now, &wake), 1);
		rstar_route_probed(route, 0, true, now);
		send_to(0, 0);
		finish(0, RSTAR_OUTCOME_ANSWER);
		trip(0);
		rstar_route_probed(route, 1, true, now);
		(void) rstar_route_probe(route, now, &wake);
		CHECK_INT(wake, now + 2 * S);
	}

	CASE("breaker: a probe that is lost is asked again");
	setup(1, 0, 2);
	trip(0);
	now += 2 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	CHECK_INT(rstar_route_probe(route, now, &wake), -1);
	CHECK_INT(wake, now + 30 * S);
	now += 30 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);

	CASE("probe: also wakes for the end of a pause");
	setup(1, 0, 2);
	(void) send(0);
	finish_status(0, 429, 7);
	CHECK_INT(rstar_route_probe(route, now, &wake), -1);
	CHECK_INT(wake, now + 7 * S);
}

static void
test_misconfigured(void)
{
	int			first;

	CASE("misconfigured: at once elsewhere, and not there again");
	setup(2, 0, 2);
	first = send(0);
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
	CHECK_INT(samples[0].not_before, now);
	CHECK_STR(state(first).state, "misconfigured");
	CHECK_INT(send(0), 1 - first);
	for (int i = 1; i < 32; i++)
		CHECK_INT(send(i), 1 - first);
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	CHECK_INT(wake_of(32), now + 2 * S);

	CASE("misconfigured: for that mapping only");
	CHECK_INT(rstar_route_capacity(route, 2, now), 32);
	samples[50].mapping = 2;
	CHECK_INT(send(50), first);

	CASE("misconfigured: one sample after 2, 4, ... 60 s");
	setup(2, 0, 2);
	first = send(0);
	finish_status(0, 401, -1);
	{
		static const int waits[] = {2, 4, 8, 16, 32, 60, 60};

		for (int i = 0; i < 7; i++)
		{
			now += waits[i] * S - 1;
			CHECK_INT(send(1), 1 - first);
			finish(1, RSTAR_OUTCOME_ANSWER);
			now++;
			CHECK_INT(send(1), first);
			CHECK_INT(send(2), 1 - first);
			finish(2, RSTAR_OUTCOME_ANSWER);
			if (i < 6)
				CHECK_INT(finish_status(1, 401, -1), RSTAR_VERDICT_RETRY);
		}
		finish(1, RSTAR_OUTCOME_ANSWER);
		CHECK_STR(state(first).state, "closed");
	}

	CASE("misconfigured: all are, so each sample gets its answer at once");
	setup(3, 0, 2);
	for (int i = 0; i < 2; i++)
	{
		CHECK(send(0) >= 0);
		CHECK_INT(finish_status(0, 403, -1), RSTAR_VERDICT_RETRY);
	}
	CHECK(send(0) >= 0);
	CHECK_INT(finish_status(0, 403, -1), RSTAR_VERDICT_FAIL);
	for (int i = 1; i < 30; i++)
	{
		int			endpoint = send(i);

		now++;
		CHECK(endpoint >= 0);
		CHECK_INT(finish_status(i, 403, -1), RSTAR_VERDICT_FAIL);
		/* the one that refused longest ago, so they take turns */
		CHECK(state(endpoint).sent <= i / 3 + 2);
	}
	CHECK_INT(rstar_route_capacity(route, 1, now), 96);

	CASE("misconfigured: all are, and one is held: until that ends");
	setup(1, 0, 2);
	send_to(0, 0);
	CHECK_INT(finish_status(0, 403, -1), RSTAR_VERDICT_FAIL);
	send_to(1, 0);
	finish_status(1, 503, 1);
	CHECK_INT(wake_of(2), now + 1 * S);

	CASE("misconfigured: what all refused does not put off when one is tried again");
	setup(2, 0, 2);
	for (int i = 0; i < 2; i++)
	{
		send_to(i, i);
		finish_status(i, 403, -1);
	}
	for (int i = 2; i < 40; i++)
	{
		CHECK(send(i) >= 0);
		finish_status(i, 403, -1);
	}
	send_to(40, 1);
	finish(40, RSTAR_OUTCOME_ANSWER);
	now += 2 * S;
	CHECK_INT(send(41), 0);

	CASE("misconfigured: the first answer ends it");
	setup(3, 0, 2);
	for (int i = 0; i < 3; i++)
	{
		send_to(i, i);
		finish_status(i, 403, -1);
	}
	first = send(40);
	finish(40, RSTAR_OUTCOME_ANSWER);
	CHECK_STR(state(first).state, "closed");
	for (int i = 41; i < 60; i++)
		CHECK_INT(send(i), first);

	CASE("misconfigured: a document that all refuse does not go round for ever");
	setup(2, 0, 2);
	{
		int			refused = 0;

		for (;;)
		{
			CHECK(send(0) >= 0);
			refused++;
			if (finish_status(0, 403, -1) == RSTAR_VERDICT_FAIL)
				break;
			/* others are answered, and the marks go */
			for (int i = 0; i < 2; i++)
			{
				send_to(1 + i, i);
				finish(1 + i, RSTAR_OUTCOME_ANSWER);
			}
		}
		CHECK_INT(refused, 2);
	}

	CASE("misconfigured: who waits for another endpoint does not fail by what it is told again");
	setup(2, 4, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 1);
	CHECK_INT(send(0), 0);
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
	for (int64_t wait = 2 * S; wait <= 32 * S; wait *= 2)
	{
		CHECK_INT(wake_of(0), now + wait);
		now += wait;
		CHECK_INT(send(0), 0);
		CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
		CHECK_INT(samples[0].not_before, now);
	}
	finish(10, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(send(0), 1);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);

	CASE("misconfigured: what was on its way when another one was refused");
	setup(2, 4, 2);
	for (int i = 0; i < 4; i++)
		send_to(i, 0);
	for (int i = 0; i < 4; i++)
		CHECK_INT(finish_status(i, 401, -1), RSTAR_VERDICT_RETRY);
	for (int i = 0; i < 4; i++)
		CHECK_INT(send(i), 1);

	CASE("misconfigured: an endpoint that has gone says nothing of those that are there");
	setup(1, 4, 2);
	{
		RstarRouteConfig config = {4, 2};
		int			map[1];

		CHECK_INT(send(0), 0);
		CHECK_INT(send(1), 0);
		CHECK(rstar_route_update(route, urls + 1, 1, &config, now, map));
		CHECK_INT(map[0], -1);
		samples[0].endpoint = samples[1].endpoint = -1;
		CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
		CHECK_INT(finish(1, RSTAR_OUTCOME_UNTRUSTED), RSTAR_VERDICT_RETRY);
		CHECK_STR(state(0).state, "closed");
		CHECK_INT(send(0), 0);
		CHECK_INT(send(1), 0);
		CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
		CHECK_INT(finish_status(1, 401, -1), RSTAR_VERDICT_FAIL);
	}

	CASE("misconfigured: many mappings");
	setup(2, 0, 2);
	for (int i = 0; i < 1000; i++)
	{
		samples[i].mapping = (uint32_t) i;
		send_to(i, 0);
		finish_status(i, 401, -1);
	}
	for (int i = 0; i < 1000; i++)
	{
		int64_t		wake;

		CHECK_INT(rstar_route_choose(route, &samples[i], now, &wake), 1);
	}
	CHECK_STR(state(0).state, "misconfigured");
	for (int i = 0; i < 1000; i++)
	{
		send_to(i, 0);
		finish(i, RSTAR_OUTCOME_ANSWER);
	}
	CHECK_STR(state(0).state, "closed");
}

static void
test_untrusted(void)
{
	int			first;

	CASE("untrusted: alone it fails at once, however often, and that is no silence");
	setup(1, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		CHECK_INT(send(i), 0);
		CHECK_INT(finish(i, RSTAR_OUTCOME_UNTRUSTED), RSTAR_VERDICT_FAIL);
		CHECK_INT(samples[i].failures, 0);
		now += 2 * S;
		CHECK(!rstar_route_unavailable(route, now, 60 * S));
	}
	CHECK_STR(state(0).state, "misconfigured");

	CASE("untrusted: the first answer ends it");
	CHECK_INT(send(200), 0);
	CHECK_INT(finish(200, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	CHECK_STR(state(0).state, "closed");

	CASE("untrusted: at once elsewhere, and tried again after a while");
	setup(2, 0, 2);
	first = send(0);
	CHECK_INT(finish(0, RSTAR_OUTCOME_UNTRUSTED), RSTAR_VERDICT_RETRY);
	CHECK_INT(samples[0].not_before, now);
	CHECK_INT(send(0), 1 - first);
	finish(0, RSTAR_OUTCOME_ANSWER);
	now += 2 * S;
	CHECK_INT(send(1), first);
	finish(1, RSTAR_OUTCOME_ANSWER);
	CHECK_STR(state(first).state, "closed");

	CASE("untrusted: what others wait for is unavailable nevertheless");
	setup(2, 0, 100);
	for (int i = 0; i < 40; i++)
	{
		send_to(0, 0);
		CHECK_INT(finish(0, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
		send_to(1, 1);
		CHECK_INT(finish(1, RSTAR_OUTCOME_UNTRUSTED), RSTAR_VERDICT_RETRY);
		now += 2 * S;
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
}

/* The next change that nobody has taken */
static RstarChange
change(void)
{
	RstarChange change = {(RstarChangeKind) -1, -1, 0};

	(void) rstar_route_next_change(route, &change);
	return change;
}

static bool
is_quiet(void)
{
	RstarChange ignored;

	return !rstar_route_next_change(route, &ignored);
}

static void
test_changes(void)
{
	int64_t		wake;
	RstarChange got;

	CASE("changes: the breaker opens and closes, each once");
	setup(2, 0, 2);
	for (int i = 0; i < 20; i++)
		send_to(i, 1);
	trip(1);
	got = change();
	CHECK_INT(got.kind, RSTAR_CHANGE_OPENED);
	CHECK_INT(got.endpoint, 1);
	for (int i = 0; i < 20; i++)
		finish(i, RSTAR_OUTCOME_TRANSPORT);
	for (int i = 0; i < 10; i++)
	{
		now += 10 * S;
		CHECK_INT(rstar_route_probe(route, now, &wake), 1);
		rstar_route_probed(route, 1, false, now);
	}
	CHECK(is_quiet());
	now += 10 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 1);
	rstar_route_probed(route, 1, true, now);
	got = change();
	CHECK_INT(got.kind, RSTAR_CHANGE_CLOSED);
	CHECK_INT(got.endpoint, 1);
	CHECK(is_quiet());

	CASE("changes: an answer closes it");
	setup(1, 0, 2);
	send_to(0, 0);
	trip(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(change().kind, RSTAR_CHANGE_OPENED);
	CHECK_INT(change().kind, RSTAR_CHANGE_CLOSED);
	CHECK(is_quiet());

	CASE("changes: a mark for each mapping, not for each refusal");
	setup(1, 0, 2);
	for (int i = 0; i < 10; i++)
	{
		samples[i].mapping = (uint32_t) i / 5 + 1;
		send_to(i, 0);
		finish_status(i, 401, -1);
		now += 61 * S;
	}
	got = change();
	CHECK_INT(got.kind, RSTAR_CHANGE_MARKED);
	CHECK_INT((int) got.mapping, 1);
	got = change();
	CHECK_INT(got.kind, RSTAR_CHANGE_MARKED);
	CHECK_INT((int) got.mapping, 2);
	send_to(9, 0);
	finish(9, RSTAR_OUTCOME_ANSWER);
	got = change();
	CHECK_INT(got.kind, RSTAR_CHANGE_CLEARED);
	CHECK_INT((int) got.mapping, 2);
	CHECK(is_quiet());

	CASE("changes: marks that come and go are named once a minute");
	setup(1, 0, 2);
	for (int i = 0; i < 600; i++)
	{
		send_to(0, 0);
		finish_status(0, 403, -1);
		if (i % 300 == 0)
			CHECK_INT(change().kind, RSTAR_CHANGE_MARKED);
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_ANSWER);
		if (i % 300 == 0)
			CHECK_INT(change().kind, RSTAR_CHANGE_CLEARED);
		CHECK(is_quiet());
		now += 200 * MS;
	}

	CASE("changes: nobody takes them");
	setup(1, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		send_to(0, 0);
		trip(0);
		finish(0, RSTAR_OUTCOME_ANSWER);
	}
	for (int i = 0; i < 4; i++)
		CHECK(!is_quiet());
	CHECK(is_quiet());
}

static void
test_unavailable(void)
{
	int64_t		wake;

	CASE("unavailable: not before something was tried");
	setup(2, 0, 2);
	now += 1000 * S;
	CHECK(!rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: from the first request that nobody answered");
	setup(2, 0, 2);
	(void) send(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	now += 1000 * S;
	(void) send(0);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: a request soon after an answer");
	setup(1, 0, 2);
	(void) send(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	now += 1 * S;
	(void) send(0);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: requests that take long before they fail");
	setup(1, 0, 100);
	for (int i = 0; i < 5; i++)
	{
		send_to(0, 0);
		now += 20 * S;
		finish(0, RSTAR_OUTCOME_TRANSPORT);
		now += 1 * S;
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: waits between requests are no peace");
	setup(1, 0, 2);
	for (int64_t end = now + 200 * S; now < end; now = samples[0].not_before)
	{
		send_to(0, 0);
		finish_status(0, 503, -1);
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: who says that he is well has time to show it");
	setup(1, 0, 2);
	send_to(0, 0);
	trip(0);
	now += 70 * S;
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	rstar_route_probed(route, 0, true, now);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: all refuse one mapping, and another one's request hangs");
	setup(1, 0, 2);
	samples[50].mapping = 2;
	send_to(50, 0);
	send_to(0, 0);
	now += 10 * S;
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_FAIL);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: all refused once, long ago");
	setup(1, 0, 100);
	send_to(0, 0);
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_FAIL);
	send_to(1, 0);
	finish(1, RSTAR_OUTCOME_TRANSPORT);
	now += 100 * S;
	CHECK_INT(send(2), 0);
	CHECK(!rstar_route_unavailable(route, now + 10 * S, 60 * S));

	CASE("unavailable: refusals, errors and time-outs are no answers");
	setup(1, 0, 100);
	for (int i = 0; i < 70; i++)
	{
		static const int statuses[] = {503, 500, 429, 502, 408, 504, 503};

		CHECK_INT(rstar_route_unavailable(route, now, 60 * S), i >= 60);
		send_to(i, 0);
		if (i % 8 == 7)
			finish(i, RSTAR_OUTCOME_TRANSPORT);
		else
			finish_status(i, statuses[i % 7], -1);
		now += 1 * S;
	}

	CASE("unavailable: a 400 shows that it serves");
	send_to(0, 0);
	finish_status(0, 400, -1);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));

	CASE("unavailable: so does the end of a quota");
	setup(2, 0, 2);
	{
		RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = 403,
			.retry_after = -1,.quota = true};

		send_to(0, 0);
		send_to(1, 1);
		now += 50 * S;
		CHECK_INT(rstar_route_finished(route, &samples[0], &outcome, now), RSTAR_VERDICT_FAIL);
		CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	}

	CASE("unavailable: one endpoint that serves is enough");
	setup(2, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		send_to(0, 0);
		finish_status(0, 503, -1);
		send_to(1, 1);
		finish(1, RSTAR_OUTCOME_ANSWER);
		now += 1 * S;
		CHECK(!rstar_route_unavailable(route, now, 60 * S));
	}

	CASE("unavailable: what hangs after an answer");
	setup(1, 0, 2);
	(void) send(0);
	(void) send(1);
	now += S;
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: what one endpoint refuses, while the other is down");
	setup(2, 0, 2);
	trip(1);
	{
		int64_t		end = now + 130 * S;
		int64_t		start = now;

		while (!rstar_route_unavailable(route, now, 60 * S) && now < end)
		{
			int			probed = rstar_route_probe(route, now, &wake);

			if (probed >= 0)
				rstar_route_probed(route, probed, false, now);
			if (rstar_route_choose(route, &samples[0], now, &wake) == 0)
			{
				send_to(0, 0);
				CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_RETRY);
			}
			now += 250 * MS;
		}
		CHECK(now - start >= 60 * S);
		CHECK(now < end);
	}

	CASE("unavailable: it does not outlive the outage");
	setup(1, 0, 2);
	send_to(0, 0);
	trip(0);
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	for (int i = 0; i < 100; i++)
	{
		now += 5 * S;
		CHECK_INT(rstar_route_probe(route, now, &wake), 0);
		rstar_route_probed(route, 0, false, now);
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	now += 5 * S;
	(void) rstar_route_probe(route, now, &wake);
	rstar_route_probed(route, 0, true, now);
	CHECK(!rstar_route_unavailable(route, now, 60 * S));
	CHECK_INT(send(0), 0);
	CHECK(!rstar_route_unavailable(route, now + 10 * S, 60 * S));

	CASE("unavailable: a lying /health does not put it off for ever");
	setup(1, 0, 2);
	for (int i = 0; i < 30; i++)
	{
		trip(0);
		now += 5 * S;
		(void) rstar_route_probe(route, now, &wake);
		rstar_route_probed(route, 0, true, now);
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: after a while without use it may be tried again");
	setup(1, 0, 2);
	for (int i = 0; i < 40; i++)
	{
		send_to(0, 0);
		finish(0, RSTAR_OUTCOME_TRANSPORT);
		now += 2 * S;
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	now += 20 * S;
	CHECK(!rstar_route_unavailable(route, now, 60 * S));
	CHECK_INT(send(0), 0);
	CHECK(!rstar_route_unavailable(route, now + 10 * S, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("unavailable: Retry-After does not put it off");
	setup(1, 0, 2);
	for (int i = 0; i < 5; i++)
	{
		CHECK_INT(send(0), 0);
		finish_status(0, 503, 60);
		now += 60 * S;
	}
	CHECK(rstar_route_unavailable(route, now, 120 * S));
}

static void
test_update(void)
{
	RstarRouteConfig config = {64, 2};
	const char *changed[] = {urls[2], urls[4], urls[0]};
	int			map[8];
	int64_t		wake;

	CASE("update: state stays with its URL");
	setup(3, 64, 2);
	send_to(0, 0);
	send_to(1, 0);
	send_to(2, 1);
	trip(2);
	CHECK(rstar_route_update(route, changed, 3, &config, now, map));
	CHECK_INT(map[0], 2);
	CHECK_INT(map[1], -1);
	CHECK_INT(map[2], 0);
	CHECK_STR(state(0).url, urls[2]);
	CHECK_STR(state(0).state, "open");
	CHECK_STR(state(1).state, "closed");
	CHECK_INT(state(1).in_flight, 0);
	CHECK_INT(state(2).in_flight, 2);
	CHECK_INT(state(2).sent, 2);

	CASE("update: an endpoint that went is no obstacle");
	samples[0].endpoint = map[0];
	samples[2].endpoint = map[1];
	CHECK_INT(finish(2, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	CHECK_INT(finish(0, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	CHECK_INT(state(2).in_flight, 1);
	for (int status = 200; status < 600; status++)
	{
		samples[5].endpoint = -1;
		samples[5].failures = 0;
		(void) finish_status(5, status, 1);
	}
	for (int kind = RSTAR_OUTCOME_ANSWER; kind <= RSTAR_OUTCOME_CANCELLED; kind++)
		(void) finish(5, (RstarOutcomeKind) kind);

	CASE("update: the limit that was found stays");
	setup(2, 0, 2);
	for (int i = 0; i < 32; i++)
		send_to(i, 0);
	for (int i = 0; i < 32; i++)
		finish(i, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(state(0).limit, 64);
	config.max_in_flight = 0;
	CHECK(rstar_route_update(route, urls, 3, &config, now, map));
	CHECK_INT(state(0).limit, 64);

	CASE("update: what is in flight is counted once");
	setup(1, 0, 2);
	send_to(0, 0);
	CHECK(rstar_route_update(route, urls, 2, &config, now, map));
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));

	CASE("update: and what hangs is noticed, in the new configuration's own time");
	setup(1, 0, 2);
	send_to(0, 0);
	send_to(1, 0);
	CHECK(rstar_route_update(route, urls, 2, &config, now, map));
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));
	now += 59 * S;
	CHECK(rstar_route_update(route, urls, 1, &config, now, map));
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("update: what changed under other numbers is not told");
	setup(2, 0, 2);
	trip(1);
	CHECK(rstar_route_update(route, urls + 1, 1, &config, now, map));
	CHECK(is_quiet());
	config.max_in_flight = 64;

	CASE("update: clears what was misconfigured");
	setup(2, 64, 2);
	for (int i = 0; i < 2; i++)
	{
		send_to(0, i);
		finish_status(0, 401, -1);
	}
	CHECK_STR(state(0).state, "misconfigured");
	CHECK(rstar_route_update(route, urls, 2, &config, now, map));
	CHECK_STR(state(0).state, "closed");
	CHECK_STR(state(1).state, "closed");

	CASE("update: another max_in_flight starts anew");
	config.max_in_flight = 5;
	CHECK(rstar_route_update(route, urls, 2, &config, now, map));
	CHECK_INT(state(0).limit, 5);
	config.max_in_flight = 0;
	CHECK(rstar_route_update(route, urls, 2, &config, now, map));
	CHECK_INT(state(0).limit, 32);

	CASE("update: a lower maximum than what is in flight");
	setup(1, 64, 2);
	for (int i = 0; i < 64; i++)
		(void) send(i);
	config.max_in_flight = 5;
	CHECK(rstar_route_update(route, urls, 1, &config, now, map));
	CHECK_INT(rstar_route_capacity(route, 1, now), 0);
	for (int i = 0; i < 59; i++)
	{
		CHECK_INT(rstar_route_choose(route, &samples[100], now, &wake), -1);
		finish(i, RSTAR_OUTCOME_ANSWER);
	}
	CHECK_INT(rstar_route_choose(route, &samples[100], now, &wake), -1);
	finish(59, RSTAR_OUTCOME_ANSWER);
	CHECK_INT(rstar_route_choose(route, &samples[100], now, &wake), 0);

	CASE("update: the same URL twice");
	{
		const char *twice[] = {urls[1], urls[1], urls[0]};

		setup(2, 64, 2);
		send_to(0, 0);
		CHECK(rstar_route_update(route, twice, 3, &config, now, map));
		CHECK_INT(map[0], 2);
		CHECK_INT(map[1], 0);
		CHECK(rstar_route_update(route, twice, 2, &config, now, map));
		CHECK_INT(map[0], 0);
		CHECK_INT(map[1], 1);
		CHECK_INT(map[2], -1);
	}

	CASE("update: refused, and nothing changes");
	setup(2, 64, 2);
	send_to(0, 0);
	CHECK(!rstar_route_update(route, urls, 0, &config, now, map));
	CHECK_INT(state(0).in_flight, 1);
	CHECK_INT(state(0).limit, 64);
}

/* A server of the simulation */
typedef enum Mode
{
	SERVES,
	REFUSES_CONNECTIONS,
	LOADING						/* 503 for everything, /health too */
} Mode;

typedef struct Server
{
	Mode		mode;
	int			slots;			/* more than that in work: 503 */
	int64_t		latency;
	int			working;
	long		sent;
	long		answered;
	long		refused;
} Server;

static Server servers[4];
static int	nservers;
static int64_t ends[MAX_SAMPLES];	/* of the attempt, when in flight */
static bool accepted[MAX_SAMPLES];	/* the server works on it */
static long failed;

static void
start_servers(int n, int slots, int64_t latency)
{
	nservers = n;
	failed = 0;
	memset(servers, 0, sizeof(servers));
	memset(accepted, 0, sizeof(accepted));
	for (int i = 0; i < n; i++)
	{
		servers[i].slots = slots;
		servers[i].latency = latency;
	}
}

static void
sim_send(int i)
{
	int			endpoint = send(i);
	Server	   *server = &servers[endpoint];

	if (endpoint < 0)
		return;
	server->sent++;
	accepted[i] = server->mode == SERVES && server->working < server->slots;
	server->working += accepted[i];
	ends[i] = now + (accepted[i] ? server->latency : 1 * MS);
}

static void
sim_end(int i)
{
	Server	   *server = &servers[samples[i].endpoint];
	RstarVerdict verdict;

	if (accepted[i])
		server->working--;
	if (server->mode == REFUSES_CONNECTIONS)
		verdict = finish(i, RSTAR_OUTCOME_TRANSPORT);
	else if (accepted[i])
	{
		verdict = finish(i, RSTAR_OUTCOME_ANSWER);
		server->answered++;
	}
	else
	{
		verdict = finish_status(i, 503, -1);
		server->refused++;
	}
	failed += verdict == RSTAR_VERDICT_FAIL;
	if (verdict != RSTAR_VERDICT_RETRY)
	{
		/* the next of the queue takes its place */
		uint32_t	request = samples[i].request + MAX_SAMPLES;

		memset(&samples[i], 0, sizeof(samples[i]));
		samples[i].request = request;
		samples[i].mapping = 1;
		samples[i].affinity = any() % 16;
		samples[i].endpoint = samples[i].last_endpoint = -1;
	}
}

/* Runs "n" samples at a time for so long */
static void
run(int n, int64_t duration)
{
	int64_t		until = now + duration;

	for (; now < until; now += 2 * MS)
	{
		int			endpoint;
		int64_t		wake;

		for (int i = 0; i < n; i++)
		{
			if (samples[i].endpoint >= 0 && (ends[i] <= now || (accepted[i] &&
																servers[samples[i].endpoint].mode == REFUSES_CONNECTIONS)))
				sim_end(i);
		}
		while ((endpoint = rstar_route_probe(route, now, &wake)) >= 0)
			rstar_route_probed(route, endpoint, servers[endpoint].mode == SERVES, now);
		for (int i = 0; i < n && rstar_route_capacity(route, 1, now) > 0; i++)
		{
			if (samples[i].endpoint < 0 && samples[i].not_before <= now)
				sim_send(i);
		}
	}
}

static long
answers(void)
{
	long		sum = 0;

	for (int i = 0; i < nservers; i++)
		sum += servers[i].answered;
	return sum;
}

static long
requests(void)
{
	long		sum = 0;

	for (int i = 0; i < nservers; i++)
		sum += servers[i].sent;
	return sum;
}

static void
test_simulations(void)
{
	long		before;
	long		rate;

	CASE("simulation: two servers fail and return; full rate within 10 s");
	setup(2, 256, 2);
	start_servers(2, 10000, 200 * MS);
	run(1000, 2 * S);
	before = answers();
	run(1000, 2 * S);
	rate = answers() - before;
	CHECK(rate >= 4900);
	servers[0].mode = servers[1].mode = REFUSES_CONNECTIONS;
	before = requests();
	run(1000, 60 * S);
	CHECK(requests() - before < 3000);
	CHECK_INT(failed, 0);
	servers[0].mode = servers[1].mode = SERVES;
	run(1000, 8 * S);
	before = answers();
	run(1000, 2 * S);
	CHECK(answers() - before >= rate * 98 / 100);
	CHECK_INT(failed, 0);

	CASE("simulation: one of three is down");
	setup(3, 64, 2);
	start_servers(3, 10000, 200 * MS);
	servers[1].mode = REFUSES_CONNECTIONS;
	run(500, 30 * S);
	CHECK(servers[1].sent < 100);
	CHECK(answers() > 18000);
	CHECK_INT(failed, 0);
	servers[1].mode = SERVES;
	run(500, 6 * S);
	before = servers[1].answered;
	run(500, 2 * S);
	CHECK(servers[1].answered - before >= 600);

	CASE("simulation: loading for a minute is no flood, then full rate within 10 s");
	setup(1, 256, 2);
	start_servers(1, 10000, 200 * MS);
	servers[0].mode = LOADING;
	run(2000, 60 * S);
	CHECK(servers[0].sent < 800);
	servers[0].mode = SERVES;
	run(2000, 8 * S);
	before = answers();
	run(2000, 2 * S);
	CHECK(answers() - before >= 1750);
	CHECK_INT(failed, 0);

	CASE("simulation: a server that takes 100 is found, and not flooded");
	setup(1, 0, 2);
	start_servers(1, 100, 1 * S);
	run(2000, 60 * S);
	before = answers();
	servers[0].refused = 0;
	run(2000, 60 * S);
	CHECK(answers() - before >= 5000);
	CHECK(servers[0].refused <= answers() - before);
	CHECK(state(0).limit >= 60 && state(0).limit <= 200);
	CHECK_INT(failed, 0);

	CASE("simulation: a server that takes 100 of 800, told so");
	setup(1, 800, 2);
	start_servers(1, 100, 1 * S);
	run(2000, 60 * S);
	CHECK(servers[0].refused < 6000);
	CHECK(answers() >= 5000);
	CHECK_INT(failed, 0);

	CASE("simulation: a server without a stated limit is filled");
	setup(1, 0, 2);
	start_servers(1, 10000, 200 * MS);
	run(2000, 2 * S);
	before = answers();
	run(2000, 1 * S);
	CHECK(answers() - before >= 5000);
}

/* What a sample has gone through, for the bounds */
typedef struct Life
{
	int			attempts;		/* ends that use up an attempt */
	int			endpoint;
} Life;

#define LIVES 64

static RstarOutcome
random_outcome(int weather)
{
	static const int statuses[] = {
		400, 401, 403, 404, 408, 413, 422, 429, 500, 501, 502, 503, 504, 302, 204
	};
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_ANSWER,.retry_after = -1};

	if ((int) (any() % 100) < weather)
		return outcome;
	outcome.kind = (RstarOutcomeKind) (any() % 7);
	outcome.status = statuses[any() % 15];
	outcome.retry_after = (int) (any() % 4) - 1;
	outcome.unknown_model = outcome.status == 404 && any() % 2;
	outcome.quota = outcome.kind == RSTAR_OUTCOME_STATUS && outcome.status == 429 &&
		any() % 8 == 0;
	return outcome;
}

static void
check_life(int i, Life *life, const RstarOutcome *outcome, RstarVerdict verdict,
		   int n, int retries)
{
	int			status = outcome->kind == RSTAR_OUTCOME_STATUS ? outcome->status : 0;
	bool		refusal = status == 401 || status == 403 || (status != 0 && outcome->unknown_model) ||
		outcome->kind == RSTAR_OUTCOME_UNTRUSTED;
	bool		pushed = (status == 408 || status == 429 || status == 503) && !outcome->quota;

	CHECK_INT(samples[i].endpoint, -1);
	if (outcome->kind == RSTAR_OUTCOME_ANSWER)
		CHECK_INT(verdict, RSTAR_VERDICT_DONE);
	else if (pushed)
	{
		CHECK_INT(verdict, RSTAR_VERDICT_RETRY);
		CHECK(samples[i].not_before >= now + 250 * MS);
		CHECK(samples[i].not_before <= now + 10 * S);
	}
	else if (outcome->kind == RSTAR_OUTCOME_CANCELLED || outcome->quota ||
			 (status >= 300 && status < 500 && !refusal))
		CHECK_INT(verdict, RSTAR_VERDICT_FAIL);
	else if (refusal)
		CHECK(verdict == RSTAR_VERDICT_FAIL || samples[i].refusals < n);
	else if (outcome->kind != RSTAR_OUTCOME_TRANSPORT)
	{
		life->attempts++;
		CHECK(life->attempts <= retries + 1);
		/* counted transport errors share the budget */
		if (life->attempts > retries)
			CHECK_INT(verdict, RSTAR_VERDICT_FAIL);
	}
	if (verdict == RSTAR_VERDICT_RETRY)
	{
		CHECK(samples[i].not_before >= now);
		CHECK(samples[i].failures <= (retries > 0 ? retries : 1));
	}
}

/* Returns false at the first violation: one report is enough */
static bool
random_walk(int steps)
{
	int			n = 1 + (int) (any() % 4);
	int			max = any() % 2 ? 0 : 1 + (int) (any() % 40);
	int			retries = (int) (any() % 4);
	int			weather = (int) (any() % 100);
	int			in_flight[4] = {0};
	Life		lives[LIVES];
	int64_t		wake;

	setup(n, max, retries);
	memset(lives, 0, sizeof(lives));
	for (int i = 0; i < LIVES; i++)
		samples[i].affinity = any() % 4;
	for (int step = 0; step < steps && !check_broken; step++)
	{
		int			i = (int) (any() % LIVES);

		now += (int64_t) (any() % 3 ? any() % (10 * MS) : any() % (2 * S));
		if (samples[i].endpoint >= 0)
		{
			RstarOutcome outcome = random_outcome(weather);
			RstarVerdict verdict;

			in_flight[samples[i].endpoint]--;
			verdict = rstar_route_finished(route, &samples[i], &outcome, now);
			check_life(i, &lives[i], &outcome, verdict, n, retries);
			if (verdict != RSTAR_VERDICT_RETRY)
			{
				uint64_t	affinity = samples[i].affinity;

				memset(&samples[i], 0, sizeof(samples[i]));
				memset(&lives[i], 0, sizeof(lives[i]));
				samples[i].affinity = affinity;
				samples[i].request = (uint32_t) any();
				samples[i].mapping = (uint32_t) (any() % 3);
				samples[i].endpoint = samples[i].last_endpoint = -1;
			}
		}
		else
		{
			int			chosen = rstar_route_choose(route, &samples[i], now, &wake);
			bool		hope = wake != INT64_MAX;

			CHECK(chosen >= -1 && chosen < n);
			if (chosen >= 0)
			{
				RstarEndpointState before = state(chosen);

				CHECK(samples[i].not_before <= now);
				CHECK(before.in_flight < before.limit);
				CHECK(strcmp(before.state, "closed") == 0 ||
					  strcmp(before.state, "misconfigured") == 0);
				rstar_route_sent(route, &samples[i], chosen, now);
				in_flight[chosen]++;
			}
			else
			{
				CHECK(wake > now);
				/* else something must be on its way */
				for (int e = 0; e < n; e++)
					hope = hope || in_flight[e] > 0 || strcmp(state(e).state, "open") == 0 ||
						strcmp(state(e).state, "half-open") == 0;
				CHECK(hope);
			}
		}
		while ((i = rstar_route_probe(route, now, &wake)) >= 0)
		{
			CHECK_STR(state(i).state, "half-open");
			if (any() % 4)
				rstar_route_probed(route, i, any() % 2, now);
		}
		CHECK(wake > now);
		for (int e = 0; e < n; e++)
		{
			RstarEndpointState s = state(e);

			CHECK_INT(s.in_flight, in_flight[e]);
			CHECK(s.limit >= 1 && s.limit <= (max > 0 ? max : 1024));
			CHECK(s.answered + s.failed + s.in_flight <= s.sent);
		}
		CHECK(rstar_route_capacity(route, 1, now) >= 0);
		(void) rstar_route_unavailable(route, now, 60 * S);
	}
	return !check_broken;
}

/* How many of a thousand waits lie in each quarter of their range */
static void
check_spread(const int *quarters)
{
	for (int i = 0; i < 4; i++)
		CHECK(quarters[i] > 180 && quarters[i] < 320);
}

static void
test_jitter(void)
{
	int			quarters[4];
	int			same = 0;
	int64_t		first[100];

	CASE("jitter: refusals are spread over all of their range");
	memset(quarters, 0, sizeof(quarters));
	setup(1, 0, 2);
	for (int i = 0; i < 1000; i++)
	{
		send_to(i, 0);
		finish_status(i, 503, -1);
		CHECK(samples[i].not_before - now >= 250 * MS && samples[i].not_before - now <= 500 * MS);
		quarters[(samples[i].not_before - now - 250 * MS) * 4 / (250 * MS + 1)]++;
		now += 10 * S;
	}
	check_spread(quarters);

	CASE("jitter: attempts that failed, too, from 50 ms to 2 s");
	memset(quarters, 0, sizeof(quarters));
	setup(1, 0, 100);
	for (int i = 0; i < 1000; i++)
	{
		int64_t		longest = 100 * MS;

		for (int round = 0; round < 8; round++)
		{
			int64_t		wait;

			send_to(i, 0);
			CHECK_INT(finish_status(i, 500, -1), RSTAR_VERDICT_RETRY);
			wait = samples[i].not_before - now;
			CHECK(wait >= 50 * MS && wait <= longest);
			if (round == 0)
				quarters[(wait - 50 * MS) * 4 / (50 * MS + 1)]++;
			longest = longest * 2 > 2 * S ? 2 * S : longest * 2;
			/* somebody is served, so that the breaker stays closed */
			send_to(2000, 0);
			finish(2000, RSTAR_OUTCOME_ANSWER);
		}
	}
	check_spread(quarters);

	CASE("jitter: two workers do not go in step");
	for (int run = 0; run < 2; run++)
	{
		RstarRouteConfig config = {0, 2};

		setup(1, 0, 2);
		rstar_route_free(route);
		route = rstar_route_create(urls, 1, &config, now + run);
		for (int i = 0; i < 100; i++)
		{
			send_to(i, 0);
			finish_status(i, 503, -1);
			if (run == 0)
				first[i] = samples[i].not_before;
			else
				same += first[i] == samples[i].not_before;
		}
	}
	CHECK(same < 5);
}

static void
test_bounded_load(void)
{
	CASE("affinity: one that has it is never above 1.25 times the mean, plus 4");
	for (int round = 0; round < 50; round++)
	{
		int			n = 2 + (int) (any() % 7);
		int			queries = 1 + (int) (any() % 6);
		int			in_flight = 0;

		setup(n, 1024, 2);
		for (int i = 0; i < 600; i++)
		{
			int			chosen;

			samples[i].affinity = any() % (unsigned) queries * 7919;
			chosen = send(i);
			in_flight++;
			CHECK(chosen >= 0);
			/* it was within, before this one; or it had the least */
			if (4 * n * (state(chosen).in_flight - 1) > 5 * (in_flight - 1) + 16 * n)
			{
				for (int e = 0; e < n; e++)
					CHECK(state(e).in_flight >= state(chosen).in_flight - 1);
			}
			if (any() % 3 == 0)
			{
				int			j = (int) (any() % (unsigned) (i + 1));

				if (samples[j].endpoint >= 0)
				{
					finish(j, RSTAR_OUTCOME_ANSWER);
					in_flight--;
				}
			}
		}
	}

	CASE("affinity: many queries at once, and nearly all pairs find their query's endpoint");
	{
		int			home[64];
		int			kept = 0;

		setup(4, 1024, 2);
		for (int q = 0; q < 64; q++)
			home[q] = -1;
		for (int i = 0; i < 2000; i++)
		{
			int			q = (int) (any() % 64);
			int			chosen;

			samples[i % 256].affinity = (uint64_t) q * 7919;
			if (samples[i % 256].endpoint >= 0)
				finish(i % 256, RSTAR_OUTCOME_ANSWER);
			chosen = send(i % 256);
			if (home[q] < 0)
				home[q] = chosen;
			kept += home[q] == chosen;
			now += MS;
		}
		CHECK(kept > 1800);
	}
}

static void
test_poison(void)
{
	CASE("poison: alone among others it fails, at two endpoints, and no breaker opens");
	for (int kind = 0; kind < 3; kind++)
	{
		for (int n = 2; n <= 4; n++)
		{
			int			visited = 0;
			int			attempts = 0;
			RstarVerdict verdict;

			setup(n, 0, 2);
			/* all serve, and go on to serve */
			for (int i = 0; i < 4 * n; i++)
			{
				send_to(100 + i, i % n);
				finish(100 + i, RSTAR_OUTCOME_ANSWER);
			}
			do
			{
				int			endpoint = -1;

				while ((endpoint = send(0)) < 0)
					now = samples[0].not_before > now ? samples[0].not_before : now + MS;
				visited |= 1 << endpoint;
				attempts++;
				now += 100 * MS;
				for (int i = 0; i < n; i++)
				{
					send_to(100 + i, i);
					CHECK_INT(finish(100 + i, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
				}
				verdict = kind == 0 ? finish_status(0, 500, -1) :
					finish(0, kind == 1 ? RSTAR_OUTCOME_TRANSPORT : RSTAR_OUTCOME_TIMEOUT);
				for (int i = 0; i < n; i++)
					CHECK_STR(state(i).state, "closed");
			} while (verdict == RSTAR_VERDICT_RETRY && attempts < 20);
			CHECK_INT(verdict, RSTAR_VERDICT_FAIL);
			CHECK_INT(attempts, 3);
			CHECK_INT(__builtin_popcount((unsigned) visited), 2);
		}
	}

	CASE("poison: also when nothing else is in flight, and asked for again and again");
	setup(3, 0, 2);
	for (int round = 0; round < 20; round++)
	{
		samples[0].failures = samples[0].transports = 0;
		samples[0].tried = 0;
		samples[0].last_endpoint = -1;
		for (int attempt = 0; attempt < 3; attempt++)
		{
			now = samples[0].not_before > now ? samples[0].not_before : now;
			CHECK(send(0) >= 0);
			CHECK_INT(finish_status(0, 500, -1), attempt < 2 ? RSTAR_VERDICT_RETRY : RSTAR_VERDICT_FAIL);
		}
		now += S;
	}
	for (int i = 0; i < 3; i++)
		CHECK_STR(state(i).state, "closed");
}

/*
 * Endpoints come and go, are renumbered and renamed, while samples are in
 * flight: what is counted is what is there.
 */
static bool
random_updates(int steps)
{
	const char *names[8];
	int			n = 1 + (int) (any() % 6);
	int			first = (int) (any() % 3);

	setup(n, 0, 2);
	for (int i = 0; i < n; i++)
		names[i] = urls[i];
	for (int i = 0; i < LIVES; i++)
		samples[i].affinity = any() % 8;
	for (int step = 0; step < steps && !check_broken; step++)
	{
		int			i = (int) (any() % LIVES);
		int64_t		wake;

		now += (int64_t) (any() % (100 * MS));
		if (any() % 16 == 0)
		{
			RstarRouteConfig config = {any() % 2 ? 0 : 8, 2};
			const char *next[8];
			int			map[8];
			int			m = 1 + (int) (any() % 6);

			first = (int) (any() % 3);
			for (int e = 0; e < m; e++)
				next[e] = urls[(first + e * (step % 2 ? 1 : 3)) % 8];	/* no two alike */
			CHECK(rstar_route_update(route, next, m, &config, now, map));
			for (int e = 0; e < n; e++)
			{
				CHECK(map[e] >= -1 && map[e] < m);
				if (map[e] >= 0)
					CHECK_STR(next[map[e]], names[e]);
				else
					for (int f = 0; f < m; f++)
						CHECK(strcmp(next[f], names[e]) != 0);
			}
			for (int j = 0; j < LIVES; j++)
			{
				if (samples[j].endpoint >= 0)
					samples[j].endpoint = map[samples[j].endpoint] < 0 ? -2 : map[samples[j].endpoint];
				if (samples[j].last_endpoint >= 0)
					samples[j].last_endpoint = map[samples[j].last_endpoint];
				samples[j].tried = 0;
			}
			n = m;
			memcpy(names, next, sizeof(names));
		}
		else if (samples[i].endpoint != -1)
		{
			RstarOutcome outcome = random_outcome(50);

			/* -2: in flight, to one that has gone */
			if (samples[i].endpoint == -2)
				samples[i].endpoint = -1;
			if (rstar_route_finished(route, &samples[i], &outcome, now) != RSTAR_VERDICT_RETRY)
			{
				uint64_t	affinity = samples[i].affinity;

				memset(&samples[i], 0, sizeof(samples[i]));
				samples[i].affinity = affinity;
				samples[i].request = (uint32_t) any();
				samples[i].mapping = (uint32_t) (any() % 2);
				samples[i].endpoint = samples[i].last_endpoint = -1;
			}
		}
		else
			(void) send(i);
		while ((i = rstar_route_probe(route, now, &wake)) >= 0)
		{
			if (any() % 4)
				rstar_route_probed(route, i, any() % 2, now);
		}
		for (int e = 0; e < n; e++)
		{
			int			there = 0;

			for (int j = 0; j < LIVES; j++)
				there += samples[j].endpoint == e;
			CHECK_INT(state(e).in_flight, there);
			CHECK_STR(state(e).url, names[e]);
		}
	}
	/* in the end all are well, and everything is sent and answered */
	for (int i = 0; i < LIVES; i++)
	{
		if (samples[i].endpoint == -2)
			samples[i].endpoint = -1;
		else if (samples[i].endpoint >= 0)
			finish(i, RSTAR_OUTCOME_ANSWER);
	}
	for (int e = 0; e < n; e++)
		CHECK_INT(state(e).in_flight, 0);
	return !check_broken;
}

static void
test_random_updates(void)
{
	for (int i = 0; i < 100; i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "random updates %d", i);
		CASE(name);
		if (!random_updates(1000))
			break;
	}
}

static void
test_random(void)
{
	for (int i = 0; i < 200; i++)
	{
		char		name[64];

		snprintf(name, sizeof(name), "random walk %d", i);
		CASE(name);
		if (!random_walk(2000))
			break;
	}
}

static int
bench(void)
{
	for (int n = 1; n <= 8; n *= 2)
	{
		struct timespec start;
		struct timespec end;
		int			times = 1000000;

		setup(n, 256, 2);
		for (int i = 0; i < 100 * n; i++)
			(void) send(i);
		clock_gettime(CLOCK_MONOTONIC, &start);
		for (int i = 0; i < times; i++)
		{
			int			s = 1000 + i % 64;

			samples[s].affinity = (uint64_t) i;
			now += 10;
			(void) send(s);
			finish(s, RSTAR_OUTCOME_ANSWER);
		}
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("%d endpoints, a sample chosen, sent and finished: %.0f ns\n", n,
			   ((double) (end.tv_sec - start.tv_sec) * 1e9 +
				(double) (end.tv_nsec - start.tv_nsec)) / times);
	}
	rstar_route_free(route);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "bench") == 0)
		return bench();
	test_choice();
	test_suspect();
	test_limit();
	test_classes();
	test_pushback();
	test_transport();
	test_breaker();
	test_misconfigured();
	test_untrusted();
	test_changes();
	test_unavailable();
	test_update();
	test_simulations();
	test_jitter();
	test_bounded_load();
	test_poison();
	test_random();
	test_random_updates();
	rstar_route_free(route);
	return check_end("route_test");
}
