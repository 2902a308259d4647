/*-------------------------------------------------------------------------
 *
 * recall.h
 *		Samples that would be answered too late are taken back.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RECALL_H
#define RSTAR_RECALL_H

#include "postgres.h"

#include "worker/target.h"

/* They wait here again.  Once a turn; the target has a configuration */
extern void rstar_recall_turn(RstarTarget *target, int64 now);

#endif							/* RSTAR_RECALL_H */
