/*-------------------------------------------------------------------------
 *
 * timer.h
 *		A heap of timers on the monotonic clock, in microseconds.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_TIMER_H
#define SIM_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct SimTimer SimTimer;
typedef void (*SimTimerFn) (SimTimer *timer, void *arg);

struct SimTimer
{
	uint64_t	due;			/* when, microseconds of sim_now() */
	size_t		slot;			/* place in the heap + 1; 0 when not set */
	SimTimerFn	fire;
	void	   *arg;
};

/* The time of this turn of the event loop; read from the clock once a turn */
extern uint64_t sim_now(void);
extern void sim_now_update(void);

/* Sets, or moves, a timer.  It is off again when its function is called. */
extern void sim_timer_set(SimTimer *timer, uint64_t due, SimTimerFn fire,
						  void *arg);
extern void sim_timer_stop(SimTimer *timer);

/* Calls what is due, at most as many as there are when it begins */
extern void sim_timer_run(void);

/* Microseconds until the next one is due, 0 if it is, -1 if there is none */
extern int64_t sim_timer_wait(void);

#endif							/* SIM_TIMER_H */
