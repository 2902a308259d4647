/*-------------------------------------------------------------------------
 *
 * quiet.c
 *		Calls that nobody has made in order to get a score: nothing is asked for.
 *
 * These are calls of the planner (planning.c), of EXPLAIN, which starts an
 * executor, of ANALYZE, which computes statistics of expressions, and of
 * autovacuum's workers.  EXPLAIN and ANALYZE, whoever runs them, take what is
 * known and NULL for the rest.  Whatever else a worker
 * of autovacuum computes it stores (BRIN summaries of expressions), so there
 * it is an error that something is not known.  Commands of users ask, also
 * VACUUM FULL, CLUSTER and REINDEX.
 *
 * No variable of PostgreSQL's says that ANALYZE is at work, and VACUUM does
 * other things before it.  But it computes expressions in memory contexts with
 * names of their own, which exist for no longer than that.  They are looked
 * for by name in all memory but that of caches, since what calls us may be a
 * function, whose memory is not below them.  An index's expressions and predicate are folded,
 * and kept, before these contexts exist.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/memnodes.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/memutils.h"

#include "base/settings.h"
#include "session/pair.h"
#include "session/planning.h"
#include "session/quiet.h"
#include "session/statement.h"
#include "shared/cache.h"
#include "shared/queue.h"

/* VACUUM and ANALYZE commands of this session that are under way */
static int	vacuums = 0;

static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static void utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static bool analyzes(void);
static bool computes_statistics(MemoryContext context);
static int	look_up(const RstarPair *pair, bool lasts, RstarTally *tally);

void
rstar_quiet_init(void)
{
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = utility;
}

static void
utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
		ProcessUtilityContext context, ParamListInfo params,
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	bool		vacuum = IsA(pstmt->utilityStmt, VacuumStmt);

	vacuums += vacuum;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		vacuums -= vacuum;
	}
	PG_END_TRY();
}

bool
rstar_quiet(void)
{
	return rstar_planning() || rstar_quiet_estimates() || MyBackendType == B_AUTOVAC_WORKER;
}

bool
rstar_quiet_estimates(void)
{
	return rstar_statement_explains() || analyzes();
}

static bool
analyzes(void)
{
	return (vacuums > 0 || MyBackendType == B_AUTOVAC_WORKER) &&
		computes_statistics(TopMemoryContext);
}

static bool
computes_statistics(MemoryContext context)
{
	if (strcmp(context->name, "Analyze Index") == 0 ||
		strcmp(context->name, "ComputeExtStatisticsRows") == 0 ||
		strcmp(context->name, "BuildRelationExtStatistics") == 0)
		return true;
	if (context == CacheMemoryContext)
		return false;
	for (MemoryContext child = context->firstchild; child != NULL; child = child->nextchild)
	{
		if (computes_statistics(child))
			return true;
	}
	return false;
}

double
rstar_quiet_score(FunctionCallInfo fcinfo, bool *isnull)
{
	const NullableDatum *args = fcinfo->args;
	Oid			function = fcinfo->flinfo ? fcinfo->flinfo->fn_oid : InvalidOid;
	bool		lasts = rstar_planning() ? rstar_planning_folds(function) :
		!rstar_statement_explains() && !analyzes();
	RstarPair	pair;
	RstarTally	known;
	int			n;

	*isnull = true;
	if (rstar_pair_is_null(args))
		return 0;
	rstar_pair_make(rstar_statement_current(), args, &pair);
	n = look_up(&pair, lasts, &known);
	if (n < (lasts ? pair.call->samples : 1))
	{
		rstar_quiet_unknown(function);
		return 0;
	}
	*isnull = false;
	return (double) known.sum / n;
}

/*
 * How many samples that count are known.  Of a value that lasts they are those
 * that it would have if it were asked for.
 */
static int
look_up(const RstarPair *pair, bool lasts, RstarTally *tally)
{
	const RstarCall *call = pair->call;
	RstarSpec	spec = {0};
	RstarResult answer;
	RstarTicket ticket;

	spec.kind = RSTAR_KIND_SCORE;
	spec.key = pair->key;
	spec.serverid = call->server.serverid;
	spec.mapping = call->mapping;
	spec.samples = call->samples;
	spec.zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	spec.fresh = lasts && !rstar_cache;
	spec.peek = true;
	(void) rstar_queue_find(&spec, 0, &ticket, &answer);
	rstar_cache_lookup(&pair->key, tally);
	if (spec.fresh || rstar_queue_has_more(&answer.tally, tally, spec.zero))
		*tally = answer.tally;
	return rstar_tally_counted(tally, spec.zero);
}

void
rstar_quiet_unknown(Oid function)
{
	if (rstar_planning())
		rstar_planning_unknown(function);
	else if (MyBackendType == B_AUTOVAC_WORKER && !analyzes())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("score is not known, and autovacuum does not ask for any"),
				 errdetail("Its value would be stored in an index."),
				 errhint("Run VACUUM, or brin_summarize_new_values(), in a session of your own.")));
}
