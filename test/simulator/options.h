/*-------------------------------------------------------------------------
 *
 * options.h
 *		The command line.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

/* Fills sim_options and sim_settings; exits with a message when it cannot */
extern void sim_options_read(int argc, char **argv);

#endif							/* SIM_OPTIONS_H */
