/*-------------------------------------------------------------------------
 *
 * guc.c
 *		The definition of the settings.
 *
 * max_requests, shared_memory and reply_memory size shared memory and can only be set at
 * server start; when the library is not preloaded they cannot be defined any
 * more (PGC_POSTMASTER after start-up is an error), and nothing reads them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "base/settings.h"
#include "base/traceparent.h"
#include "functions/passes.h"
#include "guc.h"
#include "prefetch/plan.h"

static const struct config_enum_entry on_error_options[] = {
	{"error", RSTAR_ON_ERROR_ERROR, false},
	{"null", RSTAR_ON_ERROR_NULL, false},
	{NULL, 0, false}
};

static const struct config_enum_entry on_miss_options[] = {
	{"wait", RSTAR_ON_MISS_WAIT, false},
	{"skip", RSTAR_ON_MISS_SKIP, false},
	{NULL, 0, false}
};

static const struct config_enum_entry unscored_reply_options[] = {
	{"retry", RSTAR_UNSCORED_RETRY, false},
	{"zero", RSTAR_UNSCORED_ZERO, false},
	{NULL, 0, false}
};

static const struct config_enum_entry priority_options[] = {
	{"auto", RSTAR_PRIORITY_AUTO, false},
	{"interactive", RSTAR_PRIORITY_INTERACTIVE, false},
	{"background", RSTAR_PRIORITY_BACKGROUND, false},
	{NULL, 0, false}
};

static void define_user_settings(void);
static void define_request_settings(void);
static void define_set_settings(void);
static void define_startup_settings(void);
static bool check_passes(char **newval, void **extra, GucSource source);
static bool check_traceparent(char **newval, void **extra, GucSource source);
static bool check_prior_weight(double *newval, void **extra, GucSource source);

void
rstar_guc_init(void)
{
	define_user_settings();
	define_request_settings();
	define_set_settings();
	if (process_shared_preload_libraries_in_progress)
		define_startup_settings();
	MarkGUCPrefixReserved("retrostar");
}

static void
define_user_settings(void)
{
	DefineCustomStringVariable("retrostar.server",
							   "Names the server that scores when a call names none.",
							   "Empty: the only server on which the role has USAGE.",
							   &rstar_server, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("retrostar.task",
							   "Names the task of calls that name none.",
							   "Empty: the general definition of relevance.",
							   &rstar_task, "",
							   PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.samples",
							"Sets the number of samples whose mean is a score.",
							NULL,
							&rstar_samples, RSTAR_DEFAULT_SAMPLES,
							RSTAR_MIN_SAMPLES, RSTAR_MAX_SAMPLES,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("retrostar.on_error",
							 "Sets what becomes of a pair that cannot be scored.",
							 "error: the statement fails.  null: the score is NULL and the statement ends with one warning.",
							 &rstar_on_error, RSTAR_ON_ERROR_ERROR, on_error_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("retrostar.on_miss",
							 "Sets what a call does when the score is not known yet.",
							 "wait: the model is asked.  skip: nothing is sent and the score is NULL.",
							 &rstar_on_miss, RSTAR_ON_MISS_WAIT, on_miss_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("retrostar.unscored_reply",
							 "Sets what a reply without a score counts as.",
							 "retry: nothing, it is asked again with another seed.  zero: a score of 0.",
							 &rstar_unscored_reply, RSTAR_UNSCORED_RETRY, unscored_reply_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("retrostar.cache",
							 "Uses scores that are already known.",
							 "Off: every pair is asked again; the new samples are stored beside the old ones.",
							 &rstar_cache, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("retrostar.store_reasoning",
							 "Keeps the model's reasoning of new samples in the cache.",
							 "retro_star_explain() shows it, and keeps it for what it asks itself in any case.",
							 &rstar_store_reasoning, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.request_limit",
							"Limits the samples that one statement may send.",
							"-1: no limit.  What was sent before stays in the cache.",
							&rstar_request_limit, RSTAR_DEFAULT_REQUEST_LIMIT,
							-1, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.deadline",
							"Sets how long one statement waits for scores.",
							"0: as long as it takes.  What is asked for by then goes on into the cache.",
							&rstar_deadline, RSTAR_DEFAULT_DEADLINE,
							0, RSTAR_MAX_DEADLINE,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("retrostar.prefetch",
							 "Makes the calls of rows ahead of the row that is evaluated.",
							 NULL,
							 &rstar_prefetch, true,
							 PGC_USERSET, 0, NULL, rstar_plan_assign_prefetch, NULL);
	DefineCustomIntVariable("retrostar.prefetch_window",
							"Sets how many rows are read ahead at most.",
							NULL,
							&rstar_prefetch_window, RSTAR_DEFAULT_PREFETCH_WINDOW,
							RSTAR_MIN_PREFETCH_WINDOW, RSTAR_MAX_PREFETCH_WINDOW,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.worker_idle_timeout",
							"Sets how long a worker without work stays.",
							NULL,
							&rstar_worker_idle_timeout, RSTAR_DEFAULT_WORKER_IDLE_TIMEOUT,
							RSTAR_MIN_WORKER_IDLE_TIMEOUT, RSTAR_MAX_WORKER_IDLE_TIMEOUT,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* How requests go out, and with them whose turn it is */
