/*-------------------------------------------------------------------------
 *
 * target.h
 *		What the worker knows of the servers it sends to.
 *
 * Called by: send.c, probe.c, abort.c, sample.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TARGET_H
#define RSTAR_TARGET_H

#include "postgres.h"

#include "lib/ilist.h"

#include "counters.h"
#include "http.h"
#include "queue.h"
#include "route.h"
#include "server.h"

/* What could not be read for a reason that passes: a lock, want of memory */
typedef struct RstarUnread
{
	int64		since;			/* us; 0: it was read, or the reason remains */
	int64		retry_at;		/* us; 0, or when to try again */
} RstarUnread;

/* The headers of one user mapping for a server; counted by its users */
typedef struct RstarChannel
{
	dlist_node	link;			/* in the target's channels while current */
	Oid			mapping;
	int			users;			/* exchanges in flight; +1 while current */
	RstarHttpHeaders *headers;	/* NULL: see error */
	RstarUnread unread;
	char		error[RSTAR_DETAIL_LEN];	/* why there are none */
} RstarChannel;

/* One server, as of the last time it was loaded */
typedef struct RstarTarget
{
	Oid			serverid;		/* hash key */
	dlist_node	link;			/* of all targets */
	MemoryContext context;		/* of config and URLs */
	RstarServer *config;		/* NULL: dropped, its options do not parse, or "unread" */
	bool		dropped;		/* the catalog does not have it any more */
	uint64		fingerprint;	/* rstar_server_fingerprint() of it */
	char	  **chat_urls;		/* of the endpoints */
	char	  **model_urls;
	char	  **health_urls;
	uint64		version;		/* rstar_server_version() when it was loaded */
	RstarRoute *route;			/* NULL: never loaded well */
	RstarEndpointStats *stats[RSTAR_SERVER_MAX_URLS];	/* or NULL; and what ... */
	uint64		names[RSTAR_SERVER_MAX_URLS];	/* ... rstar_counters_url() says */
	int			nstats;
	dlist_head	channels;
	dlist_head	delayed;		/* samples that wait to be sent, oldest first */
	dlist_head	flying;			/* samples in flight */
	int			ndelayed;
	int			nready;			/* of these, held up by want of room only */
	int			admitted;		/* in this turn */
	bool		silent;			/* nothing answers: samples fail */
	int64		wake;			/* when to look at "delayed" again */
	RstarUnread unread;			/* is the server */
	char		last_error[RSTAR_DETAIL_LEN];
} RstarTarget;

/* Sets up the table of targets; once */
extern void rstar_target_init(void);

/* The target of a server, or NULL when it was not loaded yet */
extern RstarTarget *rstar_target_find(Oid serverid);

/*
 * Who needs what could not be read waits for it, and does not fail.  Not for
 * ever: false after a minute.
 */
extern bool rstar_target_unread(const RstarUnread *unread, int64 now);

/*
 * The target of a server, loaded, or loaded again when the catalog changed or
 * when it is time to try what could not be read.
 * Starts a transaction of its own when it has to load.  map (room for the old
 * number of endpoints, at most RSTAR_SERVER_MAX_URLS) says where the old ones went;
 * *changed whether they did.
 */
extern RstarTarget *rstar_target_load(Oid serverid, int *map, bool *changed);

/*
 * The channel of a mapping; its users count grows by one.  Starts a
 * transaction of its own when it has to be made, or it is time to try what could
 * not be read.  Never raises: errors are in the channel.
 */
extern RstarChannel *rstar_target_channel(RstarTarget *target, Oid mapping);
extern void rstar_target_leave_channel(RstarChannel *channel);

/* The server refused the key: who comes next reads it again, from its file */
extern void rstar_target_forget_channel(RstarTarget *target, Oid mapping);

/*
 * Logs what changed with endpoints since it was last called; why: an HTTP
 * status, or (0) curl's words, or NULL.  Nothing that a server said: it may
 * quote documents and keys.
 */
extern void rstar_target_log_changes(const RstarTarget *target, int http_status,
									 const char *error);

/* The URL of an endpoint, or NULL when there is none of this number */
extern const char *rstar_target_endpoint(const RstarTarget *target, int endpoint);

/* Puts the state of an endpoint down for the views; -1: it is none any more */
extern void rstar_target_publish(const RstarTarget *target, int endpoint);

/* Of a server that was dropped; it has no samples */
extern void rstar_target_forget(RstarTarget *target);

/* Calls a function for each target, which may forget it */
extern void rstar_target_each(void (*function) (RstarTarget *target, int64 now), int64 now);

#endif							/* RSTAR_TARGET_H */
