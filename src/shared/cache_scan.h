/*-------------------------------------------------------------------------
 *
 * cache_scan.h
 *		The cache table, open for look-ups.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CACHE_SCAN_H
#define RSTAR_CACHE_SCAN_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "base/result.h"

/*
 * The row of a key, of whatever version, as committed until this moment; NULL
 * when there is none.  It is there until rstar_cache_scan_done(), which must
 * follow, also after NULL.  Raises an error when the table is not there, or is
 * none that can be read.
 */
extern TupleTableSlot *rstar_cache_scan_find(const RstarKey *key);
extern void rstar_cache_scan_done(void);

/*
 * Whether the table may stay open after a look-up: while an executor runs,
 * whose end calls rstar_cache_scan_rest()
 */
extern void rstar_cache_scan_keep(bool keep);

/* Closes it, if it is open: somebody waits, another command begins, or one has ended */
extern void rstar_cache_scan_rest(void);

#endif							/* RSTAR_CACHE_SCAN_H */
