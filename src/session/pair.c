/*-------------------------------------------------------------------------
 *
 * pair.c
 *		The arguments of a call become a server, a task, two texts and a key.
 *
 * In a statement over thousands of rows all arguments but query and document
 * are the same from row to row, so what they resolve to is remembered, for a
 * few combinations (several calls in one statement).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/hashfn.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "base/settings.h"
#include "model/server.h"
#include "session/pair.h"

/* Calls with different arguments in one statement that are remembered */
#define MAX_CALLS 8

static bool same_call(const RstarCall *call, const NullableDatum *args);
static bool same_args(const RstarCall *call, const NullableDatum *args);
static bool same_text(const char *string, const NullableDatum *arg, const char *setting);
static RstarCall *new_call(RstarStatement *statement);
static void resolve_call(RstarStatement *statement, RstarCall *call, const NullableDatum *args);
static char *arg_string(const NullableDatum *arg, const char *setting);
static int	arg_samples(const NullableDatum *arg);
static void build_prefix(RstarStatement *statement, RstarCall *call, const RstarServer *server);
static void append_task(StringInfo buf, const RstarTask *task);
static void append_part(StringInfo buf, const char *part);
static pg_cryptohash_ctx *digest_context(void);
static void digest_part(pg_cryptohash_ctx *context, RstarText text);

void
rstar_pair_make(RstarStatement *statement, const NullableDatum *args, RstarPair *pair)
{
	pair->call = rstar_pair_resolve(statement, args);
	pair->query = rstar_pair_text(args[RSTAR_ARG_QUERY].value);
	pair->doc = rstar_pair_text(args[RSTAR_ARG_DOC].value);
	rstar_pair_key(pair);
}

const RstarCall *
rstar_pair_resolve(RstarStatement *statement, const NullableDatum *args)
{
	RstarCall  *call;

	for (int i = 0; i < statement->ncalls; i++)
	{
		if (same_call(&statement->calls[i], args))
			return &statement->calls[i];
	}
	call = new_call(statement);
	resolve_call(statement, call, args);
	return call;
}

bool
rstar_pair_resolved(const RstarStatement *statement, const NullableDatum *args)
{
	for (int i = 0; i < statement->ncalls; i++)
	{
		if (same_args(&statement->calls[i], args))
			return true;
	}
	return false;
}

/*
 * Commands are numbered on after a part of the transaction was rolled back, and
 * what such a part saw is not so any more.
 */
static bool
same_call(const RstarCall *call, const NullableDatum *args)
{
	return call->server_version == rstar_server_version() &&
		call->command == GetCurrentCommandId(false) &&
		call->subtransaction == GetCurrentSubTransactionId() &&
		call->transaction == GetCurrentTransactionStartTimestamp() &&
		same_args(call, args);
}

static bool
same_args(const RstarCall *call, const NullableDatum *args)
{
	const NullableDatum *samples = &args[RSTAR_ARG_SAMPLES];

	return call->id != 0 &&
		call->userid == GetUserId() &&
		call->samples_setting == (samples->isnull ? rstar_samples : DatumGetInt32(samples->value)) &&
		same_text(call->args[RSTAR_ARG_SERVER], &args[RSTAR_ARG_SERVER], rstar_server) &&
		same_text(call->args[RSTAR_ARG_TASK], &args[RSTAR_ARG_TASK], rstar_task) &&
		same_text(call->args[RSTAR_ARG_RELEVANCE_DEFINITION],
				  &args[RSTAR_ARG_RELEVANCE_DEFINITION], NULL) &&
		same_text(call->args[RSTAR_ARG_QUERY_TYPE], &args[RSTAR_ARG_QUERY_TYPE], NULL) &&
		same_text(call->args[RSTAR_ARG_DOC_TYPE], &args[RSTAR_ARG_DOC_TYPE], NULL);
}

static bool
same_text(const char *string, const NullableDatum *arg, const char *setting)
{
	text	   *value;
	bool		same;

	if (arg->isnull)
		return setting && setting[0] ? string && strcmp(string, setting) == 0 : string == NULL;
	if (string == NULL)
		return false;
	value = DatumGetTextPP(arg->value);
	same = strlen(string) == VARSIZE_ANY_EXHDR(value) &&
		memcmp(string, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)) == 0;
	if ((Pointer) value != DatumGetPointer(arg->value))
		pfree(value);
	return same;
}

