/*-------------------------------------------------------------------------
 *
 * settings.h
 *		Changing the settings while the simulator runs.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SETTINGS_H
#define SIM_SETTINGS_H

#include <json-c/json.h>

#include "sim.h"

/* Keeps what the command line said, for sim_settings_reset */
extern void sim_settings_keep(void);
extern void sim_settings_reset(void);

/*
 * Sets one setting by the name it has on the command line, "_" or "-" between
 * its words.  False when there is none of this name, or not with this value.
 */
extern bool sim_setting_set(SimSettings *settings, const char *name,
							const char *value);

/* Makes "settings" the ones in force */
extern void sim_settings_apply(const SimSettings *settings);

extern void sim_settings_json(SimBuf *buf);

/* What holds for connections, also where the dialect decides; 0: no limit */
extern int	sim_settings_close_after(void);
extern int	sim_settings_idle_close_ms(void);

extern const char *sim_dialect_name(SimDialect dialect);

#endif							/* SIM_SETTINGS_H */
