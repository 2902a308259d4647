/*-------------------------------------------------------------------------
 *
 * budget.c
 *		What budgets have left, for all sessions together, in shared memory.
 *
 * There may be more budgets than slots: one that no request holds gives way,
 * the one that was used least recently, and is read again when it is needed.
 * Where requests hold all of them, sessions wait for room.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "shared/budget.h"
#include "shared/shmem.h"

#define PART_NAME "retrostar_budgets"

#define MAX_SLOTS 1024

/* What could not be read is tried again after so long */
#define REREAD_MS 1000

/* On a standby others write the table, unseen: what was read is so long good */
#define STANDBY_REREAD_MS 5000

typedef enum SlotState
{
	SLOT_UNREAD,
	SLOT_READ,
	SLOT_UNREADABLE
} SlotState;

typedef struct Slot
{
	Oid			dboid;			/* InvalidOid: free */
	uint32		serial;
	SlotState	state;
	RstarBudget budget;
	int			holds;			/* requests that hold some of it */
	uint64		used_at;		/* by the time of all */
	TimestampTz read_at;
	RstarSpending stored;
	RstarSpending held;
} Slot;

typedef struct Slots
{
	int			n;				/* none behind these is in use */
	uint64		time;
	Slot		slots[MAX_SLOTS];
} Slots;

static Slots *all = NULL;

static Slot *find(RstarDatabase *db, RstarBudget *budget);
static Slot *make(RstarDatabase *db, RstarBudget *budget);
static void begin_window(Slot *slot, const RstarBudget *budget);
static bool is_stale(const Slot *slot);
static void set_state(Slot *slot, SlotState state);
static void vacate(Slot *slot);
static bool passes(int64 limit, int64 stored, int64 held, int64 more);
static void add(RstarSpending *to, const RstarSpending *spending, int sign);

void
rstar_budget_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Slots)));
}

void
rstar_budget_startup(void)
{
	bool		found;

	all = ShmemInitStruct(PART_NAME, sizeof(Slots), &found);
	if (!found)
		memset(all, 0, sizeof(Slots));
}

RstarAllowed
rstar_budget_allows(RstarDatabase *db, RstarBudget *budgets, int n, const RstarSpending *more,
					RstarRefusal *refusal)
{
	RstarAllowed allowed = RSTAR_ALLOWED;

	for (int i = 0; i < n; i++)
	{
		Slot	   *slot = find(db, &budgets[i]);

		if (slot == NULL && (slot = make(db, &budgets[i])) == NULL)
			return RSTAR_ALLOWED_LATER;
		slot->used_at = ++all->time;
		if (slot->budget.starts < budgets[i].starts || is_stale(slot))
			begin_window(slot, &budgets[i]);
		if (slot->state == SLOT_UNREAD)
		{
			rstar_shmem_wake_worker(db);
			allowed = RSTAR_ALLOWED_LATER;	/* the others are made at once */
			continue;
		}
		refusal->budget = i;
		refusal->used = slot->stored;
		refusal->held = slot->held;
		if (slot->state == SLOT_UNREADABLE)
			return RSTAR_ALLOWED_UNREADABLE;
		refusal->tokens = passes(budgets[i].tokens, slot->stored.tokens, slot->held.tokens, more->tokens);
		if (refusal->tokens ||
			passes(budgets[i].samples, slot->stored.samples, slot->held.samples, more->samples))
			return RSTAR_ALLOWED_OVER;
	}
	return allowed;
}

/* Where it was last, or anywhere */
static Slot *
find(RstarDatabase *db, RstarBudget *budget)
{
	Slot	   *slot = &all->slots[budget->slot];

	if (slot->dboid == db->dboid && slot->budget.id == budget->id)
		return slot;
	for (int i = 0; i < all->n; i++)
	{
		slot = &all->slots[i];
		if (slot->dboid == db->dboid && slot->budget.id == budget->id)
		{
			budget->slot = i;
			return slot;
		}
	}
	return NULL;
}

static Slot *
make(RstarDatabase *db, RstarBudget *budget)
{
	Slot	   *slot = NULL;

	for (int i = 0; i < all->n && (slot == NULL || OidIsValid(slot->dboid)); i++)
	{
		Slot	   *other = &all->slots[i];

		if (other->holds == 0 &&
			(slot == NULL || !OidIsValid(other->dboid) || other->used_at < slot->used_at))
			slot = other;
	}
	if ((slot == NULL || OidIsValid(slot->dboid)) && all->n < MAX_SLOTS)
		slot = &all->slots[all->n++];
	if (slot == NULL)
		return NULL;
	vacate(slot);
	slot->dboid = db->dboid;
	memset(&slot->held, 0, sizeof(RstarSpending));
	budget->slot = (int) (slot - all->slots);
	begin_window(slot, budget);
	return slot;
}

/* What is held goes on into the new window, where it will be used */
static void
begin_window(Slot *slot, const RstarBudget *budget)
{
	slot->budget = *budget;
	slot->serial++;
	memset(&slot->stored, 0, sizeof(RstarSpending));
	set_state(slot, SLOT_UNREAD);
}

