/*-------------------------------------------------------------------------
 *
 * ask.c
 *		One pair is looked up, and asked for when it is not known: map, cache
 *		table and queue, in this order.
 *
 * What a refresh knows of a pair comes before all of them (warm.c).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/settings.h"
#include "model/prompt.h"
#include "session/allowance.h"
#include "session/ask.h"
#include "session/notice.h"
#include "session/quiet.h"
#include "session/warm.h"
#include "shared/cache.h"
#include "shared/launch.h"
#include "shared/progress.h"

/* One pair on its way through look-up and submission */
typedef struct Ask
{
	RstarStatement *statement;
	const RstarPair *pair;
	RstarWish	wish;
	RstarSpec	spec;
	RstarTicket ticket;
	int			known;			/* samples that are there already */
	StringInfoData body;		/* but for its end; data NULL until needed */
} Ask;

static RstarSubmitted ask_until(Ask *ask, uint32 *cookie, RstarResult *result);
static RstarSubmitted too_late(const Ask *ask, RstarResult *result);
static void count_way(RstarSubmitted submitted, const RstarResult *result);
static void ask_begin(Ask *ask, RstarStatement *statement, const RstarPair *pair);
static RstarPriority priority(bool ahead);
static void ask_end(Ask *ask);
static RstarSubmitted ask_once(Ask *ask, uint32 cookie, RstarResult *result);
static bool known_suffices(Ask *ask, RstarResult *result);
static bool limit_reached(const Ask *ask);
RSTAR_NORETURN static void raise_limit(void);
static void build_body(Ask *ask);

/* In a pass of a refresh there is none, for nothing is waited for */
TimestampTz
rstar_ask_deadline(const RstarStatement *statement)
{
	return rstar_deadline == 0 || rstar_statement_in_pass() ? 0 :
		TimestampTzPlusMilliseconds(statement->started, rstar_deadline);
}

RstarSubmitted
rstar_ask(RstarStatement *statement, const RstarPair *pair, const RstarWish *wish,
		  RstarMemoEntry *entry)
{
	Ask			ask;
	RstarResult result;
	RstarSubmitted submitted;
	uint32		cookie;

	if (rstar_warm_take(statement, entry))
		return entry->state == RSTAR_MEMO_PENDING ? RSTAR_SUBMITTED_JOINED : RSTAR_SUBMITTED_DONE;
	ask_begin(&ask, statement, pair);
	ask.wish = *wish;
	entry->serverid = ask.spec.serverid;
	ask.spec.priority = priority(rstar_statement_keeper != NULL);
	ask.spec.samples = entry->key.samples;
	/* The answers of a refresh are taken as they come: it hogs no place */
	ask.spec.ahead = wish->ahead && !rstar_statement_in_pass();
	ask.spec.reasoning = ask.spec.reasoning || entry->explained;
	rstar_progress_wanted();
	submitted = ask_until(&ask, &cookie, &result);
	if (submitted == RSTAR_SUBMITTED_SENT)
		rstar_warm_sent();
	if (submitted == RSTAR_SUBMITTED_NONE && wish->ahead)
		rstar_progress_unwanted();	/* for now: the call itself comes later */
	else
		count_way(submitted, &result);
	if (submitted == RSTAR_SUBMITTED_JOINED || submitted == RSTAR_SUBMITTED_SENT)
	{
		rstar_memo_pend(statement, entry, ask.ticket.waiter, cookie);
		/* The statement may read many rows before it waits for the first */
		if (ask.ticket.unattended)
			(void) rstar_launch_ensure();
	}
	else if (submitted != RSTAR_SUBMITTED_NONE)
		rstar_memo_set(statement, entry, &result);
	else if (!wish->ahead)
		rstar_progress_moved(RSTAR_PLACE_LOOKED_FOR, RSTAR_PLACE_NOT_AWAITED);
	ask_end(&ask);
	return submitted;
}

RstarMemoEntry *
rstar_ask_apart(RstarStatement *statement, const RstarPair *pair, int samples,
				const RstarWish *wish)
{
	RstarMemoEntry *entry = MemoryContextAllocZero(statement->context, sizeof(RstarMemoEntry));

	rstar_memo_key(&pair->key, samples, &entry->key);
	entry->explained = wish->explained;
	if (rstar_ask(statement, pair, wish, entry) != RSTAR_SUBMITTED_NONE)
		return entry;
	pfree(entry);
	return NULL;
}

void
rstar_ask_free(RstarMemoEntry *entry)
{
	if (entry->failure != NULL)
		pfree(entry->failure);
	pfree(entry);
}

