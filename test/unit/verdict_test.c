/*-------------------------------------------------------------------------
 *
 * verdict_test.c
 *		Unit tests of verdict.c: what the end of an attempt means, and when a
 *		server counts as unavailable.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "routes.h"
#include "worker/verdict.h"

/* What is written here by hand is the table of verdict.c, seen from outside */
typedef enum Sign
{
	NOTHING,
	ANSWER,
	FAILURE,
	REFUSAL						/* a failure; an answer when all refuse */
} Sign;

typedef enum Breaker
{
	IGNORES,
	CLOSES,
	COUNTS
} Breaker;

typedef enum Load
{
	STAYS,
	GROWS,
	SHRINKS,
	PAUSES						/* and shrinks */
} Load;

typedef struct Row
{
	const char *name;
	RstarClass	class;
	RstarOutcome outcome;
	Sign		sign;
	Breaker		breaker;
	Load		load;
	RstarVerdict verdict;		/* where there is another endpoint */
	int			used;			/* attempts */
} Row;

#define OF_KIND(kind) {RSTAR_OUTCOME_##kind, 0, -1, false, false, false, false, false, false, false, false}
#define OF_STATUS(status) {RSTAR_OUTCOME_STATUS, status, -1, false, false, false, false, false, false, false, false}
#define DONE RSTAR_VERDICT_DONE
#define RETRY RSTAR_VERDICT_RETRY
#define FAIL RSTAR_VERDICT_FAIL

