/*-------------------------------------------------------------------------
 *
 * limit_test.c
 *		Unit tests of the limit: whole sets against simulated servers of 1 to
 *		1,024 slots, with and without a bound of their queue.
 *
 * Each of m requests that run makes progress at 1 / (base + more * m) of a mean
 * reply a second.  2.79 and 0.0465 give 11.1, 17.4 and 19.2 pairs a second for
 * 64, 256 and 512 at once, as vLLM 0.26 with Qwen3-14B on an H200 did.  Replies
 * have 128 tokens and a geometric number more, of 200 in the mean.
 *
 *		limit_test bench	prints the table
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "routes.h"

#define NEVER INT64_MAX
#define TIMEOUT (300 * S)

typedef struct Server
{
	int			slots;
	int			queue;			/* more waiting ones are refused; -1: none are */
	double		base;			/* seconds */
	double		more;
	bool		even;			/* all replies are equally long */
	int64_t		proxy;			/* so long a proxy waits, us; 0: there is none */
} Server;

typedef enum Stage
{
	WAITS,						/* here, to be sent (again) */
	REFUSED,					/* on its way back */
	QUEUED,
	RUNS,
	ENDED
} Stage;

typedef struct Job
{
	Stage		stage;
	int			number;			/* of its sending */
	double		length;			/* of means */
	double		end;			/* in the server's progress */
	int64_t		back_at;		/* REFUSED */
} Job;

typedef struct Result
{
	double		seconds;
	int			refused;
	int			timed_out;
	int			recalled;
	int			failed;
	int			most;			/* in flight */
	int			limit;			/* at the end */
	RstarLearntLimit learnt;
} Result;

static Job	jobs[MAX_SAMPLES];
static int	order[MAX_SAMPLES * 8];	/* jobs by number */
static int	numbers;
static int	running;
static int	queued;
static double progress;			/* what each that runs has made so far */

static void
setup_jobs(const Server *server, int n)
{
	for (int i = 0; i < n; i++)
	{
		double		x = ((double) (any() % 1000000) + 1) / 1000001.0;

		jobs[i] = (Job) {.stage = WAITS};
		jobs[i].length = server->even ? 1 : (128 - 200 * log(x)) / 328;
	}
	numbers = running = queued = 0;
	progress = 0;
}

/* The first in the queue runs */
static void
start_next(void)
{
	for (int k = 0; k < numbers; k++)
	{
		Job		   *job = &jobs[order[k]];

		if (job->stage != QUEUED || job->number != k)
			continue;
		job->stage = RUNS;
		job->end = progress + job->length;
		queued--;
		running++;
		return;
	}
}

static void
arrive(const Server *server, int i)
{
	Job		   *job = &jobs[i];

	job->number = numbers;
	order[numbers++] = i;
	if (server->queue >= 0 && running == server->slots && queued >= server->queue)
	{
		job->stage = REFUSED;
		job->back_at = now + 2 * MS;
		return;
	}
	job->stage = QUEUED;
	queued++;
	if (running < server->slots)
		start_next();
}

static void
leave(const Server *server, Job *job, Stage next)
{
	if (job->stage == RUNS)
		running--;
	else
		queued--;
	job->stage = next;
	if (queued > 0 && running < server->slots)
		start_next();
}

/* As the worker does it */
static int
take_back(const Server *server)
{
	int			taken = 0;
	int			ahead = 0;

	if (!rstar_route_strained(route, 0, now))
		return 0;
	for (int k = 0; k < numbers; k++)
	{
		int			i = order[k];

		if (jobs[i].number != k || (jobs[i].stage != QUEUED && jobs[i].stage != RUNS))
			continue;
		if (rstar_route_late(route, &samples[i], ahead, now))
		{
			leave(server, &jobs[i], WAITS);
			rstar_route_recalled(route, &samples[i]);
			taken++;
		}
		else
			ahead++;
	}
	return taken;
}

