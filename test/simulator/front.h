/*-------------------------------------------------------------------------
 *
 * front.h
 *		What stands between client and server: a router or a proxy.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_FRONT_H
#define SIM_FRONT_H

#include "sim.h"

/*
 * Answers a request that never gets to the server: READY, and true.  Else it
 * is one attempt at the server, and the proxy's clock runs.
 */
extern bool sim_front_answers(SimRequest *req);

/*
 * The server's reply is there.  True when the router tries once more: the
 * request waits, and is dispatched again.  Else what it has is for the client,
 * in the words of what stands between.
 */
extern bool sim_front_again(SimRequest *req);

/* Paths that only routers have; others answer as if they were none */
extern void sim_front_path(SimRequest *req);

/* Does a client's going not get to the server? */
extern bool sim_front_hides_clients(void);

/* Breaker closed, as after a start */
extern void sim_front_reset(void);

#endif							/* SIM_FRONT_H */
