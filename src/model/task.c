/*-------------------------------------------------------------------------
 *
 * task.c
 *		Tasks: what tells the model what relevance means.
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
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/closest.h"
#include "base/compat.h"
#include "base/encoding.h"
#include "base/settings.h"
#include "base/version.h"
#include "model/task.h"
#include "model/template.h"

#define DEFAULT_QUERY_TYPE	"query"
#define DEFAULT_DOC_TYPE	"document"

/* What rstar_form_retro has, for templates that ask for the same */
#define RETRO_SCALE		"0..100"
#define RETRO_ANSWER	"<score>{score}</score>"

/* Bytes of a template that an error shows */
#define SHOWN_LEN 32

/* Columns of retrostar.task, in the install script's order */
enum
{
	COLUMN_NAME = 1,
	COLUMN_QUERY_TYPE,
	COLUMN_DOC_TYPE,
	COLUMN_RELEVANCE_DEFINITION,
	COLUMN_BUILTIN,
	COLUMN_TEMPLATE,
	COLUMN_SCALE,
	COLUMN_ANSWER
};

static void read_task(RstarTask *task, const char *name, bool is_setting);
RSTAR_NORETURN static void raise_no_task(const char *name, bool is_setting, const char *meant);
static bool scan_task(RstarTask *task, const char *name, RstarClosest *closest);
static void offer_tasks(Relation rel, RstarClosest *closest);
static void check_columns(Relation rel);
static bool fetch_task(RstarTask *task, Relation rel, const char *name);
static Oid	name_index(Relation rel);
static char *column_text(HeapTuple tuple, TupleDesc desc, int column);
static void use_template(RstarTask *task, const char *name, const char *const *arguments);
static void override(char **string, const char *argument, const char *name);
static char *copy_string(const char *string);
static char *to_utf8(const char *string);
static void check_template(const char *name, const char *template);
static char *shown(RstarText text);
static void raise_form(const char *name, RstarFormFault fault, const char *scale, const char *answer);

void
rstar_task_resolve(RstarTask *task, const char *name,
				   const char *relevance_definition,
				   const char *query_type, const char *doc_type)
{
	const char *const arguments[] = {
		[RSTAR_PLACE_RELEVANCE_DEFINITION] = relevance_definition,
		[RSTAR_PLACE_QUERY_TYPE] = query_type,
		[RSTAR_PLACE_DOC_TYPE] = doc_type
	};
	bool		is_setting = name == NULL && rstar_task != NULL && *rstar_task != '\0';

	memset(task, 0, sizeof(*task));
	task->form = rstar_form_retro;
	if (is_setting)
		name = rstar_task;
	if (name != NULL)
		read_task(task, name, is_setting);

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
	if (task->template != NULL)
		use_template(task, name, arguments);
}

/*
 * A string that has no place in it is not the task's: it would change keys, and
 * no score.  The rows are checked when they are written, but that can be undone.
 */
static void
use_template(RstarTask *task, const char *name, const char *const *arguments)
{
	char	  **strings[] = {
		[RSTAR_PLACE_RELEVANCE_DEFINITION] = &task->relevance_definition,
		[RSTAR_PLACE_QUERY_TYPE] = &task->query_type,
		[RSTAR_PLACE_DOC_TYPE] = &task->doc_type
	};
	RstarTemplateReport report;

	rstar_template_check(rstar_text(task->template), &report);
	for (size_t i = 0; i < lengthof(strings); i++)
	{
		const char *place = rstar_template_place(i);

		if (report.count[i] > 0)
			continue;
		if (arguments[i] != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("argument \"%s\" has no place in the template of task \"%s\"",
							place, name),
					 errhint("Leave it out, or write {%s} into the template.", place)));
		*strings[i] = pstrdup("");
	}
	rstar_template_form(rstar_text(task->answer), rstar_text(task->scale), &task->form);
}

static void
read_task(RstarTask *task, const char *name, bool is_setting)
{
	RstarClosest closest;

	rstar_closest_init(&closest, name);
	if (!scan_task(task, name, &closest))
		raise_no_task(name, is_setting, closest.found);
	rstar_task_check(name, task->template, task->scale, task->answer);
	if (task->template == NULL)
		return;
	if (task->scale == NULL)
		task->scale = pstrdup(RETRO_SCALE);
	if (task->answer == NULL)
		task->answer = pstrdup(RETRO_ANSWER);
}

