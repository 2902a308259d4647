/*-------------------------------------------------------------------------
 *
 * kept.h
 *		The samples of a key that the map has, and the table may not have.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_KEPT_H
#define RSTAR_KEPT_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"

/* The samples of one request that the map has, as JSON */
typedef struct RstarKept
{
	TimestampTz answered_at;	/* what "updated" in the table will be; 0: it
								 * goes on */
	Size		size;			/* of all this, aligned */
	char		json[FLEXIBLE_ARRAY_MEMBER];	/* UTF-8 */
} RstarKept;

/*
 * In a session: the samples of a key that are in the map and that the table
 * may not have, oldest first; *n requests, one behind the other, palloc'd.
 * *generation: when it is another later, some have gone to the table since.
 */
extern RstarKept *rstar_kept_find(const RstarKey *key, int *n, uint64 *generation);
extern uint64 rstar_kept_generation(void);

#endif							/* RSTAR_KEPT_H */
