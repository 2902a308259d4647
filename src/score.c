/*-------------------------------------------------------------------------
 *
 * score.c
 *		Pairs become scores: statement memo, map, cache table and queue, in
 *		this order.
 *
 * Called by: functions.c, scan.c.  Calls: pair.c, queue.c, cache.c,
 * prompt.c, launch.c.
 *
 * Each pair that a statement asks for has an entry in the statement's memo:
 * PENDING while a request is under way, then a VALUE or FAILED.  Results come
 * out of the queue in the order of completion, with a cookie that leads to
 * the entry, whichever statement of this session it belongs to.
 *
 * An entry that was read ahead stays until its row has been evaluated; others
 * go, oldest first, when the memo outgrows work_mem.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "cache.h"
#include "failure.h"
#include "guc.h"
#include "launch.h"
#include "pair.h"
#include "plan.h"
#include "prompt.h"
#include "queue.h"
#include "score.h"
#include "statement.h"

typedef enum MemoState
{
	MEMO_NEW,					/* made, but then an error came in between */
	MEMO_PENDING,
	MEMO_VALUE,
	MEMO_FAILED
} MemoState;

/* Calls that differ in these see different scores of a pair */
typedef struct MemoKey
{
	RstarKey	key;
	uint16		samples;
	bool		zero;
	bool		fresh;
} MemoKey;

typedef struct MemoEntry
{
	MemoKey		key;
	MemoState	state;
	bool		sent;			/* by this statement, not another's request */
	bool		ahead;			/* read ahead, its row not yet evaluated */
	bool		listed;			/* in statement->values */
	bool		warned;			/* its failure has been counted */
	double		score;			/* VALUE */
	RstarResult *failure;		/* FAILED */
	RstarWaiter *waiter;		/* PENDING */
	uint32		cookie;			/* PENDING */
	RstarScoreStats *stats;		/* to be credited, or NULL */
	dlist_node	link;			/* in statement->pending or ->values */
} MemoEntry;

/* Where a cookie leads to */
typedef struct Pending
{
	RstarStatement *statement;	/* NULL: free */
	MemoEntry  *entry;
	uint32		next_free;
} Pending;

/* One pair on its way through look-up and submission */
typedef struct Ask
{
	RstarStatement *statement;
	const RstarCall *call;
	RstarText	query;
	RstarText	doc;
	RstarSpec	spec;
	int			known;			/* samples that are there already */
	StringInfoData body;		/* built when needed; data NULL before */
} Ask;

#define NO_COOKIE PG_UINT32_MAX

static Pending *pendings = NULL;
static uint32 npendings = 0;
static uint32 free_pending = NO_COOKIE;

static double planning_score(const NullableDatum *args, bool *isnull);
static bool announced_key(RstarStatement *statement, const RstarCall *call,
						  const NullableDatum *args, RstarKey *key);
static bool same_datum(Datum a, Datum b);
static MemoEntry *memo_entry(RstarStatement *statement, const RstarCall *call,
							 const RstarKey *key);
static void memo_make(RstarStatement *statement);
static void memo_bound(RstarStatement *statement, MemoEntry *entry);
static void ask_begin(Ask *ask, RstarStatement *statement, const RstarCall *call,
					  const RstarKey *key, RstarText query, RstarText doc);
static void ask_end(Ask *ask);
static RstarSubmitted ask_once(Ask *ask, uint32 cookie, RstarWaiter **waiter,
							   RstarResult *result);
static bool known_suffices(Ask *ask, RstarResult *result);
static void check_request_limit(Ask *ask);
static RstarSubmitted fill_entry(RstarStatement *statement, const RstarCall *call,
								 MemoEntry *entry, RstarText query, RstarText doc);
static uint32 reserve_cookie(void);
static void take_cookie(uint32 cookie, RstarStatement *statement, MemoEntry *entry);
static void free_cookie(uint32 cookie);
static void set_result(RstarStatement *statement, MemoEntry *entry, const RstarResult *result);
static void drain(void);
static void wait_for_entry(MemoEntry *entry);
static void wait_for_room(const RstarSpec *spec);
static double outcome(RstarStatement *statement, MemoEntry *entry, const char *server,
					  bool *isnull);

