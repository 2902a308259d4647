/*-------------------------------------------------------------------------
 *
 * serial.h
 *		EXPLAIN tells which calls of a plan are made one after another, and why.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SERIAL_H
#define RSTAR_SERIAL_H

/*
 * Installs an executor hook; called once by _PG_init.  From then on EXPLAIN
 * without ANALYZE raises a NOTICE for a plan with such calls.
 */
extern void rstar_serial_init(void);

#endif							/* RSTAR_SERIAL_H */
