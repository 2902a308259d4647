/*-------------------------------------------------------------------------
 *
 * score.c
 *		Pairs become scores: statement memo, map, cache table and queue, in
 *		this order.
 *
 * Called by: functions.c, scan.c.  Calls: pair.c, memo.c, queue.c, cache.c,
 * prompt.c, launch.c, failure.c, progress.c, warm.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "cache.h"
#include "compat.h"
#include "failure.h"
#include "guc.h"
#include "launch.h"
#include "memo.h"
#include "pair.h"
#include "plan.h"
#include "progress.h"
#include "prompt.h"
#include "queue.h"
#include "score.h"
#include "statement.h"
#include "warm.h"

/* One pair on its way through look-up and submission */
typedef struct Ask
{
	RstarStatement *statement;
	const RstarCall *call;
	RstarText	query;
	RstarText	doc;
	const RstarTally *have;		/* samples that count although it is to be fresh */
	RstarSpec	spec;
	int			known;			/* samples that are there already */
	StringInfoData body;		/* built when needed; data NULL before */
	RstarSpan	doc_place;		/* of the document in it */
} Ask;

static double planning_score(const NullableDatum *args, bool *isnull);
static const RstarAhead *announced(const RstarStatement *statement, const RstarCall *call,
								   Datum query, Datum doc);
static RstarMemoEntry *ahead_entry(RstarStatement *statement, const RstarCall *call,
								   const RstarAhead *ahead);
static bool same_datum(Datum a, Datum b);
static TimestampTz deadline(const RstarStatement *statement);
static RstarMemoEntry *find_entry(RstarStatement *statement, const RstarKey *key, int samples);
static RstarSubmitted too_late(const Ask *ask, RstarResult *result);
static void count_way(RstarSubmitted submitted, const RstarResult *result);
static void ask_begin(Ask *ask, RstarStatement *statement, const RstarCall *call,
					  const RstarKey *key, RstarText query, RstarText doc);
static void ask_end(Ask *ask);
static RstarSubmitted ask_once(Ask *ask, uint32 cookie, RstarWaiter **waiter,
							   RstarResult *result);
static bool known_suffices(Ask *ask, RstarResult *result);
static bool limit_reached(const Ask *ask);
RSTAR_NORETURN static void raise_limit(const Ask *ask);

double
rstar_score_get(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement;
	const RstarCall *call;
	const RstarAhead *ahead;
	RstarMemoEntry *entry;
	RstarKey	key;
	double		score;

	*isnull = true;
	if (args[RSTAR_ARG_QUERY].isnull || args[RSTAR_ARG_DOC].isnull)
		return 0;
	if (rstar_plan_depth > 0)
		return planning_score(args, isnull);
	rstar_score_require_preload();

	statement = rstar_statement_current();
	call = rstar_pair_resolve(statement, args);
	ahead = announced(statement, call, args[RSTAR_ARG_QUERY].value, args[RSTAR_ARG_DOC].value);
	if (ahead != NULL &&
		(entry = ahead_entry(statement, call, ahead))->state != RSTAR_MEMO_NEW)
		 /* read ahead: neither detoasted nor hashed again */ ;
	else
	{
		RstarText	query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
		RstarText	doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);

		rstar_pair_key(call, query, doc, &key);
		if (rstar_warm_asks())
			return rstar_warm_score(call, &key, query, doc, isnull);
		entry = find_entry(statement, &key, call->samples);
		if (entry->state == RSTAR_MEMO_NEW &&
			rstar_score_fill(statement, call, entry, query, doc, NULL, false,
							 deadline(statement)) == RSTAR_SUBMITTED_NONE)
		{
			rstar_memo_evaluated(statement, entry);
			return 0;			/* on_miss = skip */
		}
	}
	if (entry->state == RSTAR_MEMO_PENDING)
		rstar_memo_wait(statement, entry, deadline(statement));
	score = rstar_score_outcome(statement, entry, call->server.name, isnull);
	rstar_memo_evaluated(statement, entry);
	return score;
}

/*
 * While the planner estimates selectivities nothing is sent, and nothing is
 * waited for: a stored score, or NULL.
 */
