/*-------------------------------------------------------------------------
 *
 * explain.c
 *		retro_star_explain(): the samples behind a score.
 *
 * Asks for the score as retro_star_score() does, and then reads the samples:
 * those of the table, and those that the map has and the table has not, which
 * on a standby stay there.  Of samples whose reply neither has, shared memory
 * may have it still (recent.c); else the score is all that is known.
 *
 * Where a score is known and the call does not say how many samples it wants,
 * nothing is asked for: another sample would change the score that is asked
 * about.
 *
 * A request is in the table and still in the map between the worker's commit
 * and its next step.  There is one such request of a key at most, and the row
 * then has its time; if more went over while we looked, we look again.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/encoding.h"
#include "base/settings.h"
#include "model/reply_details.h"
#include "session/pair.h"
#include "session/score.h"
#include "session/statement.h"
#include "shared/cache.h"
#include "shared/kept.h"
#include "shared/recent.h"

PG_FUNCTION_INFO_V1(retrostar_retro_star_explain);

typedef struct Sample
{
	int			score;			/* -1: a reply without a score */
	JsonbContainer *details;	/* NULL: not kept */
} Sample;

typedef struct Samples
{
	Sample	   *items;
	int			n;
	int			room;
	int			nscored;
	int			ncounted;		/* by retrostar.unscored_reply */
	double		mean;			/* of those ... */
	double		spread;			/* ... and their standard deviation */
} Samples;

static void collect(const RstarKey *key, Samples *samples);
static void add_sample(Samples *samples, int score, JsonbContainer *details);
static void add_kept(Samples *samples, Jsonb *kept);
static bool member(JsonbContainer *object, const char *key, JsonbValue *value);
static int	number(const JsonbValue *value);
static void add_recent(const RstarKey *key, Samples *samples);
static JsonbContainer *recent_details(RstarRecent *recent);
static void align(Samples *samples, const int16 *scores, int nscores);
static void add_missing(Samples *samples, const RstarTally *tally);
static void measure(Samples *samples);
static void tell_missing(const Samples *samples);
static void put_row(ReturnSetInfo *rsinfo, int sample, const Samples *samples, bool cached);
static bool get_text(JsonbContainer *object, const char *key, Datum *datum);
static bool get_number(JsonbContainer *object, const char *key, int *n);

Datum
retrostar_retro_star_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RstarStatement *statement;
	RstarPair	pair;
	RstarTally	tally;
	Samples		before;
	Samples		after;
	int			scored = 0;
	int			unscored = 0;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext row_context = AllocSetContextCreate(context, "retrostar row", ALLOCSET_SMALL_SIZES);

	InitMaterializedSRF(fcinfo, 0);
	if (rstar_pair_is_null(fcinfo->args))
		return (Datum) 0;
	rstar_queue_require();
	statement = rstar_statement_current();
	rstar_pair_make(statement, fcinfo->args, &pair);

	collect(&pair.key, &before);
	measure(&before);
	if (before.ncounted == 0 || !fcinfo->args[RSTAR_ARG_SAMPLES].isnull)
	{
		rstar_score_explain(statement, &pair, &tally);
		collect(&pair.key, &after);
		add_missing(&after, &tally);
		measure(&after);
	}
	else
		after = before;
	add_recent(&pair.key, &after);
	tell_missing(&after);
	for (int i = 0; i < after.n; i++)
	{
		bool		cached = after.items[i].score >= 0 ? scored++ < before.nscored :
			unscored++ < before.n - before.nscored;

		CHECK_FOR_INTERRUPTS();
		/* Replies are long, and there may be many */
		MemoryContextSwitchTo(row_context);
		put_row(rsinfo, i + 1, &after, cached);
		MemoryContextSwitchTo(context);
		MemoryContextReset(row_context);
	}
	return (Datum) 0;
}

/* All samples that are known of a key, in order of arrival */
static void
collect(const RstarKey *key, Samples *samples)
{
	RstarCacheRow row;
	const RstarKept *kept;
	uint64		generation;
	int			n;

	do
	{
		CHECK_FOR_INTERRUPTS();
		kept = rstar_kept_find(key, &n, &generation);
		rstar_cache_row(key, &row);
	} while (rstar_kept_generation() != generation);

	memset(samples, 0, sizeof(Samples));
	if (row.reasoning != NULL)
		add_kept(samples, row.reasoning);
	align(samples, row.scores, row.nscores);
	for (int i = 0; i < n; i++)
	{
		if (kept->answered_at == 0 || kept->answered_at != row.updated)
		{
			char	   *json = rstar_encoding_from_utf8(kept->json, strlen(kept->json));

			add_kept(samples, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))));
		}
		kept = (const RstarKept *) ((const char *) kept + kept->size);
	}
}

