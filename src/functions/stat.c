/*-------------------------------------------------------------------------
 *
 * stat.c
 *		The functions under the views retrostar.stat_*, and their reset.
 *
 * Calls: queue.c (pairs and samples), counters.c (endpoints, requests),
 * progress.c (sessions), server.c.
 *
 * Everybody may read the views.  What belongs to other users' work is masked
 * as in pg_stat_activity: their rows show process and user and nothing else,
 * unless the reader has the privileges of that user or of pg_read_all_stats.
 * The text of queries, documents and replies is in none of them.  A server's
 * own words about a failure may quote what it was sent, so only
 * pg_read_all_stats sees these.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "shared/counters.h"
#include "shared/hubs.h"
#include "session/failure.h"
#include "shared/progress.h"
#include "shared/queue.h"
#include "model/server.h"
#include "shared/state.h"

PG_FUNCTION_INFO_V1(retrostar_queue_state);
PG_FUNCTION_INFO_V1(retrostar_server_state);
PG_FUNCTION_INFO_V1(retrostar_activity_state);
PG_FUNCTION_INFO_V1(retrostar_progress_state);
PG_FUNCTION_INFO_V1(retrostar_cache_state);
PG_FUNCTION_INFO_V1(retrostar_shared_state);
PG_FUNCTION_INFO_V1(retrostar_stats_reset);

/* Columns of the widest row */
#define MAX_COLUMNS 32

/* A row that grows column by column */
typedef struct Row
{
	Datum		values[MAX_COLUMNS];
	bool		nulls[MAX_COLUMNS];
	int			n;
} Row;

/* Servers that a function has read, or tried to */
typedef struct ServerEntry
{
	Oid			serverid;		/* hash key */
	const RstarServer *server;
} ServerEntry;

static void add(Row *row, Datum value, bool isnull);
static void add_bigint(Row *row, int64 value);
static void add_integer(Row *row, int value);
static void add_time(Row *row, TimestampTz at);
static void add_latency(Row *row, int64 us);
static Datum row_datum(FunctionCallInfo fcinfo, Row *row);
static void put_row(FunctionCallInfo fcinfo, Row *row);
static bool may_see(Oid userid);
static bool sees_all(void);
static bool is_ours(Oid serverid);
static const char *plain(const char *state);
static void endpoint_row(Row *row, const RstarServer *server, int i, TimestampTz stats_reset);
static void add_counts(Row *row, const RstarCounts *counts);
static char *last_error(const RstarEndpointNow *now, const char *server);
static TimestampTz estimated_end(const RstarProgress *progress, int64 wanted);
static HTAB *make_servers(void);
static const RstarServer *find_server(HTAB *servers, Oid serverid);
static char *endpoint_of(const RstarActivity *activity, const RstarServer *server);

static void
add(Row *row, Datum value, bool isnull)
{
	Assert(row->n < MAX_COLUMNS);
	row->values[row->n] = value;
	row->nulls[row->n++] = isnull;
}

static void
add_bigint(Row *row, int64 value)
{
	add(row, Int64GetDatum(value), false);
}

static void
add_integer(Row *row, int value)
{
	add(row, Int32GetDatum(value), false);
}

/* NULL for 0 */
static void
add_time(Row *row, TimestampTz at)
{
	add(row, TimestampTzGetDatum(at), at == 0);
}

/* NULL below 0 */
static void
add_latency(Row *row, int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	add(row, PointerGetDatum(interval), us < 0);
}

static Datum
row_datum(FunctionCallInfo fcinfo, Row *row)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(row->n == desc->natts);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), row->values, row->nulls));
}

/* What is missing of it is null; of an earlier version, some is not asked for */
static void
put_row(FunctionCallInfo fcinfo, Row *row)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	while (row->n < rsinfo->setDesc->natts)
		add(row, (Datum) 0, true);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row->values, row->nulls);
}

static bool
sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

static bool
may_see(Oid userid)
{
	return sees_all() || has_privs_of_role(GetUserId(), userid);
}

