/*-------------------------------------------------------------------------
 *
 * matview.c
 *		A materialized view, for retrostar.refresh().
 *
 * The query of a view runs other people's functions.  REFRESH MATERIALIZED
 * VIEW runs it as the view's owner, who can then not become anybody else, and
 * takes back what it set; so do we, or a superuser's scheduled job would lend
 * his rights to whoever owns a view.
 *
 * The query runs several times, and asks for the same pairs only if its rows
 * come in the same order: neither by parallel workers, nor by scans that begin
 * where another one is.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "functions/matview.h"

#define SOURCE_TEXT "query of a materialized view, run by retrostar.refresh()"

static Relation open_matview(Oid matview);
static Query *defining_query(Relation rel);
static Query *rewrite(Query *query);
static bool may_vary(Node *node, void *context);
static bool function_may_vary(Oid function, void *context);
static void run_query(Query *query);
static bool may_be_concurrent(Relation rel);
static bool index_serves(Oid oid);

void
rstar_matview_check(Oid matview)
{
	relation_close(open_matview(matview), NoLock);
}

/* Locked until the end of the transaction; before, owner and rights may change */
static Relation
open_matview(Oid matview)
{
	Relation	rel = try_relation_open(matview, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", matview)));
	if (rel->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a materialized view", RelationGetRelationName(rel))));
	if (!rstar_may_refresh(matview, GetUserId()))
		aclcheck_error(RSTAR_MAY_NOT_REFRESH, OBJECT_MATVIEW, RelationGetRelationName(rel));
	return rel;
}

void
rstar_matview_run(Oid matview, bool *varies)
{
	Relation	rel = open_matview(matview);
	Query	   *query;
	Oid			user;
	int			context;
	int			nest_level;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, context | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	rstar_restrict_search_path();
	rstar_matview_same_order();
	query = rewrite(defining_query(rel));
	relation_close(rel, NoLock);
	*varies = may_vary((Node *) query, NULL);
	run_query(query);
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
}

/* A copy of it */
static Query *
defining_query(Relation rel)
{
	RewriteRule *rule;

	if (rel->rd_rules == NULL || rel->rd_rules->numLocks != 1)
		elog(ERROR, "materialized view \"%s\" does not have one rule", RelationGetRelationName(rel));
	rule = rel->rd_rules->rules[0];
	if (rule->event != CMD_SELECT || !rule->isInstead || list_length(rule->actions) != 1)
		elog(ERROR, "the rule of materialized view \"%s\" is not a query", RelationGetRelationName(rel));
	return copyObject(linitial_node(Query, rule->actions));
}

static Query *
rewrite(Query *query)
{
	List	   *rewritten;

	AcquireRewriteLocks(query, true, false);
	rewritten = QueryRewrite(query);
	if (list_length(rewritten) != 1)
		elog(ERROR, "unexpected rewrite result for a materialized view");
	return linitial_node(Query, rewritten);
}

/* As far as can be seen: what functions do inside of them cannot */
static bool
may_vary(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SQLValueFunction) &&
		((SQLValueFunction *) node)->op <= SVFOP_LOCALTIMESTAMP_N)
		return true;
	if (check_functions_in_node(node, function_may_vary, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, may_vary, context, 0);
	return expression_tree_walker(node, may_vary, context);
}

static bool
function_may_vary(Oid function, void *context)
{
	return function == F_NOW || function == F_STATEMENT_TIMESTAMP ||
		function == F_TRANSACTION_TIMESTAMP || func_volatile(function) == PROVOLATILE_VOLATILE;
}

static void
run_query(Query *query)
{
	PlannedStmt *plan;
	QueryDesc  *desc;

	PushActiveSnapshot(GetTransactionSnapshot());
	plan = rstar_plan_query(query, SOURCE_TEXT, CURSOR_OPT_PARALLEL_OK);
	desc = CreateQueryDesc(plan, SOURCE_TEXT, GetActiveSnapshot(), InvalidSnapshot,
						   None_Receiver, NULL, NULL, 0);
	ExecutorStart(desc, 0);
	rstar_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	PopActiveSnapshot();
}

void
rstar_matview_same_order(void)
{
	(void) set_config_option("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

char *
rstar_matview_command(Oid matview)
{
	Relation	rel = open_matview(matview);
	char	   *name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel));
	bool		concurrent = may_be_concurrent(rel);

	relation_close(rel, NoLock);
	return psprintf("REFRESH MATERIALIZED VIEW %s%s", concurrent ? "CONCURRENTLY " : "", name);
}

static bool
may_be_concurrent(Relation rel)
{
	ListCell   *lc;

	if (!RelationIsPopulated(rel))
		return false;
	foreach(lc, RelationGetIndexList(rel))
	{
		if (index_serves(lfirst_oid(lc)))
			return true;
	}
	return false;
}

/* Unique over columns, of all rows, as REFRESH wants it */
static bool
index_serves(Oid oid)
{
	Relation	rel = index_open(oid, AccessShareLock);
	Form_pg_index index = rel->rd_index;
	bool		serves = index->indisunique && index->indimmediate && index->indisvalid &&
		rel->rd_rel->relam == BTREE_AM_OID && RelationGetIndexPredicate(rel) == NIL;

	for (int i = 0; i < index->indnatts; i++)
		serves = serves && index->indkey.values[i] > 0;
	index_close(rel, NoLock);
	return serves;
}
