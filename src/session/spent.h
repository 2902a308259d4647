/*-------------------------------------------------------------------------
 *
 * spent.h
 *		What is used of a budget, as the table retrostar.usage says.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SPENT_H
#define RSTAR_SPENT_H

#include "postgres.h"

#include "shared/budget.h"

/*
 * In the budget's window, for EXPLAIN: what is in work is not in it.  Reads the
 * table whoever the user is, as it is the budget's that is told.  False when
 * that is not possible now; it waits for no lock.
 */
extern bool rstar_spent_read(const RstarBudget *budget, RstarSpending *spent);

#endif							/* RSTAR_SPENT_H */