static const Row rows[] = {
	{"200 understood", RSTAR_CLASS_ANSWER, OF_KIND(ANSWER), ANSWER, CLOSES, GROWS, DONE, 0},
	{"200 with junk", RSTAR_CLASS_NONSENSE, OF_KIND(BAD_REPLY), ANSWER, IGNORES, STAYS, RETRY, 1},
	{"200 as a status", RSTAR_CLASS_NONSENSE, OF_STATUS(200), ANSWER, IGNORES, STAYS, RETRY, 1},
	{"204", RSTAR_CLASS_NONSENSE, OF_STATUS(204), ANSWER, IGNORES, STAYS, RETRY, 1},
	{"299", RSTAR_CLASS_NONSENSE, OF_STATUS(299), ANSWER, IGNORES, STAYS, RETRY, 1},
	{"400 too long, shortened", RSTAR_CLASS_SHORTENED, {RSTAR_OUTCOME_STATUS, 400, -1, false, false, false, false, true, false, false, false},
	ANSWER, IGNORES, STAYS, RETRY, 0},
	{"200 cut by the context, shortened", RSTAR_CLASS_SHORTENED, {RSTAR_OUTCOME_ANSWER, 0, -1, false, false, false, false, true, false, false, false},
	ANSWER, IGNORES, STAYS, RETRY, 0},
	{"300", RSTAR_CLASS_REJECTED, OF_STATUS(300), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"301", RSTAR_CLASS_REJECTED, OF_STATUS(301), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"400", RSTAR_CLASS_REJECTED, OF_STATUS(400), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"402", RSTAR_CLASS_REJECTED, OF_STATUS(402), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"404", RSTAR_CLASS_REJECTED, OF_STATUS(404), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"413", RSTAR_CLASS_REJECTED, OF_STATUS(413), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"418", RSTAR_CLASS_REJECTED, OF_STATUS(418), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"422", RSTAR_CLASS_REJECTED, OF_STATUS(422), ANSWER, IGNORES, STAYS, FAIL, 0},
	{"403 quota", RSTAR_CLASS_QUOTA, {RSTAR_OUTCOME_STATUS, 403, -1, false, true, false, false, false, false, false, false}, ANSWER, IGNORES, STAYS, FAIL, 0},
	{"429 quota", RSTAR_CLASS_QUOTA, {RSTAR_OUTCOME_STATUS, 429, 5, false, true, false, false, false, false, false, false}, ANSWER, IGNORES, STAYS, FAIL, 0},
	{"400 unknown model", RSTAR_CLASS_REFUSAL, {RSTAR_OUTCOME_STATUS, 400, -1, true, false, false, false, false, false, false, false},
	REFUSAL, IGNORES, STAYS, RETRY, 0},
	{"401", RSTAR_CLASS_REFUSAL, OF_STATUS(401), REFUSAL, IGNORES, STAYS, RETRY, 0},
	{"403", RSTAR_CLASS_REFUSAL, OF_STATUS(403), REFUSAL, IGNORES, STAYS, RETRY, 0},
	{"404 unknown model", RSTAR_CLASS_REFUSAL, {RSTAR_OUTCOME_STATUS, 404, -1, true, false, false, false, false, false, false, false},
	REFUSAL, IGNORES, STAYS, RETRY, 0},
	{"untrusted", RSTAR_CLASS_REFUSAL, OF_KIND(UNTRUSTED), REFUSAL, IGNORES, STAYS, RETRY, 0},
	{"408", RSTAR_CLASS_PUSHBACK, OF_STATUS(408), FAILURE, IGNORES, PAUSES, RETRY, 0},
	{"429", RSTAR_CLASS_PUSHBACK, OF_STATUS(429), FAILURE, IGNORES, PAUSES, RETRY, 0},
	{"503", RSTAR_CLASS_PUSHBACK, OF_STATUS(503), FAILURE, IGNORES, PAUSES, RETRY, 0},
	{"404 not now", RSTAR_CLASS_PUSHBACK, {RSTAR_OUTCOME_STATUS, 404, -1, false, false, true, false, false, false, false, false},
	FAILURE, IGNORES, PAUSES, RETRY, 0},
	{"500 not now", RSTAR_CLASS_PUSHBACK, {RSTAR_OUTCOME_STATUS, 500, -1, false, false, true, false, false, false, false, false},
	FAILURE, IGNORES, PAUSES, RETRY, 0},
	{"500", RSTAR_CLASS_SERVER_ERROR, OF_STATUS(500), FAILURE, COUNTS, STAYS, RETRY, 1},
	{"500 away", RSTAR_CLASS_SERVER_ERROR, {RSTAR_OUTCOME_STATUS, 500, -1, false, false, false, true, false, false, false, false},
	FAILURE, COUNTS, STAYS, RETRY, 1},
	{"501", RSTAR_CLASS_SERVER_ERROR, OF_STATUS(501), FAILURE, COUNTS, STAYS, RETRY, 1},
	{"502", RSTAR_CLASS_SERVER_ERROR, OF_STATUS(502), FAILURE, COUNTS, STAYS, RETRY, 1},
	{"504", RSTAR_CLASS_TIMEOUT, OF_STATUS(504), FAILURE, COUNTS, SHRINKS, RETRY, 1},
	{"524", RSTAR_CLASS_TIMEOUT, OF_STATUS(524), FAILURE, COUNTS, SHRINKS, RETRY, 1},
	{"598", RSTAR_CLASS_TIMEOUT, OF_STATUS(598), FAILURE, COUNTS, SHRINKS, RETRY, 1},
	{"599", RSTAR_CLASS_SERVER_ERROR, OF_STATUS(599), FAILURE, COUNTS, STAYS, RETRY, 1},
	{"time-out", RSTAR_CLASS_TIMEOUT, OF_KIND(TIMEOUT), FAILURE, COUNTS, SHRINKS, RETRY, 1},
	{"transport", RSTAR_CLASS_TRANSPORT, OF_KIND(TRANSPORT), FAILURE, COUNTS, STAYS, RETRY, 0},
	{"lost", RSTAR_CLASS_LOST, OF_KIND(LOST), FAILURE, IGNORES, STAYS, RETRY, 0},
	{"cancelled", RSTAR_CLASS_CANCELLED, OF_KIND(CANCELLED), NOTHING, IGNORES, STAYS, FAIL, 0},
};

#define NROWS (sizeof(rows) / sizeof(rows[0]))

static RstarVerdict
finish_row(int i, const Row *row)
{
	return rstar_route_finished(route, &samples[i], &row->outcome, now);
}

/* What becomes of the sample */
static void
check_fate(const Row *row)
{
	RstarVerdict verdict;
	int			first;

	setup(2, 0, 2);
	first = send(0);
	verdict = finish_row(0, row);
	CHECK_INT(verdict, row->verdict);
	CHECK_INT(samples[0].failures, row->used);
	CHECK_INT(samples[0].endpoint, -1);
	CHECK_INT(state(first).in_flight, 0);
	if (verdict != RETRY)
		return;
	CHECK(samples[0].not_before >= now && samples[0].not_before <= now + S);
	now = samples[0].not_before;
	/* the second on another endpoint, but for one that was only too long */
	CHECK_INT(send(0), row->outcome.again ? first : 1 - first);
}

