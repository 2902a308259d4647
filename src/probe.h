/*-------------------------------------------------------------------------
 *
 * probe.h
 *		Asks endpoints that are out of use whether they are well again.
 *
 * Called by: send.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PROBE_H
#define RSTAR_PROBE_H

#include "postgres.h"

#include "http.h"
#include "target.h"

/* What an exchange belongs to: the first field of its owner */
typedef enum RstarExchange
{
	RSTAR_EXCHANGE_SAMPLE,
	RSTAR_EXCHANGE_PROBE,
	RSTAR_EXCHANGE_ABORT
} RstarExchange;

/*
 * Probes those endpoints of the target whose time it is.  Returns when to
 * look at them the next time (INT64_MAX: never).
 */
extern int64 rstar_probe_turn(RstarTarget *target, int64 now);

/* The exchange of a probe has ended */
extern void rstar_probe_done(const RstarHttpReply *reply);

#endif							/* RSTAR_PROBE_H */
