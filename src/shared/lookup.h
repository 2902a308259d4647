/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Requests that are looked up elsewhere before anything is sent for them,
 *		and answers that their hub is to be told.
 *
 * For the worker of a database alone; everything takes the lock.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LOOKUP_H
#define RSTAR_LOOKUP_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"
#include "shared/map.h"

/* A request as its session made it; it may have ended since, and its place be another's */
typedef struct RstarLookup
{
	RstarRequest *request;
	uint64		serial;			/* tells that */
	RstarKey	key;
	Oid			serverid;
	bool		shared;			/* its hub is to be asked; else another node
								 * has a lease of this one's */
	int			have;			/* replies that are known of it */
} RstarLookup;

typedef enum RstarFound
{
	RSTAR_FOUND_KNOWN,			/* "known" is: is it enough? */
	RSTAR_FOUND_ELSEWHERE,		/* somebody pays for it now */
	RSTAR_FOUND_OURS			/* nobody does: we pay */
} RstarFound;

typedef enum RstarLookedUp
{
	RSTAR_LOOKED_UP_GONE,		/* the request has ended */
	RSTAR_LOOKED_UP_ANSWERED,
	RSTAR_LOOKED_UP_MORE,		/* to be looked up again: too few samples are
								 * known, or somebody pays for it */
	RSTAR_LOOKED_UP_QUEUED		/* it is queued as any other */
} RstarLookedUp;

/* us: who has waited so long for another's payment pays, too */
#define RSTAR_ELSEWHERE_PATIENCE INT64CONST(60000000)

/* What was found, and what has become of the request by that */
typedef struct RstarFinding
{
	RstarLookup *lookup;		/* "have" is set when it is to be looked up
								 * again */
	RstarFound	found;
	const RstarTally *known;	/* KNOWN */
	uint64		generation;		/* OURS, where no hub was asked: of when the
								 * table was looked at */
	bool		regardless;		/* OURS: whoever has a lease of it */
	RstarLookedUp outcome;
} RstarFinding;

/* The next requests to look up, at most "max"; they are in the worker's hand now */
extern int	rstar_lookup_take(RstarLookup *lookups, int max);

/* Tells requests what was found */
extern void rstar_lookup_found(RstarFinding *findings, int n);

/*
 * Whether nothing is to come of a request any more that is OURS, or nothing
 * soon, and its lease may go
 */
extern void rstar_lookup_ended(const RstarLookup *lookups, int n, bool *ended);

/* Whether other nodes have leases of their keys; *generation as of now */
extern void rstar_lookup_leased(const RstarLookup *lookups, int n, bool *leased, uint64 *generation);

/* An answer that a hub is to be told, with what was known before */
typedef struct RstarTold
{
	RstarKey	key;
	Oid			serverid;
	char		model[RSTAR_MODEL_LEN]; /* UTF-8 */
	int			nscores;
	uint8		scores[2 * RSTAR_MAX_SAMPLES];
	int			unscored;
	int64		prompt_tokens;	/* of the new ones */
	int64		completion_tokens;
	TimestampTz answered_at;
} RstarTold;

/* The next of these, at most "max"; they are the caller's */
extern int	rstar_lookup_untold(RstarTold *told, int max);

#endif							/* RSTAR_LOOKUP_H */