static bool
is_stale(const Slot *slot)
{
	int			ms = slot->state == SLOT_UNREADABLE ? REREAD_MS : STANDBY_REREAD_MS;

	return slot->state != SLOT_UNREAD && (slot->state == SLOT_UNREADABLE || RecoveryInProgress()) &&
		TimestampDifferenceExceeds(slot->read_at, GetCurrentTimestamp(), ms);
}

static void
set_state(Slot *slot, SlotState state)
{
	RstarDatabase *db = rstar_shmem_database(slot->dboid, false);

	if (db != NULL)
		db->nunread += (state == SLOT_UNREAD) - (slot->state == SLOT_UNREAD);
	slot->state = state;
}

static void
vacate(Slot *slot)
{
	if (OidIsValid(slot->dboid))
		set_state(slot, SLOT_READ);
	slot->dboid = InvalidOid;
	slot->state = SLOT_READ;
}

static bool
passes(int64 limit, int64 stored, int64 held, int64 more)
{
	return limit != RSTAR_BUDGET_UNLIMITED && stored + held + more > limit;
}

static void
add(RstarSpending *to, const RstarSpending *spending, int sign)
{
	to->samples += sign * spending->samples;
	to->tokens += sign * spending->tokens;
}

void
rstar_budget_hold(RstarHold *hold, const RstarBudget *budgets, int n, const RstarSpending *spending)
{
	hold->n = n;
	hold->spending = *spending;
	for (int i = 0; i < n; i++)
	{
		Slot	   *slot = &all->slots[budgets[i].slot];

		hold->slots[i] = (uint16) budgets[i].slot;
		slot->holds++;
		add(&slot->held, spending, 1);
	}
}

void
rstar_budget_change(RstarHold *hold, int64 samples, int64 tokens)
{
	RstarSpending more = {samples, tokens};

	add(&hold->spending, &more, 1);
	for (int i = 0; i < hold->n; i++)
		add(&all->slots[hold->slots[i]].held, &more, 1);
}

void
rstar_budget_release(RstarHold *hold, bool spent)
{
	for (int i = 0; i < hold->n; i++)
	{
		Slot	   *slot = &all->slots[hold->slots[i]];

		add(&slot->held, &hold->spending, -1);
		if (spent)
			add(&slot->stored, &hold->spending, 1);
		/* The worker may have looked already: it does so again */
		if (spent && slot->state == SLOT_UNREAD)
			slot->serial++;
		if (--slot->holds == 0)
			rstar_shared->freed++;
	}
	hold->n = 0;
	memset(&hold->spending, 0, sizeof(RstarSpending));
}

RstarBudgetSlot *
rstar_budget_slots(bool unread, int *n)
{
	RstarBudgetSlot *slots;

	*n = 0;
	/* A look without the lock: one that comes later wakes us */
	if (all->n == 0)
		return NULL;
	slots = palloc0(MAX_SLOTS * sizeof(RstarBudgetSlot));
	LWLockAcquire(rstar_shared->lock, LW_SHARED);
	for (int i = 0; i < all->n; i++)
	{
		const Slot *slot = &all->slots[i];
		RstarBudgetSlot *copy = &slots[*n];

		if (slot->dboid != MyDatabaseId ||
			(unread ? slot->state != SLOT_UNREAD : slot->state != SLOT_READ))
			continue;
		copy->slot = i;
		copy->serial = slot->serial;
		copy->role = slot->budget.role;
		copy->serverid = slot->budget.serverid;
		copy->starts = slot->budget.starts;
		copy->ends = slot->budget.ends;
		(*n)++;
	}
	LWLockRelease(rstar_shared->lock);
	return slots;
}

void
rstar_budget_read(const RstarBudgetSlot *slots, int n, bool well)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		Slot	   *slot = &all->slots[slots[i].slot];

		if (!OidIsValid(slot->dboid) || slot->serial != slots[i].serial)
			continue;
		slot->stored = slots[i].spending;
		slot->read_at = GetCurrentTimestamp();
		set_state(slot, well ? SLOT_READ : SLOT_UNREADABLE);
	}
	rstar_shared->freed++;
	rstar_shmem_wake_space(true);
	LWLockRelease(rstar_shared->lock);
}

void
rstar_budget_forget(void)
{
	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < all->n; i++)
	{
		Slot	   *slot = &all->slots[i];

		if (slot->dboid != MyDatabaseId)
			continue;
		slot->serial++;
		set_state(slot, SLOT_UNREAD);
	}
	LWLockRelease(rstar_shared->lock);
}

void
rstar_budget_charge(const RstarBudgetSlot *slots, int n)
{
	for (int i = 0; i < n; i++)
	{
		Slot	   *slot = &all->slots[slots[i].slot];

		if (OidIsValid(slot->dboid) && slot->serial == slots[i].serial)
			add(&slot->stored, &slots[i].spending, 1);
	}
}

void
rstar_budget_purge(Oid dboid)
{
	for (int i = 0; i < all->n; i++)
	{
		Slot	   *slot = &all->slots[i];

		if (slot->dboid == dboid && slot->holds == 0)
			vacate(slot);
	}
}
