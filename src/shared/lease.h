/*-------------------------------------------------------------------------
 *
 * lease.h
 *		Leases: which pairs other nodes pay for, on their hub.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LEASE_H
#define RSTAR_LEASE_H

#include "postgres.h"

#include "base/result.h"

/* A node from which nothing was heard for so long has none any more */
#define RSTAR_LEASE_SILENCE_MS 10000

typedef enum RstarLease
{
	RSTAR_LEASE_NEW,			/* this session has it from now on */
	RSTAR_LEASE_KEPT,			/* it had it before */
	RSTAR_LEASE_NONE,			/* it may pay, too, but there is no room for a
								 * lease */
	RSTAR_LEASE_ELSEWHERE		/* another node has it, or pairs of this one
								 * are in work */
} RstarLease;

/* RstarShmemPart of leases */
extern void rstar_lease_request(void);
extern void rstar_lease_startup(void);

/* Keys that are looked at under one hold of the lock */
#define RSTAR_LEASE_SLICE 64

/*
 * Takes leases of at most RSTAR_LEASE_SLICE keys, where that is possible, for
 * this session.  They end by rstar_lease_end(), with the session, or when it
 * is silent for too long: each call says that it is there, also with n = 0.
 * What left the map before is in the table, for a snapshot that is taken
 * afterwards.  May raise an error before anything is taken.
 */
extern void rstar_lease_take(const RstarKey *keys, int n, RstarLease *leases);

/*
 * This session's lease of a key ends, if it has it.  "answered": the table may
 * have its answer now, and sessions that looked there before look again.
 */
extern void rstar_lease_end(const RstarKey *keys, int n, bool answered);

/* Lock held exclusively: whether another node pays for a pair of this database */
extern bool rstar_lease_held(Oid dboid, const RstarKey *key);

#endif							/* RSTAR_LEASE_H */
