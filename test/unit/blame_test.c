/*-------------------------------------------------------------------------
 *
 * blame_test.c
 *		Unit tests of verdict.c: which 5xx and broken connections use up a
 *		sample's attempts, and that each sample comes to an end.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"

#define RETRY RSTAR_VERDICT_RETRY

/* The way in which the endpoint fails: a status, or that the connection breaks */
#define BREAKS (-1)

/* Sends a sample when it may go, to the one endpoint, where it fails */
static RstarVerdict
go_and_fail(int i, int way)
{
	now = now > samples[i].not_before ? now : samples[i].not_before;
	send_to(i, 0);
	return way == BREAKS ? finish(i, RSTAR_OUTCOME_TRANSPORT) : finish_status(i, way, -1);
}

static void
test_outage(int way)
{
	CASE("an outage uses up nothing, and has an end");
	setup(1, 0, 2);
	for (int i = 0; i < 20; i++)
		CHECK_INT(go_and_fail(i, way), RETRY);
	for (int round = 0; round < 100; round++)
	{
		/* the first two had the blame while they were alone */
		for (int i = 2; i < 20; i++)
			CHECK_INT(go_and_fail(i, way), RETRY);
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
}

static void
test_poison(int way)
{
	int			sent = 0;

	CASE("poison is used up while others are answered");
	setup(1, 0, 2);
	do
	{
		send_to(1, 0);
		now += 10 * MS;
		finish(1, RSTAR_OUTCOME_ANSWER);
		sent++;
	} while (go_and_fail(0, way) == RETRY && sent < 10);
	CHECK_INT(sent, 3);

	CASE("also when it comes back faster than answers, and is not alone");
	setup(1, 0, 2);
	for (int i = 10; i < 14; i++)
		send_to(i, 0);
	for (int round = 0; round < 1000 && samples[0].failures <= 2; round++)
	{
		for (int i = 3; i >= 0; i--)
			go_and_fail(i, way);
		if (round % 20 == 19)
		{
			int			i = 10 + round / 20 % 4;

			finish(i, RSTAR_OUTCOME_ANSWER);
			send_to(i, 0);
		}
	}
	CHECK_INT(samples[0].failures, 3);
}

static void
test_going(int way)
{
	CASE("who goes answers what he has: no blame for that");
	setup(1, 0, 2);
	for (int i = 10; i < 200; i++)
		send_to(i, 0);
	finish(10, RSTAR_OUTCOME_ANSWER);
	now += S;
	for (int i = 11; i < 200; i++)
	{
		for (int j = 0; j < 4; j++)
			CHECK_INT(go_and_fail(j, way), RETRY);
		finish(i, RSTAR_OUTCOME_ANSWER);
		now += 10 * MS;
	}
}

/* Rounds in which one is answered, and sample 0 fails after two others, until it is used up */
static int
rounds_in_storms(int status)
{
	int			rounds = 0;
	RstarVerdict verdict;

	setup(1, 0, 2);
	do
	{
		send_to(1, 0);
		now += S;
		finish(1, RSTAR_OUTCOME_ANSWER);
		now += S;
		for (int i = 10 + 2 * rounds; i < 12 + 2 * rounds; i++)
			CHECK_INT(go_and_fail(i, status), RETRY);
		verdict = go_and_fail(0, status);
		rounds++;
	} while (verdict == RETRY && rounds < 100);
	return rounds;
}

static void
test_gateway(void)
{
	CASE("who gets 502 together with others is spared five times, not for ever");
	CHECK_INT(rounds_in_storms(502), 5 + 3);
	CASE("... but not for what a server says itself");
	CHECK_INT(rounds_in_storms(500), 3);
}

static void
test_alone(void)
{
	CASE("one or two that get 500 from a silent endpoint do not wait");
	setup(1, 0, 2);
	for (int i = 0; i < 2; i++)
	{
		CHECK_INT(go_and_fail(i, 500), RETRY);
		CHECK_INT(go_and_fail(i, 500), RETRY);
		CHECK_INT(go_and_fail(i, 500), RSTAR_VERDICT_FAIL);
	}
}

/* As when it has closed its listening socket, and answers what it has */
static void
test_refused(void)
{
	RstarOutcome refused = {.kind = RSTAR_OUTCOME_TRANSPORT,.retry_after = -1,.refused = true};

	CASE("who is not let in is not to blame, whoever is answered meanwhile");
	setup(1, 0, 2);
	for (int round = 0; round < 20; round++)
	{
		send_to(1, 0);
		now += 10 * MS;
		finish(1, RSTAR_OUTCOME_ANSWER);
		now = now > samples[0].not_before ? now : samples[0].not_before;
		send_to(0, 0);
		CHECK_INT(rstar_route_finished(route, &samples[0], &refused, now), RETRY);
	}
	CHECK_INT(samples[0].failures, 0);
}

/* A proxy waits 5 s, of a server that answers one a second */
static void
test_late(void)
{
	CASE("who waited in line is not to blame for its time-out, however often");
	setup(1, 0, 2);
	for (int round = 0; round < 20; round++)
	{
		for (int i = 1; i <= 10; i++)
			send_to(i, 0);
		send_to(0, 0);
		for (int i = 1; i <= 5; i++)
		{
			now += 1 * S;
			finish(i, RSTAR_OUTCOME_ANSWER);
		}
		CHECK_INT(round % 2 ? finish_status(0, 504, -1) : finish(0, RSTAR_OUTCOME_TIMEOUT), RETRY);
		for (int i = 6; i <= 10; i++)
			finish(i, RSTAR_OUTCOME_CANCELLED);
	}
	CHECK_INT(samples[0].failures, 0);
	CHECK(strcmp(state(0).state, "closed") == 0);

	CASE("whose turn it was is");
	setup(1, 0, 2);
	for (int round = 0; round < 3; round++)
	{
		for (int i = 1; i <= 5; i++)
			send_to(i, 0);
		send_to(0, 0);
		now += 5 * S;
		for (int i = 1; i <= 5; i++)
			finish(i, RSTAR_OUTCOME_ANSWER);
		CHECK_INT(finish_status(0, 504, -1), round < 2 ? RETRY : RSTAR_VERDICT_FAIL);
	}

	for (int others = 0; others <= 10; others += 10)
	{
		CASE(others == 0 ? "so is who is there alone" : "... or with others of whom none is answered, if we gave up");
		setup(1, 0, 2);
		for (int round = 0; round < 3; round++)
		{
			for (int i = 1; i <= others; i++)
				send_to(i, 0);
			send_to(0, 0);
			now += 5 * S;
			CHECK_INT(others == 0 ? finish_status(0, 504, -1) : finish(0, RSTAR_OUTCOME_TIMEOUT),
					  round < 2 ? RETRY : RSTAR_VERDICT_FAIL);
			for (int i = 1; i <= others; i++)
				finish_status(i, 504, -1);
		}
	}
}

/* The endpoint is out of use, what asks for its /health gets a 502, too */
static void
try_it(void)
{
	int64_t		wake;

	while (rstar_route_probe(route, now, &wake) < 0)
		now = wake;
	rstar_route_probed(route, 0, RSTAR_HEALTH_REPLY, now);
}

static RstarVerdict
finish_away(int i)
{
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = 500,.retry_after = -1,.away = true};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static void
test_trials(void)
{
	static const int statuses[] = {502, 504, 0, 500};

	for (int k = 0; k < 4; k++)
	{
		int			status = statuses[k];
		int			trials = 0;
		RstarVerdict verdict;

		CASE(status == 500 ? "who is tried alone has the blame for what a server says" :
			 "who is tried alone, after an outage, is not to blame for what a gateway says");
		setup(1, 0, 2);
		trip(0);
		do
		{
			try_it();
			now += 250 * MS;
			CHECK_INT(send(0), 0);
			CHECK_INT(send(1), -1);
			verdict = status == 0 ? finish_away(0) : finish_status(0, status, -1);
			trials++;
		} while (verdict == RETRY && trials < 20);
		CHECK_INT(trials, status == 500 ? 3 : 20);
		CHECK(rstar_route_unavailable(route, now, 60 * S) == (status != 500));
	}

	CASE("it lets another be the next trial");
	setup(1, 0, 2);
	trip(0);
	try_it();
	CHECK_INT(send(0), 0);
	finish_status(0, 502, -1);
	try_it();
	CHECK_INT(send(0), -1);
	CHECK_INT(wake_of(0), now + 250 * MS);
	CHECK_INT(send(1), 0);
	finish(1, RSTAR_OUTCOME_ANSWER);

	CASE("... not where there is another endpoint");
	setup(2, 0, 2);
	trip(0);
	try_it();
	send_to(0, 0);
	finish_status(0, 502, -1);
	CHECK(samples[0].not_before <= now + S);

	CASE("once others are answered it is");
	setup(1, 0, 2);
	trip(0);
	for (int round = 0; round < 3; round++)
	{
		try_it();
		send_to(0, 0);
		CHECK_INT(finish_status(0, 502, -1), RETRY);
	}
	CHECK_INT(samples[0].failures, 0);
	for (int round = 0; round < 3; round++)
	{
		now += S;
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_ANSWER);
		send_to(0, 0);
		CHECK_INT(finish_status(0, 502, -1), round < 2 ? RETRY : RSTAR_VERDICT_FAIL);
	}

	CASE("whoever was answered, by a refusal, too: then it is");
	setup(1, 0, 2);
	trip(0);
	try_it();
	send_to(1, 0);
	finish_status(1, 400, -1);
	for (int round = 0; round < 3; round++)
	{
		now += S;
		send_to(0, 0);
		CHECK_INT(finish_status(0, 502, -1), round < 2 ? RETRY : RSTAR_VERDICT_FAIL);
	}

	CASE("half a minute between trials: who waits all the time does not wait for ever");
	for (int wanted = 0; wanted <= 1; wanted++)
	{
		setup(1, 0, 2);
		trip(0);
		for (int round = 0; round < 3; round++)
		{
			for (int i = 0; i < 29; i++)
			{
				now += S;
				if (wanted)
					rstar_route_wanted(route, now);
			}
			try_it();
			send_to(0, 0);
			CHECK_INT(finish_status(0, 502, -1), RETRY);
		}
		CHECK_INT(rstar_route_unavailable(route, now, 60 * S), wanted);
	}

	CASE("time-outs of a gateway make its 502 an outage: who waited in line, and who did not");
	for (int answers = 0; answers <= 2; answers += 2)
	{
		setup(1, 0, 2);
		for (int i = 10; i < 20; i++)
			send_to(i, 0);
		for (int i = 0; i < answers; i++)
			finish(10 + i, RSTAR_OUTCOME_ANSWER);
		now += 5 * S;
		for (int i = 12; i < 15; i++)
			CHECK_INT(finish_status(i, 504, -1), RETRY);
		send_to(0, 0);
		CHECK_INT(finish_status(0, 502, -1), RETRY);
		CHECK_INT(samples[0].failures, 0);
	}
}

