/*-------------------------------------------------------------------------
 *
 * peer_calls.h
 *		What a hub is asked and told, as statements.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PEER_CALLS_H
#define RSTAR_PEER_CALLS_H

#include "postgres.h"

#include "shared/lookup.h"
#include "shared/merge.h"
#include "worker/peer.h"

/* Of keys that are asked for, and of those that are told, in one statement */
#define RSTAR_PEER_KEYS 1000

/*
 * Sends a question: what of these, of which so many replies are known, is
 * known or paid for?  Leases of the keys "done" are given back first.  Memory
 * is the current context's.
 */
extern void rstar_peer_ask(RstarPeer *peer, const RstarLookup *const *lookups, int n,
						   const RstarKey *const *done, int ndone, int64 now);

/* Sends answers to be stored */
extern void rstar_peer_put(RstarPeer *peer, const RstarTold *const *told, int n, int64 now);

/* One line of the answer to the first */
typedef struct RstarPeerAnswer
{
	RstarFound	found;
	RstarTally	tally;			/* KNOWN */
	RstarMergeRow row;			/* the same, all but its key; palloc'd in
								 * parts */
} RstarPeerAnswer;

/* Reads line i; false when it does not make sense */
extern bool rstar_peer_read(const struct pg_result *result, int i, RstarPeerAnswer *answer);
extern int	rstar_peer_lines(const struct pg_result *result);

#endif							/* RSTAR_PEER_CALLS_H */
