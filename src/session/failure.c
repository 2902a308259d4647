/*-------------------------------------------------------------------------
 *
 * failure.c
 *		A request that did not end well becomes an error or a warning; the
 *		one place with these texts.
 *
 * What curl or a server said is foreign text: reply.c has cut it to one line
 * of clean UTF-8, here it becomes text of the database's encoding.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/encoding.h"
#include "base/settings.h"
#include "session/failure.h"

/* Of a document, in an error; characters, which have at most four bytes */
#define SHOWN_CHARACTERS 40

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
static bool names_parameter(const char *said);
static Failure describe_reply(const RstarResult *result, const char *server);
static Failure describe_other(const RstarResult *result, const char *server);
static char *key_digits(const RstarKey *key);
static const char *status_detail(const RstarResult *result);

void
rstar_failure_raise(const RstarResult *result, const char *server, const char *which)
{
	Failure		failure = describe(result, server);
	const char *detail = failure.detail;

	if (which != NULL)
		detail = detail ? psprintf("%s\n%s", detail, which) : which;
	ereport(ERROR,
			(errcode(failure.sqlstate),
			 errmsg_internal("%s", failure.message),
			 detail ? errdetail_internal("%s", detail) : 0,
			 which ? errdetail_log("%s", failure.detail ? failure.detail : "The session was told which document it was.") : 0,
			 failure.hint ? errhint("%s", failure.hint) : 0));
	pg_unreachable();
}

char *
rstar_failure_which(const RstarPair *pair)
{
	bool		doc = !rstar_pair_is_blank(pair->doc) || rstar_pair_is_blank(pair->query);
	RstarText	text = doc ? pair->doc : pair->query;
	char	   *shown;
	int			clipped;
	int			len;
	int			n;

	if (rstar_failure_by_key())
		return rstar_failure_key(&pair->key);
	clipped = pg_encoding_mbcliplen(PG_UTF8, text.data, Min(text.len, 4 * SHOWN_CHARACTERS),
									4 * SHOWN_CHARACTERS);
	shown = rstar_encoding_from_utf8(text.data, clipped);
	len = strlen(shown);
	n = pg_mbcharcliplen(shown, len, SHOWN_CHARACTERS);
	for (char *c = shown; *c != '\0'; c++)
	{
		if ((unsigned char) *c < ' ')
			*c = ' ';
	}
	return psprintf("The %s begins with \"%.*s%s\".", doc ? "document" : "query", n, shown,
					n < len || clipped < (int) text.len ? "..." : "");
}

bool
rstar_failure_by_key(void)
{
	return rstar_statement_keeper != NULL || rstar_statement_for_others();
}

char *
rstar_failure_key(const RstarKey *key)
{
	return psprintf("The retrostar.cache_key() of the pair: \\x%s.", key_digits(key));
}

static char *
key_digits(const RstarKey *key)
{
	char	   *digits = palloc(2 * sizeof(RstarKey) + 1);

	for (int i = 0; i < (int) sizeof(RstarKey); i++)
		snprintf(digits + 2 * i, 3, "%02x", key->bytes[i]);
	return digits;
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
		case RSTAR_STATUS_NEVER:
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
		case RSTAR_STATUS_CONTEXT_FULL:
		case RSTAR_STATUS_SERVER_ERROR:
		case RSTAR_STATUS_BAD_REPLY:
			return describe_reply(result, server);
		case RSTAR_STATUS_OK:
		case RSTAR_STATUS_DOUBT:
		case RSTAR_STATUS_SERVER_GONE:
		case RSTAR_STATUS_SERVER_ALTERED:
		case RSTAR_STATUS_WORKER_LOST:
		case RSTAR_STATUS_EMPTY:
		case RSTAR_STATUS_NO_ROOM:
		case RSTAR_STATUS_BUDGET:
		case RSTAR_STATUS_BUDGET_UNKNOWN:
		case RSTAR_STATUS_DEADLINE:
			break;
	}
	return describe_other(result, server);
}

