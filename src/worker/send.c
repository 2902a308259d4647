/*-------------------------------------------------------------------------
 *
 * send.c
 *		Samples in work: sent, retried, answered, failed, closed.
 *
 * A sample that was claimed is either flying (it has a transfer) or delayed
 * (it waits for an endpoint, or for the time of its next attempt).  route.c
 * says where it goes and what its outcome means; here that is done.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/inval.h"

#include "base/clock.h"
#include "model/reply_details.h"
#include "model/server.h"
#include "shared/counters.h"
#include "shared/recent.h"
#include "worker/abort.h"
#include "worker/fit.h"
#include "worker/http.h"
#include "worker/inspect.h"
#include "worker/models.h"
#include "worker/outcome.h"
#include "worker/probe.h"
#include "worker/recall.h"
#include "worker/route.h"
#include "worker/sample.h"
#include "worker/send.h"
#include "worker/share.h"
#include "worker/target.h"

/* Copies of request bodies that are in flight, all together but for the last one */
#define MAX_BODY_BYTES (256 * 1024 * 1024)

/*
 * With so many in flight, replies gather for this share of the time that they
 * usually take, in us; less than the minimum is not worth a sleep.
 */
#define GATHER_FLYING 32
#define GATHER_SHARE 100
#define GATHER_MIN INT64CONST(250)
#define GATHER_MAX INT64CONST(4000)

/* While samples wait, a silent server is looked for this often, in us */
#define SILENCE_CHECK INT64CONST(250000)

static int	max_exchanges = 0;
static int64 next_wake = PG_INT64_MAX;
static int64 usual_elapsed = 0; /* of answers, us; a moving mean */

static void turn_target(RstarTarget *target, int64 now);
static void reload(RstarTarget *target);
static void close_lost(RstarTarget *target, int endpoint, int64 before);
static void lose(RstarSample *sample);
static void send_delayed(RstarTarget *target, RstarPriority priority, int64 now);
static void send_background(RstarTarget *target, int64 now);
static void fail_without_config(RstarSample *sample);
static RstarStatus silence(const RstarTarget *target);
static void fail_delayed(RstarTarget *target, RstarStatus status, const char *detail);
static void claims_sent(RstarTarget *target, int64 now);
static bool place(RstarSample *sample, int64 now);
static bool send_sample(RstarSample *sample, int64 now);
static bool refuse(RstarSample *sample, int endpoint, int64 now);
static void not_started(RstarSample *sample);
static void close_attempt(RstarSample *sample);
static void sample_done(const RstarHttpReply *reply);
static RstarVerdict finished(RstarSample *sample, const RstarOutcome *outcome,
							 const RstarAttemptEnd *end);
static void answered(RstarSample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
					 bool full, const char *endpoint);
static void failed(RstarSample *sample, RstarStatus status, int http_status, const char *detail);

void
rstar_send_init(int max)
{
	rstar_sample_init();
	max_exchanges = max;
	rstar_target_init();
}

int
rstar_send_active(void)
{
	return rstar_sample_count();
}

int
rstar_send_flying(void)
{
	return rstar_sample_flying();
}

int64
rstar_send_gather(void)
{
	int64		gather = usual_elapsed / GATHER_SHARE;

	if (rstar_sample_flying() < GATHER_FLYING || gather < GATHER_MIN)
		return 0;
	return Min(gather, GATHER_MAX);
}

int64
rstar_send_wake(void)
{
	return next_wake;
}

int
rstar_send_room(void)
{
	return rstar_sample_bytes() > MAX_BODY_BYTES ? 0 : Max(max_exchanges - rstar_sample_count(), 0);
}

void
rstar_send_turn(int64 now)
{
	next_wake = PG_INT64_MAX;
	rstar_target_each(turn_target, now);
}

