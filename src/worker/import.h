/*-------------------------------------------------------------------------
 *
 * import.h
 *		What hubs know comes into our table.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_IMPORT_H
#define RSTAR_IMPORT_H

#include "postgres.h"

#include "shared/merge.h"

/* Puts a row down, of which a copy is made; its model is UTF-8 */
extern void rstar_import_add(const RstarMergeRow *row);

/*
 * Stores rows, if it is time, or "at_once": before answers are stored, which
 * may be appended to them.  Never raises an error.
 */
extern void rstar_import_turn(int64 now, bool at_once);

/* When that will be (us); PG_INT64_MAX: there are none */
extern int64 rstar_import_wake(void);

#endif							/* RSTAR_IMPORT_H */
