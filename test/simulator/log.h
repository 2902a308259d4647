/*-------------------------------------------------------------------------
 *
 * log.h
 *		The last chat requests, for GET /sim/log.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_LOG_H
#define SIM_LOG_H

#include "sim.h"

/*
 * Notes a whole chat request and sets its log_id.  The body is copied.  Does
 * nothing when the log is off.
 */
extern void sim_log_add(SimRequest *req);

/* What its body said; "failure" is the chosen failure's name, or NULL */
extern void sim_log_details(SimRequest *req, const char *seed,
							const char *failure);

/* How it ended: the status sent (0: none) and a word for the outcome */
extern void sim_log_end(SimRequest *req, int status, const char *outcome);

extern void sim_log_clear(void);
extern void sim_log_resize(int size);

/* GET /sim/log */
extern void sim_log_handle(SimRequest *req);

#endif							/* SIM_LOG_H */