static void
turn_target(RstarTarget *target, int64 now)
{
	int64		wake;
	int64		before;
	int			endpoint;

	if (target->version != rstar_server_version() ||
		(target->unread.since > 0 && now >= target->unread.retry_at))
		reload(target);
	if (rstar_target_unread(&target->unread, now))
	{
		if (target->ndelayed > 0)
			next_wake = Min(next_wake, target->unread.retry_at);
		return;
	}
	if (target->config == NULL)
	{
		memset(target->nready, 0, sizeof(target->nready));
		while (!dlist_is_empty(&target->delayed))
			fail_without_config(dlist_head_element(RstarSample, link, &target->delayed));
		if (target->dropped && dlist_is_empty(&target->flying))
			rstar_target_forget(target);
		return;
	}
	while ((endpoint = rstar_route_lost(target->route, now, &before)) >= 0)
		close_lost(target, endpoint, before);
	wake = rstar_probe_turn(target, now);
	(void) rstar_target_turn(target, now);
	rstar_recall_turn(target, now);
	if (target->ndelayed > 0)
		rstar_route_wanted(target->route, now);
	/* Before anything is sent again: what is on its way gives hope */
	if (rstar_target_silent(target, now))
		fail_delayed(target, silence(target), target->last_error);
	else if (now >= target->wake || target->ndelayed == 0)
	{
		/* Nothing tells of room that what is cancelled leaves */
		target->wake = now + SILENCE_CHECK;
		target->turns = true;
		send_delayed(target, RSTAR_PRIORITY_INTERACTIVE, now);
	}
	if (target->ndelayed > 0)
		next_wake = Min(next_wake, Min(target->wake, now + SILENCE_CHECK));
	next_wake = Min(next_wake, Min(wake, rstar_target_turn(target, now)));
}

static void
reload(RstarTarget *target)
{
	int			map[RSTAR_SERVER_MAX_URLS];
	bool		changed;

	(void) rstar_target_load(target->serverid, map, &changed);
	if (changed)
		rstar_sample_renumber(target, map);
	target->wake = 0;
}

/* What was sent there before is closed, and goes to another, or waits */
static void
close_lost(RstarTarget *target, int endpoint, int64 before)
{
	const char *url = rstar_target_endpoint(target, endpoint);
	dlist_mutable_iter iter;
	int			n = 0;

	dlist_foreach_modify(iter, &target->flying)
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);

		if (sample->attempt.endpoint != endpoint || sample->attempt.sent_at >= before)
			continue;
		lose(sample);
		n++;
	}
	if (n > 0 && url != NULL)
		ereport(LOG,
				(errmsg("endpoint \"%s\" of server \"%s\" has gone with %d samples in work",
						url, target->config->name, n),
				 errdetail("They are asked for again.")));
	rstar_target_log_changes(target, 0, "connection refused");
	if (url != NULL)
		rstar_target_forget_models(target, endpoint);
	rstar_target_publish(target, endpoint);
	target->wake = 0;
}

static void
lose(RstarSample *sample)
{
	RstarTarget *target = sample->target;
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_LOST,.retry_after = -1};
	RstarAttemptEnd end = {
		.ending = RSTAR_ENDING_UNREACHABLE,
		.status = RSTAR_STATUS_UNREACHABLE,
		.detail = "the server has gone without a reply"
	};

	rstar_http_cancel(sample->transfer);
	rstar_sample_land(sample);
	if (finished(sample, &outcome, &end) == RSTAR_VERDICT_FAIL)
		failed(sample, end.status, 0, end.detail);
	else
		strlcpy(target->last_error, end.detail, sizeof(target->last_error));
}

/*
 * Those of this priority are sent, oldest first, as far as there is room; of
 * lower ones it is counted who would go.
 */
static void
send_delayed(RstarTarget *target, RstarPriority priority, int64 now)
{
	dlist_mutable_iter iter;

	for (int i = priority; i < RSTAR_NPRIORITIES; i++)
		target->nready[i] = 0;
	dlist_foreach_modify(iter, &target->delayed)
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);
		RstarPriority its = rstar_dispatch_priority(sample->claim.request);
		bool		due = sample->attempt.not_before <= now;

		if (its < priority || (its == priority && place(sample, now)))
			continue;
		if (due)
			target->nready[its]++;
	}
}

/* After the claims, which may have taken the room */
void
rstar_send_background(int64 now)
{
	rstar_target_each(send_background, now);
}

static void
send_background(RstarTarget *target, int64 now)
{
	target->nyielding = -1;
	if (!target->turns)
		return;
	target->turns = false;
	if (target->config == NULL || target->silent)
		return;
	send_delayed(target, RSTAR_PRIORITY_BACKGROUND, now);
	if (target->ndelayed > 0)
		next_wake = Min(next_wake, Min(target->wake, now + SILENCE_CHECK));
}

/* Of a server that is silent */
static RstarStatus
silence(const RstarTarget *target)
{
	return target->never ? RSTAR_STATUS_NEVER : RSTAR_STATUS_UNAVAILABLE;
}

