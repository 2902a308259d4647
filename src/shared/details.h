/*-------------------------------------------------------------------------
 *
 * details.h
 *		What was kept of the replies to requests, in shared memory, until the
 *		table has it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DETAILS_H
#define RSTAR_DETAILS_H

#include "postgres.h"

#include "utils/dsa.h"

/* Of one request: a list in the text area; all zero when there are none */
typedef struct RstarDetails
{
	dsa_pointer first;
	dsa_pointer last;
	Size		len;			/* as text */
} RstarDetails;

/*
 * In the worker, without the lock: copies a reply's details (a JSON object)
 * into the text area.  InvalidDsaPointer when there is no room: then nothing
 * is kept of the reply but its score.
 */
extern dsa_pointer rstar_details_make(const char *json, int len);

/*
 * These need the lock (shmem.h) held exclusively.  "add" comes before the
 * reply is counted: "before" samples of the request have a score, and "scored"
 * says whether it has one.  "copy" writes a JSON array of all samples of the
 * request, whose scores are given, in order of arrival, into at least
 * rstar_details_size() bytes, and ends it with a NUL: an object where details
 * were kept, else the score alone.
 */
extern void rstar_details_add(RstarDetails *details, dsa_pointer made, int before, bool scored);
extern bool rstar_details_any(const RstarDetails *details);
extern Size rstar_details_size(const RstarDetails *details, int nscores);
extern Size rstar_details_copy(const RstarDetails *details, const uint8 *scores, int nscores,
							   char *buf);
extern void rstar_details_free(RstarDetails *details);

#endif							/* RSTAR_DETAILS_H */
