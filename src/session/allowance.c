/*-------------------------------------------------------------------------
 *
 * allowance.c
 *		Which budgets count for what this session asks for.
 *
 * The table retrostar.budget is read whole, and what concerns the session's
 * user is kept until it changes.  Its trigger sends an invalidation of the
 * table's relcache entry, as if it had been altered: sessions hear of it when
 * they lock any table next, as each look-up of a pair does.
 *
 * The user is the session's, whatever role is set: SET ROLE and functions with
 * other rights lift no budget.  Superusers are bound as others are.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/encoding.h"
#include "base/period.h"
#include "session/allowance.h"
#include "session/spent.h"
#include "shared/cache.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_BUDGET_TABLE

/* Columns of the table, in the order of the install script */
enum
{
	COLUMN_NAME = 1,
	COLUMN_ROLE,
	COLUMN_SERVER,
	COLUMN_PERIOD,
	COLUMN_SAMPLES,
	COLUMN_TOKENS
};

/* One of the session's user */
typedef struct Own
{
	RstarBudget budget;
	RstarPeriod period;
	char	   *name;
} Own;

static MemoryContext context = NULL;
static bool valid = false;
static uint64 changes = 0;
static Oid	valid_for = InvalidOid; /* user */
static Oid	table_oid = InvalidOid; /* when it was read; or there was none */
static Own *own = NULL;
static int	nown = 0;

/* Of the last request */
static RstarBudget counting[RSTAR_BUDGETS_PER_REQUEST];
static const Own *counting_own[RSTAR_BUDGETS_PER_REQUEST];

static void relation_changed(Datum arg, Oid relid);
static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static void update(void);
static void load(void);
static void read_table(Relation table);
static Relation open_table(void);
static void check_columns(Relation table);
static void read_row(TupleTableSlot *row);
static Datum column(TupleTableSlot *row, int n, bool *isnull);
static bool concerns(const char *role, RstarBudget *budget);
static void set_window(Own *one, TimestampTz now);

void
rstar_allowance_for(RstarSpec *spec)
{
	TimestampTz now;

	spec->budgets = counting;
	spec->nbudgets = 0;
	update();
	if (nown == 0)
		return;
	now = GetCurrentTimestamp();
	for (int i = 0; i < nown; i++)
	{
		Own		   *one = &own[i];

		if (OidIsValid(one->budget.serverid) && one->budget.serverid != spec->serverid)
			continue;
		if (spec->nbudgets == RSTAR_BUDGETS_PER_REQUEST)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("more than %d budgets count for a request", RSTAR_BUDGETS_PER_REQUEST),
					 errhint("Rows of \"%s.%s\" for the role, for roles that it is a member of, and for \"public\" count together.",
							 SCHEMA_NAME, TABLE_NAME)));
		set_window(one, now);
		counting_own[spec->nbudgets] = one;
		counting[spec->nbudgets++] = one->budget;
	}
}

static void
update(void)
{
	if (!valid || valid_for != GetSessionUserId())
		load();
}

/* The one that is now */
static void
set_window(Own *one, TimestampTz now)
{
	int64_t		starts;
	int64_t		ends;

	if (now >= one->budget.starts && now < one->budget.ends)
		return;
	rstar_period_window(&one->period, now, &starts, &ends);
	one->budget.starts = starts;
	one->budget.ends = ends;
}

static void
relation_changed(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || !OidIsValid(table_oid) || relid == table_oid)
		catalog_changed(arg, 0, 0);
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	valid = false;
	changes++;
}

void
rstar_allowance_changed(Oid table)
{
	CacheInvalidateRelcacheByRelid(table);
}

