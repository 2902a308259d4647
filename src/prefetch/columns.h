/*-------------------------------------------------------------------------
 *
 * columns.h
 *		What a plan node computes when its expressions move to a node above:
 *		columns, and references to them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_COLUMNS_H
#define RSTAR_COLUMNS_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/primnodes.h"

/*
 * Adds to the list those parts of an expression that only the node can compute
 * that it is in: Vars, also of system columns and whole rows, and aggregates.
 */
extern List *rstar_columns_collect(Node *expr, List *columns);

/* The target list that computes them */
extern List *rstar_columns_tlist(List *columns);

/* A copy of the expression, for a node whose input they are (INDEX_VAR) */
extern Node *rstar_columns_replace(Node *expr, List *columns);

/* A copy whose Vars of one varno have another: the same columns, seen otherwise */
extern Node *rstar_columns_refer(Node *expr, int from, int to);

/* A target list that passes through all columns of another, as Vars of varno */
extern List *rstar_columns_pass(List *tlist, int varno);

/* Copies what target lists carry beside expressions: names of junk, above all */
extern void rstar_columns_copy_names(List *to, List *from);

#endif							/* RSTAR_COLUMNS_H */
