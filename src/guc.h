/*-------------------------------------------------------------------------
 *
 * guc.h
 *		The definition of the settings.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_GUC_H
#define RSTAR_GUC_H

/* Defines all settings and reserves the prefix; called once by _PG_init */
extern void rstar_guc_init(void);

#endif							/* RSTAR_GUC_H */
