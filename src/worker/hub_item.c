/*-------------------------------------------------------------------------
 *
 * hub_item.c
 *		Look-ups in the lists of a hub.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "worker/hub_item.h"

void
rstar_hub_items_queue(dlist_head *items)
{
	while (!dlist_is_empty(items))
	{
		RstarFinding findings[RSTAR_HUB_BATCH];
		RstarHubItem *taken[RSTAR_HUB_BATCH];
		int			n = 0;

		while (n < RSTAR_HUB_BATCH && !dlist_is_empty(items))
		{
			taken[n] = dlist_container(RstarHubItem, link, dlist_pop_head_node(items));
			memset(&findings[n], 0, sizeof(RstarFinding));
			findings[n].lookup = &taken[n]->lookup;
			findings[n].found = RSTAR_FOUND_OURS;
			n++;
		}
		rstar_lookup_found(findings, n);
		for (int i = 0; i < n; i++)
		{
			if (findings[i].outcome == RSTAR_LOOKED_UP_QUEUED)
				rstar_hub_server_count(taken[i]->server, RSTAR_HUB_PAID, 1);
			pfree(taken[i]);
		}
	}
}

void
rstar_hub_items_free(dlist_head *items)
{
	while (!dlist_is_empty(items))
		pfree(dlist_container(RstarHubItem, link, dlist_pop_head_node(items)));
}

void
rstar_hub_items_move(dlist_head *to, dlist_head *from)
{
	while (!dlist_is_empty(from))
		dlist_push_tail(to, dlist_pop_head_node(from));
}
