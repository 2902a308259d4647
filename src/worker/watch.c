/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Whether an endpoint that is in use is still there.
 *
 * Servers that are told to end do so in many ways.  vLLM and llama-server close
 * their listening socket and leave requests unanswered and unclosed, as long as
 * the client waits.  SGLang answers what it has and whatever else it is sent,
 * but its /health is 503 from then on.  Others close the listening socket and
 * answer what they have.  So /health is asked, on a new connection, of an
 * endpoint that is in use as well:
 *
 *	silent			something is in flight, and nobody had a reply for 5 s
 *	one of several	every 10 s while there is work
 *
 * Refused (there is no listening socket) is the one sign that a server has gone.
 * What is in flight is lost when that was so three times in a row and nobody
 * had a reply for three times as long as the slowest answers of late took (5 s
 * at least; 30 s if there was no answer yet).  Who closes the socket and still
 * answers is not silent for so long.  When somebody is there again after a
 * refusal, he is a new one: what was sent before it is lost as soon as nobody
 * of those had a reply for as long as the slowest answers took (5 s at least,
 * 10 s if there was none).
 *
 * A connection that is accepted, and not answered, says nothing: a process that
 * is stopped, a long prefill, a grammar that is compiled.  Then, after 503, and
 * after one refusal, the endpoint is in doubt: nothing new goes there while
 * there is another, and what is in flight stays.  A 503 or refusal is taken
 * back by a later probe only, silence by any answer.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "worker/watch.h"

/* Silence before it is asked; also the least that is taken for the end */
#define SILENCE (5 * RSTAR_SECOND)
/* Between two probes: of one that is silent or in doubt, that refused, others */
#define ASK_AGAIN (5 * RSTAR_SECOND)
#define ASK_REFUSED (2 * RSTAR_SECOND)
#define ASK_SEVERAL (10 * RSTAR_SECOND)
/* A probe whose outcome we were never told */
#define ASK_LOST (30 * RSTAR_SECOND)
/* What its answers may take when there was none yet */
#define LONGEST_UNKNOWN (10 * RSTAR_SECOND)
/* "longest" falls by this share of the difference with each answer */
#define LONGEST_SHARE 64
/* Longest times without a reply, when all that is known is that it refuses */
#define PATIENCE 3

static int64_t patience(const RstarWatch *watch);

void
rstar_watch_init(RstarWatch *watch)
{
	watch->heard_at = watch->longest = -1;
	watch->asked_at = watch->looked_at = -1;
	watch->refused_at = -1;
	watch->refusals = 0;
	watch->restarted = watch->leaving = watch->mute = false;
}

void
rstar_watch_begin(RstarWatch *watch, int64_t now)
{
	if (watch->looked_at < 0)
		watch->looked_at = now;
}

void
rstar_watch_sent(RstarWatch *watch, bool first, int64_t now)
{
	if (!first)
		return;
	watch->heard_at = now;
	watch->refused_at = -1;
	watch->restarted = false;
}

/*
 * Replies to what was sent since a refusal are of the next process, and say
 * nothing of what the last one has.
 */
void
rstar_watch_heard(RstarWatch *watch, int64_t sent_at, bool answered, int64_t now)
{
	int64_t		took = now - sent_at;

	watch->mute = false;
	if (watch->refused_at >= 0 && sent_at > watch->refused_at)
		watch->restarted = true;
	else
		watch->heard_at = now;
	if (answered)
		watch->longest = took > watch->longest ? took :
			watch->longest + (took - watch->longest) / LONGEST_SHARE;
}

void
rstar_watch_ask(RstarWatch *watch, int64_t now)
{
	watch->asked_at = now;
}

void
rstar_watch_asked(RstarWatch *watch, RstarHealth health, int64_t now)
{
	int64_t		asked_at = watch->asked_at;

	watch->asked_at = -1;
	watch->looked_at = now;
	switch (health)
	{
		case RSTAR_HEALTH_NOT_ASKED:
			return;
		case RSTAR_HEALTH_MUTE:
			/* unless a reply came meanwhile */
			watch->mute = watch->heard_at <= asked_at;
			return;
		case RSTAR_HEALTH_REFUSED:
			watch->refusals++;
			watch->refused_at = asked_at >= 0 ? asked_at : watch->refused_at;
			watch->restarted = false;
			watch->leaving = true;
			return;
		case RSTAR_HEALTH_WELL:
		case RSTAR_HEALTH_REPLY:
		case RSTAR_HEALTH_UNWELL:
			break;
	}
	watch->refusals = 0;
	watch->restarted = watch->refused_at >= 0;
	watch->leaving = health == RSTAR_HEALTH_UNWELL;
	watch->mute = false;
}

int64_t
rstar_watch_ask_at(const RstarWatch *watch, int in_flight, bool several)
{
	int64_t		wait = watch->refusals > 0 ? ASK_REFUSED : ASK_AGAIN;
	int64_t		at = INT64_MAX;

	if (watch->asked_at >= 0)
		return watch->asked_at + ASK_LOST;
	if (in_flight > 0)
	{
		at = watch->looked_at + wait;
		if (at < watch->heard_at + SILENCE)
			at = watch->heard_at + SILENCE;
	}
	if (several && !rstar_watch_doubts(watch))
		wait = ASK_SEVERAL;
	if (several && at > watch->looked_at + wait)
		at = watch->looked_at + wait;
	return at;
}

bool
rstar_watch_doubts(const RstarWatch *watch)
{
	return watch->leaving || watch->mute;
}

int64_t
rstar_watch_lost(RstarWatch *watch, int64_t now)
{
	int64_t		before = watch->refused_at;

	if (now < rstar_watch_lost_at(watch))
		return -1;
	watch->refused_at = -1;
	watch->restarted = false;
	watch->heard_at = now;
	return before;
}

int64_t
rstar_watch_lost_at(const RstarWatch *watch)
{
	if (watch->refused_at < 0 ||
		(!watch->restarted && watch->refusals < RSTAR_WATCH_REFUSALS))
		return INT64_MAX;
	return watch->heard_at + patience(watch);
}

static int64_t
patience(const RstarWatch *watch)
{
	int64_t		longest = watch->longest < 0 ? LONGEST_UNKNOWN : watch->longest;

	if (!watch->restarted)
		longest *= PATIENCE;
	return longest > SILENCE ? longest : SILENCE;
}