static Failure
describe_connection(const RstarResult *result, const char *server)
{
	Failure		failure = {ERRCODE_CONNECTION_FAILURE, NULL, NULL, NULL};
	char	   *said = rstar_encoding_from_utf8(result->detail, strlen(result->detail));

	/*
	 * OpenSSL's words for an answer that is plain text; and for none, which
	 * is what remains of one where a long greeting was cut off
	 */
	bool		answers = strstr(said, "wrong version number") != NULL;
	bool		plain = answers || strstr(said, "SSL routines::unexpected eof") != NULL;

	failure.hint = psprintf("SELECT * FROM retrostar.check('%s') shows the state of each endpoint.", server);
	if (plain)
	{
		said = psprintf("%s (%sit does not speak TLS; the option \"url\" says https)", said,
						answers ? "" : "perhaps ");
		failure.hint = "Set the option \"url\" of the server to http, or to a port where https is spoken.";
	}
	switch (result->status)
	{
		case RSTAR_STATUS_UNAVAILABLE:
			failure.message = psprintf("could not reach server \"%s\"", server);
			failure.detail = said[0] ?
				psprintf("No endpoint has answered for the time of option \"unavailable_timeout\".  The last failure: %s", said) :
				"No endpoint has answered for the time of option \"unavailable_timeout\".";
			break;
		case RSTAR_STATUS_NEVER:
			failure.message = psprintf("could not reach server \"%s\"", server);
			failure.detail = psprintf("No endpoint has ever answered since the server was created or altered.  The last failure: %s", said);
			if (!plain)
				failure.hint = psprintf("Check the option \"url\" of the server; SELECT * FROM retrostar.check('%s') shows the state of each endpoint.  To wait for one that is being started, set the option \"unavailable_timeout\".", server);
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
			if (strstr(said, "API key file") != NULL)
			{
				failure.message = psprintf("could not use the API key file of server \"%s\"", server);
				failure.hint = "It is the option \"api_key_file\" of the user mapping, and has the key on its only line; the operating-system user of PostgreSQL reads it.";
			}
			if (strstr(said, "certificate file") != NULL || strstr(said, "certificate locations") != NULL)
				failure.hint = "Install the certificates of the system's authorities (package ca-certificates), or set the option \"ca_file\" of the server to a file that is there.";
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
			failure.hint = "Give the key in a file, as option \"api_key_file\" of a user mapping for the server; or as option \"api_key\", which others may read in logs and dumps.";
			break;
		case RSTAR_STATUS_UNKNOWN_MODEL:
			failure.message = psprintf("server \"%s\" does not serve the model", server);
			/* It has shown its list; it was not a status that said so */
			if (result->http_status == 200)
				failure.detail = rstar_encoding_from_utf8(result->detail, strlen(result->detail));
			failure.hint = psprintf("SELECT * FROM retrostar.check('%s') shows the models that it serves; set the option \"model\" of the server.", server);
			break;
		case RSTAR_STATUS_TOO_LONG:
			failure.sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			failure.message = "query and prompt are longer than the model's context";
			failure.hint = "Shorter documents do not help: shorten the query, lower the option \"max_tokens\" of the server, or serve the model with a longer context.";
			break;
		default:
			failure.message = psprintf("server \"%s\" refused the request", server);
			if (result->http_status == 404 || result->http_status == 405)
			{
				failure.detail = psprintf("%s (the path in the option \"url\" may be wrong)", failure.detail);
				failure.hint = "The option \"url\" of the server is what comes before \"/v1/chat/completions\", with or without \"/v1\".";
			}
			else if (result->http_status >= 300 && result->http_status <= 399)
				failure.hint = "Redirects are not followed: set the option \"url\" of the server to where they lead, which often is https.";
			if (names_parameter(result->detail))
				failure.hint = psprintf("The option \"dialect\" of the server says which parameters it is sent, and may be wrong: SELECT * FROM retrostar.check('%s').", server);
			break;
	}
	return failure;
}

