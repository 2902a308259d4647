/*-------------------------------------------------------------------------
 *
 * shared_sql.c
 *		What a hub does for other nodes: retrostar.shared_ask() and
 *		retrostar.shared_put().
 *
 * The workers of other nodes call them, a batch at a time (worker/hub.c).  Who may call them may read the scores of any key that he
 * knows, and write scores for any key.
 *
 * A key is looked for in the map and among the leases first, and in the table
 * afterwards: what has left the map is there by then.  So a key that is in
 * neither is nobody's, and the lease makes it the caller's.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "shared/cache.h"
#include "shared/lease.h"
#include "shared/merge.h"
#include "shared/queue.h"

PG_FUNCTION_INFO_V1(retrostar_shared_ask);
PG_FUNCTION_INFO_V1(retrostar_shared_put);

/* Keys of one call */
#define MAX_KEYS 10000

/* Scores of one pair */
#define MAX_SCORES 10000

/* Tokens of one pair: sums of many such are to fit */
#define MAX_TOKENS (PG_INT64_MAX / 1024)

static void check_version(int version);
static RstarKey *keys_of(ArrayType *array, int *n);
static Datum *elements(ArrayType *array, Oid type, int16 len, bool byval, char align, int n);
static void answer(ReturnSetInfo *rsinfo, int i, const RstarKey *key, int have, RstarLease lease);
static uint8 *parse_scores(const char *text, int *n);

/* Leases that the caller gives back end first: he may ask for the same keys again */
Datum
retrostar_shared_ask(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext row_context;
	RstarLease	leases[RSTAR_LEASE_SLICE];
	RstarKey   *keys;
	RstarKey   *done;
	Datum	   *have;
	int			n;
	int			ndone;

	rstar_queue_require();
	check_version(PG_GETARG_INT16(0));
	keys = keys_of(PG_GETARG_ARRAYTYPE_P(1), &n);
	have = elements(PG_GETARG_ARRAYTYPE_P(2), INT4OID, 4, true, TYPALIGN_INT, n);
	done = keys_of(PG_GETARG_ARRAYTYPE_P(3), &ndone);
	InitMaterializedSRF(fcinfo, 0);
	row_context = AllocSetContextCreate(context, "retrostar row", ALLOCSET_SMALL_SIZES);
	for (int start = 0; start < ndone; start += RSTAR_LEASE_SLICE)
		rstar_lease_end(done + start, Min(ndone - start, RSTAR_LEASE_SLICE), true);
	if (n == 0)
		rstar_lease_take(keys, 0, leases);
	for (int start = 0; start < n; start += RSTAR_LEASE_SLICE)
	{
		int			slice = Min(n - start, RSTAR_LEASE_SLICE);

		rstar_lease_take(keys + start, slice, leases);
		MemoryContextSwitchTo(row_context);
		for (int i = 0; i < slice; i++)
			answer(rsinfo, start + i, &keys[start + i], DatumGetInt32(have[start + i]), leases[i]);
		MemoryContextSwitchTo(context);
		MemoryContextReset(row_context);
	}
	return (Datum) 0;
}

static void
check_version(int version)
{
	if (version != RSTAR_CACHE_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the score cache here is of version %d, not %d", RSTAR_CACHE_VERSION, version),
				 errhint("Nodes that share a cache need the same version of retrostar.")));
}

static RstarKey *
keys_of(ArrayType *array, int *n)
{
	Datum	   *values;
	RstarKey   *keys;

	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	values = elements(array, BYTEAOID, -1, false, TYPALIGN_INT, *n);
	keys = palloc(Max(*n, 1) * sizeof(RstarKey));
	for (int i = 0; i < *n; i++)
	{
		bytea	   *key = DatumGetByteaPP(values[i]);

		if (VARSIZE_ANY_EXHDR(key) != sizeof(RstarKey))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key %d has %d bytes", i + 1, (int) VARSIZE_ANY_EXHDR(key)),
					 errdetail("A key is what retrostar.cache_key() returns, of %d bytes.",
							   (int) sizeof(RstarKey))));
		memcpy(keys[i].bytes, VARDATA_ANY(key), sizeof(RstarKey));
	}
	return keys;
}

/* All arrays of a call are of the same length, and without nulls */
static Datum *
elements(ArrayType *array, Oid type, int16 len, bool byval, char align, int n)
{
	Datum	   *values;
	int			found;

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an array must have one dimension and no nulls")));
	deconstruct_array(array, type, len, byval, align, &values, NULL, &found);
	if (found != n || n > MAX_KEYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an array has %d elements", found),
				 errdetail("All arrays have as many as there are keys, and at most %d.", MAX_KEYS)));
	return values;
}

