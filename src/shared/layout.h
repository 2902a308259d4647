/*-------------------------------------------------------------------------
 *
 * layout.h
 *		The map of requests as a part of shared memory.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_LAYOUT_H
#define RSTAR_LAYOUT_H

/* RstarShmemPart of the map; after "startup" rstar_shared is there */
extern void rstar_layout_request(void);
extern void rstar_layout_startup(void);

#endif							/* RSTAR_LAYOUT_H */
