/*-------------------------------------------------------------------------
 *
 * account.h
 *		Usage is written into the table retrostar.usage, and read from it for
 *		budgets.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ACCOUNT_H
#define RSTAR_ACCOUNT_H

#include "postgres.h"

#include "shared/unstored.h"

/* Once, before the first transaction */
extern void rstar_account_init(void);

/*
 * What the next store is to write of usage, beside these answers: theirs, and
 * what usage.c has.  In the caller's memory context, until it is handed to
 * rstar_unstored_done() or rstar_unstored_discard().
 */
extern void rstar_account_begin(const RstarAnswered *answers, int n);
extern const RstarAccounts *rstar_account_end(void);

/*
 * In the transaction of the store, behind the answers.  Writes it, if that is
 * possible now; raises an error if it is not as expected.  Then the caller
 * aborts and calls "failed", which says so, once until it works again, and
 * stores the answers without.  "done": the transaction has committed.
 */
extern void rstar_account_write(void);
extern bool rstar_account_writing(void);
extern void rstar_account_failed(ErrorData *error);
extern void rstar_account_done(void);

/* When usage may be written next (rstar_clock()): 0 but after a failure */
extern int64 rstar_account_due(void);

/*
 * Reads what is used of budgets, if sessions wait for that, in a transaction of
 * its own.  Never raises an error.
 */
extern void rstar_account_read(void);

#endif							/* RSTAR_ACCOUNT_H */
