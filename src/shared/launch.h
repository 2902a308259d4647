/*-------------------------------------------------------------------------
 *
 * launch.h
 *		The life of a database's worker, seen from outside: registered when
 *		needed, asked to leave before its database goes.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LAUNCH_H
#define RSTAR_LAUNCH_H

#include "postgres.h"

/* Installs the utility hook; called once by _PG_init while preloading */
extern void rstar_launch_init(void);

/*
 * Sees to it that this database has a worker, or will have one: registers it
 * when there is none.  Returns the longest time in ms that the caller may
 * wait before it calls again (-1: as long as it likes; the worker's end wakes
 * it).  Waits up to 5 s, interruptibly, for a free worker slot; then raises
 * CONFIGURATION_LIMIT_EXCEEDED.  Raises an error also when workers keep
 * failing to start.
 */
extern long rstar_launch_ensure(void);

/* In the worker: it runs.  False: it is not wanted (any more), or another one does. */
extern bool rstar_launch_started(Oid dboid);

/* In the worker: it is connected to its database */
extern void rstar_launch_connected(void);

/*
 * Registers a worker for a database whose entry says already that one is
 * coming; false when there is no slot for it.  Does not wait, and raises no
 * error; for exit callbacks, too.
 */
extern bool rstar_launch_successor(Oid dboid);

/* In the worker: is it asked to leave? */
extern bool rstar_launch_leaving(void);

/*
 * In the worker, when it has nothing to do: it goes, unless work came in this
 * very moment (false).
 */
extern bool rstar_launch_retire(void);

#endif							/* RSTAR_LAUNCH_H */
