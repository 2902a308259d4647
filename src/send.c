/*-------------------------------------------------------------------------
 *
 * send.c
 *		Samples in work: sent, retried, answered, failed, closed.
 *
 * Called by: worker.c.  Calls: sample.c, target.c, route.c, http.c, outcome.c,
 * probe.c, abort.c, shorten.c, reply_details.c, counters.c (each attempt) and,
 * for what came of a sample, dispatch.c.
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

#include "portability/instr_time.h"
#include "utils/inval.h"

#include "abort.h"
#include "counters.h"
#include "outcome.h"
#include "probe.h"
#include "reply_details.h"
#include "sample.h"
#include "send.h"
#include "shorten.h"
#include "target.h"

/* Of a server that was not loaded yet, so many samples are claimed at first */
#define FIRST_CLAIMS 16

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

/* A server that is not loaded, and its samples that were admitted, of one claim */
static Oid	unknown = InvalidOid;
static int	unknown_admitted = 0;

static void turn_target(RstarTarget *target, int64 now);
static void reload(RstarTarget *target);
static void send_delayed(RstarTarget *target, int64 now);
static void fail_without_config(RstarSample *sample);
static void fail_delayed(RstarTarget *target, RstarStatus status, const char *detail);
static void claims_sent(RstarTarget *target, int64 now);
static bool send_sample(RstarSample *sample, int64 now);
static void not_started(RstarSample *sample);
static bool start(RstarSample *sample, RstarChannel *channel, int endpoint);
static void send_check(RstarSample *sample);
static void sample_done(RstarSample *sample, const RstarHttpReply *reply);
static bool shorten(RstarSample *sample, const RstarReply *parsed);
static RstarVerdict finished(RstarSample *sample, const RstarOutcome *outcome,
							 const RstarAttemptEnd *end);
static void check_done(RstarSample *sample, const RstarHttpReply *reply);
static void answered(RstarSample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
					 const char *endpoint);
static void failed(RstarSample *sample, RstarStatus status, int http_status, const char *detail);

int64
rstar_send_clock(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

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
		target->nready = 0;
		while (!dlist_is_empty(&target->delayed))
			fail_without_config(dlist_head_element(RstarSample, link, &target->delayed));
		if (target->dropped && dlist_is_empty(&target->flying))
			rstar_target_forget(target);
		return;
	}
	wake = rstar_probe_turn(target, now);
	if (target->ndelayed > 0)
		send_delayed(target, now);
	else
		target->nready = 0;		/* they were cancelled, or failed at once */

	target->silent = rstar_route_unavailable(target->route, now,
											 target->config->unavailable_timeout * INT64CONST(1000));
	if (target->silent)
		fail_delayed(target, RSTAR_STATUS_UNAVAILABLE, target->last_error);
	else if (target->ndelayed > 0)
		next_wake = Min(next_wake, Min(target->wake, now + SILENCE_CHECK));
	next_wake = Min(next_wake, wake);
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

/* Oldest first; ends when the endpoints can take no more */
static void
send_delayed(RstarTarget *target, int64 now)
{
	dlist_mutable_iter iter;

	if (now < target->wake)
		return;					/* nothing has changed for them */
	target->wake = PG_INT64_MAX;
	target->nready = 0;
	dlist_foreach_modify(iter, &target->delayed)
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);
		bool		due = sample->attempt.not_before <= now;

		if (!send_sample(sample, now) && due)
			target->nready++;
	}
}

