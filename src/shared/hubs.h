/*-------------------------------------------------------------------------
 *
 * hubs.h
 *		What is counted of the hubs of servers: databases whose cache is asked,
 *		too.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HUBS_H
#define RSTAR_HUBS_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"

/* Of the pairs of one server; a pair is asked for once, however often that is repeated */
typedef enum RstarHubCount
{
	RSTAR_HUB_ASKED,
	RSTAR_HUB_KNOWN,			/* and nothing had to be sent */
	RSTAR_HUB_ELSEWHERE,		/* somebody else paid, or was about to */
	RSTAR_HUB_PAID,				/* and were sent from here */
	RSTAR_HUB_TOLD,				/* answers that the hub was told */
	RSTAR_HUB_UNTOLD			/* answers that it will not be told any more */
} RstarHubCount;

#define RSTAR_NHUB_COUNTS (RSTAR_HUB_UNTOLD + 1)

typedef enum RstarHubState
{
	RSTAR_HUB_IDLE,				/* nobody has asked since the worker came, or
								 * there is none */
	RSTAR_HUB_CONNECTING,
	RSTAR_HUB_CONNECTED,
	RSTAR_HUB_AWAY
} RstarHubState;

/* One server's */
typedef struct RstarHubNow
{
	RstarHubState state;
	int64		counts[RSTAR_NHUB_COUNTS];
	TimestampTz last_error_at;	/* 0: never */
	char		last_error[RSTAR_DETAIL_LEN];	/* server encoding */
} RstarHubNow;

/* In plain words */
extern const char *rstar_hubs_state_name(RstarHubState state);

/* RstarShmemPart of it */
extern void rstar_hubs_request(void);
extern void rstar_hubs_startup(void);

/* Lock held exclusively: so many more.  Not counted where there are too many servers. */
extern void rstar_hubs_count(Oid dboid, Oid serverid, RstarHubCount what, int64 n);

/* The rest takes the lock, and is about servers of this database. */
extern void rstar_hubs_add(Oid serverid, const int64 *counts);

/* error: NULL when there was none */
extern void rstar_hubs_set_state(Oid serverid, RstarHubState state, const char *error);

/* The worker leaves: nothing is connected any more */
extern void rstar_hubs_leave(void);

/* All zero when nothing is known */
extern void rstar_hubs_read(Oid serverid, RstarHubNow *now);

/* The counts start anew */
extern void rstar_hubs_reset(void);

#endif							/* RSTAR_HUBS_H */