static double
planning_score(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement = rstar_statement_current();
	const RstarCall *call = rstar_pair_resolve(statement, args);
	RstarKey	key;
	RstarTally	known;

	rstar_pair_key(call, rstar_pair_text(args[RSTAR_ARG_QUERY].value),
				   rstar_pair_text(args[RSTAR_ARG_DOC].value), &key);
	rstar_cache_lookup(&key, &known);
	*isnull = known.scored == 0;
	return *isnull ? 0 : (double) known.sum / known.scored;
}

bool
rstar_score_ahead(const NullableDatum *args, int samples, RstarScoreStats *stats,
				  RstarAhead *ahead)
{
	RstarStatement *statement;
	const RstarCall *call;
	RstarMemoEntry *entry;
	RstarText	query;
	RstarText	doc;
	RstarKey	key;

	ahead->valid = false;
	if (args[RSTAR_ARG_QUERY].isnull || args[RSTAR_ARG_DOC].isnull || rstar_warm_asks() ||
		rstar_plan_depth > 0)
		return false;
	/* the call raises an error, if it is evaluated */
	if (!rstar_pair_is_text(args[RSTAR_ARG_QUERY].value) ||
		!rstar_pair_is_text(args[RSTAR_ARG_DOC].value))
		return false;
	rstar_score_require_preload();
	statement = rstar_statement_current();
	call = rstar_pair_resolve(statement, args);
	query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
	doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);
	rstar_pair_key(call, query, doc, &key);
	ahead->key = key;
	ahead->query = args[RSTAR_ARG_QUERY].value;
	ahead->doc = args[RSTAR_ARG_DOC].value;
	ahead->call = call->id;
	ahead->samples = samples > 0 ? samples : call->samples;
	ahead->valid = true;

	entry = ahead->entry = find_entry(statement, &key, ahead->samples);
	if (entry->state == RSTAR_MEMO_NEW)
	{
		RstarSubmitted submitted = rstar_score_fill(statement, call, entry, query, doc, NULL,
													true, deadline(statement));

		if (submitted == RSTAR_SUBMITTED_SENT)
			entry->stats = stats;
		if (stats != NULL)
		{
			stats->sent += submitted == RSTAR_SUBMITTED_SENT;
			stats->joined += submitted == RSTAR_SUBMITTED_JOINED;
			stats->cached += submitted == RSTAR_SUBMITTED_DONE;
		}
	}
	else if (stats != NULL)
		stats->cached++;
	if (entry->state != RSTAR_MEMO_NEW)
		rstar_memo_keep(entry);
	else
		rstar_memo_evaluated(statement, entry);
	return entry->state == RSTAR_MEMO_PENDING;
}

void
rstar_score_announce(const RstarAhead *aheads, int n)
{
	RstarStatement *statement = rstar_statement_current();

	statement->announced = aheads;
	statement->nannounced = n;
}

bool
rstar_score_announced(const RstarStatement *statement, const RstarCall *call,
					  Datum query, Datum doc, RstarKey *key)
{
	const RstarAhead *ahead = announced(statement, call, query, doc);

	if (ahead != NULL)
		*key = ahead->key;
	return ahead != NULL;
}

static const RstarAhead *
announced(const RstarStatement *statement, const RstarCall *call, Datum query, Datum doc)
{
	for (int i = 0; i < statement->nannounced; i++)
	{
		const RstarAhead *ahead = &statement->announced[i];

		if (ahead->valid && ahead->call == call->id &&
			ahead->doc == doc && same_datum(ahead->query, query))
			return ahead;
	}
	return NULL;
}

/* Mostly it is where it was */
static RstarMemoEntry *
ahead_entry(RstarStatement *statement, const RstarCall *call, const RstarAhead *ahead)
{
	RstarMemoKey memo_key;

	rstar_score_memo_key(&memo_key, &ahead->key, call->samples);
	return rstar_memo_is(ahead->entry, &memo_key) ? ahead->entry :
		rstar_memo_entry(statement, &memo_key);
}

/* The query may be a constant or a set's, of which there are several copies */
static bool
same_datum(Datum a, Datum b)
{
	struct varlena *va = (struct varlena *) DatumGetPointer(a);
	struct varlena *vb = (struct varlena *) DatumGetPointer(b);

	if (a == b)
		return true;
	if (VARATT_IS_EXTERNAL(va) || VARATT_IS_EXTERNAL(vb) ||
		VARATT_IS_COMPRESSED(va) || VARATT_IS_COMPRESSED(vb))
		return false;
	return VARSIZE_ANY_EXHDR(va) == VARSIZE_ANY_EXHDR(vb) &&
		memcmp(VARDATA_ANY(va), VARDATA_ANY(vb), VARSIZE_ANY_EXHDR(va)) == 0;
}