Datum
retrostar_queue_state(PG_FUNCTION_ARGS)
{
	RstarQueueState state;
	Row			row = {.n = 0};

	rstar_queue_require();
	rstar_state_read(&state);
	add(&row, Int32GetDatum(state.worker_pid), state.worker_pid == 0);
	add(&row, BoolGetDatum(state.paused), false);
	add_integer(&row, state.requests);
	add_integer(&row, state.waiting);
	add_integer(&row, state.running);
	add_integer(&row, state.unstored);
	add_bigint(&row, state.counts.asked);
	add_bigint(&row, state.counts.answered);
	add_bigint(&row, state.counts.failed);
	add_bigint(&row, state.counts.cancelled);
	add_bigint(&row, state.counts.joined);
	add_bigint(&row, state.counts.samples_sent);
	add_bigint(&row, state.counts.samples_scored);
	add_bigint(&row, state.counts.samples_unscored);
	add_bigint(&row, state.counts.samples_failed);
	add_bigint(&row, state.counts.samples_cancelled);
	add_integer(&row, state.counts.samples_running);
	add_bigint(&row, state.counts.lost);
	add_integer(&row, state.waiters);
	add_integer(&row, state.free_requests);
	add_integer(&row, state.free_waiters);
	add_bigint(&row, state.text_bytes);
	add_time(&row, state.stats_reset);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

/* The endpoints of one server of this database; none where it is not ours */
Datum
retrostar_server_state(PG_FUNCTION_ARGS)
{
	RstarServer *server;
	RstarQueueState state;

	rstar_queue_require();
	InitMaterializedSRF(fcinfo, 0);
	if (!is_ours(PG_GETARG_OID(0)) || (server = rstar_server_load(PG_GETARG_OID(0))) == NULL)
		return (Datum) 0;
	rstar_state_read(&state);
	for (int i = 0; i < server->nurls; i++)
	{
		Row			row = {.n = 0};

		endpoint_row(&row, server, i, state.stats_reset);
		put_row(fcinfo, &row);
	}
	return (Datum) 0;
}

static bool
is_ours(Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);

	return server != NULL &&
		strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "retrostar") == 0;
}

static void
endpoint_row(Row *row, const RstarServer *server, int i, TimestampTz stats_reset)
{
	RstarEndpointNow now;
	char	   *error;

	add(row, CStringGetTextDatum(server->urls[i].text), false);
	if (!rstar_counters_read(server->serverid, server->urls[i].text, &now))
	{
		add(row, CStringGetTextDatum("unknown"), false);
		return;
	}
	add(row, CStringGetTextDatum(plain(now.state)), false);
	add_integer(row, now.in_flight);
	/* what was learnt under other options will be forgotten */
	add(row, Int32GetDatum(now.limit), now.limit == 0 ||
		(now.state[0] == '\0' && now.learnt.options != rstar_server_learnt_under(server)));
	add_counts(row, &now.counts);
	error = now.last_error_at != 0 ? last_error(&now, server->name) : NULL;
	add(row, error ? CStringGetTextDatum(error) : (Datum) 0, error == NULL);
	add_time(row, now.last_error_at);
	add_time(row, stats_reset);
	add_bigint(row, now.counts.cached_tokens);
}

/* A breaker's words say the opposite of what a reader expects: "closed" is well */
static const char *
plain(const char *state)
{
	if (strcmp(state, "closed") == 0)
		return "up";
	if (strcmp(state, "open") == 0)
		return "down";
	if (strcmp(state, "half-open") == 0)
		return "trying";
	return state[0] == '\0' ? "unknown" : state;
}

static void
add_counts(Row *row, const RstarCounts *counts)
{
	static const double percentiles[] = {0.5, 0.95, 0.99};
	int64		failed = 0;

	for (int i = RSTAR_ENDING_ANSWERED + 1; i < RSTAR_ENDING_CANCELLED; i++)
		failed += counts->ended[i];
	add_bigint(row, counts->sent);
	add_bigint(row, counts->retries);
	add_bigint(row, counts->ended[RSTAR_ENDING_ANSWERED]);
	add_bigint(row, counts->unscored);
	add_bigint(row, failed);
	for (int i = RSTAR_ENDING_ANSWERED + 1; i < RSTAR_NENDINGS; i++)
		add_bigint(row, counts->ended[i]);
	add_bigint(row, counts->prompt_tokens);
	add_bigint(row, counts->completion_tokens);
	add_latency(row, rstar_histogram_mean(&counts->latency));
	for (int i = 0; i < lengthof(percentiles); i++)
		add_latency(row, rstar_histogram_percentile(&counts->latency, percentiles[i]));
}

