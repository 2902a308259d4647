/*-------------------------------------------------------------------------
 *
 * outcome.h
 *		What the end of an exchange means: for the endpoint, for the sample,
 *		for the session that waits.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_OUTCOME_H
#define RSTAR_OUTCOME_H

#include "postgres.h"

#include "base/result.h"
#include "model/reply.h"
#include "shared/counters.h"
#include "worker/attempt.h"
#include "worker/exchange.h"

typedef struct RstarJudgement
{
	RstarOutcome outcome;		/* for route.c */
	RstarStatus status;			/* for the session, should the sample fail */
	int			http_status;	/* 0: there was none */
	char		detail[RSTAR_DETAIL_LEN];	/* what curl or the server said */
} RstarJudgement;

/*
 * Judges the end of an exchange.  *parsed holds the score of an ANSWER, and
 * the model's text when that is wanted; the caller frees it with
 * rstar_reply_free().  Never raises.
 */
extern void rstar_outcome_judge(const RstarHttpReply *reply, const RstarReading *reading,
								RstarReply *parsed, RstarJudgement *judged);

/*
 * Adds to the detail what was asked for, where the path is refused, and where
 * the key came from, where that is.  "url" may be NULL.
 */
extern void rstar_outcome_say_what(RstarJudgement *judged, const char *method, const char *url,
								   const char *key_from);

/* The same for the counters of the endpoint; *end points into *judged */
extern void rstar_outcome_attempt(const RstarJudgement *judged, const RstarReply *parsed,
								  int64 elapsed_us, RstarAttemptEnd *end);

/*
 * Keeps a reply with a score to the pair of this key in shared memory, where
 * retro_star_explain() finds it; "endpoint" is NULL when that has gone
 */
extern void rstar_outcome_keep(const RstarKey *key, const RstarHttpReply *reply,
							   const RstarReply *parsed, const char *endpoint);

#endif							/* RSTAR_OUTCOME_H */
