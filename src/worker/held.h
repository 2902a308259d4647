/*-------------------------------------------------------------------------
 *
 * held.h
 *		Requests that are held back while another node pays for their pairs.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HELD_H
#define RSTAR_HELD_H

#include "postgres.h"

#include "shared/lookup.h"

/* From now on it is looked after */
extern void rstar_held_add(const RstarLookup *lookup, int64 now);

/* Those whose leases have ended are looked up in the table, and queued if need be */
extern void rstar_held_turn(int64 now);

/* When the next turn must come (us) */
extern int64 rstar_held_wake(void);

#endif							/* RSTAR_HELD_H */
