/*-------------------------------------------------------------------------
 *
 * verdict.c
 *		What the end of an attempt means, for its sample and its endpoint.
 *
 * All that an outcome means is one table, below.  Its first column is the one
 * notion of whether a server is there.  An answer is any reply that an endpoint
 * gave to the request, however useless; then nothing of rstar_route_unavailable()
 * counts, and a connection that broke before is the fault of its request.  A
 * failure is the end of an attempt without that, and a probe that failed.
 * Whether the endpoint is *well* is the second column: a page of HTML or a
 * refused document neither closes the breaker nor counts for it.
 *
 * "Attempt used": a retry after a short random time, elsewhere where that is
 * possible, until "retries" of them have been used up and one more fails.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>

#include "worker/choose.h"
#include "worker/verdict.h"

/* How long a sample waits after a refusal, and after a failure */
#define PUSHBACK_SHORTEST (250 * RSTAR_MILLISECOND)
#define PUSHBACK_LONGEST (10 * RSTAR_SECOND)
#define RETRY_AFTER_LONGEST 60
#define RETRY_SHORTEST (50 * RSTAR_MILLISECOND)
#define RETRY_LONGEST (2 * RSTAR_SECOND)

/* Endpoints that may go with a sample before it is suspected */
#define FREE_LOSSES 3
/* So with what a gateway says of servers that are away */
#define FREE_AWAY 5
/* Who was the trial of an endpoint, in vain, lets another be the next for so long */
#define TRIAL_TURN (250 * RSTAR_MILLISECOND)

/* Is somebody there? */
typedef enum Sign
{
	SIGN_NONE,
	SIGN_ANSWER,
	SIGN_FAILURE,
	SIGN_REFUSAL				/* a failure; an answer when all refuse */
} Sign;

/* Is he well? */
typedef enum Breaker
{
	BREAKER_NONE,
	BREAKER_CLOSES,
	BREAKER_COUNTS
} Breaker;

/* Does he have too much? */
typedef enum Load
{
	LOAD_NONE,
	LOAD_GROWS,					/* the limit does, and the cap */
	LOAD_SHRINKS,				/* the limit does */
	LOAD_PAUSES					/* limit and cap shrink, and it has a rest */
} Load;

/* What becomes of the sample? */
typedef enum Fate
{
	FATE_DONE,
	FATE_FAILS,
	FATE_GOES_AGAIN,			/* at once */
	FATE_GOES_ELSEWHERE,		/* at once, or fails where all refuse */
	FATE_WAITS,					/* no attempt used */
	FATE_TRANSPORT,				/* at once elsewhere, or waits; see there */
	FATE_LOST,					/* the same; see there */
	FATE_ERROR,					/* used, but for an outage; see there */
	FATE_LATE,					/* used, but for a line or outage; see there */
	FATE_ATTEMPT				/* used */
} Fate;

typedef struct Meaning
{
	Sign		sign;
	Breaker		breaker;
	Load		load;
	Fate		fate;
} Meaning;

static const Meaning meanings[RSTAR_NCLASSES] = {
	[RSTAR_CLASS_ANSWER] = {SIGN_ANSWER, BREAKER_CLOSES, LOAD_GROWS, FATE_DONE},
	[RSTAR_CLASS_NONSENSE] = {SIGN_ANSWER, BREAKER_NONE, LOAD_NONE, FATE_ATTEMPT},
	[RSTAR_CLASS_SHORTENED] = {SIGN_ANSWER, BREAKER_NONE, LOAD_NONE, FATE_GOES_AGAIN},
	[RSTAR_CLASS_REJECTED] = {SIGN_ANSWER, BREAKER_NONE, LOAD_NONE, FATE_FAILS},
	[RSTAR_CLASS_QUOTA] = {SIGN_ANSWER, BREAKER_NONE, LOAD_NONE, FATE_FAILS},
	[RSTAR_CLASS_REFUSAL] = {SIGN_REFUSAL, BREAKER_NONE, LOAD_NONE, FATE_GOES_ELSEWHERE},
	[RSTAR_CLASS_PUSHBACK] = {SIGN_FAILURE, BREAKER_NONE, LOAD_PAUSES, FATE_WAITS},
	[RSTAR_CLASS_SERVER_ERROR] = {SIGN_FAILURE, BREAKER_COUNTS, LOAD_NONE, FATE_ERROR},
	[RSTAR_CLASS_TIMEOUT] = {SIGN_FAILURE, BREAKER_COUNTS, LOAD_SHRINKS, FATE_LATE},
	[RSTAR_CLASS_TRANSPORT] = {SIGN_FAILURE, BREAKER_COUNTS, LOAD_NONE, FATE_TRANSPORT},
	[RSTAR_CLASS_LOST] = {SIGN_FAILURE, BREAKER_NONE, LOAD_NONE, FATE_LOST},
	[RSTAR_CLASS_CANCELLED] = {SIGN_NONE, BREAKER_NONE, LOAD_NONE, FATE_FAILS},
};