/* What curl says may be known; what the server says may quote a document */
static char *
last_error(const RstarEndpointNow *now, const char *server)
{
	RstarResult result;
	bool		our_words = now->last_http_status == 0;

	memset(&result, 0, sizeof(result));
	result.status = now->last_status;
	result.http_status = now->last_http_status;
	if (our_words || sees_all())
		strlcpy(result.detail, now->last_detail, sizeof(result.detail));
	return rstar_failure_message(&result, server);
}

Datum
retrostar_activity_state(PG_FUNCTION_ARGS)
{
	RstarActivity *activities;
	HTAB	   *servers = make_servers();
	MemoryContext context = CurrentMemoryContext;
	MemoryContext row_context = AllocSetContextCreate(context, "retrostar row", ALLOCSET_SMALL_SIZES);
	int			n;

	rstar_queue_require();
	InitMaterializedSRF(fcinfo, 0);
	activities = rstar_state_activity(&n);
	for (int i = 0; i < n; i++)
	{
		const RstarActivity *activity = &activities[i];
		bool		visible = may_see(activity->userid);
		const RstarServer *server = visible ? find_server(servers, activity->serverid) : NULL;
		Row			row = {.n = 0};

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(row_context);
		add(&row, Int32GetDatum(activity->pid), activity->pid == 0);
		add(&row, ObjectIdGetDatum(activity->userid), false);
		if (visible)
		{
			char	   *endpoint = server != NULL ? endpoint_of(activity, server) : NULL;

			add(&row, ObjectIdGetDatum(activity->serverid), false);
			add(&row, CStringGetTextDatum(activity->state), false);
			add_time(&row, activity->asked_at);
			add_integer(&row, activity->samples);
			add_integer(&row, activity->in_flight);
			add_integer(&row, activity->attempts);
			add(&row, endpoint ? CStringGetTextDatum(endpoint) : (Datum) 0, endpoint == NULL);
			add_integer(&row, activity->waiters);
			add(&row, BoolGetDatum(activity->detached), false);
			add(&row, CStringGetTextDatum(activity->priority), false);
		}
		put_row(fcinfo, &row);
		MemoryContextSwitchTo(context);
		MemoryContextReset(row_context);
	}
	return (Datum) 0;
}

/* Goes with the memory context */
static HTAB *
make_servers(void)
{
	HASHCTL		info = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(ServerEntry),
		.hcxt = CurrentMemoryContext
	};

	return hash_create("retrostar servers shown", 16, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* NULL as rstar_server_load(), which each server is given to once */
static const RstarServer *
find_server(HTAB *servers, Oid serverid)
{
	bool		found;
	ServerEntry *entry = hash_search(servers, &serverid, HASH_ENTER, &found);

	if (!found)
		entry->server = rstar_server_load(serverid);
	return entry->server;
}

/* NULL when it has been sent nowhere, or to one that has gone since */
static char *
endpoint_of(const RstarActivity *activity, const RstarServer *server)
{
	if (activity->url == 0)
		return NULL;
	for (int i = 0; i < server->nurls; i++)
	{
		if (rstar_counters_url(server->urls[i].text) == activity->url)
			return server->urls[i].text;
	}
	return NULL;
}

Datum
retrostar_progress_state(PG_FUNCTION_ARGS)
{
	rstar_queue_require();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < MaxBackends; i++)
	{
		RstarProgress progress;
		Row			row = {.n = 0};
		int64		wanted = 0;
		const int64 *places = progress.places;

		if (!rstar_progress_read(i, &progress))
			continue;
		add_integer(&row, progress.pid);
		add(&row, ObjectIdGetDatum(progress.dboid), false);
		add(&row, ObjectIdGetDatum(progress.userid), false);
		if (may_see(progress.userid))
		{
			for (int place = 0; place < RSTAR_NPLACES; place++)
				wanted += places[place];
			add_bigint(&row, wanted);
			add_bigint(&row, progress.ways[RSTAR_WAY_KNOWN]);
			add_bigint(&row, progress.ways[RSTAR_WAY_JOINED]);
			add_bigint(&row, progress.ways[RSTAR_WAY_SENT]);
			add_bigint(&row, places[RSTAR_PLACE_LOOKED_FOR] + places[RSTAR_PLACE_PENDING]);
			add_bigint(&row, places[RSTAR_PLACE_DONE]);
			add_bigint(&row, places[RSTAR_PLACE_FAILED]);
			add_bigint(&row, places[RSTAR_PLACE_NOT_AWAITED]);
			add_time(&row, progress.started);
			add(&row, Int64GetDatum((int64) Min(progress.expected, (double) PG_INT64_MAX / 2)), progress.expected == 0);
			add_time(&row, estimated_end(&progress, wanted));
		}
		put_row(fcinfo, &row);
	}
	return (Datum) 0;
}

