/*-------------------------------------------------------------------------
 *
 * send.c
 *		Samples in work: sent, retried, answered, failed, closed.
 *
 * Called by: worker.c.  Calls: target.c, route.c, http.c, outcome.c, probe.c,
 * reply_details.c, counters.c (each attempt) and, for what came of a sample,
 * dispatch.c.
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

#include "common/hashfn.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "counters.h"
#include "guc.h"
#include "outcome.h"
#include "probe.h"
#include "reply_details.h"
#include "send.h"
#include "target.h"

/* Of a server that was not loaded yet, so many samples are claimed at first */
#define FIRST_CLAIMS 16

/* Copies of request bodies that are in flight, all together */
#define MAX_BODY_BYTES (256 * 1024 * 1024)

/* While samples wait, a silent server is looked for this often, in us */
#define SILENCE_CHECK INT64CONST(250000)

/* Members that a sample adds to its body: seed, rid */
#define MAX_BODY_END 256

typedef struct Sample
{
	RstarExchange kind;			/* first, see rstar_send_done() */
	dlist_node	link;			/* in target's delayed or flying */
	dlist_node	of_request;		/* in by_slot[claim.slot] */
	RstarClaim	claim;
	RstarTarget *target;
	RstarChannel *channel;		/* while flying */
	RstarTransfer *transfer;	/* while flying */
	RstarAttempt attempt;
	RstarEndpointStats *stats;	/* of the endpoint, while flying; or NULL */
	Size		body_bytes;		/* while flying */
	int			attempts;		/* sent so often under its present number */
	int			unscored;		/* replies without a score so far */
} Sample;

static MemoryContext sample_context = NULL;
static dlist_head *by_slot = NULL;
static int	max_exchanges = 0;
static int	nsamples = 0;
static int	nflying = 0;
static Size body_bytes = 0;
static int64 next_wake = PG_INT64_MAX;
static uint32 attempts = 0;

static void turn_target(RstarTarget *target, int64 now);
static void reload(RstarTarget *target);
static void renumber(RstarTarget *target, const int *map);
static void send_delayed(RstarTarget *target, int64 now);
static void fail_delayed(RstarTarget *target, RstarStatus status, const char *detail);
static void claims_sent(RstarTarget *target, int64 now);
static Sample *new_sample(const RstarClaim *claim, RstarTarget *target);
static void free_sample(Sample *sample);
static void fly(Sample *sample, RstarTransfer *transfer, RstarChannel *channel, Size bytes);
static void land(Sample *sample);
static bool send_sample(Sample *sample, int64 now);
static bool start(Sample *sample, int endpoint);
static int	body_end(const Sample *sample, const char *request_id, char *buf);
static uint32 seed(const RstarClaim *claim);
static void send_check(Sample *sample);
static void sample_done(Sample *sample, const RstarHttpReply *reply);
static RstarVerdict finished(Sample *sample, const RstarOutcome *outcome,
							 const RstarAttemptEnd *end);
static void check_done(Sample *sample, const RstarHttpReply *reply);
static void answered(Sample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
					 const char *endpoint);
static void failed(Sample *sample, RstarStatus status, int http_status, const char *detail);

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
	sample_context = AllocSetContextCreate(TopMemoryContext, "retrostar samples",
										   ALLOCSET_DEFAULT_SIZES);
	by_slot = MemoryContextAlloc(sample_context, rstar_max_requests * sizeof(dlist_head));
	for (int i = 0; i < rstar_max_requests; i++)
		dlist_init(&by_slot[i]);
	max_exchanges = max;
	rstar_target_init();
}

int
rstar_send_active(void)
{
	return nsamples;
}

int
rstar_send_flying(void)
{
	return nflying;
}

int64
rstar_send_wake(void)
{
	return next_wake;
}

int
rstar_send_room(void)
{
	return body_bytes > MAX_BODY_BYTES ? 0 : Max(max_exchanges - nsamples, 0);
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

	if (target->version != rstar_server_version())
		reload(target);
	if (target->config == NULL)
	{
		fail_delayed(target, RSTAR_STATUS_SERVER_GONE, NULL);
		return;
	}
	wake = rstar_probe_turn(target, now);
	if (target->ndelayed > 0)
		send_delayed(target, now);

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
		renumber(target, map);
	target->wake = 0;
}

/* Endpoints of the altered server have new numbers */
static void
renumber(RstarTarget *target, const int *map)
{
	dlist_head *lists[] = {&target->delayed, &target->flying};

	for (int i = 0; i < (int) lengthof(lists); i++)
	{
		dlist_iter	iter;

		dlist_foreach(iter, lists[i])
		{
			RstarAttempt *attempt = &dlist_container(Sample, link, iter.cur)->attempt;

			if (attempt->endpoint >= 0)
				attempt->endpoint = map[attempt->endpoint];
			if (attempt->last_endpoint >= 0)
				attempt->last_endpoint = map[attempt->last_endpoint];
			attempt->tried = 0;
		}
	}
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
		Sample	   *sample = dlist_container(Sample, link, iter.cur);
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
		failed(dlist_head_element(Sample, link, &target->delayed), status, 0, detail);
}

