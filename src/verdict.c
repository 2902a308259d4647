/*-------------------------------------------------------------------------
 *
 * verdict.c
 *		What the end of an attempt means, for its sample and its endpoint.
 *
 * Called by: route.c, which keeps the state.  Calls endpoint.c.
 *
 * What an outcome does to the sample, and to the endpoint:
 *
 *	outcome						sample					endpoint
 *	answer						done					closes, limit and cap grow
 *	quota						fails					-
 *	401, 403, unknown model,	at once elsewhere, or	marked for that mapping
 *	untrusted certificate		fails where all are
 *	its text is too long		at once, shortened		-
 *	408, 429, 503				waits, no attempt used	pauses, limit and cap shrink
 *	other 5xx					attempt used			counts for the breaker
 *	time-out					attempt used			breaker, limit shrinks
 *	transport					at once elsewhere, or	counts for the breaker
 *								waits; see transport()
 *	2xx that makes no sense		attempt used			-
 *	any other status			fails					-
 *	cancelled					fails					-
 *
 * "Attempt used": a retry after a short random time, elsewhere where that is
 * possible, until "retries" of them have been used up and one more fails.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>

#include "verdict.h"

/* How long a sample waits after a refusal, and after a failure */
#define PUSHBACK_SHORTEST (250 * RSTAR_MILLISECOND)
#define PUSHBACK_LONGEST (10 * RSTAR_SECOND)
#define RETRY_AFTER_LONGEST 60
#define RETRY_SHORTEST (50 * RSTAR_MILLISECOND)
#define RETRY_LONGEST (2 * RSTAR_SECOND)

static RstarVerdict judge_status(RstarRoute *route, RstarAttempt *attempt,
								 RstarEndpoint *endpoint, const RstarOutcome *outcome,
								 int64_t now);
static RstarVerdict misconfigured(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint, int64_t now);
static RstarVerdict pushback(RstarRoute *route, RstarAttempt *attempt,
							 RstarEndpoint *endpoint, int retry_after, int64_t now);
static RstarVerdict transport(RstarRoute *route, RstarAttempt *attempt,
							  RstarEndpoint *endpoint, int64_t now);
static RstarVerdict use_attempt(RstarRoute *route, RstarAttempt *attempt, int64_t now);

RstarVerdict
rstar_verdict_find(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
				   const RstarOutcome *outcome, int64_t now)
{
	switch (outcome->kind)
	{
		case RSTAR_OUTCOME_ANSWER:
			if (endpoint != NULL)
				rstar_endpoint_answered(endpoint, attempt, &route->config, now);
			/* a sample that is asked again, for want of a score, starts afresh */
			attempt->failures = attempt->transports = 0;
			attempt->pushbacks = attempt->refusals = 0;
			attempt->failed_at = 0;
			attempt->tried = 0;
			attempt->last_endpoint = -1;
			return RSTAR_VERDICT_DONE;
		case RSTAR_OUTCOME_BAD_REPLY:
			return use_attempt(route, attempt, now);
		case RSTAR_OUTCOME_STATUS:
			return judge_status(route, attempt, endpoint, outcome, now);
		case RSTAR_OUTCOME_UNTRUSTED:
			return misconfigured(route, attempt, endpoint, now);
		case RSTAR_OUTCOME_TRANSPORT:
			return transport(route, attempt, endpoint, now);
		case RSTAR_OUTCOME_TIMEOUT:
			if (endpoint != NULL)
			{
				rstar_endpoint_timed_out(endpoint, &route->config, now);
				rstar_endpoint_failed(endpoint, attempt, now);
			}
			return use_attempt(route, attempt, now);
		case RSTAR_OUTCOME_CANCELLED:
			break;
	}
	return RSTAR_VERDICT_FAIL;
}

static RstarVerdict
judge_status(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
			 const RstarOutcome *outcome, int64_t now)
{
	int			status = outcome->status;

	if (outcome->again)
	{
		attempt->pushbacks = 0;
		attempt->not_before = now;
		return RSTAR_VERDICT_RETRY;
	}
	if (outcome->quota)
		return RSTAR_VERDICT_FAIL;
	if (rstar_verdict_is_refusal(outcome))
		return misconfigured(route, attempt, endpoint, now);
	if (status == 408 || status == 429 || status == 503)
		return pushback(route, attempt, endpoint, outcome->retry_after, now);
	if (status >= 500)
	{
		if (endpoint != NULL)
			rstar_endpoint_failed(endpoint, attempt, now);
		return use_attempt(route, attempt, now);
	}
	if (status >= 200 && status <= 299)
		return use_attempt(route, attempt, now);
	return RSTAR_VERDICT_FAIL;
}

