/*-------------------------------------------------------------------------
 *
 * rounds.h
 *		A set of documents goes through its rounds.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ROUNDS_H
#define RSTAR_ROUNDS_H

#include "postgres.h"

#include "functions/set.h"

/*
 * No document comes any more: goes through the rounds, waiting where it has
 * to.  Other sets that go together with it go on meanwhile.
 */
extern void rstar_rounds_run(RstarSet *set);

#endif							/* RSTAR_ROUNDS_H */
