/*-------------------------------------------------------------------------
 *
 * route.h
 *		Which paths there are, who may use them, and what becomes of the rest.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_ROUTE_H
#define SIM_ROUTE_H

#include "sim.h"

/* Sets the request's endpoint, or wrong_method, or neither */
extern void sim_route_find(SimRequest *req, const char *path,
						   const char *method);

/* True when the request is answered before its body is read */
extern bool sim_route_early(SimRequest *req);

/* Answers a whole request, or has it wait */
extern void sim_route_dispatch(SimRequest *req);

#endif							/* SIM_ROUTE_H */
