/*-------------------------------------------------------------------------
 *
 * share.c
 *		Who gets an endpoint's room: samples that are waited for, and the
 *		background.
 *
 * Room that comes free goes to samples that are waited for, then to the
 * background, which fills the rest.  Two rules soften that.
 *
 * The floor: the background has an eighth of a server's limits in any case, so
 * that it goes on however many people ask.
 *
 * Giving way: a statement of a hundred pairs that comes while the background has
 * all room would wait for most of a reply's time before its last pair is sent.
 * So background samples that have hardly begun, sent within the first half of
 * the time that a reply takes there, are closed for it and asked again when
 * there is room.  Each does so once at most.  What this wastes is a quarter of
 * their time in the mean; to hold room free instead would waste all of it,
 * whether anybody comes or not.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "worker/route.h"
#include "worker/share.h"

/* Of a server that was not loaded yet, so many samples are claimed at first */
#define FIRST_CLAIMS 16

/* The floor of the background is the limit divided by this */
#define FLOOR_PART 8

/* A server that is not loaded, and its samples that were admitted, of one claim */
static Oid	unknown = InvalidOid;
static int	unknown_admitted = 0;

static bool admit_unknown(Oid serverid);
static bool has_room(RstarTarget *target, Oid mapping, RstarTurn turn, int64 now);
static int	background(const RstarTarget *target);
static int	floor_of(const RstarTarget *target);
static int	yielding(RstarTarget *target, Oid mapping, int64 now);
static bool may_yield(const RstarTarget *target, const RstarSample *sample, Oid mapping,
					  int64 now);

/*
 * A server that is not known yet is loaded by its first claims; one that is
 * gone or silent takes all, for them to fail.
 */
bool
rstar_share_admit(Oid serverid, Oid mapping, RstarTurn turn)
{
	RstarTarget *target = rstar_target_find(serverid);
	int64		now;

	if (target == NULL)
		return turn != RSTAR_TURN_FLOOR && admit_unknown(serverid);
	now = rstar_clock();
	if (rstar_target_unread(&target->unread, now) &&
		target->admitted + target->ndelayed >= FIRST_CLAIMS)
		return false;
	if (target->config != NULL && !target->silent && !has_room(target, mapping, turn, now))
		return false;
	target->admitted++;
	if (turn != RSTAR_TURN_INTERACTIVE)
		target->admitted_background++;
	return true;
}

static bool
admit_unknown(Oid serverid)
{
	if (unknown != serverid)
		unknown_admitted = 0;
	unknown = serverid;
	return unknown_admitted++ < FIRST_CLAIMS;
}

static bool
has_room(RstarTarget *target, Oid mapping, RstarTurn turn, int64 now)
{
	int			ready = target->nready[RSTAR_PRIORITY_BACKGROUND];
	int			below = floor_of(target) - background(target);
	int			room = rstar_route_capacity(target->route, mapping, now) - target->admitted;

	switch (turn)
	{
		case RSTAR_TURN_FLOOR:
			/* What is delayed goes first */
			return room > 0 && ready < below;
		case RSTAR_TURN_INTERACTIVE:
			room -= target->nready[RSTAR_PRIORITY_INTERACTIVE];
			room -= Max(Min(ready, below), 0);
			return room > 0 || room + yielding(target, mapping, now) > 0;
		case RSTAR_TURN_BACKGROUND:
			break;
	}
	return room > target->nready[RSTAR_PRIORITY_INTERACTIVE] + ready;
}

/* Samples that have room, or are to get it in this turn */
static int
background(const RstarTarget *target)
{
	return target->nflying[RSTAR_PRIORITY_BACKGROUND] + target->admitted_background;
}

static int
floor_of(const RstarTarget *target)
{
	return Max(rstar_route_limit(target->route) / FLOOR_PART, 1);
}

/* How many would give way; counted once for the claims of a turn */
static int
yielding(RstarTarget *target, Oid mapping, int64 now)
{
	int			most = background(target) - floor_of(target);
	dlist_iter	iter;

	if (target->nyielding >= 0)
		return target->nyielding;
	target->nyielding = 0;
	/* In the order in which they were sent */
	dlist_reverse_foreach(iter, &target->flying)
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);

		if (sample->claim.kind != RSTAR_KIND_SCORE)
			continue;
		if (target->nyielding >= most || !rstar_route_is_young(target->route, &sample->attempt, now))
			break;
		if (may_yield(target, sample, mapping, now))
			target->nyielding++;
	}
	return target->nyielding;
}

static bool
may_yield(const RstarTarget *target, const RstarSample *sample, Oid mapping, int64 now)
{
	return target->config != NULL && target->config->preempt &&
		!sample->yielded &&
		rstar_dispatch_priority(sample->claim.request) == RSTAR_PRIORITY_BACKGROUND &&
		rstar_route_may_yield(target->route, &sample->attempt, mapping, now);
}

RstarSample *
rstar_share_victim(const RstarTarget *target, Oid mapping, int64 now)
{
	dlist_iter	iter;

	if (target->nflying[RSTAR_PRIORITY_BACKGROUND] <= floor_of(target))
		return NULL;
	dlist_reverse_foreach(iter, unconstify(dlist_head *, &target->flying))
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);

		if (sample->claim.kind != RSTAR_KIND_SCORE)
			continue;
		if (!rstar_route_is_young(target->route, &sample->attempt, now))
			break;
		if (may_yield(target, sample, mapping, now))
			return sample;
	}
	return NULL;
}

void
rstar_share_sent(RstarTarget *target)
{
	target->admitted = 0;
	target->admitted_background = 0;
	target->nyielding = -1;
}

void
rstar_share_all_sent(void)
{
	unknown = InvalidOid;
}
