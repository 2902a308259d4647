/*-------------------------------------------------------------------------
 *
 * raise.h
 *		Whether evaluating an expression may raise an error.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RAISE_H
#define RSTAR_RAISE_H

#include "postgres.h"

#include "nodes/nodes.h"

/*
 * False only when it is certain that no value of the expression's columns and
 * parameters raises an error.  That an init plan may raise one when it is run
 * for a parameter is left to the caller.
 */
extern bool rstar_raise_possible(Node *expr);

#endif							/* RSTAR_RAISE_H */
