/*-------------------------------------------------------------------------
 *
 * owner.h
 *		A session's place in the map: its queue, and what it waits for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_OWNER_H
#define RSTAR_OWNER_H

#include "postgres.h"

#include "shared/shmem.h"

/*
 * This process's entry; the first call attaches to the text area, and arranges
 * for the release of all when the process ends.  It may raise an error: make
 * it before taking the lock.
 */
extern RstarOwner *rstar_owner_me(void);

/* False before that, and again while the process ends */
extern bool rstar_owner_attached(void);

#endif							/* RSTAR_OWNER_H */