static void
fail_delayed(RstarTarget *target, RstarStatus status, const char *detail)
{
	target->nready = 0;
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

/*
 * A server that is not known yet is loaded by its first claims; one that is
 * gone or silent takes all, for them to fail.
 */
bool
rstar_send_admit(Oid serverid, Oid mapping)
{
	RstarTarget *target = rstar_target_find(serverid);

	if (target == NULL)
	{
		if (unknown != serverid)
			unknown_admitted = 0;
		unknown = serverid;
		return unknown_admitted++ < FIRST_CLAIMS;
	}
	if (rstar_target_unread(&target->unread, rstar_send_clock()) &&
		target->admitted + target->ndelayed >= FIRST_CLAIMS)
		return false;
	if (target->config != NULL && !target->silent &&
		target->admitted + target->nready >=
		rstar_route_capacity(target->route, mapping, rstar_send_clock()))
		return false;
	target->admitted++;
	return true;
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
			send_check(sample);
		else if (!send_sample(sample, now))
		{
			target->nready++;
			if (target->silent)
				failed(sample, RSTAR_STATUS_UNAVAILABLE, 0, target->last_error);
		}
	}
	rstar_target_each(claims_sent, now);
	unknown = InvalidOid;
	return rstar_sample_count() - before < n;
}