/* Who takes the third argument for the server had better be told */
static void
raise_no_task(const char *name, bool is_setting, const char *meant)
{
	bool		is_server = !is_setting && GetForeignServerByName(name, true) != NULL;

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("task \"%s\" does not exist", name),
			 is_setting ? errdetail("The name comes from the setting \"%s\".",
									"retrostar.task") : 0,
			 is_server ? errhint("A server is named by server => '%s'.", name) :
			 meant != NULL ? errhint("Perhaps you meant the task \"%s\".", meant) :
			 errhint("SELECT name FROM retrostar.task lists the tasks.")));
}

static bool
scan_task(RstarTask *task, const char *name, RstarClosest *closest)
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
	check_columns(rel);
	found = fetch_task(task, rel, name);
	if (!found)
		offer_tasks(rel, closest);
	table_close(rel, AccessShareLock);
	return found;
}

/* It may have been altered, or another put in its place */
static void
check_columns(Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = COLUMN_NAME; i <= COLUMN_ANSWER; i++)
	{
		if (i == COLUMN_BUILTIN)	/* not read */
			continue;
		if (desc->natts >= i && TupleDescAttr(desc, i - 1)->atttypid == TEXTOID)
			continue;
		rstar_version_require();
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" does not have the columns that it was created with",
						"retrostar.task"),
				 errdetail("Column %d is not of type %s.", i, "text"),
				 errhint("Create the extension again.")));
	}
}

static bool
fetch_task(RstarTask *task, Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			index = name_index(rel);

	ScanKeyEntryInitialize(&key, 0, COLUMN_NAME, BTEqualStrategyNumber, InvalidOid,
						   TupleDescAttr(desc, COLUMN_NAME - 1)->attcollation,
						   F_TEXTEQ, CStringGetTextDatum(name));
	scan = systable_beginscan(rel, index, OidIsValid(index),
							  ActiveSnapshotSet() ? GetActiveSnapshot() : NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		task->query_type = column_text(tuple, desc, COLUMN_QUERY_TYPE);
		task->doc_type = column_text(tuple, desc, COLUMN_DOC_TYPE);
		task->relevance_definition = column_text(tuple, desc, COLUMN_RELEVANCE_DEFINITION);
		task->template = column_text(tuple, desc, COLUMN_TEMPLATE);
		task->scale = column_text(tuple, desc, COLUMN_SCALE);
		task->answer = column_text(tuple, desc, COLUMN_ANSWER);
	}
	systable_endscan(scan);
	return HeapTupleIsValid(tuple);
}

static void
offer_tasks(Relation rel, RstarClosest *closest)
{
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false,
										  ActiveSnapshotSet() ? GetActiveSnapshot() : NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;
		Datum		name = heap_getattr(tuple, COLUMN_NAME, RelationGetDescr(rel), &isnull);

		if (!isnull)
			rstar_closest_offer(closest, TextDatumGetCString(name));
	}
	systable_endscan(scan);
}

/* The primary key, if it is one of the name alone */
static Oid
name_index(Relation rel)
{
	HeapTuple	tuple;
	bool		usable;

	list_free(RelationGetIndexList(rel));	/* fills in rd_pkindex */
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(rel->rd_pkindex));
	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	usable = ((Form_pg_index) GETSTRUCT(tuple))->indnkeyatts == 1 &&
		((Form_pg_index) GETSTRUCT(tuple))->indkey.values[0] == COLUMN_NAME;
	ReleaseSysCache(tuple);
	return usable ? rel->rd_pkindex : InvalidOid;
}

static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		datum = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? NULL : to_utf8(TextDatumGetCString(datum));
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
	RstarText	utf8 = rstar_encoding_to_utf8(string, strlen(string));

	return pnstrdup(utf8.data, utf8.len);
}

void
rstar_task_copy(RstarTask *to, const RstarTask *from)
{
	*to = *from;
	to->query_type = copy_string(from->query_type);
	to->doc_type = copy_string(from->doc_type);
	to->relevance_definition = copy_string(from->relevance_definition);
	to->template = copy_string(from->template);
	to->scale = copy_string(from->scale);
	to->answer = copy_string(from->answer);
}