/*
 * One refusal by each endpoint is enough, also where marks come and go (a
 * filter in front of the servers dislikes this document, and no other).  That
 * of an endpoint that is marked already says nothing of the sample: it was on
 * its way, or goes there to see whether that has changed, and may have to wait
 * for another endpoint for long.
 * Without memory for the mark the sample fails, as if all were marked.  That
 * everybody refuses is an answer, too, and no silence.
 */
static RstarVerdict
misconfigured(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint, int64_t now)
{
	if (endpoint != NULL)
	{
		if (rstar_endpoint_find_mark(endpoint, attempt->mapping) == NULL)
			attempt->refusals++;
		if (!rstar_endpoint_mark(endpoint, attempt->mapping, now))
			return RSTAR_VERDICT_FAIL;
		if (rstar_verdict_all_marked(route, attempt->mapping))
		{
			route->waiting_since = route->in_flight > 0 ? now : -1;
			return RSTAR_VERDICT_FAIL;
		}
		if (attempt->refusals >= route->n)
			return RSTAR_VERDICT_FAIL;
	}
	attempt->pushbacks = 0;
	attempt->not_before = now;
	return RSTAR_VERDICT_RETRY;
}

/*
 * Retry-After speaks for the endpoint that sent it, and holds that: the sample
 * goes wherever there is room before.
 */
static RstarVerdict
pushback(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
		 int retry_after, int64_t now)
{
	int64_t		wait = rstar_endpoint_jitter(&route->random, PUSHBACK_SHORTEST,
											 PUSHBACK_LONGEST, ++attempt->pushbacks);

	if (retry_after > RETRY_AFTER_LONGEST)
		retry_after = RETRY_AFTER_LONGEST;
	if (endpoint != NULL)
	{
		rstar_endpoint_pushed_back(endpoint, retry_after, &route->config,
								   &route->random, now);
		if (route->last_event < endpoint->hold_until)
			route->last_event = endpoint->hold_until;
	}
	attempt->not_before = now + wait;
	return RSTAR_VERDICT_RETRY;
}

/*
 * Is it the endpoint that is down, or does the request break the connection?
 * It is the request's fault, and an attempt is used up, when the endpoint has
 * served somebody since this sample's last transport error (or ever, for the
 * first).  So a sample outlives any outage, which is for
 * rstar_route_unavailable() to end, but not its own poison.
 */
static RstarVerdict
transport(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint, int64_t now)
{
	/* one more try even with "retries" 0: a kept-alive connection may be stale */
	int			retries = route->config.retries > 0 ? route->config.retries : 1;

	if (endpoint != NULL)
	{
		if (endpoint->served_at >= attempt->failed_at)
			attempt->failures++;
		rstar_endpoint_failed(endpoint, attempt, now);
		attempt->tried |= UINT64_C(1) << attempt->last_endpoint;
	}
	attempt->failed_at = now;
	attempt->transports++;
	attempt->pushbacks = 0;
	if (attempt->failures > retries)
		return RSTAR_VERDICT_FAIL;
	attempt->not_before = rstar_route_is_other(route, attempt, now) ? now :
		now + rstar_endpoint_jitter(&route->random, RETRY_SHORTEST,
									RETRY_LONGEST, attempt->transports);
	return RSTAR_VERDICT_RETRY;
}

static RstarVerdict
use_attempt(RstarRoute *route, RstarAttempt *attempt, int64_t now)
{
	attempt->pushbacks = 0;
	if (attempt->last_endpoint >= 0)
		attempt->tried |= UINT64_C(1) << attempt->last_endpoint;
	if (++attempt->failures > route->config.retries)
		return RSTAR_VERDICT_FAIL;
	attempt->not_before = now + rstar_endpoint_jitter(&route->random, RETRY_SHORTEST,
													  RETRY_LONGEST, attempt->failures);
	return RSTAR_VERDICT_RETRY;
}

bool
rstar_verdict_is_refusal(const RstarOutcome *outcome)
{
	return outcome->kind == RSTAR_OUTCOME_STATUS && !outcome->quota &&
		(outcome->status == 401 || outcome->status == 403 || outcome->unknown_model);
}

bool
rstar_verdict_all_marked(const RstarRoute *route, uint32_t mapping)
{
	for (int i = 0; i < route->n; i++)
	{
		if (rstar_endpoint_find_mark(&route->endpoints[i], mapping) == NULL)
			return false;
	}
	return true;
}
