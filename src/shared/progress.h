/*-------------------------------------------------------------------------
 *
 * progress.h
 *		How far the statements of each session are, in shared memory.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PROGRESS_H
#define RSTAR_PROGRESS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Where a pair is; each that the statement wants is in one place */
typedef enum RstarPlace
{
	RSTAR_PLACE_LOOKED_FOR,		/* in memory and table, or it waits for room */
	RSTAR_PLACE_PENDING,		/* a request works at it */
	RSTAR_PLACE_DONE,			/* it has its score */
	RSTAR_PLACE_FAILED,
	RSTAR_PLACE_NOT_AWAITED,	/* asked for, or not, without waiting for it */
	RSTAR_NPLACES
} RstarPlace;

/* How the score of a pair was come by */
typedef enum RstarWay
{
	RSTAR_WAY_KNOWN,			/* it was there */
	RSTAR_WAY_JOINED,			/* by another's request */
	RSTAR_WAY_SENT,				/* by a request of its own */
	RSTAR_WAY_SKIPPED,			/* not known, and not asked for */
	RSTAR_NWAYS
} RstarWay;

/* Of one session */
typedef struct RstarProgress
{
	int			pid;			/* 0: no session, or it has nothing in work */
	Oid			dboid;
	Oid			userid;			/* session user */
	TimestampTz started;		/* when the first pair was looked for */
	double		expected;		/* pairs, as far as plans and sets tell; 0:
								 * nobody knows */
	int64		places[RSTAR_NPLACES];
	int64		ways[RSTAR_NWAYS];
} RstarProgress;

/* RstarShmemPart of the sessions */
extern void rstar_progress_request(void);
extern void rstar_progress_startup(void);

/*
 * A pair is wanted: it is LOOKED_FOR.  One that was before and of which
 * nothing more was said has failed: an error came in between.
 */
extern void rstar_progress_wanted(void);

/* It is not, or not yet */
extern void rstar_progress_unwanted(void);

/*
 * So many pairs, known ones too, are expected of a part of what runs.  "again":
 * parts may come again and are not added, the largest counts.
 */
extern void rstar_progress_expected(double pairs, bool again);
extern void rstar_progress_way(RstarWay way);
extern void rstar_progress_moved(RstarPlace from, RstarPlace to);

/* No statement of this session has to do with pairs any more */
extern void rstar_progress_end(void);

/*
 * How often the sessions of a database have found a score, or have not, since
 * they began.  Lock (shmem.h) held, shared at least: those that end meanwhile
 * are counted here or in their database's entry.
 */
extern void rstar_progress_lookups(Oid dboid, int64 *hits, int64 *misses);

/* What the session number i of MaxBackends is at; false when it is at nothing */
extern bool rstar_progress_read(int i, RstarProgress *progress);

#endif							/* RSTAR_PROGRESS_H */
