/*-------------------------------------------------------------------------
 *
 * traceparent.h
 *		The W3C's name of a span in a trace, which goes out as a header.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TRACEPARENT_H
#define RSTAR_TRACEPARENT_H

#include <stdbool.h>

/* 00-(32 digits of the trace)-(16 digits of the span)-(2 digits of flags) */
#define RSTAR_TRACEPARENT_LEN 55

/* Whether it is one, of version 00: nobody knows yet how others look */
extern bool rstar_traceparent_valid(const char *value);

#endif							/* RSTAR_TRACEPARENT_H */