/* At the pace until now; 0: nobody knows how many there are, or none is done yet */
static TimestampTz
estimated_end(const RstarProgress *progress, int64 wanted)
{
	TimestampTz now = GetCurrentTimestamp();
	const int64 *places = progress->places;
	double		over = places[RSTAR_PLACE_DONE] + places[RSTAR_PLACE_FAILED] + places[RSTAR_PLACE_NOT_AWAITED];
	double		left = Max(progress->expected, (double) wanted) - over;
	double		us;

	if (progress->expected == 0 || over == 0)
		return 0;
	us = (double) (now - progress->started) * (left / over);
	/* a thousand years are as good as for ever */
	return now + (int64) Min(us, 1000.0 * SECS_PER_YEAR * USECS_PER_SEC);
}

Datum
retrostar_cache_state(PG_FUNCTION_ARGS)
{
	RstarQueueState state;
	Row			row = {.n = 0};
	int64		hits;
	int64		misses;

	rstar_queue_require();
	rstar_state_read(&state);
	rstar_state_lookups(&hits, &misses);
	add_bigint(&row, hits);
	add_bigint(&row, misses);
	add_bigint(&row, state.counts.stored);
	add_bigint(&row, state.counts.store_failures);
	add_integer(&row, state.unstored);
	add_time(&row, state.stats_reset);
	PG_RETURN_DATUM(row_datum(fcinfo, &row));
}

/* The hub of one server of this database; none where it has none, or is not ours */
Datum
retrostar_shared_state(PG_FUNCTION_ARGS)
{
	RstarServer *server;
	RstarHubNow now;
	Row			row = {.n = 0};
	bool		error;

	rstar_queue_require();
	InitMaterializedSRF(fcinfo, 0);
	if (!is_ours(PG_GETARG_OID(0)) || (server = rstar_server_load(PG_GETARG_OID(0))) == NULL ||
		server->shared_cache == NULL)
		return (Datum) 0;
	rstar_hubs_read(server->serverid, &now);
	add(&row, CStringGetTextDatum(server->shared_cache), false);
	add(&row, CStringGetTextDatum(rstar_hubs_state_name(now.state)), false);
	for (int i = 0; i < RSTAR_NHUB_COUNTS; i++)
		add_bigint(&row, now.counts[i]);
	/* It may name hosts and roles */
	error = now.last_error_at != 0 && sees_all();
	add(&row, error ? CStringGetTextDatum(now.last_error) : (Datum) 0, !error);
	add_time(&row, now.last_error_at);
	put_row(fcinfo, &row);
	return (Datum) 0;
}

Datum
retrostar_stats_reset(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();

	rstar_queue_require();
	rstar_counters_reset(now);
	rstar_state_reset(now);
	rstar_hubs_reset();
	PG_RETURN_VOID();
}
