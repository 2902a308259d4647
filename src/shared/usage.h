/*-------------------------------------------------------------------------
 *
 * usage.h
 *		What pairs have cost whom: what the table retrostar.usage does not have
 *		yet, and its answers in the map do not say either.
 *
 * What a request cost is in the request until its answer is stored, and is
 * written with it, so that both are there after a crash, or neither.  Here is
 * the rest, which the worker writes with its next store: failures without any
 * reply, and what was stored while the table of usage could not be written.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_USAGE_H
#define RSTAR_USAGE_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/settings.h"

struct RstarDatabase;

#define RSTAR_USAGE_TABLE	"usage"

/* Of a role's pairs, on one server, in one hour, at one priority */
typedef struct RstarUsage
{
	Oid			role;			/* who made the requests */
	Oid			serverid;
	TimestampTz hour;			/* in which they ended: its start */
	RstarPriority priority;
	int64		pairs;			/* that ended with a reply, or failed */
	int64		failures;		/* of these, those that failed */
	int64		samples;		/* replies, with and without a score */
	int64		prompt_tokens;
	int64		cached_tokens;
	int64		completion_tokens;
	int64		elapsed_us;		/* between request and reply, all together */
} RstarUsage;

/* RstarShmemPart of what is to be written */
extern void rstar_usage_request(void);
extern void rstar_usage_startup(void);

/* Same role, server, hour, priority? */
extern bool rstar_usage_same(const RstarUsage *a, const RstarUsage *b);

/* Adds up two that are the same */
extern void rstar_usage_sum(RstarUsage *to, const RstarUsage *usage);

/*
 * All of this database, palloc'd: *n of them, which stay until
 * rstar_usage_written().  Takes the lock.
 */
extern RstarUsage *rstar_usage_unwritten(int *n);

/* The rest needs the lock held exclusively. */

/* It is to be written; where all places are taken it is added to one like it, or lost */
extern void rstar_usage_add(struct RstarDatabase *db, const RstarUsage *usage);

/* So much of it is in the table now */
extern void rstar_usage_written(struct RstarDatabase *db, const RstarUsage *written, int n);

/* All of a database that was dropped, or whose table was */
extern void rstar_usage_purge(struct RstarDatabase *db);

#endif							/* RSTAR_USAGE_H */