static RstarMemoEntry *
find_entry(RstarStatement *statement, const RstarKey *key, int samples)
{
	RstarMemoKey memo_key;

	rstar_score_memo_key(&memo_key, key, samples);
	return rstar_memo_entry(statement, &memo_key);
}

void
rstar_score_memo_key(RstarMemoKey *memo_key, const RstarKey *key, int samples)
{
	memset(memo_key, 0, sizeof(RstarMemoKey));
	memo_key->key = *key;
	memo_key->samples = samples;
	memo_key->zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	memo_key->fresh = !rstar_cache;
}

/* Setting retrostar.deadline, from the statement's first call on */
static TimestampTz
deadline(const RstarStatement *statement)
{
	return rstar_deadline == 0 ? 0 :
		TimestampTzPlusMilliseconds(statement->started, rstar_deadline);
}

RstarMemoEntry *
rstar_score_submit(RstarStatement *statement, const RstarCall *call, const RstarKey *key,
				   RstarText query, RstarText doc, int samples, const RstarTally *have,
				   TimestampTz until)
{
	RstarMemoEntry *entry = MemoryContextAllocZero(statement->context, sizeof(RstarMemoEntry));

	rstar_score_memo_key(&entry->key, key, samples);
	if (rstar_warm_asks())
	{
		if (rstar_warm_ask(call, key, query, doc, samples, have, false, &entry->tally))
		{
			entry->state = RSTAR_MEMO_VALUE;
			return entry;
		}
	}
	else if (rstar_score_fill(statement, call, entry, query, doc, have, false, until) != RSTAR_SUBMITTED_NONE)
		return entry;
	pfree(entry);
	return NULL;
}

void
rstar_score_forget(const RstarAhead *aheads, int n)
{
	RstarStatement *statement = rstar_statement_current();
	RstarMemoKey memo_key;

	for (int i = 0; i < n; i++)
	{
		if (!aheads[i].valid)
			continue;
		rstar_score_memo_key(&memo_key, &aheads[i].key, aheads[i].samples);
		rstar_memo_forget(statement, &memo_key);
	}
}

RstarSubmitted
rstar_score_fill(RstarStatement *statement, const RstarCall *call, RstarMemoEntry *entry,
				 RstarText query, RstarText doc, const RstarTally *have, bool ahead,
				 TimestampTz until)
{
	Ask			ask;
	RstarWaiter *waiter = NULL;
	RstarResult result;
	RstarSubmitted submitted;
	uint32		cookie;
	bool		late;

	if (rstar_warm_take(statement, entry))
		return RSTAR_SUBMITTED_DONE;
	ask_begin(&ask, statement, call, &entry->key.key, query, doc);
	ask.spec.samples = entry->key.samples;
	ask.have = have;
	late = until != 0 && !ask.spec.peek && GetCurrentTimestamp() >= until;
	ask.spec.peek = ask.spec.peek || late;
	ask.spec.ahead = ahead;
	ask.spec.reasoning = ask.spec.reasoning || entry->explained;
	rstar_progress_wanted();
	for (;;)
	{
		cookie = rstar_memo_cookie();
		submitted = ask_once(&ask, cookie, &waiter, &result);
		if (submitted == RSTAR_SUBMITTED_NONE && late)
		{
			submitted = too_late(&ask, &result);
			break;
		}
		if (submitted != RSTAR_SUBMITTED_FULL)
			break;
		if (rstar_warm_asks())
			rstar_warm_full(&ask.spec);
		/* what is made ahead waits for the statement's own pairs only */
		if (rstar_warm_asks() || (ahead && statement->npending == 0))
		{
			submitted = RSTAR_SUBMITTED_NONE;
			break;
		}
		if (!rstar_memo_wait_for_room(&ask.spec, until))
		{
			submitted = too_late(&ask, &result);
			break;
		}
	}
	if (submitted == RSTAR_SUBMITTED_SENT)
		rstar_warm_sent();
	if (submitted == RSTAR_SUBMITTED_NONE && ahead)
		rstar_progress_unwanted();	/* for now: the call itself comes later */
	else
		count_way(submitted, &result);
	if (submitted == RSTAR_SUBMITTED_JOINED || submitted == RSTAR_SUBMITTED_SENT)
	{
		rstar_memo_pend(statement, entry, waiter, cookie);
		/* The statement may read many rows before it waits for the first */
		if (ask.spec.unattended)
			(void) rstar_launch_ensure();
	}
	else if (submitted != RSTAR_SUBMITTED_NONE)
		rstar_memo_set(statement, entry, &result);
	else if (!ahead)
		rstar_progress_moved(RSTAR_PLACE_LOOKED_FOR, RSTAR_PLACE_NOT_AWAITED);
	ask_end(&ask);
	return submitted;
}

