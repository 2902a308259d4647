/*-------------------------------------------------------------------------
 *
 * sched.h
 *		The GPU: slots, a FIFO queue before them, service times, hold.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_SCHED_H
#define SIM_SCHED_H

#include "sim.h"

/*
 * Takes a request whose slots, service and hang are set.  False: the queue is
 * full.  Its state is READY already when it needs no time, else QUEUED or
 * RUNNING, and http.c hears by sim_http_resume when it is READY.
 */
extern bool sim_sched_submit(SimRequest *req);

/* Takes it out, wherever it is, and frees its slots */
extern void sim_sched_remove(SimRequest *req);

/* Ends the n oldest held requests; all when n < 0.  Returns how many. */
extern int	sim_sched_release(int n);

/* Closes every request that hangs.  Returns how many. */
extern int	sim_sched_drop_hung(void);

/*
 * What is in work is never answered from now on, and nothing else is begun.
 * False, and nothing has changed, when nothing is in work.
 */
extern bool sim_sched_stop(void);

/*
 * What is in work or waits is never answered from now on, as by a process that
 * has let go of its port; it holds no slot of the one that comes after it.
 */
extern void sim_sched_lose(void);

/* Nothing is finished for so long, what runs goes on after that */
extern void sim_sched_freeze(int ms);

/* Finds a queued or running request by its rid; NULL if there is none */
extern SimRequest *sim_sched_find(const char *rid);

/* Any queued or running request, or NULL */
extern SimRequest *sim_sched_first(void);

/* Lets in what fits, after max_running has changed */
extern void sim_sched_pump(void);

extern int	sim_sched_running(void);	/* requests */
extern int	sim_sched_slots(void);	/* samples that they run */
extern int	sim_sched_queued(void);
extern int	sim_sched_held(void);
extern int	sim_sched_hung(void);
extern int	sim_sched_lost(void);

#endif							/* SIM_SCHED_H */
