/*-------------------------------------------------------------------------
 *
 * ring.c
 *		Rows read ahead: a queue of copies, with the pairs of their calls.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "prefetch/ring.h"

#define FIRST_SIZE 16

static void grow(RstarRing *ring);
static RstarRow *nth(const RstarRing *ring, int n);
static Size row_bytes(const RstarRow *row);

void
rstar_ring_init(RstarRing *ring, MemoryContext parent, int nsites)
{
	memset(ring, 0, sizeof(RstarRing));
	ring->context = AllocSetContextCreate(parent, "retrostar rows", ALLOCSET_DEFAULT_SIZES);
	ring->nsites = nsites;
}

RstarRow *
rstar_ring_add(RstarRing *ring, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(ring->context);
	RstarRow   *row = palloc0(offsetof(RstarRow, aheads) + ring->nsites * sizeof(RstarAhead));

	row->tuple = ExecCopySlotMinimalTuple(slot);
	if (ring->count == ring->size)
		grow(ring);
	ring->places[(ring->head + ring->count) % ring->size] = row;
	ring->count++;
	ring->bytes += row_bytes(row);
	MemoryContextSwitchTo(old);
	return row;
}

static void
grow(RstarRing *ring)
{
	int			size = Max(ring->size * 2, FIRST_SIZE);
	RstarRow  **places = palloc(size * sizeof(RstarRow *));

	for (int i = 0; i < ring->count; i++)
		places[i] = nth(ring, i);
	if (ring->places)
		pfree(ring->places);
	ring->places = places;
	ring->size = size;
	ring->head = 0;
}

static Size
row_bytes(const RstarRow *row)
{
	return GetMemoryChunkSpace((void *) row) + GetMemoryChunkSpace(row->tuple) + row->query_bytes;
}

/* The rows in the ring, 0 being the oldest */
static RstarRow *
nth(const RstarRing *ring, int n)
{
	return ring->places[(ring->head + n) % ring->size];
}

RstarRow *
rstar_ring_back(const RstarRing *ring, int64 n)
{
	return n < ring->count ? nth(ring, ring->count - 1 - n) : NULL;
}

RstarRow *
rstar_ring_take(RstarRing *ring)
{
	RstarRow   *row = nth(ring, 0);

	ring->head = (ring->head + 1) % ring->size;
	ring->count--;
	ring->bytes -= row_bytes(row);
	return row;
}

void
rstar_ring_drop_last(RstarRing *ring)
{
	RstarRow   *row = nth(ring, ring->count - 1);

	rstar_score_forget(row->aheads, ring->nsites);
	ring->count--;
	ring->bytes -= row_bytes(row);
	rstar_ring_free_row(ring, row);
}

void
rstar_ring_forget(RstarRing *ring)
{
	for (int i = 0; i < ring->count; i++)
	{
		RstarRow   *row = nth(ring, i);

		rstar_score_forget(row->aheads, ring->nsites);
		for (int k = 0; k < ring->nsites; k++)
			row->aheads[k].valid = false;
	}
}

void
rstar_ring_free_row(RstarRing *ring, RstarRow *row)
{
	for (int i = 0; i < ring->nsites && row->query_bytes > 0; i++)
	{
		if (row->aheads[i].copied)
			pfree(DatumGetPointer(row->aheads[i].query));
	}
	pfree(row->tuple);
	pfree(row);
}

void
rstar_ring_keep_query(RstarRing *ring, RstarRow *row, int site)
{
	RstarAhead *ahead = &row->aheads[site];
	MemoryContext old = MemoryContextSwitchTo(ring->context);
	Size		bytes;

	ahead->query = datumCopy(ahead->query, false, -1);
	MemoryContextSwitchTo(old);
	ahead->copied = true;
	bytes = GetMemoryChunkSpace(DatumGetPointer(ahead->query));
	row->query_bytes += bytes;
	ring->bytes += bytes;
}

TupleTableSlot *
rstar_ring_store(const RstarRow *row, TupleTableSlot *slot)
{
	HeapTupleData tuple;

	tuple.t_len = row->tuple->t_len + MINIMAL_TUPLE_OFFSET;
	tuple.t_data = (HeapTupleHeader) ((char *) row->tuple - MINIMAL_TUPLE_OFFSET);
	ExecClearTuple(slot);
	heap_deform_tuple(&tuple, slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
	return ExecStoreVirtualTuple(slot);
}

TupleTableSlot *
rstar_ring_pass(TupleTableSlot *row, TupleTableSlot *slot)
{
	int			natts = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	if (TupIsNull(row))
		return slot;
	slot_getallattrs(row);
	memcpy(slot->tts_values, row->tts_values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, row->tts_isnull, natts * sizeof(bool));
	return ExecStoreVirtualTuple(slot);
}
