/*-------------------------------------------------------------------------
 *
 * failure.c
 *		A request that did not end well becomes an error or a warning; the
 *		one place with these texts.
 *
 * Called by: score.c, functions.c, explain.c, cache.c (the text of replies).
 *
 * What curl or a server said is foreign text: reply.c has cut it to one line
 * of clean UTF-8, here it becomes text of the database's encoding.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "failure.h"

typedef struct Failure
{
	int			sqlstate;
	const char *message;
	const char *detail;			/* NULL: none */
	const char *hint;			/* NULL: none */
} Failure;

static Failure describe(const RstarResult *result, const char *server);
static Failure describe_connection(const RstarResult *result, const char *server);
static Failure describe_refusal(const RstarResult *result, const char *server);
static Failure describe_reply(const RstarResult *result, const char *server);
static Failure describe_other(const RstarResult *result, const char *server);
static const char *status_detail(const RstarResult *result);

void
rstar_failure_raise(const RstarResult *result, const char *server)
{
	Failure		failure = describe(result, server);

	ereport(ERROR,
			(errcode(failure.sqlstate),
			 errmsg_internal("%s", failure.message),
			 failure.detail ? errdetail_internal("%s", failure.detail) : 0,
			 failure.hint ? errhint("%s", failure.hint) : 0));
	pg_unreachable();
}

char *
rstar_failure_message(const RstarResult *result, const char *server)
{
	Failure		failure = describe(result, server);

	if (failure.detail == NULL)
		return psprintf("%s", failure.message);
	return psprintf("%s: %s", failure.message, failure.detail);
}

static Failure
describe(const RstarResult *result, const char *server)
{
	switch (result->status)
	{
		case RSTAR_STATUS_UNAVAILABLE:
		case RSTAR_STATUS_UNREACHABLE:
		case RSTAR_STATUS_UNTRUSTED:
		case RSTAR_STATUS_TIMEOUT:
		case RSTAR_STATUS_SETUP:
			return describe_connection(result, server);
		case RSTAR_STATUS_REFUSED:
		case RSTAR_STATUS_UNAUTHORIZED:
		case RSTAR_STATUS_UNKNOWN_MODEL:
		case RSTAR_STATUS_TOO_LONG:
			return describe_refusal(result, server);
		case RSTAR_STATUS_NO_SCORE:
		case RSTAR_STATUS_TRUNCATED:
		case RSTAR_STATUS_SERVER_ERROR:
		case RSTAR_STATUS_BAD_REPLY:
			return describe_reply(result, server);
		case RSTAR_STATUS_OK:
		case RSTAR_STATUS_SERVER_GONE:
		case RSTAR_STATUS_SERVER_ALTERED:
		case RSTAR_STATUS_WORKER_LOST:
		case RSTAR_STATUS_EMPTY:
		case RSTAR_STATUS_NO_ROOM:
		case RSTAR_STATUS_DEADLINE:
			break;
	}
	return describe_other(result, server);
}

static Failure
describe_connection(const RstarResult *result, const char *server)
{
	Failure		failure = {ERRCODE_CONNECTION_FAILURE, NULL, NULL, NULL};
	char	   *said = rstar_failure_text(result->detail, strlen(result->detail));

	failure.hint = psprintf("SELECT * FROM retrostar.check('%s') shows the state of each endpoint.", server);
	switch (result->status)
	{
		case RSTAR_STATUS_UNAVAILABLE:
			failure.message = psprintf("could not reach server \"%s\"", server);
			failure.detail = said[0] ?
				psprintf("No endpoint has answered for the time of option \"unavailable_timeout\".  The last one: %s", said) :
				"No endpoint has answered for the time of option \"unavailable_timeout\".";
			break;
		case RSTAR_STATUS_TIMEOUT:
			failure.message = psprintf("server \"%s\" did not answer in time", server);
			failure.detail = said;
			failure.hint = "Raise the option \"timeout\" of the server, or lower \"max_in_flight\" so that requests do not wait there.";
			break;
		case RSTAR_STATUS_UNTRUSTED:
			failure.sqlstate = ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION;
			failure.message = psprintf("could not verify the certificate of server \"%s\"", server);
			failure.detail = said;
			failure.hint = "Check the names and dates of its certificate, and that the option \"ca_file\" of the server names the authority that issued it.";
			break;
		case RSTAR_STATUS_SETUP:
			failure.sqlstate = ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION;
			failure.message = psprintf("could not use server \"%s\"", server);
			failure.detail = said;
			break;
		default:
			failure.message = psprintf("connection to server \"%s\" failed", server);
			failure.detail = said;
			break;
	}
	return failure;
}

static Failure
describe_refusal(const RstarResult *result, const char *server)
{
	Failure		failure = {ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, NULL, NULL, NULL};

	failure.detail = status_detail(result);
	switch (result->status)
	{
		case RSTAR_STATUS_UNAUTHORIZED:
			failure.message = psprintf("server \"%s\" does not accept the API key", server);
			failure.hint = "Give the key as option \"api_key\" or \"api_key_file\" of a user mapping for the server.";
			break;
		case RSTAR_STATUS_UNKNOWN_MODEL:
			failure.message = psprintf("server \"%s\" does not serve the model", server);
			failure.hint = psprintf("SELECT * FROM retrostar.check('%s') shows the models that it serves; set the option \"model\" of the server.", server);
			break;
		case RSTAR_STATUS_TOO_LONG:
			failure.sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			failure.message = "query and prompt are longer than the model's context";
			failure.hint = "Shorter documents do not help: shorten the query, lower the option \"max_tokens\" of the server, or serve the model with a longer context.";
			break;
		default:
			failure.message = psprintf("server \"%s\" refused the request", server);
			break;
	}
	return failure;
}

