/*-------------------------------------------------------------------------
 *
 * watch_test.c
 *		Unit tests of routes: endpoints that fall silent, go, or are about to.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"

/* What the endpoints' /health says; and what became of that */
static RstarHealth health[8];
static int	asked[8];
static int	lost[8];
static int64_t lost_before;

/* A worker's turn, and back again for what is lost */
static void
turn(void)
{
	int64_t		wake;
	int64_t		before;
	int			endpoint;

	while ((endpoint = rstar_route_lost(route, now, &before)) >= 0)
	{
		lost[endpoint]++;
		lost_before = before;
		for (int i = 0; i < MAX_SAMPLES; i++)
		{
			if (samples[i].endpoint == endpoint && samples[i].sent_at < before)
				CHECK_INT(finish(i, RSTAR_OUTCOME_LOST), RSTAR_VERDICT_RETRY);
		}
	}
	while ((endpoint = rstar_route_probe(route, now, &wake)) >= 0)
	{
		asked[endpoint]++;
		if (health[endpoint] != RSTAR_HEALTH_MUTE)
			rstar_route_probed(route, endpoint, health[endpoint], now);
		else
		{
			/* it takes its time */
			now += 3 * S;
			rstar_route_probed(route, endpoint, RSTAR_HEALTH_MUTE, now);
		}
	}
	CHECK(wake > now);
}

/* Turns every tenth of a second, for so long, or until something is lost */
static int64_t
run(int64_t time)
{
	int64_t		start = now;

	while (now - start < time && lost[0] == 0)
	{
		turn();
		now += 100 * MS;
	}
	return now - start;
}

static void
begin(int n, RstarHealth first)
{
	setup(n, 64, 2);
	memset(asked, 0, sizeof(asked));
	memset(lost, 0, sizeof(lost));
	for (int i = 0; i < 8; i++)
		health[i] = RSTAR_HEALTH_WELL;
	health[0] = first;
}