/* A place for one more; the oldest gives way when there are many */
static RstarCall *
new_call(RstarStatement *statement)
{
	RstarCall  *call;

	if (statement->calls == NULL)
		statement->calls = MemoryContextAllocZero(statement->context,
												  MAX_CALLS * sizeof(RstarCall));
	if (statement->ncalls < MAX_CALLS)
		return &statement->calls[statement->ncalls++];
	call = &statement->calls[statement->last_call % MAX_CALLS];
	for (int i = 0; i < RSTAR_NARGS; i++)
	{
		if (call->args[i])
			pfree(call->args[i]);
	}
	if (call->key_prefix)
	{
		pfree(call->server.name);
		pfree(call->server.model);
		pfree(call->server.params);
		rstar_task_free(&call->task);
		pfree(call->key_prefix);
	}
	memset(call, 0, sizeof(RstarCall));
	return call;
}

/*
 * The id is set last: a call that raised an error on the way is no match.  A
 * statement may run for long and resolve again after each command in it, so
 * what looking up leaves behind is not to lie in its context.
 */
static void
resolve_call(RstarStatement *statement, RstarCall *call, const NullableDatum *args)
{
	MemoryContext old = MemoryContextSwitchTo(statement->context);
	const RstarServer *server;
	const char *server_name;
	RstarTask	task;

	call->args[RSTAR_ARG_SERVER] = arg_string(&args[RSTAR_ARG_SERVER], rstar_server);
	call->args[RSTAR_ARG_TASK] = arg_string(&args[RSTAR_ARG_TASK], rstar_task);
	for (int i = RSTAR_ARG_RELEVANCE_DEFINITION; i <= RSTAR_ARG_DOC_TYPE; i++)
		call->args[i] = arg_string(&args[i], NULL);
	call->userid = GetUserId();
	call->command = GetCurrentCommandId(false);
	call->subtransaction = GetCurrentSubTransactionId();
	call->transaction = GetCurrentTransactionStartTimestamp();
	call->samples = arg_samples(&args[RSTAR_ARG_SAMPLES]);
	call->samples_setting = call->samples;

	MemoryContextSwitchTo(old);
	/* What was not given is left to them, whose messages say so */
	rstar_task_resolve(&task,
					   args[RSTAR_ARG_TASK].isnull ? NULL : call->args[RSTAR_ARG_TASK],
					   call->args[RSTAR_ARG_RELEVANCE_DEFINITION],
					   call->args[RSTAR_ARG_QUERY_TYPE], call->args[RSTAR_ARG_DOC_TYPE]);
	/* Mapping first: looking it up may process invalidations */
	server_name = args[RSTAR_ARG_SERVER].isnull ? NULL : call->args[RSTAR_ARG_SERVER];
	server = rstar_server_resolve(server_name);
	call->mapping = rstar_server_mapping(server->serverid, GetUserId());
	server = rstar_server_resolve(server_name);
	call->server_version = rstar_server_version();
	MemoryContextSwitchTo(statement->context);
	rstar_task_copy(&call->task, &task);
	build_prefix(statement, call, server);
	call->id = ++statement->last_call;
	MemoryContextSwitchTo(old);
}

static char *
arg_string(const NullableDatum *arg, const char *setting)
{
	if (!arg->isnull)
		return TextDatumGetCString(arg->value);
	return setting && setting[0] ? pstrdup(setting) : NULL;
}

static int
arg_samples(const NullableDatum *arg)
{
	int			samples = arg->isnull ? rstar_samples : DatumGetInt32(arg->value);

	if (samples < RSTAR_MIN_SAMPLES || samples > RSTAR_MAX_SAMPLES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of samples %d is out of range", samples),
				 errdetail("It must be between %d and %d.", RSTAR_MIN_SAMPLES, RSTAR_MAX_SAMPLES)));
	return samples;
}