static void
fail_delayed(RstarTarget *target, RstarStatus status, const char *detail)
{
	memset(target->nready, 0, sizeof(target->nready));
	while (!dlist_is_empty(&target->delayed))
		failed(dlist_head_element(RstarSample, link, &target->delayed), status, 0, detail);
}

static void
fail_without_config(RstarSample *sample)
{
	if (sample->target->unread.since > 0)
		failed(sample, RSTAR_STATUS_SETUP, 0, "the server's options could not be read now");
	else
		failed(sample, RSTAR_STATUS_SERVER_GONE, 0, NULL);
}

bool
rstar_send_claims(const RstarClaim *claims, int n, int64 now)
{
	int			map[RSTAR_SERVER_MAX_URLS];
	bool		changed;
	int			before = rstar_sample_count();

	/* Who asks may know a server that was altered since this turn began */
	AcceptInvalidationMessages();
	for (int i = 0; i < n; i++)
	{
		RstarTarget *target = rstar_target_find(claims[i].serverid);
		RstarSample *sample;

		if (target != NULL && target->version != rstar_server_version())
		{
			turn_target(target, now);
			/* it may be forgotten now */
			target = rstar_target_find(claims[i].serverid);
		}
		if (target == NULL)
			target = rstar_target_load(claims[i].serverid, map, &changed);
		sample = rstar_sample_new(&claims[i], target);
		if (target->config == NULL)
		{
			/* A check says how it is now */
			if (sample->claim.kind == RSTAR_KIND_CHECK ||
				!rstar_target_unread(&target->unread, now))
				fail_without_config(sample);
		}
		else if (sample->claim.kind == RSTAR_KIND_CHECK)
			rstar_inspect_start(sample);
		else if (!place(sample, now))
		{
			target->nready[rstar_dispatch_priority(sample->claim.request)]++;
			if (rstar_target_silent(target, now))
				failed(sample, silence(target), 0, target->last_error);
		}
	}
	rstar_target_each(claims_sent, now);
	rstar_share_all_sent();
	return rstar_sample_count() - before < n;
}

/* What was admitted is counted by route.c now, or delayed */
static void
claims_sent(RstarTarget *target, int64 now)
{
	rstar_share_sent(target);
	if (target->config != NULL)
		next_wake = Min(next_wake, Min(rstar_probe_turn(target, now), rstar_target_turn(target, now)));
	if (target->ndelayed > 0)
		next_wake = Min(next_wake, Min(target->wake, now + SILENCE_CHECK));
}

/* As send_sample(), and one of the background may give way to it, if it is for want of room */
static bool
place(RstarSample *sample, int64 now)
{
	RstarTarget *target = sample->target;
	RstarSample *victim;
	int64		wake;

	if (send_sample(sample, now))
		return true;
	if (sample->attempt.not_before > now || sample->attempt.tried != 0 ||
		rstar_dispatch_priority(sample->claim.request) != RSTAR_PRIORITY_INTERACTIVE ||
		rstar_sample_bytes() > MAX_BODY_BYTES ||
		rstar_route_choose(target->route, &sample->attempt, now, &wake) >= 0)
		return false;
	victim = rstar_share_victim(target, sample->claim.mapping, now);
	if (victim == NULL)
		return false;
	close_attempt(victim);
	victim->yielded = true;
	target->wake = 0;
	return send_sample(sample, now);
}

