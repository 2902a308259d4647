/*-------------------------------------------------------------------------
 *
 * cache_table.c
 *		The cache table as it ought to be: is it that?
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "shared/cache_table.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_CACHE_TABLE
#define INDEX_NAME "score_cache_pkey"

static bool is_distributed(Oid table_oid);

Oid
rstar_cache_relation(const char *name)
{
	Oid			schema = get_namespace_oid(SCHEMA_NAME, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

Oid
rstar_cache_table(void)
{
	return rstar_cache_relation(TABLE_NAME);
}

Oid
rstar_cache_index(void)
{
	return rstar_cache_relation(INDEX_NAME);
}

void
rstar_cache_check_kind(Relation table)
{
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table", SCHEMA_NAME, TABLE_NAME)));
}

/*
 * The table may have been altered, or another put in its place: what is not of
 * these types must not be read as if it were.
 */
void
rstar_cache_check_columns(Relation table)
{
	static const Oid types[] = {
		[RSTAR_CACHE_COL_KEY] = BYTEAOID,
		[RSTAR_CACHE_COL_VERSION] = INT2OID,
		[RSTAR_CACHE_COL_SCORES] = INT2ARRAYOID,
		[RSTAR_CACHE_COL_UNSCORED] = INT4OID,
		[RSTAR_CACHE_COL_MODEL] = TEXTOID,
		[RSTAR_CACHE_COL_PROMPT_TOKENS] = INT8OID,
		[RSTAR_CACHE_COL_COMPLETION_TOKENS] = INT8OID,
		[RSTAR_CACHE_COL_CREATED] = TIMESTAMPTZOID,
		[RSTAR_CACHE_COL_UPDATED] = TIMESTAMPTZOID,
		[RSTAR_CACHE_COL_REASONING] = JSONBOID
	};
	TupleDesc	desc = RelationGetDescr(table);

	for (int i = 1; i < lengthof(types); i++)
	{
		if (types[i] != InvalidOid &&
			(desc->natts < i || TupleDescAttr(desc, i - 1)->atttypid != types[i]))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("table \"%s.%s\" does not have the columns that it was created with",
							SCHEMA_NAME, TABLE_NAME),
					 errdetail("Column %d is not of type %s.", i, format_type_be(types[i])),
					 errhint("Create the extension again.")));
	}
}

/* What PostgreSQL, or Citus, would say of the statement does not name the cause */
void
rstar_cache_check_storable(Relation table)
{
	rstar_cache_check_kind(table);
	rstar_cache_check_columns(table);
	if (table->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" has rules", SCHEMA_NAME, TABLE_NAME)));
	if (is_distributed(RelationGetRelid(table)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" has been distributed by Citus", SCHEMA_NAME, TABLE_NAME),
				 errdetail("Nothing is found in it any more, so all pairs are asked for again.")));
}

/* Citus keeps the rows of such a table, of each kind, in other tables */
static bool
is_distributed(Oid table_oid)
{
	Oid			catalog = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	Relation	rel = OidIsValid(catalog) ? try_relation_open(catalog, AccessShareLock) : NULL;
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (rel == NULL)
		return false;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(table_oid));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	relation_close(rel, AccessShareLock);
	return found;
}
