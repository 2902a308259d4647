/*-------------------------------------------------------------------------
 *
 * sample.c
 *		One sample in work: where it is listed, what is sent of it.
 *
 * Called by: send.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "guc.h"
#include "sample.h"

static MemoryContext sample_context = NULL;
static dlist_head *by_slot = NULL;
static int	nsamples = 0;
static int	nflying = 0;
static Size flying_bytes = 0;
static uint32 attempts = 0;

static uint32 seed(const RstarClaim *claim);

void
rstar_sample_init(void)
{
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

void
rstar_sample_free(RstarSample *sample)
{
	Assert(sample->transfer == NULL);
	dlist_delete(&sample->of_request);
	dlist_delete(&sample->link);
	sample->target->ndelayed--;
	nsamples--;
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
 * No id is the beginning of another one: SGLang aborts all whose ids begin
 * with the one that it is told.
 */
void
rstar_sample_id(const RstarSample *sample, char *id)
{
	const uint8 *key = sample->claim.key.bytes;

	snprintf(id, RSTAR_SAMPLE_ID_LEN, "retrostar-%d-%u-%02x%02x%02x%02x-%d", MyProcPid,
			 sample->number, key[0], key[1], key[2], key[3], sample->claim.sample);
}

void
rstar_sample_body(const RstarSample *sample, RstarHttpRequest *request, char *end)
{
	const RstarClaim *claim = &sample->claim;
	int			tail = claim->doc_at + claim->doc_len;	/* behind the document */
	int			n = claim->body_len - tail;
	char		id[RSTAR_SAMPLE_ID_LEN];

	/* prompt.c's text, always the same */
	Assert(n < RSTAR_SAMPLE_END_LEN / 2);
	memcpy(end, claim->body + tail, n);
	n += snprintf(end + n, RSTAR_SAMPLE_END_LEN - n, ",\"seed\":%u", seed(claim));
	if (sample->target->config->dialect == RSTAR_DIALECT_SGLANG)
	{
		rstar_sample_id(sample, id);
		n += snprintf(end + n, RSTAR_SAMPLE_END_LEN - n, ",\"rid\":\"%s\"", id);
	}
	end[n++] = '}';
	request->body = claim->body;
	request->body_len = claim->doc_at + claim->doc_kept;
	request->body_end = end;
	request->body_end_len = n;
}

/* A function of key and number, in 31 bits, which every server takes */
static uint32
seed(const RstarClaim *claim)
{
	return (uint32) (hash_bytes_extended(claim->key.bytes, sizeof(RstarKey), claim->sample) & 0x7FFFFFFF);
}
