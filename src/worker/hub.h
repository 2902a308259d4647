/*-------------------------------------------------------------------------
 *
 * hub.h
 *		What hubs are asked and told, and what becomes of it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HUB_H
#define RSTAR_HUB_H

#include "postgres.h"

#include "shared/state.h"

/* Once; returns the descriptor to wait on for reading.  May raise an error. */
extern int	rstar_hub_init(void);

/*
 * Takes what is to be looked up and told, and sends what can be sent; answers
 * are handled by rstar_hub_poll().  Costs nothing where no server has a hub.
 */
extern void rstar_hub_turn(const RstarLoad *load, int64 now);
extern void rstar_hub_poll(void);

/*
 * Takes up to "max" answers, the oldest, that hubs are to be told: called as they
 * are stored, for the table must have them before they can come back.
 */
extern void rstar_hub_tell(int max);

/* Before the next worker may come; once, and also as the process ends */
extern void rstar_hub_leave(void);

/* When the next turn must come at the latest (us) */
extern int64 rstar_hub_wake(void);

/* Is there something that the worker should not leave behind? */
extern bool rstar_hub_busy(void);

#endif							/* RSTAR_HUB_H */
