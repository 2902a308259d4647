/*-------------------------------------------------------------------------
 *
 * sample.c
 *		One sample in work: where it is listed, what is sent of it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/settings.h"
#include "model/dialect.h"
#include "worker/http.h"
#include "worker/sample.h"

/* Of what is the sample's own at the end of a body */
#define END_LEN 128

static MemoryContext sample_context = NULL;
static dlist_head *by_slot = NULL;
static int	nsamples = 0;
static int	nflying = 0;
static Size flying_bytes = 0;
static uint32 attempts = 0;
static uint64 process = 0;		/* a hash of this one among all, anywhere */

static void make_body(RstarSample *sample, int endpoint, RstarHttpRequest *request, char *end);
static uint32 seed(const RstarClaim *claim);
static char *append_hex(char *dst, uint64 number, int digits);

void
rstar_sample_init(void)
{
	int64		who[2] = {MyProcPid, MyStartTimestamp};

	process = hash_bytes_extended((unsigned char *) who, sizeof(who), 0);
	sample_context = AllocSetContextCreate(TopMemoryContext, "retrostar samples",
										   ALLOCSET_DEFAULT_SIZES);
	by_slot = MemoryContextAlloc(sample_context, rstar_max_requests * sizeof(dlist_head));
	for (int i = 0; i < rstar_max_requests; i++)
		dlist_init(&by_slot[i]);
}

