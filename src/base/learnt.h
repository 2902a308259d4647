/*-------------------------------------------------------------------------
 *
 * learnt.h
 *		What is learnt of endpoints and models by using them, and outlives the
 *		worker.
 *
 * Types only.  Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LEARNT_H
#define RSTAR_LEARNT_H

#include <stdbool.h>
#include <stdint.h>

/* What is known of the tokens of texts, by their bytes; all zero at first */
typedef struct RstarDensity
{
	int			n;				/* texts so far, but no more than are
								 * remembered */
	double		bytes;			/* moving means: of a text ... */
	double		tokens;
	double		spread;			/* ... of its bytes' square deviation, ... */
	double		together;		/* and of that of bytes times tokens */
} RstarDensity;

/* How much an endpoint takes; limit.c explains it */
typedef struct RstarLearntLimit
{
	int			limit;			/* 0: nothing is known */
	bool		slow_start;
	bool		wave;
	bool		queues;
	int			patience;
	int64_t		doubt_at;		/* us of the monotonic clock */
	int64_t		proxy_timeout;	/* us, 0: none is known */
	int64_t		latency;		/* us, -1: none */
} RstarLearntLimit;

typedef struct RstarLearnt
{
	uint64_t	options;		/* a hash of the server's that matter here */
	RstarLearntLimit limit;
	int			context_tokens; /* of the model; 0: not known */
	RstarDensity density;		/* of texts for it */
	uint32_t	heard;			/* who had written the server's row when the
								 * endpoint replied last; 0: nobody */
	char		misfit[24];		/* owner of its models by its list, where that
								 * is no server of the option's dialect; "":
								 * it is, or is not known */
} RstarLearnt;

#endif							/* RSTAR_LEARNT_H */
