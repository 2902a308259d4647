/*-------------------------------------------------------------------------
 *
 * notice.c
 *		A session that waits, and nothing comes, is told why.
 *
 * A server that does not answer is waited for, since it may be restarted or
 * moved, and nobody likes his statement to fail for that.  But who has
 * mistyped a port is not to sit before a silent screen until then.
 *
 * Looked at while it waits: the endpoints as the worker has them, which needs
 * no catalog.  So nothing holds back VACUUM, but for the moment in which the
 * server's name is looked up.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/encoding.h"
#include "base/settings.h"
#include "model/dialect.h"
#include "model/misfit.h"
#include "model/server.h"
#include "session/notice.h"
#include "shared/counters.h"
#include "shared/state.h"

/* How long a session waits for nothing before it looks why, and looks again; ms */
#define FIRST_LOOK 3000
#define NEXT_LOOK 1000

/* How long it is not looked again whether a server's dialect fits; ms */
#define DIALECT_LOOK 1000

/* Servers, each with a dialect, that a session is told of at most */
#define DIALECTS_TOLD 16

/* Calls of a statement that wait one after another, before the session is told */
#define SERIAL_CALLS 20

/* Which servers' dialects the session knows not to fit, as of which version of all options */
static struct
{
	Oid			serverid;
	uint64		version;
	RstarDialect dialect;
}			told[DIALECTS_TOLD];
static int	ntold = 0;

/* When that was looked at, by server; of two that share a place the last one */
static struct
{
	Oid			serverid;
	uint64		version;
	TimestampTz again_at;
}			looked[DIALECTS_TOLD];

static void tell_misfit(Oid serverid, const char *owner);
static void tell_paused(void);
static void tell_outlook(Oid serverid, const RstarOutlook *outlook);
static char *what_failed(const RstarOutlook *outlook);

TimestampTz
rstar_notice_due(RstarStatement *statement)
{
	if (statement->noticed)
		return 0;
	/* That of an earlier wait, which has ended otherwise, does not count */
	if (statement->look_at == 0 ||
		TimestampDifferenceExceeds(statement->look_at, GetCurrentTimestamp(), 2 * NEXT_LOOK))
		statement->look_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FIRST_LOOK);
	return statement->look_at;
}

void
rstar_notice_look(RstarStatement *statement, Oid serverid)
{
	TimestampTz now = GetCurrentTimestamp();
	RstarQueueState state;
	RstarOutlook outlook;

	if (statement->noticed || statement->look_at == 0 || now < statement->look_at)
		return;
	statement->look_at = TimestampTzPlusMilliseconds(now, NEXT_LOOK);
	rstar_state_read(&state);
	rstar_counters_outlook(serverid, &outlook);
	if (state.paused)
		tell_paused();
	else if (outlook.endpoints > 0 && outlook.endpoints == outlook.out_of_use + outlook.doubted)
		tell_outlook(serverid, &outlook);
	else
		return;
	statement->noticed = true;
}

static void
tell_paused(void)
{
	ereport(NOTICE,
			(errmsg("the queue of this database is paused"),
			 errdetail("The statement waits until it goes on."),
			 errhint("SELECT retrostar.resume() lets it go on.")));
}

static void
tell_outlook(Oid serverid, const RstarOutlook *outlook)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	const char *failed = what_failed(outlook);
	const char *until = "";

	/* There may be no other snapshot, and this one is not to last */
	InvalidateCatalogSnapshot();
	if (server == NULL)
		return;
	if (outlook->gives_up_at != 0)
		until = psprintf("  It is waited for until %s, or the retrostar.deadline.",
						 timestamptz_to_str(outlook->gives_up_at));
	ereport(NOTICE,
			(outlook->out_of_use > 0 ?
			 errmsg("no endpoint of server \"%s\" answers", server->servername) :
			 errmsg("server \"%s\" does not say whether it is well", server->servername),
			 errdetail("%s%s", failed, until),
			 errhint("SELECT * FROM retrostar.check('%s') shows the state of each endpoint.",
					 server->servername)));
}

/* A server's own words may quote what it was sent, and go to who sent that alone */
static char *
what_failed(const RstarOutlook *outlook)
{
	if (outlook->last_error_at == 0)
		return psprintf("It was asked whether it is well, and did not answer.");
	if (outlook->last_http_status >= 200 && outlook->last_http_status <= 299)
		return psprintf("A reply was not understood, or is of another model.");
	if (outlook->last_http_status != 0)
		return psprintf("The last failure: HTTP status %d.", outlook->last_http_status);
	return psprintf("The last failure: %s.",
					rstar_encoding_from_utf8(outlook->last_detail, strlen(outlook->last_detail)));
}

