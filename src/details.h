/*-------------------------------------------------------------------------
 *
 * details.h
 *		What was kept of the replies to requests, in shared memory, until the
 *		table has it.
 *
 * Called by: dispatch.c, request.c, queue.c, explain.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DETAILS_H
#define RSTAR_DETAILS_H

#include "postgres.h"

#include "utils/dsa.h"
#include "utils/timestamp.h"

#include "queue.h"

struct RstarRequest;

/*
 * In the worker, without the lock: copies a reply's details (a JSON object)
 * into the text area.  InvalidDsaPointer when there is no room: then nothing
 * is kept of the reply but its score.
 */
extern dsa_pointer rstar_details_make(const char *json, int len);

/*
 * These need the lock (shmem.h) held exclusively.  "add" comes before the
 * reply is counted; "scored" says whether it has a score.  "copy" writes a
 * JSON array of all samples of the request, in order of arrival, into at
 * least rstar_details_size() bytes, and ends it with a NUL: an object where
 * details were kept, else the score alone.  "evict" gives up details that
 * cannot be stored; false when there are none.
 */
extern void rstar_details_add(struct RstarRequest *request, dsa_pointer detail, bool scored);
extern Size rstar_details_size(const struct RstarRequest *request);
extern Size rstar_details_copy(const struct RstarRequest *request, char *buf);
extern void rstar_details_free(struct RstarRequest *request);
extern bool rstar_details_evict(void);

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
extern RstarKept *rstar_details_find(const RstarKey *key, int *n, uint64 *generation);
extern uint64 rstar_details_generation(void);

#endif							/* RSTAR_DETAILS_H */
