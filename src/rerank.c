/*-------------------------------------------------------------------------
 *
 * rerank.c
 *		A set of documents, scored in passes and put in order.
 *
 * Called by: functions.c, aggregate.c, scan.c.  Calls: passes.c (whom to ask for how
 * many samples), score.c (asks), memo.c (waits).
 *
 * In a round everything is asked for before anything is waited for.  The
 * groups of an aggregate go on together: while one waits for its round, the
 * requests of the others are under way, and whenever its round ends those
 * whose rounds have ended too begin the next.  But not those that may get
 * another document: the hashed groups of grouping sets while sorted ones come.
 *
 * Samples that are known count, but passes.c is told of a document no more
 * than the samples that the round asks for: so a set that was scored before
 * goes the same way again, and asks for nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "failure.h"
#include "guc.h"
#include "memo.h"
#include "pair.h"
#include "passes.h"
#include "rerank.h"
#include "statement.h"
#include "warm.h"

/* Documents of a set that there is room for at first */
#define FIRST_DOCS 8

/* One document of a set */
typedef struct SetDoc
{
	Datum		text;
	bool		isnull;
	bool		failed;			/* for good: it is not asked again */
	bool		shortened;		/* the model did not see all of it */
	int			first;			/* the first document of the same key, or itself */
	RstarKey	key;
	uint64		prefix;			/* hash of what it has of server and task */
	RstarMemoEntry *entry;		/* asked for, not yet taken */
	bool		held;			/* the entry is the memo's, read ahead */
	int			asked;			/* samples that the entry is for */
	RstarTally	tally;			/* what is known */
} SetDoc;

typedef struct KeyEntry
{
	RstarKey	key;
	int			doc;
	char		status;			/* simplehash's */
} KeyEntry;

static inline uint32 hash_of_key(const RstarKey *key);

/*
 * From key to document.  A table without a memory context of its own: there
 * may be very many groups, and hash aggregation looks at all contexts below
 * its own whenever it meets a new one.
 */
#define SH_PREFIX keys
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE RstarKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_of_key(&(key))
#define SH_EQUAL(table, a, b) (memcmp(&(a), &(b), sizeof(RstarKey)) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct RstarSet
{
	dlist_node	link;			/* in statement->sets until no round is left */
	MemoryContext context;
	const void *owner;
	RstarStatement *statement;
	NullableDatum args[RSTAR_NARGS];
	RstarPassesSpec spec;
	int			top_n;			/* 0: all */
	TimestampTz deadline;
	bool		late;			/* the deadline has passed */
	bool		incomplete;		/* a refresh waits for a part of this round */
	SetDoc	   *docs;
	int			ndocs;
	int			maxdocs;
	keys_hash  *keys;
	RstarPasses *passes;		/* once no document comes any more */
	int		   *order;			/* documents that passes.c knows of */
	int			norder;
	bool		in_round;		/* entries are to be waited for */
};

static void parse_passes(RstarPassesSpec *spec, const char *passes);
static void give_up_set(void *arg);
static void leave_others(RstarSet *set);
static bool past_deadline(RstarSet *set);
static int	first_target(const RstarSet *set, int doc);
static void ask_first(RstarSet *set, SetDoc *doc, int samples);
static void ask(RstarSet *set, SetDoc *doc, int samples);
static void forget_ahead(RstarSet *set, const SetDoc *doc);
static void take_rest(RstarSet *set);
static void begin_passes(RstarSet *set);
static bool begin_round(RstarSet *set);
static bool round_ended(const RstarSet *set);
static void end_round(RstarSet *set);
static void take(RstarSet *set, SetDoc *doc);
static void fail(RstarSet *set, const RstarResult *failure);
static int	samples_of(const RstarTally *tally);
static void feed(RstarSet *set, int i, int limit);
static void advance_others(const RstarSet *set);
static int	compare_ranked(const void *a, const void *b);

RstarSet *
rstar_rerank_begin(const void *owner, const NullableDatum *args, int top_n,
				   const char *passes, TimestampTz deadline)
{
	RstarSet   *set = palloc0(sizeof(RstarSet));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	rstar_score_require_preload();
	parse_passes(&set->spec, passes);
	set->context = CurrentMemoryContext;
	set->owner = owner;
	set->statement = rstar_statement_current();
	set->top_n = top_n;
	/* While the cache is warmed nothing is waited for */
	if (rstar_warm_asks())
		set->deadline = 0;
	else if (deadline == 0 && rstar_deadline > 0)
		set->deadline = TimestampTzPlusMilliseconds(set->statement->started, rstar_deadline);
	else
		set->deadline = deadline;
	for (int i = 0; i < RSTAR_NARGS; i++)
	{
		set->args[i].isnull = args[i].isnull || i == RSTAR_ARG_DOC;
		if (!set->args[i].isnull)
			set->args[i].value = i == RSTAR_ARG_SAMPLES ? args[i].value :
				PointerGetDatum(PG_DETOAST_DATUM_COPY(args[i].value));
	}
	/* Wrong arguments are errors even for an empty set */
	(void) rstar_pair_resolve(set->statement, set->args);

	set->keys = keys_create(CurrentMemoryContext, FIRST_DOCS, NULL);
	dlist_push_tail(&set->statement->sets, &set->link);
	callback->func = give_up_set;
	callback->arg = set;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return set;
}

