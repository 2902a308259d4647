/*-------------------------------------------------------------------------
 *
 * cache_scan.c
 *		The cache table, open for look-ups: a direct index scan.
 *
 * To open and close it costs more than a look-up, so it stays open from one to
 * the next: relations with their locks and the scan, but no snapshot and no
 * pin, while one executor runs.  It is closed before anybody waits, before
 * another command begins (which may alter the table, also in this session), at
 * the end of the executor, and after some look-ups in any case.  Whoever wants
 * the table for himself waits for a statement whose client does not read on, as
 * he would for a SELECT from it.
 *
 * What is open belongs to the transaction, not to the portal or function that
 * happens to run, and is closed before a subtransaction begins or ends.  After
 * an error nobody knows how far a look-up had come: then only the relations are
 * closed.  Its snapshot and pins have gone with whom they belonged to.
 *
 * A look-up reads under a catalog snapshot taken at this moment.  The active
 * snapshot would miss what the worker stored since it was taken, so a
 * REPEATABLE READ transaction would ask for the same pair again and again;
 * GetLatestSnapshot() raises an error in the leader of a parallel query.
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
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "shared/cache_scan.h"
#include "shared/cache_table.h"

/* Look-ups until the table is closed for a moment */
#define MAX_LOOKUPS 1024

/* All zero: closed */
static struct
{
	MemoryContext context;		/* of scan and slot; NULL: nothing is open */
	Relation	table;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	Snapshot	snapshot;		/* of the look-up under way, or NULL */
	ScanKeyData scan_key;
	union
	{
		char		data[VARHDRSZ + sizeof(RstarKey)];
		int32		align;
	}			key;			/* what scan_key points to */
	int			lookups;
	bool		busy;			/* between find and done, or an error came
								 * there */
}			cache;

static bool keeps = false;

static bool open_cache(void);
static bool open_relations(void);
static void begin_scan(void);
static void raise_no_key(void);
static void close_cache(bool whole);
static void transaction_ends(XactEvent event, void *arg);
static void subtransaction_changes(SubXactEvent event, SubTransactionId mine,
								   SubTransactionId parent, void *arg);

TupleTableSlot *
rstar_cache_scan_find(const RstarKey *key)
{
	MemoryContext old;
	bool		found;

	if (cache.busy)
		close_cache(false);
	if (cache.context == NULL && !open_cache())
		return NULL;
	cache.busy = true;
	cache.lookups++;
	memcpy(VARDATA(cache.key.data), key->bytes, sizeof(RstarKey));
	cache.snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(cache.table)));
	/* From PostgreSQL 18 on the index looks at it when a scan begins anew */
	cache.scan->xs_snapshot = cache.snapshot;
	index_rescan(cache.scan, &cache.scan_key, 1, NULL, 0);
	/* What the index keeps for its next scan must last as long as that */
	old = MemoryContextSwitchTo(cache.context);
	found = index_getnext_slot(cache.scan, ForwardScanDirection, cache.slot);
	MemoryContextSwitchTo(old);
	return found ? cache.slot : NULL;
}

void
rstar_cache_scan_done(void)
{
	if (cache.context == NULL)
		return;
	ExecClearTuple(cache.slot);
	/* lets go of the pages */
	index_rescan(cache.scan, &cache.scan_key, 1, NULL, 0);
	cache.scan->xs_snapshot = SnapshotAny;
	UnregisterSnapshot(cache.snapshot);
	cache.snapshot = NULL;
	cache.busy = false;
	if (!keeps || cache.lookups >= MAX_LOOKUPS)
		close_cache(true);
}

void
rstar_cache_scan_keep(bool keep)
{
	keeps = keep;
}

void
rstar_cache_scan_rest(void)
{
	if (cache.context != NULL)
		close_cache(!cache.busy);
}

/* False: it cannot be read now, and has no rows for us */
static bool
open_cache(void)
{
	static bool registered = false;
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;
	volatile bool readable = false;

	if (!registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_changes, NULL);
	}
	registered = true;
	cache.context = AllocSetContextCreate(TopTransactionContext, "retrostar cache",
										  ALLOCSET_DEFAULT_SIZES);
	cache.busy = true;
	old = MemoryContextSwitchTo(cache.context);
	PG_TRY();
	{
		CurrentResourceOwner = TopTransactionResourceOwner;
		readable = open_relations();
		if (readable)
			begin_scan();
	}
	PG_FINALLY();
	{
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	cache.busy = false;
	if (!readable)
		close_cache(true);
	return readable;
}

static bool
open_relations(void)
{
	Oid			table_oid = rstar_cache_table();
	Oid			index_oid;

	/* Also when it was dropped while we waited for its lock */
	if (OidIsValid(table_oid))
		cache.table = try_relation_open(table_oid, AccessShareLock);
	if (cache.table != NULL)
		rstar_cache_check_kind(cache.table);
	index_oid = cache.table ? rstar_cache_index() : InvalidOid;
	/* A table that was put in the place of another does not have its index */
	if (!OidIsValid(index_oid) || IndexGetRelation(index_oid, true) != table_oid)
		raise_no_key();
	rstar_cache_check_columns(cache.table);
	/* What is not logged is not on a standby */
	if (cache.table->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && RecoveryInProgress())
		return false;
	cache.index = index_open(index_oid, AccessShareLock);
	if (!cache.index->rd_index->indisprimary || cache.index->rd_rel->relam != BTREE_AM_OID ||
		cache.index->rd_index->indnkeyatts != 1 ||
		cache.index->rd_index->indkey.values[0] != RSTAR_CACHE_COL_KEY)
		raise_no_key();
	return true;
}

static void
begin_scan(void)
{
	SET_VARSIZE(cache.key.data, sizeof(cache.key.data));
	ScanKeyInit(&cache.scan_key, 1, BTEqualStrategyNumber, F_BYTEAEQ,
				PointerGetDatum(cache.key.data));
	cache.scan = rstar_index_beginscan(cache.table, cache.index, SnapshotAny, 1);
	/* A copy of the descriptor: no count of its users has to be kept */
	cache.slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(cache.table)),
										  table_slot_callbacks(cache.table));
}

static void
raise_no_key(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table \"%s.%s\" or its primary key does not exist",
					RSTAR_CACHE_SCHEMA, RSTAR_CACHE_TABLE),
			 errhint("Create the extension again.")));
}

/* Not "whole": after an error, the relations only */
static void
close_cache(bool whole)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = TopTransactionResourceOwner;
	if (cache.scan != NULL && whole)
	{
		ExecDropSingleTupleTableSlot(cache.slot);
		index_endscan(cache.scan);
	}
	else if (cache.scan != NULL)
		RelationDecrementReferenceCount(cache.index);
	if (cache.index != NULL)
		index_close(cache.index, AccessShareLock);
	if (cache.table != NULL)
		table_close(cache.table, AccessShareLock);
	CurrentResourceOwner = owner;
	MemoryContextDelete(cache.context);
	memset(&cache, 0, sizeof(cache));
}

static void
transaction_ends(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			rstar_cache_scan_rest();
			break;
		default:
			/* What it owned has gone, or goes with the transaction */
			memset(&cache, 0, sizeof(cache));
			break;
	}
}

static void
subtransaction_changes(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
					   void *arg)
{
	if (cache.context != NULL)
		close_cache(!cache.busy && event != SUBXACT_EVENT_ABORT_SUB);
}