static RstarVerdict
finish_nowhere(int i)
{
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_TRANSPORT,.retry_after = -1,.refused = true,.nowhere = true};

	return rstar_route_finished(route, &samples[i], &outcome, now);
}

static RstarVerdict
send_nowhere(int i, int endpoint)
{
	send_to(i, endpoint);
	return finish_nowhere(i);
}

static void
test_nowhere(void)
{
	CASE("3 times in a row nobody was there, for one request alone: open");
	setup(1, 0, 20);
	for (int i = 0; i < 3; i++)
	{
		CHECK_STR(state(0).state, "closed");
		CHECK_INT(send_nowhere(0, 0), RETRY);
	}
	CHECK_STR(state(0).state, "open");

	CASE("something else came in between: closed");
	setup(1, 0, 20);
	for (int i = 0; i < 10; i++)
	{
		send_nowhere(0, 0);
		send_nowhere(0, 0);
		send_to(0, 0);
		finish(0, RSTAR_OUTCOME_TRANSPORT);
	}
	CHECK_STR(state(0).state, "closed");

	CASE("nobody was ever there: at no endpoint");
	setup(2, 0, 20);
	CHECK(!rstar_route_is_nowhere(route));
	CHECK_INT(rstar_route_gives_up(route, 4 * S), -1);
	send_nowhere(0, 0);
	CHECK(!rstar_route_is_nowhere(route));
	CHECK_INT(rstar_route_gives_up(route, 4 * S), now + 4 * S);
	send_to(0, 1);
	finish(0, RSTAR_OUTCOME_TIMEOUT);
	CHECK(!rstar_route_is_nowhere(route));
	send_nowhere(0, 1);
	CHECK(rstar_route_is_nowhere(route));

	CASE("... until one replies");
	send_to(0, 1);
	finish_status(0, 503, -1);
	CHECK(rstar_route_heard(route, 1));
	send_nowhere(0, 1);
	CHECK(!rstar_route_is_nowhere(route));

	CASE("... since the server was altered, if it is not known better");
	rstar_route_altered(route, now);
	CHECK(rstar_route_is_nowhere(route));
	rstar_route_hear(route, 0);
	CHECK(!rstar_route_is_nowhere(route));
}

int
main(void)
{
	static const int ways[] = {500, 502, 504, BREAKS};

	for (int i = 0; i < 4; i++)
	{
		test_outage(ways[i]);
		test_poison(ways[i]);
		test_going(ways[i]);
	}
	test_gateway();
	test_alone();
	test_refused();
	test_late();
	test_trials();
	test_nowhere();
	rstar_route_free(route);
	return check_end("blame_test");
}
