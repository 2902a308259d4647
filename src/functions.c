/*-------------------------------------------------------------------------
 *
 * functions.c
 *		Every SQL-callable function, in the order of the install script:
 *		unpack, check, delegate.  (The validator is in option.c, those of the
 *		views in stat.c.)
 *
 * Calls: score.c, pair.c, prompt.c, cache.c, queue.c, launch.c, reply.c.
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
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "cache.h"
#include "check.h"
#include "failure.h"
#include "guc.h"
#include "launch.h"
#include "pair.h"
#include "prompt.h"
#include "queue.h"
#include "reply.h"
#include "rerank.h"
#include "score.h"
#include "statement.h"

PG_FUNCTION_INFO_V1(retrostar_retro_star_score);
PG_FUNCTION_INFO_V1(retrostar_retro_star_prompt);
PG_FUNCTION_INFO_V1(retrostar_retro_star_prefetch);
PG_FUNCTION_INFO_V1(retrostar_retro_star_rerank);
PG_FUNCTION_INFO_V1(retrostar_check);
PG_FUNCTION_INFO_V1(retrostar_cache_key);
PG_FUNCTION_INFO_V1(retrostar_cache_prune);
PG_FUNCTION_INFO_V1(retrostar_parse_reply);
PG_FUNCTION_INFO_V1(retrostar_pause);
PG_FUNCTION_INFO_V1(retrostar_resume);

static char *arg_string(FunctionCallInfo fcinfo, int n);
static void rerank_args(FunctionCallInfo fcinfo, NullableDatum *args);
static TimestampTz rerank_deadline(FunctionCallInfo fcinfo);
static bool check_worker(ReturnSetInfo *rsinfo);
static void check_row(ReturnSetInfo *rsinfo, const char *endpoint, bool ok,
					  const char *detail, int64 latency_us);
static const char *outcome_name(const RstarReply *reply);

Datum
retrostar_retro_star_score(PG_FUNCTION_ARGS)
{
	bool		isnull;
	double		score = rstar_score_get(fcinfo->args, &isnull);

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(score);
}

Datum
retrostar_retro_star_prompt(PG_FUNCTION_ARGS)
{
	RstarTask	task;
	StringInfoData buf;

	if (PG_ARGISNULL(RSTAR_ARG_QUERY) || PG_ARGISNULL(RSTAR_ARG_DOC))
		PG_RETURN_NULL();
	rstar_task_resolve(&task, arg_string(fcinfo, RSTAR_ARG_TASK),
					   arg_string(fcinfo, RSTAR_ARG_RELEVANCE_DEFINITION),
					   arg_string(fcinfo, RSTAR_ARG_QUERY_TYPE),
					   arg_string(fcinfo, RSTAR_ARG_DOC_TYPE));
	initStringInfo(&buf);
	rstar_prompt_append(&buf, &task,
						rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_QUERY)),
						rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_DOC)));
	/* The mark in a neutralised control token has no place in Latin 1 */
	PG_RETURN_TEXT_P(cstring_to_text(rstar_failure_text(buf.data, buf.len)));
}