void
rstar_notice_serial(void)
{
	static bool told = false;
	RstarStatement *outermost;
	RstarWithin within;

	/* Who has switched it off knows */
	if (told || !rstar_prefetch)
		return;
	outermost = rstar_statement_outermost(&within);
	if (++outermost->serial < SERIAL_CALLS)
		return;
	told = true;
	ereport(NOTICE,
			(errmsg("calls of retro_star_score() are made one after another"),
			 errdetail("This statement has waited for %d, each alone.  %s", SERIAL_CALLS,
					   within == RSTAR_WITHIN_COMMAND ? "They are in an expression of an index or constraint, which is evaluated row by row." :
					   within == RSTAR_WITHIN_FUNCTION ? "They are in a function or block that is not part of its plan." :
					   "No node of its plan makes them ahead."),
			 within == RSTAR_WITHIN_COMMAND ?
			 errhint("Ask for the pairs together before, with retro_star_prefetch() in a query: known scores are not waited for.") :
			 within == RSTAR_WITHIN_FUNCTION ?
			 errhint("A function that is to be part of the plan is LANGUAGE sql, a single SELECT or RETURN, STABLE, and neither STRICT nor SECURITY DEFINER, and has no SET.") :
			 errhint("EXPLAIN shows a node \"Retro* Prefetch\" where there is one.  Functions in PL/pgSQL are not part of a plan; doc/planning.md lists other calls that stay serial.")));
}

/* It costs more to look than an answer should, so that is not done for each */
void
rstar_notice_dialect(Oid serverid)
{
	int			i = serverid % DIALECTS_TOLD;
	uint64		version = rstar_server_version();
	TimestampTz now = GetCurrentTimestamp();
	RstarOutlook outlook;

	if (looked[i].serverid == serverid && looked[i].version == version && now < looked[i].again_at)
		return;
	looked[i].serverid = serverid;
	looked[i].version = version;
	looked[i].again_at = TimestampTzPlusMilliseconds(now, DIALECT_LOOK);
	rstar_counters_outlook(serverid, &outlook);
	if (outlook.misfit[0] != '\0')
		tell_misfit(serverid, outlook.misfit);
}

/* It may have been altered since the worker has put that down */
static void
tell_misfit(Oid serverid, const char *owner)
{
	MemoryContext context;
	MemoryContext old;
	RstarServer *server;
	RstarMisfit misfit;
	uint64		version = rstar_server_version();
	int			i;

	for (i = 0; i < ntold; i++)
	{
		if (told[i].serverid == serverid && told[i].version == version)
			return;
	}
	context = AllocSetContextCreate(CurrentMemoryContext, "retrostar misfit", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	server = rstar_server_load(serverid);
	if (server != NULL && rstar_misfit(server->dialect, owner, &misfit))
	{
		for (i = 0; i < ntold; i++)
		{
			if (told[i].serverid == serverid && told[i].dialect == server->dialect)
				break;
		}
		if (i < ntold)
			told[i].version = version;
		else if (ntold < DIALECTS_TOLD)
		{
			char	   *remedy = rstar_misfit_remedy(server, misfit.fits);

			told[ntold].serverid = serverid;
			told[ntold].version = version;
			told[ntold++].dialect = server->dialect;
			InvalidateCatalogSnapshot();
			ereport(NOTICE,
					(errmsg("option \"dialect\" of server \"%s\" does not fit", server->name),
					 errdetail("It is \"%s\", and \"%s\" fits %s: %s.  There are scores, of another distribution.",
							   rstar_dialect_name(server->dialect), misfit.fits, misfit.server, misfit.harm),
					 errhint("%s;", remedy)));
		}
	}
	InvalidateCatalogSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
rstar_notice_reason(Oid serverid, TimestampTz since, char detail[RSTAR_DETAIL_LEN])
{
	RstarQueueState state;
	RstarOutlook outlook;

	rstar_state_read(&state);
	rstar_counters_outlook(serverid, &outlook);
	detail[0] = '\0';
	if (state.paused)
		strlcpy(detail, "The queue of this database is paused", RSTAR_DETAIL_LEN);
	else if (outlook.last_error_at < since)
		return;
	else if (outlook.last_http_status >= 200 && outlook.last_http_status <= 299)
		strlcpy(detail, "A reply was not understood, or is of another model", RSTAR_DETAIL_LEN);
	else if (outlook.last_http_status != 0)
		snprintf(detail, RSTAR_DETAIL_LEN, "The last failure: HTTP status %d", outlook.last_http_status);
	else
	{
		strlcpy(detail, "The last failure: ", RSTAR_DETAIL_LEN);
		strlcat(detail, outlook.last_detail, RSTAR_DETAIL_LEN);
	}
}
