/*-------------------------------------------------------------------------
 *
 * rerank.c
 *		A set of documents, scored in passes and put in order.
 *
 * A score counts all samples, but the order is that of the passes first: a
 * document that a pass refused stays behind the chosen, whatever else is known
 * of it.  With priors it goes by fused values; the score is left as it is, and
 * so is the key that its samples are stored under.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "base/settings.h"
#include "functions/rerank.h"
#include "functions/rounds.h"
#include "functions/set.h"
#include "session/ask.h"
#include "session/score.h"

/* Documents of a set that there is room for at first */
#define FIRST_DOCS 8

typedef struct KeyEntry
{
	int			doc;			/* the key is there */
	char		status;			/* simplehash's */
} KeyEntry;

#define KEY_OF(table, doc) (((RstarSet *) (table)->private_data)->docs[doc].key)

/*
 * The first document of each key.  A table without a memory context of its own: there
 * may be very many groups, and hash aggregation looks at all contexts below
 * its own whenever it meets a new one.
 */
#define SH_PREFIX keys
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE int
#define SH_KEY doc
/* it is a digest */
#define SH_HASH_KEY(table, doc) hash_bytes(KEY_OF(table, doc).bytes, sizeof(uint32))
#define SH_EQUAL(table, a, b) \
	(memcmp(&KEY_OF(table, a), &KEY_OF(table, b), sizeof(RstarKey)) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static void parse_passes(RstarPassesSpec *spec, const char *passes);
static void give_up_set(void *arg);
static void make_room(RstarSet *set, int documents);
static int	first_target(const RstarSet *set, int doc);
static void ask_first(RstarSet *set, RstarSetDoc *doc, int samples);
static void forget_ahead(RstarSet *set, const RstarSetDoc *doc);
static void add_samples(RstarSpread *spread, const RstarSetDoc *doc);

RstarSet *
rstar_rerank_begin(const void *owner, const NullableDatum *args,
				   const RstarSetOptions *options, const RstarSetIds *ids)
{
	RstarSet   *set = palloc0(sizeof(RstarSet));
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	rstar_queue_require();
	parse_passes(&set->spec, options->passes);
	set->context = CurrentMemoryContext;
	set->owner = owner;
	set->ids = *ids;
	set->statement = rstar_statement_current();
	set->top_n = options->top_n;
	/* In a pass of a refresh nothing is waited for */
	set->deadline = options->deadline != 0 && !rstar_statement_in_pass() ? options->deadline :
		rstar_ask_deadline(set->statement);
	set->trusting = options->has_priors && isnan(options->prior_weight);
	if (options->has_priors)
		set->weight = set->trusting ? rstar_prior_weight : options->prior_weight;
	for (int i = 0; i < RSTAR_NARGS; i++)
	{
		set->args[i].isnull = args[i].isnull || i == RSTAR_ARG_DOC;
		if (!set->args[i].isnull)
			set->args[i].value = i == RSTAR_ARG_SAMPLES ? args[i].value :
				PointerGetDatum(PG_DETOAST_DATUM_COPY(args[i].value));
	}
	/* Wrong arguments are errors even for an empty set */
	(void) rstar_pair_resolve(set->statement, set->args);

	set->keys = keys_create(CurrentMemoryContext, FIRST_DOCS, set);
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
	code = rstar_passes_spec_parse(spec, passes, strlen(passes), &position);
	if (code != RSTAR_PASSES_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid specification of passes: \"%s\"", passes),
				 errdetail("%s (character %d)", rstar_passes_spec_reason(code), position + 1),
				 errhint("%s", RSTAR_PASSES_GRAMMAR)));
}

/*
 * The set's memory goes.  Its entries belong to the statement, which gives up
 * at its end what is still pending.
 */
static void
give_up_set(void *arg)
{
	rstar_set_leave(arg);
}

