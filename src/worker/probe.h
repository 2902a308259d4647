/*-------------------------------------------------------------------------
 *
 * probe.h
 *		Asks endpoints whether they are well.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PROBE_H
#define RSTAR_PROBE_H

#include "postgres.h"

#include "worker/target.h"

/*
 * Probes those endpoints of the target whose time it is.  Returns when to
 * look at them the next time (INT64_MAX: never).
 */
extern int64 rstar_probe_turn(RstarTarget *target, int64 now);

#endif							/* RSTAR_PROBE_H */
