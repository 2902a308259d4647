/*-------------------------------------------------------------------------
 *
 * sample.h
 *		One sample in work: where it is listed, what is sent of it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SAMPLE_H
#define RSTAR_SAMPLE_H

#include "postgres.h"

#include "lib/ilist.h"

#include "shared/counters.h"
#include "shared/dispatch.h"
#include "worker/attempt.h"
#include "worker/exchange.h"
#include "worker/target.h"


/* Room for the id of an attempt, a UUID, with its NUL */
#define RSTAR_SAMPLE_ID_LEN 37

typedef struct RstarSample
{
	dlist_node	link;			/* in target's delayed or flying */
	dlist_node	of_request;		/* among those of claim.slot */
	RstarClaim	claim;
	RstarTarget *target;
	RstarChannel *channel;		/* while flying */
	RstarTransfer *transfer;	/* while flying */
	RstarAttempt attempt;
	uint32		number;			/* of the attempt, for its id */
	RstarEndpointStats *stats;	/* of the endpoint, while flying; or NULL */
	Size		body_bytes;		/* while flying */
	int			attempts;		/* sent so often under its present number */
	int			unscored;		/* replies without a score so far */
	int			shortened;		/* times that its document was, for it */
	int			full_tokens;	/* of prompt and reply, when it was for a full
								 * context; or 0, and ... */
	int			full_endpoint;	/* where that was, ... */
	int			full_kept;		/* and what was sent of the document */
	bool		full_sure;		/* it was the context, and no other limit */
	struct RstarInspection *inspection; /* CHECK: inspect.c's; or NULL */
	RstarPriority flies_as;		/* while flying: where it counts */
	bool		told;			/* its attempt has the priority in its body */
	bool		yielded;		/* it was closed for one that is waited for */
} RstarSample;

/* Once */
extern void rstar_sample_init(void);

/* A sample that was claimed, delayed at first; in the worker's memory */
extern RstarSample *rstar_sample_new(const RstarClaim *claim, RstarTarget *target);

/* Its end; it is not flying any more */
extern void rstar_sample_free(RstarSample *sample);

/* It is on its way, by a transfer that sends so many bytes */
extern void rstar_sample_fly(RstarSample *sample, RstarTransfer *transfer,
							 RstarChannel *channel, Size bytes);

/* The transfer is over: back among the delayed, from where it goes on */
extern void rstar_sample_land(RstarSample *sample);

/* Endpoints of the altered server have new numbers */
extern void rstar_sample_renumber(RstarTarget *target, const int *map);

/* Any of the samples of a request, or NULL */
extern RstarSample *rstar_sample_of(int slot);

/* How many there are; of these, how many are flying, and their bytes */
extern int	rstar_sample_count(void);
extern int	rstar_sample_flying(void);
extern Size rstar_sample_bytes(void);

/* It has a new attempt, with an id of its own */
extern void rstar_sample_number(RstarSample *sample);

/* The id of its attempt, RSTAR_SAMPLE_ID_LEN bytes */
extern void rstar_sample_id(const RstarSample *sample, char *id);

/*
 * Sends it to an endpoint, where "done" tells of the end.  False: out of memory,
 * and the sample remains as it was.
 */
extern bool rstar_sample_start(RstarSample *sample, RstarChannel *channel, int endpoint,
							   RstarHttpDone done);

#endif							/* RSTAR_SAMPLE_H */