static void
parse_passes(RstarPassesSpec *spec, const char *passes)
{
	RstarPassesCode code;
	char		samples[12];
	int			position;

	if (passes == NULL && rstar_passes[0] != '\0')
		passes = rstar_passes;
	if (passes == NULL)
	{
		snprintf(samples, sizeof(samples), "%d", rstar_samples);
		passes = samples;
	}
	code = rstar_passes_parse(spec, passes, strlen(passes), &position);
	if (code != RSTAR_PASSES_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid specification of passes: \"%s\"", passes),
				 errdetail("%s (character %d)", rstar_passes_reason(code), position + 1),
				 errhint("%s", RSTAR_PASSES_GRAMMAR)));
}

void
rstar_rerank_first_pass(int *samples, int *documents)
{
	RstarPassesSpec spec;

	parse_passes(&spec, NULL);
	*samples = spec.nrounds > 0 ? spec.rounds[0].samples : 1;
	*documents = spec.kind == RSTAR_PASSES_FIXED ? spec.rounds[0].documents : INT_MAX;
}

void
rstar_rerank_check_top_n(int top_n)
{
	if (top_n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("top_n must be positive, not %d", top_n)));
}

void
rstar_rerank_check_documents(int64 documents)
{
	if (documents > RSTAR_PASSES_MAX_DOCUMENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many documents in one set"),
				 errdetail("There can be %d at most.", RSTAR_PASSES_MAX_DOCUMENTS)));
}

/*
 * The set's memory goes.  Its entries belong to the statement, which gives up
 * at its end what is still pending.
 */
static void
give_up_set(void *arg)
{
	leave_others(arg);
}

/*
 * The others need not look at it any more.  The statement may have ended
 * before, and then it has let go of it.
 */
static void
leave_others(RstarSet *set)
{
	if (set->link.next != NULL)
		dlist_delete(&set->link);
	set->link.next = NULL;
}

bool
rstar_rerank_same_query(const RstarSet *set, const NullableDatum *query)
{
	const NullableDatum *mine = &set->args[RSTAR_ARG_QUERY];

	if (mine->isnull || query->isnull)
		return mine->isnull && query->isnull;
	return datumIsEqual(mine->value, PointerGetDatum(PG_DETOAST_DATUM(query->value)), false, -1) ||
		DatumGetBool(DirectFunctionCall2(byteaeq, mine->value, query->value));
}

void
rstar_rerank_add(RstarSet *set, Datum text, bool isnull, bool copy)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	SetDoc	   *doc;

	CHECK_FOR_INTERRUPTS();
	if (set->passes != NULL)
		elog(ERROR, "a set of documents is complete already");
	rstar_rerank_check_documents((int64) set->ndocs + 1);
	if (set->ndocs == set->maxdocs)
	{
		set->maxdocs = Max(FIRST_DOCS, set->maxdocs * 2);
		set->docs = set->docs ? repalloc_huge(set->docs, set->maxdocs * sizeof(SetDoc)) :
			palloc(set->maxdocs * sizeof(SetDoc));
	}
	doc = &set->docs[set->ndocs];
	memset(doc, 0, sizeof(SetDoc));
	doc->isnull = isnull || set->args[RSTAR_ARG_QUERY].isnull;
	doc->first = set->ndocs;
	set->ndocs++;
	if (past_deadline(set))
		doc->failed = true;
	else if (!doc->isnull)
	{
		MemoryContext scratch = AllocSetContextCreate(set->context, "retrostar document",
													  ALLOCSET_DEFAULT_SIZES);
		const RstarCall *call;
		KeyEntry   *entry;
		bool		found;

		doc->text = copy ? datumCopy(text, false, -1) : text;
		MemoryContextSwitchTo(scratch);
		call = rstar_pair_resolve(set->statement, set->args);
		doc->prefix = call->affinity;
		if (!rstar_score_announced(set->statement, call, set->args[RSTAR_ARG_QUERY].value,
								   text, &doc->key))
			rstar_pair_key(call, rstar_pair_text(set->args[RSTAR_ARG_QUERY].value),
						   rstar_pair_text(doc->text), &doc->key);
		entry = keys_insert(set->keys, doc->key, &found);
		if (!found)
			entry->doc = doc->first;
		doc->first = entry->doc;
		if (found)
			forget_ahead(set, &set->docs[doc->first]);
		else if (first_target(set, doc->first) > 0)
			ask_first(set, doc, first_target(set, doc->first));
		MemoryContextSwitchTo(set->context);
		MemoryContextDelete(scratch);
	}
	MemoryContextSwitchTo(old);
}

