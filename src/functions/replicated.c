/*-------------------------------------------------------------------------
 *
 * replicated.c
 *		What logical replication brings into the extension's tables.
 *
 * Triggers of the install script call it that fire for a subscription's apply
 * workers only (ENABLE REPLICA), so other writers pay nothing for them.
 * A restore with --disable-triggers leaves them enabled for everybody; so it is
 * looked at here, too, who writes.
 *
 * A publication FOR ALL TABLES has the tables of the extension in it, and both
 * sides write them: CREATE EXTENSION the built-in tasks, the worker the cache,
 * retrostar.refresh() its log.  A row that is there twice would stop the
 * subscription for good, with all other tables.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "shared/cache.h"

PG_FUNCTION_INFO_V1(retrostar_replicated_task);
PG_FUNCTION_INFO_V1(retrostar_replicated_score);
PG_FUNCTION_INFO_V1(retrostar_replicated_refresh);

static SPIPlanPtr merge_plan(Oid type);
static bool is_replica(void);
static TriggerData *trigger_data(FunctionCallInfo fcinfo);
static HeapTuple new_row(const TriggerData *data);
static bool is_builtin(const TriggerData *data, HeapTuple row);
static bool task_exists(const TriggerData *data, HeapTuple row, bool *equal);

/*
 * Tasks that are built in come with each side's extension.  Of a task of the
 * user's that both sides have, ours stays.
 */
Datum
retrostar_replicated_task(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);
	HeapTuple	row = new_row(data);
	bool		equal;

	if (!is_replica())
		return PointerGetDatum(row);
	if (is_builtin(data, data->tg_trigtuple) || is_builtin(data, row))
		return PointerGetDatum(NULL);
	if (!TRIGGER_FIRED_BY_INSERT(data->tg_event) || !task_exists(data, row, &equal))
		return PointerGetDatum(row);
	if (!equal)
		ereport(LOG,
				(errmsg("task \"%s\" is there already, and the replicated one is not stored",
						SPI_getvalue(row, RelationGetDescr(data->tg_relation), 1)),
				 errdetail("They differ.")));
	return PointerGetDatum(NULL);
}

/*
 * Of two rows of a key the one with more scores stays, or the older one, so
 * that both sides end with the same.  In one statement: our worker may be about
 * to insert the key, too.  An update is brought here only when it would leave
 * the other one (the trigger's condition), which our own statement never does.
 */
Datum
retrostar_replicated_score(PG_FUNCTION_ARGS)
{
	static bool inserting = false;
	TriggerData *data = trigger_data(fcinfo);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	Datum		values[1];

	/* The statement fires this trigger, too */
	if (inserting || !is_replica())
		return PointerGetDatum(new_row(data));
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return PointerGetDatum(NULL);
	values[0] = heap_copy_tuple_as_datum(data->tg_trigtuple, desc);
	SPI_connect();
	inserting = true;
	PG_TRY();
	{
		if (SPI_execute_plan(merge_plan(desc->tdtypeid), values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not store a replicated score");
	}
	PG_FINALLY();
	{
		inserting = false;
	}
	PG_END_TRY();
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* Kept, as long as rows are of this type */
static SPIPlanPtr
merge_plan(Oid type)
{
	static SPIPlanPtr plan = NULL;
	static Oid	type_of_plan = InvalidOid;
	static const char *const command =
		"INSERT INTO " RSTAR_CACHE_SCHEMA "." RSTAR_CACHE_TABLE " AS c"
		" (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated, reasoning)"
		" SELECT ($1).key, ($1).version, ($1).scores, ($1).unscored, ($1).model, ($1).prompt_tokens,"
		" ($1).completion_tokens, ($1).created, ($1).updated, ($1).reasoning"
		" ON CONFLICT (key) DO UPDATE SET"
		" scores = EXCLUDED.scores, unscored = EXCLUDED.unscored, model = EXCLUDED.model,"
		" prompt_tokens = EXCLUDED.prompt_tokens, completion_tokens = EXCLUDED.completion_tokens,"
		" created = EXCLUDED.created, updated = EXCLUDED.updated, reasoning = EXCLUDED.reasoning"
		" WHERE c.version OPERATOR(pg_catalog.=) EXCLUDED.version AND"
		" (pg_catalog.cardinality(EXCLUDED.scores) OPERATOR(pg_catalog.>) pg_catalog.cardinality(c.scores) OR"
		" pg_catalog.cardinality(EXCLUDED.scores) OPERATOR(pg_catalog.=) pg_catalog.cardinality(c.scores) AND"
		" EXCLUDED.created OPERATOR(pg_catalog.<) c.created)";

	if (plan == NULL || type_of_plan != type)
	{
		SPIPlanPtr	made = SPI_prepare(command, 1, &type);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the statement that stores a replicated score");
		if (plan != NULL)
			SPI_freeplan(plan);
		plan = made;
		type_of_plan = type;
	}
	return plan;
}

/* Each side's log is its own: it names processes, and counts its own runs */
Datum
retrostar_replicated_refresh(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo);

	return PointerGetDatum(is_replica() ? NULL : new_row(data));
}

/* Does a subscription write, or who says so? */
static bool
is_replica(void)
{
	return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

static TriggerData *
trigger_data(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		elog(ERROR, "not called for a row by a trigger BEFORE");
	return data;
}

static HeapTuple
new_row(const TriggerData *data)
{
	return TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
}

static bool
is_builtin(const TriggerData *data, HeapTuple row)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		isnull;
	Datum		builtin = SPI_getbinval(row, desc, SPI_fnumber(desc, "builtin"), &isnull);

	return !isnull && DatumGetBool(builtin);
}

/* Is there a task of this name, and is it the same?  Not by columns of the user's. */
static bool
task_exists(const TriggerData *data, HeapTuple row, bool *equal)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	Oid			types[] = {desc->tdtypeid};
	Datum		values[] = {heap_copy_tuple_as_datum(row, desc)};
	bool		exists;
	bool		isnull;

	SPI_connect();
	/* arrays: NULL is like NULL in them */
	if (SPI_execute_with_args("SELECT ARRAY[t.query_type, t.doc_type, t.relevance_definition,"
							  " t.template, t.scale, t.answer] OPERATOR(pg_catalog.=)"
							  " ARRAY[($1).query_type, ($1).doc_type, ($1).relevance_definition,"
							  " ($1).template, ($1).scale, ($1).answer]"
							  " FROM retrostar.task t"
							  " WHERE t.name OPERATOR(pg_catalog.=) ($1).name",
							  1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tasks");
	exists = SPI_processed > 0;
	*equal = exists && DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
												  1, &isnull)) && !isnull;
	SPI_finish();
	return exists;
}
