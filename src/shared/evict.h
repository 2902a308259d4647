/*-------------------------------------------------------------------------
 *
 * evict.h
 *		What is given up before the table has it.
 *
 * Everything here needs rstar_shared->lock held exclusively.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_EVICT_H
#define RSTAR_EVICT_H

#include "postgres.h"

/*
 * Make room: gives up the oldest answer that cannot be stored and interests
 * nobody; the details of all that cannot be stored.  False: there are none.
 */
extern bool rstar_evict_answer(void);
extern bool rstar_evict_details(void);

/* Everything of a database that was dropped */
extern void rstar_evict_database(Oid dboid);

#endif							/* RSTAR_EVICT_H */