/* Once it has passed it is not asked for any more documents */
static bool
past_deadline(RstarSet *set)
{
	if (set->deadline != 0 && !set->late && GetCurrentTimestamp() >= set->deadline)
		set->late = true;
	return set->late;
}

/* Samples that the first round will want of a document; passes.c agrees */
static int
first_target(const RstarSet *set, int doc)
{
	if (set->spec.kind == RSTAR_PASSES_FIXED && doc >= set->spec.rounds[0].documents)
		return 0;
	return set->spec.nrounds > 0 ? set->spec.rounds[0].samples : 1;
}

/*
 * The prefetch node may have asked already, for an aggregate.  What it has
 * asked for otherwise is a call's, which may wait longer than this set.
 */
static void
ask_first(RstarSet *set, SetDoc *doc, int samples)
{
	RstarMemoKey key;

	if (set->owner != NULL)
	{
		rstar_score_memo_key(&key, &doc->key, samples);
		doc->entry = rstar_memo_hold(set->statement, &key);
	}
	doc->held = doc->entry != NULL;
	doc->asked = samples;
	if (!doc->held)
		ask(set, doc, samples);
}

/* The node asks for a document as often as it comes; this is another time */
static void
forget_ahead(RstarSet *set, const SetDoc *doc)
{
	if (doc->held)
		rstar_memo_forget(set->statement, &doc->entry->key);
}

static void
ask(RstarSet *set, SetDoc *doc, int samples)
{
	const RstarCall *call = rstar_pair_resolve(set->statement, set->args);
	RstarText	query = rstar_pair_text(set->args[RSTAR_ARG_QUERY].value);

	/* Altered since an earlier pass: the answer would be stored under a wrong key */
	if (call->affinity != doc->prefix)
	{
		RstarResult altered = {.status = RSTAR_STATUS_SERVER_ALTERED};

		doc->failed = true;
		fail(set, &altered);
		return;
	}
	doc->entry = rstar_score_submit(set->statement, call, &doc->key, query,
									rstar_pair_text(doc->text), samples, &doc->tally,
									set->deadline);
	doc->asked = samples;
	if (doc->entry == NULL)
	{
		doc->failed = true;		/* on_miss = skip */
		set->incomplete = set->incomplete || rstar_warm_unknown();
	}
}

RstarRanked *
rstar_rerank_finish(RstarSet *set, int *n)
{
	RstarRanked *ranked = palloc_extended(Max(set->ndocs, 1) * sizeof(RstarRanked),
										  MCXT_ALLOC_HUGE);

	begin_passes(set);
	while (set->in_round || begin_round(set))
	{
		advance_others(set);
		end_round(set);
	}
	take_rest(set);

	for (int i = 0; i < set->ndocs; i++)
	{
		const RstarTally *tally = &set->docs[set->docs[i].first].tally;

		ranked[i].doc = i;
		ranked[i].samples = tally->scored;
		ranked[i].scored = !set->docs[i].isnull && samples_of(tally) > 0;
		ranked[i].score = ranked[i].scored ? (double) tally->sum / samples_of(tally) : 0;
	}
	qsort(ranked, set->ndocs, sizeof(RstarRanked), compare_ranked);
	*n = set->top_n > 0 ? Min(set->top_n, set->ndocs) : set->ndocs;
	return ranked;
}

/* What was asked for before the deadline passed, as far as it has come */
static void
take_rest(RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		if (set->docs[set->order[i]].entry != NULL)
			take(set, &set->docs[set->order[i]]);
	}
}

/* No document comes any more: passes.c is told of each once */
static void
begin_passes(RstarSet *set)
{
	MemoryContext old;

	if (set->passes != NULL)
		return;
	old = MemoryContextSwitchTo(set->context);
	set->order = palloc_extended(Max(set->ndocs, 1) * sizeof(int), MCXT_ALLOC_HUGE);
	for (int i = 0; i < set->ndocs; i++)
	{
		if (!set->docs[i].isnull && set->docs[i].first == i)
			set->order[set->norder++] = i;
	}
	set->passes = rstar_passes_create(palloc_extended(rstar_passes_size(set->norder), MCXT_ALLOC_HUGE),
									  &set->spec, set->norder, set->top_n);
	MemoryContextSwitchTo(old);
}

