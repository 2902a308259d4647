/*-------------------------------------------------------------------------
 *
 * queue.h
 *		Requests between sessions and the worker, the sessions' side.
 *
 * Called by: score.c, functions.c, stat.c, launch.c, retrostar.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_QUEUE_H
#define RSTAR_QUEUE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "guc.h"

/* A cut piece of what curl or the server said, with its NUL; UTF-8 */
#define RSTAR_DETAIL_LEN	256

/* Longest model name with its NUL; the option validator holds to it */
#define RSTAR_MODEL_LEN		256

/* SHA-256 over everything that determines a pair's answers; see score.c */
typedef struct RstarKey
{
	uint8		bytes[32];
} RstarKey;

/* Samples of a pair, all together */
typedef struct RstarTally
{
	int			scored;
	int			unscored;		/* replies that came without a score */
	int64		sum;			/* of the scores */
	int			nscores;		/* the first ones, in order of arrival */
	uint8		scores[RSTAR_MAX_SAMPLES];
} RstarTally;

/* How a request ended.  rstar_failure_raise() turns these into errors. */
typedef enum RstarStatus
{
	RSTAR_STATUS_OK,
	RSTAR_STATUS_NO_SCORE,		/* replies, but none with a score */
	RSTAR_STATUS_TRUNCATED,		/* the same, and max_tokens was the reason */
	RSTAR_STATUS_UNAVAILABLE,	/* no endpoint answered for unavailable_timeout */
	RSTAR_STATUS_UNREACHABLE,	/* connection failed or broke, time after time */
	RSTAR_STATUS_UNTRUSTED,		/* certificate that cannot be verified */
	RSTAR_STATUS_TIMEOUT,		/* no whole reply in time */
	RSTAR_STATUS_REFUSED,		/* HTTP status 3xx or 4xx */
	RSTAR_STATUS_UNAUTHORIZED,	/* 401, 403 */
	RSTAR_STATUS_UNKNOWN_MODEL,
	RSTAR_STATUS_TOO_LONG,		/* longer than the model's context */
	RSTAR_STATUS_SERVER_ERROR,	/* HTTP status 5xx */
	RSTAR_STATUS_BAD_REPLY,		/* 200, but not an answer */
	RSTAR_STATUS_SERVER_GONE,	/* the server object was dropped */
	RSTAR_STATUS_SERVER_ALTERED,	/* it does not mean the key's model any more */
	RSTAR_STATUS_SETUP,			/* key or CA file, memory, descriptors */
	RSTAR_STATUS_WORKER_LOST,	/* the worker died of it, several times */
	RSTAR_STATUS_EMPTY,			/* query or document without text; never sent */
	RSTAR_STATUS_NO_ROOM,		/* larger than shared memory; never sent */
	RSTAR_STATUS_DEADLINE		/* not known in time; if it was sent, it goes
								 * on, detached */
} RstarStatus;

typedef enum RstarKind
{
	RSTAR_KIND_SCORE,
	RSTAR_KIND_CHECK			/* retrostar.check(): ask one endpoint for its
								 * models */
} RstarKind;

/* What is asked; rstar_queue_submit copies all of it */
typedef struct RstarSpec
{
	RstarKind	kind;
	RstarKey	key;
	Oid			serverid;
	Oid			mapping;		/* user mapping, or InvalidOid */
	uint64		fingerprint;	/* of what the server puts into the key */
	int			samples;		/* wanted, those that are known included */
	bool		zero;			/* a reply without a score counts as a sample */
	bool		fresh;			/* do not take answers that are already there */
	bool		peek;			/* find: do not join */
	bool		detached;		/* goes on although nobody waits */
	bool		ahead;			/* nobody waits for it yet: leaves room for who
								 * does */
	bool		reasoning;		/* keep the replies, not their scores only */
	int			first_sample;	/* number of the first new sample */
	RstarTally	known;			/* samples that count and need not be asked */
	uint64		affinity;		/* hash of task and query, for routing */
	uint64		generation;		/* from find, for submit; see there */
	uint64		freed;			/* from find, for wait after FULL */
	int			next_sample;	/* from find and submit: behind the numbers
								 * that requests in the map have given away */
	TimestampTz asked_at;		/* set by submit */
	bool		unattended;		/* from find and submit: JOINED or SENT, and
								 * there is no worker */
	int			raised;			/* JOINED: samples that it has to get more */
	int			endpoint;		/* CHECK: which */
	const char *model;			/* UTF-8, for the cache table */
	const char *body;			/* request body but for its end; may be NULL */
	int			body_len;
	int			doc_at;			/* the document's place in it */
	int			doc_len;
} RstarSpec;