void
rstar_rerank_first_pass(int *samples, int *documents)
{
	RstarPassesSpec spec;

	parse_passes(&spec, NULL);
	*samples = spec.rounds[0].samples;
	*documents = spec.rounds[0].documents;
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

RstarPriorUse *
rstar_rerank_prior_use(void)
{
	RstarStatement *statement = rstar_statement_current();

	if (statement->prior_use == NULL)
		statement->prior_use = MemoryContextAllocZero(statement->parent, sizeof(RstarPriorUse));
	return statement->prior_use;
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
rstar_rerank_expect(RstarSet *set, int documents)
{
	if (documents > set->maxdocs)
		make_room(set, documents);
}

static void
make_room(RstarSet *set, int documents)
{
	Size		size = documents * sizeof(RstarSetDoc);

	set->docs = set->docs ? repalloc_huge(set->docs, size) :
		MemoryContextAllocHuge(set->context, size);
	set->maxdocs = documents;
}

void
rstar_rerank_add(RstarSet *set, const NullableDatum *text, double prior, bool copy)
{
	MemoryContext old = MemoryContextSwitchTo(set->context);
	RstarSetDoc *doc;

	CHECK_FOR_INTERRUPTS();
	if (set->passes != NULL)
		elog(ERROR, "a set of documents is complete already");
	rstar_rerank_check_documents((int64) set->ndocs + 1);
	if (set->ndocs == set->maxdocs)
		make_room(set, Max(FIRST_DOCS, set->maxdocs * 2));
	doc = &set->docs[set->ndocs];
	memset(doc, 0, sizeof(RstarSetDoc));
	doc->isnull = text->isnull || set->args[RSTAR_ARG_QUERY].isnull;
	doc->prior = prior;
	doc->first = set->ndocs;
	set->ndocs++;
	if (rstar_set_past_deadline(set))
		doc->failed = true;
	else if (!doc->isnull)
	{
		MemoryContext scratch = AllocSetContextCreate(set->context, "retrostar document",
													  ALLOCSET_DEFAULT_SIZES);
		const RstarCall *call;
		KeyEntry   *entry;
		bool		found;

		doc->text = copy ? datumCopy(text->value, false, -1) : text->value;
		MemoryContextSwitchTo(scratch);
		call = rstar_pair_resolve(set->statement, set->args);
		doc->prefix = call->affinity;
		if (!rstar_score_announced(set->statement, call, set->args[RSTAR_ARG_QUERY].value,
								   text->value, &doc->key))
		{
			RstarPair	pair = rstar_set_pair(set, call, doc);

			rstar_pair_key(&pair);
			doc->key = pair.key;
		}
		entry = keys_insert(set->keys, doc->first, &found);
		doc->first = entry->doc;
		if (found)
			forget_ahead(set, &set->docs[doc->first]);
		else if (first_target(set, doc->first) > 0)
			ask_first(set, doc, first_target(set, doc->first));
		MemoryContextSwitchTo(set->context);
		MemoryContextDelete(scratch);
	}
	rstar_set_take_early(set);
	MemoryContextSwitchTo(old);
}

/*
 * Samples that the first round will want of a document; passes.c agrees.  Who
 * is best by prior is known when all have come, and until then nobody is asked.
 */
static int
first_target(const RstarSet *set, int doc)
{
	const RstarPassesRound *round = &set->spec.rounds[0];

	if (round->documents < INT_MAX && (set->weight > 0 || doc >= round->documents))
		return 0;
	return round->samples;
}

/*
 * The prefetch node may have asked already, for an aggregate.  What it has
 * asked for otherwise is a call's, which may wait longer than this set.
 */
static void
ask_first(RstarSet *set, RstarSetDoc *doc, int samples)
{
	RstarMemoKey key;

	if (set->owner != NULL)
	{
		rstar_memo_key(&doc->key, samples, &key);
		doc->entry = rstar_memo_hold(set->statement, &key);
	}
	doc->held = doc->entry != NULL;
	doc->asked = samples;
	if (!doc->held)
		rstar_set_ask(set, doc, samples);
}

/* The node asks for a document as often as it comes; this is another time */
static void
forget_ahead(RstarSet *set, const RstarSetDoc *doc)
{
	if (doc->held)
		rstar_memo_forget(set->statement, &doc->entry->key);
}

RstarRanked *
rstar_rerank_finish(RstarSet *set, int *n)
{
	RstarRanked *ranked;
	RstarRankingRule rule = {
		.kind = set->spec.kind,
		.z = rstar_passes_z(&set->spec)
	};

	rstar_rounds_run(set);
	rule.weight = rstar_passes_weight(set->passes)->weight;
	/* An aggregate's result may be asked for again */
	if (set->owner == NULL)
	{
		pfree(set->passes);
		set->passes = NULL;
	}
	ranked = palloc_extended(Max(set->ndocs, 1) * sizeof(RstarRanked),
							 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	rstar_spread_begin(&rule.spread);
	for (int i = 0; i < set->ndocs; i++)
	{
		const RstarSetDoc *doc = &set->docs[set->docs[i].first];
		int			counted = rstar_set_samples(doc);

		ranked[i].doc = i;
		ranked[i].pass = doc->pass;
		ranked[i].samples = doc->tally.scored;
		ranked[i].counted = counted;
		ranked[i].scored = !set->docs[i].isnull && counted > 0;
		ranked[i].score = ranked[i].scored ? (double) doc->tally.sum / counted : 0;
		ranked[i].place = set->places != NULL ? set->places[i] : get_float8_nan();
		rule.k += set->docs[i].isnull ? 0 : 1;
		if (set->docs[i].first == i)
			add_samples(&rule.spread, doc);
	}
	rule.k = Min(rule.k, set->top_n > 0 ? set->top_n : RSTAR_PASSES_K);
	rstar_ranking_sort(ranked, set->ndocs, &rule);
	*n = set->top_n > 0 ? Min(set->top_n, set->ndocs) : set->ndocs;
	return ranked;
}

/* Of very many the first ones are known one by one */
static void
add_samples(RstarSpread *spread, const RstarSetDoc *doc)
{
	const uint8 *scores = rstar_set_scores(doc);
	int64		sum = 0;
	int64		sum_squares = 0;

	for (int i = 0; i < doc->tally.nscores; i++)
	{
		sum += scores[i];
		sum_squares += scores[i] * scores[i];
	}
	rstar_spread_add(spread, doc->tally.nscores + rstar_set_samples(doc) - doc->tally.scored,
					 sum, sum_squares);
}
