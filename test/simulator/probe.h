/*-------------------------------------------------------------------------
 *
 * probe.h
 *		What servers say of themselves: health, models, limits, metrics.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_PROBE_H
#define SIM_PROBE_H

#include "sim.h"

extern void sim_probe_health(SimRequest *req);
extern void sim_probe_models(SimRequest *req);
extern void sim_probe_model_info(SimRequest *req);
extern void sim_probe_server_info(SimRequest *req);
extern void sim_probe_version(SimRequest *req);
extern void sim_probe_props(SimRequest *req);
extern void sim_probe_metrics(SimRequest *req);

/* The load of the engine in a header of the reply, for who asks as vLLM wants */
extern void sim_probe_load(SimRequest *req);

#endif							/* SIM_PROBE_H */
