/*-------------------------------------------------------------------------
 *
 * settings.h
 *		Every setting: variable, default, range.
 *
 * Here and not in guc.c, which is on top of all rooms because it checks the
 * settings with what they know.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SETTINGS_H
#define RSTAR_SETTINGS_H

#include "postgres.h"

/* Samples of one pair: also the size of an array in each shared request */
#define RSTAR_DEFAULT_SAMPLES	1
#define RSTAR_MIN_SAMPLES		1
#define RSTAR_MAX_SAMPLES		64

#define RSTAR_DEFAULT_REQUEST_LIMIT 100000

#define RSTAR_DEFAULT_PREFETCH_WINDOW	4096
#define RSTAR_MIN_PREFETCH_WINDOW		1
#define RSTAR_MAX_PREFETCH_WINDOW		65536

#define RSTAR_DEFAULT_MAX_REQUESTS	16384
#define RSTAR_MIN_MAX_REQUESTS		64
#define RSTAR_MAX_MAX_REQUESTS		1048576

/* kB */
#define RSTAR_DEFAULT_SHARED_MEMORY (64 * 1024)
#define RSTAR_MIN_SHARED_MEMORY		(4 * 1024)
#define RSTAR_MAX_SHARED_MEMORY		(16 * 1024 * 1024)

/* kB */
#define RSTAR_DEFAULT_REPLY_MEMORY	(8 * 1024)
#define RSTAR_MAX_REPLY_MEMORY		(1024 * 1024)

/* ms */
#define RSTAR_DEFAULT_WORKER_IDLE_TIMEOUT	3000
#define RSTAR_MIN_WORKER_IDLE_TIMEOUT		100
#define RSTAR_MAX_WORKER_IDLE_TIMEOUT		3600000

/* ms; 0: none */
#define RSTAR_DEFAULT_DEADLINE		0
#define RSTAR_MAX_DEADLINE			86400000

/* From 0 to less than 1 */
#define RSTAR_DEFAULT_PRIOR_WEIGHT	0.2

typedef enum RstarOnError
{
	RSTAR_ON_ERROR_ERROR,
	RSTAR_ON_ERROR_NULL
} RstarOnError;

typedef enum RstarOnMiss
{
	RSTAR_ON_MISS_WAIT,
	RSTAR_ON_MISS_SKIP
} RstarOnMiss;

typedef enum RstarUnscoredReply
{
	RSTAR_UNSCORED_RETRY,
	RSTAR_UNSCORED_ZERO
} RstarUnscoredReply;

/*
 * Who waits for a pair: a person, or nobody in particular.  The order is that
 * of the worker.
 */
typedef enum RstarPriority
{
	RSTAR_PRIORITY_INTERACTIVE,
	RSTAR_PRIORITY_BACKGROUND
} RstarPriority;

#define RSTAR_NPRIORITIES (RSTAR_PRIORITY_BACKGROUND + 1)

/* Of the setting: background for what works ahead, interactive else */
#define RSTAR_PRIORITY_AUTO RSTAR_NPRIORITIES

extern char *rstar_server;
extern char *rstar_task;
extern int	rstar_samples;
extern int	rstar_on_error;
extern int	rstar_on_miss;
extern int	rstar_unscored_reply;
extern bool rstar_cache;
extern bool rstar_store_reasoning;
extern int	rstar_request_limit;
extern int	rstar_deadline;
extern int	rstar_priority;
extern char *rstar_traceparent;
extern char *rstar_passes;
extern double rstar_prior_weight;
extern bool rstar_prefetch;
extern int	rstar_prefetch_window;
extern int	rstar_max_requests;
extern int	rstar_shared_memory;
extern int	rstar_reply_memory;
extern int	rstar_worker_idle_timeout;

#endif							/* RSTAR_SETTINGS_H */
