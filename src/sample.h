/*-------------------------------------------------------------------------
 *
 * sample.h
 *		One sample in work: where it is listed, what is sent of it.
 *
 * Called by: send.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SAMPLE_H
#define RSTAR_SAMPLE_H

#include "postgres.h"

#include "lib/ilist.h"

#include "counters.h"
#include "dispatch.h"
#include "http.h"
#include "probe.h"
#include "route.h"
#include "target.h"

/* Room for what follows the document in a body */
#define RSTAR_SAMPLE_END_LEN 512

/* Room for the id of an attempt, with its NUL */
#define RSTAR_SAMPLE_ID_LEN 80

typedef struct RstarSample
{
	RstarExchange kind;			/* first, see rstar_send_done() */
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

/* The id of its attempt */
extern void rstar_sample_id(const RstarSample *sample, char *id);

/*
 * The body of its attempt: the pair's, its document shortened as far as
 * claim.doc_kept says, and what is the sample's own.  "end" has
 * RSTAR_SAMPLE_END_LEN bytes and is part of the request.
 */
extern void rstar_sample_body(const RstarSample *sample, RstarHttpRequest *request,
							  char *end);

#endif							/* RSTAR_SAMPLE_H */