/* Who gets a row that is not enough for him asks again, and says so by "have" */
static void
answer(ReturnSetInfo *rsinfo, int i, const RstarKey *key, int have, RstarLease lease)
{
	RstarCacheCopy row;
	Datum		values[9];
	bool		nulls[9] = {false, false, true, true, true, true, true, true, true};

	values[0] = Int32GetDatum(i + 1);
	if (rstar_cache_copy(key, &row) && row.nscores + row.unscored > have)
	{
		if (lease == RSTAR_LEASE_NEW)
			rstar_lease_end(key, 1, false);
		memset(nulls, false, sizeof(nulls));
		values[1] = CStringGetTextDatum("known");
		values[2] = PointerGetDatum(row.scores);
		values[3] = Int32GetDatum(row.unscored);
		values[4] = PointerGetDatum(row.model);
		values[5] = Int64GetDatum(row.prompt_tokens);
		values[6] = Int64GetDatum(row.completion_tokens);
		values[7] = TimestampTzGetDatum(row.created);
		values[8] = TimestampTzGetDatum(row.updated);
	}
	else
		values[1] = CStringGetTextDatum(lease == RSTAR_LEASE_ELSEWHERE ? "elsewhere" : "yours");
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
retrostar_shared_put(PG_FUNCTION_ARGS)
{
	RstarMergeRow *rows;
	RstarKey   *keys;
	Datum	   *scores;
	Datum	   *unscored;
	Datum	   *models;
	Datum	   *prompt;
	Datum	   *completion;
	Datum	   *answered;
	int			n;

	rstar_queue_require();
	check_version(PG_GETARG_INT16(0));
	keys = keys_of(PG_GETARG_ARRAYTYPE_P(1), &n);
	scores = elements(PG_GETARG_ARRAYTYPE_P(2), TEXTOID, -1, false, TYPALIGN_INT, n);
	unscored = elements(PG_GETARG_ARRAYTYPE_P(3), INT4OID, 4, true, TYPALIGN_INT, n);
	models = elements(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, n);
	prompt = elements(PG_GETARG_ARRAYTYPE_P(5), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, n);
	completion = elements(PG_GETARG_ARRAYTYPE_P(6), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, n);
	answered = elements(PG_GETARG_ARRAYTYPE_P(7), TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, n);
	/* Its leases are to last: it is there */
	rstar_lease_take(NULL, 0, NULL);
	if (n == 0)
		PG_RETURN_INT32(0);
	rows = palloc(n * sizeof(RstarMergeRow));
	for (int i = 0; i < n; i++)
	{
		RstarMergeRow *row = &rows[i];

		row->key = keys[i];
		row->scores = parse_scores(TextDatumGetCString(scores[i]), &row->nscores);
		row->unscored = DatumGetInt32(unscored[i]);
		row->model = TextDatumGetCString(models[i]);
		row->prompt_tokens = DatumGetInt64(prompt[i]);
		row->completion_tokens = DatumGetInt64(completion[i]);
		row->created = row->updated = DatumGetTimestampTz(answered[i]);
		if (row->unscored < 0 || row->unscored > MAX_SCORES ||
			row->prompt_tokens < 0 || row->prompt_tokens > MAX_TOKENS ||
			row->completion_tokens < 0 || row->completion_tokens > MAX_TOKENS ||
			TIMESTAMP_NOT_FINITE(row->created))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("answer %d makes no sense", i + 1),
					 errdetail("Numbers are not negative nor beyond reason, and times are finite.")));
	}
	PG_RETURN_INT32(rstar_merge_rows(rows, n, true));
}

/* Such as {60,70}: arrays of different lengths cannot be in one array */
static uint8 *
parse_scores(const char *text, int *n)
{
	uint8	   *scores = palloc(strlen(text) + 1);
	const char *c = text;
	bool		valid = *c++ == '{';

	*n = 0;
	while (valid && *c != '}')
	{
		int			score = 0;
		int			digits = 0;

		if (*n > 0)
			valid = *c++ == ',';
		for (; valid && *c >= '0' && *c <= '9' && digits < 4; c++, digits++)
			score = score * 10 + (*c - '0');
		valid = valid && digits > 0 && score <= 100 && *n < MAX_SCORES;
		if (valid)
			scores[(*n)++] = (uint8) score;
	}
	if (!valid || c[1] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid list of scores: \"%.*s\"",
						pg_mbcliplen(text, strlen(text), 80), text),
				 errdetail("Scores are integers from 0 to 100, such as {60,70}.")));
	return scores;
}