static void
send_all(const Server *server, int n, int64_t *wake)
{
	for (int i = 0; i < n; i++)
	{
		int64_t		at;

		if (jobs[i].stage != WAITS)
			continue;
		if (samples[i].not_before > now)
		{
			*wake = samples[i].not_before < *wake ? samples[i].not_before : *wake;
			continue;
		}
		if (rstar_route_choose(route, &samples[i], now, &at) < 0)
		{
			*wake = at < *wake ? at : *wake;
			break;
		}
		rstar_route_sent(route, &samples[i], 0, now);
		arrive(server, i);
	}
}

/* Ours, or that of a proxy, which closes its connection to the server then */
static int64_t
patience(const Server *server)
{
	return server->proxy > 0 ? server->proxy : TIMEOUT;
}

/* What has come to its end by now; returns how many are over for good */
static int
end_all(const Server *server, int n, Result *result)
{
	int			ended = 0;

	for (int i = 0; i < n; i++)
	{
		Job		   *job = &jobs[i];
		RstarVerdict verdict;

		if (job->stage == RUNS && job->end <= progress + 1e-9)
		{
			leave(server, job, ENDED);
			verdict = finish(i, RSTAR_OUTCOME_ANSWER);
		}
		else if (job->stage == REFUSED && job->back_at <= now)
		{
			job->stage = WAITS;
			result->refused++;
			verdict = finish_status(i, 503, -1);
		}
		else if ((job->stage == RUNS || job->stage == QUEUED) && samples[i].sent_at + patience(server) <= now)
		{
			leave(server, job, WAITS);
			result->timed_out++;
			verdict = server->proxy > 0 ? finish_status(i, 504, -1) : finish(i, RSTAR_OUTCOME_TIMEOUT);
		}
		else
			continue;
		if (verdict == RSTAR_VERDICT_RETRY)
			continue;
		job->stage = ENDED;
		ended++;
		result->failed += verdict == RSTAR_VERDICT_FAIL;
	}
	return ended;
}

/* When something happens next, and what has been made until then */
static void
go_on(const Server *server, int n, int64_t wake)
{
	double		pace = server->base + server->more * running;
	double		first = INFINITY;
	int64_t		until = wake;

	for (int i = 0; i < n; i++)
	{
		int64_t		end = NEVER;

		if (jobs[i].stage == RUNS && jobs[i].end < first)
			first = jobs[i].end;
		if (jobs[i].stage == REFUSED)
			end = jobs[i].back_at;
		else if (jobs[i].stage == RUNS || jobs[i].stage == QUEUED)
			end = samples[i].sent_at + patience(server);
		until = end < until ? end : until;
	}
	if (first < INFINITY && now + (int64_t) ceil((first - progress) * pace * 1e6) < until)
		until = now + (int64_t) ceil((first - progress) * pace * 1e6);
	if (until <= now)
		until = now + 1;
	progress += (double) (until - now) / 1e6 / pace;
	now = until;
}

/* n pairs at once, with a limit that is given, or found from what is known */
static Result
score(const Server *server, int n, int given, const RstarLearntLimit *known)
{
	RstarRouteConfig config = {.max_in_flight = given,.retries = 2,.timeout = TIMEOUT};
	Result		result = {0};
	int			left = n;
	int64_t		start;
	int			map[1];

	setup(1, given, 2);
	CHECK(rstar_route_update(route, urls, 1, &config, map));
	if (known != NULL)
		rstar_route_learn(route, 0, known);
	setup_jobs(server, n);
	start = now;
	while (left > 0 && now < start + 100000 * S)
	{
		int64_t		wake = NEVER;
		int64_t		at;

		left -= end_all(server, n, &result);
		if (left == 0)
			break;
		result.recalled += take_back(server);
		(void) rstar_route_turn(route, now, &at);
		while (rstar_route_probe(route, now, &at) >= 0)
			rstar_route_probed(route, 0, true, now);
		wake = at < wake ? at : wake;
		send_all(server, n, &wake);
		(void) rstar_route_turn(route, now, &at);
		wake = at < wake ? at : wake;
		if (state(0).in_flight > result.most)
			result.most = state(0).in_flight;
		go_on(server, n, wake);
	}
	CHECK_INT(left, 0);
	result.seconds = (double) (now - start) / 1e6;
	result.limit = state(0).limit;
	rstar_route_learnt(route, 0, &result.learnt);
	return result;
}

