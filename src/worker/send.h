/*-------------------------------------------------------------------------
 *
 * send.h
 *		Samples in work: sent, retried, answered, failed, closed.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SEND_H
#define RSTAR_SEND_H

#include "postgres.h"

#include "shared/dispatch.h"

/* "max": exchanges that descriptors allow at once */
extern void rstar_send_init(int max);

/*
 * At the beginning of a turn, outside a transaction: servers that were
 * altered are loaded again, what waits to be sent again is, endpoints are
 * probed, and samples fail whose server has been silent for too long.
 */
extern void rstar_send_turn(int64 now);

/* Samples that may be claimed now, over all servers */
extern int	rstar_send_room(void);

/* True: some failed at once, so that there may be room for others now */
extern bool rstar_send_claims(const RstarClaim *claims, int n, int64 now);

/* After the claims of a turn: what of the background waits to be sent again */
extern void rstar_send_background(int64 now);

/* Closes all samples of a request; returns how many there were */
extern int	rstar_send_cancel(int slot);

/* Samples in work, waiting to be sent again included; and those in flight */
extern int	rstar_send_active(void);
extern int	rstar_send_flying(void);

/*
 * How long, in us, replies may be left to gather before they are looked at.
 * Each reply that comes alone costs the worker a wake-up; of the time that
 * replies take, this is too little for anybody to notice.
 */
extern int64 rstar_send_gather(void);

/* When the next turn is due, in microseconds of the clock; INT64_MAX: never */
extern int64 rstar_send_wake(void);

#endif							/* RSTAR_SEND_H */