/* NULL when the argument is */
static char *
arg_string(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

Datum
retrostar_retro_star_prefetch(PG_FUNCTION_ARGS)
{
	bool		isnull;
	bool		known = rstar_score_prefetch(fcinfo->args, &isnull);

	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_BOOL(known);
}

/* Arguments of retro_star_rerank */
enum
{
	RERANK_QUERY,
	RERANK_IDS,
	RERANK_DOCS,
	RERANK_TOP_N,
	RERANK_PASSES,
	RERANK_DEADLINE,
	RERANK_TASK,				/* and the three that follow it, as in score.h */
	RERANK_SERVER = RERANK_TASK + 4
};

Datum
retrostar_retro_star_rerank(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	NullableDatum args[RSTAR_NARGS];
	ArrayType  *ids;
	ArrayType  *docs;
	Datum	   *id_values;
	Datum	   *doc_values;
	bool	   *id_nulls;
	bool	   *doc_nulls;
	int			nids;
	int			ndocs;
	int			n;
	int			top_n = 0;
	int16		len;
	bool		byval;
	char		align;
	RstarSet   *set;
	RstarRanked *ranked;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(RERANK_IDS) || PG_ARGISNULL(RERANK_DOCS))
		return (Datum) 0;
	ids = PG_GETARG_ARRAYTYPE_P(RERANK_IDS);
	docs = PG_GETARG_ARRAYTYPE_P(RERANK_DOCS);
	get_typlenbyvalalign(ARR_ELEMTYPE(ids), &len, &byval, &align);
	deconstruct_array(ids, ARR_ELEMTYPE(ids), len, byval, align, &id_values, &id_nulls, &nids);
	deconstruct_array(docs, TEXTOID, -1, false, TYPALIGN_INT, &doc_values, &doc_nulls, &ndocs);
	if (nids != ndocs)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("ids and docs must have the same number of elements"),
				 errdetail("There are %d ids and %d documents.", nids, ndocs)));
	rstar_rerank_check_documents(ndocs);
	if (!PG_ARGISNULL(RERANK_TOP_N))
	{
		top_n = PG_GETARG_INT32(RERANK_TOP_N);
		rstar_rerank_check_top_n(top_n);
	}

	rerank_args(fcinfo, args);
	set = rstar_rerank_begin(NULL, args, top_n, arg_string(fcinfo, RERANK_PASSES),
							 rerank_deadline(fcinfo));
	for (int i = 0; i < ndocs; i++)
		rstar_rerank_add(set, doc_values[i], doc_nulls[i], false);
	ranked = rstar_rerank_finish(set, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[4] = {id_values[ranked[i].doc], Float8GetDatum(ranked[i].score),
			Int32GetDatum(i + 1), Int32GetDatum(ranked[i].samples)};
		bool		nulls[4] = {id_nulls[ranked[i].doc], !ranked[i].scored, false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
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

/*
 * One row for the worker, one for each endpoint.  What is wrong is in the
 * rows; only a missing privilege or server is an error.
 */
Datum
retrostar_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const RstarServer *server = rstar_server_resolve(arg_string(fcinfo, 0));
	Oid			serverid = server->serverid;
	char	   *name = pstrdup(server->name);
	int			nurls = server->nurls;
	char	  **urls = palloc(nurls * sizeof(char *));
	Oid			mapping;

	for (int i = 0; i < nurls; i++)
		urls[i] = pstrdup(server->urls[i].text);
	mapping = rstar_server_mapping(serverid, GetUserId());
	InitMaterializedSRF(fcinfo, 0);
	if (!check_worker(rsinfo))
		return (Datum) 0;
	for (int i = 0; i < nurls; i++)
	{
		RstarResult result;
		bool		ok;

		rstar_check_endpoint(serverid, mapping, i, &result);
		ok = result.status == RSTAR_STATUS_OK;
		check_row(rsinfo, urls[i], ok,
				  ok ? rstar_failure_text(result.detail, strlen(result.detail)) :
				  rstar_failure_message(&result, name),
				  result.elapsed_us);
	}
	return (Datum) 0;
}

static bool
check_worker(ReturnSetInfo *rsinfo)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = false;

	if (!rstar_queue_ready())
	{
		check_row(rsinfo, "worker", false,
				  "retrostar is not in shared_preload_libraries", 0);
		return false;
	}
	PG_TRY();
	{
		(void) rstar_launch_ensure();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		/* Not what is wrong here: the user or the server wants to stop */
		if (error->sqlerrcode != ERRCODE_CONFIGURATION_LIMIT_EXCEEDED)
			PG_RE_THROW();
		FlushErrorState();
		check_row(rsinfo, "worker", false,
				  psprintf("%s.  %s", error->message, error->hint ? error->hint : ""), 0);
	}
	PG_END_TRY();
	if (ok)
		check_row(rsinfo, "worker", true, "it runs, or is being started", 0);
	return ok;
}

