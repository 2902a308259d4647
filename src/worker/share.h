/*-------------------------------------------------------------------------
 *
 * share.h
 *		Who gets an endpoint's room: samples that are waited for, and the
 *		background.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SHARE_H
#define RSTAR_SHARE_H

#include "postgres.h"

#include "shared/dispatch.h"
#include "worker/sample.h"
#include "worker/target.h"

/* For rstar_dispatch_claim() */
extern bool rstar_share_admit(Oid serverid, Oid mapping, RstarTurn turn);

/* What was admitted of a target is sent, or delayed; and of all targets */
extern void rstar_share_sent(RstarTarget *target);
extern void rstar_share_all_sent(void);

/*
 * A background sample in flight that gives way to one of this mapping that is
 * waited for: it is to be closed, and asked again later.  NULL: there is none.
 */
extern RstarSample *rstar_share_victim(const RstarTarget *target, Oid mapping, int64 now);

#endif							/* RSTAR_SHARE_H */
