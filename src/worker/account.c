/*-------------------------------------------------------------------------
 *
 * account.c
 *		Usage is written into the table retrostar.usage, and read from it for
 *		budgets.
 *
 * Written in the transaction of the store, an entry for each role, server, hour
 * and priority: a store of hundreds of answers changes a row or two.  Whatever
 * is done to the table, scores are stored: what fails here is tried again
 * apart from them, at growing intervals, and usage.c keeps it meanwhile.
 *
 * The worker alone writes the table.  So between two stores of its own what
 * the table has and what the map holds are all that there is, and a budget
 * that is read then misses nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "shared/cache.h"
#include "shared/usage.h"
#include "worker/account.h"

#define SCHEMA_NAME RSTAR_CACHE_SCHEMA
#define TABLE_NAME RSTAR_USAGE_TABLE

/* After a failure it is tried again, at growing intervals (us) */
#define RETRY_FIRST INT64CONST(1000000)
#define RETRY_MAX INT64CONST(60000000)

/* While somebody has the table locked, it is looked so often (us) */
#define LOCKED_DELAY INT64CONST(100000)

/*
 * Who has it locked may wait for a budget that is to be read from it, which no
 * deadlock check sees: after so long (us) it cannot be read
 */
#define LOCKED_MAX INT64CONST(5000000)

#define NCOLUMNS 12

/* One of the table */
typedef struct Row
{
	RstarUsage	usage;
	char	   *server;
} Row;

/* What the store under way is to write */
static struct
{
	MemoryContext context;
	RstarUsage *usage;			/* of the answers, and then ... */
	int			nfresh;
	int			n;				/* ... what usage.c had */
	RstarAccounts accounts;
	bool		tried;			/* in this transaction */
	bool		writing;		/* an error now is ours */
}			store;

static bool failing = false;	/* and that has been said */
static bool dropped_said = false;
static int64 retry_at = 0;
static int64 retry_delay = 0;

/* Memberships have changed, or may have before we came: who pays into which budget */
static bool members_changed = true;

static void members_callback(Datum arg, int cacheid, uint32 hashvalue);
static void add_fresh(const RstarUsage *usage);
static void match_budgets(void);
static void spend(RstarBudgetSlot *slots, int n, Oid role, Oid serverid, TimestampTz hour,
				  const RstarSpending *spending);
static void write_as_owner(Oid table_oid);
static void check_table(Relation table);
static int	write_rows(void);
static int	add_row(Row *rows, int n, const RstarUsage *usage);
static Datum *row_values(const Row *rows, int n);
static SPIPlanPtr statement(void);
static char *role_name(Oid role);
static char *server_name(Oid serverid);
static const char *priority_name(RstarPriority priority);
static Oid	usage_table(void);
static bool read_slots(RstarBudgetSlot *slots, int n);
static void read_stored(Oid owner, RstarBudgetSlot *slot);
static void log_unreadable(void);

void
rstar_account_init(void)
{
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, members_callback, (Datum) 0);
}

static void
members_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	members_changed = true;
}

void
rstar_account_begin(const RstarAnswered *answers, int n)
{
	RstarUsage *unwritten;
	int			nunwritten;

	memset(&store, 0, sizeof(store));
	store.context = CurrentMemoryContext;
	unwritten = rstar_usage_unwritten(&nunwritten);
	store.usage = palloc((n + nunwritten) * sizeof(RstarUsage));
	for (int i = 0; i < n; i++)
	{
		if (!answers[i].accounted)
			add_fresh(&answers[i].usage);
	}
	store.nfresh = store.n;
	for (int i = 0; i < nunwritten; i++)
		store.usage[store.n++] = unwritten[i];
	store.accounts.unwritten = unwritten;
	store.accounts.nunwritten = nunwritten;
}

/* Few differ: most are of one role, server, hour */
static void
add_fresh(const RstarUsage *usage)
{
	for (int i = 0; i < store.n; i++)
	{
		if (rstar_usage_same(&store.usage[i], usage))
		{
			rstar_usage_sum(&store.usage[i], usage);
			return;
		}
	}
	store.usage[store.n++] = *usage;
}

const RstarAccounts *
rstar_account_end(void)
{
	return &store.accounts;
}

bool
rstar_account_writing(void)
{
	return store.writing;
}

int64
rstar_account_due(void)
{
	return retry_at;
}

