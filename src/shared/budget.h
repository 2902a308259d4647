/*-------------------------------------------------------------------------
 *
 * budget.h
 *		What budgets have left, for all sessions together, in shared memory.
 *
 * A budget has a slot while sessions ask for what it bounds.  What is used of
 * it is the sum of
 *
 *	stored		what the table retrostar.usage has of its window: read once,
 *				by the worker, when the slot is new, its window begins, or
 *				memberships of roles change; then the worker adds what it
 *				writes.  Nobody else writes that table; but on a standby the
 *				primary does, and it is read again from time to time.
 *	held		by requests in the map: the samples that they will take, and a
 *				guess at their tokens until their replies say it, until
 *				their usage is written
 *
 * So nothing is lost in a crash but what the table did not get, and that is
 * asked again.  What is refused is what would pass the limit if all that is
 * held came to be used.  All under the lock of the map.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_BUDGET_H
#define RSTAR_BUDGET_H

#include "postgres.h"

#include "utils/timestamp.h"

struct RstarDatabase;

#define RSTAR_BUDGET_TABLE "budget"

/* Budgets that can count for one request */
#define RSTAR_BUDGETS_PER_REQUEST 8

#define RSTAR_BUDGET_UNLIMITED (-1)

/* One that counts for a request, as its session has read it */
typedef struct RstarBudget
{
	uint64		id;				/* hash of what follows but for the limits,
								 * and of its name */
	Oid			role;			/* InvalidOid: all */
	Oid			serverid;		/* InvalidOid: all */
	TimestampTz starts;			/* of its present window */
	TimestampTz ends;
	int64		samples;		/* limits, or UNLIMITED */
	int64		tokens;
	int			slot;			/* where it was seen last */
} RstarBudget;

typedef struct RstarSpending
{
	int64		samples;
	int64		tokens;
} RstarSpending;

/* Of one request: where, and what it takes there */
typedef struct RstarHold
{
	int			n;
	uint16		slots[RSTAR_BUDGETS_PER_REQUEST];
	RstarSpending spending;
} RstarHold;

typedef enum RstarAllowed
{
	RSTAR_ALLOWED,
	RSTAR_ALLOWED_OVER,			/* the budget would be passed */
	RSTAR_ALLOWED_UNREADABLE,	/* the worker could not read what is used */
	RSTAR_ALLOWED_LATER			/* the worker is to read it; or all slots are
								 * taken */
} RstarAllowed;

/* Which one would be passed, and what it had used */
typedef struct RstarRefusal
{
	int			budget;			/* index of the session's */
	bool		tokens;			/* its limit of tokens; else that of samples */
	RstarSpending used;			/* what is stored, and ... */
	RstarSpending held;			/* ... what is in work */
} RstarRefusal;

/* What the worker is to read, and later adds to */
typedef struct RstarBudgetSlot
{
	int			slot;
	uint32		serial;			/* another: the slot means something else */
	Oid			role;
	Oid			serverid;
	TimestampTz starts;
	TimestampTz ends;
	RstarSpending spending;		/* read, or to be added */
} RstarBudgetSlot;

/* RstarShmemPart of the slots */
extern void rstar_budget_request(void);
extern void rstar_budget_startup(void);

/*
 * Worker: slots of its database that are to be read ("unread") or are read,
 * palloc'd; NULL when there are none.  Takes the lock.
 */
extern RstarBudgetSlot *rstar_budget_slots(bool unread, int *n);

/* These are read ("well": or could not be).  Takes the lock. */
extern void rstar_budget_read(const RstarBudgetSlot *slots, int n, bool well);

/* All that is known of the database's is to be read again.  Takes the lock. */
extern void rstar_budget_forget(void);

/* The rest needs the lock held exclusively. */

/* Whether a request may be made that takes so much */
extern RstarAllowed rstar_budget_allows(struct RstarDatabase *db, RstarBudget *budgets, int n,
										const RstarSpending *more, RstarRefusal *refusal);

/* It is made; all of these have slots, as they allowed it */
extern void rstar_budget_hold(RstarHold *hold, const RstarBudget *budgets, int n,
							  const RstarSpending *spending);

/* It takes more, or less */
extern void rstar_budget_change(RstarHold *hold, int64 samples, int64 tokens);

/* It takes nothing more; what it took is stored, or "spent" all the same */
extern void rstar_budget_release(RstarHold *hold, bool spent);

/* The worker has written these */
extern void rstar_budget_charge(const RstarBudgetSlot *slots, int n);

/* Those of a database that was dropped */
extern void rstar_budget_purge(Oid dboid);

#endif							/* RSTAR_BUDGET_H */