/* Which dialect has what name for it is not of interest: a refusal of any says the same */
static bool
names_parameter(const char *said)
{
	static const char *const words[] = {
		"parameter", "max_tokens", "max_completion_tokens", "top_k", "min_p", "repetition_penalty", "repeat_penalty",
		"extra_forbidden", "extra inputs", "extra fields"
	};
	char	   *lower = pstrdup(said);
	bool		found = false;

	for (char *c = lower; *c != '\0'; c++)
		*c = pg_ascii_tolower((unsigned char) *c);
	for (int i = 0; i < (int) lengthof(words) && !found; i++)
		found = strstr(lower, words[i]) != NULL;
	pfree(lower);
	return found;
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
			failure.hint = "Check that the server runs a Retro* model, or the one that the template of the task is for.";
			break;
		case RSTAR_STATUS_TRUNCATED:
			failure.message = psprintf("server \"%s\" gave no score", server);
			failure.detail = "The reply ended at the option \"max_tokens\", before the score.";
			failure.hint = "Raise the option \"max_tokens\" of the server.";
			if (result->detail[0] == '\0')
				break;
			failure.detail = psprintf("The server ended the reply after %s, before the score.", result->detail);
			failure.hint = "Raise the server's own limit of a reply, if it has one; or serve the model with a longer context.";
			break;
		case RSTAR_STATUS_CONTEXT_FULL:
			failure.message = psprintf("server \"%s\" gave no score", server);
			failure.detail = psprintf("The model's context was full after %s, before the score.", result->detail);
			failure.hint = "Shorter documents do not help: shorten the query, or serve the model with a longer context.";
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
			failure.detail = "A text that is empty, or nothing but white space, has nothing that a model could read.";
			failure.hint = "Leave such rows out, or set \"retrostar.on_error\" to \"null\".";
			break;
		case RSTAR_STATUS_NO_ROOM:
			failure.sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
			failure.message = "query and document are too large for retrostar's shared memory";
			failure.detail = psprintf("They can have half of it, %d kB.", rstar_shared_memory / 2);
			failure.hint = "Raise \"retrostar.shared_memory\" and restart PostgreSQL.";
			break;
		case RSTAR_STATUS_BUDGET:
			failure.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
			failure.message = psprintf("budget for server \"%s\" is used up", server);
			failure.detail = rstar_encoding_from_utf8(result->detail, strlen(result->detail));
			failure.hint = "Wait until then, unless it allows none, or ask who administers \"retrostar.budget\" for more.  What is known can be read without.";
			break;
		case RSTAR_STATUS_BUDGET_UNKNOWN:
			failure.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			failure.message = psprintf("could not find out what is used of the budget for server \"%s\"", server);
			failure.detail = "The table \"retrostar.usage\" could not be read.";
			failure.hint = "The server log says why.  If this transaction has locked the table, end it first.";
			break;
		case RSTAR_STATUS_DEADLINE:
			failure.sqlstate = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
			failure.message = psprintf("server \"%s\" did not answer before the deadline", server);
			failure.detail = "What was sent by then goes on; the answer will be in the cache.";
			failure.hint = "Raise \"retrostar.deadline\", or set \"retrostar.on_error\" to \"null\".";
			if (result->detail[0] == '\0')
				break;
			failure.detail = psprintf("%s.", rstar_encoding_from_utf8(result->detail, strlen(result->detail)));
			failure.hint = psprintf("SELECT * FROM retrostar.check('%s') says how it is now.  What was sent by then goes on; the answer will be in the cache.", server);
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
	char	   *said = rstar_encoding_from_utf8(result->detail, strlen(result->detail));

	if (result->http_status == 0)
		return said[0] ? said : NULL;
	if (said[0] == '\0')
		return psprintf("HTTP status %d.", result->http_status);
	return psprintf("HTTP status %d: %s", result->http_status, said);
}