/*
 * A server that is not known yet is loaded by its first claims; one that is
 * gone or silent takes all, for them to fail.
 */
bool
rstar_send_admit(Oid serverid, Oid mapping)
{
	static Oid	unknown = InvalidOid;
	static int	unknown_admitted = 0;
	RstarTarget *target = rstar_target_find(serverid);

	if (target == NULL)
	{
		if (unknown != serverid)
			unknown_admitted = 0;
		unknown = serverid;
		return unknown_admitted++ < FIRST_CLAIMS;
	}
	if (target->config != NULL && !target->silent &&
		target->admitted + target->nready >=
		rstar_route_capacity(target->route, mapping, rstar_send_clock()))
		return false;
	target->admitted++;
	return true;
}

void
rstar_send_claims(const RstarClaim *claims, int n, int64 now)
{
	int			map[RSTAR_SERVER_MAX_URLS];
	bool		changed;

	for (int i = 0; i < n; i++)
	{
		RstarTarget *target = rstar_target_find(claims[i].serverid);
		Sample	   *sample;

		if (target == NULL)
			target = rstar_target_load(claims[i].serverid, map, &changed);
		sample = new_sample(&claims[i], target);
		if (target->config == NULL)
			failed(sample, RSTAR_STATUS_SERVER_GONE, 0, NULL);
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
}

/* What was admitted is counted by route.c now, or delayed */
static void
claims_sent(RstarTarget *target, int64 now)
{
	target->admitted = 0;
}

static Sample *
new_sample(const RstarClaim *claim, RstarTarget *target)
{
	Sample	   *sample = MemoryContextAllocZero(sample_context, sizeof(Sample));

	sample->kind = RSTAR_EXCHANGE_SAMPLE;
	sample->claim = *claim;
	sample->target = target;
	sample->attempt.affinity = claim->affinity;
	sample->attempt.request = claim->slot + 1;
	sample->attempt.mapping = claim->mapping;
	sample->attempt.endpoint = -1;
	sample->attempt.last_endpoint = -1;
	dlist_push_tail(&by_slot[claim->slot], &sample->of_request);
	dlist_push_tail(&target->delayed, &sample->link);
	target->ndelayed++;
	nsamples++;
	return sample;
}

/* Not flying any more */
static void
free_sample(Sample *sample)
{
	dlist_delete(&sample->of_request);
	dlist_delete(&sample->link);
	sample->target->ndelayed--;
	nsamples--;
	pfree(sample);
}

static void
fly(Sample *sample, RstarTransfer *transfer, RstarChannel *channel, Size bytes)
{
	dlist_delete(&sample->link);
	sample->target->ndelayed--;
	dlist_push_tail(&sample->target->flying, &sample->link);
	sample->transfer = transfer;
	sample->channel = channel;
	sample->body_bytes = bytes;
	body_bytes += bytes;
	nflying++;
}

/* The transfer is over: back among the delayed, from where it goes on */
static void
land(Sample *sample)
{
	dlist_delete(&sample->link);
	dlist_push_tail(&sample->target->delayed, &sample->link);
	sample->target->ndelayed++;
	sample->transfer = NULL;
	rstar_target_leave_channel(sample->channel);
	sample->channel = NULL;
	body_bytes -= sample->body_bytes;
	sample->body_bytes = 0;
	nflying--;
}

/* False: it stays delayed.  The sample may have failed, and be gone, if true. */
static bool
send_sample(Sample *sample, int64 now)
{
	RstarTarget *target = sample->target;
	int64		wake = PG_INT64_MAX;
	int			endpoint;

	/* Its answer would be stored under the key of another model */
	if (sample->claim.fingerprint != target->fingerprint)
	{
		failed(sample, RSTAR_STATUS_SERVER_ALTERED, 0, NULL);
		return true;
	}
	endpoint = rstar_route_choose(target->route, &sample->attempt, now, &wake);
	if (endpoint < 0)
	{
		target->wake = Min(target->wake, wake);
		return false;
	}
	if (start(sample, endpoint))
	{
		rstar_route_sent(target->route, &sample->attempt, endpoint, now);
		sample->stats = target->stats[endpoint];
		rstar_counters_sent(sample->stats, sample->attempts++ > 0);
		rstar_dispatch_sent(sample->claim.request, target->names[endpoint]);
	}
	return true;
}

static bool
start(Sample *sample, int endpoint)
{
	RstarTarget *target = sample->target;
	const RstarUrl *url = &target->config->urls[endpoint];
	RstarChannel *channel = rstar_target_channel(target, sample->claim.mapping);
	RstarHttpRequest request;
	RstarTransfer *transfer;
	char		request_id[80];
	char		end[MAX_BODY_END];

	if (channel->headers == NULL)
	{
		char		error[RSTAR_DETAIL_LEN];

		strlcpy(error, channel->error, sizeof(error));
		rstar_target_leave_channel(channel);
		failed(sample, RSTAR_STATUS_SETUP, 0, error);
		return false;
	}
	/* Fresh for each attempt: servers refuse an id that they still work on */
	snprintf(request_id, sizeof(request_id), "retrostar-%d-%u-%02x%02x%02x%02x-%d",
			 MyProcPid, ++attempts, sample->claim.key.bytes[0], sample->claim.key.bytes[1],
			 sample->claim.key.bytes[2], sample->claim.key.bytes[3], sample->claim.sample);
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
	request.body = sample->claim.body;
	request.body_len = sample->claim.body_len;
	request.body_end = end;
	request.body_end_len = body_end(sample, request_id, end);
	transfer = rstar_http_start(&request);
	if (transfer == NULL)
	{
		rstar_target_leave_channel(channel);
		failed(sample, RSTAR_STATUS_SETUP, 0, "out of memory");
		return false;
	}
	fly(sample, transfer, channel, request.body_len + request.body_end_len);
	return true;
}

/* What the sample adds to the pair's body, at most MAX_BODY_END; its length */
static int
body_end(const Sample *sample, const char *request_id, char *buf)
{
	int			n = snprintf(buf, MAX_BODY_END, ",\"seed\":%u", seed(&sample->claim));

	if (sample->target->config->dialect == RSTAR_DIALECT_SGLANG)
		n += snprintf(buf + n, MAX_BODY_END - n, ",\"rid\":\"%s\"", request_id);
	n += snprintf(buf + n, MAX_BODY_END - n, "}");
	return n;
}

/* A function of key and number, in 31 bits, which every server takes */
static uint32
seed(const RstarClaim *claim)
{
	return (uint32) (hash_bytes_extended(claim->key.bytes, sizeof(RstarKey), claim->sample) & 0x7FFFFFFF);
}

/* Asks for the models of one endpoint, whatever its state */
static void
send_check(Sample *sample)
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
		failed(sample, RSTAR_STATUS_SETUP, 0, error);
		return;
	}
	fly(sample, transfer, channel, 0);
}

