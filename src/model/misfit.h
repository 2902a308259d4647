/*-------------------------------------------------------------------------
 *
 * misfit.h
 *		A dialect that is not that of the server, and what is lost by it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MISFIT_H
#define RSTAR_MISFIT_H

#include "postgres.h"

#include "model/config.h"

/* Its strings are constant */
typedef struct RstarMisfit
{
	const char *server;			/* what kind it is */
	const char *fits;			/* the dialect that fits it */
	const char *harm;			/* a clause, without its full stop */
} RstarMisfit;

/*
 * Whether the server whose models have this owner (RstarModels) wants another
 * dialect, and which.  False also for one that does not say what it is, is not
 * known, or is a router, which does not read what it passes on.
 */
extern bool rstar_misfit(RstarDialect dialect, const char *owner, RstarMisfit *misfit);

/*
 * The command that sets the server's option to this dialect, palloc'd; without
 * a semicolon.  Looks at the catalog: inside a transaction.
 */
extern char *rstar_misfit_remedy(const RstarServer *server, const char *fits);

#endif							/* RSTAR_MISFIT_H */
