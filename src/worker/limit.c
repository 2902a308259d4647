/*-------------------------------------------------------------------------
 *
 * limit.c
 *		How many samples an endpoint gets at once.
 *
 * Where max_in_flight is given, "limit" starts there and does not go beyond.
 * Else it is found out, and three things make that hard.  An engine that
 * batches gets slower for each request as the batch grows, and faster for all
 * (Qwen3-14B on an H200: 11 pairs a second with 64 in flight, 17 with 256, 19
 * with 512), so that latency says nothing.  One that works on a few and lets
 * the others wait in line looks the same from its latency, and answers no
 * sooner for what waits there: that is in the way of others, and may wait
 * longer than "timeout".  And the most that is ever asked for may be a hundred
 * documents, of which each takes ten seconds: there is no time to feel one's
 * way.  Hence:
 *
 * Start.  32 go out at once, and while the limit is reached it doubles every
 * 50 ms up to 256 without waiting for answers: a full queue refuses at once,
 * and then it has refused some dozens, not hundreds.  From there each answer
 * adds eight, up to 1024, unless answers come in line (below): who answers
 * can be given more, and what is sent late ends late.  This "slow start" ends
 * with the first pressure (a refusal, a time-out); then sixteen answers add
 * one.  A limit that was not reached does not grow.
 *
 * Pressure.  "limit" moves slowly: it shrinks to 0.7 of itself once per latency,
 * if something was answered since it shrank last (a server that refuses
 * everything says nothing about its limit).  "cap" moves at once: after a
 * refusal no more are in flight than the server still has, and it grows with
 * each answer.  Without it a server that takes 100 of 800 would be sent 700
 * again for each answer, until the limit has come down.  A breaker that
 * closes sets a cap, too, so the limit that was learnt is soon back.
 *
 * Shut.  A router gives up a server that has refused some ten times in a row,
 * and then refuses everything for a minute; refusals come late, for it has
 * tried each request several times.  So the first wave may be what shuts it,
 * and the limit is still that of the wave when it opens: it would be shut
 * again, and again.  Who refuses while he has nothing, for five seconds, after
 * he has answered some and refused others, gets half of what he had answered
 * meanwhile.
 *
 * Lines.  Who waits in line is answered in his turn: after (nearly) all that
 * were ahead of him.  Where all are worked on at once short replies overtake
 * long ones.  So, when answer after answer has overtaken less than a quarter
 * of those ahead, it may be that the endpoint only queues.  It may be also
 * that all replies are equally long.  Throughput decides: the limit is halved,
 * again and again, while the rate of answers stays within a tenth of what it
 * was (a quarter, below 128, where half as much brings a batch far less).  Twice
 * the least that was as good is the limit then, which does not grow for ten
 * minutes.  Where half as much brought less, all is as before, and
 * four times as many answers in line are needed for the next trial.  The
 * order alone starts it since a trial costs throughput where all are worked on,
 * and rates of replies of random length differ by a tenth by chance: who
 * compared rates all the time would go astray.
 *
 * Time-outs.  In a line the last of n is answered after n / rate.  What would
 * be late by that is taken back (recall.c): it was not begun.  The estimate is
 * believed when answers come in line, or for what has waited for half the
 * timeout; so a new engine, which is silent for the time of a reply, or one
 * that stands still for a while, loses nothing.
 *
 * The timeout may be a proxy's, which has told nobody (nginx waits a minute).
 * It is found out by the first that is answered 504, and forgotten when an
 * answer takes longer.  All that waited there come back at that moment; so the
 * limit does not go down by steps then, but to what is answered within half of
 * the time, by the rate of those that were answered meanwhile.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "worker/limit.h"

/* Without max_in_flight: where answers begin to count, and the end */
#define WAVE 256
#define CEILING 1024
#define DOUBLE_PAUSE INT64_C(50000)
#define STEP_ANSWERS 16
#define STEP_FAST 8

/* Answers that had fewer ahead of them say nothing of a line */
#define LINE_AHEAD 8
/* So many in line make a line believed where waiting is concerned, ... */
#define LINE_SEEN 8
/* ... and so many, at least, begin a trial */
#define LINE_TRIAL 32
#define PATIENCE_MORE 4
#define PATIENCE_MOST 512
#define TRIAL_ANSWERS 24
#define DOUBT_AFTER (600 * INT64_C(1000000))

/* Refusals that are further apart have to do with each other no more */
#define REFUSALS_APART INT64_C(5000000)
#define SHUT INT64_C(5000000)

/* Proxies count in seconds; who is faster did not wait */
#define PROXY_SHORTEST INT64_C(1000000)

/* The shortest span of time, and answers in it, that make a rate */
#define SPAN INT64_C(4000000)
#define SPAN_ANSWERS 16

