/*-------------------------------------------------------------------------
 *
 * peer.h
 *		A connection to a hub.
 *
 * One statement at a time.  Nothing here waits or raises errors.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PEER_H
#define RSTAR_PEER_H

#include "postgres.h"

#include "lib/ilist.h"

#include "base/result.h"

typedef enum RstarPeerState
{
	RSTAR_PEER_CLOSED,
	RSTAR_PEER_CONNECTING,
	RSTAR_PEER_READY,
	RSTAR_PEER_BUSY				/* a statement is under way */
} RstarPeerState;

typedef struct RstarPeer RstarPeer;

/* libpq's */
struct pg_conn;
struct pg_result;

/*
 * A statement has ended.  With an error: its words, valid during the call, and
 * result is NULL; the state says whether the connection has gone with it.  The
 * result is freed afterwards.
 */
typedef void (*RstarPeerDone) (RstarPeer *peer, const struct pg_result *result, const char *error);

struct RstarPeer
{
	/* constant */
	char		name[NAMEDATALEN];	/* of the foreign server */
	Oid			owner;			/* whose mapping is used */
	RstarPeerDone done;
	void	   *data;			/* the caller's */

	RstarPeerState state;
	bool		failing;		/* the last attempt, or statement, failed */
	bool		announce;		/* state or error have changed since the
								 * caller looked */
	char		error[RSTAR_DETAIL_LEN];	/* of the last failure */
	int64		due;			/* us: CONNECTING, BUSY: it has failed then;
								 * failing: not before */
	int64		delay;			/* us: between attempts */
	int64		failing_since;	/* us */

	dlist_node	link;			/* of all peers */
	struct pg_conn *conn;
	struct pg_result *result;	/* of the statement under way, as far as it
								 * came */
	int			fd;				/* in the epoll set; -1: none */
	uint64		version;		/* rstar_server_version() when its options
								 * were read, and their hash */
	uint64		fingerprint;
	bool		trusted;		/* its owner needs no password */
};

/* Makes the epoll set of all connections; raises an error when it cannot */
extern int	rstar_peer_init(void);

/* A peer that is not connected; lives as long as the process */
extern RstarPeer *rstar_peer_make(const char *name, Oid owner, RstarPeerDone done, void *data);

/*
 * Connects if that is to be tried now.  Starts a transaction of its own to
 * read the options of server and mapping.  Call it when there is something to
 * ask.
 */
extern void rstar_peer_want(RstarPeer *peer, int64 now);

/* It cannot be asked now, and it is not known whether it ever can */
extern bool rstar_peer_away(const RstarPeer *peer);

/* READY only: sends a statement whose results come in binary.  "timeout" us. */
extern void rstar_peer_send(RstarPeer *peer, const char *command, int nparams,
							const char *const *params, int64 now, int64 timeout);

/* The peer is of no use, for that reason: closed, and not tried again at once */
extern void rstar_peer_fail(RstarPeer *peer, const char *error, int64 now);

/* Moves on what can move, and what is late fails */
extern void rstar_peer_poll(int64 now);

/* When rstar_peer_poll() must be called even when nothing is readable (us) */
extern int64 rstar_peer_wake(void);

/* The process ends */
extern void rstar_peer_close_all(void);

#endif							/* RSTAR_PEER_H */
