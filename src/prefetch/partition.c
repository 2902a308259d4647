/*-------------------------------------------------------------------------
 *
 * partition.c
 *		Which rows in a ring have others before or after them in their
 *		partition.
 *
 * Rows of a partition come one after another.  So a row is the n-th of its
 * partition, as far as the ring goes back; then the row k before it has one k
 * rows on, and itself one k rows back, if k < n.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "prefetch/partition.h"

static bool same_partition(RstarPartition *partition, const RstarRow *a, const RstarRow *b);

void
rstar_partition_init(RstarPartition *partition, List *columns, TupleDesc desc, PlanState *parent)
{
	int			n = list_length(columns) / 3;
	AttrNumber *numbers = palloc(n * sizeof(AttrNumber));
	Oid		   *operators = palloc(n * sizeof(Oid));
	Oid		   *collations = palloc(n * sizeof(Oid));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		numbers[i] = list_nth_int(columns, 3 * i);
		operators[i] = (Oid) list_nth_int(columns, 3 * i + 1);
		collations[i] = (Oid) list_nth_int(columns, 3 * i + 2);
	}
	partition->same = execTuplesMatchPrepare(desc, n, numbers, operators, collations, parent);
	partition->context = CreateExprContext(parent->state);
	partition->newest = ExecInitExtraTupleSlot(parent->state, desc, &TTSOpsVirtual);
	partition->before = ExecInitExtraTupleSlot(parent->state, desc, &TTSOpsVirtual);
}

void
rstar_partition_enter(RstarPartition *partition, RstarRing *ring)
{
	RstarRow   *newest = rstar_ring_back(ring, 0);
	RstarRow   *before = rstar_ring_back(ring, 1);

	newest->place = before != NULL && same_partition(partition, newest, before) ?
		before->place + 1 : 1;
}

static bool
same_partition(RstarPartition *partition, const RstarRow *a, const RstarRow *b)
{
	bool		same;

	if (partition->same == NULL)
		return true;
	partition->context->ecxt_innertuple = rstar_ring_store(a, partition->newest);
	partition->context->ecxt_outertuple = rstar_ring_store(b, partition->before);
	same = ExecQualAndReset(partition->same, partition->context);
	ExecClearTuple(partition->newest);
	ExecClearTuple(partition->before);
	return same;
}

RstarRow *
rstar_partition_row(const RstarRing *ring, int shift)
{
	RstarRow   *newest = rstar_ring_back(ring, 0);

	if (newest->place <= abs(shift))
		return NULL;
	return shift > 0 ? rstar_ring_back(ring, shift) : newest;
}