/* What was admitted is counted by route.c now, or delayed */
static void
claims_sent(RstarTarget *target, int64 now)
{
	target->admitted = 0;
	if (target->ndelayed > 0)
		next_wake = Min(next_wake, Min(target->wake, now + SILENCE_CHECK));
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
	started = start(sample, channel, endpoint);
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
 * Without memory it is over at once, as if the endpoint had pushed it back:
 * the sample is sent again later, and meanwhile fewer are.
 */
static void
not_started(RstarSample *sample)
{
	RstarTarget *target = sample->target;
	RstarOutcome outcome = {.kind = RSTAR_OUTCOME_STATUS,.status = 503,.retry_after = -1};
	RstarAttemptEnd end = {.ending = RSTAR_ENDING_NOT_SENT,.status = RSTAR_STATUS_SETUP,.detail = "out of memory"};

	(void) finished(sample, &outcome, &end);
	strlcpy(target->last_error, end.detail, sizeof(target->last_error));
	target->wake = Min(target->wake, sample->attempt.not_before);
}

/* False: out of memory, and the sample remains as it was */
static bool
start(RstarSample *sample, RstarChannel *channel, int endpoint)
{
	RstarTarget *target = sample->target;
	const RstarUrl *url = &target->config->urls[endpoint];
	RstarHttpRequest request;
	RstarTransfer *transfer;
	char		request_id[RSTAR_SAMPLE_ID_LEN];
	char		end[RSTAR_SAMPLE_END_LEN];

	rstar_sample_number(sample);
	rstar_sample_id(sample, request_id);
	/* another sample of the pair may have found out that it is too long */
	sample->claim.doc_kept = rstar_dispatch_doc_kept(sample->claim.request);
	memset(&request, 0, sizeof(request));
	request.url = target->chat_urls[endpoint];
	request.unix_socket = url->unix_socket;
	request.ca_file = target->config->ca_file;
	request.headers = channel->headers;
	request.request_id = request_id;
	/* the server may have closed others that we kept, too */
	request.fresh = sample->attempt.transports > 0;
	request.timeout = target->config->timeout;
	request.connect_timeout = target->config->connect_timeout;
	request.owner = sample;
	rstar_sample_body(sample, &request, end);
	transfer = rstar_http_start(&request);
	if (transfer == NULL)
		return false;
	rstar_sample_fly(sample, transfer, channel, request.body_len + request.body_end_len);
	return true;
}

/* Asks for the models of one endpoint, whatever its state */
static void
send_check(RstarSample *sample)
{
	RstarTarget *target = sample->target;
	RstarChannel *channel;
	RstarHttpRequest request;
	RstarTransfer *transfer;

	if (sample->claim.endpoint >= target->config->nurls)
	{
		failed(sample, RSTAR_STATUS_SERVER_GONE, 0, NULL);
		return;
	}
	channel = rstar_target_channel(target, sample->claim.mapping);
	memset(&request, 0, sizeof(request));
	request.url = target->model_urls[sample->claim.endpoint];
	request.unix_socket = target->config->urls[sample->claim.endpoint].unix_socket;
	request.ca_file = target->config->ca_file;
	request.headers = channel->headers;
	request.timeout = request.connect_timeout = target->config->connect_timeout;
	request.owner = sample;
	transfer = channel->headers ? rstar_http_start(&request) : NULL;
	if (transfer == NULL)
	{
		char		error[RSTAR_DETAIL_LEN];

		strlcpy(error, channel->headers ? "out of memory" : channel->error, sizeof(error));
		rstar_target_leave_channel(channel);
		rstar_target_forget_channel(target, sample->claim.mapping);
		failed(sample, RSTAR_STATUS_SETUP, 0, error);
		return;
	}
	rstar_sample_fly(sample, transfer, channel, 0);
}

int
rstar_send_cancel(int slot)
{
	RstarSample *sample;
	int			n = 0;

	while ((sample = rstar_sample_of(slot)) != NULL)
	{
		if (sample->transfer != NULL)
		{
			RstarOutcome outcome = {.kind = RSTAR_OUTCOME_CANCELLED,.retry_after = -1};

			rstar_abort_sample(sample);
			rstar_http_cancel(sample->transfer);
			rstar_sample_land(sample);
			if (sample->claim.kind == RSTAR_KIND_SCORE)
				(void) finished(sample, &outcome, &(RstarAttemptEnd) {.ending = RSTAR_ENDING_CANCELLED});
		}
		rstar_sample_free(sample);
		n++;
	}
	return n;
}

void
rstar_send_done(const RstarHttpReply *reply)
{
	switch (*(RstarExchange *) reply->owner)
	{
		case RSTAR_EXCHANGE_PROBE:
			rstar_probe_done(reply);
			break;
		case RSTAR_EXCHANGE_ABORT:
			rstar_abort_done(reply);
			break;
		case RSTAR_EXCHANGE_SAMPLE:
			sample_done(reply->owner, reply);
			break;
	}
}

static void
sample_done(RstarSample *sample, const RstarHttpReply *reply)
{
	RstarTarget *target = sample->target;
	const char *endpoint = rstar_target_endpoint(target, sample->attempt.endpoint);
	RstarReply	parsed;
	RstarJudgement verdict;
	RstarAttemptEnd end;

	rstar_sample_land(sample);
	if (sample->claim.kind == RSTAR_KIND_CHECK)
	{
		check_done(sample, reply);
		return;
	}
	rstar_outcome_judge(reply, rstar_dispatch_keeps(sample->claim.request), &parsed, &verdict);
	if (verdict.status == RSTAR_STATUS_UNAUTHORIZED)
		rstar_target_forget_channel(target, sample->claim.mapping);
	if (verdict.status == RSTAR_STATUS_TOO_LONG)
		verdict.outcome.again = shorten(sample, &parsed);
	rstar_outcome_attempt(&verdict, &parsed, reply->elapsed_us, &end);
	switch (finished(sample, &verdict.outcome, &end))
	{
		case RSTAR_VERDICT_DONE:
			usual_elapsed += (reply->elapsed_us - usual_elapsed) / 32;
			answered(sample, reply, &parsed, endpoint);
			break;
		case RSTAR_VERDICT_RETRY:
			strlcpy(target->last_error, verdict.detail, sizeof(target->last_error));
			break;
		case RSTAR_VERDICT_FAIL:
			failed(sample, verdict.status, verdict.http_status, verdict.detail);
			break;
	}
	rstar_target_log_changes(target, reply->result == RSTAR_HTTP_REPLY ? reply->status : 0,
							 reply->error);
	target->wake = 0;			/* there is room now, or one more to send */
	rstar_reply_free(&parsed);
}

/*
 * The server says that the text is too long for its model: its document is
 * cut, for all samples of the pair that are sent from now on.  False: that
 * does not help.
 */
static bool
shorten(RstarSample *sample, const RstarReply *parsed)
{
	const RstarServer *config = sample->target->config;
	const RstarClaim *claim = &sample->claim;
	RstarTooLong too_long = {0};
	size_t		keep;

	if (config == NULL)
		return false;
	if (rstar_dispatch_doc_kept(claim->request) < claim->doc_kept)
		return true;			/* for another sample, while this was in flight */
	too_long.text_len = claim->body_len - (claim->doc_len - claim->doc_kept);
	too_long.doc_len = claim->doc_kept;
	too_long.limit_tokens = parsed->limit_tokens > 0 ? parsed->limit_tokens : config->context_length;
	too_long.prompt_tokens = parsed->request_tokens;
	too_long.max_tokens = config->max_tokens;
	too_long.round = sample->shortened++;
	keep = rstar_shorten_to(&too_long);
	keep = rstar_shorten_cut(claim->body + claim->doc_at, claim->doc_kept, keep);
	if (keep == 0)
		return false;
	rstar_dispatch_shorten(claim->request, (int) keep);
	return true;
}

/* The attempt is over, for the endpoint and for its counters */
static RstarVerdict
finished(RstarSample *sample, const RstarOutcome *outcome, const RstarAttemptEnd *end)
{
	int			endpoint = sample->attempt.endpoint;
	RstarVerdict verdict = rstar_route_finished(sample->target->route, &sample->attempt, outcome,
												rstar_send_clock());

	rstar_counters_ended(sample->stats, end);
	sample->stats = NULL;
	rstar_target_publish(sample->target, endpoint);
	return verdict;
}

/* A reply without a score is asked again, under another number */
static void
answered(RstarSample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
		 const char *endpoint)
{
	RstarAnswer answer;
	const RstarServer *config = sample->target->config;
	bool		again = config != NULL && sample->unscored < config->retries;

	memset(&answer, 0, sizeof(answer));
	answer.score = parsed->status == RSTAR_REPLY_SCORE ? parsed->score : -1;
	answer.truncated = parsed->status == RSTAR_REPLY_TRUNCATED;
	answer.prompt_tokens = parsed->prompt_tokens;
	answer.completion_tokens = parsed->completion_tokens;
	answer.http_status = reply->status;
	answer.elapsed_us = reply->elapsed_us;
	if (rstar_dispatch_keeps(sample->claim.request))
		answer.kept = rstar_reply_details(parsed, endpoint, reply->elapsed_us, &answer.kept_len);
	if (!rstar_dispatch_answered(sample->claim.request, &answer, again, &sample->claim.sample))
	{
		rstar_sample_free(sample);
		return;
	}
	sample->unscored++;
	sample->attempts = 0;
	sample->attempt.failures = sample->attempt.transports = 0;
	sample->attempt.not_before = 0;
}

static void
failed(RstarSample *sample, RstarStatus status, int http_status, const char *detail)
{
	struct RstarRequest *request = sample->claim.request;

	rstar_sample_free(sample);
	rstar_dispatch_failed(request, status, http_status, detail);
}

/* Status 200, and the model among those that are served (llama.cpp takes any name) */
static void
check_done(RstarSample *sample, const RstarHttpReply *reply)
{
	const RstarServer *config;
	RstarAnswer answer;
	RstarReply	parsed;
	RstarJudgement verdict;

	rstar_outcome_judge(reply, false, &parsed, &verdict);
	rstar_reply_free(&parsed);
	if (verdict.status == RSTAR_STATUS_UNAUTHORIZED)
		rstar_target_forget_channel(sample->target, sample->claim.mapping);
	if (reply->result != RSTAR_HTTP_REPLY || reply->status != 200)
	{
		failed(sample, verdict.status, verdict.http_status, verdict.detail);
		return;
	}
	config = sample->target->config;
	if (config == NULL ||
		(!rstar_reply_models(reply->body, reply->body_len, config->model,
							 verdict.detail, sizeof(verdict.detail)) &&
		 config->dialect != RSTAR_DIALECT_LLAMACPP))
	{
		failed(sample, config ? RSTAR_STATUS_UNKNOWN_MODEL : RSTAR_STATUS_SERVER_GONE,
			   reply->status, verdict.detail);
		return;
	}
	memset(&answer, 0, sizeof(answer));
	answer.http_status = reply->status;
	answer.elapsed_us = reply->elapsed_us;
	answer.detail = verdict.detail;
	(void) rstar_dispatch_answered(sample->claim.request, &answer, false, &sample->claim.sample);
	rstar_sample_free(sample);
}
