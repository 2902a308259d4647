/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *		Requests between sessions and the worker, the worker's side.
 *
 * Called by: worker.c only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DISPATCH_H
#define RSTAR_DISPATCH_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "queue.h"

/* One request in work, in shared memory; stays while samples are in flight */
struct RstarRequest;

/* One sample to send */
typedef struct RstarClaim
{
	struct RstarRequest *request;
	int			slot;			/* 0..retrostar.max_requests-1, the request's own
								 * while it is in work */
	RstarKind	kind;
	Oid			serverid;
	Oid			mapping;
	uint64		fingerprint;	/* of the server as the session saw it */
	int			sample;			/* its number, which makes the seed */
	int			endpoint;		/* CHECK: which */
	uint64		affinity;
	RstarKey	key;
	const char *body;			/* in shared memory; stays while in flight */
	int			body_len;
	int			doc_at;			/* the document's place in it */
	int			doc_len;
	int			doc_kept;		/* less than that: as much is sent of it */
} RstarClaim;

/* What a reply brought */
typedef struct RstarAnswer
{
	int			score;			/* 0..100; -1: a reply without a score */
	bool		truncated;		/* ... because max_tokens was used up */
	int			prompt_tokens;
	int			completion_tokens;
	int			http_status;
	int64		elapsed_us;
	const char *detail;			/* CHECK, or why there is no score; may be NULL */
	char	   *kept;			/* what is kept of the reply, as JSON: malloc'd,
								 * taken over; or NULL */
	size_t		kept_len;
} RstarAnswer;

/*
 * Whether a server can take another sample now; if so, it is given one.
 * Called with a lock held: looks things up and counts, nothing else.
 */
typedef bool (*RstarAdmit) (Oid serverid, Oid mapping);

/*
 * Takes up to "max" samples from the sessions' queues, one session after
 * another; what the server cannot take stays queued, but for checks.
 */
extern int	rstar_dispatch_claim(RstarClaim *claims, int max, RstarAdmit admit);

/* Whether the replies to a request, in work, are to be kept */
extern bool rstar_dispatch_keeps(const struct RstarRequest *request);

/*
 * How many bytes of its document are sent, from now on; and that they are so
 * many.  The request is in work.
 */
extern int	rstar_dispatch_doc_kept(const struct RstarRequest *request);
extern void rstar_dispatch_shorten(struct RstarRequest *request, int kept);

/*
 * A sample was answered.  A reply without a score gives true when it is to be
 * asked again, with *sample as its new number; "again" says whether the
 * caller has attempts left for that.
 */
extern bool rstar_dispatch_answered(struct RstarRequest *request,
									const RstarAnswer *answer, bool again, int *sample);

/*
 * A sample of the request, in work, was sent to the endpoint of this name
 * (rstar_counters_url()).  Takes no lock.
 */
extern void rstar_dispatch_sent(struct RstarRequest *request, uint64 url);

/* A sample failed for good, and with it the request */
extern void rstar_dispatch_failed(struct RstarRequest *request, RstarStatus status,
								  int http_status, const char *detail);

/* The next request whose samples are to be closed, and its slot, or NULL */
extern struct RstarRequest *rstar_dispatch_cancelled(int *slot);
/* All "n" samples of it that were in flight are closed */
extern void rstar_dispatch_dropped(struct RstarRequest *request, int n);

/* Wakes sessions that wait for room; at the end of a turn */
extern void rstar_dispatch_turn_done(void);

/* One answer to be stored */
typedef struct RstarAnswered
{
	struct RstarRequest *request;
	RstarKey	key;
	char		model[RSTAR_MODEL_LEN];
	int			first_sample;	/* number of the first; orders answers of a key */
	int			nscores;
	int			unscored;
	int64		prompt_tokens;
	int64		completion_tokens;
	TimestampTz answered_at;
	Size		reasoning_size; /* 0: none was kept */
	char	   *reasoning;		/* JSON array of all samples, or NULL */
	uint8		scores[RSTAR_MAX_SAMPLES];
} RstarAnswered;

/* Copies up to "max" of the oldest answers that the table does not have */
extern int	rstar_dispatch_unstored(RstarAnswered *answers, int max);
/* Copies what was kept of their replies, palloc'd */
extern void rstar_dispatch_reasoning(RstarAnswered *answers, int n);
/* They are in the table now, committed */
extern void rstar_dispatch_stored(const RstarAnswered *answers, int n);
/* They cannot be stored for the time being (or can again) */
extern void rstar_dispatch_cannot_store(bool cannot);
/* A batch could not be stored; to be counted */
extern void rstar_dispatch_store_failed(void);
/* The table is gone: there is nothing to store them for */
extern void rstar_dispatch_discard(const RstarAnswered *answers, int n);

/* How much there is to do; also what decides whether the worker may sleep */
typedef struct RstarLoad
{
	int			waiting;		/* requests with samples to claim */
	int			running;
	int			unstored;
	bool		paused;
} RstarLoad;
extern void rstar_dispatch_load(RstarLoad *load);

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
