/*-------------------------------------------------------------------------
 *
 * result.h
 *		A pair's key, its samples, and what comes of asking for them.
 *
 * The words of sessions and worker alike.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RESULT_H
#define RSTAR_RESULT_H

#include "postgres.h"

#include "base/settings.h"

/* A cut piece of what curl or the server said, with its NUL; UTF-8 */
#define RSTAR_DETAIL_LEN	256

/* Longest model name with its NUL; the option validator holds to it */
#define RSTAR_MODEL_LEN		256

/* SHA-256 over everything that determines a pair's answers; see pair.c */
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

/* How many of them count; zero: so does a reply without a score */
static inline int
rstar_tally_counted(const RstarTally *tally, bool zero)
{
	return tally->scored + (zero ? tally->unscored : 0);
}

/* How a request ended.  rstar_failure_raise() turns these into errors. */
typedef enum RstarStatus
{
	RSTAR_STATUS_OK,
	RSTAR_STATUS_DOUBT,			/* CHECK: it may work, or not */
	RSTAR_STATUS_NO_SCORE,		/* replies, but none with a score */
	RSTAR_STATUS_TRUNCATED,		/* the same, and max_tokens was the reason;
								 * or, with "14 of 64 tokens" as detail,
								 * another limit */
	RSTAR_STATUS_CONTEXT_FULL,	/* the same, and the model's context was */
	RSTAR_STATUS_UNAVAILABLE,	/* no endpoint answered for
								 * unavailable_timeout */
	RSTAR_STATUS_NEVER,			/* the same within seconds: nobody was ever
								 * there */
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
	RSTAR_STATUS_SERVER_ALTERED,	/* it does not mean the key's model any
									 * more */
	RSTAR_STATUS_SETUP,			/* key or CA file, memory, descriptors */
	RSTAR_STATUS_WORKER_LOST,	/* the worker died of it, several times */
	RSTAR_STATUS_EMPTY,			/* query or document without text; never sent */
	RSTAR_STATUS_NO_ROOM,		/* larger than shared memory; never sent */
	RSTAR_STATUS_BUDGET,		/* would pass one; never sent */
	RSTAR_STATUS_BUDGET_UNKNOWN,	/* what is used of one cannot be read;
									 * never sent */
	RSTAR_STATUS_DEADLINE		/* not known in time; if it was sent, it goes
								 * on, detached */
} RstarStatus;

/* What came of asking for a pair */
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
	int64		cached_tokens;	/* of the prompts' */
	int64		elapsed_us;		/* CHECK: how long the reply took */
	char		detail[RSTAR_DETAIL_LEN];
} RstarResult;

#endif							/* RSTAR_RESULT_H */