/* Whether somebody is there: for rstar_route_unavailable(), and for whose fault it is */
static void
check_sign(const Row *row)
{
	for (int n = 1; n <= 2; n++)
	{
		Sign		sign = row->sign != REFUSAL ? row->sign : n == 1 ? ANSWER : FAILURE;

		/* nothing had failed before */
		setup(n, 0, 100);
		send_to(0, 0);
		finish_row(0, row);
		CHECK(!rstar_route_unavailable(route, now + 10 * S - 1, 10 * S));
		CHECK_INT(rstar_route_unavailable(route, now + 10 * S, 10 * S), sign == FAILURE);
		/* what breaks a connection now is the request, when it was an answer */
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_TRANSPORT);
		CHECK_INT(samples[1].failures, sign == ANSWER);

		/* somebody had failed before */
		setup(n, 0, 100);
		send_to(1, 0);
		finish(1, RSTAR_OUTCOME_TRANSPORT);
		now += 5 * S;
		send_to(0, 0);
		finish_row(0, row);
		now += 5 * S;
		CHECK_INT(rstar_route_unavailable(route, now, 10 * S), sign != ANSWER);
	}
}

static void
check_breaker(const Row *row)
{
	setup(2, 0, 100);
	for (int i = 0; i < 5; i++)
	{
		samples[i].mapping = (uint32_t) i;
		send_to(i, 0);
		finish_row(i, row);
	}
	CHECK_INT(strcmp(state(0).state, "open") == 0, row->breaker == COUNTS);

	setup(2, 0, 100);
	send_to(0, 0);
	trip(0);
	finish_row(0, row);
	CHECK_STR(state(0).state, row->breaker == CLOSES ? "closed" : "open");
}

static void
check_load(const Row *row)
{
	int64_t		wake;
	bool		waits;

	setup(1, 0, 100);
	for (int i = 0; i < 32; i++)
	{
		samples[i].mapping = 2;
		send_to(i, 0);
	}
	CHECK_INT(state(0).limit, 32);
	for (int i = 0; i < 32; i++)
		finish_row(i, row);
	CHECK_INT(state(0).limit > 32, row->load == GROWS);
	CHECK_INT(state(0).limit < 32, row->load == SHRINKS || row->load == PAUSES);

	setup(1, 0, 100);
	send_to(0, 0);
	finish_row(0, row);
	waits = rstar_route_choose(route, &samples[1], now, &wake) < 0;
	CHECK_INT(waits, row->load == PAUSES);
	if (waits)
		CHECK(wake >= now + 250 * MS && wake <= now + 500 * MS);
}

static void
test_meanings(void)
{
	bool		met[RSTAR_NCLASSES] = {false};

	for (size_t i = 0; i < NROWS; i++)
	{
		static const struct
		{
			const char *what;
			void		(*check) (const Row *row);
		}			checks[] = {
			{"its sample", check_fate}, {"is somebody there", check_sign},
			{"the breaker", check_breaker}, {"the limit", check_load}
		};

		for (int j = 0; j < 4; j++)
		{
			char		name[100];

			snprintf(name, sizeof(name), "%s: %s", rows[i].name, checks[j].what);
			CASE(name);
			CHECK_INT(rstar_verdict_class(&rows[i].outcome), rows[i].class);
			checks[j].check(&rows[i]);
		}
		met[rows[i].class] = true;
	}
	CASE("every class was met");
	for (int i = 0; i < RSTAR_NCLASSES; i++)
		CHECK(met[i]);

	CASE("no status is without a class, and 1xx is no success");
	for (int status = 100; status < 1000; status++)
	{
		RstarOutcome outcome = OF_STATUS(status);

		CHECK_INT(rstar_verdict_class(&outcome) == RSTAR_CLASS_NONSENSE, status >= 200 && status <= 299);
		CHECK_INT(rstar_verdict_class(&outcome) == RSTAR_CLASS_TIMEOUT,
				  status == 504 || status == 524 || status == 598);
		CHECK_INT(rstar_verdict_class(&outcome) == RSTAR_CLASS_SERVER_ERROR,
				  status >= 500 && status != 503 && status != 504 && status != 524 && status != 598);
	}
}

