/*-------------------------------------------------------------------------
 *
 * fit.c
 *		Documents are shortened until prompt and reply fit into the context.
 *
 * A server says that they do not in one of two ways.  It refuses the request;
 * or it gives the reply what the prompt has left of the context, and ends it
 * there: fewer tokens than max_tokens, and prompt and reply together are the
 * context.  One that ends replies early for a reason of its own looks the same
 * the first time; then the shorter prompt gets a reply that is no longer, and
 * the sum is less than before.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "model/server.h"
#include "model/shorten.h"
#include "shared/dispatch.h"
#include "worker/fit.h"

/* The sums of two replies that one context has cut differ by no more, in tokens */
#define SAME_CONTEXT 8

static bool ended_early(const RstarSample *sample, const RstarReply *parsed);
static bool was_shortened(const RstarSample *sample);
static bool is_same(int tokens, int others);
static size_t text_len(const RstarClaim *claim);

bool
rstar_fit_is_full(RstarSample *sample, const RstarReply *parsed)
{
	RstarTarget *target = sample->target;
	int			tokens = parsed->prompt_tokens + parsed->completion_tokens;

	if (parsed->status != RSTAR_REPLY_TRUNCATED || target->cuts_replies ||
		!ended_early(sample, parsed))
		return false;
	if (was_shortened(sample) && tokens < sample->full_tokens &&
		!is_same(tokens, sample->full_tokens))
	{
		target->cuts_replies = true;
		if (rstar_dispatch_doc_kept(sample->claim.request) == sample->claim.doc_kept)
			rstar_dispatch_shorten(sample->claim.request, sample->full_kept);
		return false;
	}
	sample->full_sure = was_shortened(sample) || is_same(tokens, target->context_tokens) ||
		is_same(tokens, target->config->context_length);
	if (sample->full_sure)
		target->context_tokens = tokens;
	sample->full_tokens = tokens;
	sample->full_endpoint = sample->attempt.endpoint;
	sample->full_kept = sample->claim.doc_kept;
	return true;
}

/* max_tokens is that of the request, unless the server was altered since */
static bool
ended_early(const RstarSample *sample, const RstarReply *parsed)
{
	const RstarTarget *target = sample->target;

	return target->config != NULL && sample->claim.fingerprint == target->fingerprint &&
		parsed->prompt_tokens > 0 && parsed->completion_tokens < target->config->max_tokens;
}

/* Since the last reply for which the context was full, at the same endpoint */
static bool
was_shortened(const RstarSample *sample)
{
	return sample->full_tokens > 0 && sample->full_endpoint == sample->attempt.endpoint &&
		sample->claim.doc_kept < sample->full_kept;
}

static bool
is_same(int tokens, int others)
{
	return abs(tokens - others) <= SAME_CONTEXT;
}

const char *
rstar_fit_ended_early(const RstarSample *sample, const RstarReply *parsed, char *detail)
{
	if (!ended_early(sample, parsed))
		return NULL;
	snprintf(detail, RSTAR_DETAIL_LEN, "%d of %d tokens", parsed->completion_tokens,
			 sample->target->config->max_tokens);
	return detail;
}

bool
rstar_fit_shorten(RstarSample *sample, const RstarReply *parsed, bool full)
{
	RstarTarget *target = sample->target;
	const RstarServer *config = target->config;
	const RstarClaim *claim = &sample->claim;
	RstarTooLong too_long = {0};
	size_t		keep;

	if (config == NULL)
		return false;
	if (parsed->limit_tokens > 0)
		target->context_tokens = parsed->limit_tokens;
	if (rstar_dispatch_doc_kept(claim->request) < claim->doc_kept)
		return true;			/* for another sample, while this was in
								 * flight */
	too_long.text_len = text_len(claim);
	too_long.doc_len = claim->doc_kept;
	too_long.limit_tokens = parsed->limit_tokens;
	if (too_long.limit_tokens == 0)
		too_long.limit_tokens = config->context_length > 0 ? config->context_length : target->context_tokens;
	too_long.prompt_tokens = parsed->request_tokens;
	too_long.at_least = parsed->at_least;
	too_long.expected = rstar_density_tokens(&target->density, too_long.text_len);
	if (full)
	{
		too_long.limit_tokens = sample->full_tokens;
		too_long.prompt_tokens = parsed->prompt_tokens;
	}
	too_long.other_expected = rstar_density_tokens(&target->density, too_long.text_len - too_long.doc_len);
	too_long.max_tokens = config->max_tokens;
	too_long.round = sample->shortened++;
	keep = rstar_shorten_to(&too_long);
	keep = rstar_shorten_cut(claim->body + claim->doc_at, claim->doc_kept, keep);
	if (keep == 0)
		return false;
	rstar_dispatch_shorten(claim->request, (int) keep);
	return true;
}

void
rstar_fit_learn(const RstarSample *sample, const RstarReply *parsed)
{
	rstar_density_add(&sample->target->density, text_len(&sample->claim), parsed->prompt_tokens);
}

/* What was sent */
static size_t
text_len(const RstarClaim *claim)
{
	return claim->body_len - (claim->doc_len - claim->doc_kept);
}
