/*-------------------------------------------------------------------------
 *
 * set.c
 *		What a set of documents is, and how one of them is asked for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "base/settings.h"
#include "functions/set.h"
#include "session/ask.h"
#include "session/failure.h"
#include "session/warm.h"

/* Of an id that is shown, in bytes */
#define SHOWN_ID 100

static void fail(RstarSet *set, const RstarSetDoc *doc, const RstarResult *failure);
static char *which(const RstarSet *set, const RstarSetDoc *doc);
static bool fits(int nscores);
static void pack(const RstarSet *set, const RstarTally *tally, RstarSetTally *packed);
static void unpack(const RstarSetTally *packed, RstarTally *tally);

void
rstar_set_leave(RstarSet *set)
{
	if (set->link.next != NULL)
		dlist_delete(&set->link);
	set->link.next = NULL;
}

bool
rstar_set_past_deadline(RstarSet *set)
{
	if (set->deadline != 0 && !set->late && GetCurrentTimestamp() >= set->deadline)
		set->late = true;
	return set->late;
}

RstarPair
rstar_set_pair(const RstarSet *set, const RstarCall *call, const RstarSetDoc *doc)
{
	RstarPair	pair = {
		.call = call,
		.key = doc->key
	};

	pair.query = rstar_pair_text(set->args[RSTAR_ARG_QUERY].value);
	pair.doc = rstar_pair_text(doc->text);
	return pair;
}

void
rstar_set_ask(RstarSet *set, RstarSetDoc *doc, int samples)
{
	const RstarCall *call = rstar_pair_resolve(set->statement, set->args);
	RstarTally	have;
	RstarWish	wish = {
		.have = &have,
		.until = set->deadline
	};
	RstarPair	pair;

	/*
	 * Altered since an earlier pass: the answer would be stored under a wrong
	 * key
	 */
	if (call->affinity != doc->prefix)
	{
		RstarResult altered = {.status = RSTAR_STATUS_SERVER_ALTERED};

		doc->failed = true;
		fail(set, doc, &altered);
		return;
	}
	unpack(&doc->tally, &have);
	pair = rstar_set_pair(set, call, doc);
	doc->entry = rstar_ask_apart(set->statement, &pair, samples, &wish);
	doc->asked = samples;
	if (doc->entry == NULL)
		doc->failed = true;		/* on_miss = skip */
}

void
rstar_set_take(RstarSet *set, RstarSetDoc *doc)
{
	RstarMemoEntry *entry = doc->entry;

	rstar_warm_wait(set->statement, entry, set->deadline);
	doc->entry = NULL;
	if (entry->state == RSTAR_MEMO_VALUE)
	{
		pack(set, &entry->tally, &doc->tally);
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
			pack(set, &entry->failure->tally, &doc->tally);
		}
		else
			fail(set, doc, entry->failure);
	}
	if (doc->held)
		rstar_memo_let_go(set->statement, entry);
	else
		rstar_ask_free(entry);
	doc->held = false;
}

/* By retrostar.on_error */
static void
fail(RstarSet *set, const RstarSetDoc *doc, const RstarResult *failure)
{
	const char *server = rstar_pair_resolve(set->statement, set->args)->server.name;

	if (rstar_on_error == RSTAR_ON_ERROR_ERROR)
		rstar_failure_raise(failure, server, which(set, doc));
	rstar_statement_failed(set->statement, rstar_failure_message(failure, server), which(set, doc));
}

static char *
which(const RstarSet *set, const RstarSetDoc *doc)
{
	NullableDatum id = set->ids.of(set->ids.holder, (int) (doc - set->docs));
	Oid			output;
	bool		varlena;
	char	   *shown;
	int			len;
	int			n;

	if (rstar_failure_by_key())
		return rstar_failure_key(&doc->key);
	if (id.isnull)
		return pstrdup("The id of the document is null.");
	getTypeOutputInfo(set->ids.type, &output, &varlena);
	shown = OidOutputFunctionCall(output, id.value);
	len = strlen(shown);
	n = pg_mbcliplen(shown, len, SHOWN_ID);
	for (int i = 0; i < n; i++)
	{
		if ((unsigned char) shown[i] < ' ')
			shown[i] = ' ';
	}
	return psprintf("The id of the document: %.*s%s.", n, shown, n < len ? "..." : "");
}

void
rstar_set_take_early(RstarSet *set)
{
	if (rstar_statement_in_pass())
		return;
	for (; set->ntaken < set->ndocs; set->ntaken++)
	{
		RstarSetDoc *doc = &set->docs[set->ntaken];

		if (doc->entry == NULL || doc->held)
			continue;
		if (doc->entry->state == RSTAR_MEMO_PENDING)
			return;
		if (doc->entry->state != RSTAR_MEMO_VALUE)
			continue;
		rstar_set_take(set, doc);
		doc->early = true;
	}
}

int
rstar_set_samples(const RstarSetDoc *doc)
{
	return doc->tally.scored +
		(rstar_unscored_reply == RSTAR_UNSCORED_ZERO ? doc->tally.unscored : 0);
}

const uint8 *
rstar_set_scores(const RstarSetDoc *doc)
{
	return fits(doc->tally.nscores) ? doc->tally.scores.few : doc->tally.scores.many;
}

static bool
fits(int nscores)
{
	return nscores <= (int) sizeof(((RstarSetTally *) NULL)->scores.few);
}

static void
pack(const RstarSet *set, const RstarTally *tally, RstarSetTally *packed)
{
	uint8	   *scores = packed->scores.few;

	if (!fits(tally->nscores))
		scores = fits(packed->nscores) ?
			MemoryContextAlloc(set->context, RSTAR_MAX_SAMPLES) : packed->scores.many;
	memcpy(scores, tally->scores, tally->nscores);
	if (!fits(tally->nscores))
		packed->scores.many = scores;
	packed->scored = tally->scored;
	packed->unscored = tally->unscored;
	packed->sum = tally->sum;
	packed->nscores = tally->nscores;
}

static void
unpack(const RstarSetTally *packed, RstarTally *tally)
{
	memset(tally, 0, sizeof(RstarTally));
	tally->scored = packed->scored;
	tally->unscored = packed->unscored;
	tally->sum = packed->sum;
	tally->nscores = packed->nscores;
	memcpy(tally->scores, fits(packed->nscores) ? packed->scores.few : packed->scores.many,
		   packed->nscores);
}