/* What came of it */
typedef struct RstarResult
{
	RstarStatus status;
	int			http_status;	/* 0 when there was none */
	RstarTally	tally;			/* samples behind the score, known ones too */
	int			new_samples;	/* replies received for this request */
	bool		shortened;		/* the model did not see all of the document;
								 * not told of what was known already */
	int64		prompt_tokens;
	int64		completion_tokens;
	int64		elapsed_us;		/* CHECK: how long the reply took */
	char		detail[RSTAR_DETAIL_LEN];
} RstarResult;

/* A session's interest in one request, in shared memory */
typedef struct RstarWaiter RstarWaiter;

typedef enum RstarSubmitted
{
	RSTAR_SUBMITTED_NONE,		/* find: no such request */
	RSTAR_SUBMITTED_DONE,		/* the answer is there, in *result */
	RSTAR_SUBMITTED_JOINED,		/* waits for another's request */
	RSTAR_SUBMITTED_SENT,		/* a request was queued */
	RSTAR_SUBMITTED_AGAIN,		/* answers were stored meanwhile: look again */
	RSTAR_SUBMITTED_FULL,		/* no room: wait for space and try again */
	RSTAR_SUBMITTED_TOO_LARGE	/* would not fit into an empty area */
} RstarSubmitted;

/* True when the library was preloaded; every function below needs that. */
extern bool rstar_queue_ready(void);

/*
 * Looks for a request or an answer of the key; joins the request when it is
 * in work.  NONE comes with what the map knows all the same: an answer of too
 * few samples, for known_*.  Sets spec->generation and freed.  Never waits but
 * for the lock, never raises an error.
 */
extern RstarSubmitted rstar_queue_find(RstarSpec *spec, uint32 cookie,
									   RstarWaiter **waiter, RstarResult *result);

/*
 * Whether the one has more samples that count, or as many and more replies
 * (which is what has been sent for it)
 */
extern bool rstar_queue_has_more(const RstarTally *one, const RstarTally *other, bool zero);

/*
 * As find, and queues the request when there is none; AGAIN when answers went
 * from the map to the table since spec->generation was set, so that the
 * caller's look at the table may have come too early.  "cookie" comes back
 * from rstar_queue_next.  A detached request has no waiter (*waiter is NULL).
 */
extern RstarSubmitted rstar_queue_submit(RstarSpec *spec, uint32 cookie,
										 RstarWaiter **waiter, RstarResult *result);

/*
 * Takes the next waiter of this session that is ready, if any: its cookie,
 * the result, and the waiter is released.
 */
extern bool rstar_queue_next(uint32 *cookie, RstarResult *result);

/*
 * Gives up interest; a request that interests nobody ends.  Never raises.
 * Call rstar_queue_released() after the last of several.
 */
extern void rstar_queue_release(RstarWaiter *waiter);

/*
 * After waiters were released, detached, or taken by rstar_queue_next(): sessions that
 * wait for room are told.  Never raises.
 */
extern void rstar_queue_released(void);

/*
 * Gives up interest, but the request goes on for the cache's sake.  Reads what
 * came of it until now.
 */
extern void rstar_queue_detach(RstarWaiter *waiter, RstarResult *result);

/*
 * Sleeps until this waiter is ready (NULL: any of this session), something
 * was freed since find for this spec (after FULL; else NULL), the worker left,
 * or "timeout" ms (-1: none) passed.  May return early; callers loop.
 * Interruptible.
 */
extern void rstar_queue_wait(RstarWaiter *waiter, const RstarSpec *full, long timeout);

/* Keeps the requests of this database queued, or lets them go on */
extern void rstar_queue_pause(bool pause);

/* Counters and gauges of this database, for views and tests */
typedef struct RstarQueueState
{
	int			requests;		/* entries of the map in use */
	int			waiting;
	int			running;
	int			unstored;
	int			waiters;		/* all databases */
	int			free_requests;	/* all databases */
	int			free_waiters;	/* all databases */
	int64		text_bytes;		/* all databases */
	int64		asked;			/* this and what follows: see RstarDatabase */
	int64		answered;
	int64		failed;
	int64		cancelled;
	int64		joined;
	int64		samples_sent;
	int64		samples_scored;
	int64		samples_unscored;
	int64		samples_failed;
	int64		samples_cancelled;
	int			samples_running;
	int64		stored;
	int64		store_failures;
	int64		lost;
	TimestampTz stats_reset;	/* 0: never */
	int			worker_pid;		/* 0: none */
	bool		paused;
} RstarQueueState;
extern void rstar_queue_state(RstarQueueState *state);

/* Pairs whose samples were all known when a statement looked for them, and others */
extern void rstar_queue_lookups(int64 *hits, int64 *misses);

#endif							/* RSTAR_QUEUE_H */
