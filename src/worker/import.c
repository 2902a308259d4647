/*-------------------------------------------------------------------------
 *
 * import.c
 *		What hubs know comes into our table.
 *
 * After the requests were answered, and before what they may have been sent
 * for is stored: that is appended.  The hub has the rows: what cannot be
 * stored for long is given up.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "shared/cache.h"
#include "worker/import.h"

/* Rows of one transaction, and rows that wait for theirs */
#define BATCH 1000
#define MAX_WAITING 20000

/* us: requests that the hub answers come first */
#define STORE_DELAY INT64CONST(100000)

/* us */
#define RETRY_FIRST INT64CONST(100000)
#define RETRY_MAX INT64CONST(10000000)

static RstarMergeRow *rows = NULL;
static int	nrows = 0;
static int	room = 0;
static MemoryContext context = NULL;	/* of what rows point to */
static int64 due = 0;			/* us */
static int64 delay = 0;
static bool failing = false;	/* and that has been said */

static bool store_rows(RstarMergeRow *from, int n);
static void clear(void);

void
rstar_import_add(const RstarMergeRow *row)
{
	MemoryContext old;
	RstarMergeRow *mine;

	if (nrows == MAX_WAITING)
		clear();
	if (nrows == 0)
		due = rstar_clock() + STORE_DELAY;
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "retrostar import", ALLOCSET_DEFAULT_SIZES);
	if (nrows == room)
	{
		room = Max(room * 2, BATCH);
		rows = rows ? repalloc(rows, room * sizeof(RstarMergeRow)) :
			MemoryContextAlloc(TopMemoryContext, room * sizeof(RstarMergeRow));
	}
	mine = &rows[nrows++];
	*mine = *row;
	old = MemoryContextSwitchTo(context);
	mine->model = pstrdup(row->model);
	if (row->nscores > 0)
	{
		uint8	   *scores = palloc(row->nscores);

		memcpy(scores, row->scores, row->nscores);
		mine->scores = scores;
	}
	MemoryContextSwitchTo(old);
}

int64
rstar_import_wake(void)
{
	return nrows > 0 ? due : PG_INT64_MAX;
}

void
rstar_import_turn(int64 now, bool at_once)
{
	int			done = 0;

	/* On a standby they come by replication, if at all */
	if (nrows > 0 && RecoveryInProgress())
		clear();
	if (nrows == 0 || (now < due && (!at_once || delay > 0)))
		return;
	pgstat_report_activity(STATE_RUNNING, "storing scores of other nodes");
	while (done < nrows && store_rows(rows + done, Min(nrows - done, BATCH)))
		done += Min(nrows - done, BATCH);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (done == nrows)
	{
		clear();
		delay = 0;
		return;
	}
	if (delay == RETRY_MAX)
	{
		clear();
		delay = 0;
		return;
	}
	memmove(rows, rows + done, (nrows - done) * sizeof(RstarMergeRow));
	nrows -= done;
	delay = Min(Max(delay * 2, RETRY_FIRST), RETRY_MAX);
	due = now + delay;
}

/* As the store of our own answers: nobody's lock on the table stops the network loop */
static bool
store_rows(RstarMergeRow *from, int n)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool stored = true;

	PG_TRY();
	{
		Oid			table;

		StartTransactionCommand();
		table = rstar_cache_table();
		if (OidIsValid(table) && !ConditionalLockRelationOid(table, RowExclusiveLock))
			stored = false;
		else if (OidIsValid(table))
		{
			RstarMergeRow *copies = palloc(n * sizeof(RstarMergeRow));

			for (int i = 0; i < n; i++)
			{
				copies[i] = from[i];
				copies[i].model = pg_any_to_server(from[i].model, strlen(from[i].model), PG_UTF8);
			}
			(void) rstar_merge_rows(copies, n, false);
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		stored = false;
		if (failing)
			FlushErrorState();
		else
		{
			ErrorData  *error = CopyErrorData();

			FlushErrorState();
			HOLD_INTERRUPTS();
			ereport(LOG,
					(errcode(error->sqlerrcode),
					 errmsg("could not store scores of another node: %s", error->message),
					 errhint("Storing them is tried again.")));
			RESUME_INTERRUPTS();
			FreeErrorData(error);
		}
		failing = true;
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	if (stored)
		failing = false;
	return stored;
}

static void
clear(void)
{
	nrows = 0;
	if (context != NULL)
		MemoryContextReset(context);
}
