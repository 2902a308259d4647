/*-------------------------------------------------------------------------
 *
 * gzip.h
 *		Bytes in gzip's format, without compression.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_GZIP_H
#define SIM_GZIP_H

#include "buf.h"

extern void sim_gzip_store(SimBuf *out, const char *data, size_t len);

#endif							/* SIM_GZIP_H */