double
rstar_score_get(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement;
	const RstarCall *call;
	MemoEntry  *entry;
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
	if (announced_key(statement, call, args, &key) &&
		(entry = memo_entry(statement, call, &key))->state != MEMO_NEW)
		 /* read ahead: neither detoasted nor hashed again */ ;
	else
	{
		RstarText	query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
		RstarText	doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);

		rstar_pair_key(call, query, doc, &key);
		entry = memo_entry(statement, call, &key);
		if (entry->state == MEMO_NEW &&
			fill_entry(statement, call, entry, query, doc) == RSTAR_SUBMITTED_NONE)
			return 0;			/* on_miss = skip */
	}
	if (entry->state == MEMO_PENDING)
		wait_for_entry(entry);
	entry->ahead = false;
	score = outcome(statement, entry, call->server.name, isnull);
	memo_bound(statement, entry);
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
	RstarKnown	known;

	rstar_pair_key(call, rstar_pair_text(args[RSTAR_ARG_QUERY].value),
				   rstar_pair_text(args[RSTAR_ARG_DOC].value), &key);
	rstar_cache_lookup(&key, &known);
	*isnull = known.scored == 0;
	return *isnull ? 0 : (double) known.sum / known.scored;
}

void
rstar_score_ahead(const NullableDatum *args, RstarScoreStats *stats, RstarAhead *ahead)
{
	RstarStatement *statement;
	const RstarCall *call;
	MemoEntry  *entry;
	RstarText	query;
	RstarText	doc;
	RstarKey	key;

	ahead->valid = false;
	if (args[RSTAR_ARG_QUERY].isnull || args[RSTAR_ARG_DOC].isnull)
		return;
	rstar_score_require_preload();
	statement = rstar_statement_current();
	call = rstar_pair_resolve(statement, args);
	query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
	doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);
	rstar_pair_key(call, query, doc, &key);
	memcpy(ahead->key, key.bytes, sizeof(ahead->key));
	ahead->query = args[RSTAR_ARG_QUERY].value;
	ahead->doc = args[RSTAR_ARG_DOC].value;
	ahead->call = call->id;
	ahead->valid = true;

	entry = memo_entry(statement, call, &key);
	if (entry->state == MEMO_NEW)
	{
		RstarSubmitted submitted = fill_entry(statement, call, entry, query, doc);

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
	if (entry->listed)
		dlist_delete(&entry->link);
	entry->listed = false;
	entry->ahead = entry->state != MEMO_NEW;
}

void
rstar_score_announce(const RstarAhead *aheads, int n)
{
	RstarStatement *statement = rstar_statement_current();

	statement->announced = aheads;
	statement->nannounced = n;
}

static bool
announced_key(RstarStatement *statement, const RstarCall *call,
			  const NullableDatum *args, RstarKey *key)
{
	for (int i = 0; i < statement->nannounced; i++)
	{
		const RstarAhead *ahead = &statement->announced[i];

		if (ahead->valid && ahead->call == call->id &&
			ahead->doc == args[RSTAR_ARG_DOC].value &&
			same_datum(ahead->query, args[RSTAR_ARG_QUERY].value))
		{
			memcpy(key->bytes, ahead->key, sizeof(key->bytes));
			return true;
		}
	}
	return false;
}

/* The query may be a constant, of which plan and node have a copy each */
static bool
same_datum(Datum a, Datum b)
{
	struct varlena *va = (struct varlena *) DatumGetPointer(a);
	struct varlena *vb = (struct varlena *) DatumGetPointer(b);

	if (a == b)
		return true;
	return !VARATT_IS_EXTERNAL(va) && !VARATT_IS_EXTERNAL(vb) &&
		VARSIZE_ANY(va) == VARSIZE_ANY(vb) && memcmp(va, vb, VARSIZE_ANY(va)) == 0;
}

