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
	RstarWish	wish = {
		.have = &doc->tally,
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

int
rstar_set_samples(const RstarTally *tally)
{
	return rstar_tally_counted(tally, rstar_unscored_reply == RSTAR_UNSCORED_ZERO);
}
