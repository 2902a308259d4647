/*-------------------------------------------------------------------------
 *
 * settings.c
 *		The variables of the settings.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/settings.h"

char	   *rstar_server = NULL;
char	   *rstar_task = NULL;
int			rstar_samples = RSTAR_DEFAULT_SAMPLES;
int			rstar_on_error = RSTAR_ON_ERROR_ERROR;
int			rstar_on_miss = RSTAR_ON_MISS_WAIT;
int			rstar_unscored_reply = RSTAR_UNSCORED_RETRY;
bool		rstar_cache = true;
bool		rstar_store_reasoning = false;
int			rstar_request_limit = RSTAR_DEFAULT_REQUEST_LIMIT;
int			rstar_deadline = RSTAR_DEFAULT_DEADLINE;
int			rstar_priority = RSTAR_PRIORITY_AUTO;
char	   *rstar_traceparent = NULL;
char	   *rstar_passes = NULL;
double		rstar_prior_weight = RSTAR_DEFAULT_PRIOR_WEIGHT;
bool		rstar_prefetch = true;
int			rstar_prefetch_window = RSTAR_DEFAULT_PREFETCH_WINDOW;
int			rstar_max_requests = RSTAR_DEFAULT_MAX_REQUESTS;
int			rstar_shared_memory = RSTAR_DEFAULT_SHARED_MEMORY;
int			rstar_reply_memory = RSTAR_DEFAULT_REPLY_MEMORY;
int			rstar_worker_idle_timeout = RSTAR_DEFAULT_WORKER_IDLE_TIMEOUT;