static void
define_request_settings(void)
{
	DefineCustomEnumVariable("retrostar.priority",
							 "Sets whether pairs are asked for before or after those of others.",
							 "auto: background in retrostar.refresh() and retro_star_prefetch(), else interactive.",
							 &rstar_priority, RSTAR_PRIORITY_AUTO, priority_options,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("retrostar.traceparent",
							   "Names the span of a trace that requests belong to, as the W3C writes it.",
							   "Sent as the header \"traceparent\" of requests that the session makes.  Empty: none.",
							   &rstar_traceparent, "",
							   PGC_USERSET, 0, check_traceparent, NULL, NULL);
}

static void
define_set_settings(void)
{
	DefineCustomStringVariable("retrostar.passes",
							   "Sets how samples are spent on a set of documents when a call does not say.",
							   "For example \"100@1,30@16\" or \"adaptive\".  Empty: retrostar.samples of each.",
							   &rstar_passes, "",
							   PGC_USERSET, 0, check_passes, NULL, NULL);
	DefineCustomRealVariable("retrostar.prior_weight",
							 "Sets how much the priors of a set weigh when a call does not say.",
							 "At least 0, and less than 1; it is multiplied by the trust that the first round finds in them.",
							 &rstar_prior_weight, RSTAR_DEFAULT_PRIOR_WEIGHT,
							 0, 1,
							 PGC_USERSET, 0, check_prior_weight, NULL, NULL);
}

static void
define_startup_settings(void)
{
	DefineCustomIntVariable("retrostar.max_requests",
							"Sets how many pairs can be in work at once, over all sessions.",
							"A session that finds no place waits for one.",
							&rstar_max_requests, RSTAR_DEFAULT_MAX_REQUESTS,
							RSTAR_MIN_MAX_REQUESTS, RSTAR_MAX_MAX_REQUESTS,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.shared_memory",
							"Sets the shared memory for the texts of pairs in work.",
							"No document longer than half of this can be scored.",
							&rstar_shared_memory, RSTAR_DEFAULT_SHARED_MEMORY,
							RSTAR_MIN_SHARED_MEMORY, RSTAR_MAX_SHARED_MEMORY,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("retrostar.reply_memory",
							"Sets the shared memory for the last replies, which retro_star_explain() shows.",
							"0: none are kept there.  The oldest make room for new ones.",
							&rstar_reply_memory, RSTAR_DEFAULT_REPLY_MEMORY,
							0, RSTAR_MAX_REPLY_MEMORY,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
}

static bool
check_passes(char **newval, void **extra, GucSource source)
{
	RstarPassesSpec spec;
	RstarPassesCode code;
	int			position;

	if ((*newval)[0] == '\0')
		return true;
	code = rstar_passes_spec_parse(&spec, *newval, strlen(*newval), &position);
	if (code == RSTAR_PASSES_OK)
		return true;
	GUC_check_errdetail("%s", rstar_passes_spec_reason(code));
	GUC_check_errhint("%s", RSTAR_PASSES_GRAMMAR);
	return false;
}

static bool
check_traceparent(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0' || rstar_traceparent_valid(*newval))
		return true;
	GUC_check_errdetail("It is \"00-\", 32 digits of the trace, \"-\", 16 digits of the span, "
						"\"-\" and two of flags; digits are hexadecimal and lower case, and not all zero.");
	return false;
}

static bool
check_prior_weight(double *newval, void **extra, GucSource source)
{
	if (*newval < 1)
		return true;
	GUC_check_errdetail("A weight of 1 would leave nothing of the scores.");
	return false;
}
