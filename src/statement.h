/*-------------------------------------------------------------------------
 *
 * statement.h
 *		What calls of one statement share: memo, request limit, warning.
 *
 * "Statement" is the executor state that runs the call; for simple PL/pgSQL
 * expressions, which run in none of their own, the one around them; for
 * utility commands (DO, CALL, COPY), the command.
 *
 * Called by: retrostar.c, score.c, pair.c, scan.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_STATEMENT_H
#define RSTAR_STATEMENT_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "queue.h"

struct RstarAhead;
struct RstarCall;

typedef struct RstarStatement
{
	dlist_node	link;			/* in the list of live statements */
	MemoryContext context;		/* all that follows; a child of ... */
	MemoryContext parent;		/* ... the executor's context */

	/* score.c */
	HTAB	   *memo;
	dlist_head	pending;		/* memo entries that wait for a request */
	int			npending;
	dlist_head	values;			/* memo entries that may go, oldest first */
	int64		sent;			/* samples, for request_limit */
	TimestampTz started;		/* when the first call came, for the deadline */
	const struct RstarAhead *announced;
	int			nannounced;

	/* rerank.c */
	dlist_head	sets;			/* that are not finished */

	/* pair.c */
	struct RstarCall *calls;	/* argument combinations seen, newest first */
	int			ncalls;
	uint64		last_call;

	/* for the warnings at the end */
	int64		failures;
	char	   *first_failure;
	int64		shortened;
} RstarStatement;

/* Installs executor and utility hooks; called once by _PG_init */
extern void rstar_statement_init(void);

/* The statement that runs; made when there is none yet */
extern RstarStatement *rstar_statement_current(void);

/*
 * True when the executor that runs was told to run its plan to the end,
 * forward, in one go: every row will be asked for.
 */
extern bool rstar_statement_runs_to_end(void);

/* Counts a pair that failed without an error, for the warning at the end */
extern void rstar_statement_failed(RstarStatement *statement, const char *why);

/* Counts a pair whose document was shortened, likewise */
extern void rstar_statement_shortened(RstarStatement *statement);

#endif							/* RSTAR_STATEMENT_H */