static Failure
describe_reply(const RstarResult *result, const char *server)
{
	Failure		failure = {ERRCODE_EXTERNAL_ROUTINE_EXCEPTION, NULL, NULL, NULL};

	failure.detail = status_detail(result);
	switch (result->status)
	{
		case RSTAR_STATUS_NO_SCORE:
			failure.message = psprintf("server \"%s\" gave no score", server);
			failure.detail = psprintf("%d replies came without a well-formed score.", result->tally.unscored);
			failure.hint = "Check that the server runs a Retro* model.";
			break;
		case RSTAR_STATUS_TRUNCATED:
			failure.message = psprintf("server \"%s\" gave no score", server);
			failure.detail = "The reply ended at the option \"max_tokens\", before the score.";
			failure.hint = "Raise the option \"max_tokens\" of the server.";
			break;
		case RSTAR_STATUS_SERVER_ERROR:
			failure.message = psprintf("server \"%s\" failed", server);
			break;
		default:
			failure.message = psprintf("reply of server \"%s\" is not understood", server);
			break;
	}
	return failure;
}

static Failure
describe_other(const RstarResult *result, const char *server)
{
	Failure		failure = {ERRCODE_INTERNAL_ERROR, NULL, NULL, NULL};

	switch (result->status)
	{
		case RSTAR_STATUS_SERVER_GONE:
			failure.sqlstate = ERRCODE_UNDEFINED_OBJECT;
			failure.message = psprintf("server \"%s\" does not exist any more", server);
			break;
		case RSTAR_STATUS_SERVER_ALTERED:
			failure.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			failure.message = psprintf("server \"%s\" was altered while it scored the pair", server);
			failure.detail = "Its answers would have come from another model or with other parameters.";
			failure.hint = "Run the statement again.";
			break;
		case RSTAR_STATUS_WORKER_LOST:
			failure.sqlstate = ERRCODE_SYSTEM_ERROR;
			failure.message = "the retrostar worker ended several times while it scored the pair";
			failure.hint = "The server log says why.";
			break;
		case RSTAR_STATUS_EMPTY:
			failure.sqlstate = ERRCODE_INVALID_PARAMETER_VALUE;
			failure.message = psprintf("%s is empty", result->detail);
			failure.detail = "There is nothing that a model could read.";
			failure.hint = "Leave such rows out, or set \"retrostar.on_error\" to \"null\".";
			break;
		case RSTAR_STATUS_NO_ROOM:
			failure.sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			failure.message = "query and document are too large for retrostar's shared memory";
			failure.detail = psprintf("They can have half of it, %d kB.", rstar_shared_memory / 2);
			failure.hint = "Raise \"retrostar.shared_memory\" and restart the server.";
			break;
		case RSTAR_STATUS_DEADLINE:
			failure.sqlstate = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
			failure.message = psprintf("server \"%s\" did not answer before the deadline", server);
			failure.detail = "What was sent by then goes on; the answer will be in the cache.";
			failure.hint = "Raise \"retrostar.deadline\", or set \"retrostar.on_error\" to \"null\".";
			break;
		default:
			failure.message = psprintf("request ended with status %d", (int) result->status);
			break;
	}
	return failure;
}

static const char *
status_detail(const RstarResult *result)
{
	char	   *said = rstar_failure_text(result->detail, strlen(result->detail));

	if (result->http_status == 0)
		return said[0] ? said : NULL;
	if (said[0] == '\0')
		return psprintf("HTTP status %d.", result->http_status);
	return psprintf("HTTP status %d: %s", result->http_status, said);
}

char *
rstar_failure_text(const char *utf8, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc = InvalidOid;
	StringInfoData buf;
	int			n;

	initStringInfo(&buf);
	if (encoding != PG_UTF8 && encoding != PG_SQL_ASCII)
		proc = FindDefaultConversionProc(PG_UTF8, encoding);
	for (int i = 0; i < len; i += n)
	{
		unsigned char converted[MAX_CONVERSION_GROWTH * MAX_MULTIBYTE_CHAR_LEN + 1];

		n = pg_utf_mblen((const unsigned char *) utf8 + i);
		if (n > len - i || !pg_utf8_islegal((const unsigned char *) utf8 + i, n) || utf8[i] == '\0')
		{
			appendStringInfoChar(&buf, '?');
			n = 1;
		}
		else if (!OidIsValid(proc) || n == 1)
			appendBinaryStringInfo(&buf, utf8 + i, n);
		else if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
											   (unsigned char *) utf8 + i, n,
											   converted, sizeof(converted), true) == n)
			appendStringInfoString(&buf, (char *) converted);
		else
			appendStringInfoChar(&buf, '?');
	}
	return buf.data;
}
