/*-------------------------------------------------------------------------
 *
 * task.c
 *		Tasks: the three strings that tell the model what relevance means.
 *
 * Called by: functions.c, score.c.
 *
 * A named task is read from retrostar.task by an index scan of our own, not
 * by a query: it takes a few microseconds, works where SPI would not (while
 * the planner estimates, in a parallel leader), and cannot be misled by
 * search_path.  The snapshot is the calling query's, as for any other table
 * it reads.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "task.h"

#include "guc.h"
#include "prompt.h"

#define DEFAULT_QUERY_TYPE	"query"
#define DEFAULT_DOC_TYPE	"document"

/* Columns of retrostar.task, in the install script's order */
enum
{
	COLUMN_NAME = 1,
	COLUMN_QUERY_TYPE,
	COLUMN_DOC_TYPE,
	COLUMN_RELEVANCE_DEFINITION
};

static void read_task(RstarTask *task, const char *name, bool is_setting);
static bool scan_task(RstarTask *task, const char *name);
static bool fetch_task(RstarTask *task, Relation rel, const char *name);
static char *column_text(HeapTuple tuple, TupleDesc desc, int column);
static void override(char **string, const char *argument, const char *name);
static char *to_utf8(const char *string);

void
rstar_task_resolve(RstarTask *task, const char *name,
				   const char *relevance_definition,
				   const char *query_type, const char *doc_type)
{
	memset(task, 0, sizeof(*task));
	if (name != NULL)
		read_task(task, name, false);
	else if (rstar_task != NULL && *rstar_task != '\0')
		read_task(task, rstar_task, true);

	override(&task->query_type, query_type, "query_type");
	override(&task->doc_type, doc_type, "doc_type");
	override(&task->relevance_definition, relevance_definition, "relevance_definition");

	if (task->query_type == NULL)
		task->query_type = pstrdup(DEFAULT_QUERY_TYPE);
	if (task->doc_type == NULL)
		task->doc_type = pstrdup(DEFAULT_DOC_TYPE);
	if (task->relevance_definition == NULL)
		task->relevance_definition =
			psprintf("Given a query (%s) and a document (%s), the document is relevant "
					 "to the query if the document can help answer the query.",
					 task->query_type, task->doc_type);
}

static void
read_task(RstarTask *task, const char *name, bool is_setting)
{
	if (scan_task(task, name))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("task \"%s\" does not exist", name),
			 is_setting ? errdetail("The name comes from the setting \"%s\".",
									"retrostar.task") : 0,
			 errhint("SELECT name FROM retrostar.task lists the tasks.")));
}

static bool
scan_task(RstarTask *task, const char *name)
{
	Oid			schema = get_namespace_oid("retrostar", false);
	Oid			table = get_relname_relid("task", schema);
	Relation	rel = NULL;
	bool		found;

	/* It may be dropped while we wait for its lock */
	if (OidIsValid(table))
		rel = try_relation_open(table, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" does not exist", "retrostar.task")));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", "retrostar.task")));
	found = fetch_task(task, rel, name);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
fetch_task(RstarTask *task, Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	list_free(RelationGetIndexList(rel));	/* fills in rd_pkindex */
	ScanKeyEntryInitialize(&key, 0, COLUMN_NAME, BTEqualStrategyNumber, InvalidOid,
						   TupleDescAttr(desc, COLUMN_NAME - 1)->attcollation,
						   F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(rel, rel->rd_pkindex, OidIsValid(rel->rd_pkindex),
							  ActiveSnapshotSet() ? GetActiveSnapshot() : NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		task->query_type = column_text(tuple, desc, COLUMN_QUERY_TYPE);
		task->doc_type = column_text(tuple, desc, COLUMN_DOC_TYPE);
		task->relevance_definition = column_text(tuple, desc, COLUMN_RELEVANCE_DEFINITION);
	}
	systable_endscan(scan);
	return HeapTupleIsValid(tuple);
}

static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, column, desc, &isnull);

	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("column %d of \"%s\" must not be null", column, "retrostar.task")));
	return to_utf8(TextDatumGetCString(datum));
}

static void
override(char **string, const char *argument, const char *name)
{
	if (argument == NULL)
		return;
	if (*argument == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not be empty", name),
				 errhint("Leave it out, or pass NULL, to have the task's.")));
	*string = to_utf8(argument);
}

/* Always a copy, as the caller's string may go before the task does */
static char *
to_utf8(const char *string)
{
	RstarText	utf8 = rstar_prompt_utf8(string, strlen(string));

	return pnstrdup(utf8.data, utf8.len);
}
