/*-------------------------------------------------------------------------
 *
 * store.h
 *		Writes answers into the cache table retrostar.score_cache.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_STORE_H
#define RSTAR_STORE_H

#include "postgres.h"

#include "shared/unstored.h"

typedef enum RstarStored
{
	RSTAR_STORED,				/* those that are marked, perhaps none */
	RSTAR_STORED_LATER,			/* locked, failed: try again */
	RSTAR_STORED_STANDBY,		/* read-only until promotion */
	RSTAR_STORED_NO_TABLE,		/* the extension is gone */
	RSTAR_STORED_AGAIN			/* nothing, for the sake of usage; not told */
} RstarStored;

/*
 * In the worker, outside a transaction: writes the answers in a transaction
 * of its own, merging with what the table has.  They are sorted by key, and
 * keys differ.  Those that have come into the table are marked as stored: it
 * may have a row of another version, or a trigger.  Never raises an error; logs
 * why it could not, once until it can again.  Usage is written in the same
 * transaction: rstar_account_begin() comes before.
 */
extern RstarStored rstar_store_answers(RstarAnswered *answers, int n);

#endif							/* RSTAR_STORE_H */