/* Replies are as long for all that is compared */
static Result
again(const Server *server, int n, int given, const RstarLearntLimit *known)
{
	seed = 88172645463325252;
	return score(server, n, given, known);
}

static double
best_of(const Server *server, int n)
{
	static const int limits[] = {1, 4, 64, 256, 512, 1024};
	double		best = INFINITY;

	for (int i = 0; i < 6; i++)
	{
		Result		result;

		/* what is given is taken as it is, time-outs and refusals, too */
		if (limits[i] > server->slots * 2 && limits[i] > 4)
			continue;
		result = again(server, n, limits[i], NULL);
		if (result.seconds < best && result.failed == 0)
			best = result.seconds;
	}
	return best;
}

#define ANY_LENGTH false, 0
#define EVEN true, 0
#define H200 2.79, 0.0465

static const Server servers[] = {
	{1, -1, 2, 0, ANY_LENGTH}, {1, 3, 2, 0, ANY_LENGTH}, {1, -1, 5, 0, ANY_LENGTH},
	{1, 3, 5, 0, ANY_LENGTH}, {1, -1, 20, 0, ANY_LENGTH}, {1, -1, 60, 0, ANY_LENGTH},
	{4, -1, 2, 0, ANY_LENGTH}, {4, -1, 5, 0, ANY_LENGTH}, {4, 12, 5, 0, ANY_LENGTH}, {4, -1, 5, 0, EVEN},
	{64, -1, H200, ANY_LENGTH}, {64, 16, H200, ANY_LENGTH},
	{256, -1, H200, ANY_LENGTH}, {256, 64, H200, ANY_LENGTH}, {512, -1, H200, ANY_LENGTH},
	{1024, -1, H200, ANY_LENGTH}, {1024, 0, H200, ANY_LENGTH},
	{1024, -1, H200, EVEN}, {1024, -1, 0.5, 0.0083, EVEN}
};
#define NSERVERS ((int) (sizeof(servers) / sizeof(servers[0])))

static void
name_case(const Server *server, int n, const char *what)
{
	char		name[120];

	snprintf(name, sizeof(name), "%s: %d pairs, %d slots of %.1f s, queue %d%s", what, n,
			 server->slots, server->base, server->queue, server->even ? ", even" : "");
	CASE(name);
}

/* What holds of any server, whatever is asked */
static void
check_set(const Server *server, int n)
{
	double		best = best_of(server, n);
	Result		cold = again(server, n, 0, NULL);
	Result		warm = again(server, n, 0, &cold.learnt);

	name_case(server, n, "cold");
	CHECK_INT(cold.failed, 0);
	CHECK_INT(cold.timed_out, 0);
	CHECK(best >= cold.seconds * (n <= 100 ? 0.95 : server->even ? 0.90 : server->slots > 512 ? 0.95 : 0.97));
	/* the first wave stops at once; then one is refused for some answers */
	CHECK(server->queue < 0 || cold.refused <= 64 + n / 3);

	name_case(server, n, "warm");
	CHECK_INT(warm.failed, 0);
	CHECK_INT(warm.timed_out, 0);
	CHECK(best >= warm.seconds * (server->even && n > 1000 ? 0.95 : 0.98));
	CHECK(server->queue < 0 || warm.refused <= cold.refused);
}

