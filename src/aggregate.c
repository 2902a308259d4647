/*-------------------------------------------------------------------------
 *
 * aggregate.c
 *		retro_star_rerank_agg: a set of documents that comes row by row.
 *
 * Calls: rerank.c, which asks for the first samples of each document as it
 * comes and goes through the passes when the group is complete.  When groups
 * come one after another, the prefetch node below has asked before (calls.c).
 *
 * The result is an array of records (id, score, rank), best first; what
 * failed or was not scored in time comes last with NULL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "rerank.h"

PG_FUNCTION_INFO_V1(retrostar_rerank_agg_transfn);
PG_FUNCTION_INFO_V1(retrostar_rerank_agg_finalfn);

/* Arguments of the transition function behind the state */
#define ARG_QUERY 1
#define ARG_ID 2
#define ARG_DOC 3
#define ARG_TOP_N 4

typedef struct AggregateState
{
	RstarSet   *set;
	int			top_n;			/* 0: all */
	Oid			id_type;
	int16		id_len;
	bool		id_byval;
	NullableDatum *ids;
	int			n;
	int			max;
} AggregateState;

static AggregateState *begin(FunctionCallInfo fcinfo, MemoryContext context);
static int	arg_top_n(FunctionCallInfo fcinfo);
static void add_id(AggregateState *state, FunctionCallInfo fcinfo, MemoryContext context);
static TupleDesc result_desc(Oid id_type);

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
	else if (arg_top_n(fcinfo) != state->top_n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("top_n must be the same for all documents of a group")));
	add_id(state, fcinfo, context);
	rstar_rerank_add(state->set, fcinfo->args[ARG_DOC].value, fcinfo->args[ARG_DOC].isnull, true);
	PG_RETURN_POINTER(state);
}

static AggregateState *
begin(FunctionCallInfo fcinfo, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	AggregateState *state = palloc0(sizeof(AggregateState));
	NullableDatum args[RSTAR_NARGS];

	for (int i = 0; i < RSTAR_NARGS; i++)
		args[i].isnull = true;
	args[RSTAR_ARG_QUERY] = fcinfo->args[ARG_QUERY];
	state->top_n = arg_top_n(fcinfo);
	state->id_type = get_fn_expr_argtype(fcinfo->flinfo, ARG_ID);
	if (!OidIsValid(state->id_type))
		elog(ERROR, "could not determine the type of the id");
	get_typlenbyval(state->id_type, &state->id_len, &state->id_byval);
	state->set = rstar_rerank_begin(fcinfo->context, args, state->top_n, NULL, 0);
	MemoryContextSwitchTo(old);
	return state;
}

static int
arg_top_n(FunctionCallInfo fcinfo)
{
	if (PG_NARGS() <= ARG_TOP_N || PG_ARGISNULL(ARG_TOP_N))
		return 0;
	rstar_rerank_check_top_n(PG_GETARG_INT32(ARG_TOP_N));
	return PG_GETARG_INT32(ARG_TOP_N);
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