static RstarClass class_of_status(const RstarOutcome *outcome);
static RstarVerdict fate(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
						 const RstarOutcome *outcome, bool trying, int64_t now);
static void tell(RstarRoute *route, RstarEndpoint *endpoint, const Meaning *meaning,
				 const RstarAttempt *attempt, const RstarOutcome *outcome, int64_t now);
static void answered(RstarRoute *route, RstarEndpoint *endpoint, const RstarAttempt *attempt);
static RstarVerdict done(RstarAttempt *attempt);
static RstarVerdict misconfigured(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint, int64_t now);
static RstarVerdict pushed_back(RstarRoute *route, RstarAttempt *attempt, int64_t now);
static RstarVerdict transport(RstarRoute *route, RstarAttempt *attempt,
							  const RstarEndpoint *endpoint, int64_t now);
static RstarVerdict lost(RstarRoute *route, RstarAttempt *attempt,
						 const RstarEndpoint *endpoint, int64_t now);
static void go_elsewhere(RstarRoute *route, RstarAttempt *attempt, int64_t now);
static RstarVerdict not_to_blame(RstarRoute *route, RstarAttempt *attempt,
								 const RstarEndpoint *endpoint, int64_t now);
static RstarVerdict server_error(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
								 const RstarOutcome *outcome, bool trying, int64_t now);
static bool is_gateway(const RstarOutcome *outcome);
static bool is_away(const RstarOutcome *outcome);
static void note_ill(RstarEndpoint *endpoint, uint32_t request, int64_t now);
static RstarVerdict late(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
						 const RstarOutcome *outcome, bool trying, int64_t now);
static void let_others_try(const RstarRoute *route, RstarAttempt *attempt,
						   const RstarEndpoint *endpoint);
static bool is_to_blame(RstarAttempt *attempt, const RstarEndpoint *endpoint, int64_t now);
static RstarVerdict use_attempt(RstarRoute *route, RstarAttempt *attempt, int64_t now);

RstarClass
rstar_verdict_class(const RstarOutcome *outcome)
{
	switch (outcome->kind)
	{
		case RSTAR_OUTCOME_ANSWER:
			return outcome->again ? RSTAR_CLASS_SHORTENED : RSTAR_CLASS_ANSWER;
		case RSTAR_OUTCOME_BAD_REPLY:
			return RSTAR_CLASS_NONSENSE;
		case RSTAR_OUTCOME_STATUS:
			return class_of_status(outcome);
		case RSTAR_OUTCOME_UNTRUSTED:
			return RSTAR_CLASS_REFUSAL;
		case RSTAR_OUTCOME_TRANSPORT:
			return RSTAR_CLASS_TRANSPORT;
		case RSTAR_OUTCOME_TIMEOUT:
			return RSTAR_CLASS_TIMEOUT;
		case RSTAR_OUTCOME_LOST:
			return RSTAR_CLASS_LOST;
		case RSTAR_OUTCOME_CANCELLED:
			break;
	}
	return RSTAR_CLASS_CANCELLED;
}

static RstarClass
class_of_status(const RstarOutcome *outcome)
{
	int			status = outcome->status;

	if (outcome->again)
		return RSTAR_CLASS_SHORTENED;
	if (outcome->quota)
		return RSTAR_CLASS_QUOTA;
	if (status == 401 || status == 403 || outcome->unknown_model)
		return RSTAR_CLASS_REFUSAL;
	if (status == 408 || status == 429 || status == 503 || outcome->not_now)
		return RSTAR_CLASS_PUSHBACK;
	/* A proxy's patience is at an end */
	if (status == 504 || status == 524 || status == 598)
		return RSTAR_CLASS_TIMEOUT;
	if (status >= 500)
		return RSTAR_CLASS_SERVER_ERROR;
	return status >= 200 && status <= 299 ? RSTAR_CLASS_NONSENSE : RSTAR_CLASS_REJECTED;
}

