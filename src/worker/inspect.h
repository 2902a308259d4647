/*-------------------------------------------------------------------------
 *
 * inspect.h
 *		What retrostar.check() asks an endpoint.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_INSPECT_H
#define RSTAR_INSPECT_H

#include "postgres.h"

#include "worker/sample.h"

/* Asks the endpoint of a CHECK, whatever its state; ends with its request */
extern void rstar_inspect_start(RstarSample *sample);

#endif							/* RSTAR_INSPECT_H */