static void
test_attempts(void)
{
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
test_unavailable(void)
{
	int64_t		wake;

	CASE("unavailable: not before something was tried");
	setup(2, 0, 2);
	now += 1000 * S;
	CHECK(!rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: from the first failure after an answer");
	setup(2, 0, 2);
	(void) send(0);
	finish(0, RSTAR_OUTCOME_ANSWER);
	now += 1000 * S;
	(void) send(0);
	now += 1 * S;
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK(!rstar_route_unavailable(route, now + 10 * S - 1, 10 * S));
	CHECK(rstar_route_unavailable(route, now + 10 * S, 10 * S));

	CASE("unavailable: from the first failure where there was no answer at all");
	setup(2, 0, 2);
	(void) send(0);
	now += 1000 * S;
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK(!rstar_route_unavailable(route, now + 10 * S - 1, 10 * S));
	CHECK(rstar_route_unavailable(route, now + 10 * S, 10 * S));

	CASE("unavailable: silence is none, of whoever never answered, or did");
	for (int answers = 0; answers <= 1; answers++)
	{
		setup(2, 0, 2);
		for (int i = 0; i < answers; i++)
		{
			send_to(i, i);
			finish(i, RSTAR_OUTCOME_ANSWER);
		}
		send_to(5, 0);
		send_to(6, 0);
		CHECK(!rstar_route_unavailable(route, now + 10000 * S, 60 * S));
		/* and one connection that breaks then has its retry */
		now += 300 * S;
		CHECK_INT(finish(5, RSTAR_OUTCOME_TRANSPORT), RSTAR_VERDICT_RETRY);
		CHECK(!rstar_route_unavailable(route, now, 60 * S));
		now = samples[5].not_before;
		CHECK_INT(send(5), 1);
		CHECK(!rstar_route_unavailable(route, now + 10000 * S, 60 * S));
	}

	CASE("unavailable: nor silence at one endpoint while another one fails");
	setup(2, 0, 100);
	send_to(0, 0);
	for (int i = 0; i < 100; i++)
	{
		send_to(1, 1);
		finish(1, RSTAR_OUTCOME_TRANSPORT);
		now += 2 * S;
		CHECK(!rstar_route_unavailable(route, now, 60 * S));
	}
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK(rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: nor what was sent after the last failure");
	setup(1, 0, 100);
	for (int i = 0; i < 70; i++)
	{
		send_to(0, 0);
		finish_status(0, 503, -1);
		now += 1 * S;
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	send_to(0, 0);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));
	finish_status(0, 503, -1);
	CHECK(rstar_route_unavailable(route, now, 60 * S));

	CASE("unavailable: what hangs gives no hope where others still fail");
	setup(1, 0, 100);
	send_to(5, 0);
	for (int i = 0; i < 35; i++)
	{
		CHECK_INT(rstar_route_unavailable(route, now, 60 * S), i > 30);
		send_to(0, 0);
		finish_status(0, 503, -1);
		now += 2 * S;
	}

	CASE("unavailable: nor where the probe fails");
	setup(1, 0, 100);
	send_to(0, 0);
	trip(0);
	for (int64_t start = now; now < start + 70 * S; now += 1 * S)
	{
		while (rstar_route_probe(route, now, &wake) >= 0)
			rstar_route_probed(route, 0, RSTAR_HEALTH_MUTE, now);
		CHECK_INT(rstar_route_unavailable(route, now, 60 * S), now >= start + 61 * S);
	}

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
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	now += 70 * S;
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	CHECK_INT(rstar_route_probe(route, now, &wake), 0);
	rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
	CHECK(!rstar_route_unavailable(route, now + 60 * S, 60 * S));
	send_to(0, 0);
	now += 70 * S;
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK(!rstar_route_unavailable(route, now + 10 * S - 1, 10 * S));
	CHECK(rstar_route_unavailable(route, now + 10 * S, 10 * S));

	CASE("unavailable: all refuse one mapping, and another one's request hangs");
	setup(1, 0, 2);
	samples[50].mapping = 2;
	send_to(50, 0);
	send_to(0, 0);
	now += 10 * S;
	CHECK_INT(finish_status(0, 401, -1), RSTAR_VERDICT_FAIL);
	CHECK(!rstar_route_unavailable(route, now + 1000 * S, 60 * S));

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

	CASE("unavailable: a page of HTML shows that somebody is there");
	setup(1, 0, 2);
	for (int i = 0; i < 100; i++)
	{
		send_to(i, 0);
		finish(i, RSTAR_OUTCOME_BAD_REPLY);
		now += 1 * S;
		CHECK(!rstar_route_unavailable(route, now, 60 * S));
	}

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
				rstar_route_probed(route, probed, RSTAR_HEALTH_MUTE, now);
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
		rstar_route_probed(route, 0, RSTAR_HEALTH_MUTE, now);
	}
	CHECK(rstar_route_unavailable(route, now, 60 * S));
	now += 5 * S;
	(void) rstar_route_probe(route, now, &wake);
	rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
		rstar_route_probed(route, 0, RSTAR_HEALTH_WELL, now);
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
	finish(0, RSTAR_OUTCOME_TRANSPORT);
	CHECK(!rstar_route_unavailable(route, now + 10 * S - 1, 10 * S));
	CHECK(rstar_route_unavailable(route, now + 10 * S, 10 * S));

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

int
main(void)
{
	test_meanings();
	test_attempts();
	test_unavailable();
	rstar_route_free(route);
	return check_end("verdict_test");
}