static void
load(void)
{
	Relation	table;
	uint64		before;

	if (context == NULL)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, catalog_changed, (Datum) 0);
		context = AllocSetContextCreate(TopMemoryContext, "retrostar budgets", ALLOCSET_SMALL_SIZES);
	}
	valid = false;
	nown = 0;
	own = NULL;
	MemoryContextReset(context);
	valid_for = GetSessionUserId();
	table = open_table();

	/*
	 * To open it takes up what has changed; what changes from here on is not
	 * read
	 */
	before = changes;
	if (table != NULL)
	{
		read_table(table);
		table_close(table, AccessShareLock);
	}
	valid = before == changes;
}

static void
read_table(Relation table)
{
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(table_oid));
	TupleTableSlot *row = table_slot_create(table, NULL);
	TableScanDesc scan;

	check_columns(table);
	scan = rstar_table_beginscan(table, snapshot);
	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
		read_row(row);
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(row);
	UnregisterSnapshot(snapshot);
}

/* NULL: there is none */
static Relation
open_table(void)
{
	Oid			schema = get_namespace_oid(SCHEMA_NAME, true);
	Relation	table = NULL;

	table_oid = OidIsValid(schema) ? get_relname_relid(TABLE_NAME, schema) : InvalidOid;
	if (OidIsValid(table_oid))
		table = try_relation_open(table_oid, AccessShareLock);
	if (table == NULL)
		table_oid = InvalidOid;
	return table;
}

static void
check_columns(Relation table)
{
	static const Oid types[] = {
		[COLUMN_NAME] = TEXTOID,
		[COLUMN_ROLE] = NAMEOID,
		[COLUMN_SERVER] = TEXTOID,
		[COLUMN_PERIOD] = INTERVALOID,
		[COLUMN_SAMPLES] = INT8OID,
		[COLUMN_TOKENS] = INT8OID
	};
	TupleDesc	desc = RelationGetDescr(table);
	bool		good = table->rd_rel->relkind == RELKIND_RELATION && desc->natts > COLUMN_TOKENS - 1;

	for (int i = COLUMN_NAME; good && i < lengthof(types); i++)
		good = TupleDescAttr(desc, i - 1)->atttypid == types[i];
	if (!good)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" does not have the columns that it was created with",
						SCHEMA_NAME, TABLE_NAME),
				 errhint("Create the extension again.")));
}

static void
read_row(TupleTableSlot *row)
{
	Own			one = {0};
	bool		no_server;
	bool		no_samples;
	bool		no_tokens;
	char	   *role = NameStr(*DatumGetName(column(row, COLUMN_ROLE, NULL)));
	char	   *name = TextDatumGetCString(column(row, COLUMN_NAME, NULL));
	Interval   *interval = DatumGetIntervalP(column(row, COLUMN_PERIOD, NULL));
	Datum		server = column(row, COLUMN_SERVER, &no_server);
	MemoryContext old;

	one.period.months = interval->month;
	one.period.days = interval->day;
	one.period.us = interval->time;
	if (!concerns(role, &one.budget))
		return;
	if (!no_server)
	{
		ForeignServer *object = GetForeignServerByName(TextDatumGetCString(server), true);

		if (object == NULL)
			return;
		one.budget.serverid = object->serverid;
	}
	/* It was written without the trigger that checks it */
	if (rstar_period_wrong(&one.period) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("budget \"%s\" has no valid period", name),
				 errdetail_internal("%s", rstar_period_wrong(&one.period))));
	one.budget.samples = DatumGetInt64(column(row, COLUMN_SAMPLES, &no_samples));
	one.budget.tokens = DatumGetInt64(column(row, COLUMN_TOKENS, &no_tokens));
	if (no_samples)
		one.budget.samples = RSTAR_BUDGET_UNLIMITED;
	if (no_tokens)
		one.budget.tokens = RSTAR_BUDGET_UNLIMITED;
	one.budget.id = hash_bytes_extended((unsigned char *) name, (int) strlen(name), one.budget.role);
	one.budget.id = hash_combine64(one.budget.id, one.budget.serverid);
	one.budget.id = hash_combine64(one.budget.id, (uint64) one.period.months);
	one.budget.id = hash_combine64(one.budget.id, (uint64) one.period.days);
	one.budget.id = hash_combine64(one.budget.id, (uint64) one.period.us);

	old = MemoryContextSwitchTo(context);
	one.name = pstrdup(name);
	own = own == NULL ? palloc(sizeof(Own)) : repalloc(own, (nown + 1) * sizeof(Own));
	own[nown++] = one;
	MemoryContextSwitchTo(old);
}

