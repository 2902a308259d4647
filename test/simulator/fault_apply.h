/*-------------------------------------------------------------------------
 *
 * fault_apply.h
 *		What a chosen failure does to its request.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_FAULT_APPLY_H
#define SIM_FAULT_APPLY_H

#include "reply.h"
#include "sim.h"

typedef enum SimFaultResult
{
	SIM_FAULT_NOTHING,			/* go on */
	SIM_FAULT_ANSWERED,			/* the request is READY, or waits for good */
	SIM_FAULT_LATER				/* the reply is made, to be sent after the
								 * service time in the place of a score */
} SimFaultResult;

/* A chat request's failure on arrival, if it has such a one */
extern SimFaultResult sim_fault_arrival(SimRequest *req);

/* Before the reply's body is made */
extern void sim_fault_shape(SimRequest *req, SimShape *shape);

/* When the reply is made */
extern void sim_fault_reply(SimRequest *req);

/* Before a chat request's body is read; true when it is answered */
extern bool sim_fault_early(SimRequest *req);

/* On another path; true when it is answered */
extern bool sim_fault_probe(SimRequest *req);

#endif							/* SIM_FAULT_APPLY_H */