/* The entry of a pair, MEMO_NEW when there was none */
static MemoEntry *
memo_entry(RstarStatement *statement, const RstarCall *call, const RstarKey *key)
{
	MemoKey		memo_key;
	MemoEntry  *entry;
	bool		found;

	if (statement->memo == NULL)
		memo_make(statement);
	memset(&memo_key, 0, sizeof(memo_key));
	memo_key.key = *key;
	memo_key.samples = call->samples;
	memo_key.zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	memo_key.fresh = !rstar_cache;
	entry = hash_search(statement->memo, &memo_key, HASH_ENTER, &found);
	if (!found)
		memset((char *) entry + sizeof(MemoKey), 0, sizeof(MemoEntry) - sizeof(MemoKey));
	return entry;
}

static void
memo_make(RstarStatement *statement)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(MemoKey);
	control.entrysize = sizeof(MemoEntry);
	control.hcxt = statement->context;
	statement->memo = hash_create("retrostar memo", 256, &control,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * The entry has been evaluated and may go one day; the oldest go now when
 * there are too many.  Their scores are in the cache table.
 */
static void
memo_bound(RstarStatement *statement, MemoEntry *entry)
{
	Size		entry_size = sizeof(MemoEntry) + sizeof(HASHELEMENT);

	if (!entry->listed)
		dlist_push_tail(&statement->values, &entry->link);
	entry->listed = true;
	while (hash_get_num_entries(statement->memo) * entry_size > work_mem * (Size) 1024)
	{
		MemoEntry  *oldest;

		if (dlist_is_empty(&statement->values))
			return;
		oldest = dlist_container(MemoEntry, link, dlist_pop_head_node(&statement->values));
		if (oldest->failure)
			pfree(oldest->failure);
		(void) hash_search(statement->memo, &oldest->key, HASH_REMOVE, NULL);
	}
}

/*
 * Fills a new entry: with a score that is known, or with a request that it
 * waits for.  NONE: on_miss is "skip" and the score is not known; the entry
 * stays MEMO_NEW.
 */
static RstarSubmitted
fill_entry(RstarStatement *statement, const RstarCall *call, MemoEntry *entry,
		   RstarText query, RstarText doc)
{
	Ask			ask;
	RstarWaiter *waiter = NULL;
	RstarResult result;
	RstarSubmitted submitted;
	uint32		cookie;

	ask_begin(&ask, statement, call, &entry->key.key, query, doc);
	for (;;)
	{
		cookie = reserve_cookie();
		submitted = ask_once(&ask, cookie, &waiter, &result);
		if (submitted != RSTAR_SUBMITTED_FULL)
			break;
		wait_for_room(&ask.spec);
	}
	if (submitted == RSTAR_SUBMITTED_JOINED || submitted == RSTAR_SUBMITTED_SENT)
	{
		take_cookie(cookie, statement, entry);
		entry->state = MEMO_PENDING;
		entry->waiter = waiter;
		entry->cookie = cookie;
		entry->sent = submitted == RSTAR_SUBMITTED_SENT;
		dlist_push_tail(&statement->pending, &entry->link);
	}
	else if (submitted != RSTAR_SUBMITTED_NONE)
		set_result(statement, entry, &result);
	ask_end(&ask);
	return submitted;
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
	ask->spec.samples = call->samples;
	ask->spec.zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	ask->spec.fresh = !rstar_cache;
	ask->spec.peek = rstar_on_miss == RSTAR_ON_MISS_SKIP;
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
			return submitted;
		if (known_suffices(ask, result))
			return RSTAR_SUBMITTED_DONE;
		if (rstar_on_miss == RSTAR_ON_MISS_SKIP)
			return RSTAR_SUBMITTED_NONE;
		check_request_limit(ask);
		if (ask->body.data == NULL)
		{
			initStringInfo(&ask->body);
			rstar_prompt_append_body(&ask->body, &ask->call->server, &ask->call->task,
									 ask->query, ask->doc);
		}
		ask->spec.body = ask->body.data;
		ask->spec.body_len = ask->body.len;
		submitted = rstar_queue_submit(&ask->spec, cookie, waiter, result);
	} while (submitted == RSTAR_SUBMITTED_AGAIN);

	if (submitted == RSTAR_SUBMITTED_SENT)
		ask->statement->sent += ask->spec.samples - ask->known;
	else if (submitted == RSTAR_SUBMITTED_TOO_LARGE)
	{
		memset(result, 0, sizeof(RstarResult));
		result->status = RSTAR_STATUS_NO_ROOM;
		return RSTAR_SUBMITTED_DONE;
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
	RstarKnown	known;

	rstar_cache_lookup(&spec->key, &known);
	if (result->scored + result->unscored > known.scored + known.unscored)
	{
		known.scored = result->scored;
		known.unscored = result->unscored;
		known.sum = result->sum;
	}
	spec->first_sample = known.scored + known.unscored;
	if (spec->fresh)
		memset(&known, 0, sizeof(known));
	spec->known_scored = known.scored;
	spec->known_unscored = known.unscored;
	spec->known_sum = known.sum;
	ask->known = known.scored + (spec->zero ? known.unscored : 0);
	if (ask->known < spec->samples)
		return false;
	memset(result, 0, sizeof(RstarResult));
	result->status = RSTAR_STATUS_OK;
	result->scored = known.scored;
	result->unscored = known.unscored;
	result->sum = known.sum;
	return true;
}

static void
check_request_limit(Ask *ask)
{
	int64		sent = ask->statement->sent + ask->spec.samples - ask->known;

	if (rstar_request_limit < 0 || sent <= rstar_request_limit)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("statement needs more samples than retrostar.request_limit allows"),
			 errdetail("It has sent " INT64_FORMAT " of at most %d.",
					   ask->statement->sent, rstar_request_limit),
			 errhint("Raise \"retrostar.request_limit\", or score fewer rows.  What was scored stays in the cache.")));
}