/* isnull NULL: it may not be */
static Datum
column(TupleTableSlot *row, int n, bool *isnull)
{
	bool		missing;
	Datum		value = slot_getattr(row, n, &missing);

	if (isnull != NULL)
		*isnull = missing;
	else if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s.%s\" has nulls", SCHEMA_NAME, TABLE_NAME)));
	return missing ? (Datum) 0 : value;
}

/* Is the session's user meant?  A role that has gone has no members. */
static bool
concerns(const char *role, RstarBudget *budget)
{
	if (strcmp(role, "public") == 0)
		return true;
	budget->role = get_role_oid(role, true);
	return OidIsValid(budget->role) && is_member_of_role_nosuper(valid_for, budget->role);
}

List *
rstar_allowance_passed(const Oid *servers, const double *samples, int n)
{
	List	   *passed = NIL;

	update();
	for (int i = 0; i < nown; i++)
	{
		Own		   *one = &own[i];
		const RstarBudget *budget = &one->budget;
		double		wanted = 0;
		RstarSpending spent;

		for (int j = 0; j < n; j++)
		{
			if (!OidIsValid(budget->serverid) || budget->serverid == servers[j])
				wanted += samples[j];
		}
		set_window(one, GetCurrentTimestamp());
		if (wanted == 0 || !rstar_spent_read(budget, &spent))
			continue;
		if (budget->samples != RSTAR_BUDGET_UNLIMITED && spent.samples + wanted > budget->samples)
			passed = lappend(passed, psprintf("%s (" INT64_FORMAT " samples left, of %.0f if none is known)", one->name,
											  Max(budget->samples - spent.samples, 0), wanted));
		else if (budget->tokens != RSTAR_BUDGET_UNLIMITED && spent.tokens >= budget->tokens)
			passed = lappend(passed, psprintf("%s (no tokens left)", one->name));
	}
	return passed;
}

void
rstar_allowance_refused(const RstarSpec *spec, const RstarTicket *ticket, RstarResult *result)
{
	const RstarRefusal *refusal = &ticket->refusal;
	const RstarBudget *budget = &spec->budgets[refusal->budget];
	bool		samples = !refusal->tokens;
	char	   *name = counting_own[refusal->budget]->name;
	RstarText	utf8;
	int			len;

	memset(result, 0, sizeof(RstarResult));
	result->status = RSTAR_STATUS_BUDGET;
	if (ticket->allowed == RSTAR_ALLOWED_UNREADABLE)
	{
		result->status = RSTAR_STATUS_BUDGET_UNKNOWN;
		return;
	}
	name = psprintf("Budget \"%s\" allows " INT64_FORMAT " %s until %s: " INT64_FORMAT
					" are used, and " INT64_FORMAT " more may be by what is in work.",
					name, samples ? budget->samples : budget->tokens, samples ? "samples" : "tokens",
					timestamptz_to_str(budget->ends),
					samples ? refusal->used.samples : refusal->used.tokens,
					samples ? refusal->held.samples : refusal->held.tokens);
	utf8 = rstar_encoding_to_utf8(name, strlen(name));
	len = Min(utf8.len, RSTAR_DETAIL_LEN - 1);
	/* No half of a character */
	while (len > 0 && len < utf8.len && ((unsigned char) utf8.data[len] & 0xC0) == 0x80)
		len--;
	memcpy(result->detail, utf8.data, len);
	result->detail[len] = '\0';
}
