/*-------------------------------------------------------------------------
 *
 * hub_server.c
 *		Servers of which answers are shared: which hub each has, and what is
 *		counted for it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "model/server.h"
#include "worker/hub_server.h"

static dlist_head all = DLIST_STATIC_INIT(all);

static void read_server(RstarHubServer *server, RstarHubFind find);

/* Read again when anything of the catalog has changed */
RstarHubServer *
rstar_hub_server_find(Oid serverid, RstarHubFind find)
{
	RstarHubServer *server = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &all)
	{
		server = dlist_container(RstarHubServer, link, iter.cur);
		if (server->serverid == serverid)
			break;
		server = NULL;
	}
	if (server == NULL)
	{
		server = MemoryContextAllocZero(TopMemoryContext, sizeof(RstarHubServer));
		server->serverid = serverid;
		dlist_push_tail(&all, &server->link);
	}
	if (server->version != rstar_server_version())
		read_server(server, find);
	return server;
}

/* An error is a lock, or that somebody cancelled us: no hub, and next time it is tried again */
static void
read_server(RstarHubServer *server, RstarHubFind find)
{
	MemoryContext old = CurrentMemoryContext;
	struct RstarHub *volatile hub = NULL;
	volatile uint64 version = 0;

	PG_TRY();
	{
		RstarServer *config;

		StartTransactionCommand();
		/* Not afterwards: what changes meanwhile must be seen next time */
		version = rstar_server_version();
		config = rstar_server_load(server->serverid);
		if (config != NULL && config->shared_cache != NULL)
			hub = find(config->shared_cache, config->owner);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		version = 0;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	server->version = version;
	server->hub = hub;
}

void
rstar_hub_server_count(RstarHubServer *server, RstarHubCount what, int n)
{
	server->counts[what] += n;
	server->counted = true;
}

void
rstar_hub_server_publish(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &all)
	{
		RstarHubServer *server = dlist_container(RstarHubServer, link, iter.cur);

		if (!server->counted)
			continue;
		rstar_hubs_add(server->serverid, server->counts);
		memset(server->counts, 0, sizeof(server->counts));
		server->counted = false;
	}
}

void
rstar_hub_server_announce(struct RstarHub *hub, const RstarPeer *peer, bool put_fails)
{
	RstarHubState state = peer->state >= RSTAR_PEER_READY ? RSTAR_HUB_CONNECTED :
		peer->failing ? RSTAR_HUB_AWAY :
		peer->state == RSTAR_PEER_CONNECTING ? RSTAR_HUB_CONNECTING : RSTAR_HUB_IDLE;
	dlist_iter	iter;

	dlist_foreach(iter, &all)
	{
		RstarHubServer *server = dlist_container(RstarHubServer, link, iter.cur);

		if (server->hub == hub)
			rstar_hubs_set_state(server->serverid, state,
								 peer->failing || put_fails ? peer->error : NULL);
	}
}