RstarVerdict
rstar_verdict_find(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
				   const RstarOutcome *outcome, int64_t now)
{
	const Meaning *meaning = &meanings[rstar_verdict_class(outcome)];
	bool		trying = endpoint != NULL && endpoint->trips > 0 && endpoint->served_at < endpoint->closed_at;
	bool		trial = endpoint != NULL && endpoint->trial && attempt->sent_at >= endpoint->closed_at;
	RstarVerdict verdict;

	if (endpoint != NULL)
		tell(route, endpoint, meaning, attempt, outcome, now);
	verdict = fate(route, attempt, endpoint, outcome, trying, now);
	if (trial && verdict == RSTAR_VERDICT_RETRY)
		let_others_try(route, attempt, endpoint);
	return verdict;
}

/* "trying": the endpoint had been out of use, and nobody was answered there since */
static RstarVerdict
fate(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
	 const RstarOutcome *outcome, bool trying, int64_t now)
{
	switch (meanings[rstar_verdict_class(outcome)].fate)
	{
		case FATE_DONE:
			return done(attempt);
		case FATE_GOES_AGAIN:
			attempt->pushbacks = 0;
			attempt->not_before = now;
			return RSTAR_VERDICT_RETRY;
		case FATE_GOES_ELSEWHERE:
			return misconfigured(route, attempt, endpoint, now);
		case FATE_WAITS:
			return pushed_back(route, attempt, now);
		case FATE_TRANSPORT:
			return outcome->refused ? not_to_blame(route, attempt, endpoint, now) :
				transport(route, attempt, endpoint, now);
		case FATE_LOST:
			return lost(route, attempt, endpoint, now);
		case FATE_ERROR:
			return server_error(route, attempt, endpoint, outcome, trying, now);
		case FATE_LATE:
			return late(route, attempt, endpoint, outcome, trying, now);
		case FATE_ATTEMPT:
			return use_attempt(route, attempt, now);
		case FATE_FAILS:
			break;
	}
	return RSTAR_VERDICT_FAIL;
}

/* What the endpoint did, all but for marks */
static void
tell(RstarRoute *route, RstarEndpoint *endpoint, const Meaning *meaning,
	 const RstarAttempt *attempt, const RstarOutcome *outcome, int64_t now)
{
	int			retry_after = outcome->retry_after;

	if (meaning->sign == SIGN_ANSWER)
		answered(route, endpoint, attempt);
	else if (meaning->sign == SIGN_FAILURE)
		rstar_verdict_failed(route, endpoint, now);

	if (meaning->load == LOAD_PAUSES)
	{
		if (retry_after > RETRY_AFTER_LONGEST)
			retry_after = RETRY_AFTER_LONGEST;
		rstar_endpoint_pushed_back(endpoint, retry_after, &route->random, now);

		/*
		 * Retry-After speaks for the endpoint that sent it, and holds that
		 * alone
		 */
		if (route->last_event < endpoint->hold_until)
			route->last_event = endpoint->hold_until;
	}
	else if (meaning->load == LOAD_SHRINKS)
		rstar_endpoint_timed_out(endpoint, attempt, outcome->kind == RSTAR_OUTCOME_STATUS, now);

	/* closing tells all that an answer does: the limit and the cap grow, too */
	if (meaning->breaker == BREAKER_CLOSES)
		rstar_endpoint_answered(endpoint, attempt, now);
	else if (meaning->breaker == BREAKER_COUNTS &&
			 (meaning->fate != FATE_LATE || !rstar_endpoint_kept_waiting(endpoint, attempt)))
		rstar_endpoint_failed(endpoint, attempt, outcome->nowhere, now);
}

static void
answered(RstarRoute *route, RstarEndpoint *endpoint, const RstarAttempt *attempt)
{
	if (endpoint->served_at < attempt->sent_at)
		endpoint->served_at = attempt->sent_at;
	if (attempt->sent_at >= endpoint->ill_since)
		endpoint->nill = 0;
	route->failing_since = -1;
}

void
rstar_verdict_failed(RstarRoute *route, RstarEndpoint *endpoint, int64_t now)
{
	endpoint->failed_at = now;
	if (route->failing_since < 0)
		route->failing_since = now;
}

