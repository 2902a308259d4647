/*-------------------------------------------------------------------------
 *
 * ring.h
 *		Rows read ahead: a queue of copies, with the pairs of their calls.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RING_H
#define RSTAR_RING_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "session/score.h"

/* A row; values of its columns stay where they are until it is freed */
typedef struct RstarRow
{
	MinimalTuple tuple;
	bool		pending;		/* a call of it waits for an answer */
	bool		fails;			/* a call of it raises an error, if it is
								 * evaluated */
	Size		query_bytes;	/* of copies of queries */
	int64		place;			/* in its partition, or less; see partition.h */
	RstarAhead	aheads[FLEXIBLE_ARRAY_MEMBER];	/* one for each call site */
} RstarRow;

typedef struct RstarRing
{
	MemoryContext context;		/* rows and places */
	int			nsites;			/* call sites of a row */
	RstarRow  **places;			/* circular, of "size" places */
	int			size;
	int			head;			/* place of the oldest row */
	int			count;			/* rows in the ring */
	Size		bytes;			/* memory of these rows */
} RstarRing;

/* Makes an empty ring in a child of the context */
extern void rstar_ring_init(RstarRing *ring, MemoryContext parent, int nsites);

/* Copies the row into the ring, with no valid ahead; toasted stays toasted */
extern RstarRow *rstar_ring_add(RstarRing *ring, TupleTableSlot *slot);

/* The row that came so many before the newest, if it is still there, or NULL */
extern RstarRow *rstar_ring_back(const RstarRing *ring, int64 n);

/* Takes the oldest row out; the caller frees it */
extern RstarRow *rstar_ring_take(RstarRing *ring);

/*
 * In a pass of a refresh, which keeps what was asked for: takes the newest row
 * out and frees it.
 */
extern void rstar_ring_drop_last(RstarRing *ring);

/* Nobody will evaluate the calls of the rows that are still in the ring */
extern void rstar_ring_forget(RstarRing *ring);

extern void rstar_ring_free_row(RstarRing *ring, RstarRow *row);

/* The ahead's query is a value that will be gone: it gets a copy, which goes with the row */
extern void rstar_ring_keep_query(RstarRing *ring, RstarRow *row, int site);

/* Puts the row's values, not copied, into a virtual slot */
extern TupleTableSlot *rstar_ring_store(const RstarRow *row, TupleTableSlot *slot);

/* Puts the values of a row that is not in a ring, not copied, likewise */
extern TupleTableSlot *rstar_ring_pass(TupleTableSlot *row, TupleTableSlot *slot);

#endif							/* RSTAR_RING_H */
