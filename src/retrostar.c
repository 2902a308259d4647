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

#include "fmgr.h"
#include "miscadmin.h"

#include "guc.h"
#include "launch.h"
#include "plan.h"
#include "scan.h"
#include "shmem.h"
#include "statement.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/*
 * Without preloading there is no shared memory: the settings are there and
 * the functions say what is missing when called.
 */
void
_PG_init(void)
{
	rstar_guc_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	rstar_shmem_init();
	rstar_plan_init();
	rstar_scan_init();
	rstar_statement_init();
	rstar_launch_init();
}