/* A sample that is asked again, for want of a score, starts afresh */
static RstarVerdict
done(RstarAttempt *attempt)
{
	attempt->failures = attempt->transports = 0;
	attempt->pushbacks = attempt->refusals = 0;
	attempt->errors = attempt->losses = attempt->away = 0;
	attempt->blamed_at = 0;
	attempt->tried = 0;
	attempt->last_endpoint = -1;
	return RSTAR_VERDICT_DONE;
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
		bool		marked;

		if (rstar_endpoint_find_mark(endpoint, attempt->mapping) == NULL)
			attempt->refusals++;
		marked = rstar_endpoint_mark(endpoint, attempt->mapping, now);
		if (!marked || rstar_choose_all_marked(route, attempt->mapping))
		{
			answered(route, endpoint, attempt);
			return RSTAR_VERDICT_FAIL;
		}
		rstar_verdict_failed(route, endpoint, now);
		if (attempt->refusals >= route->n)
			return RSTAR_VERDICT_FAIL;
	}
	attempt->pushbacks = 0;
	attempt->not_before = now;
	return RSTAR_VERDICT_RETRY;
}

/* It goes wherever there is room before a Retry-After is over */
static RstarVerdict
pushed_back(RstarRoute *route, RstarAttempt *attempt, int64_t now)
{
	attempt->not_before = now + rstar_endpoint_jitter(&route->random, PUSHBACK_SHORTEST,
													  PUSHBACK_LONGEST, ++attempt->pushbacks);
	return RSTAR_VERDICT_RETRY;
}

/*
 * A connection that is broken uses an attempt up only where the sample is to
 * blame.  So it outlives any outage, which is for rstar_route_unavailable() to
 * end, but not its own poison.
 */
static RstarVerdict
transport(RstarRoute *route, RstarAttempt *attempt, const RstarEndpoint *endpoint, int64_t now)
{
	/*
	 * one more try even with "retries" 0: a kept-alive connection may be
	 * stale
	 */
	int			retries = route->config.retries > 0 ? route->config.retries : 1;

	if (endpoint != NULL)
	{
		if (is_to_blame(attempt, endpoint, now))
			attempt->failures++;
		attempt->tried |= UINT64_C(1) << attempt->last_endpoint;
	}
	go_elsewhere(route, attempt, now);
	return attempt->failures > retries ? RSTAR_VERDICT_FAIL : RSTAR_VERDICT_RETRY;
}

/* At once, if there is another endpoint; always on a new connection */
static void
go_elsewhere(RstarRoute *route, RstarAttempt *attempt, int64_t now)
{
	attempt->transports++;
	attempt->pushbacks = 0;
	attempt->not_before = rstar_choose_is_other(route, attempt, now) ? now :
		now + rstar_endpoint_jitter(&route->random, RETRY_SHORTEST,
									RETRY_LONGEST, attempt->transports);
}

/*
 * A server that was told to end takes all with it that it had.  None of these
 * is to blame; but one that is there each time may be.
 */
static RstarVerdict
lost(RstarRoute *route, RstarAttempt *attempt, const RstarEndpoint *endpoint, int64_t now)
{
	if (++attempt->losses > FREE_LOSSES)
		return transport(route, attempt, endpoint, now);
	return not_to_blame(route, attempt, endpoint, now);
}

/*
 * Nor is a sample that was never sent, for nobody listens: one that ends may
 * answer what it has, and then looks well again and again.
 */
static RstarVerdict
not_to_blame(RstarRoute *route, RstarAttempt *attempt, const RstarEndpoint *endpoint, int64_t now)
{
	if (endpoint != NULL)
		attempt->tried |= UINT64_C(1) << attempt->last_endpoint;
	go_elsewhere(route, attempt, now);
	return RSTAR_VERDICT_RETRY;
}

/*
 * The same, where the endpoint fails everybody.  Where only one or two have
 * failed there, it is not known to be ill, and a lone sample is not to wait
 * for rstar_route_unavailable().
 *
 * What a gateway says whose servers are away it says to all at once, and again
 * after it has answered some: nginx leaves a server alone for 10 s that was late
 * once, and one that has come back is late, for it gets what was meant for all.
 * So whom it says that to together with others is spared, some times.
 *
 * An endpoint that was out of use is tried with one sample at a time, or few, and
 * by then it is known that all fail, not that one does.  So while nobody has been
 * answered a gateway's word is not held against the sample that is tried.
 */
