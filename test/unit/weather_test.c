/*-------------------------------------------------------------------------
 *
 * weather_test.c
 *		Unit tests of routes: small simulations of servers in trouble, and
 *		random sequences under invariants.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"

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
			rstar_route_probed(route, endpoint,
							   servers[endpoint].mode == SERVES ? RSTAR_HEALTH_WELL : RSTAR_HEALTH_MUTE, now);
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

/*
 * Servers that take a request, and break its connection a second later, while
 * their /health is fine: the time until they are unavailable, or -1.  As
 * send.c does it: that is asked before anything is sent again.
 */
static int64_t
until_unavailable(int n, int max_in_flight, int requests_there)
{
	int64_t		start;

	setup(n, max_in_flight, 2);
	start = now;
	for (int i = 0; i < 20; i++)
		samples[i].request = (uint32_t) (i % requests_there);
	for (; now < start + 200 * S; now += 10 * MS)
	{
		int			endpoint;
		int64_t		wake;

		for (int i = 0; i < 20; i++)
		{
			if (samples[i].endpoint >= 0 && samples[i].sent_at + 1 * S <= now)
				CHECK_INT(finish(i, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
		}
		while ((endpoint = rstar_route_probe(route, now, &wake)) >= 0)
			rstar_route_probed(route, endpoint, RSTAR_HEALTH_WELL, now);
		if (rstar_route_unavailable(route, now, 60 * S))
			return now - start;
		for (int i = 0; i < 20; i++)
		{
			if (samples[i].endpoint < 0)
				(void) send(i);
		}
	}
	return -1;
}

static void
test_broken(void)
{
	for (int n = 1; n <= 3; n++)
	{
		for (int max_in_flight = 0; max_in_flight <= 8; max_in_flight++)
		{
			for (int requests_there = 1; requests_there <= 20; requests_there++)
			{
				int64_t		took;
				char		name[100];

				snprintf(name, sizeof(name), "only broken connections: %d endpoints, max_in_flight %d, %d requests",
						 n, max_in_flight, requests_there);
				CASE(name);
				took = until_unavailable(n, max_in_flight, requests_there);
				CHECK(took >= 60 * S && took <= 90 * S);
			}
		}
	}
}

/* What a sample has gone through, for the bounds */
typedef struct Life
{
	int			attempts;		/* ends that use up an attempt */
	int			others;			/* in flight there when it was sent, ... */
	int64_t		answered;		/* and what had been answered there */
	bool		waited;			/* for others, of which some were answered */
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
	outcome.kind = (RstarOutcomeKind) (any() % 8);
	outcome.status = statuses[any() % 15];
	outcome.retry_after = (int) (any() % 4) - 1;
	outcome.unknown_model = outcome.status == 404 && any() % 2;
	outcome.quota = outcome.kind == RSTAR_OUTCOME_STATUS && outcome.status == 429 &&
		any() % 8 == 0;
	return outcome;
}

/* "used": attempts, before this one ended */
static void
check_life(int i, Life *life, const RstarOutcome *outcome, RstarVerdict verdict,
		   int n, int retries, int used)
{
	int			status = outcome->kind == RSTAR_OUTCOME_STATUS ? outcome->status : 0;
	bool		refusal = status == 401 || status == 403 || (status != 0 && outcome->unknown_model) ||
		outcome->kind == RSTAR_OUTCOME_UNTRUSTED;
	bool		pushed = (status == 408 || status == 429 || status == 503) && !outcome->quota;

	CHECK_INT(samples[i].endpoint, -1);
	if (outcome->kind == RSTAR_OUTCOME_ANSWER)
		CHECK_INT(verdict, RSTAR_VERDICT_DONE);
	else if ((outcome->kind == RSTAR_OUTCOME_TIMEOUT || status == 504) && life->waited)
		CHECK_INT(verdict, RSTAR_VERDICT_RETRY);
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
	else if ((status == 502 || status == 504) && samples[i].failures == used)
		CHECK_INT(verdict, RSTAR_VERDICT_RETRY);	/* an outage behind a gateway */
	else if (outcome->kind != RSTAR_OUTCOME_TRANSPORT && outcome->kind != RSTAR_OUTCOME_LOST)
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
	int64_t		before;
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
			int64_t		answered = state(samples[i].endpoint).answered - lives[i].answered;
			int			used = samples[i].failures;
			RstarVerdict verdict;

			lives[i].waited = answered > 0 && answered < lives[i].others;
			in_flight[samples[i].endpoint]--;
			verdict = rstar_route_finished(route, &samples[i], &outcome, now);
			check_life(i, &lives[i], &outcome, verdict, n, retries, used);
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
					  strcmp(before.state, "doubted") == 0 ||
					  strcmp(before.state, "misconfigured") == 0);
				rstar_route_sent(route, &samples[i], chosen, now);
				lives[i].others = before.in_flight;
				lives[i].answered = before.answered;
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
			CHECK(strcmp(state(i).state, "open") != 0);
			if (any() % 4)
				rstar_route_probed(route, i, (RstarHealth) (any() % 6), now);
		}
		while ((i = rstar_route_lost(route, now, &before)) >= 0)
		{
			CHECK(before <= now);
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
			RstarRouteConfig config = {.max_in_flight = any() % 2 ? 0 : 8,.retries = 2};
			const char *next[8];
			int			map[8];
			int			m = 1 + (int) (any() % 6);

			first = (int) (any() % 3);
			for (int e = 0; e < m; e++)
				next[e] = urls[(first + e * (step % 2 ? 1 : 3)) % 8];	/* no two alike */
			CHECK(rstar_route_update(route, next, m, &config, map));
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
				rstar_route_probed(route, i, (RstarHealth) (any() % 6), now);
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

int
main(void)
{
	test_simulations();
	test_broken();
	test_random();
	test_random_updates();
	rstar_route_free(route);
	return check_end("weather_test");
}
