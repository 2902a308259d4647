/*-------------------------------------------------------------------------
 *
 * option_shim.h
 *		What option.c needs of the server, for the fuzzer.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef OPTION_SHIM_H
#define OPTION_SHIM_H

#include "postgres.h"

#include "model/url.h"

/* Before and after an input: shim_end() frees all that was allocated */
extern void shim_begin(bool may_read_files);
extern void shim_end(void);

/* Of the last error: its code, and all its texts, one after another */
extern int	shim_sqlstate(void);
extern const char *shim_message(void);

#endif							/* OPTION_SHIM_H */