/* It was not sent before the deadline; what is known of it comes all the same */
static RstarSubmitted
too_late(const Ask *ask, RstarResult *result)
{
	memset(result, 0, sizeof(RstarResult));
	result->status = RSTAR_STATUS_DEADLINE;
	result->tally = ask->spec.known;
	if (ask->have != NULL && ask->have->scored > result->tally.scored)
		result->tally = *ask->have;
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
ask_begin(Ask *ask, RstarStatement *statement, const RstarCall *call,
		  const RstarKey *key, RstarText query, RstarText doc)
{
	memset(ask, 0, sizeof(Ask));
	ask->statement = statement;
	ask->call = call;
	ask->query = query;
	ask->doc = doc;
	ask->spec.kind = RSTAR_KIND_SCORE;
	ask->spec.key = *key;
	ask->spec.serverid = call->server.serverid;
	ask->spec.mapping = call->mapping;
	ask->spec.fingerprint = call->fingerprint;
	ask->spec.samples = call->samples;
	ask->spec.zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	ask->spec.fresh = !rstar_cache;
	ask->spec.reasoning = rstar_store_reasoning;
	ask->spec.peek = rstar_on_miss == RSTAR_ON_MISS_SKIP || rstar_plan_depth > 0;
	ask->spec.affinity = rstar_pair_affinity(call, query);
	ask->spec.model = call->server.model;
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
ask_once(Ask *ask, uint32 cookie, RstarWaiter **waiter, RstarResult *result)
{
	RstarSubmitted submitted;

	if (ask->query.len == 0 || ask->doc.len == 0)
	{
		memset(result, 0, sizeof(RstarResult));
		result->status = RSTAR_STATUS_EMPTY;
		strlcpy(result->detail, ask->query.len == 0 ? "query" : "document", RSTAR_DETAIL_LEN);
		return RSTAR_SUBMITTED_DONE;
	}
	do
	{
		submitted = rstar_queue_find(&ask->spec, cookie, waiter, result);
		if (submitted != RSTAR_SUBMITTED_NONE)
			break;
		if (known_suffices(ask, result))
			return RSTAR_SUBMITTED_DONE;
		if (ask->spec.peek)
			return RSTAR_SUBMITTED_NONE;
		if (limit_reached(ask))
		{
			/* The call will say so, once what was sent has been answered */
			if (ask->spec.ahead)
				return RSTAR_SUBMITTED_NONE;
			raise_limit(ask);
		}
		if (ask->body.data == NULL)
		{
			initStringInfo(&ask->body);
			rstar_prompt_append_body(&ask->body, &ask->call->server, &ask->call->task,
									 ask->query, ask->doc, &ask->doc_place);
		}
		ask->spec.body = ask->body.data;
		ask->spec.body_len = ask->body.len;
		ask->spec.doc_at = ask->doc_place.at;
		ask->spec.doc_len = ask->doc_place.len;
		submitted = rstar_queue_submit(&ask->spec, cookie, waiter, result);
	} while (submitted == RSTAR_SUBMITTED_AGAIN);

	if (submitted == RSTAR_SUBMITTED_SENT)
		ask->statement->sent += ask->spec.samples - ask->known;
	else if (submitted == RSTAR_SUBMITTED_JOINED)
		ask->statement->sent += ask->spec.raised;
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
		if (ask->have != NULL)
			known = *ask->have;
		else
			memset(&known, 0, sizeof(known));
	}
	spec->known = known;
	ask->known = known.scored + (spec->zero ? known.unscored : 0);
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
		ask->statement->sent + ask->spec.samples - ask->known > rstar_request_limit;
}

static void
raise_limit(const Ask *ask)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("statement needs more samples than retrostar.request_limit allows"),
			 errdetail("It has sent " INT64_FORMAT " of at most %d.",
					   ask->statement->sent, rstar_request_limit),
			 errhint("Raise \"retrostar.request_limit\", or score fewer rows.  What was scored stays in the cache.")));
}

