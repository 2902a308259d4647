/*-------------------------------------------------------------------------
 *
 * scan.h
 *		The executor's side of the prefetch node, "Retro* Prefetch".
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SCAN_H
#define RSTAR_SCAN_H

#include "postgres.h"

#include "nodes/extensible.h"

/* Of the plan node */
extern const CustomScanMethods rstar_scan_methods;

/* Makes the node known for plans that are sent to workers; once by _PG_init */
extern void rstar_scan_init(void);

#endif							/* RSTAR_SCAN_H */
