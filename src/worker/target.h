/*-------------------------------------------------------------------------
 *
 * target.h
 *		What the worker knows of the servers it sends to.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TARGET_H
#define RSTAR_TARGET_H

#include "postgres.h"

#include "lib/ilist.h"

#include "base/result.h"
#include "base/settings.h"
#include "model/config.h"
#include "model/shorten.h"
#include "shared/counters.h"
#include "worker/exchange.h"
#include "worker/route.h"

/* What could not be read for a reason that passes: a lock, want of memory */
typedef struct RstarUnread
{
	int64		since;			/* us; 0: it was read, or the reason remains */
	int64		retry_at;		/* us; 0, or when to try again */
} RstarUnread;

/* Room for where a key comes from, with its NUL */
#define RSTAR_KEY_FROM_LEN 192

/* The headers of one user mapping for a server; counted by its users */
typedef struct RstarChannel
{
	dlist_node	link;			/* in the target's channels while current */
	Oid			mapping;
	int			users;			/* exchanges in flight; +1 while current */
	RstarHttpHeaders *headers;	/* NULL: see error */
	RstarUnread unread;
	char		error[RSTAR_DETAIL_LEN];	/* why there are none */
	char		key_from[RSTAR_KEY_FROM_LEN];	/* which key is among them, in
												 * words: not the key */
} RstarChannel;

/* What models.c knows of the models of an endpoint */
typedef struct RstarListed
{
	bool		fits;			/* nothing remains to be asked */
	bool		asked;			/* it is being asked */
	uint32		question;		/* number of the last one; the answers to
								 * others came too late */
	int64		ask_at;			/* us: not again before */
	char		other[RSTAR_DETAIL_LEN];	/* what it serves, when another;
											 * or "" */
	char		misfit[sizeof(((RstarLearnt *) NULL)->misfit)]; /* as there */
} RstarListed;

/* One server, as of the last time it was loaded */
typedef struct RstarTarget
{
	Oid			serverid;		/* hash key */
	dlist_node	link;			/* of all targets */
	MemoryContext context;		/* of config and URLs */
	RstarServer *config;		/* NULL: dropped, its options do not parse, or
								 * "unread" */
	bool		dropped;		/* the catalog does not have it any more */
	uint64		fingerprint;	/* rstar_server_fingerprint() of it */
	uint64		learnt_under;	/* rstar_server_learnt_under() of it; 0: none
								 * was read yet */
	char	  **chat_urls;		/* of the endpoints */
	char	  **model_urls;
	char	  **health_urls;
	char	   *question;		/* body of a chat request that asks nothing */
	RstarListed *listed;		/* of the endpoints */
	uint64		version;		/* rstar_server_version() when it was loaded */
	TransactionId row;			/* who wrote its catalog row */
	RstarRoute *route;			/* NULL: never loaded well */
	RstarEndpointStats *stats[RSTAR_SERVER_MAX_URLS];	/* or NULL; and what ... */
	uint64		names[RSTAR_SERVER_MAX_URLS];	/* ... rstar_counters_url()
												 * says */
	int			nstats;
	dlist_head	channels;
	dlist_head	delayed;		/* samples that wait to be sent, oldest first */
	dlist_head	flying;			/* samples in flight */
	int			ndelayed;
	int			nready[RSTAR_NPRIORITIES];	/* of these, held up by want of
											 * room only */
	int			nflying[RSTAR_NPRIORITIES]; /* as they were when sent */
	bool		turns;			/* the background's delayed ones are still to
								 * be sent in this turn */
	int			admitted;		/* in this turn, and of these ... */
	int			admitted_background;	/* ... so many */
	int			nyielding;		/* that would give way in this turn; -1: not
								 * counted yet */
	RstarDensity density;		/* of request bodies; this, ... */
	int			context_tokens; /* ... as last heard of (0: not yet), and
								 * limits outlive the worker (base/learnt.h) */
	bool		cuts_replies;	/* before max_tokens, with room in the context */
	bool		silent;			/* as of the last rstar_target_silent(); and
								 * if so, ... */
	bool		never;			/* ... that nobody was ever there */
	uint64		no_priority;	/* set of endpoints that refuse priorities */
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

/* Another server may be there: what this endpoint serves is asked again */
extern void rstar_target_forget_models(RstarTarget *target, int endpoint);

/*
 * Logs what changed with endpoints since it was last called; why: an HTTP
 * status, or (0) curl's words, or NULL.  Nothing that a server said: it may
 * quote documents and keys.  What an endpoint serves that is used again is not
 * known any more.
 */
extern void rstar_target_log_changes(RstarTarget *target, int http_status,
									 const char *error);

/* It has refused a request for its priority, and gets none any more */
extern void rstar_target_refuses_priority(RstarTarget *target, int endpoint);

/* The URL of an endpoint, or NULL when there is none of this number */
extern const char *rstar_target_endpoint(const RstarTarget *target, int endpoint);

/* Puts the state of an endpoint down for the views; -1: it is none any more */
extern void rstar_target_publish(const RstarTarget *target, int endpoint);

/*
 * Endpoints that get more as time goes by do; returns when to ask again.  Has
 * a configuration.
 */
extern int64 rstar_target_turn(RstarTarget *target, int64 now);

/* Whether nothing answers any more: samples that wait fail.  Has a configuration. */
extern bool rstar_target_silent(RstarTarget *target, int64 now);

/* Of a server that was dropped; it has no samples */
extern void rstar_target_forget(RstarTarget *target);

/* Calls a function for each target, which may forget it */
extern void rstar_target_each(void (*function) (RstarTarget *target, int64 now), int64 now);

#endif							/* RSTAR_TARGET_H */
