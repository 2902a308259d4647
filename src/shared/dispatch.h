/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *		Requests between sessions and the worker, the worker's side.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DISPATCH_H
#define RSTAR_DISPATCH_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/form.h"
#include "base/result.h"
#include "base/settings.h"
#include "base/traceparent.h"
#include "shared/map.h"

/* One sample to send */
typedef struct RstarClaim
{
	RstarRequest *request;
	int			slot;			/* 0..retrostar.max_requests-1, the request's
								 * own while it is in work */
	RstarKind	kind;
	Oid			serverid;
	Oid			mapping;
	uint64		fingerprint;	/* of the server as the session saw it */
	int			sample;			/* its number, which makes the seed */
	int			endpoint;		/* CHECK: which */
	uint64		affinity;
	RstarKey	key;
	char		traceparent[RSTAR_TRACEPARENT_LEN + 1]; /* or "" */
	const char *body;			/* in shared memory; stays while in flight */
	int			body_len;
	int			doc_at;			/* the document's place in it */
	int			doc_len;
	int			doc_kept;		/* less than that: as much is sent of it */
	const RstarForm *form;		/* of the answer, in shared memory, too */
} RstarClaim;

/* What a reply brought */
typedef struct RstarAnswer
{
	int			score;			/* 0..100; -1: a reply without a score */
	RstarStatus unscored;		/* ... and why; CHECK: OK or DOUBT */
	int			prompt_tokens;
	int			completion_tokens;
	int			cached_tokens;	/* of the prompt's */
	int			http_status;
	int64		elapsed_us;
	const char *detail;			/* CHECK, or why there is no score; may be
								 * NULL */
	char	   *kept;			/* what is kept of the reply, as JSON:
								 * malloc'd, taken over; or NULL */
	size_t		kept_len;
} RstarAnswer;

/*
 * For whom a server is asked to take a sample: for background while it has
 * less than its floor, for who waits, for background with what is left.
 */
typedef enum RstarTurn
{
	RSTAR_TURN_FLOOR,
	RSTAR_TURN_INTERACTIVE,
	RSTAR_TURN_BACKGROUND
} RstarTurn;

/*
 * Whether a server can take another sample now; if so, it is given one.
 * Called with a lock held: looks things up and counts, nothing else.
 */
typedef bool (*RstarAdmit) (Oid serverid, Oid mapping, RstarTurn turn);

/*
 * Takes up to "max" samples from the sessions' queues, those that are waited
 * for first, and of one priority one session after another; what the server
 * cannot take stays queued, but for checks.
 */
extern int	rstar_dispatch_claim(RstarClaim *claims, int max, RstarAdmit admit);

/* Whether the replies to a request, in work, are to be kept */
extern bool rstar_dispatch_keeps(const RstarRequest *request);

/* The priority of a request, in work, as it is now */
extern RstarPriority rstar_dispatch_priority(const RstarRequest *request);

/*
 * How many bytes of its document are sent, from now on; and that they are so
 * many.  The request is in work.
 */
extern int	rstar_dispatch_doc_kept(const RstarRequest *request);
extern void rstar_dispatch_shorten(RstarRequest *request, int kept);

/*
 * A sample was answered.  A reply without a score gives true when it is to be
 * asked again, with *sample as its new number; "again" says whether the
 * caller has attempts left for that.
 */
extern bool rstar_dispatch_answered(RstarRequest *request,
									const RstarAnswer *answer, bool again, int *sample);

/*
 * A sample of the request, in work, was sent to the endpoint of this name
 * (rstar_counters_url()).  Takes no lock.
 */
extern void rstar_dispatch_sent(RstarRequest *request, uint64 url);

/* A sample failed for good, and with it the request */
extern void rstar_dispatch_failed(RstarRequest *request, RstarStatus status,
								  int http_status, const char *detail);

/* The next request whose samples are to be closed, and its slot, or NULL */
extern RstarRequest *rstar_dispatch_cancelled(int *slot);

/* All "n" samples of it that were in flight are closed */
extern void rstar_dispatch_dropped(RstarRequest *request, int n);

/* Wakes sessions that wait for room; at the end of a turn */
extern void rstar_dispatch_turn_done(void);

/*
 * Before the worker sleeps: from now on its latch is set for new work.
 * False when some came since the last claim, or the next turn has a request to
 * close or is to be the last, and it should not sleep.
 */
extern bool rstar_dispatch_sleep(void);

/*
 * The worker leaves: what was in flight is queued again; "lost" when it dies
 * of an error, so that a request that kills workers is given up.  True: work
 * is left, perhaps without anybody who waits for it, and the next worker is
 * put down as coming: see to it.  Called from an exit callback, too, and again
 * after it was called before that; never raises.
 */
extern bool rstar_dispatch_leave(bool lost);

#endif							/* RSTAR_DISPATCH_H */
