/*-------------------------------------------------------------------------
 *
 * score.c
 *		Pairs become scores: what the statement knows, or else asks for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"
#include "session/ask.h"
#include "session/failure.h"
#include "session/notice.h"
#include "session/quiet.h"
#include "session/score.h"
#include "session/warm.h"
#include "shared/progress.h"

static RstarMemoEntry *announced_entry(RstarStatement *statement, const NullableDatum *args,
									   const RstarCall **call);
static const RstarAhead *announced(const RstarStatement *statement, const RstarCall *call,
								   Datum query, Datum doc);
static bool same_datum(Datum a, Datum b);
static RstarMemoEntry *entry_of(RstarStatement *statement, const NullableDatum *args,
								const RstarCall **call);
static RstarMemoEntry *find_entry(RstarStatement *statement, const RstarKey *key, int samples);
static double outcome(RstarStatement *statement, RstarMemoEntry *entry, const RstarPair *pair,
					  bool *isnull);
static void failed(RstarStatement *statement, const RstarResult *failure, const RstarPair *pair);

double
rstar_score_get(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement;
	RstarPair	pair = {0};
	RstarMemoEntry *entry;
	double		score = 0;

	*isnull = true;
	if (rstar_pair_is_null(args))
		return 0;
	rstar_queue_require();

	statement = rstar_statement_current();
	entry = announced_entry(statement, args, &pair.call);
	if (entry == NULL)
		entry = entry_of(statement, args, &pair.call);
	if (entry->state == RSTAR_MEMO_PENDING)
	{
		/* Where a node makes calls ahead it was for want of room */
		if (!statement->reads_ahead && rstar_statement_keeper == NULL)
			rstar_notice_serial();
		rstar_warm_wait(statement, entry, rstar_ask_deadline(statement));
	}
	/* NEW: on_miss is "skip" */
	if (entry->state == RSTAR_MEMO_FAILED &&
		(rstar_on_error == RSTAR_ON_ERROR_ERROR || !entry->warned))
	{
		pair.query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
		pair.doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);
		pair.key = entry->key.key;
	}
	if (entry->state != RSTAR_MEMO_NEW)
		score = outcome(statement, entry, &pair, isnull);
	rstar_memo_evaluated(statement, entry);
	return score;
}

/* The entry of a pair that has been read ahead: neither detoasted nor hashed again */
static RstarMemoEntry *
announced_entry(RstarStatement *statement, const NullableDatum *args, const RstarCall **call)
{
	const RstarAhead *ahead;
	RstarMemoEntry *entry;
	RstarMemoKey key;

	if (statement->nannounced == 0)
		return NULL;
	*call = rstar_pair_resolve(statement, args);
	ahead = announced(statement, *call, args[RSTAR_ARG_QUERY].value, args[RSTAR_ARG_DOC].value);
	if (ahead == NULL)
		return NULL;
	rstar_memo_key(&ahead->key, (*call)->samples, &key);
	/* Mostly it is where it was */
	entry = rstar_memo_is(ahead->entry, &key) ? ahead->entry : rstar_memo_entry(statement, &key);
	return entry->state != RSTAR_MEMO_NEW ? entry : NULL;
}

/* ... of any other, which is asked for if it is new */
static RstarMemoEntry *
entry_of(RstarStatement *statement, const NullableDatum *args, const RstarCall **call)
{
	RstarWish	wish = {0};
	RstarMemoEntry *entry;
	RstarPair	pair;

	rstar_pair_make(statement, args, &pair);
	*call = pair.call;
	entry = find_entry(statement, &pair.key, pair.call->samples);
	if (entry->state == RSTAR_MEMO_NEW)
	{
		wish.until = rstar_ask_deadline(statement);
		(void) rstar_ask(statement, &pair, &wish, entry);
	}
	return entry;
}

static RstarMemoEntry *
find_entry(RstarStatement *statement, const RstarKey *key, int samples)
{
	RstarMemoKey memo_key;

	rstar_memo_key(key, samples, &memo_key);
	return rstar_memo_entry(statement, &memo_key);
}

/*
 * The score of an entry that is not PENDING; of a FAILED one NULL, counted for
 * the statement's warning, or an error, as retrostar.on_error says.  Of the pair
 * only the call is looked at otherwise.
 */