/* A place in the table of cookies, not taken yet: an error may come between */
static uint32
reserve_cookie(void)
{
	if (free_pending == NO_COOKIE)
	{
		uint32		n = npendings == 0 ? 256 : npendings * 2;

		if (pendings == NULL)
			pendings = MemoryContextAlloc(TopMemoryContext, n * sizeof(Pending));
		else
			pendings = repalloc_huge(pendings, n * sizeof(Pending));
		for (uint32 i = npendings; i < n; i++)
		{
			pendings[i].statement = NULL;
			pendings[i].entry = NULL;
			pendings[i].next_free = i + 1 < n ? i + 1 : NO_COOKIE;
		}
		free_pending = npendings;
		npendings = n;
	}
	return free_pending;
}

static void
take_cookie(uint32 cookie, RstarStatement *statement, MemoEntry *entry)
{
	Assert(cookie == free_pending);
	free_pending = pendings[cookie].next_free;
	pendings[cookie].statement = statement;
	pendings[cookie].entry = entry;
}

static void
free_cookie(uint32 cookie)
{
	pendings[cookie].statement = NULL;
	pendings[cookie].entry = NULL;
	pendings[cookie].next_free = free_pending;
	free_pending = cookie;
}

static void
set_result(RstarStatement *statement, MemoEntry *entry, const RstarResult *result)
{
	int			n = result->scored + (entry->key.zero ? result->unscored : 0);

	if (entry->stats != NULL)
	{
		entry->stats->samples += result->new_samples;
		entry->stats->prompt_tokens += result->prompt_tokens;
		entry->stats->completion_tokens += result->completion_tokens;
		entry->stats->failures += result->status != RSTAR_STATUS_OK;
	}
	if (result->status == RSTAR_STATUS_OK && n > 0)
	{
		entry->state = MEMO_VALUE;
		entry->score = (double) result->sum / n;
		return;
	}
	entry->failure = MemoryContextAlloc(statement->context, sizeof(RstarResult));
	*entry->failure = *result;
	entry->state = MEMO_FAILED;
}

