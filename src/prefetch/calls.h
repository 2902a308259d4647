/*-------------------------------------------------------------------------
 *
 * calls.h
 *		Which score calls of an expression may be made ahead, under which
 *		conditions, and whether that may raise an error.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CALLS_H
#define RSTAR_CALLS_H

#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/primnodes.h"

/* What is called: says how the executor turns the arguments into a pair */
typedef enum RstarCallKind
{
	RSTAR_CALL_SCORE,			/* retro_star_score() */
	RSTAR_CALL_SET,				/* retro_star_rerank_agg(): a document that is
								 * added to a set */
	RSTAR_CALL_SORTED_SET		/* the same, not in the order of the rows: the
								 * aggregate sorts them, or goes by priors */
} RstarCallKind;

/* Positions of the aggregate's arguments */
enum
{
	RSTAR_SET_ARG_QUERY,
	RSTAR_SET_ARG_ID,
	RSTAR_SET_ARG_DOC,
	RSTAR_SET_ARG_TOP_N,
	RSTAR_SET_ARG_PRIOR
};

/* A call that may be made ahead, in the terms of the expression it is in */
typedef struct RstarCallSite
{
	RstarCallKind kind;
	FuncExpr   *func;			/* the call itself, not a copy; for a set, the
								 * aggregate as if it were a function */
	List	   *guards;			/* it is evaluated exactly when all are true */
	bool		may_raise;		/* evaluating arguments or guards may raise */
	List	   *init_params;	/* init plans' parameters in them (IntList) */
	int			shift;			/* it is evaluated for rows that have another
								 * so many rows on in their partition, if
								 * negative back; 0: for all */
} RstarCallSite;

/* Rows that are further away are not looked for */
#define RSTAR_MAX_SHIFT 1000

/* What the parameters (PARAM_EXEC) of a statement are */
typedef struct RstarCallParams
{
	Bitmapset  *init;			/* set by init plans */
	Bitmapset  *barred;			/* not to be used before the call is evaluated */
} RstarCallParams;

/* Is this function retro_star_score, under whatever name? */
extern bool rstar_calls_is_score_function(Oid funcid);

/* Is this node a call of it? */
extern bool rstar_calls_is_score(Node *expr);

/* Is it an aggregate retro_star_rerank_agg? */
extern bool rstar_calls_is_set(Node *expr);

/* Is there any call in the expression, other than in arguments of aggregates? */
extern bool rstar_calls_contain(Node *expr);

/* How often is this very call in the expression? */
extern int	rstar_calls_count(Node *expr, const FuncExpr *func);

/*
 * Adds to "calls" (list of RstarCallSite) those calls in the expression of which
 * it is known exactly when the executor evaluates them.  A call that is in
 * the list is not added again.
 */
extern List *rstar_calls_collect(const RstarCallParams *params, Node *expr, List *calls);

/* The same for the arguments of aggregates and of window aggregates; see window_func.h */
extern List *rstar_calls_collect_aggregated(const RstarCallParams *params, Node *expr,
											List *calls);

/* Adds aggregates retro_star_rerank_agg: a "call" for each document of a set */
extern List *rstar_calls_collect_sets(const RstarCallParams *params, Node *expr, List *calls);

/* arg IS [NOT] TRUE, FALSE or UNKNOWN; a new node around "arg" itself */
extern Expr *rstar_calls_bool_test(Node *arg, BoolTestType type);

#endif							/* RSTAR_CALLS_H */
