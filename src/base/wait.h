/*-------------------------------------------------------------------------
 *
 * wait.h
 *		How a session sleeps.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WAIT_H
#define RSTAR_WAIT_H

#include "postgres.h"

/*
 * Sleeps until the latch of this process is set, for "timeout" milliseconds at
 * most (-1: without an end), and resets the latch: the caller looks again
 * whether what it waits for has come.  Raises what CHECK_FOR_INTERRUPTS()
 * does, and ends the session when its client has gone, whatever
 * client_connection_check_interval says.
 */
extern void rstar_wait(long timeout, uint32 wait_event);

#endif							/* RSTAR_WAIT_H */