void
rstar_account_write(void)
{
	Oid			table;

	store.writing = true;
	match_budgets();
	store.tried = store.n > 0 && (retry_at == 0 || rstar_clock() >= retry_at);
	store.accounts.no_table = false;
	if (store.tried)
	{
		table = usage_table();
		store.accounts.no_table = !OidIsValid(table);
		if (store.accounts.no_table)
			store.tried = false;
		else if (ConditionalLockRelationOid(table, RowExclusiveLock))
			write_as_owner(table);
		else
			store.tried = false;
		/* Locked, or dropped just now: soon */
		if (!store.tried && !store.accounts.no_table)
			retry_at = rstar_clock() + LOCKED_DELAY;
	}
	store.writing = false;
}

/* Outside of a transaction */
void
rstar_account_done(void)
{
	if (store.accounts.no_table && !dropped_said)
		ereport(LOG,
				(errmsg("table \"%s.%s\" does not exist", SCHEMA_NAME, TABLE_NAME),
				 errdetail("Usage is not counted any more; budgets count from the start of the server."),
				 errhint("Create the extension again.")));
	dropped_said = store.accounts.no_table;
	if (!store.tried)
		return;
	store.accounts.written = true;
	if (failing)
		ereport(LOG, (errmsg("storing usage works again")));
	failing = false;
	retry_at = retry_delay = 0;
}

void
rstar_account_failed(ErrorData *error)
{
	if (!failing)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not store usage: %s", error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0,
				 errhint("Scores are stored without it.  It is kept in memory, and storing it is tried again.")));
	failing = true;
	store.writing = store.tried = false;
	retry_delay = Min(Max(retry_delay * 2, RETRY_FIRST), RETRY_MAX);
	retry_at = rstar_clock() + retry_delay;
}

/* What the answers cost those budgets that are known; not what was put down before */
static void
match_budgets(void)
{
	MemoryContext old = MemoryContextSwitchTo(store.context);
	int			n;
	RstarBudgetSlot *slots = rstar_budget_slots(false, &n);

	MemoryContextSwitchTo(old);
	for (int i = 0; i < store.nfresh && n > 0; i++)
	{
		const RstarUsage *usage = &store.usage[i];
		RstarSpending spending = {usage->samples, usage->prompt_tokens + usage->completion_tokens};

		spend(slots, n, usage->role, usage->serverid, usage->hour, &spending);
	}
	store.accounts.charges = slots;
	store.accounts.ncharges = n;
}

/* InvalidOid for a server that is gone: it counts where all servers do */
static void
spend(RstarBudgetSlot *slots, int n, Oid role, Oid serverid, TimestampTz hour,
	  const RstarSpending *spending)
{
	for (int i = 0; i < n; i++)
	{
		RstarBudgetSlot *slot = &slots[i];

		if (hour < slot->starts || hour >= slot->ends ||
			(OidIsValid(slot->serverid) && slot->serverid != serverid) ||
			(OidIsValid(slot->role) && !is_member_of_role_nosuper(role, slot->role)))
			continue;
		slot->spending.samples += spending->samples;
		slot->spending.tokens += spending->tokens;
	}
}

static Oid
usage_table(void)
{
	Oid			schema = get_namespace_oid(SCHEMA_NAME, true);

	return OidIsValid(schema) ? get_relname_relid(TABLE_NAME, schema) : InvalidOid;
}

/* As the scores are: what its owner put on the table runs as the owner */
static void
write_as_owner(Oid table_oid)
{
	Relation	table = try_relation_open(table_oid, NoLock);
	Oid			user;
	int			context;
	int			nest_level;
	int			missing;

	if (table == NULL)
	{
		store.tried = false;
		return;
	}
	check_table(table);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner,
						   context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	relation_close(table, NoLock);
	nest_level = NewGUCNestLevel();
	PushActiveSnapshot(GetTransactionSnapshot());
	missing = write_rows();
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
	if (missing > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" does not take all rows", SCHEMA_NAME, TABLE_NAME),
				 errdetail("A trigger on the table has dropped %d of %d rows.", missing, store.n)));
}

static void
check_table(Relation table)
{
	if (table->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s.%s\" is not a table", SCHEMA_NAME, TABLE_NAME)));
	if (table->rd_rules != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s.%s\" has rules", SCHEMA_NAME, TABLE_NAME)));
}

/*
 * Returns how many the table did not take.  One command cannot change a row
 * twice, so what is the same by its names is added up.
 */
