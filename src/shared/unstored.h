/*-------------------------------------------------------------------------
 *
 * unstored.h
 *		Answers that the cache table does not have yet.
 *
 * For the worker of a database alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_UNSTORED_H
#define RSTAR_UNSTORED_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"
#include "shared/budget.h"
#include "shared/map.h"
#include "shared/usage.h"

/* One answer to be stored */
typedef struct RstarAnswered
{
	RstarRequest *request;
	RstarKey	key;
	char		model[RSTAR_MODEL_LEN];
	int			first_sample;	/* number of the first; orders answers of a
								 * key */
	int			nscores;
	int			unscored;
	int64		prompt_tokens;
	int64		completion_tokens;
	TimestampTz answered_at;
	Size		reasoning_size; /* 0: none was kept */
	char	   *reasoning;		/* JSON array of all samples, or NULL */
	bool		stored;			/* by rstar_store_answers() */
	bool		accounted;		/* its usage is written already */
	RstarUsage	usage;
	uint8		scores[RSTAR_MAX_SAMPLES];
} RstarAnswered;

/* What the worker wrote of usage with them, or would have */
typedef struct RstarAccounts
{
	bool		written;		/* the answers', and what follows, is in the
								 * table; if not, it is kept for the next time */
	const RstarUsage *unwritten;	/* as rstar_usage_unwritten() gave it */
	int			nunwritten;
	const RstarBudgetSlot *charges; /* what the answers cost budgets */
	int			ncharges;
	bool		no_table;		/* there is nothing to write it into */
} RstarAccounts;

/*
 * Copies up to "max" of the oldest answers that the table does not have.  None
 * is given up for room until one of "done", "kept" and "discard" says what has
 * become of them.
 */
extern int	rstar_unstored_copy(RstarAnswered *answers, int max);

/* Copies what was kept of their replies, palloc'd */
extern void rstar_unstored_reasoning(RstarAnswered *answers, int n);

/*
 * Those that are marked as stored are in the table now, committed.  The table
 * did not take the others; they do not come again before they are to be tried
 * again.
 */
extern void rstar_unstored_done(const RstarAnswered *answers, int n, const RstarAccounts *accounts);
extern void rstar_unstored_try_refused(void);

/* They cannot be stored for the time being; "failed": which is to be counted */
extern void rstar_unstored_kept(bool failed);

/* The table is gone: there is nothing to store them for */
extern void rstar_unstored_discard(const RstarAnswered *answers, int n, const RstarAccounts *accounts);

#endif							/* RSTAR_UNSTORED_H */
