/*-------------------------------------------------------------------------
 *
 * rerank_sql.c
 *		retro_star_rerank() and retro_star_rerank_agg: a set of documents, all
 *		at once or row by row.
 *
 * The aggregate asks for the first samples of each document as it comes and
 * goes through the passes when the group is complete.  When groups come one
 * after another, the prefetch node below it has asked before.
 *
 * Its result is an array of records (id, score, rank), best first; what
 * failed or was not scored in time comes last with NULL.  All that it knows of
 * the weight of priors is the setting.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "functions/args.h"
#include "functions/rerank.h"
#include "session/pair.h"
#include "session/score.h"

PG_FUNCTION_INFO_V1(retrostar_retro_star_rerank);
PG_FUNCTION_INFO_V1(retrostar_rerank_agg_transfn);
PG_FUNCTION_INFO_V1(retrostar_rerank_agg_finalfn);

/* Arguments of retro_star_rerank */
enum
{
	RERANK_QUERY,
	RERANK_IDS,
	RERANK_DOCS,
	RERANK_TOP_N,
	RERANK_PASSES,
	RERANK_DEADLINE,
	RERANK_TASK,				/* and the three that follow it, as in pair.h */
	RERANK_SERVER = RERANK_TASK + 4,
	RERANK_PRIORS,
	RERANK_PRIOR_WEIGHT
};

/* Arguments of the transition function behind the state */
#define ARG_QUERY 1
#define ARG_ID 2
#define ARG_DOC 3
#define ARG_TOP_N 4
#define ARG_PRIOR 5

typedef struct AggregateState
{
	struct RstarSet *set;
	int			top_n;			/* 0: all */
	Oid			id_type;
	int16		id_len;
	bool		id_byval;
	NullableDatum *ids;
	int			n;
	int			max;
} AggregateState;

/* An array of the call, taken apart */
typedef struct Elements
{
	Oid			type;
	int			n;
	Datum	   *values;
	bool	   *nulls;
} Elements;

static void take_apart(ArrayType *array, Elements *elements);
static NullableDatum element(const void *holder, int i);
static double *rerank_priors(FunctionCallInfo fcinfo, int ndocs);
static double check_prior(double prior);
static double rerank_prior_weight(FunctionCallInfo fcinfo);
static void put_row(ReturnSetInfo *rsinfo, const NullableDatum *id, const RstarRanked *ranked,
					int rank);
static int	arg_top_n(FunctionCallInfo fcinfo, int n);
static void rerank_args(FunctionCallInfo fcinfo, NullableDatum *args);
static TimestampTz rerank_deadline(FunctionCallInfo fcinfo);
static double agg_prior(FunctionCallInfo fcinfo);
static AggregateState *begin(FunctionCallInfo fcinfo, MemoryContext context);
static NullableDatum agg_id(const void *holder, int doc);
static void add_id(AggregateState *state, FunctionCallInfo fcinfo, MemoryContext context);
static TupleDesc result_desc(Oid id_type);

Datum
retrostar_retro_star_rerank(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NullableDatum args[RSTAR_NARGS];
	RstarSetOptions options = {0};
	RstarSetIds names;
	Elements	ids;
	Elements	docs;
	double	   *priors;
	int			n;
	struct RstarSet *set;
	RstarRanked *ranked;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(RERANK_IDS) || PG_ARGISNULL(RERANK_DOCS))
		return (Datum) 0;
	take_apart(PG_GETARG_ARRAYTYPE_P(RERANK_IDS), &ids);
	take_apart(PG_GETARG_ARRAYTYPE_P(RERANK_DOCS), &docs);
	if (ids.n != docs.n)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("ids and docs must have the same number of elements"),
				 errdetail("There are %d ids and %d documents.", ids.n, docs.n)));
	rstar_rerank_check_documents(docs.n);
	priors = rerank_priors(fcinfo, docs.n);
	options.top_n = arg_top_n(fcinfo, RERANK_TOP_N);
	options.passes = rstar_arg_string(fcinfo, RERANK_PASSES);
	options.deadline = rerank_deadline(fcinfo);
	options.has_priors = priors != NULL;
	options.prior_weight = rerank_prior_weight(fcinfo);
	rerank_args(fcinfo, args);
	names.type = ids.type;
	names.holder = &ids;
	names.of = element;
	set = rstar_rerank_begin(NULL, args, &options, &names);
	rstar_rerank_expect(set, docs.n);
	rstar_score_expected(docs.n);
	for (int i = 0; i < docs.n; i++)
	{
		NullableDatum doc = {docs.values[i], docs.nulls[i]};

		rstar_rerank_add(set, &doc, priors != NULL ? priors[i] : get_float8_nan(), false);
	}
	ranked = rstar_rerank_finish(set, &n);
	for (int i = 0; i < n; i++)
	{
		NullableDatum id = {ids.values[ranked[i].doc], ids.nulls[ranked[i].doc]};

		put_row(rsinfo, &id, &ranked[i], i + 1);
	}
	return (Datum) 0;
}

