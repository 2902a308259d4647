/*-------------------------------------------------------------------------
 *
 * control.h
 *		The control URLs below /sim/.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_CONTROL_H
#define SIM_CONTROL_H

#include "sim.h"

extern void sim_control_stats(SimRequest *req);
extern void sim_control_stats_reset(SimRequest *req);
extern void sim_control_get(SimRequest *req);
extern void sim_control_post(SimRequest *req);
extern void sim_control_release(SimRequest *req);
extern void sim_control_reset(SimRequest *req);
extern void sim_control_modes(SimRequest *req);

#endif							/* SIM_CONTROL_H */
