/*-------------------------------------------------------------------------
 *
 * breaker_test.c
 *		Unit tests of routes: how much an endpoint takes, when it has a rest,
 *		and when it is out of use.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"

static void
test_limit(void)
{
	CASE("slow start doubles in each window that was full, and goes faster from 256 on");
	setup(1, 0, 2);
	for (int limit = 32; limit <= 256; limit *= 2)
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
	rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
			rstar_route_probed(route, 0, RSTAR_HEALTH_MUTE, now);
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
	rstar_route_probed(route, 0, RSTAR_HEALTH_MUTE, now);
	CHECK_INT(rstar_route_probe(route, now, &wake), -1);
	CHECK_INT(wake, now + 4 * S);

	CASE("breaker: closes when healthy, at 32");
	setup(1, 256, 2);
	trip(0);
	now += 2 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
	rstar_route_probed(route, 0, RSTAR_HEALTH_MUTE, now);
	CHECK_STR(state(0).state, "closed");

	CASE("breaker: failures of what was sent before it closed are old");
	setup(1, 256, 2);
	for (int i = 0; i < 50; i++)
		send_to(i, 0);
	trip(0);
	now += 2 * S;
	(void) rstar_route_probe(route, now, &wake);
	rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
			rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
		rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
		send_to(0, 0);
		finish(0, RSTAR_OUTCOME_ANSWER);
		trip(0);
		rstar_route_probed(route, 1, RSTAR_HEALTH_WELL, now);
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
		RstarRouteConfig config = {.max_in_flight = 0,.retries = 2};

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

int
main(void)
{
	test_limit();
	test_pushback();
	test_breaker();
	test_jitter();
	rstar_route_free(route);
	return check_end("breaker_test");
}