double
rstar_score_outcome(RstarStatement *statement, RstarMemoEntry *entry, const char *server, bool *isnull)
{
	if (entry->state == RSTAR_MEMO_VALUE)
	{
		if (entry->shortened && !entry->warned)
			rstar_statement_shortened(statement);
		entry->warned = true;
		*isnull = false;
		return rstar_memo_score(entry);
	}
	Assert(entry->state == RSTAR_MEMO_FAILED);
	if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
		rstar_failure_raise(entry->failure, server);
	if (!entry->warned)
		rstar_statement_failed(statement, rstar_failure_message(entry->failure, server));
	entry->warned = true;
	*isnull = true;
	return 0;
}

/* An entry of its own: the memo's may be of a request whose replies are not kept */
void
rstar_score_explain(RstarStatement *statement, const RstarCall *call, const RstarKey *key,
					RstarText query, RstarText doc, RstarTally *tally)
{
	RstarMemoEntry *entry = MemoryContextAllocZero(statement->context, sizeof(RstarMemoEntry));
	bool		isnull;

	memset(tally, 0, sizeof(RstarTally));
	if (rstar_warm_asks())
	{
		(void) rstar_warm_ask(call, key, query, doc, call->samples, NULL, true, tally);
		pfree(entry);
		return;
	}
	rstar_score_memo_key(&entry->key, key, call->samples);
	entry->explained = true;
	if (rstar_score_fill(statement, call, entry, query, doc, NULL, false, deadline(statement)) != RSTAR_SUBMITTED_NONE)
	{
		if (entry->state == RSTAR_MEMO_PENDING)
			rstar_memo_wait(statement, entry, deadline(statement));
		(void) rstar_score_outcome(statement, entry, call->server.name, &isnull);
		*tally = isnull ? entry->failure->tally : entry->tally;
	}
	if (entry->failure != NULL)
		pfree(entry->failure);
	pfree(entry);
}

bool
rstar_score_prefetch(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement;
	const RstarCall *call;
	RstarText	query;
	RstarText	doc;
	RstarKey	key;
	RstarWaiter *waiter;
	RstarResult result;
	RstarSubmitted submitted;
	Ask			ask;

	*isnull = args[RSTAR_ARG_QUERY].isnull || args[RSTAR_ARG_DOC].isnull;
	if (*isnull)
		return false;
	rstar_score_require_preload();
	statement = rstar_statement_current();
	call = rstar_pair_resolve(statement, args);
	query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
	doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);
	rstar_pair_key(call, query, doc, &key);
	ask_begin(&ask, statement, call, &key, query, doc);
	ask.spec.detached = true;
	rstar_progress_wanted();
	while ((submitted = ask_once(&ask, 0, &waiter, &result)) == RSTAR_SUBMITTED_FULL &&
		   !rstar_warm_asks())
		(void) rstar_memo_wait_for_room(&ask.spec, 0);
	count_way(submitted, &result);
	rstar_progress_moved(RSTAR_PLACE_LOOKED_FOR,
						 submitted != RSTAR_SUBMITTED_DONE ? RSTAR_PLACE_NOT_AWAITED :
						 result.status == RSTAR_STATUS_OK ? RSTAR_PLACE_DONE : RSTAR_PLACE_FAILED);
	ask_end(&ask);
	/* Also when it was there: its worker may have left since */
	if (submitted == RSTAR_SUBMITTED_SENT || submitted == RSTAR_SUBMITTED_JOINED)
		(void) rstar_launch_ensure();
	if (submitted == RSTAR_SUBMITTED_DONE && result.status != RSTAR_STATUS_OK)
	{
		if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
			rstar_failure_raise(&result, call->server.name);
		rstar_statement_failed(statement, rstar_failure_message(&result, call->server.name));
		*isnull = true;
	}
	return submitted == RSTAR_SUBMITTED_DONE;
}

void
rstar_score_require_preload(void)
{
	if (!rstar_queue_ready())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("retrostar must be loaded via \"shared_preload_libraries\""),
				 errhint("Add \"retrostar\" to \"shared_preload_libraries\" and restart the server.")));
}