static void
take_apart(ArrayType *array, Elements *elements)
{
	int16		len;
	bool		byval;
	char		align;

	elements->type = ARR_ELEMTYPE(array);
	get_typlenbyvalalign(elements->type, &len, &byval, &align);
	deconstruct_array(array, elements->type, len, byval, align, &elements->values,
					  &elements->nulls, &elements->n);
}

static NullableDatum
element(const void *holder, int i)
{
	const Elements *elements = holder;
	NullableDatum value;

	value.value = elements->values[i];
	value.isnull = elements->nulls[i];
	return value;
}

/* NaN for documents without one; NULL when there are none, as in version 0.1 */
static double *
rerank_priors(FunctionCallInfo fcinfo, int ndocs)
{
	Elements	elements;
	double	   *priors;

	if (PG_NARGS() <= RERANK_PRIORS || PG_ARGISNULL(RERANK_PRIORS))
		return NULL;
	take_apart(PG_GETARG_ARRAYTYPE_P(RERANK_PRIORS), &elements);
	if (elements.n != ndocs)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("priors and docs must have the same number of elements"),
				 errdetail("There are %d priors and %d documents.", elements.n, ndocs),
				 errhint("A document without a prior has NULL in its place.")));
	priors = palloc_extended(Max(ndocs, 1) * sizeof(double), MCXT_ALLOC_HUGE);
	for (int i = 0; i < ndocs; i++)
		priors[i] = elements.nulls[i] ? get_float8_nan() :
			check_prior(DatumGetFloat8(elements.values[i]));
	return priors;
}

/* No place on a scale could be given to others beside it */
static double
check_prior(double prior)
{
	if (isinf(prior))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a prior must be finite"),
				 errhint("A document without a prior has NULL, which counts as the lowest.")));
	return prior;
}

/* NaN: the setting's */
static double
rerank_prior_weight(FunctionCallInfo fcinfo)
{
	double		weight;

	if (PG_NARGS() <= RERANK_PRIOR_WEIGHT || PG_ARGISNULL(RERANK_PRIOR_WEIGHT))
		return get_float8_nan();
	weight = PG_GETARG_FLOAT8(RERANK_PRIOR_WEIGHT);
	if (!(weight >= 0 && weight < 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("prior_weight must be at least 0 and less than 1, not %g", weight)));
	return weight;
}

/* Version 0.1 has the first four columns */
static void
put_row(ReturnSetInfo *rsinfo, const NullableDatum *id, const RstarRanked *ranked, int rank)
{
	Datum		values[7] = {
		id->value,
		Float8GetDatum(ranked->score),
		Int32GetDatum(rank),
		Int32GetDatum(ranked->samples),
		Float8GetDatum(ranked->fused),
		Float8GetDatum(ranked->error),
		BoolGetDatum(ranked->settled)
	};
	bool		nulls[7] = {
		id->isnull,
		!ranked->scored,
		false,
		false,
		!ranked->scored,
		!ranked->scored || ranked->unsure,
		!ranked->scored
	};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* 0: all; one form of the aggregate does not have it */
static int
arg_top_n(FunctionCallInfo fcinfo, int n)
{
	int			top_n;

	if (PG_NARGS() <= n || PG_ARGISNULL(n))
		return 0;
	top_n = PG_GETARG_INT32(n);
	if (top_n < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("top_n must be positive, not %d", top_n)));
	return top_n;
}

static void
rerank_args(FunctionCallInfo fcinfo, NullableDatum *args)
{
	for (int i = 0; i < RSTAR_NARGS; i++)
		args[i].isnull = true;
	args[RSTAR_ARG_QUERY] = fcinfo->args[RERANK_QUERY];
	for (int i = 0; i < 4; i++)
		args[RSTAR_ARG_TASK + i] = fcinfo->args[RERANK_TASK + i];
	args[RSTAR_ARG_SERVER] = fcinfo->args[RERANK_SERVER];
}

/* From the argument; 0: none */
static TimestampTz
rerank_deadline(FunctionCallInfo fcinfo)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline;

	if (PG_ARGISNULL(RERANK_DEADLINE))
		return 0;
	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(now),
													   PG_GETARG_DATUM(RERANK_DEADLINE)));
	if (deadline <= now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deadline must be positive")));
	return deadline;
}

