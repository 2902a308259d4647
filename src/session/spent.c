/*-------------------------------------------------------------------------
 *
 * spent.c
 *		What is used of a budget, as the table retrostar.usage says.
 *
 * Without SPI: plans are explained where no snapshot is active, too
 * (auto_explain), and where nobody expects that a statement is run.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "session/spent.h"
#include "shared/cache.h"
#include "shared/usage.h"

/* Columns of the table, in the order of the install script */
enum
{
	COLUMN_HOUR = 1,
	COLUMN_ROLE = 2,
	COLUMN_SERVER = 4,
	COLUMN_SAMPLES = 8,
	COLUMN_PROMPT_TOKENS = 9,
	COLUMN_COMPLETION_TOKENS = 11
};

static bool has_columns(Relation table);
static void read_table(Relation table, const RstarBudget *budget, RstarSpending *spent);
static bool counts(TupleTableSlot *row, const RstarBudget *budget, const char *server);
static Datum column(TupleTableSlot *row, int n);

bool
rstar_spent_read(const RstarBudget *budget, RstarSpending *spent)
{
	Oid			schema = get_namespace_oid(RSTAR_CACHE_SCHEMA, true);
	Oid			oid = OidIsValid(schema) ? get_relname_relid(RSTAR_USAGE_TABLE, schema) : InvalidOid;
	Relation	table;
	bool		well;

	memset(spent, 0, sizeof(RstarSpending));
	/* As the worker has it: nothing is used where nothing is counted */
	if (!OidIsValid(oid))
		return true;
	if (!ConditionalLockRelationOid(oid, AccessShareLock))
		return false;
	table = try_relation_open(oid, NoLock);
	if (table == NULL)
		return true;
	well = has_columns(table);
	if (well)
		read_table(table, budget, spent);
	relation_close(table, AccessShareLock);
	return well;
}

static bool
has_columns(Relation table)
{
	static const struct
	{
		int			n;
		Oid			type;
	}			columns[] = {
		{COLUMN_HOUR, TIMESTAMPTZOID},
		{COLUMN_ROLE, OIDOID},
		{COLUMN_SERVER, TEXTOID},
		{COLUMN_SAMPLES, INT8OID},
		{COLUMN_PROMPT_TOKENS, INT8OID},
		{COLUMN_COMPLETION_TOKENS, INT8OID}
	};
	TupleDesc	desc = RelationGetDescr(table);
	bool		good = table->rd_rel->relkind == RELKIND_RELATION;

	for (int i = 0; good && i < lengthof(columns); i++)
		good = columns[i].n <= desc->natts &&
			TupleDescAttr(desc, columns[i].n - 1)->atttypid == columns[i].type;
	return good;
}

static void
read_table(Relation table, const RstarBudget *budget, RstarSpending *spent)
{
	ForeignServer *object = OidIsValid(budget->serverid) ?
		GetForeignServerExtended(budget->serverid, FSV_MISSING_OK) : NULL;
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(table)));
	TupleTableSlot *row = table_slot_create(table, NULL);
	TableScanDesc scan = rstar_table_beginscan(table, snapshot);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		CHECK_FOR_INTERRUPTS();
		if (!counts(row, budget, object != NULL ? object->servername : NULL))
			continue;
		spent->samples += DatumGetInt64(column(row, COLUMN_SAMPLES));
		spent->tokens += DatumGetInt64(column(row, COLUMN_PROMPT_TOKENS)) +
			DatumGetInt64(column(row, COLUMN_COMPLETION_TOKENS));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	UnregisterSnapshot(snapshot);
}

static bool
counts(TupleTableSlot *row, const RstarBudget *budget, const char *server)
{
	TimestampTz hour = DatumGetTimestampTz(column(row, COLUMN_HOUR));

	if (hour < budget->starts || hour >= budget->ends)
		return false;
	if (OidIsValid(budget->serverid))
	{
		Datum		value = column(row, COLUMN_SERVER);
		text	   *name = value != (Datum) 0 ? DatumGetTextPP(value) : NULL;

		if (server == NULL || name == NULL || VARSIZE_ANY_EXHDR(name) != strlen(server) ||
			memcmp(VARDATA_ANY(name), server, strlen(server)) != 0)
			return false;
	}
	return !OidIsValid(budget->role) ||
		is_member_of_role_nosuper(DatumGetObjectId(column(row, COLUMN_ROLE)), budget->role);
}

/* Its columns have no nulls, unless somebody has altered it: then it is 0 */
static Datum
column(TupleTableSlot *row, int n)
{
	bool		isnull;
	Datum		value = slot_getattr(row, n, &isnull);

	return isnull ? (Datum) 0 : value;
}
