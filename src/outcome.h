/*-------------------------------------------------------------------------
 *
 * outcome.h
 *		What the end of an exchange means: for the endpoint, for the sample,
 *		for the session that waits.
 *
 * Called by: send.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_OUTCOME_H
#define RSTAR_OUTCOME_H

#include "postgres.h"

#include "counters.h"
#include "http.h"
#include "queue.h"
#include "reply.h"
#include "route.h"

typedef struct RstarJudgement
{
	RstarOutcome outcome;		/* for route.c */
	RstarStatus status;			/* for the session, should the sample fail */
	int			http_status;	/* 0: there was none */
	char		detail[RSTAR_DETAIL_LEN];	/* what curl or the server said */
} RstarJudgement;

/*
 * Judges the end of an exchange.  *parsed holds the score of an ANSWER, and
 * the model's text when want_text; the caller frees it with
 * rstar_reply_free().  Never raises.
 */
extern void rstar_outcome_judge(const RstarHttpReply *reply, bool want_text,
								RstarReply *parsed, RstarJudgement *verdict);

/* The same for the counters of the endpoint; *end points into *verdict */
extern void rstar_outcome_attempt(const RstarJudgement *verdict, const RstarReply *parsed,
								  int64 elapsed_us, RstarAttemptEnd *end);

#endif							/* RSTAR_OUTCOME_H */
