/*-------------------------------------------------------------------------
 *
 * hub_server.h
 *		Servers of which answers are shared: which hub each has, and what is
 *		counted for it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HUB_SERVER_H
#define RSTAR_HUB_SERVER_H

#include "postgres.h"

#include "lib/ilist.h"

#include "shared/hubs.h"
#include "worker/peer.h"

struct RstarHub;

typedef struct RstarHubServer
{
	dlist_node	link;			/* of all */
	Oid			serverid;
	uint64		version;		/* rstar_server_version() when it was read; 0:
								 * not yet */
	struct RstarHub *hub;		/* NULL: it has none, or cannot be read */
	int64		counts[RSTAR_NHUB_COUNTS];	/* since they were last published */
	bool		counted;
} RstarHubServer;

/* The hub that a server names, for the mapping of its owner */
typedef struct RstarHub *(*RstarHubFind) (const char *name, Oid owner);

/*
 * The entry of a server, which stays as long as the process.  Starts a
 * transaction of its own when anything of the catalog has changed.
 */
extern RstarHubServer *rstar_hub_server_find(Oid serverid, RstarHubFind find);

/* So many more; published later, all at once */
extern void rstar_hub_server_count(RstarHubServer *server, RstarHubCount what, int n);
extern void rstar_hub_server_publish(void);

/* The views are told how the peer of a hub is, of all servers that have it */
extern void rstar_hub_server_announce(struct RstarHub *hub, const RstarPeer *peer, bool put_fails);

#endif							/* RSTAR_HUB_SERVER_H */
