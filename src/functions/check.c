/*-------------------------------------------------------------------------
 *
 * check.c
 *		retrostar.check(): whether the endpoints of a server answer, and serve
 *		the model.
 *
 * One row for the worker, and what helps it; one for its hub, if it has one; one
 * for each endpoint; and one where versions differ or a text found no room.  What
 * is wrong is in the rows; only a missing privilege or server is an error.
 *
 * The question goes through queue and worker as a sample does, so that what is
 * checked is the way that samples go.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/encoding.h"
#include "base/settings.h"
#include "base/version.h"
#include "functions/args.h"
#include "model/dialect.h"
#include "model/misfit.h"
#include "model/server.h"
#include "session/failure.h"
#include "session/score.h"
#include "session/warm.h"
#include "shared/counters.h"
#include "shared/hubs.h"
#include "shared/launch.h"
#include "shared/progress.h"
#include "shared/state.h"

PG_FUNCTION_INFO_V1(retrostar_check);

/* What the column "ok" says: true, NULL, false */
typedef enum Verdict
{
	CHECK_OK,
	CHECK_DOUBT,
	CHECK_FAILED
} Verdict;

static bool check_version(ReturnSetInfo *rsinfo);
static bool check_worker(ReturnSetInfo *rsinfo);
static void check_memory(ReturnSetInfo *rsinfo);
static void check_hub(ReturnSetInfo *rsinfo, Oid serverid, const char *hub);
static void check_endpoint(Oid serverid, Oid mapping, int endpoint, RstarResult *result);
static char *misfit_of(Oid serverid, const char *url);
static void check_row(ReturnSetInfo *rsinfo, const char *endpoint, Verdict verdict,
					  const char *detail, int64 latency_us);

Datum
retrostar_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const RstarServer *server;
	Oid			serverid;
	char	   *name;
	int			nurls;
	char	  **urls;
	char	   *hub;
	Oid			mapping;

	InitMaterializedSRF(fcinfo, 0);
	if (!check_version(rsinfo))
		return (Datum) 0;
	server = rstar_server_resolve(rstar_arg_string(fcinfo, 0));
	serverid = server->serverid;
	name = pstrdup(server->name);
	nurls = server->nurls;
	urls = palloc(nurls * sizeof(char *));
	hub = server->shared_cache ? pstrdup(server->shared_cache) : NULL;
	for (int i = 0; i < nurls; i++)
		urls[i] = pstrdup(server->urls[i].text);
	mapping = rstar_server_mapping(serverid, GetUserId());
	if (!check_worker(rsinfo))
		return (Datum) 0;
	check_memory(rsinfo);
	if (hub != NULL)
		check_hub(rsinfo, serverid, hub);
	for (int i = 0; i < nurls; i++)
	{
		RstarResult result;
		Verdict		verdict;
		char	   *detail;
		char	   *misfit = NULL;

		check_endpoint(serverid, mapping, i, &result);
		verdict = result.status == RSTAR_STATUS_OK ? CHECK_OK :
			result.status == RSTAR_STATUS_DOUBT ? CHECK_DOUBT : CHECK_FAILED;
		detail = verdict != CHECK_FAILED ? rstar_encoding_from_utf8(result.detail, strlen(result.detail)) :
			rstar_failure_message(&result, name);
		if (verdict != CHECK_FAILED)
			misfit = misfit_of(serverid, urls[i]);
		if (misfit != NULL)
			check_row(rsinfo, urls[i], CHECK_DOUBT, psprintf("%s; %s", detail, misfit), result.elapsed_us);
		else
			check_row(rsinfo, urls[i], verdict, detail, result.elapsed_us);
	}
	return (Datum) 0;
}

/* A row only when something is wrong: then nothing else could be right */
static bool
check_version(ReturnSetInfo *rsinfo)
{
	RstarVersionFault fault = rstar_version_fault();

	if (fault.message == NULL)
		return true;
	check_row(rsinfo, "version", CHECK_FAILED, psprintf("%s.  %s", fault.message, fault.hint), 0);
	return false;
}

static bool
check_worker(ReturnSetInfo *rsinfo)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = false;
	RstarQueueState state;

	if (!rstar_queue_ready())
	{
		check_row(rsinfo, "worker", CHECK_FAILED,
				  "retrostar is not in shared_preload_libraries; add it there, and restart PostgreSQL", 0);
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
		check_row(rsinfo, "worker", CHECK_FAILED,
				  psprintf("%s.  %s", error->message, error->hint ? error->hint : ""), 0);
	}
	PG_END_TRY();
	if (!ok)
		return false;
	rstar_state_read(&state);
	if (state.paused)
		check_row(rsinfo, "worker", CHECK_DOUBT,
				  "it runs, or is being started, and the queue of this database is paused: "
				  "SELECT retrostar.resume() lets it go on", 0);
	else
		check_row(rsinfo, "worker", CHECK_OK, client_connection_check_interval > 0 ?
				  "it runs, or is being started" :
				  "it runs, or is being started; that a client has gone is noticed while its session "
				  "waits for scores, and elsewhere only with client_connection_check_interval, "
				  "which is 0", 0);
	return true;
}