static int	ceiling(const RstarLimit *limit);
static void note_taken(RstarLimit *limit, int64_t now);
static void note_rate(RstarLimit *limit, int64_t now);
static void note_line(RstarLimit *limit, const RstarWait *turn, int64_t now);
static bool is_doubtful(const RstarLimit *limit, const RstarWait *turn);
static bool is_in_demand(const RstarLimit *limit);
static bool is_line(const RstarLimit *limit, int many);
static void begin_trial(RstarLimit *limit, int in_flight);
static void go_on_with_trial(RstarLimit *limit, int in_flight, int64_t now);
static void end_trial(RstarLimit *limit, int64_t now);
static void grow(RstarLimit *limit, int64_t now);
static bool may_grow(const RstarLimit *limit, int64_t now);
static void lower(RstarLimit *limit, int most);
static bool shrink(RstarLimit *limit, int64_t latency, int64_t now);
static double rate(const RstarLimit *limit, int64_t now);
static int64_t timeout(const RstarLimit *limit);

void
rstar_limit_reset(RstarLimit *limit, int given, int64_t timeout)
{
	memset(limit, 0, sizeof(*limit));
	limit->given = given;
	limit->timeout = timeout;
	limit->limit = given > 0 ? given : RSTAR_LIMIT_START;
	limit->cap = INT_MAX;
	limit->slow_start = limit->wave = true;
	limit->may_shrink = true;
	limit->shrunk_at = limit->refused_at = INT64_MIN / 2;
	limit->shut_since = -1;
	limit->double_at = INT64_MAX;
	limit->patience = 1;
	limit->since = -1;
}

void
rstar_limit_learn(RstarLimit *limit, const RstarLearntLimit *learnt)
{
	if (limit->given > 0 || learnt->limit < 1)
		return;
	limit->limit = learnt->limit < CEILING ? learnt->limit : CEILING;
	limit->slow_start = learnt->slow_start;
	limit->wave = learnt->wave;
	limit->queues = learnt->queues;
	limit->patience = learnt->patience;
	limit->doubt_at = learnt->doubt_at;
	limit->proxy_timeout = learnt->proxy_timeout;
}

/* Of a trial that is not over what was before it */
void
rstar_limit_learnt(const RstarLimit *limit, RstarLearntLimit *learnt)
{
	learnt->limit = limit->trial.from > 0 ? limit->trial.from : limit->limit;
	learnt->slow_start = limit->slow_start;
	learnt->wave = limit->wave;
	learnt->queues = limit->queues;
	learnt->patience = limit->patience;
	learnt->doubt_at = limit->doubt_at;
	learnt->proxy_timeout = limit->proxy_timeout;
}

static int
ceiling(const RstarLimit *limit)
{
	return limit->given > 0 ? limit->given : CEILING;
}

int
rstar_limit_bound(const RstarLimit *limit)
{
	return limit->cap < limit->limit ? limit->cap : limit->limit;
}

int64_t
rstar_limit_wake(const RstarLimit *limit)
{
	return limit->double_at;
}

bool
rstar_limit_turn(RstarLimit *limit, int64_t now)
{
	if (now < limit->double_at)
		return false;
	limit->limit = limit->limit * 2 < WAVE ? limit->limit * 2 : WAVE;
	limit->double_at = INT64_MAX;
	return true;
}

void
rstar_limit_sent(RstarLimit *limit, int in_flight, int64_t now)
{
	if (in_flight == 1)
	{
		limit->since = now;
		limit->answers = limit->before_answers = 0;
	}
	if (in_flight < limit->limit)
		return;
	limit->full = in_flight;
	if (limit->given == 0 && limit->wave && limit->limit < WAVE &&
		limit->trial.from == 0 && limit->double_at == INT64_MAX)
		limit->double_at = now + DOUBLE_PAUSE;
}

void
rstar_limit_answered(RstarLimit *limit, int in_flight, const RstarWait *turn, int64_t now)
{
	limit->may_shrink = true;
	if (limit->cap != INT_MAX)
		limit->cap += 2;
	if (limit->cap >= limit->limit)
		limit->cap = INT_MAX;
	if (turn->took > limit->proxy_timeout)
		limit->proxy_timeout = 0;
	note_taken(limit, now);
	note_rate(limit, now);
	if (limit->queues && now >= limit->doubt_at)
	{
		limit->queues = false;
		limit->slow_start = true;
	}
	if (limit->trial.from > 0)
	{
		go_on_with_trial(limit, in_flight, now);
		return;
	}
	note_line(limit, turn, now);
	if (is_doubtful(limit, turn))
		begin_trial(limit, in_flight);
	else
		grow(limit, now);
}

/* An answer: it is open, and perhaps was shut */
static void
note_taken(RstarLimit *limit, int64_t now)
{
	if (limit->shut_since < 0)
	{
		limit->taken++;
		return;
	}
	if (limit->taken > 0 && now - limit->shut_since >= SHUT)
		lower(limit, limit->taken / 2);
	limit->taken = 0;
	limit->shut_since = -1;
}

