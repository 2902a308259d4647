/*-------------------------------------------------------------------------
 *
 * version.c
 *		Whether library and SQL objects are of one version.
 *
 * The library is a file that a package replaces, and a restart loads it; the
 * objects of each database stay what they were until ALTER EXTENSION.  Between
 * the two no score is asked for, as keys of pairs may be others: an answer would
 * be paid for twice.
 *
 * What reads and writes no scores works all the same.  A later version adds
 * arguments and columns at the end only, and the functions under the views
 * fill as many as the caller knows.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/version.h"

#define EXTENSION "retrostar"

/* Numbers in a version */
#define NPARTS 3

static bool is_older(const char *version, const char *than);

char *
rstar_version_sql(void)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(EXTENSION));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		version = TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

RstarVersionFault
rstar_version_fault(void)
{
	RstarVersionFault fault = {NULL, NULL};
	char	   *sql = rstar_version_sql();

	if (sql == NULL || strcmp(sql, RSTAR_VERSION) == 0)
		return fault;
	fault.message = psprintf("the library of retrostar is version %s, and the SQL objects in database \"%s\" are version %s",
							 RSTAR_VERSION, get_database_name(MyDatabaseId), sql);
	fault.hint = is_older(sql, RSTAR_VERSION) ? pstrdup("Run: ALTER EXTENSION retrostar UPDATE;") :
		psprintf("Install the library of version %s, and restart PostgreSQL.", sql);
	return fault;
}

/* What is no number counts as 0 */
static bool
is_older(const char *version, const char *than)
{
	int			a[NPARTS] = {0};
	int			b[NPARTS] = {0};

	sscanf(version, "%d.%d.%d", &a[0], &a[1], &a[2]);
	sscanf(than, "%d.%d.%d", &b[0], &b[1], &b[2]);
	for (int i = 0; i < NPARTS; i++)
	{
		if (a[i] != b[i])
			return a[i] < b[i];
	}
	return false;
}

void
rstar_version_require(void)
{
	RstarVersionFault fault = rstar_version_fault();

	if (fault.message != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", fault.message),
				 errhint("%s", fault.hint)));
}
