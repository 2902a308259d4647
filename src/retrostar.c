/*-------------------------------------------------------------------------
 *
 * retrostar.c
 *		Start of the library.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/extension.h"
#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "prefetch/plan.h"
#include "prefetch/scan.h"
#include "prefetch/serial.h"
#include "session/planning.h"
#include "session/quiet.h"
#include "session/statement.h"
#include "shared/budget.h"
#include "shared/counters.h"
#include "shared/hubs.h"
#include "shared/launch.h"
#include "shared/layout.h"
#include "shared/lease.h"
#include "shared/progress.h"
#include "shared/recent.h"
#include "shared/shmem.h"
#include "shared/usage.h"

PG_MODULE_MAGIC;

/* Shared memory: the map of requests, what they cost and may, endpoints, sessions, replies, other nodes */
static const RstarShmemPart parts[] = {
	{rstar_layout_request, rstar_layout_startup},
	{rstar_usage_request, rstar_usage_startup},
	{rstar_budget_request, rstar_budget_startup},
	{rstar_counters_request, rstar_counters_startup},
	{rstar_progress_request, rstar_progress_startup},
	{rstar_recent_request, rstar_recent_startup},
	{rstar_lease_request, rstar_lease_startup},
	{rstar_hubs_request, rstar_hubs_startup},
};

void		_PG_init(void);

/*
 * Without preloading there is no shared memory: the settings are there and
 * the functions say what is missing when called.  CREATE EXTENSION works, as
 * a restart may come later, and says so now.
 */
void
_PG_init(void)
{
	rstar_guc_init();
	if (!process_shared_preload_libraries_in_progress)
	{
		if (creating_extension)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("retrostar cannot score anything before it is loaded via \"shared_preload_libraries\""),
					 errhint("Add \"retrostar\" to \"shared_preload_libraries\" and restart PostgreSQL.")));
		return;
	}
	rstar_shmem_init(parts, lengthof(parts));
	rstar_planning_init(rstar_quiet_estimates);
	rstar_plan_init();
	rstar_scan_init();
	rstar_serial_init();
	rstar_statement_init();
	rstar_quiet_init();
	rstar_launch_init();
}