RstarSubmitted
rstar_ask_detached(RstarStatement *statement, const RstarPair *pair, RstarResult *result)
{
	Ask			ask;
	RstarSubmitted submitted;

	ask_begin(&ask, statement, pair);
	ask.spec.detached = true;
	ask.spec.priority = priority(true);
	rstar_progress_wanted();
	while ((submitted = ask_once(&ask, 0, result)) == RSTAR_SUBMITTED_FULL)
		(void) rstar_warm_wait_for_room(statement, &ask.ticket, 0);
	count_way(submitted, result);
	rstar_progress_moved(RSTAR_PLACE_LOOKED_FOR,
						 submitted != RSTAR_SUBMITTED_DONE ? RSTAR_PLACE_NOT_AWAITED :
						 result->status == RSTAR_STATUS_OK ? RSTAR_PLACE_DONE : RSTAR_PLACE_FAILED);
	ask_end(&ask);
	/* Also when it was there: its worker may have left since */
	if (submitted == RSTAR_SUBMITTED_SENT || submitted == RSTAR_SUBMITTED_JOINED)
		(void) rstar_launch_ensure();
	return submitted;
}

/* Until there is room for it, or the time is up */
static RstarSubmitted
ask_until(Ask *ask, uint32 *cookie, RstarResult *result)
{
	TimestampTz until = ask->wish.until;
	bool		late = until != 0 && !ask->spec.peek && GetCurrentTimestamp() >= until;

	ask->spec.peek = ask->spec.peek || late;
	for (;;)
	{
		RstarSubmitted submitted;

		*cookie = rstar_memo_cookie(ask->statement);
		submitted = ask_once(ask, *cookie, result);
		if (submitted == RSTAR_SUBMITTED_NONE && late)
			return too_late(ask, result);
		if (submitted != RSTAR_SUBMITTED_FULL)
			return submitted;

		/*
		 * what is made ahead waits for the statement's own pairs, or the
		 * worker
		 */
		if (ask->wish.ahead && ask->statement->npending == 0 &&
			ask->ticket.allowed != RSTAR_ALLOWED_LATER)
			return RSTAR_SUBMITTED_NONE;
		if (!rstar_warm_wait_for_room(ask->statement, &ask->ticket, until))
			return too_late(ask, result);
	}
}

/* It was not sent before the deadline; what is known of it comes all the same */
static RstarSubmitted
too_late(const Ask *ask, RstarResult *result)
{
	memset(result, 0, sizeof(RstarResult));
	result->status = RSTAR_STATUS_DEADLINE;
	rstar_notice_reason(ask->spec.serverid, ask->statement->started, result->detail);
	result->tally = ask->spec.known;
	if (ask->wish.have != NULL && ask->wish.have->scored > result->tally.scored)
		result->tally = *ask->wish.have;
	return RSTAR_SUBMITTED_DONE;
}

/* A pair that failed before it was sent has none */
static void
count_way(RstarSubmitted submitted, const RstarResult *result)
{
	if (submitted == RSTAR_SUBMITTED_SENT)
		rstar_progress_way(RSTAR_WAY_SENT);
	else if (submitted == RSTAR_SUBMITTED_JOINED)
		rstar_progress_way(RSTAR_WAY_JOINED);
	else if (submitted == RSTAR_SUBMITTED_NONE)
		rstar_progress_way(RSTAR_WAY_SKIPPED);
	else if (result->status == RSTAR_STATUS_OK)
		rstar_progress_way(RSTAR_WAY_KNOWN);
}

static void
ask_begin(Ask *ask, RstarStatement *statement, const RstarPair *pair)
{
	const RstarCall *call = pair->call;

	/* Makes what is counted when it was sent: that must not fail then */
	(void) rstar_statement_sent();
	memset(ask, 0, sizeof(Ask));
	ask->statement = statement;
	ask->pair = pair;
	ask->spec.kind = RSTAR_KIND_SCORE;
	ask->spec.key = pair->key;
	ask->spec.serverid = call->server.serverid;
	ask->spec.mapping = call->mapping;
	ask->spec.fingerprint = call->fingerprint;
	ask->spec.samples = call->samples;
	ask->spec.zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	ask->spec.fresh = !rstar_cache;
	ask->spec.reasoning = rstar_store_reasoning;
	ask->spec.shared = call->shared;
	ask->spec.peek = rstar_on_miss == RSTAR_ON_MISS_SKIP || rstar_quiet();
	ask->spec.affinity = rstar_pair_affinity(pair);
	ask->spec.model = call->server.model;
	ask->spec.traceparent = rstar_traceparent;
}

/* "ahead": nobody waits for what is asked for now, or only a procedure */
static RstarPriority
priority(bool ahead)
{
	if (rstar_priority != RSTAR_PRIORITY_AUTO)
		return rstar_priority;
	return ahead ? RSTAR_PRIORITY_BACKGROUND : RSTAR_PRIORITY_INTERACTIVE;
}

static void
ask_end(Ask *ask)
{
	if (ask->body.data != NULL)
		pfree(ask->body.data);
}

/*
 * Map, table, queue.  DONE comes with the result, also of what failed before
 * it was sent.  FULL: the caller waits for room and tries again.
 */
