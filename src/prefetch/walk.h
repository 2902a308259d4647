/*-------------------------------------------------------------------------
 *
 * walk.h
 *		What a finished plan consists of: children and expressions of every
 *		node type, and the facts of a statement that follow from them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WALK_H
#define RSTAR_WALK_H

#include "postgres.h"

#include "nodes/plannodes.h"

#include "prefetch/calls.h"
#include "prefetch/node.h"

/* What a statement does beside reading */
typedef enum RstarEffects
{
	RSTAR_EFFECTS_NONE,
	RSTAR_EFFECTS_TARGET,		/* it is an INSERT, UPDATE, DELETE or MERGE,
								 * and all that it takes its rows from reads */
	RSTAR_EFFECTS_OTHER
} RstarEffects;

/* What is known of a statement before its plan is changed */
typedef struct RstarPlanFacts
{
	PlannedStmt *stmt;
	RstarEffects effects;		/* rstar_walk_effects() */
	bool		only_reads;		/* others' nodes do nothing else in the part
								 * of the plan that is looked at */
	bool		keeps_quals;	/* others look at the conditions of the scans
								 * in that part, which have to stay there */
	bool		has_calls;		/* some expression calls retro_star_score, or
								 * aggregates by retro_star_rerank_agg */
	int			last_node_id;	/* the highest plan_node_id in use */
	int			nparams;		/* number of PARAM_EXEC parameters */
	int		   *init_plan;		/* by parameter: plan_id of the init plan that
								 * sets it, or 0 */
	RstarCallParams params;		/* which of them calls may use */
	int			nsubplans;
	struct RstarSubplanFacts *subplans; /* by plan_id - 1 */
} RstarPlanFacts;

typedef struct RstarSubplanFacts
{
	bool		used;			/* some reader was seen */
	RstarReadMode mode;			/* of the reader that reads least */
	enum
	{
		RSTAR_AHEAD_UNKNOWN,	/* not looked at yet */
		RSTAR_AHEAD_LOOKING,	/* being looked at */
		RSTAR_AHEAD_NO,
		RSTAR_AHEAD_YES
	}			ahead;			/* may it run before its rows are wanted? */
} RstarSubplanFacts;

typedef bool (*RstarExprWalker) (Node *expr, void *context);

/*
 * Does the statement, before it is planned, read and nothing else: no data or
 * row locks change, and no function in it is volatile?  Then whatever node
 * somebody else puts into its plan can only be there to read.
 */
extern RstarEffects rstar_walk_effects(Query *query);

/* Is it an INSERT of values alone?  Nobody has nodes of his own in its source. */
extern bool rstar_walk_inserts_values(const Query *query);

/*
 * Collects the facts; those that only matter to a statement with calls are
 * left out when there is none.  Arrays live in CurrentMemoryContext.
 */
extern void rstar_walk_statement(PlannedStmt *stmt, RstarEffects effects, RstarPlanFacts *facts);

/*
 * Others' nodes only read from here on: in a subplan or subquery, and below the
 * mark of an INSERT's source, unless the statement has other effects.  Returns
 * what was before, to be set again behind that part.
 */
extern bool rstar_walk_enter_source(RstarPlanFacts *facts);

/* A reader of the subplan was found that reads it in this mode */
extern void rstar_walk_note_reader(RstarPlanFacts *facts, int plan_id, RstarReadMode mode);

/* The child plans of a node, as a new list */
extern List *rstar_walk_children(Plan *plan);

/*
 * Calls the walker for the expressions of a node other than its target list
 * and qual.  True as soon as the walker says so, and for unknown node types.
 */
extern bool rstar_walk_own_exprs(Plan *plan, RstarExprWalker walker, void *context);

/*
 * May this node and all below it produce rows before anybody wants them, and
 * rows that nobody wants in the end?  Not when volatile functions, row locks
 * or changes of data are in it, or anything that is not known here.  Of its
 * own target list and qual the node is going to keep what is in "kept".
 */
extern bool rstar_walk_may_run_ahead(RstarPlanFacts *facts, Plan *plan, List *kept);

#endif							/* RSTAR_WALK_H */