static void
add_sample(Samples *samples, int score, JsonbContainer *details)
{
	if (samples->n == samples->room)
	{
		samples->room = Max(64, samples->room * 2);
		samples->items = samples->items == NULL ? palloc(samples->room * sizeof(Sample)) :
			repalloc(samples->items, samples->room * sizeof(Sample));
	}
	samples->items[samples->n].score = score;
	samples->items[samples->n].details = details;
	samples->n++;
	samples->nscored += score >= 0 ? 1 : 0;
}

/* An array of objects, and of scores where nothing was kept */
static void
add_kept(Samples *samples, Jsonb *kept)
{
	if (!JB_ROOT_IS_ARRAY(kept) || JB_ROOT_IS_SCALAR(kept))
		return;
	for (uint32 i = 0; i < JB_ROOT_COUNT(kept); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(&kept->root, i);

		if (value->type == jbvNumeric)
			add_sample(samples, number(value), NULL);
		else if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
		{
			JsonbValue	score;

			add_sample(samples, member(value->val.binary.data, "score", &score) ? number(&score) : -1,
					   value->val.binary.data);
		}
	}
}

/* False when it is null, too */
static bool
member(JsonbContainer *object, const char *key, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, key, strlen(key), value) != NULL &&
		value->type != jbvNull;
}

/* -1 when it is none */
static int
number(const JsonbValue *value)
{
	if (value->type != jbvNumeric)
		return -1;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
}

/*
 * Makes sure that the samples have all these scores: those that are not there,
 * in this order, are put in without details.
 */
static void
align(Samples *samples, const int16 *scores, int nscores)
{
	Samples		old = *samples;
	int			next = 0;

	if (nscores == 0)
		return;
	memset(samples, 0, sizeof(Samples));
	for (int i = 0; i < nscores; i++)
	{
		for (; next < old.n && old.items[next].score < 0; next++)
			add_sample(samples, -1, old.items[next].details);
		if (next < old.n && old.items[next].score == scores[i])
			add_sample(samples, scores[i], old.items[next++].details);
		else
			add_sample(samples, scores[i], NULL);
	}
	for (; next < old.n; next++)
		add_sample(samples, old.items[next].score, old.items[next].details);
}

/*
 * Samples that are behind the score, but cannot be found any more: the request
 * was cancelled by who made it, or given up for room.
 */
static void
add_missing(Samples *samples, const RstarTally *tally)
{
	int16		scores[RSTAR_MAX_SAMPLES];

	if (samples->nscored >= tally->nscores)
		return;
	for (int i = 0; i < tally->nscores; i++)
		scores[i] = tally->scores[i];
	align(samples, scores, tally->nscores);
}

/*
 * The newest reply belongs to the newest sample of its score.  A reply whose
 * sample is not there, for it has been removed since, belongs to none.
 */
static void
add_recent(const RstarKey *key, Samples *samples)
{
	int			n;
	RstarRecent *next = rstar_recent_find(key, &n);
	RstarRecent **recents = palloc(n * sizeof(RstarRecent *));

	for (int i = 0; i < n; i++)
	{
		recents[i] = next;
		next = (RstarRecent *) ((char *) next + next->size);
	}
	for (int i = samples->n - 1; i >= 0; i--)
	{
		Sample	   *sample = &samples->items[i];

		for (int j = n - 1; j >= 0 && sample->details == NULL; j--)
		{
			if (recents[j] == NULL || recents[j]->score != sample->score)
				continue;
			sample->details = recent_details(recents[j]);
			recents[j] = NULL;
		}
	}
}

