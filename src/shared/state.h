/*-------------------------------------------------------------------------
 *
 * state.h
 *		What the views read of the map.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_STATE_H
#define RSTAR_STATE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "shared/map.h"

/* Counters and gauges of this database */
typedef struct RstarQueueState
{
	int			requests;		/* entries of the map in use */
	int			waiting;
	int			running;
	int			unstored;
	int			waiters;		/* all databases */
	int			free_requests;	/* all databases */
	int			free_waiters;	/* all databases */
	int64		text_bytes;		/* all databases */
	int64		refused_text;	/* see shmem.h */
	RstarPairCounts counts;
	TimestampTz stats_reset;	/* 0: never */
	int			worker_pid;		/* 0: none */
	bool		paused;
} RstarQueueState;
extern void rstar_state_read(RstarQueueState *state);

/* Pairs whose samples were all known when a statement looked for them, and others */
extern void rstar_state_lookups(int64 *hits, int64 *misses);

/* One request in work of this database */
typedef struct RstarActivity
{
	int			pid;			/* session that asked; 0: it is gone */
	Oid			userid;
	Oid			serverid;
	const char *state;
	TimestampTz asked_at;
	int			samples;		/* wanted, known ones included */
	int			in_flight;		/* samples in the worker's hands */
	int			attempts;
	uint64		url;			/* where the last went; 0: nowhere yet */
	int			waiters;
	bool		detached;
	const char *priority;
} RstarActivity;

/* All of them, palloc'd; not of one moment, but each by itself is whole */
extern RstarActivity *rstar_state_activity(int *n);

/* Counters of this database start anew; what is in work counts as asked since */
extern void rstar_state_reset(TimestampTz at);

/* In the worker: how much there is to do; also what decides whether the worker may sleep */
typedef struct RstarLoad
{
	int			waiting;		/* requests with samples to claim */
	int			running;
	int			unstored;		/* to be stored now */
	int			refused;		/* that the table did not take */
	int			usage;			/* entries of usage to be written */
	int			unread;			/* budgets to be read */
	int			lookups;		/* requests to be looked up elsewhere */
	int			untold;			/* answers that a hub is to be told */
	bool		paused;
} RstarLoad;
extern void rstar_state_load(RstarLoad *load);

#endif							/* RSTAR_STATE_H */
