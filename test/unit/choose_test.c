/*-------------------------------------------------------------------------
 *
 * choose_test.c
 *		Unit tests of routes: which endpoint a sample goes to, and who goes to
 *		another one.
 *
 * With the argument "bench": how long a choice takes instead.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "routes.h"

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
		RstarRouteConfig config = {.max_in_flight = 0,.retries = 2};
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
		RstarRouteConfig config = {.max_in_flight = 1024,.retries = 2};
		int			map[4];

		CHECK(rstar_route_update(route, urls, 5, &config, map));
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
	test_bounded_load();
	test_transport();
	test_poison();
	rstar_route_free(route);
	return check_end("choose_test");
}
