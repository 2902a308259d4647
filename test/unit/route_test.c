/*-------------------------------------------------------------------------
 *
 * route_test.c
 *		Unit tests of routes: endpoints that refuse a mapping, what is told of
 *		changes, and servers that are altered.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"

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
		RstarRouteConfig config = {.max_in_flight = 4,.retries = 2};
		int			map[1];

		CHECK_INT(send(0), 0);
		CHECK_INT(send(1), 0);
		CHECK(rstar_route_update(route, urls + 1, 1, &config, map));
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
		rstar_route_probed(route, 1, RSTAR_HEALTH_MUTE, now);
	}
	CHECK(is_quiet());
	now += 10 * S;
	CHECK_INT(rstar_route_probe(route, now, &wake), 1);
	rstar_route_probed(route, 1, RSTAR_HEALTH_WELL, now);
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
test_update(void)
{
	RstarRouteConfig config = {.max_in_flight = 64,.retries = 2};
	const char *changed[] = {urls[2], urls[4], urls[0]};
	int			map[8];
	int64_t		wake;

	CASE("update: state stays with its URL");
	setup(3, 64, 2);
	send_to(0, 0);
	send_to(1, 0);
	send_to(2, 1);
	trip(2);
	CHECK(rstar_route_update(route, changed, 3, &config, map));
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
	CHECK(rstar_route_update(route, urls, 3, &config, map));
	CHECK_INT(state(0).limit, 64);

	CASE("update: what is in flight is counted once");
	setup(1, 0, 2);
	send_to(0, 0);
	CHECK(rstar_route_update(route, urls, 2, &config, map));
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));

	CASE("update: who fails has no more time because something else has changed");
	setup(1, 0, 2);
	trip(0);
	now += 59 * S;
	CHECK(rstar_route_update(route, urls, 1, &config, map));
	CHECK(rstar_route_unavailable(route, now + 1 * S, 60 * S));

	CASE("altered: but time anew in the new configuration");
	rstar_route_altered(route, now);
	CHECK(!rstar_route_unavailable(route, now + 60 * S - 1, 60 * S));
	CHECK(rstar_route_unavailable(route, now + 60 * S, 60 * S));

	CASE("update: who did not fail has nothing to prove");
	setup(1, 0, 2);
	send_to(0, 0);
	CHECK(rstar_route_update(route, urls, 2, &config, map));
	rstar_route_altered(route, now);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));

	CASE("update: what changed under other numbers is not told");
	setup(2, 0, 2);
	trip(1);
	CHECK(rstar_route_update(route, urls + 1, 1, &config, map));
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
	CHECK(rstar_route_update(route, urls, 2, &config, map));
	CHECK_STR(state(0).state, "closed");
	CHECK_STR(state(1).state, "closed");

	CASE("update: another max_in_flight starts anew");
	config.max_in_flight = 5;
	CHECK(rstar_route_update(route, urls, 2, &config, map));
	CHECK_INT(state(0).limit, 5);
	config.max_in_flight = 0;
	CHECK(rstar_route_update(route, urls, 2, &config, map));
	CHECK_INT(state(0).limit, 32);

	CASE("update: a lower maximum than what is in flight");
	setup(1, 64, 2);
	for (int i = 0; i < 64; i++)
		(void) send(i);
	config.max_in_flight = 5;
	CHECK(rstar_route_update(route, urls, 1, &config, map));
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
		CHECK(rstar_route_update(route, twice, 3, &config, map));
		CHECK_INT(map[0], 2);
		CHECK_INT(map[1], 0);
		CHECK(rstar_route_update(route, twice, 2, &config, map));
		CHECK_INT(map[0], 0);
		CHECK_INT(map[1], 1);
		CHECK_INT(map[2], -1);
	}

	CASE("update: refused, and nothing changes");
	setup(2, 64, 2);
	send_to(0, 0);
	CHECK(!rstar_route_update(route, urls, 0, &config, map));
	CHECK_INT(state(0).in_flight, 1);
	CHECK_INT(state(0).limit, 64);
}

/* Who has hardly begun may be closed for another one */
static void
test_yield(void)
{
	CASE("yield: nobody knows how long a reply takes");
	setup(2, 2, 2);
	CHECK_INT(rstar_route_limit(route), 4);
	send_to(0, 0);
	CHECK(!rstar_route_is_young(route, &samples[0], now));
	CHECK(!rstar_route_may_yield(route, &samples[0], 1, now));

	CASE("yield: in the first half of that time");
	now += 1000 * MS;
	finish(0, RSTAR_OUTCOME_ANSWER);
	send_to(1, 0);
	now += 499 * MS;
	CHECK(rstar_route_is_young(route, &samples[1], now));
	CHECK(rstar_route_may_yield(route, &samples[1], 1, now));
	now += 1 * MS;
	CHECK(!rstar_route_is_young(route, &samples[1], now));
	CHECK(!rstar_route_may_yield(route, &samples[1], 1, now));

	CASE("yield: where nothing is known, though another is slow");
	send_to(2, 1);
	CHECK(rstar_route_is_young(route, &samples[2], now));
	CHECK(!rstar_route_may_yield(route, &samples[2], 1, now));

	CASE("yield: not where that gives no room");
	setup(1, 8, 2);
	send_to(0, 0);
	now += 1000 * MS;
	finish(0, RSTAR_OUTCOME_ANSWER);
	for (int i = 1; i <= 8; i++)
		send_to(i, 0);
	CHECK(rstar_route_may_yield(route, &samples[8], 1, now));
	CHECK_INT(finish_status(1, 503, 5), RSTAR_VERDICT_RETRY);
	CHECK(!rstar_route_may_yield(route, &samples[8], 1, now));	/* it has a rest */

	CASE("yield: not for a mapping that it refuses");
	setup(2, 2, 2);
	send_to(0, 0);
	now += 1000 * MS;
	finish(0, RSTAR_OUTCOME_ANSWER);
	send_to(1, 0);
	send_to(2, 0);
	finish_status(2, 401, -1);
	CHECK(!rstar_route_may_yield(route, &samples[1], 1, now));
	CHECK(rstar_route_may_yield(route, &samples[1], 2, now));
	samples[1].endpoint = -1;
	CHECK(!rstar_route_may_yield(route, &samples[1], 2, now));
}

int
main(void)
{
	test_yield();
	test_misconfigured();
	test_untrusted();
	test_changes();
	test_update();
	rstar_route_free(route);
	return check_end("route_test");
}