static void
note_rate(RstarLimit *limit, int64_t now)
{
	if (limit->since < 0)
	{
		limit->since = now;
		return;
	}
	limit->answers++;
	if (limit->answers < SPAN_ANSWERS || now - limit->since < SPAN)
		return;
	limit->before_since = limit->since;
	limit->before_answers = limit->answers;
	limit->since = now;
	limit->answers = 0;
}

/*
 * A silence of half the time that the answer took is no line, which moves on
 * all the time: there, all had begun together.
 */
static void
note_line(RstarLimit *limit, const RstarWait *turn, int64_t now)
{
	if (turn->ahead < LINE_AHEAD)
		return;
	if (turn->answered * 4 < (int64_t) turn->ahead * 3 ||
		(limit->in_line > 0 && now - limit->line_at > turn->took / 2))
	{
		limit->in_line = 0;
		return;
	}
	if (limit->in_line++ == 0)
		limit->line_since = now;
	limit->line_at = now;
	limit->line_took = turn->took;
}

static bool
is_doubtful(const RstarLimit *limit, const RstarWait *turn)
{
	int			enough = turn->ahead / 2 > LINE_TRIAL ? turn->ahead / 2 : LINE_TRIAL;

	return limit->given == 0 && !limit->queues && is_in_demand(limit) &&
		is_line(limit, enough * limit->patience);
}

/* The limit was reached not long ago; what runs out says nothing */
static bool
is_in_demand(const RstarLimit *limit)
{
	return limit->full * 2 >= limit->limit;
}

/*
 * So many at least, and they came one after the other: those that had begun
 * together end together.
 */
static bool
is_line(const RstarLimit *limit, int many)
{
	return limit->in_line >= many && limit->line_at > limit->line_since &&
		limit->line_at - limit->line_since >= limit->line_took / 4;
}

static void
begin_trial(RstarLimit *limit, int in_flight)
{
	int			least = in_flight < limit->limit ? in_flight : limit->limit;

	if (least < 2 * RSTAR_LIMIT_FLOOR)
		return;
	limit->trial.from = limit->trial.good = limit->limit;
	limit->trial.rate = (limit->in_line - 1) /
		(double) (limit->line_at - limit->line_since);
	limit->trial.since = -1;
	limit->limit = least / 2;
	limit->double_at = INT64_MAX;
}

/* Ends without a result when there is nothing left to send */
static void
go_on_with_trial(RstarLimit *limit, int in_flight, int64_t now)
{
	RstarTrial *trial = &limit->trial;
	int			enough = limit->limit > TRIAL_ANSWERS ? limit->limit : TRIAL_ANSWERS;
	double		keeps = limit->limit < 128 ? 0.75 : 0.9;

	if (trial->since < 0)
	{
		if (in_flight > limit->limit)
			return;
		trial->since = now;
		trial->answers = 0;
		limit->full = limit->limit / 2 > RSTAR_LIMIT_FLOOR ? limit->limit / 2 : RSTAR_LIMIT_FLOOR;
		return;
	}
	if (limit->full == 0)
	{
		limit->limit = trial->from;
		trial->from = 0;
		limit->in_line = 0;
		return;
	}
	limit->full--;
	trial->answers++;
	if ((double) (now - trial->since) * trial->rate * keeps > enough)
		end_trial(limit, now);
	else if (trial->answers >= enough && is_in_demand(limit))
	{
		trial->good = limit->limit;
		trial->since = -1;
		if (limit->limit <= RSTAR_LIMIT_FLOOR)
			end_trial(limit, now);
		else
			limit->limit = limit->limit / 2 > RSTAR_LIMIT_FLOOR ?
				limit->limit / 2 : RSTAR_LIMIT_FLOOR;
	}
}

static void
end_trial(RstarLimit *limit, int64_t now)
{
	RstarTrial *trial = &limit->trial;

	if (trial->good < trial->from)
	{
		limit->limit = trial->good * 2 < trial->from ? trial->good * 2 : trial->from;
		limit->slow_start = limit->wave = false;
		limit->queues = true;
		limit->doubt_at = now + DOUBT_AFTER;
	}
	else
	{
		limit->limit = trial->from;
		if (limit->patience < PATIENCE_MOST)
			limit->patience *= PATIENCE_MORE;
	}
	trial->from = 0;
	limit->in_line = 0;
	limit->full = 0;
}