static int
write_rows(void)
{
	Row		   *rows = palloc(store.n * sizeof(Row));
	int			n = 0;

	for (int i = 0; i < store.n; i++)
		n = add_row(rows, n, &store.usage[i]);

	SPI_connect();
	if (SPI_execute_plan(statement(), row_values(rows, n), NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not store usage");
	n -= (int) SPI_processed;
	SPI_finish();
	return n;
}

/* Returns how many there are now */
static int
add_row(Row *rows, int n, const RstarUsage *usage)
{
	char	   *server = server_name(usage->serverid);

	for (int i = 0; i < n; i++)
	{
		RstarUsage *other = &rows[i].usage;

		if (other->role == usage->role && other->hour == usage->hour &&
			other->priority == usage->priority && strcmp(rows[i].server, server) == 0)
		{
			rstar_usage_sum(other, usage);
			return n;
		}
	}
	rows[n].usage = *usage;
	rows[n].server = server;
	return n + 1;
}

/* The parameters of the statement: an array for each column */
static Datum *
row_values(const Row *rows, int n)
{
	Datum	   *values = palloc(NCOLUMNS * sizeof(Datum));
	Datum	   *columns[NCOLUMNS];

	for (int i = 0; i < NCOLUMNS; i++)
		columns[i] = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		const RstarUsage *usage = &rows[i].usage;

		columns[0][i] = TimestampTzGetDatum(usage->hour);
		columns[1][i] = ObjectIdGetDatum(usage->role);
		columns[2][i] = CStringGetTextDatum(role_name(usage->role));
		columns[3][i] = CStringGetTextDatum(rows[i].server);
		columns[4][i] = CStringGetTextDatum(priority_name(usage->priority));
		columns[5][i] = Int64GetDatum(usage->pairs);
		columns[6][i] = Int64GetDatum(usage->failures);
		columns[7][i] = Int64GetDatum(usage->samples);
		columns[8][i] = Int64GetDatum(usage->prompt_tokens);
		columns[9][i] = Int64GetDatum(usage->cached_tokens);
		columns[10][i] = Int64GetDatum(usage->completion_tokens);
		columns[11][i] = Int64GetDatum(usage->elapsed_us);
	}
	for (int i = 0; i < NCOLUMNS; i++)
	{
		if (i == 0)
			values[i] = PointerGetDatum(construct_array(columns[i], n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		else if (i == 1)
			values[i] = PointerGetDatum(construct_array(columns[i], n, OIDOID, 4, true, TYPALIGN_INT));
		else if (i < 5)
			values[i] = PointerGetDatum(construct_array(columns[i], n, TEXTOID, -1, false, TYPALIGN_INT));
		else
			values[i] = PointerGetDatum(construct_array(columns[i], n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	}
	return values;
}

/* Prepared once */
static SPIPlanPtr
statement(void)
{
	static SPIPlanPtr plan = NULL;
	static const char *const command =
		"INSERT INTO " SCHEMA_NAME "." TABLE_NAME " AS t"
		" (hour, role, rolname, server, priority, pairs, failures, samples,"
		" prompt_tokens, cached_tokens, completion_tokens, seconds)"
		" SELECT u.hour, u.role, u.rolname::pg_catalog.name, u.server, u.priority, u.pairs, u.failures, u.samples,"
		" u.p, u.cached, u.c, u.us::pg_catalog.float8 OPERATOR(pg_catalog./) 1e6::pg_catalog.float8"
		" FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
		" pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9),"
		" pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12))"
		" AS u (hour, role, rolname, server, priority, pairs, failures, samples, p, cached, c, us)"
		" ON CONFLICT (hour, role, server, priority) DO UPDATE SET"
		" rolname = EXCLUDED.rolname,"
		" pairs = t.pairs OPERATOR(pg_catalog.+) EXCLUDED.pairs,"
		" failures = t.failures OPERATOR(pg_catalog.+) EXCLUDED.failures,"
		" samples = t.samples OPERATOR(pg_catalog.+) EXCLUDED.samples,"
		" prompt_tokens = t.prompt_tokens OPERATOR(pg_catalog.+) EXCLUDED.prompt_tokens,"
		" cached_tokens = t.cached_tokens OPERATOR(pg_catalog.+) EXCLUDED.cached_tokens,"
		" completion_tokens = t.completion_tokens OPERATOR(pg_catalog.+) EXCLUDED.completion_tokens,"
		" seconds = t.seconds OPERATOR(pg_catalog.+) EXCLUDED.seconds";
	Oid			types[NCOLUMNS] = {TIMESTAMPTZARRAYOID, OIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID};

	if (plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare(command, NCOLUMNS, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the statement that stores usage");
		plan = made;
	}
	return plan;
}

/* One that has gone before its first usage was written goes by its number */
static char *
role_name(Oid role)
{
	char	   *name = GetUserNameFromId(role, true);

	return name != NULL ? name : psprintf("%u", role);
}

static char *
server_name(Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);

	return server != NULL ? server->servername : psprintf("%u", serverid);
}

static const char *
priority_name(RstarPriority priority)
{
	return priority == RSTAR_PRIORITY_INTERACTIVE ? "interactive" : "background";
}

void
rstar_account_read(void)
{
	static int64 due = 0;
	static int64 locked_since = 0;
	MemoryContext old = CurrentMemoryContext;
	RstarBudgetSlot *slots;
	volatile bool well = true;
	int			n;

	if (members_changed)
	{
		members_changed = false;
		rstar_budget_forget();
	}
	if (rstar_clock() < due)
		return;
	slots = rstar_budget_slots(true, &n);
	if (n == 0)
	{
		locked_since = 0;
		return;
	}
	due = 0;
	PG_TRY();
	{
		StartTransactionCommand();
		if (read_slots(slots, n))
			locked_since = 0;
		else
		{
			locked_since = locked_since > 0 ? locked_since : rstar_clock();
			if (rstar_clock() - locked_since >= LOCKED_MAX)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("table \"%s.%s\" is locked", SCHEMA_NAME, TABLE_NAME),
						 errdetail("Who has locked it may be waiting for the budget.")));
			due = rstar_clock() + LOCKED_DELAY;
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		log_unreadable();
		AbortCurrentTransaction();
		well = false;
		due = locked_since = 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	if (due == 0)
		rstar_budget_read(slots, n, well);
}

/* False: not now, the table is locked.  What is there no table for is not used. */
static bool
read_slots(RstarBudgetSlot *slots, int n)
{
	Oid			table_oid = usage_table();
	Relation	table = NULL;
	RstarUsage *unwritten;
	int			nunwritten;

	if (OidIsValid(table_oid))
	{
		if (!ConditionalLockRelationOid(table_oid, AccessShareLock))
			return false;
		table = try_relation_open(table_oid, NoLock);
	}
	if (table != NULL)
	{
		check_table(table);
		for (int i = 0; i < n; i++)
			read_stored(table->rd_rel->relowner, &slots[i]);
		relation_close(table, NoLock);
	}
	unwritten = rstar_usage_unwritten(&nunwritten);
	for (int i = 0; i < nunwritten; i++)
	{
		const RstarUsage *usage = &unwritten[i];
		RstarSpending spending = {usage->samples, usage->prompt_tokens + usage->completion_tokens};

		spend(slots, n, usage->role, usage->serverid, usage->hour, &spending);
	}
	return true;
}

/* Of its window, by role: who pays into it is known here */
static void
read_stored(Oid owner, RstarBudgetSlot *slot)
{
	Oid			types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID};
	Datum		values[] = {TimestampTzGetDatum(slot->starts), TimestampTzGetDatum(slot->ends), (Datum) 0};
	char		nulls[] = "  n";
	Oid			user;
	int			context;
	int			nest_level = NewGUCNestLevel();

	if (OidIsValid(slot->serverid))
	{
		values[2] = CStringGetTextDatum(server_name(slot->serverid));
		nulls[2] = ' ';
	}
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	if (SPI_execute_with_args("SELECT role, pg_catalog.sum(samples)::pg_catalog.int8,"
							  " pg_catalog.sum(prompt_tokens OPERATOR(pg_catalog.+) completion_tokens)::pg_catalog.int8"
							  " FROM " SCHEMA_NAME "." TABLE_NAME
							  " WHERE hour OPERATOR(pg_catalog.>=) $1 AND hour OPERATOR(pg_catalog.<) $2"
							  " AND ($3 IS NULL OR server OPERATOR(pg_catalog.=) $3) GROUP BY role",
							  3, types, values, nulls, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read usage");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		columns[3];
		RstarSpending spending;

		for (int j = 0; j < lengthof(columns); j++)
		{
			bool		isnull;

			columns[j] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, j + 1, &isnull);
			if (isnull)
				ereport(ERROR,
						(errcode(ERRCODE_DATA_CORRUPTED),
						 errmsg("table \"%s.%s\" has nulls", SCHEMA_NAME, TABLE_NAME)));
		}
		spending.samples = DatumGetInt64(columns[1]);
		spending.tokens = DatumGetInt64(columns[2]);
		spend(slot, 1, DatumGetObjectId(columns[0]), slot->serverid, slot->starts, &spending);
	}
	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, context);
}

/* Who waits for a budget is told to look here */
static void
log_unreadable(void)
{
	ErrorData  *error = CopyErrorData();

	FlushErrorState();
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("could not read usage: %s", error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 errhint("What budgets bound fails until it can be read.")));
	FreeErrorData(error);
}
