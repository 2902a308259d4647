/*-------------------------------------------------------------------------
 *
 * changecount.h
 *		Shared memory with one writer that readers copy without a lock.
 *
 * As PostgreSQL keeps the state of its own backends: the writer makes the
 * count odd, writes, and makes it even again; a reader copies between two
 * looks at the count and does so again when it was odd or has changed.  The
 * writer never waits.  Between begin and end there are stores only: nothing
 * that could raise an error, so a count is odd for nanoseconds.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CHANGECOUNT_H
#define RSTAR_CHANGECOUNT_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/s_lock.h"

static inline void
rstar_changecount_begin(uint32 *count)
{
	(*(volatile uint32 *) count)++;
	pg_write_barrier();
}

static inline void
rstar_changecount_end(uint32 *count)
{
	pg_write_barrier();
	(*(volatile uint32 *) count)++;
}

static inline void
rstar_changecount_copy(void *to, const void *from, Size size, const uint32 *count)
{
	uint32		before;
	uint32		after;

	for (;;)
	{
		before = *(const volatile uint32 *) count;
		pg_read_barrier();
		memcpy(to, from, size);
		pg_read_barrier();
		after = *(const volatile uint32 *) count;
		if (before == after && (before & 1) == 0)
			return;
		SPIN_DELAY();
	}
}

#endif							/* RSTAR_CHANGECOUNT_H */