/* Sample i is answered by endpoint 0 after so long, a turn each tenth */
static void
answer(int i, int64_t latency)
{
	send_to(i, 0);
	for (int64_t end = now + latency; now < end;)
	{
		turn();
		now += 100 * MS;
	}
	CHECK_INT(finish(i, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
}

static void
test_own(void)
{
	RstarOutcome own = {.kind = RSTAR_OUTCOME_STATUS,.status = 503,.retry_after = -1,.own = true};

	CASE("what fails here, for want of a socket, is no sign of life");
	for (int reply = 0; reply <= 1; reply++)
	{
		begin(1, RSTAR_HEALTH_WELL);
		send_to(0, 0);
		send_to(1, 0);
		now += 4 * S;
		own.own = reply == 0;
		CHECK_INT(rstar_route_finished(route, &samples[1], &own, now), RSTAR_VERDICT_RETRY);
		(void) run(3 * S);
		CHECK_INT(asked[0], reply == 0);
	}
}

/*
 * The listening socket is closed: 5 s, or three times the slowest answer of
 * late, and never before three refusals.
 */
static void
test_gone(void)
{
	static const struct
	{
		int64_t		latency;
		int64_t		least;
		int64_t		most;
	}			rows[] = {
		{100 * MS, 9 * S, 10 * S}, {1 * S, 9 * S, 10 * S}, {4 * S, 12 * S, 13 * S},
		{20 * S, 60 * S, 61 * S}, {60 * S, 180 * S, 181 * S}
	};

	for (size_t row = 0; row < sizeof(rows) / sizeof(rows[0]); row++)
	{
		int64_t		after;

		CASE("gone: after three refusals, and three times the slowest answer");
		begin(1, RSTAR_HEALTH_WELL);
		answer(0, rows[row].latency);
		for (int i = 1; i < 33; i++)
			send_to(i, 0);
		health[0] = RSTAR_HEALTH_REFUSED;
		after = run(600 * S);
		CHECK(after >= rows[row].least && after <= rows[row].most);
		CHECK_INT(lost[0], 1);
		CHECK_INT(state(0).in_flight, 0);
		CHECK_STR(state(0).state, "open");
		for (int i = 1; i < 33; i++)
			CHECK_INT(samples[i].failures, 0);
	}

	CASE("gone: without any answer so far, after 30 s");
	begin(1, RSTAR_HEALTH_REFUSED);
	send_to(0, 0);
	CHECK(run(600 * S) >= 30 * S);
	CHECK_INT(lost[0], 1);

	CASE("gone: the slowest of the last ones counts, not the last");
	begin(1, RSTAR_HEALTH_WELL);
	answer(0, 10 * S);
	for (int i = 1; i < 20; i++)
		answer(i, 100 * MS);
	send_to(100, 0);
	health[0] = RSTAR_HEALTH_REFUSED;
	CHECK(run(600 * S) >= 20 * S);

	CASE("gone: its sample is suspected only when that is so each time");
	begin(1, RSTAR_HEALTH_WELL);
	answer(0, 100 * MS);
	for (int i = 0; i < 3; i++)
	{
		send_to(1, 0);
		CHECK_INT(finish(1, RSTAR_OUTCOME_LOST), RSTAR_VERDICT_RETRY);
		answer(0, 100 * MS);
	}
	CHECK_INT(samples[1].failures, 0);
	send_to(1, 0);
	(void) finish(1, RSTAR_OUTCOME_LOST);
	CHECK_INT(samples[1].failures, 1);
}

static void
test_not_gone(void)
{
	static const RstarHealth there[] = {
		RSTAR_HEALTH_WELL, RSTAR_HEALTH_REPLY, RSTAR_HEALTH_UNWELL, RSTAR_HEALTH_MUTE,
		RSTAR_HEALTH_NOT_ASKED
	};

	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
	{
		CASE("silence: who accepts connections is not gone, however long it takes");
		begin(1, there[i]);
		answer(0, 100 * MS);
		send_to(1, 0);
		(void) run(3600 * S);
		CHECK_INT(lost[0], 0);
		CHECK_INT(state(0).in_flight, 1);
		/* every 5 s at most, and 3 of them when it does not answer */
		CHECK(asked[0] >= 400 && asked[0] <= 720);
	}

	CASE("silence: a listening socket that is closed while answers come");
	begin(1, RSTAR_HEALTH_WELL);
	for (int i = 0; i < 60; i++)
		send_to(i, 0);
	now += 3 * S;
	for (int i = 0; i < 10; i++)
		finish(i, RSTAR_OUTCOME_ANSWER);
	health[0] = RSTAR_HEALTH_REFUSED;
	for (int i = 10; i < 60; i++)
	{
		/* nearly three times as long as all of them */
		(void) run(8900 * MS);
		CHECK_INT(finish(i, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	}
	CHECK_INT(lost[0], 0);

	CASE("silence: nobody waits, nobody asks");
	begin(1, RSTAR_HEALTH_REFUSED);
	answer(0, 100 * MS);
	(void) run(60 * S);
	CHECK_INT(asked[0], 0);

	CASE("silence: refused once, and there again");
	begin(1, RSTAR_HEALTH_WELL);
	answer(0, 20 * S);
	send_to(1, 0);
	health[0] = RSTAR_HEALTH_REFUSED;
	(void) run(6 * S);
	health[0] = RSTAR_HEALTH_WELL;
	(void) run(10 * S);
	CHECK_INT(finish(1, RSTAR_OUTCOME_ANSWER), RSTAR_VERDICT_DONE);
	CHECK_INT(lost[0], 0);
}

static void
test_restarted(void)
{
	CASE("another process: what the last one had is lost");
	begin(1, RSTAR_HEALTH_WELL);
	answer(0, 20 * S);
	send_to(1, 0);
	health[0] = RSTAR_HEALTH_REFUSED;
	(void) run(6 * S);
	health[0] = RSTAR_HEALTH_WELL;
	CHECK(run(600 * S) <= 15 * S);
	CHECK_INT(lost[0], 1);
	CHECK_INT(samples[1].failures, 0);
	CHECK_STR(state(0).state, "closed");

	CASE("another process: what it was sent itself is not, and its answers change nothing");
	begin(1, RSTAR_HEALTH_WELL);
	answer(0, 2 * S);
	send_to(1, 0);
	health[0] = RSTAR_HEALTH_REFUSED;
	(void) run(6 * S);
	CHECK_STR(state(0).state, "doubted");
	health[0] = RSTAR_HEALTH_UNWELL;
	for (int i = 2; i < 10 && lost[0] == 0; i++)
	{
		send_to(i, 0);
		send_to(20, 0);
		now += 1 * S;
		finish(i, RSTAR_OUTCOME_ANSWER);
		turn();
		if (lost[0] == 0)
			finish(20, RSTAR_OUTCOME_CANCELLED);
	}
	CHECK_INT(lost[0], 1);
	CHECK_INT(samples[1].endpoint, -1);
	CHECK_INT(samples[20].endpoint, 0);
}

/* Two endpoints; one is in doubt */
static void
test_doubt(void)
{
	static const RstarHealth doubtful[] = {
		RSTAR_HEALTH_UNWELL, RSTAR_HEALTH_MUTE, RSTAR_HEALTH_REFUSED
	};

	for (size_t i = 0; i < sizeof(doubtful) / sizeof(doubtful[0]); i++)
	{
		CASE("doubt: nothing new goes there while there is another");
		begin(2, doubtful[i]);
		send_to(0, 0);
		send_to(1, 1);
		(void) run(11 * S);
		CHECK_STR(state(0).state, "doubted");
		CHECK_INT(state(0).in_flight, 1);
		for (int j = 2; send(j) >= 0; j++)
			CHECK_INT(samples[j].endpoint, 1);
		CHECK_INT(state(1).in_flight, state(1).limit);
		CHECK_INT(rstar_route_capacity(route, 1, now), 0);

		CASE("doubt: until it is well");
		health[0] = RSTAR_HEALTH_WELL;
		(void) run(5 * S);
		CHECK_STR(state(0).state, "closed");
		CHECK(send(1000) == 0);
	}

	CASE("doubt: when the other one is out of use, it is used");
	begin(2, RSTAR_HEALTH_UNWELL);
	send_to(0, 1);
	(void) run(11 * S);
	CHECK_STR(state(0).state, "doubted");
	trip(1);
	CHECK_INT(send(1), 0);
	CHECK(rstar_route_capacity(route, 1, now) > 0);

	CASE("doubt: an answer ends that of silence, but not that of 503");
	begin(1, RSTAR_HEALTH_MUTE);
	send_to(0, 0);
	send_to(1, 0);
	(void) run(9 * S);
	CHECK_STR(state(0).state, "doubted");
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK_STR(state(0).state, "closed");
	health[0] = RSTAR_HEALTH_UNWELL;
	(void) run(6 * S);
	finish(1, RSTAR_OUTCOME_ANSWER);
	CHECK_STR(state(0).state, "doubted");

	CASE("doubt: refused with nothing in flight, it is out of use");
	begin(2, RSTAR_HEALTH_REFUSED);
	send_to(0, 1);
	(void) run(16 * S);
	CHECK_STR(state(0).state, "open");
	CHECK_INT(asked[0] <= 4, 1);

	CASE("several: asked every 10 s while there is work, and not else");
	begin(2, RSTAR_HEALTH_WELL);
	for (int i = 0; i < 100; i++)
		answer(i, 1 * S);
	CHECK_INT(asked[0], 9);
	(void) run(100 * S);
	CHECK_INT(asked[0], 9);
}

/* /health means something else there */
static void
test_trial(void)
{
	CASE("trial: any reply lets one request through");
	begin(1, RSTAR_HEALTH_REPLY);
	trip(0);
	(void) run(3 * S);
	CHECK_STR(state(0).state, "closed");
	CHECK_INT(rstar_route_capacity(route, 1, now), 1);
	CHECK_INT(send(0), 0);
	CHECK_INT(send(1), -1);

	CASE("trial: its failure opens it again");
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK_STR(state(0).state, "open");
	(void) run(6 * S);
	CHECK_STR(state(0).state, "closed");

	CASE("trial: its answer lets others follow");
	CHECK_INT(send(2), 0);
	finish(2, RSTAR_OUTCOME_ANSWER);
	CHECK(rstar_route_capacity(route, 1, now) > 1);
	CHECK_INT(send(3), 0);
	finish(3, RSTAR_OUTCOME_TRANSPORT);
	CHECK_STR(state(0).state, "closed");

	CASE("trial: 503 does so after half a minute");
	begin(1, RSTAR_HEALTH_UNWELL);
	trip(0);
	(void) run(25 * S);
	CHECK_STR(state(0).state, "open");
	(void) run(10 * S);
	CHECK_INT(rstar_route_capacity(route, 1, now), 1);

	CASE("trial: besides what is in flight there, and silent");
	begin(1, RSTAR_HEALTH_REPLY);
	send_to(0, 0);
	trip(0);
	(void) run(3 * S);
	CHECK_INT(rstar_route_capacity(route, 1, now), 1);
}

int
main(void)
{
	test_own();
	test_gone();
	test_not_gone();
	test_restarted();
	test_doubt();
	test_trial();
	rstar_route_free(route);
	return check_end("watch_test");
}
