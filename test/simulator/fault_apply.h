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

/*
 * On arrival, before the body is looked at.  True: the request has its answer,
 * or waits for good.  When false, a reply status that is set already is to be
 * sent after the service time, in the place of a score.
 */
extern bool sim_fault_arrival(SimRequest *req);

/* Before the reply's body is made */
extern void sim_fault_shape(SimRequest *req, SimShape *shape);

/* When the reply's body is made */
extern void sim_fault_body(SimRequest *req);

#endif							/* SIM_FAULT_APPLY_H */
