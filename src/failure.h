/*-------------------------------------------------------------------------
 *
 * failure.h
 *		A request that did not end well becomes an error or a warning.
 *
 * Called by: score.c, functions.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_FAILURE_H
#define RSTAR_FAILURE_H

#include "postgres.h"

#include "compat.h"
#include "queue.h"

/* Raises the error for a result whose status is not OK */
RSTAR_NORETURN extern void rstar_failure_raise(const RstarResult *result, const char *server);

/* The same in one line, palloc'd */
extern char *rstar_failure_message(const RstarResult *result, const char *server);

/*
 * UTF-8 text as text of the database's encoding, palloc'd; characters that it
 * does not have, and bytes that are no UTF-8, become "?".
 */
extern char *rstar_failure_text(const char *utf8, int len);

#endif							/* RSTAR_FAILURE_H */