static void
test_servers(void)
{
	static const int sets[] = {100, 600, 1000};

	for (int i = 0; i < NSERVERS; i++)
	{
		for (int j = 0; j < 3; j++)
		{
			/* where two replies take half the timeout, chance decides */
			if (servers[i].base < 60)
				check_set(&servers[i], sets[j]);
		}
	}
}

static void
test_lines(void)
{
	for (int i = 0; i < NSERVERS; i++)
	{
		const Server *server = &servers[i];
		Result		result;

		if (server->queue >= 0 || server->slots > 64 || server->base >= 20)
			continue;
		result = again(server, 3000, 0, NULL);
		name_case(server, 3000, "what only queues gets a small multiple of its slots");
		CHECK(result.limit >= server->slots && result.limit <= 8 * server->slots);
		CHECK_INT(result.timed_out, 0);
		CHECK(result.recalled <= 256);
		result = again(server, 600, 0, &result.learnt);
		/* it is doubted now and then, and a sample too many is taken back */
		CHECK(result.most <= 32 + 4 * server->slots);
		CHECK(result.recalled <= 2);
	}

	for (int i = 0; i < NSERVERS; i++)
	{
		const Server *server = &servers[i];
		Result		result;

		if (server->queue >= 0 || server->slots < 1024)
			continue;
		result = again(server, 3000, 0, NULL);
		name_case(server, 3000, "what works on all at once gets all");
		CHECK(result.limit >= 1000);
		CHECK_INT(result.recalled, 0);
	}

	CASE("what only queued is doubted after a while");
	{
		RstarLearntLimit learnt = {.limit = 8,.queues = true,.patience = 1,.latency = 5 * S};
		const Server server = {1024, -1, H200, ANY_LENGTH};
		Result		result;

		learnt.doubt_at = INT64_MAX;
		result = again(&server, 3000, 0, &learnt);
		CHECK_INT(result.limit, 8);
		learnt.doubt_at = 0;
		result = again(&server, 3000, 0, &learnt);
		CHECK(result.limit >= 1000);
	}
}

/* What is in flight is lost when a proxy gives up, and that is found out once */
static void
test_proxies(void)
{
	static const Server behind[] = {
		{4, -1, 0.5, 0, true, 5 * S}, {4, -1, 0.5, 0, false, 5 * S},
		{1, -1, 0.5, 0, false, 5 * S}, {16, -1, 0.5, 0, false, 5 * S},
		{4, -1, 5, 0, false, 60 * S}, {1, -1, 5, 0, false, 60 * S},
		{64, -1, 0.5, 0, false, 5 * S}
	};

	for (int i = 0; i < (int) (sizeof(behind) / sizeof(behind[0])); i++)
	{
		for (int given = 0; given <= 256; given += 256)
		{
			const Server *server = &behind[i];
			double		in_time = server->slots / server->base * (double) server->proxy / 1e6;
			Result		result = again(server, 600, given, NULL);

			name_case(server, 600, given ? "a proxy, with max_in_flight" : "a proxy");
			CHECK_INT(result.failed, 0);
			CHECK(result.seconds <= 1.2 * 600 * server->base / server->slots + 2e-6 * (double) server->proxy);
			if (in_time < 256)
				CHECK(result.limit <= in_time);
			/* most wait at first only; what is given, is tried again and again */
			CHECK(given > 0 || result.timed_out <= 256);
		}
	}
}