static void
grow(RstarLimit *limit, int64_t now)
{
	int			step = limit->limit < STEP_ANSWERS ? limit->limit : STEP_ANSWERS;

	if (limit->full == 0)
		return;
	limit->full--;
	if (limit->limit >= ceiling(limit) || !may_grow(limit, now))
		return;
	if (limit->slow_start)
		limit->limit += limit->given == 0 && limit->limit >= WAVE ? STEP_FAST : 1;
	else if (++limit->credit >= step)
	{
		limit->credit = 0;
		limit->limit++;
	}
	if (limit->limit > ceiling(limit))
		limit->limit = ceiling(limit);
}

/* Not into a line */
static bool
may_grow(const RstarLimit *limit, int64_t now)
{
	if (limit->given > 0)
		return true;
	return !limit->queues && !is_line(limit, LINE_SEEN * limit->patience) &&
		!rstar_limit_strained(limit, limit->limit, now);
}

void
rstar_limit_pushed_back(RstarLimit *limit, int in_flight, int64_t latency, int64_t now)
{
	int			left = in_flight > RSTAR_LIMIT_FLOOR ? in_flight : RSTAR_LIMIT_FLOOR;

	if (now - limit->refused_at > REFUSALS_APART)
		limit->taken = 0;
	limit->refused_at = now;
	if (in_flight == 0 && limit->shut_since < 0)
		limit->shut_since = now;
	(void) shrink(limit, latency, now);
	if (limit->cap > left)
		limit->cap = left;
}

void
rstar_limit_timed_out(RstarLimit *limit, const RstarWait *turn, int64_t latency, int64_t now)
{
	double		in_time = rate(limit, now) * (double) (timeout(limit) / 2);

	if (!shrink(limit, latency, now) || timeout(limit) == 0 || !rstar_limit_was_in_line(turn))
		return;
	if (in_time < limit->limit)
		lower(limit, (int) in_time);
}

void
rstar_limit_learn_proxy(RstarLimit *limit, int64_t took)
{
	if (took >= PROXY_SHORTEST && (limit->proxy_timeout == 0 || took < limit->proxy_timeout))
		limit->proxy_timeout = took;
}

bool
rstar_limit_was_in_line(const RstarWait *turn)
{
	return turn->answered > 0 && turn->answered < turn->ahead - 1;
}

/* To so many, if it is not lower, but not below what is always tried */
static void
lower(RstarLimit *limit, int most)
{
	int			lowest = ceiling(limit) < RSTAR_LIMIT_FLOOR ? 1 : RSTAR_LIMIT_FLOOR;

	if (most < lowest)
		most = lowest;
	if (limit->limit > most)
		limit->limit = most;
	limit->slow_start = limit->wave = false;
	limit->credit = 0;
	limit->full = 0;
	limit->double_at = INT64_MAX;
	limit->trial.from = 0;
	limit->in_line = 0;
}

/* False: it is too early for that */
static bool
shrink(RstarLimit *limit, int64_t latency, int64_t now)
{
	if (!limit->may_shrink || now - limit->shrunk_at < latency)
		return false;
	if (limit->trial.from > 0)
		limit->limit = limit->trial.from;
	lower(limit, limit->limit * 7 / 10);
	limit->may_shrink = false;
	limit->shrunk_at = now;
	return true;
}

/* What is left may be answered in time; the next trial sees to the rest */
void
rstar_limit_recalled(RstarLimit *limit, int in_flight)
{
	limit->limit = in_flight;
	limit->slow_start = limit->wave = false;
	limit->credit = 0;
	limit->double_at = INT64_MAX;
	limit->trial.from = 0;
}

/*
 * Answers per us, as if the next came at this moment; more than any where
 * nothing is known.
 */
static double
rate(const RstarLimit *limit, int64_t now)
{
	int64_t		since = limit->before_answers > 0 ? limit->before_since : limit->since;
	int			answers = limit->before_answers + limit->answers;

	double		line = 0;

	if (limit->since < 0 || answers == 0 || now <= since)
		return 1;
	if (is_line(limit, LINE_SEEN))
		line = limit->in_line / (double) (now - limit->line_since);
	return fmax(line, (answers + 1) / (double) (now - since));
}

/* The shorter of both; 0: none */
static int64_t
timeout(const RstarLimit *limit)
{
	return limit->proxy_timeout > 0 && (limit->timeout == 0 || limit->proxy_timeout < limit->timeout) ?
		limit->proxy_timeout : limit->timeout;
}

bool
rstar_limit_strained(const RstarLimit *limit, int in_flight, int64_t now)
{
	return limit->given == 0 && timeout(limit) > 0 && in_flight > 1 &&
		in_flight > rate(limit, now) * (double) (timeout(limit) / 2);
}

bool
rstar_limit_late(const RstarLimit *limit, int ahead, int64_t sent_at, int64_t now)
{
	int64_t		age = now - sent_at;

	if (ahead == 0 ||
		(!is_line(limit, LINE_SEEN) && age < timeout(limit) / 2))
		return false;
	return (double) age + ahead / rate(limit, now) > (double) (timeout(limit) / 4 * 3);
}