/* Copies what is needed of the server, whose own copy may go at any time */
static void
build_prefix(RstarStatement *statement, RstarCall *call, const RstarServer *server)
{
	StringInfoData buf;

	call->server = *server;
	call->server.name = pstrdup(server->name);
	call->server.model = pstrdup(server->model);
	call->server.params = pstrdup(server->params);
	/* The rest is not used here, and would dangle */
	call->server.urls = NULL;
	call->server.extra_body = call->server.cache_scope = call->server.ca_file = NULL;
	call->server.key_material = call->server.api_key_header = call->server.shared_cache = NULL;
	call->shared = server->shared_cache != NULL;
	memset(&call->server.headers, 0, sizeof(RstarHeaderList));

	call->fingerprint = rstar_server_fingerprint(server);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, server->key_material, server->key_material_len);
	append_task(&buf, &call->task);
	call->key_prefix = buf.data;
	call->key_prefix_len = buf.len;
	call->affinity = hash_bytes_extended((const unsigned char *) buf.data, buf.len, 0);
}

/*
 * A task that has no template is three parts, as ever.  With one it is three
 * parts more, so that no such pair has the key of another one: each part says
 * how long it is.
 */
static void
append_task(StringInfo buf, const RstarTask *task)
{
	append_part(buf, task->relevance_definition);
	append_part(buf, task->query_type);
	append_part(buf, task->doc_type);
	if (task->template == NULL)
		return;
	append_part(buf, task->template);
	append_part(buf, task->scale);
	append_part(buf, task->answer);
}

static void
append_part(StringInfo buf, const char *part)
{
	uint32		len = strlen(part);
	uint32		n = pg_hton32(len);

	appendBinaryStringInfo(buf, (const char *) &n, sizeof(n));
	appendBinaryStringInfo(buf, part, len);
}

RstarText
rstar_pair_text(Datum value)
{
	text	   *t = DatumGetTextPP(value);

	return rstar_encoding_to_utf8(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
}

bool
rstar_pair_is_blank(RstarText text)
{
	size_t		i = 0;

	while (i < text.len && strchr(" \t\n\v\f\r", text.data[i]) != NULL)
		i++;
	return i == text.len;
}

bool
rstar_pair_is_text(Datum value)
{
	text	   *t;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		return true;
	t = DatumGetTextPP(value);
	return pg_verify_mbstr(PG_UTF8, VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), true);
}

void
rstar_pair_key(RstarPair *pair)
{
	const RstarCall *call = pair->call;
	pg_cryptohash_ctx *context = digest_context();

	StaticAssertStmt(sizeof(RstarKey) == PG_SHA256_DIGEST_LENGTH, "a key is a SHA-256 digest");
	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) call->key_prefix, call->key_prefix_len) < 0)
		elog(ERROR, "could not start a SHA-256 digest");
	digest_part(context, pair->query);
	digest_part(context, pair->doc);
	if (pg_cryptohash_final(context, pair->key.bytes, sizeof(RstarKey)) < 0)
		elog(ERROR, "could not finish a SHA-256 digest: %s", pg_cryptohash_error(context));
}

/*
 * One for all keys of the process: a digest begins anew whatever became of the one
 * before.  It belongs to an owner of its own, which is never released, and not
 * to whoever asks first.  NULL: out of memory.
 */
static pg_cryptohash_ctx *
digest_context(void)
{
	static ResourceOwner own = NULL;
	static pg_cryptohash_ctx *context = NULL;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;

	if (context != NULL)
		return context;
	if (own == NULL)
		own = ResourceOwnerCreate(NULL, "retrostar digest");
	CurrentResourceOwner = own;
	/* without OpenSSL it is palloc'd in the current one */
	old = MemoryContextSwitchTo(TopMemoryContext);
	PG_TRY();
	{
		context = pg_cryptohash_create(PG_SHA256);
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
		MemoryContextSwitchTo(old);
	}
	PG_END_TRY();
	return context;
}

static void
digest_part(pg_cryptohash_ctx *context, RstarText text)
{
	uint32		n = pg_hton32((uint32) text.len);

	if (pg_cryptohash_update(context, (const uint8 *) &n, sizeof(n)) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) text.data, text.len) < 0)
		elog(ERROR, "could not compute a SHA-256 digest: %s", pg_cryptohash_error(context));
}

uint64
rstar_pair_affinity(const RstarPair *pair)
{
	return hash_bytes_extended((const unsigned char *) pair->query.data, pair->query.len,
							   pair->call->affinity);
}