Datum
retrostar_rerank_agg_transfn(PG_FUNCTION_ARGS)
{
	AggregateState *state = PG_ARGISNULL(0) ? NULL : (AggregateState *) PG_GETARG_POINTER(0);
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "retro_star_rerank_agg was called outside of an aggregate");
	if (state == NULL)
		state = begin(fcinfo, context);
	else if (!rstar_rerank_same_query(state->set, &fcinfo->args[ARG_QUERY]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must be the same for all documents of a group"),
				 errhint("Group by the query.")));
	else if (arg_top_n(fcinfo, ARG_TOP_N) != state->top_n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("top_n must be the same for all documents of a group")));
	add_id(state, fcinfo, context);
	rstar_rerank_add(state->set, &fcinfo->args[ARG_DOC], agg_prior(fcinfo), true);
	PG_RETURN_POINTER(state);
}

/* NaN: none; two forms of the aggregate do not have it */
static double
agg_prior(FunctionCallInfo fcinfo)
{
	if (PG_NARGS() <= ARG_PRIOR || PG_ARGISNULL(ARG_PRIOR))
		return get_float8_nan();
	return check_prior(PG_GETARG_FLOAT8(ARG_PRIOR));
}

static AggregateState *
begin(FunctionCallInfo fcinfo, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AggregateState *state = palloc0(sizeof(AggregateState));
	RstarSetOptions options = {.prior_weight = get_float8_nan()};
	RstarSetIds names;
	NullableDatum args[RSTAR_NARGS];

	for (int i = 0; i < RSTAR_NARGS; i++)
		args[i].isnull = true;
	args[RSTAR_ARG_QUERY] = fcinfo->args[ARG_QUERY];
	state->top_n = arg_top_n(fcinfo, ARG_TOP_N);
	options.top_n = state->top_n;
	options.has_priors = PG_NARGS() > ARG_PRIOR;
	state->id_type = get_fn_expr_argtype(fcinfo->flinfo, ARG_ID);
	if (!OidIsValid(state->id_type))
		elog(ERROR, "could not determine the type of the id");
	get_typlenbyval(state->id_type, &state->id_len, &state->id_byval);
	names.type = state->id_type;
	names.holder = state;
	names.of = agg_id;
	state->set = rstar_rerank_begin(fcinfo->context, args, &options, &names);
	MemoryContextSwitchTo(old);
	return state;
}

static NullableDatum
agg_id(const void *holder, int doc)
{
	return ((const AggregateState *) holder)->ids[doc];
}

static void
add_id(AggregateState *state, FunctionCallInfo fcinfo, MemoryContext context)
{
	NullableDatum *id;

	if (state->n == state->max)
	{
		state->max = Max(8, state->max * 2);
		state->ids = state->ids ?
			repalloc_huge(state->ids, state->max * sizeof(NullableDatum)) :
			MemoryContextAlloc(context, state->max * sizeof(NullableDatum));
	}
	id = &state->ids[state->n++];
	*id = fcinfo->args[ARG_ID];
	if (!id->isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		id->value = datumCopy(id->value, state->id_byval, state->id_len);
		MemoryContextSwitchTo(old);
	}
}

Datum
retrostar_rerank_agg_finalfn(PG_FUNCTION_ARGS)
{
	AggregateState *state = PG_ARGISNULL(0) ? NULL : (AggregateState *) PG_GETARG_POINTER(0);
	RstarRanked *ranked;
	TupleDesc	desc;
	Datum	   *records;
	int			n;

	if (state == NULL)
		PG_RETURN_NULL();
	ranked = rstar_rerank_finish(state->set, &n);
	desc = result_desc(state->id_type);
	records = palloc(Max(n, 1) * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		const NullableDatum *id = &state->ids[ranked[i].doc];
		Datum		values[3] = {id->value, Float8GetDatum(ranked[i].score), Int32GetDatum(i + 1)};
		bool		nulls[3] = {id->isnull, !ranked[i].scored, false};

		records[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(records, n, RECORDOID, -1, false, TYPALIGN_DOUBLE));
}

static TupleDesc
result_desc(Oid id_type)
{
	TupleDesc	desc = CreateTemplateTupleDesc(3);

	TupleDescInitEntry(desc, 1, "id", id_type, -1, 0);
	TupleDescInitEntry(desc, 2, "score", FLOAT8OID, -1, 0);
	TupleDescInitEntry(desc, 3, "rank", INT4OID, -1, 0);
	return BlessTupleDesc(desc);
}