int
rstar_send_cancel(int slot)
{
	int			n = 0;

	while (!dlist_is_empty(&by_slot[slot]))
	{
		Sample	   *sample = dlist_head_element(Sample, of_request, &by_slot[slot]);

		if (sample->transfer != NULL)
		{
			RstarOutcome outcome = {.kind = RSTAR_OUTCOME_CANCELLED,.retry_after = -1};

			rstar_http_cancel(sample->transfer);
			land(sample);
			if (sample->claim.kind == RSTAR_KIND_SCORE)
				(void) finished(sample, &outcome, &(RstarAttemptEnd) {.ending = RSTAR_ENDING_CANCELLED});
		}
		free_sample(sample);
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
		case RSTAR_EXCHANGE_SAMPLE:
			sample_done(reply->owner, reply);
			break;
	}
}

static void
sample_done(Sample *sample, const RstarHttpReply *reply)
{
	RstarTarget *target = sample->target;
	const char *endpoint = rstar_target_endpoint(target, sample->attempt.endpoint);
	RstarReply	parsed;
	RstarJudgement verdict;
	RstarAttemptEnd end;

	land(sample);
	if (sample->claim.kind == RSTAR_KIND_CHECK)
	{
		check_done(sample, reply);
		return;
	}
	rstar_outcome_judge(reply, rstar_dispatch_keeps(sample->claim.request), &parsed, &verdict);
	if (verdict.status == RSTAR_STATUS_UNAUTHORIZED)
		rstar_target_forget_channel(target, sample->claim.mapping);
	rstar_outcome_attempt(&verdict, &parsed, reply->elapsed_us, &end);
	switch (finished(sample, &verdict.outcome, &end))
	{
		case RSTAR_VERDICT_DONE:
			answered(sample, reply, &parsed, endpoint);
			break;
		case RSTAR_VERDICT_RETRY:
			strlcpy(target->last_error, verdict.detail, sizeof(target->last_error));
			break;
		case RSTAR_VERDICT_FAIL:
			failed(sample, verdict.status, verdict.http_status, verdict.detail);
			break;
	}
	target->wake = 0;			/* there is room now, or one more to send */
	rstar_reply_free(&parsed);
}

/* The attempt is over, for the endpoint and for its counters */
static RstarVerdict
finished(Sample *sample, const RstarOutcome *outcome, const RstarAttemptEnd *end)
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
answered(Sample *sample, const RstarHttpReply *reply, const RstarReply *parsed,
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
		free_sample(sample);
		return;
	}
	sample->unscored++;
	sample->attempts = 0;
	sample->attempt.failures = sample->attempt.transports = 0;
	sample->attempt.not_before = 0;
}

static void
failed(Sample *sample, RstarStatus status, int http_status, const char *detail)
{
	struct RstarRequest *request = sample->claim.request;

	free_sample(sample);
	rstar_dispatch_failed(request, status, http_status, detail);
}

/* Status 200, and the model among those that are served (llama.cpp takes any name) */
static void
check_done(Sample *sample, const RstarHttpReply *reply)
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
	free_sample(sample);
}
