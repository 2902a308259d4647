/*-------------------------------------------------------------------------
 *
 * check.h
 *		Whether an endpoint answers, and serves the model.
 *
 * Called by: functions.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CHECK_H
#define RSTAR_CHECK_H

#include "queue.h"

/*
 * Asks one endpoint of a server for its models, through the worker; waits.
 * Does not raise an error when the endpoint is at fault.
 */
extern void rstar_check_endpoint(Oid serverid, Oid mapping, int endpoint, RstarResult *result);

#endif							/* RSTAR_CHECK_H */