/* A row only where a text was too long, in whatever database: most may fit */
static void
check_memory(ReturnSetInfo *rsinfo)
{
	RstarQueueState state;
	int64		kb = rstar_shared_memory;

	rstar_state_read(&state);
	if (state.refused_text == 0)
		return;
	/* A text may have half of it, less what holds it together */
	while (kb * 1024 < 2 * state.refused_text || kb == rstar_shared_memory)
		kb *= 2;
	check_row(rsinfo, "shared memory", CHECK_DOUBT,
			  psprintf("a request of " INT64_FORMAT " bytes was too long for retrostar.shared_memory, which is %d kB; "
					   "set it to " INT64_FORMAT "MB, for example, and restart PostgreSQL",
					   state.refused_text, rstar_shared_memory, Max(kb / 1024, 1)), 0);
}

/* What the worker found last: it connects when there is something to ask */
static void
check_hub(ReturnSetInfo *rsinfo, Oid serverid, const char *hub)
{
	RstarHubNow now;
	const char *error = now.last_error;

	rstar_hubs_read(serverid, &now);
	/* It may name hosts and roles */
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS))
		error = "retrostar.stat_shared has it for who has pg_read_all_stats";
	check_row(rsinfo, psprintf("shared cache %s", hub),
			  now.state == RSTAR_HUB_CONNECTED ? CHECK_OK :
			  now.state == RSTAR_HUB_AWAY ? CHECK_FAILED : CHECK_DOUBT,
			  now.state == RSTAR_HUB_AWAY ? psprintf("%s; the last error: %s", rstar_hubs_state_name(now.state), error) :
			  now.state == RSTAR_HUB_CONNECTED && now.last_error_at == 0 ? "connected" :
			  now.last_error_at == 0 ? psprintf("%s; it is asked when a pair is not known here",
												rstar_hubs_state_name(now.state)) :
			  psprintf("%s; the last error: %s", rstar_hubs_state_name(now.state), error), 0);
}

/*
 * Asks one endpoint of a server, through the worker; waits.  Its
 * waiter has a memo entry of its own, which no pair leads to.
 */
static void
check_endpoint(Oid serverid, Oid mapping, int endpoint, RstarResult *result)
{
	RstarStatement *statement = rstar_statement_current();
	RstarMemoEntry *entry = MemoryContextAllocZero(statement->context, sizeof(RstarMemoEntry));
	RstarSpec	spec;
	RstarTicket ticket = {0};
	uint32		cookie;

	rstar_queue_require();
	memset(&spec, 0, sizeof(spec));
	spec.kind = RSTAR_KIND_CHECK;
	spec.serverid = serverid;
	spec.mapping = mapping;
	spec.endpoint = endpoint;
	spec.samples = 1;
	spec.model = "";
	spec.traceparent = rstar_traceparent;
	rstar_progress_wanted();
	for (;;)
	{
		cookie = rstar_memo_cookie(statement);
		if (rstar_queue_submit(&spec, cookie, &ticket, result) == RSTAR_SUBMITTED_SENT)
			break;
		(void) rstar_memo_wait_for_room(statement, &ticket, 0);
	}
	rstar_memo_pend(statement, entry, ticket.waiter, cookie);
	/* It is no pair, and no other pass of a refresh would find it */
	rstar_warm_check();
	rstar_memo_wait(statement, entry, 0);
	/* Without a score it does not make a value */
	*result = *entry->failure;
	if (result->status == RSTAR_STATUS_OK || result->status == RSTAR_STATUS_DOUBT)
		rstar_progress_moved(RSTAR_PLACE_FAILED, RSTAR_PLACE_DONE);
}

/* What the worker has just seen: it works, and not as the options say.  NULL: it does */
static char *
misfit_of(Oid serverid, const char *url)
{
	RstarServer *server = rstar_server_load(serverid);
	RstarEndpointNow now;
	RstarMisfit misfit;

	(void) rstar_counters_read(serverid, url, &now);
	if (server == NULL || !rstar_misfit(server->dialect, now.learnt.misfit, &misfit))
		return NULL;
	return psprintf("the option dialect is \"%s\", \"%s\" fits: %s; %s",
					rstar_dialect_name(server->dialect), misfit.fits, misfit.harm,
					rstar_misfit_remedy(server, misfit.fits));
}

static void
check_row(ReturnSetInfo *rsinfo, const char *endpoint, Verdict verdict, const char *detail,
		  int64 latency_us)
{
	Datum		values[4];
	bool		nulls[4] = {false, verdict == CHECK_DOUBT, false, latency_us == 0};
	Interval	latency = {0};

	latency.time = latency_us;
	values[0] = CStringGetTextDatum(endpoint);
	values[1] = BoolGetDatum(verdict == CHECK_OK);
	values[2] = CStringGetTextDatum(detail);
	values[3] = PointerGetDatum(&latency);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
