/*-------------------------------------------------------------------------
 *
 * matview.h
 *		A materialized view, for retrostar.refresh().
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MATVIEW_H
#define RSTAR_MATVIEW_H

#include "postgres.h"

/*
 * Raises an error unless it is a materialized view that the current user may
 * refresh: as its owner, from PostgreSQL 17 on also with MAINTAIN.
 */
extern void rstar_matview_check(Oid matview);

/*
 * Runs the view's query and throws the rows away.  As a REFRESH does it: if the
 * current user still may, as the view's owner, in a security-restricted
 * operation, with the view's locks until the transaction ends.  *varies is set
 * before it runs: whether it has functions in it that may give something else
 * each time.  An error leaves user and settings changed: run it in a
 * subtransaction.
 */
extern void rstar_matview_run(Oid matview, bool *varies);

/*
 * Settings under which the rows of a query come in the same order each time,
 * until the caller takes back what was set.
 */
extern void rstar_matview_same_order(void);

/* The REFRESH command for it, palloc'd; CONCURRENTLY if that will work */
extern char *rstar_matview_command(Oid matview);

#endif							/* RSTAR_MATVIEW_H */
