/*-------------------------------------------------------------------------
 *
 * site.h
 *		A call that is made ahead: from the plan to what the executor evaluates.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SITE_H
#define RSTAR_SITE_H

#include "postgres.h"

#include "executor/executor.h"
#include "nodes/plannodes.h"

#include "prefetch/calls.h"
#include "session/pair.h"

/* A call that is made ahead */
typedef struct RstarSite
{
	RstarCallKind kind;
	ExprState  *guards;			/* all must be true; NULL: none */
	ExprState  *args[RSTAR_NARGS];	/* NULL: the argument is */
	int			shift;			/* RstarCallSite's */
	bool		may_raise;		/* evaluating these may raise an error */
	List	   *init_params;	/* parameters of init plans in them */
	bool		varying;		/* it is guarded, or not all arguments but
								 * query and doc are the same for all rows */
	bool		doc_lasts;		/* the document stays valid with the row ... */
	bool		query_lasts;	/* ... and so does the query */
	bool		strict;			/* was declared so: without a NULL it is
								 * called */
	/* sets of documents: what is asked for at first, since the last (re)scan */
	int			samples;
	int			documents;
	uint32		query_hash;		/* of the set that gets documents now */
	int			added;			/* documents since the query changed */
	bool		priors;			/* they have priors */
} RstarSite;

/*
 * The call sites of a node, whose expressions, those of the bound left out,
 * these are.
 */
extern RstarSite *rstar_site_init(CustomScan *scan, List *exprs, PlanState *parent, int *nsites);

#endif							/* RSTAR_SITE_H */