/* False: it stays delayed.  The sample may have failed, and be gone, if true. */
static bool
send_sample(RstarSample *sample, int64 now)
{
	RstarTarget *target = sample->target;
	RstarChannel *channel;
	int64		wake = PG_INT64_MAX;
	int			endpoint;
	bool		started;

	/* Its answer would be stored under the key of another model */
	if (sample->claim.fingerprint != target->fingerprint)
	{
		failed(sample, RSTAR_STATUS_SERVER_ALTERED, 0, NULL);
		return true;
	}
	if (rstar_sample_bytes() > MAX_BODY_BYTES)
	{
		/* Those of another server may be the ones that land */
		endpoint = -1;
		wake = now + SILENCE_CHECK;
	}
	else
		endpoint = rstar_route_choose(target->route, &sample->attempt, now, &wake);
	if (endpoint < 0)
	{
		target->wake = Min(target->wake, wake);
		return false;
	}
	channel = rstar_target_channel(target, sample->claim.mapping);
	if (channel->headers == NULL && rstar_target_unread(&channel->unread, now))
	{
		sample->attempt.not_before = channel->unread.retry_at;
		target->wake = Min(target->wake, sample->attempt.not_before);
		rstar_target_leave_channel(channel);
		return false;
	}
	if (channel->headers == NULL)
	{
		char		error[RSTAR_DETAIL_LEN];

		strlcpy(error, channel->error, sizeof(error));
		rstar_target_leave_channel(channel);
		/* The next one tries again: the file with the key may be there then */
		rstar_target_forget_channel(target, sample->claim.mapping);
		failed(sample, RSTAR_STATUS_SETUP, 0, error);
		return true;
	}
	switch (rstar_models_serves(target, endpoint, channel, now))
	{
		case RSTAR_SERVES_UNKNOWN:
			rstar_target_leave_channel(channel);
			target->wake = Min(target->wake, now + SILENCE_CHECK);
			return false;
		case RSTAR_SERVES_OTHER:
			rstar_target_leave_channel(channel);
			return refuse(sample, endpoint, now);
		case RSTAR_SERVES:
			break;
	}
	started = rstar_sample_start(sample, channel, endpoint, sample_done);
	rstar_route_sent(target->route, &sample->attempt, endpoint, now);
	sample->stats = target->stats[endpoint];
	rstar_counters_sent(sample->stats, sample->attempts++ > 0);
	rstar_dispatch_sent(sample->claim.request, target->names[endpoint]);
	if (!started)
	{
		rstar_target_leave_channel(channel);
		not_started(sample);
	}
	return started;
}

/*
 * It serves another model, and would answer: as if it had refused.  False: the
 * sample goes to another endpoint.
 */
static bool
refuse(RstarSample *sample, int endpoint, int64 now)
{
	RstarTarget *target = sample->target;
	RstarOutcome outcome = {
		.kind = RSTAR_OUTCOME_STATUS,
		.status = 404,
		.retry_after = -1,
		.unknown_model = true,
		.own = true
	};
	RstarAttemptEnd end = {
		.ending = RSTAR_ENDING_REFUSED,
		.status = RSTAR_STATUS_UNKNOWN_MODEL,
		.http_status = 200,
		.detail = target->listed[endpoint].other
	};
	bool		fails;

	rstar_route_sent(target->route, &sample->attempt, endpoint, now);
	sample->stats = target->stats[endpoint];
	rstar_counters_sent(sample->stats, sample->attempts++ > 0);
	fails = finished(sample, &outcome, &end) == RSTAR_VERDICT_FAIL;
	rstar_target_log_changes(target, 0, "it serves another model");
	if (fails)
		failed(sample, end.status, end.http_status, end.detail);
	else
		target->wake = 0;
	return fails;
}

/*
 * Without memory it is over at once, as if the endpoint had pushed it back:
 * the sample is sent again later, and meanwhile fewer are.
 */
static void
not_started(RstarSample *sample)
{
	RstarTarget *target = sample->target;
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = 503,.retry_after = -1,.own = true};
	RstarAttemptEnd end = {.ending = RSTAR_ENDING_NOT_SENT,.status = RSTAR_STATUS_SETUP,.detail = "out of memory"};

	(void) finished(sample, &outcome, &end);
	strlcpy(target->last_error, end.detail, sizeof(target->last_error));
	target->wake = Min(target->wake, sample->attempt.not_before);
}

int
rstar_send_cancel(int slot)
{
	RstarSample *sample;
	int			n = 0;

	while ((sample = rstar_sample_of(slot)) != NULL)
	{
		if (sample->transfer != NULL)
			close_attempt(sample);
		rstar_sample_free(sample);
		n++;
	}
	return n;
}

static void
close_attempt(RstarSample *sample)
{
	RstarOutcome outcome = {
		.kind = RSTAR_OUTCOME_CANCELLED,
		.retry_after = -1
	};
	RstarAttemptEnd end = {.ending = RSTAR_ENDING_CANCELLED};

	rstar_abort_sample(sample);
	rstar_http_cancel(sample->transfer);
	rstar_sample_land(sample);
	if (sample->claim.kind == RSTAR_KIND_SCORE)
		(void) finished(sample, &outcome, &end);
}