static void
check_row(ReturnSetInfo *rsinfo, const char *endpoint, bool ok, const char *detail,
		  int64 latency_us)
{
	Datum		values[4];
	bool		nulls[4] = {false, false, false, latency_us == 0};
	Interval	latency = {0};

	latency.time = latency_us;
	values[0] = CStringGetTextDatum(endpoint);
	values[1] = BoolGetDatum(ok);
	values[2] = CStringGetTextDatum(detail);
	values[3] = PointerGetDatum(&latency);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
retrostar_cache_key(PG_FUNCTION_ARGS)
{
	RstarStatement *statement;
	const RstarCall *call;
	RstarKey	key;
	bytea	   *result;

	if (PG_ARGISNULL(RSTAR_ARG_QUERY) || PG_ARGISNULL(RSTAR_ARG_DOC))
		PG_RETURN_NULL();
	statement = rstar_statement_current();
	call = rstar_pair_resolve(statement, fcinfo->args);
	rstar_pair_key(call, rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_QUERY)),
				   rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_DOC)), &key);
	result = palloc(VARHDRSZ + sizeof(RstarKey));
	SET_VARSIZE(result, VARHDRSZ + sizeof(RstarKey));
	memcpy(VARDATA(result), key.bytes, sizeof(RstarKey));
	PG_RETURN_BYTEA_P(result);
}

Datum
retrostar_cache_prune(PG_FUNCTION_ARGS)
{
	TimestampTz before = 0;
	int64		keep = -1;

	if (!PG_ARGISNULL(0))
	{
		before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														 TimestampTzGetDatum(GetCurrentTimestamp()),
														 PG_GETARG_DATUM(0)));
		if (before == 0)
			before = 1;
	}
	if (!PG_ARGISNULL(1))
	{
		keep = PG_GETARG_INT64(1);
		if (keep < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("number of rows to keep must not be negative")));
	}
	PG_RETURN_INT64(rstar_cache_prune(before, keep));
}

Datum
retrostar_parse_reply(PG_FUNCTION_ARGS)
{
	text	   *body = PG_GETARG_TEXT_PP(0);
	RstarText	utf8 = rstar_prompt_utf8(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body));
	TupleDesc	desc;
	RstarReply	reply;
	Datum		values[6];
	bool		nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rstar_reply_parse(&reply, PG_GETARG_INT32(1), utf8.data, utf8.len, false);
	/* Nothing of it is allocated: the text was not asked for */
	rstar_reply_free(&reply);
	values[0] = CStringGetTextDatum(outcome_name(&reply));
	values[1] = Int32GetDatum(reply.score);
	nulls[1] = reply.status != RSTAR_REPLY_SCORE;
	values[2] = CStringGetTextDatum(rstar_failure_text(reply.finish_reason, strlen(reply.finish_reason)));
	nulls[2] = reply.finish_reason[0] == '\0';
	values[3] = Int32GetDatum(reply.prompt_tokens);
	values[4] = Int32GetDatum(reply.completion_tokens);
	values[5] = CStringGetTextDatum(rstar_failure_text(reply.message, strlen(reply.message)));
	nulls[5] = reply.message[0] == '\0';
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static const char *
outcome_name(const RstarReply *reply)
{
	switch (reply->status)
	{
		case RSTAR_REPLY_SCORE:
			return "score";
		case RSTAR_REPLY_NO_SCORE:
			return "no score";
		case RSTAR_REPLY_TRUNCATED:
			return "truncated";
		case RSTAR_REPLY_ABORTED:
			return "aborted";
		case RSTAR_REPLY_MALFORMED:
			return "malformed";
		case RSTAR_REPLY_ERROR:
			break;
	}
	switch (reply->error)
	{
		case RSTAR_ERROR_TOO_LONG:
			return "too long";
		case RSTAR_ERROR_MODEL:
			return "unknown model";
		case RSTAR_ERROR_QUOTA:
			return "quota";
		default:
			return "error";
	}
}

Datum
retrostar_pause(PG_FUNCTION_ARGS)
{
	rstar_score_require_preload();
	rstar_queue_pause(true);
	PG_RETURN_VOID();
}

Datum
retrostar_resume(PG_FUNCTION_ARGS)
{
	rstar_score_require_preload();
	rstar_queue_pause(false);
	PG_RETURN_VOID();
}
