/*-------------------------------------------------------------------------
 *
 * statement.h
 *		What calls of one statement share: memo, request limit, warning.
 *
 * "Statement" is the executor state that runs the call; for simple PL/pgSQL
 * expressions, which run in none of their own, the one around them; for
 * utility commands (DO, CALL, COPY), the command.
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

struct RstarAhead;
struct RstarCall;
struct RstarMemoEntry;

/* How much the priors of sets weighed, for EXPLAIN ANALYZE */
typedef struct RstarPriorUse
{
	int64		sets;			/* that had different priors */
	double		least;
	double		most;
} RstarPriorUse;

typedef struct RstarStatement
{
	dlist_node	link;			/* in the list of live statements */
	MemoryContext context;		/* all that follows; a child of ... */
	MemoryContext parent;		/* ... the executor's context */

	/* memo.c, ask.c, score.c */
	HTAB	   *memo;
	dlist_head	pending;		/* memo entries that wait for a request */
	int			npending;
	int			nawaited;		/* of these, for rstar_memo_wait_until() */
	bool		warms;			/* part of a refresh: the procedure's
								 * statement learns what comes of its pairs */
	bool		refreshes;		/* the procedure's */
	dlist_head	values;			/* memo entries that may go, oldest first */
	int64		sent;			/* samples, also of statements that are part
								 * of it; for request_limit */
	TimestampTz started;		/* when the first call came, for the deadline */
	TimestampTz look_at;		/* notice.c: why nothing comes; 0: not waiting */
	bool		noticed;		/* ... and it was told */
	bool		reads_ahead;	/* a node of its plan makes calls ahead */
	int			serial;			/* notice.c: waits one after another, of this
								 * and all that is part of it */
	const struct RstarAhead *announced;
	int			nannounced;

	/* rerank.c */
	dlist_head	sets;			/* that are not finished */
	RstarPriorUse *prior_use;	/* NULL: it is not shown */

	/* pair.c */
	struct RstarCall *calls;	/* argument combinations seen, newest first */
	int			ncalls;
	uint64		last_call;

	/* for the warnings at the end */
	int64		failures;
	char	   *first_failure;
	char	   *first_which;	/* the session alone is told */
	int64		shortened;
	int64		reversed;
} RstarStatement;

/*
 * The refresh of a materialized view (warm.c), as those see it whose statements
 * are parts of it: they tell it what it asks to be told.
 */
typedef struct RstarKeeper
{
	RstarStatement *statement;	/* the procedure's: warning of all */
	bool		in_pass;		/* the query runs, and will run again: no call
								 * waits, nothing is final; else the view is
								 * refreshed */

	/* in a pass, a statement ends */
	void		(*keep_all) (RstarStatement *statement);
	/* ... or does not need a PENDING memo entry any more, which is NEW then */
	void		(*keep) (RstarStatement *statement, struct RstarMemoEntry *entry);
	/* a memo entry of any of its statements has got its result */
	void		(*learn) (const struct RstarMemoEntry *entry);
} RstarKeeper;

/* The refresh whose query runs now; NULL: none */
extern RstarKeeper *rstar_statement_keeper;

/* Installs executor and utility hooks; called once by _PG_init */
extern void rstar_statement_init(void);

/* The statement that runs; made when there is none yet */
extern RstarStatement *rstar_statement_current(void);

/*
 * retrostar.request_limit: samples that the running statement has asked for are
 * counted for it and for all that it is part of (the queries of functions,
 * triggers and DO blocks, the command that fetches from a cursor), up to what
 * the client sent; a CALL is one, however often it commits.
 */
extern void rstar_statement_add_sent(int64 samples);

/* The most that one of these has asked for */
extern int64 rstar_statement_sent(void);

/* Where calls are that no node of a plan makes ahead */
typedef enum RstarWithin
{
	RSTAR_WITHIN_PLAN,			/* in the plan of the statement itself */
	RSTAR_WITHIN_FUNCTION,		/* in a function or block */
	RSTAR_WITHIN_COMMAND		/* in an index or constraint that a command
								 * evaluates, which has no plan */
} RstarWithin;

/* The outermost statement, which the running one is part of, or itself */
extern RstarStatement *rstar_statement_outermost(RstarWithin *within);

/*
 * Does it run, or read, with rights that are not the session's: in a function
 * that is SECURITY DEFINER, from a view of another's, in maintenance?
 */
extern bool rstar_statement_for_others(void);

/* Calls the function for the running statement and each that it is part of */
extern void rstar_statement_each_around(void (*function) (RstarStatement *statement));

/* Calls the function for each live statement of the session; it may not end any */
extern void rstar_statement_each(void (*function) (RstarStatement *statement));

/*
 * True when the executor that runs was told to run its plan to the end,
 * forward, in one go: every row will be asked for.
 */
extern bool rstar_statement_runs_to_end(void);

/*
 * True while EXPLAIN, or what it calls, is at work outside of the planner, and
 * without ANALYZE: nothing is to be sent or waited for.
 */
extern bool rstar_statement_explains(void);

/* A pass of a refresh runs: calls do not wait, and nothing is warned of */
extern bool rstar_statement_in_pass(void);

/*
 * Counts a pair that failed without an error, for the warning at the end: of
 * the procedure, when a materialized view is refreshed by it.  Which it is, is
 * for the session, not for the server's log.
 */
extern void rstar_statement_failed(RstarStatement *statement, const char *why,
								   const char *which);

/* Counts a pair whose document was shortened, likewise */
extern void rstar_statement_shortened(RstarStatement *statement);

/* Counts a set whose priors fall where scores rise, likewise */
extern void rstar_statement_reversed(RstarStatement *statement);

#endif							/* RSTAR_STATEMENT_H */
