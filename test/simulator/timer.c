/*-------------------------------------------------------------------------
 *
 * timer.c
 *		A heap of timers on the monotonic clock.
 *
 * Timers that are due within SIM_TIMER_SLACK are called together, a little
 * early, to save turns of the event loop.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <time.h>

#include "buf.h"
#include "timer.h"

/* Microseconds */
#define SIM_TIMER_SLACK 100

static SimTimer **heap;
static size_t heap_len;
static size_t heap_cap;
static uint64_t now_us;

uint64_t
sim_now(void)
{
	return now_us;
}

void
sim_now_update(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now_us = (uint64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
place(size_t i, SimTimer *timer)
{
	heap[i] = timer;
	timer->slot = i + 1;
}

static void
sift_up(size_t i, SimTimer *timer)
{
	while (i > 0 && heap[(i - 1) / 2]->due > timer->due)
	{
		place(i, heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(i, timer);
}

static void
sift_down(size_t i, SimTimer *timer)
{
	for (;;)
	{
		size_t		child = 2 * i + 1;

		if (child >= heap_len)
			break;
		if (child + 1 < heap_len && heap[child + 1]->due < heap[child]->due)
			child++;
		if (heap[child]->due >= timer->due)
			break;
		place(i, heap[child]);
		i = child;
	}
	place(i, timer);
}

void
sim_timer_set(SimTimer *timer, uint64_t due, SimTimerFn fire, void *arg)
{
	sim_timer_stop(timer);
	timer->due = due;
	timer->fire = fire;
	timer->arg = arg;
	if (heap_len == heap_cap)
	{
		heap_cap = heap_cap ? heap_cap * 2 : 256;
		heap = sim_realloc(heap, heap_cap * sizeof(*heap));
	}
	heap_len++;
	sift_up(heap_len - 1, timer);
}

void
sim_timer_stop(SimTimer *timer)
{
	size_t		i = timer->slot;
	SimTimer   *last;

	if (i == 0)
		return;
	i--;
	timer->slot = 0;
	last = heap[--heap_len];
	if (last == timer)
		return;
	if (i > 0 && heap[(i - 1) / 2]->due > last->due)
		sift_up(i, last);
	else
		sift_down(i, last);
}

void
sim_timer_run(void)
{
	uint64_t	limit = now_us + SIM_TIMER_SLACK;
	size_t		most = heap_len;

	/* Not more than there were: those set meanwhile may be due at once */
	while (most-- > 0 && heap_len > 0 && heap[0]->due <= limit)
	{
		SimTimer   *timer = heap[0];

		sim_timer_stop(timer);
		timer->fire(timer, timer->arg);
	}
}

int64_t
sim_timer_wait(void)
{
	if (heap_len == 0)
		return -1;
	if (heap[0]->due <= now_us + SIM_TIMER_SLACK)
		return 0;
	return heap[0]->due - now_us;
}