/* In the form in which the table would have it; NULL: out of memory */
static JsonbContainer *
recent_details(RstarRecent *recent)
{
	RstarReply	reply = {
		.status = RSTAR_REPLY_SCORE,
		.score = recent->score,
		.prompt_tokens = recent->prompt_tokens,
		.completion_tokens = recent->completion_tokens,
		.text = recent->data + recent->endpoint_len,
		.text_len = recent->text_len
	};
	size_t		len;
	char	   *object;
	char	   *json;
	Jsonb	   *jsonb;

	strlcpy(reply.finish_reason, recent->finish_reason, sizeof(reply.finish_reason));
	object = rstar_reply_details(&reply, pnstrdup(recent->data, recent->endpoint_len),
								 recent->elapsed_us, &len);
	if (object == NULL)
		return NULL;
	json = MemoryContextAllocExtended(CurrentMemoryContext, len + 1, MCXT_ALLOC_NO_OOM);
	if (json != NULL)
		memcpy(json, object, len);
	free(object);
	if (json == NULL)
		return NULL;
	json[len] = '\0';
	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(rstar_encoding_from_utf8(json, len))));
	return &jsonb->root;
}

static void
tell_missing(const Samples *samples)
{
	int			missing = 0;

	for (int i = 0; i < samples->n; i++)
		missing += samples->items[i].details == NULL ? 1 : 0;
	if (missing == 0)
		return;
	ereport(NOTICE,
			(errmsg_plural("the reply of %d sample of %d is not there any more",
						   "the replies of %d samples of %d are not there any more",
						   missing, missing, samples->n),
			 errdetail("Without retrostar.store_reasoning a reply is kept in memory, until newer ones or a restart of PostgreSQL take its place."),
			 errhint("SET retrostar.store_reasoning = on keeps those of new samples; samples => %d asks for another one with its reply, and changes the score.",
					 Min(samples->nscored + 1, RSTAR_MAX_SAMPLES))));
}

static void
measure(Samples *samples)
{
	int64		sum = 0;
	double		squares = 0;

	samples->ncounted = rstar_unscored_reply == RSTAR_UNSCORED_ZERO ? samples->n : samples->nscored;
	for (int i = 0; i < samples->n; i++)
		sum += Max(samples->items[i].score, 0);
	samples->mean = (double) sum / Max(samples->ncounted, 1);
	for (int i = 0; i < samples->n; i++)
	{
		double		apart = Max(samples->items[i].score, 0) - samples->mean;

		if (samples->items[i].score >= 0 || samples->ncounted == samples->n)
			squares += apart * apart;
	}
	samples->spread = sqrt(squares / Max(samples->ncounted - 1, 1));
}

/* Version 0.1 has the first nine columns */
static void
put_row(ReturnSetInfo *rsinfo, int sample, const Samples *samples, bool cached)
{
	const Sample *from = &samples->items[sample - 1];
	JsonbContainer *details = from->details;
	Datum		values[11];
	bool		nulls[11] = {false};
	Interval	elapsed = {0};
	int			n;

	memset(nulls + 1, true, 7);
	values[0] = Int32GetDatum(sample);
	values[1] = Int32GetDatum(from->score);
	nulls[1] = from->score < 0;
	values[8] = BoolGetDatum(cached);
	values[9] = Float8GetDatum(samples->mean);
	nulls[9] = samples->ncounted == 0;
	values[10] = Float8GetDatum(samples->spread);
	nulls[10] = samples->ncounted < 2;
	if (details != NULL)
	{
		nulls[2] = !get_text(details, "text", &values[2]);
		nulls[3] = !get_text(details, "finish_reason", &values[3]);
		nulls[4] = !get_number(details, "prompt_tokens", &n);
		values[4] = Int32GetDatum(n);
		nulls[5] = !get_number(details, "completion_tokens", &n);
		values[5] = Int32GetDatum(n);
		nulls[6] = !get_text(details, "endpoint", &values[6]);
		nulls[7] = !get_number(details, "elapsed_ms", &n);
		elapsed.time = n * INT64CONST(1000);
		values[7] = PointerGetDatum(&elapsed);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

static bool
get_text(JsonbContainer *object, const char *key, Datum *datum)
{
	JsonbValue	value;

	if (!member(object, key, &value) || value.type != jbvString)
		return false;
	*datum = PointerGetDatum(cstring_to_text_with_len(value.val.string.val, value.val.string.len));
	return true;
}

static bool
get_number(JsonbContainer *object, const char *key, int *n)
{
	JsonbValue	value;

	*n = 0;
	if (!member(object, key, &value) || value.type != jbvNumeric)
		return false;
	*n = number(&value);
	return true;
}
