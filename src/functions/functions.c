/*-------------------------------------------------------------------------
 *
 * functions.c
 *		SQL-callable functions that only unpack, check and delegate, in the
 *		order of the install script.
 *
 * Others are in check.c, explain.c, rerank_sql.c, refresh.c, replicated.c, those
 * of the views in stat.c, and the validator in model/option.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/encoding.h"
#include "base/version.h"
#include "functions/args.h"
#include "model/prompt.h"
#include "model/reply.h"
#include "model/server.h"
#include "session/pair.h"
#include "session/quiet.h"
#include "session/score.h"
#include "shared/cache.h"
#include "shared/queue.h"

PG_FUNCTION_INFO_V1(retrostar_version);
PG_FUNCTION_INFO_V1(retrostar_task_validator);
PG_FUNCTION_INFO_V1(retrostar_retro_star_score);
PG_FUNCTION_INFO_V1(retrostar_retro_star_prompt);
PG_FUNCTION_INFO_V1(retrostar_retro_star_prefetch);
PG_FUNCTION_INFO_V1(retrostar_cache_key);
PG_FUNCTION_INFO_V1(retrostar_cache_scope);
PG_FUNCTION_INFO_V1(retrostar_cache_prune);
PG_FUNCTION_INFO_V1(retrostar_parse_reply);
PG_FUNCTION_INFO_V1(retrostar_pause);
PG_FUNCTION_INFO_V1(retrostar_resume);

static const char *outcome_name(const RstarReply *reply);

Datum
retrostar_version(PG_FUNCTION_ARGS)
{
	char	   *sql = rstar_version_sql();
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, sql == NULL};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = CStringGetTextDatum(RSTAR_VERSION);
	values[1] = sql != NULL ? CStringGetTextDatum(sql) : (Datum) 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Of the table's constraint */
Datum
retrostar_task_validator(PG_FUNCTION_ARGS)
{
	char	   *strings[4];

	for (int i = 0; i < (int) lengthof(strings); i++)
	{
		strings[i] = rstar_arg_string(fcinfo, i);
		if (strings[i] != NULL && i > 0)
		{
			RstarText	utf8 = rstar_encoding_to_utf8(strings[i], strlen(strings[i]));

			strings[i] = pnstrdup(utf8.data, utf8.len);
		}
	}
	rstar_task_check(strings[0] ? strings[0] : "", strings[1], strings[2], strings[3]);
	PG_RETURN_BOOL(true);
}

Datum
retrostar_retro_star_score(PG_FUNCTION_ARGS)
{
	bool		isnull;
	double		score;

	if (!rstar_quiet())
		score = rstar_score_get(fcinfo->args, &isnull);
	else
	{
		rstar_queue_require();
		score = rstar_quiet_score(fcinfo, &isnull);
	}
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(score);
}

Datum
retrostar_retro_star_prompt(PG_FUNCTION_ARGS)
{
	RstarTask	task;
	StringInfoData buf;

	if (rstar_pair_is_null(fcinfo->args))
		PG_RETURN_NULL();
	rstar_task_resolve(&task, rstar_arg_string(fcinfo, RSTAR_ARG_TASK),
					   rstar_arg_string(fcinfo, RSTAR_ARG_RELEVANCE_DEFINITION),
					   rstar_arg_string(fcinfo, RSTAR_ARG_QUERY_TYPE),
					   rstar_arg_string(fcinfo, RSTAR_ARG_DOC_TYPE));
	initStringInfo(&buf);
	rstar_prompt_append(&buf, &task,
						rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_QUERY)),
						rstar_pair_text(PG_GETARG_DATUM(RSTAR_ARG_DOC)));
	/* The mark in a neutralised control token has no place in Latin 1 */
	PG_RETURN_TEXT_P(cstring_to_text(rstar_encoding_from_utf8(buf.data, buf.len)));
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

Datum
retrostar_cache_key(PG_FUNCTION_ARGS)
{
	RstarPair	pair;
	bytea	   *result;

	if (rstar_pair_is_null(fcinfo->args))
		PG_RETURN_NULL();
	rstar_pair_make(rstar_statement_current(), fcinfo->args, &pair);
	result = palloc(VARHDRSZ + sizeof(RstarKey));
	SET_VARSIZE(result, VARHDRSZ + sizeof(RstarKey));
	memcpy(VARDATA(result), pair.key.bytes, sizeof(RstarKey));
	PG_RETURN_BYTEA_P(result);
}

Datum
retrostar_cache_scope(PG_FUNCTION_ARGS)
{
	const RstarServer *server;
	char	   *scope;

	server = rstar_server_resolve(rstar_arg_string(fcinfo, 0));
	scope = server->cache_scope;
	PG_RETURN_TEXT_P(cstring_to_text(pg_any_to_server(scope, strlen(scope), PG_UTF8)));
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
	RstarText	utf8 = rstar_encoding_to_utf8(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body));
	const RstarReading reading = {.form = &rstar_form_retro};
	TupleDesc	desc;
	RstarReply	reply;
	Datum		values[6];
	bool		nulls[6] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rstar_reply_parse(&reply, PG_GETARG_INT32(1), utf8.data, utf8.len, &reading);
	/* Nothing of it is allocated: the text was not asked for */
	rstar_reply_free(&reply);
	values[0] = CStringGetTextDatum(outcome_name(&reply));
	values[1] = Int32GetDatum(reply.score);
	nulls[1] = reply.status != RSTAR_REPLY_SCORE;
	values[2] = CStringGetTextDatum(rstar_encoding_from_utf8(reply.finish_reason, strlen(reply.finish_reason)));
	nulls[2] = reply.finish_reason[0] == '\0';
	values[3] = Int32GetDatum(reply.prompt_tokens);
	values[4] = Int32GetDatum(reply.completion_tokens);
	values[5] = CStringGetTextDatum(rstar_encoding_from_utf8(reply.message, strlen(reply.message)));
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
		case RSTAR_ERROR_NO_ROOM:
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
	rstar_queue_require();
	rstar_queue_pause(true);
	PG_RETURN_VOID();
}

Datum
retrostar_resume(PG_FUNCTION_ARGS)
{
	rstar_queue_require();
	rstar_queue_pause(false);
	PG_RETURN_VOID();
}
