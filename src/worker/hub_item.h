/*-------------------------------------------------------------------------
 *
 * hub_item.h
 *		Look-ups in the lists of a hub.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HUB_ITEM_H
#define RSTAR_HUB_ITEM_H

#include "postgres.h"

#include "lib/ilist.h"

#include "shared/lookup.h"
#include "worker/hub_server.h"

/* Look-ups that are taken, or told what was found, under one hold of the lock */
#define RSTAR_HUB_BATCH 64

/* palloc'd in TopMemoryContext; in one of the lists of its hub */
typedef struct RstarHubItem
{
	dlist_node	link;
	RstarLookup lookup;
	RstarHubServer *server;
	int64		since;			/* us, when it was taken */
	int64		due;			/* us */
	int64		delay;
	bool		elsewhere;		/* was so; counted */
} RstarHubItem;

/* Nobody is to be asked: each is queued as without a hub, and forgotten */
extern void rstar_hub_items_queue(dlist_head *items);

/* Forgets all of a list */
extern void rstar_hub_items_free(dlist_head *items);

/* Moves what is in a list, whatever it is, to the end of another, in its order */
extern void rstar_hub_items_move(dlist_head *to, dlist_head *from);

#endif							/* RSTAR_HUB_ITEM_H */
