/*-------------------------------------------------------------------------
 *
 * verdict.h
 *		What the end of an attempt means, for its sample and its endpoint.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_VERDICT_H
#define RSTAR_VERDICT_H

#include <stdint.h>

#include "worker/attempt.h"
#include "worker/endpoint.h"

/* What an outcome is; what that means is a table in verdict.c */
extern RstarClass rstar_verdict_class(const RstarOutcome *outcome);

/*
 * What becomes of the sample; tells the endpoint, which is NULL when it has
 * gone meanwhile.
 */
extern RstarVerdict rstar_verdict_find(RstarRoute *route, RstarAttempt *attempt,
									   RstarEndpoint *endpoint,
									   const RstarOutcome *outcome, int64_t now);

/* The endpoint failed, or its probe did: when nothing answers, time runs */
extern void rstar_verdict_failed(RstarRoute *route, RstarEndpoint *endpoint, int64_t now);

#endif							/* RSTAR_VERDICT_H */