/* A wave of 64, of which a router refuses all but some, and then is shut for a minute */
static void
test_shut(void)
{
	for (int answered = 0; answered <= 40; answered += 20)
	{
		int64_t		wake;

		CASE("who was shut after a wave gets half of what he had answered");
		setup(1, 0, 2);
		for (int i = 0; i < 32; i++)
			CHECK_INT(send(i), 0);
		now += 50 * MS;
		CHECK(rstar_route_turn(route, now, &wake));
		for (int i = 32; i < 64; i++)
			CHECK_INT(send(i), 0);
		now += 500 * MS;
		finish_status(0, 503, -1);
		for (int i = 1; i <= answered; i++)
			finish(i, RSTAR_OUTCOME_ANSWER);
		for (int i = answered + 1; i < 64; i++)
			finish_status(i, 503, -1);
		for (int i = 0; i < 30; i++)
		{
			now += 2 * S;
			CHECK_INT(send(70 + i), 0);
			finish_status(70 + i, 503, -1);
		}
		now += 2 * S;
		CHECK_INT(state(0).limit, 4);
		window(300 * MS);
		window(300 * MS);
		window(300 * MS);
		window(300 * MS);
		if (answered > 0)
			CHECK(state(0).limit >= answered / 2 && state(0).limit <= answered / 2 + 8);
		else
			CHECK(state(0).limit >= 32);
	}
}

static void
test_wave(void)
{
	int64_t		wake;

	CASE("the first wave: 32, and twice as many every 50 ms, up to 256");
	setup(1, 0, 2);
	for (int limit = 32; limit <= 256; limit *= 2)
	{
		CHECK_INT(state(0).limit, limit);
		for (int i = state(0).in_flight; i < limit; i++)
		{
			CHECK(!rstar_route_turn(route, now, &wake));
			CHECK(wake == INT64_MAX);
			CHECK_INT(send(i), 0);
		}
		CHECK(!rstar_route_turn(route, now, &wake));
		CHECK(limit == 256 ? wake == INT64_MAX : wake == now + 50 * MS);
		now += 50 * MS;
		CHECK_INT(rstar_route_turn(route, now, &wake), limit < 256);
	}

	CASE("the first wave ends with a refusal");
	setup(1, 0, 2);
	for (int i = 0; i < 32; i++)
		CHECK_INT(send(i), 0);
	finish_status(31, 503, -1);
	now += 1 * S;
	CHECK(!rstar_route_turn(route, now, &wake));
	CHECK(wake == INT64_MAX);
	CHECK_INT(state(0).limit, 22);

	CASE("what is given has no wave, and nothing is taken back of it");
	setup(1, 32, 2);
	for (int i = 0; i < 32; i++)
		CHECK_INT(send(i), 0);
	CHECK(!rstar_route_turn(route, now, &wake));
	CHECK(wake == INT64_MAX);
	now += 1000 * S;
	finish(0, RSTAR_OUTCOME_ANSWER);
	CHECK(!rstar_route_strained(route, 0, now));
}

static void
table(void)
{
	static const int sets[] = {100, 600, 1000, 3000};

	printf("             reply s      |               |           of best  refused time-outs taken back   limit\n"
		   "slots queue one  more even | pairs  best s | cold  warm | cold warm | cold warm | cold warm | cold warm\n");
	for (int i = 0; i < NSERVERS; i++)
	{
		for (int j = 0; j < 4; j++)
		{
			const Server *server = &servers[i];
			double		best = best_of(server, sets[j]);
			Result		cold = again(server, sets[j], 0, NULL);
			Result		warm = again(server, sets[j], 0, &cold.learnt);

			printf("%5d %5d %4.1f %5.3f %3s | %5d %7.1f | %.3f %.3f | %4d %4d | %4d %4d | %4d %4d | %4d %4d\n",
				   server->slots, server->queue, server->base, server->more,
				   server->even ? "yes" : "no", sets[j], best, best / cold.seconds, best / warm.seconds,
				   cold.refused, warm.refused, cold.timed_out, warm.timed_out, cold.recalled, warm.recalled,
				   cold.limit, warm.limit);
		}
	}
}

int
main(int argc, char **argv)
{
	(void) argv;
	if (argc > 1)
	{
		table();
		return 0;
	}
	test_wave();
	test_servers();
	test_lines();
	test_proxies();
	test_shut();
	return check_end("limit_test");
}