static RstarVerdict
server_error(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
			 const RstarOutcome *outcome, bool trying, int64_t now)
{
	bool		spared = trying && is_gateway(outcome);
	bool		blamed = !spared && (endpoint == NULL || is_to_blame(attempt, endpoint, now));

	if (endpoint != NULL)
		note_ill(endpoint, attempt->request, now);
	if (blamed && endpoint != NULL && is_away(outcome) &&
		endpoint->nill == RSTAR_OPEN_REQUESTS && attempt->away < FREE_AWAY)
	{
		attempt->away++;
		blamed = false;
	}
	if (blamed || (!spared && endpoint->nill < RSTAR_OPEN_REQUESTS))
		return use_attempt(route, attempt, now);
	attempt->pushbacks = 0;
	attempt->tried |= UINT64_C(1) << attempt->last_endpoint;
	attempt->not_before = now + rstar_endpoint_jitter(&route->random, RETRY_SHORTEST,
													  RETRY_LONGEST, ++attempt->errors);
	return RSTAR_VERDICT_RETRY;
}

/* Was it said by somebody on the way, and not by the server? */
static bool
is_gateway(const RstarOutcome *outcome)
{
	return outcome->kind == RSTAR_OUTCOME_STATUS &&
		(is_away(outcome) || rstar_verdict_class(outcome) == RSTAR_CLASS_TIMEOUT);
}

/* He has not come through to it */
static bool
is_away(const RstarOutcome *outcome)
{
	return outcome->status == 502 || outcome->away;
}

static void
note_ill(RstarEndpoint *endpoint, uint32_t request, int64_t now)
{
	int			i = 0;

	if (endpoint->nill == 0)
		endpoint->ill_since = now;
	while (i < endpoint->nill && endpoint->ill[i] != request)
		i++;
	if (i == endpoint->nill && i < RSTAR_OPEN_REQUESTS)
		endpoint->ill[endpoint->nill++] = request;
}

/*
 * What has waited in line was never begun.  We sent too much, and send less
 * now.  It ends, for whoever waits so was preceded by answers: either these
 * are all that there were, or fewer are ahead of it the next time.
 *
 * Else it is the sample's, if our own patience was at an end.  That of somebody
 * on the way is like an error: he may wait in vain for all.  Either way it shows
 * that the endpoint is ill, and what he says next is taken so.
 */
static RstarVerdict
late(RstarRoute *route, RstarAttempt *attempt, RstarEndpoint *endpoint,
	 const RstarOutcome *outcome, bool trying, int64_t now)
{
	if (endpoint == NULL || !rstar_endpoint_kept_waiting(endpoint, attempt))
		return is_gateway(outcome) ? server_error(route, attempt, endpoint, outcome, trying, now) :
			use_attempt(route, attempt, now);
	if (is_gateway(outcome))
		note_ill(endpoint, attempt->request, now);
	attempt->pushbacks = 0;
	attempt->not_before = now + rstar_endpoint_jitter(&route->random, RETRY_SHORTEST,
													  RETRY_LONGEST, 1);
	return RSTAR_VERDICT_RETRY;
}

/*
 * Where one sample at a time is tried, it might be the same one each time, which
 * may be what the server fails at.
 */
static void
let_others_try(const RstarRoute *route, RstarAttempt *attempt, const RstarEndpoint *endpoint)
{
	int64_t		turn = rstar_endpoint_probe_at(endpoint, true) + TRIAL_TURN;

	for (int i = 0; i < route->n; i++)
	{
		if (route->endpoints[i].circuit == RSTAR_CIRCUIT_CLOSED)
			return;
	}
	if (attempt->not_before < turn)
		attempt->not_before = turn;
}

/*
 * Is it the endpoint that is down, or does the request bring it down?  The
 * latter, when it has answered a request that was sent since the last failure
 * that the sample was blamed for (or any, for the first).  Answers to what was
 * sent before say nothing: who shuts down still gives them.  Failures that
 * it is not blamed for do not move the time, or one that comes back faster
 * than answers come would never be blamed.  A 502 that it is spared does, and
 * these are few.
 */
static bool
is_to_blame(RstarAttempt *attempt, const RstarEndpoint *endpoint, int64_t now)
{
	bool		blamed = endpoint->served_at >= attempt->blamed_at;

	if (blamed || attempt->blamed_at == 0)
		attempt->blamed_at = now;
	return blamed;
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