static void
sample_done(const RstarHttpReply *reply)
{
	RstarSample *sample = reply->owner;
	RstarTarget *target = sample->target;
	const char *endpoint = rstar_target_endpoint(target, sample->attempt.endpoint);
	RstarReply	parsed;
	RstarJudgement judged;
	RstarAttemptEnd end;
	RstarReading reading;
	bool		full;

	if (reply->result == RSTAR_HTTP_TIMEOUT)
		rstar_abort_sample(sample);
	/* To land may free the headers, and with them reply->secrets */
	reading.form = sample->claim.form;
	reading.text = rstar_recent_kept() || rstar_dispatch_keeps(sample->claim.request);
	rstar_outcome_judge(reply, &reading, &parsed, &judged);
	rstar_outcome_say_what(&judged, "POST", endpoint ? target->chat_urls[sample->attempt.endpoint] : NULL,
						   sample->channel->key_from);
	rstar_sample_land(sample);
	if (judged.status == RSTAR_STATUS_UNAUTHORIZED)
		rstar_target_forget_channel(target, sample->claim.mapping);
	rstar_fit_learn(sample, &parsed);
	full = rstar_fit_is_full(sample, &parsed);
	if (parsed.error == RSTAR_ERROR_TOO_LONG || full)
		judged.outcome.again = rstar_fit_shorten(sample, &parsed, full);
	if (parsed.error == RSTAR_ERROR_PRIORITY && sample->told)
	{
		rstar_target_refuses_priority(target, sample->attempt.endpoint);
		judged.outcome.again = true;
	}
	rstar_outcome_attempt(&judged, &parsed, reply->elapsed_us, &end);
	switch (finished(sample, &judged.outcome, &end))
	{
		case RSTAR_VERDICT_DONE:
			usual_elapsed += (reply->elapsed_us - usual_elapsed) / 32;
			answered(sample, reply, &parsed, full && sample->full_sure, endpoint);
			break;
		case RSTAR_VERDICT_RETRY:
			strlcpy(target->last_error, judged.detail, sizeof(target->last_error));
			break;
		case RSTAR_VERDICT_FAIL:
			failed(sample, judged.status, judged.http_status, judged.detail);
			break;
	}
	rstar_target_log_changes(target, reply->result == RSTAR_HTTP_REPLY ? reply->status : 0,
							 reply->error);
	target->wake = 0;			/* there is room now, or one more to send */
	rstar_reply_free(&parsed);
}

/* The attempt is over, for the endpoint and for its counters */
static RstarVerdict
finished(RstarSample *sample, const RstarOutcome *outcome, const RstarAttemptEnd *end)
{
	int			endpoint = sample->attempt.endpoint;
	RstarVerdict verdict = rstar_route_finished(sample->target->route, &sample->attempt, outcome,
												rstar_clock());

	rstar_counters_ended(sample->stats, end);
	sample->stats = NULL;
	rstar_target_publish(sample->target, endpoint);
	return verdict;
}

/* A reply without a score is asked again, under another number */
static void
answered(RstarSample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
		 bool full, const char *endpoint)
{
	RstarAnswer answer;
	char		detail[RSTAR_DETAIL_LEN];
	const RstarServer *config = sample->target->config;
	bool		again = config != NULL && sample->unscored < config->retries;

	memset(&answer, 0, sizeof(answer));
	answer.score = parsed->status == RSTAR_REPLY_SCORE ? parsed->score : -1;
	answer.unscored = RSTAR_STATUS_NO_SCORE;
	if (parsed->status == RSTAR_REPLY_TRUNCATED)
	{
		answer.unscored = full ? RSTAR_STATUS_CONTEXT_FULL : RSTAR_STATUS_TRUNCATED;
		answer.detail = rstar_fit_ended_early(sample, parsed, detail);
	}
	answer.prompt_tokens = parsed->prompt_tokens;
	answer.completion_tokens = parsed->completion_tokens;
	answer.cached_tokens = parsed->cached_tokens;
	answer.http_status = reply->status;
	answer.elapsed_us = reply->elapsed_us;
	if (rstar_dispatch_keeps(sample->claim.request))
		answer.kept = rstar_reply_details(parsed, endpoint, reply->elapsed_us, &answer.kept_len);
	else if (answer.score >= 0 && parsed->text != NULL)
		rstar_outcome_keep(&sample->claim.key, reply, parsed, endpoint);
	if (!rstar_dispatch_answered(sample->claim.request, &answer, again, &sample->claim.sample))
	{
		rstar_sample_free(sample);
		return;
	}
	sample->unscored++;
	sample->attempts = 0;
	sample->attempt.not_before = 0;
}

static void
failed(RstarSample *sample, RstarStatus status, int http_status, const char *detail)
{
	struct RstarRequest *request = sample->claim.request;

	rstar_sample_free(sample);
	rstar_dispatch_failed(request, status, http_status, detail);
}