/* False: there is no round any more */
static bool
begin_round(RstarSet *set)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext scratch;

	if (past_deadline(set) || set->incomplete || rstar_passes_next(set->passes) == 0)
	{
		leave_others(set);
		return false;
	}
	scratch = AllocSetContextCreate(CurrentMemoryContext, "retrostar round",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	for (int i = 0; i < set->norder; i++)
	{
		SetDoc	   *doc = &set->docs[set->order[i]];
		int			target = rstar_passes_target(set->passes, i);

		CHECK_FOR_INTERRUPTS();
		if (target == 0 || doc->failed || (doc->entry != NULL && doc->asked >= target) ||
			samples_of(&doc->tally) >= target)
			continue;
		if (doc->entry != NULL)
			take(set, doc);
		ask(set, doc, target);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	set->in_round = true;
	return true;
}

static bool
round_ended(const RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		const SetDoc *doc = &set->docs[set->order[i]];

		if (doc->entry != NULL && doc->entry->state == RSTAR_MEMO_PENDING)
			return false;
	}
	return true;
}

/* Waits for all that was asked for, and says what came of it */
static void
end_round(RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		SetDoc	   *doc = &set->docs[set->order[i]];
		int			target = rstar_passes_target(set->passes, i);

		if (doc->entry != NULL)
			take(set, doc);
		if (target > 0)
			feed(set, i, target);
	}
	set->in_round = false;
}

/* Takes what came of a document's request, waiting for it */
static void
take(RstarSet *set, SetDoc *doc)
{
	RstarMemoEntry *entry = doc->entry;

	rstar_memo_wait(set->statement, entry, set->deadline);
	doc->entry = NULL;
	if (entry->state == RSTAR_MEMO_VALUE)
	{
		doc->tally = entry->tally;
		if (entry->shortened && !doc->shortened)
			rstar_statement_shortened(set->statement);
		doc->shortened = doc->shortened || entry->shortened;
	}
	else
	{
		doc->failed = true;
		if (entry->failure->status == RSTAR_STATUS_DEADLINE)
		{
			set->late = true;
			doc->tally = entry->failure->tally;
		}
		else
			fail(set, entry->failure);
	}
	if (doc->held)
		rstar_memo_let_go(set->statement, entry);
	else
	{
		if (entry->failure != NULL)
			pfree(entry->failure);
		pfree(entry);
	}
	doc->held = false;
}

/* By retrostar.on_error */
static void
fail(RstarSet *set, const RstarResult *failure)
{
	const char *server = rstar_pair_resolve(set->statement, set->args)->server.name;

	if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
		rstar_failure_raise(failure, server);
	rstar_statement_failed(set->statement, rstar_failure_message(failure, server));
}

static int
samples_of(const RstarTally *tally)
{
	return tally->scored + (rstar_unscored_reply == RSTAR_UNSCORED_ZERO ? tally->unscored : 0);
}

/* The first "limit" samples of the i-th document that passes.c knows of */
static void
feed(RstarSet *set, int i, int limit)
{
	const SetDoc *doc = &set->docs[set->order[i]];
	const RstarTally *tally = &doc->tally;
	RstarPassesKnown known = {0};

	known.samples = Min(limit, samples_of(tally));
	for (int j = 0; j < Min(limit, tally->nscores); j++)
	{
		known.sum += tally->scores[j];
		known.sum_squares += tally->scores[j] * tally->scores[j];
	}
	known.failed = doc->failed;
	(void) rstar_passes_feed(set->passes, i, &known);
}

/*
 * Other groups whose rounds have ended begin the next.  The aggregate keeps in
 * one memory context what it puts out together, and then all rows of it have
 * come.
 */
static void
advance_others(const RstarSet *set)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &set->statement->sets)
	{
		RstarSet   *other = dlist_container(RstarSet, link, iter.cur);

		if (other == set || set->owner == NULL || other->context != set->context)
			continue;
		begin_passes(other);
		if (other->in_round && round_ended(other))
			end_round(other);
		if (!other->in_round)
			(void) begin_round(other);
	}
}

/* It is a digest */
static inline uint32
hash_of_key(const RstarKey *key)
{
	uint32		hash;

	memcpy(&hash, key->bytes, sizeof(hash));
	return hash;
}

/* Best first, ties in the caller's order, what has no score last */
static int
compare_ranked(const void *a, const void *b)
{
	const RstarRanked *x = a;
	const RstarRanked *y = b;

	if (x->scored != y->scored)
		return x->scored ? -1 : 1;
	if (x->score != y->score)
		return x->score > y->score ? -1 : 1;
	return x->doc - y->doc;
}