static double
outcome(RstarStatement *statement, RstarMemoEntry *entry, const RstarPair *pair, bool *isnull)
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
	if (rstar_on_error == RSTAR_ON_ERROR_ERROR || !entry->warned)
		failed(statement, entry->failure, pair);
	entry->warned = true;
	*isnull = true;
	return 0;
}

static void
failed(RstarStatement *statement, const RstarResult *failure, const RstarPair *pair)
{
	const char *server = pair->call->server.name;
	char	   *which = rstar_failure_which(pair);

	if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
		rstar_failure_raise(failure, server, which);
	rstar_statement_failed(statement, rstar_failure_message(failure, server), which);
}

bool
rstar_score_ahead(const NullableDatum *args, int samples, RstarMemoStats *stats,
				  RstarAhead *ahead)
{
	RstarStatement *statement;
	RstarMemoEntry *entry;
	RstarPair	pair;

	ahead->valid = false;
	if (rstar_pair_is_null(args) || rstar_quiet())
		return false;
	/* the call raises an error, if it is evaluated */
	if (!rstar_pair_is_text(args[RSTAR_ARG_QUERY].value) ||
		!rstar_pair_is_text(args[RSTAR_ARG_DOC].value))
		return false;
	rstar_queue_require();
	statement = rstar_statement_current();
	rstar_pair_make(statement, args, &pair);
	ahead->key = pair.key;
	ahead->query = args[RSTAR_ARG_QUERY].value;
	ahead->doc = args[RSTAR_ARG_DOC].value;
	ahead->call = pair.call->id;
	ahead->samples = samples > 0 ? samples : pair.call->samples;
	ahead->valid = true;

	entry = ahead->entry = find_entry(statement, &pair.key, ahead->samples);
	if (entry->state == RSTAR_MEMO_NEW)
	{
		RstarWish	wish = {
			.until = rstar_ask_deadline(statement),
			.ahead = true
		};
		RstarSubmitted submitted = rstar_ask(statement, &pair, &wish, entry);

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
	ahead->fails = entry->state == RSTAR_MEMO_FAILED && rstar_on_error == RSTAR_ON_ERROR_ERROR;
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

void
rstar_score_forget(const RstarAhead *aheads, int n)
{
	RstarStatement *statement = rstar_statement_current();
	RstarMemoKey memo_key;

	for (int i = 0; i < n; i++)
	{
		if (!aheads[i].valid)
			continue;
		rstar_memo_key(&aheads[i].key, aheads[i].samples, &memo_key);
		rstar_memo_forget(statement, &memo_key);
	}
}

/* The passes of a refresh have the same parts each time */
void
rstar_score_expected(double pairs)
{
	(void) rstar_statement_current();
	rstar_progress_expected(pairs, rstar_statement_keeper != NULL);
}

/* An entry of its own: the memo's may be of a request whose replies are not kept */
void
rstar_score_explain(RstarStatement *statement, const RstarPair *pair, RstarTally *tally)
{
	RstarWish	wish = {
		.until = rstar_ask_deadline(statement),
		.explained = true
	};
	RstarMemoEntry *entry = rstar_ask_apart(statement, pair, pair->call->samples, &wish);
	bool		isnull;

	memset(tally, 0, sizeof(RstarTally));
	if (entry == NULL)
		return;
	if (entry->state == RSTAR_MEMO_PENDING)
		rstar_warm_wait(statement, entry, wish.until);
	(void) outcome(statement, entry, pair, &isnull);
	*tally = isnull ? entry->failure->tally : entry->tally;
	rstar_ask_free(entry);
}

bool
rstar_score_prefetch(const NullableDatum *args, bool *isnull)
{
	RstarStatement *statement;
	RstarResult result;
	RstarPair	pair;

	*isnull = rstar_pair_is_null(args);
	if (*isnull)
		return false;
	rstar_queue_require();
	statement = rstar_statement_current();
	rstar_pair_make(statement, args, &pair);
	if (rstar_ask_detached(statement, &pair, &result) != RSTAR_SUBMITTED_DONE)
		return false;
	if (result.status != RSTAR_STATUS_OK)
	{
		failed(statement, &result, &pair);
		*isnull = true;
	}
	return true;
}
