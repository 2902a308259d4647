/*-------------------------------------------------------------------------
 *
 * allowance.h
 *		Which budgets count for what this session asks for.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ALLOWANCE_H
#define RSTAR_ALLOWANCE_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "base/result.h"
#include "shared/queue.h"

/*
 * Puts those that count for a server into the request; none costs nothing.
 * Opens the table when it has changed since; raises an error when that does
 * not make sense.
 */
extern void rstar_allowance_for(RstarSpec *spec);

/* OVER: in words */
extern void rstar_allowance_refused(const RstarSpec *spec, const RstarTicket *ticket,
									RstarResult *result);

/*
 * Which budgets would be passed by so many samples of each of these servers
 * (InvalidOid: of one that is not known): palloc'd texts, NIL when none is.
 * For EXPLAIN: asks for nothing, and waits for no lock on what is used.
 * Raises what rstar_allowance_for() raises of the table.
 */
extern List *rstar_allowance_passed(const Oid *servers, const double *samples, int n);

/* The table of budgets was changed in this transaction, and has this OID */
extern void rstar_allowance_changed(Oid table);

#endif							/* RSTAR_ALLOWANCE_H */