static RstarSubmitted
ask_once(Ask *ask, uint32 cookie, RstarResult *result)
{
	RstarSubmitted submitted;

	if (rstar_pair_is_blank(ask->pair->query) || rstar_pair_is_blank(ask->pair->doc))
	{
		memset(result, 0, sizeof(RstarResult));
		result->status = RSTAR_STATUS_EMPTY;
		strlcpy(result->detail, rstar_pair_is_blank(ask->pair->query) ? "query" : "document", RSTAR_DETAIL_LEN);
		return RSTAR_SUBMITTED_DONE;
	}
	if (!ask->spec.peek)
		rstar_allowance_for(&ask->spec);
	do
	{
		submitted = rstar_queue_find(&ask->spec, cookie, &ask->ticket, result);
		if (submitted != RSTAR_SUBMITTED_NONE)
			break;
		if (known_suffices(ask, result))
			return RSTAR_SUBMITTED_DONE;
		if (ask->spec.peek)
		{
			rstar_quiet_unknown(InvalidOid);
			return RSTAR_SUBMITTED_NONE;
		}
		if (limit_reached(ask))
		{
			/* The call will say so, once what was sent has been answered */
			if (ask->wish.ahead)
				return RSTAR_SUBMITTED_NONE;
			raise_limit();
		}
		rstar_warm_may_send(ask->statement);
		build_body(ask);
		submitted = rstar_queue_submit(&ask->spec, cookie, &ask->ticket, result);
	} while (submitted == RSTAR_SUBMITTED_AGAIN);

	if (submitted == RSTAR_SUBMITTED_SENT)
		rstar_statement_add_sent(ask->spec.samples - ask->known);
	else if (submitted == RSTAR_SUBMITTED_JOINED)
		rstar_statement_add_sent(ask->ticket.raised);
	else if (submitted == RSTAR_SUBMITTED_OVER)
	{
		/*
		 * As above: what is known is told first, and what was sent is waited
		 * for
		 */
		if (ask->wish.ahead)
			return RSTAR_SUBMITTED_NONE;
		rstar_allowance_refused(&ask->spec, &ask->ticket, result);
		submitted = RSTAR_SUBMITTED_DONE;
	}
	else if (submitted == RSTAR_SUBMITTED_TOO_LARGE)
	{
		memset(result, 0, sizeof(RstarResult));
		result->status = RSTAR_STATUS_NO_ROOM;
		submitted = RSTAR_SUBMITTED_DONE;
	}
	return submitted;
}

/*
 * What the table holds, or an answer in the map of too few samples, whichever
 * is more: the answer when it is enough, else where the request goes on.
 */
static bool
known_suffices(Ask *ask, RstarResult *result)
{
	RstarSpec  *spec = &ask->spec;
	RstarTally	known;

	rstar_cache_lookup(&spec->key, &known);
	spec->first_sample = known.scored + known.unscored;
	if (rstar_queue_has_more(&result->tally, &known, spec->zero))
		known = result->tally;
	if (spec->fresh)
	{
		if (ask->wish.have != NULL)
			known = *ask->wish.have;
		else
			memset(&known, 0, sizeof(known));
	}
	spec->known = known;
	ask->known = rstar_tally_counted(&known, spec->zero);
	if (ask->known < spec->samples)
		return false;
	memset(result, 0, sizeof(RstarResult));
	result->status = RSTAR_STATUS_OK;
	result->tally = known;
	return true;
}

static bool
limit_reached(const Ask *ask)
{
	return rstar_request_limit >= 0 &&
		rstar_statement_sent() + ask->spec.samples - ask->known > rstar_request_limit;
}

/* What was sent is paid for: it goes on into the cache */
static void
raise_limit(void)
{
	rstar_statement_each_around(rstar_memo_keep_pending);
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("statement needs more samples than retrostar.request_limit allows"),
			 errdetail("It has sent " INT64_FORMAT " of at most %d.",
					   rstar_statement_sent(), rstar_request_limit),
			 rstar_statement_sent() == 0 ?
			 errhint("To run it again does not help: have \"retrostar.request_limit\" raised, or read what is known, with \"retrostar.on_miss\" set to \"skip\".") :
			 errhint("Run it again to go on, for what was scored stays in the cache; or score fewer rows, or have \"retrostar.request_limit\" raised.")));
}

static void
build_body(Ask *ask)
{
	const RstarPair *pair = ask->pair;
	RstarSpan	doc_place;

	if (ask->body.data != NULL)
		return;
	initStringInfo(&ask->body);
	doc_place = rstar_prompt_append_body(&ask->body, &pair->call->server, &pair->call->task,
										 pair->query, pair->doc);
	ask->spec.body = ask->body.data;
	ask->spec.body_len = ask->body.len;
	ask->spec.doc_at = doc_place.at;
	ask->spec.doc_len = doc_place.len;
	ask->spec.form = &pair->call->task.form;
}