RstarSample *
rstar_sample_new(const RstarClaim *claim, RstarTarget *target)
{
	RstarSample *sample = MemoryContextAllocZero(sample_context, sizeof(RstarSample));

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

void
rstar_sample_free(RstarSample *sample)
{
	Assert(sample->transfer == NULL);
	dlist_delete(&sample->of_request);
	dlist_delete(&sample->link);
	sample->target->ndelayed--;
	nsamples--;
	if (sample->inspection != NULL)
		pfree(sample->inspection);
	pfree(sample);
}

void
rstar_sample_fly(RstarSample *sample, RstarTransfer *transfer, RstarChannel *channel, Size bytes)
{
	dlist_delete(&sample->link);
	sample->target->ndelayed--;
	dlist_push_tail(&sample->target->flying, &sample->link);
	sample->transfer = transfer;
	sample->channel = channel;
	sample->body_bytes = bytes;
	sample->flies_as = rstar_dispatch_priority(sample->claim.request);
	sample->target->nflying[sample->flies_as]++;
	flying_bytes += bytes;
	nflying++;
}

void
rstar_sample_land(RstarSample *sample)
{
	dlist_delete(&sample->link);
	dlist_push_tail(&sample->target->delayed, &sample->link);
	sample->target->ndelayed++;
	sample->transfer = NULL;
	sample->target->nflying[sample->flies_as]--;
	rstar_target_leave_channel(sample->channel);
	sample->channel = NULL;
	flying_bytes -= sample->body_bytes;
	nflying--;
	sample->body_bytes = 0;
}

void
rstar_sample_renumber(RstarTarget *target, const int *map)
{
	dlist_head *lists[] = {&target->delayed, &target->flying};

	for (int i = 0; i < (int) lengthof(lists); i++)
	{
		dlist_iter	iter;

		dlist_foreach(iter, lists[i])
		{
			RstarAttempt *attempt = &dlist_container(RstarSample, link, iter.cur)->attempt;

			if (attempt->endpoint >= 0)
				attempt->endpoint = map[attempt->endpoint];
			if (attempt->last_endpoint >= 0)
				attempt->last_endpoint = map[attempt->last_endpoint];
			attempt->tried = 0;
			attempt->refusals = 0;
		}
	}
}

RstarSample *
rstar_sample_of(int slot)
{
	return dlist_is_empty(&by_slot[slot]) ? NULL :
		dlist_head_element(RstarSample, of_request, &by_slot[slot]);
}

int
rstar_sample_count(void)
{
	return nsamples;
}

int
rstar_sample_flying(void)
{
	return nflying;
}

Size
rstar_sample_bytes(void)
{
	return flying_bytes;
}

/* Fresh for each attempt: servers refuse an id that they still work on */
void
rstar_sample_number(RstarSample *sample)
{
	sample->number = ++attempts;
}

/*
 * A UUID of version 8, for some servers refuse any other id: pair, sample,
 * process, and number of the attempt, which alone makes it unique there.  All
 * have one length, so none is the beginning of another one: SGLang aborts all
 * whose ids begin with the one that it is told.
 */
void
rstar_sample_id(const RstarSample *sample, char *id)
{
	const uint8 *key = sample->claim.key.bytes;

	for (int i = 0; i < 4; i++)
		id = append_hex(id, key[i], 2);
	*id++ = '-';
	id = append_hex(id, sample->claim.sample, 4);
	*id++ = '-';
	id = append_hex(id, 0x8000 | (process & 0xFFF), 4);
	*id++ = '-';
	id = append_hex(id, 0x8000 | (process >> 12 & 0x3FFF), 4);
	*id++ = '-';
	id = append_hex(id, process >> 26, 4);
	id = append_hex(id, sample->number, 8);
	*id = '\0';
}

/* The last digits of a number; snprintf() would take ten times as long */
static char *
append_hex(char *dst, uint64 number, int digits)
{
	for (int i = digits - 1; i >= 0; i--)
		*dst++ = "0123456789abcdef"[number >> (4 * i) & 0xF];
	return dst;
}

bool
rstar_sample_start(RstarSample *sample, RstarChannel *channel, int endpoint, RstarHttpDone done)
{
	RstarTarget *target = sample->target;
	const RstarServer *config = target->config;
	RstarHttpRequest request;
	RstarTransfer *transfer;
	char		request_id[RSTAR_SAMPLE_ID_LEN];
	char		end[END_LEN];

	rstar_sample_number(sample);
	rstar_sample_id(sample, request_id);
	/* another sample of the pair may have found out that it is too long */
	sample->claim.doc_kept = rstar_dispatch_doc_kept(sample->claim.request);
	memset(&request, 0, sizeof(request));
	request.url = target->chat_urls[endpoint];
	request.unix_socket = config->urls[endpoint].unix_socket;
	request.ca_file = config->ca_file;
	request.headers = channel->headers;
	request.request_id = request_id;
	/* the server may have closed others that we kept, too */
	request.fresh = sample->attempt.transports > 0;
	request.timeout = config->timeout;
	request.connect_timeout = config->connect_timeout;
	request.done = done;
	request.owner = sample;
	request.traceparent = sample->claim.traceparent;
	make_body(sample, endpoint, &request, end);
	transfer = rstar_http_start(&request);
	if (transfer == NULL)
		return false;
	rstar_sample_fly(sample, transfer, channel,
					 request.body_len + request.body_rest_len + request.body_end_len);
	return true;
}

/*
 * The pair's, its document shortened as far as claim.doc_kept says, and what is the
 * sample's own; "end" has END_LEN bytes and is part of the request.
 */
static void
make_body(RstarSample *sample, int endpoint, RstarHttpRequest *request, char *end)
{
	const RstarClaim *claim = &sample->claim;
	const RstarServer *config = sample->target->config;
	const char *id_name = rstar_dialect_id_name(config->dialect);
	int			priority = 0;
	int			tail = claim->doc_at + claim->doc_len;	/* behind the document */
	int			n;
	char		id[RSTAR_SAMPLE_ID_LEN];

	n = snprintf(end, END_LEN, ",\"seed\":%u", seed(claim));
	if (id_name != NULL)
	{
		rstar_sample_id(sample, id);
		n += snprintf(end + n, END_LEN - n, ",\"%s\":\"%s\"", id_name, id);
	}
	sample->told = config->priority_scheduling &&
		(sample->target->no_priority >> endpoint & 1) == 0 &&
		rstar_dialect_priority(config->dialect, rstar_dispatch_priority(claim->request), &priority);
	if (sample->told)
		n += snprintf(end + n, END_LEN - n, ",\"priority\":%d", priority);
	end[n++] = '}';
	request->body = claim->body;
	request->body_len = claim->doc_at + claim->doc_kept;
	request->body_rest = claim->body + tail;
	request->body_rest_len = claim->body_len - tail;
	request->body_end = end;
	request->body_end_len = n;
}

/* A function of key and number, in 31 bits, which every server takes */
static uint32
seed(const RstarClaim *claim)
{
	return (uint32) (hash_bytes_extended(claim->key.bytes, sizeof(RstarKey), claim->sample) & 0x7FFFFFFF);
}
