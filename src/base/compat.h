/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between PostgreSQL 15 and 19; the only place with version
 *		conditions.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_COMPAT_H
#define RSTAR_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "executor/executor.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

/* 16: the varlena macros moved out of postgres.h */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 17: wait events of extensions have names; before, all share one */
#if PG_VERSION_NUM >= 170000
#define rstar_wait_event(name) WaitEventExtensionNew(name)
#else
#define rstar_wait_event(name) PG_WAIT_EXTENSION
#endif

/* 16: one function for the ownership and privileges of all kinds of objects */
#if PG_VERSION_NUM >= 160000
#define rstar_database_ownercheck(dboid, roleid) \
	object_ownercheck(DatabaseRelationId, dboid, roleid)
#define rstar_relation_ownercheck(relid, roleid) \
	object_ownercheck(RelationRelationId, relid, roleid)
#define rstar_server_aclcheck(serverid, roleid, mode) \
	object_aclcheck(ForeignServerRelationId, serverid, roleid, mode)
#else
#define rstar_database_ownercheck(dboid, roleid) pg_database_ownercheck(dboid, roleid)
#define rstar_relation_ownercheck(relid, roleid) pg_class_ownercheck(relid, roleid)
#define rstar_server_aclcheck(serverid, roleid, mode) \
	pg_foreign_server_aclcheck(serverid, roleid, mode)
#endif

/*
 * 17: the privilege MAINTAIN is enough to refresh a materialized view, and its
 * query runs with a safe search_path
 */
#if PG_VERSION_NUM >= 170000
#define rstar_may_refresh(relid, roleid) \
	(pg_class_aclcheck(relid, roleid, ACL_MAINTAIN) == ACLCHECK_OK)
#define RSTAR_MAY_NOT_REFRESH ACLCHECK_NO_PRIV
#define rstar_restrict_search_path() RestrictSearchPath()
#else
#define rstar_may_refresh(relid, roleid) rstar_relation_ownercheck(relid, roleid)
#define RSTAR_MAY_NOT_REFRESH ACLCHECK_NOT_OWNER
#define rstar_restrict_search_path() ((void) 0)
#endif

/* 17: also in parallel mode */
#if PG_VERSION_NUM >= 170000
#define rstar_may_start_subtransaction() true
#else
#include "access/xact.h"
#define rstar_may_start_subtransaction() (!IsInParallelMode())
#endif

/* 17: a wait event set belongs to a resource owner (here none), not a context */
#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif
#if PG_VERSION_NUM >= 170000
#define rstar_create_wait_event_set(n) CreateWaitEventSet(NULL, n)
#else
#define rstar_create_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, n)
#endif

/* 18: the attribute became a keyword in front of the declaration */
#if PG_VERSION_NUM >= 180000
#define RSTAR_NORETURN pg_noreturn
#else
#define RSTAR_NORETURN pg_attribute_noreturn()
#endif

/* 18: index scans count into an instrument; 19: and have flags */
#if PG_VERSION_NUM >= 190000
#define rstar_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define rstar_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, 0)
#else
#define rstar_index_beginscan(heap, index, snapshot, nkeys) \
	index_beginscan(heap, index, snapshot, nkeys, 0)
#endif

/* 19: scans of tables have flags */
#if PG_VERSION_NUM >= 190000
#define rstar_table_beginscan(table, snapshot) \
	table_beginscan(table, snapshot, 0, NULL, SO_NONE)
#else
#define rstar_table_beginscan(table, snapshot) table_beginscan(table, snapshot, 0, NULL)
#endif

/* 18: ExecutorRun lost the argument "execute_once" */
#if PG_VERSION_NUM >= 180000
#define RSTAR_RUN_ARGS QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define RSTAR_RUN_PASS queryDesc, direction, count
#define rstar_executor_run(queryDesc) ExecutorRun(queryDesc, ForwardScanDirection, 0)
#else
#define RSTAR_RUN_ARGS QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define RSTAR_RUN_PASS queryDesc, direction, count, execute_once
#define rstar_executor_run(queryDesc) ExecutorRun(queryDesc, ForwardScanDirection, 0, true)
#endif

/* 18: the declarations of EXPLAIN are spread over more headers */
#include "commands/explain.h"
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* 18: plans count the disabled nodes in them */
#if PG_VERSION_NUM >= 180000
#define RSTAR_PLANS_COUNT_DISABLED true
#define rstar_plan_disabled(plan) ((plan)->disabled_nodes)
#define rstar_plan_set_disabled(plan, n) ((plan)->disabled_nodes = (n))
#else
#define RSTAR_PLANS_COUNT_DISABLED false
#define rstar_plan_disabled(plan) 0
#define rstar_plan_set_disabled(plan, n) ((void) (n))
#endif

/* 19: who plans for EXPLAIN is told so */
#if PG_VERSION_NUM >= 190000
#define RSTAR_PLANNER_ARGS Query *parse, const char *query_string, int cursor_options, \
	ParamListInfo params, ExplainState *es
#define RSTAR_PLANNER_PASS parse, query_string, cursor_options, params, es
#define rstar_plan_query(query, text, options) pg_plan_query(query, text, options, NULL, NULL)
#else
#define RSTAR_PLANNER_ARGS Query *parse, const char *query_string, int cursor_options, \
	ParamListInfo params
#define RSTAR_PLANNER_PASS parse, query_string, cursor_options, params
#define rstar_plan_query(query, text, options) pg_plan_query(query, text, options, NULL)
#endif

/* 16: which rights are checked, and whose, is in a list of its own */
#if PG_VERSION_NUM >= 160000
#define RSTAR_PERMISSIONS(stmt) ((stmt)->permInfos)
typedef RTEPermissionInfo RstarPermission;
#else
#define RSTAR_PERMISSIONS(stmt) ((stmt)->rtable)
typedef RangeTblEntry RstarPermission;
#endif

/* 19: a tranche has its name from the beginning, in all processes */
#if PG_VERSION_NUM >= 190000
#define rstar_new_tranche(name) LWLockNewTrancheId(name)
#define rstar_name_tranche(id, name) ((void) 0)
#else
#define rstar_new_tranche(name) LWLockNewTrancheId()
#define rstar_name_tranche(id, name) LWLockRegisterTranche(id, name)
#endif

/* 19: signal handlers have another type than SIG_IGN */
#if PG_VERSION_NUM >= 190000
#define RSTAR_SIG_IGN PG_SIG_IGN
#else
#define RSTAR_SIG_IGN SIG_IGN
#endif

/* 19: its compiler flags ask for more than a comment */
#define RSTAR_FALLTHROUGH __attribute__((fallthrough))

/* 17: MERGE joins both ways and keeps the join conditions */
#if PG_VERSION_NUM >= 170000
#define rstar_merge_conditions(modify) ((modify)->mergeJoinConditions)
#else
#define rstar_merge_conditions(modify) NIL
#endif

/* 19: window functions may pass over rows with a NULL; here: it says something on it */
#if PG_VERSION_NUM >= 190000
#define rstar_ignores_nulls(func) ((func)->ignore_nulls != 0)
#else
#define rstar_ignores_nulls(func) false
#endif

#endif							/* RSTAR_COMPAT_H */