/* Takes all results that are there, for whichever statement of the session */
static void
drain(void)
{
	RstarResult result;
	uint32		cookie;

	while (rstar_queue_next(&cookie, &result))
	{
		RstarStatement *statement = cookie < npendings ? pendings[cookie].statement : NULL;
		MemoEntry  *entry = statement ? pendings[cookie].entry : NULL;

		if (entry == NULL)
			continue;			/* an error came before it was put down */
		free_cookie(cookie);
		dlist_delete(&entry->link);
		entry->waiter = NULL;
		set_result(statement, entry, &result);
	}
}

static void
wait_for_entry(MemoEntry *entry)
{
	instr_time	start;
	instr_time	waited;

	drain();
	if (entry->state != MEMO_PENDING)
		return;
	INSTR_TIME_SET_CURRENT(start);
	while (entry->state == MEMO_PENDING)
	{
		long		timeout = rstar_launch_ensure();

		rstar_queue_wait(entry->waiter, NULL, timeout);
		drain();
	}
	INSTR_TIME_SET_CURRENT(waited);
	INSTR_TIME_SUBTRACT(waited, start);
	if (entry->stats != NULL)
		entry->stats->wait_us += INSTR_TIME_GET_MICROSEC(waited);
}

static void
wait_for_room(const RstarSpec *spec)
{
	long		timeout = rstar_launch_ensure();

	rstar_queue_wait(NULL, spec, timeout);
	drain();
}

static double
outcome(RstarStatement *statement, MemoEntry *entry, const char *server, bool *isnull)
{
	if (entry->state == MEMO_VALUE)
	{
		*isnull = false;
		return entry->score;
	}
	Assert(entry->state == MEMO_FAILED);
	if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
		rstar_failure_raise(entry->failure, server);
	if (!entry->warned)
		rstar_statement_failed(statement, rstar_failure_message(entry->failure, server));
	entry->warned = true;
	*isnull = true;
	return 0;
}

void
rstar_score_release(RstarStatement *statement)
{
	while (!dlist_is_empty(&statement->pending))
	{
		MemoEntry  *entry = dlist_container(MemoEntry, link,
											dlist_pop_head_node(&statement->pending));

		rstar_queue_release(entry->waiter);
		free_cookie(entry->cookie);
	}
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
	while ((submitted = ask_once(&ask, NO_COOKIE, &waiter, &result)) == RSTAR_SUBMITTED_FULL)
		wait_for_room(&ask.spec);
	ask_end(&ask);
	if (submitted == RSTAR_SUBMITTED_SENT)
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

/* Its waiter has a memo entry of its own, which no pair leads to */
void
rstar_score_check(Oid serverid, Oid mapping, int endpoint, RstarResult *result)
{
	RstarStatement *statement = rstar_statement_current();
	MemoEntry  *entry = MemoryContextAllocZero(statement->context, sizeof(MemoEntry));
	RstarWaiter *waiter;
	RstarSpec	spec;
	uint32		cookie;

	rstar_score_require_preload();
	memset(&spec, 0, sizeof(spec));
	spec.kind = RSTAR_KIND_CHECK;
	spec.serverid = serverid;
	spec.mapping = mapping;
	spec.endpoint = endpoint;
	spec.samples = 1;
	spec.model = "";
	for (;;)
	{
		cookie = reserve_cookie();
		if (rstar_queue_submit(&spec, cookie, &waiter, result) == RSTAR_SUBMITTED_SENT)
			break;
		wait_for_room(&spec);
	}
	take_cookie(cookie, statement, entry);
	entry->state = MEMO_PENDING;
	entry->waiter = waiter;
	entry->cookie = cookie;
	dlist_push_tail(&statement->pending, &entry->link);
	wait_for_entry(entry);
	*result = *entry->failure;
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
