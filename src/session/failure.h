/*-------------------------------------------------------------------------
 *
 * failure.h
 *		A request that did not end well becomes an error or a warning.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_FAILURE_H
#define RSTAR_FAILURE_H

#include "postgres.h"

#include "base/compat.h"
#include "base/result.h"
#include "session/pair.h"

/*
 * Raises the error for a result whose status is not OK.  "which" is added to its
 * detail for the session, and not for the server's log, whose readers may not
 * read the document; NULL: nothing.
 */
RSTAR_NORETURN extern void rstar_failure_raise(const RstarResult *result, const char *server,
											   const char *which);

/*
 * Which pair it is, in a sentence, palloc'd: how its document begins, or its
 * query where that has no text; or its key, where rstar_failure_by_key().
 */
extern char *rstar_failure_which(const RstarPair *pair);

/*
 * Are pairs named by their keys alone?  In a refresh: what a scheduled job says
 * ends up in places that others read.  And where a statement reads with rights
 * that are not the session's: it may not be allowed to read the document.
 */
extern bool rstar_failure_by_key(void);

/* A pair by its key, in a sentence, palloc'd */
extern char *rstar_failure_key(const RstarKey *key);

/* The same in one line, palloc'd */
extern char *rstar_failure_message(const RstarResult *result, const char *server);

#endif							/* RSTAR_FAILURE_H */
