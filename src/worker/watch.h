/*-------------------------------------------------------------------------
 *
 * watch.h
 *		Whether an endpoint that is in use is still there.
 *
 * Pure: no PostgreSQL.  For endpoint.c, choose.c and route.c alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_WATCH_H
#define RSTAR_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/attempt.h"

/* Probes in a row that are refused before an endpoint counts as gone */
#define RSTAR_WATCH_REFUSALS 3

typedef struct RstarWatch
{
	int64_t		heard_at;		/* last reply; or when the first of what is in
								 * flight was sent */
	int64_t		longest;		/* time of the slowest answers of late, -1:
								 * there was none */
	int64_t		asked_at;		/* its /health is asked since then, -1: it is
								 * not */
	int64_t		looked_at;		/* when that was known last, -1: never */
	int64_t		refused_at;		/* when the last probe that was refused began,
								 * -1: none, or all of before is over */
	int			refusals;		/* of probes, in a row */
	bool		restarted;		/* something was answered since refused_at */
	bool		leaving;		/* its /health was 503, or refused */
	bool		mute;			/* its /health was not answered */
} RstarWatch;

extern void rstar_watch_init(RstarWatch *watch);

/* There is something to do for its server */
extern void rstar_watch_begin(RstarWatch *watch, int64_t now);

/* A request goes there; "first": nothing else is in flight */
extern void rstar_watch_sent(RstarWatch *watch, bool first, int64_t now);

/* A reply to a request of that time; answered: as it should be */
extern void rstar_watch_heard(RstarWatch *watch, int64_t sent_at, bool answered, int64_t now);

/* Its /health is asked now; and what came of it */
extern void rstar_watch_ask(RstarWatch *watch, int64_t now);
extern void rstar_watch_asked(RstarWatch *watch, RstarHealth health, int64_t now);

/*
 * When its /health is to be asked while it is in use, INT64_MAX: not now.
 * "several": there are other endpoints, and something is in flight somewhere.
 */
extern int64_t rstar_watch_ask_at(const RstarWatch *watch, int in_flight, bool several);

/* Nothing new should go there while there is another */
extern bool rstar_watch_doubts(const RstarWatch *watch);

/*
 * What was sent there before the time that this returns is lost; -1: nothing
 * is.  It is told once.  And when that is so, as things stand (INT64_MAX: never).
 */
extern int64_t rstar_watch_lost(RstarWatch *watch, int64_t now);
extern int64_t rstar_watch_lost_at(const RstarWatch *watch);

#endif							/* RSTAR_WATCH_H */
