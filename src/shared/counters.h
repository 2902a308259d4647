/*-------------------------------------------------------------------------
 *
 * counters.h
 *		What is counted for each endpoint, in shared memory.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_COUNTERS_H
#define RSTAR_COUNTERS_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/learnt.h"
#include "base/result.h"
#include "shared/histogram.h"

/* Endpoints that are counted at once, of all databases */
#define RSTAR_COUNTERS_ENDPOINTS 256

/*
 * How an attempt ended: one HTTP exchange for a sample with an endpoint.  A
 * sample that is tried again has several.
 */
typedef enum RstarEnding
{
	RSTAR_ENDING_ANSWERED,		/* understood, with or without a score */
	RSTAR_ENDING_UNREACHABLE,	/* not connected, connection broke, TLS */
	RSTAR_ENDING_TIMED_OUT,		/* no whole reply in time */
	RSTAR_ENDING_PUSHED_BACK,	/* 408, 429, 503, but for a quota */
	RSTAR_ENDING_REFUSED,		/* other 3xx and 4xx: key, model, too long */
	RSTAR_ENDING_SERVER_ERROR,	/* other 5xx */
	RSTAR_ENDING_BAD_REPLY,		/* a success without sense, or too large */
	RSTAR_ENDING_NOT_SENT,		/* our own fault: memory, certificates */
	RSTAR_ENDING_CANCELLED,		/* we closed it: nobody wants it any more, or
								 * the worker left */
	RSTAR_NENDINGS
} RstarEnding;

/* sent = all of ended + in flight, at any moment */
typedef struct RstarCounts
{
	int64		sent;			/* attempts */
	int64		retries;		/* of these, not the first of their sample */
	int64		ended[RSTAR_NENDINGS];
	int64		unscored;		/* of those answered */
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		cached_tokens;	/* of the prompts' */
	RstarHistogram latency;		/* of those answered */
} RstarCounts;

/* What is and was, of one endpoint; copied as a whole */
typedef struct RstarEndpointNow
{
	char		state[16];		/* as rstar_route_state() has it; empty: no
								 * worker knows */
	int			limit;			/* samples in flight at most, at this moment;
								 * without a worker at its end, 0: not known */
	RstarLearnt learnt;			/* by the workers so far */
	TimestampTz gives_up_at;	/* the worker stops to wait for the server if
								 * nothing is answered by then; 0: not known */
	int			in_flight;
	RstarCounts counts;
	RstarStatus last_status;	/* of the last attempt that failed */
	int			last_http_status;
	TimestampTz last_error_at;	/* 0: none has */
	char		last_detail[RSTAR_DETAIL_LEN];
} RstarEndpointNow;

/* What a session that waits for a server may know of it; of all its endpoints that a worker knows */
typedef struct RstarOutlook
{
	int			endpoints;
	int			out_of_use;		/* of these, after failures; and ... */
	int			doubted;		/* ... that do not say whether they are well */
	TimestampTz gives_up_at;	/* as above, the latest */
	RstarStatus last_status;	/* of the last attempt that failed */
	int			last_http_status;
	TimestampTz last_error_at;	/* 0: none has */
	char		last_detail[RSTAR_DETAIL_LEN];
	char		misfit[sizeof(((RstarLearnt *) NULL)->misfit)]; /* of any of them */
} RstarOutlook;

/* Opaque: counters.c */
typedef struct RstarEndpointStats RstarEndpointStats;

/* What came of one attempt */
typedef struct RstarAttemptEnd
{
	RstarEnding ending;
	bool		unscored;		/* ANSWERED: without a score */
	int			prompt_tokens;
	int			completion_tokens;
	int			cached_tokens;
	int64		elapsed_us;
	RstarStatus status;			/* the rest if it failed */
	int			http_status;
	const char *detail;			/* UTF-8 */
} RstarAttemptEnd;

/* RstarShmemPart of the endpoints */
extern void rstar_counters_request(void);
extern void rstar_counters_startup(void);

/*
 * Worker: the entry of an endpoint of this database, which it alone writes
 * from now on until it leaves.  NULL when all are in use: then nothing is
 * counted, and the functions below, which all take NULL, do nothing.  Never
 * raises an error.
 */
extern RstarEndpointStats *rstar_counters_take(Oid serverid, const char *url);

/* The endpoint is no part of its server any more: when idle the entry may go */
extern void rstar_counters_let_go(RstarEndpointStats *stats);

/*
 * What workers that used it before have learnt; but for "heard" all zero when
 * that was long ago, or they have not.  False when nothing is counted of it.
 */
extern bool rstar_counters_learnt(const RstarEndpointStats *stats, RstarLearnt *learnt);

/* The worker ends: what was in flight is cancelled, states are unknown */
extern void rstar_counters_leave(void);

/* Worker, without any lock: stores to memory, no more */
extern void rstar_counters_state(RstarEndpointStats *stats, const char *state, int limit,
								 const RstarLearnt *learnt, TimestampTz gives_up_at);
extern void rstar_counters_sent(RstarEndpointStats *stats, bool again);
extern void rstar_counters_ended(RstarEndpointStats *stats, const RstarAttemptEnd *end);

/* What names the endpoint, for the request that it works on */
extern uint64 rstar_counters_url(const char *url);

/*
 * Any process: what is known of an endpoint of this database, counted since
 * the last reset; of one that was not used, all zero.  False when it is not
 * known because there are too many.
 */
extern bool rstar_counters_read(Oid serverid, const char *url, RstarEndpointNow *now);

/* Any process: how it stands with a server of this database; all zero: not known */
extern void rstar_counters_outlook(Oid serverid, RstarOutlook *outlook);

/*
 * Counters of this database's endpoints start anew; what is in flight counts
 * as sent since
 */
extern void rstar_counters_reset(TimestampTz at);

/* Entries of a database that was dropped */
extern void rstar_counters_purge(Oid dboid);

#endif							/* RSTAR_COUNTERS_H */