static char *
copy_string(const char *string)
{
	return string != NULL ? pstrdup(string) : NULL;
}

void
rstar_task_free(RstarTask *task)
{
	char	   *strings[] = {
		task->query_type, task->doc_type, task->relevance_definition,
		task->template, task->scale, task->answer
	};

	for (size_t i = 0; i < lengthof(strings); i++)
	{
		if (strings[i] != NULL)
			pfree(strings[i]);
	}
}

void
rstar_task_check(const char *name, const char *template, const char *scale, const char *answer)
{
	RstarFormFault fault;
	RstarForm	form;

	if (template == NULL && scale == NULL && answer == NULL)
		return;
	if (template == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("task \"%s\" has a scale or an answer, but no template", name),
				 errdetail("Without a template the prompt is Retro*'s, which asks for \"%s\" on a scale of %s.",
						   RETRO_ANSWER, RETRO_SCALE),
				 errhint("Give the task a template, or NULL for scale and answer.")));
	check_template(name, template);
	scale = scale != NULL ? scale : RETRO_SCALE;
	answer = answer != NULL ? answer : RETRO_ANSWER;
	fault = rstar_template_form(rstar_text(answer), rstar_text(scale), &form);
	if (fault != RSTAR_FORM_GOOD)
		raise_form(name, fault, scale, answer);
}

static void
check_template(const char *name, const char *template)
{
	static const char places[] = "Write {query} and {document} where these belong, once each.";
	RstarTemplateReport report;

	switch (rstar_template_check(rstar_text(template), &report))
	{
		case RSTAR_TEMPLATE_GOOD:
			break;
		case RSTAR_TEMPLATE_TOO_LONG:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("template of task \"%s\" is too long", name),
					 errdetail("It has %zu bytes, at most %d are accepted.",
							   strlen(template), RSTAR_TEMPLATE_LEN)));
			break;
		case RSTAR_TEMPLATE_BRACE:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("template of task \"%s\" has a brace that belongs to no place", name),
					 errdetail("It is the first one of \"%s\".", shown(report.at)),
					 errhint("Places are {query}, {document}, {relevance_definition}, {query_type} and {doc_type}; "
							 "a brace that is meant as such is written twice.")));
			break;
		case RSTAR_TEMPLATE_LACKS:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("template of task \"%s\" lacks the place {%s}", name,
							rstar_template_place(report.place)),
					 errhint("%s", places)));
			break;
		case RSTAR_TEMPLATE_TWICE:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("template of task \"%s\" has the place {%s} more than once", name,
							rstar_template_place(report.place)),
					 errhint("%s", places)));
			break;
	}
}

/* The beginning of it, as whole characters, for a message */
static char *
shown(RstarText text)
{
	return rstar_encoding_from_utf8(text.data,
									pg_encoding_mbcliplen(PG_UTF8, text.data, text.len,
														  Min(text.len, SHOWN_LEN)));
}

static void
raise_form(const char *name, RstarFormFault fault, const char *scale, const char *answer)
{
	static const char *const details[] = {
		[RSTAR_FORM_EMPTY] = "The second number must be more than the first one.",
		[RSTAR_FORM_PLACE] = "It must have the place {score} once, and no other; a brace that is meant as such is written twice.",
		[RSTAR_FORM_BEFORE] = "Something must stand before the place {score}.",
		[RSTAR_FORM_TOO_LONG] = "It is too long."
	};
	const char *detail = fault != RSTAR_FORM_SCALE ? details[fault] : NULL;
	bool		is_scale = fault == RSTAR_FORM_SCALE || fault == RSTAR_FORM_EMPTY;
	const char *value = is_scale ? scale : answer;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" of task \"%s\" is not valid", is_scale ? "scale" : "answer",
					shown(rstar_text(value)), name),
			 detail ? errdetail("%s", detail) : 0,
			 is_scale ? errhint("Write it as 0..10, or as 0.0..10.0 where answers may have a fraction.") :
			 errhint("Write it as <answer>{score}</answer>, in at most %d bytes.", RSTAR_FORM_LEN)));
}
