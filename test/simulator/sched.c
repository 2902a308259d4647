/*-------------------------------------------------------------------------
 *
 * sched.c
 *		The GPU: slots, a FIFO queue before them, service times, hold.
 *
 * Called by: chat.c, control.c, http.c (a client that goes).  Calls: timer.c,
 * stats.c, sim_http_resume.
 *
 * A request is in one of five lists: queue, active (its timer runs), held,
 * hung, lost.  All but the first and the last hold slots.  When the GPU is
 * stopped nothing moves on.  A request with n choices takes n slots, as in vLLM;
 * one that needs more than there are runs alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "http.h"
#include "sched.h"
#include "stats.h"

static struct SimList queue = TAILQ_HEAD_INITIALIZER(queue);
static struct SimList active = TAILQ_HEAD_INITIALIZER(active);
static struct SimList held = TAILQ_HEAD_INITIALIZER(held);
static struct SimList hung = TAILQ_HEAD_INITIALIZER(hung);
static struct SimList lost = TAILQ_HEAD_INITIALIZER(lost);
static int	queued_count;
static int	running_count;
static int	slots_used;
static int	held_count;
static int	hung_count;
static int	lost_count;
static bool stopped;
static uint64_t frozen_until;
static SimTimer step;

static void start(SimRequest *req);

static bool
fits(const SimRequest *req)
{
	int			limit = sim_settings.max_running;

	return limit == 0 || running_count == 0 ||
		slots_used + req->slots <= limit;
}

static void
into(struct SimList *list, SimRequest *req)
{
	TAILQ_INSERT_TAIL(list, req, entry);
	req->list = list;
}

/* Out of its list and its slots; tells nobody */
static void
out(SimRequest *req)
{
	if (req->list == NULL)
		return;
	TAILQ_REMOVE(req->list, req, entry);
	if (req->list == &queue)
		queued_count--;
	else if (req->list == &lost)
		lost_count--;
	else
	{
		running_count--;
		slots_used -= req->slots;
		if (req->list == &held)
			held_count--;
		else if (req->list == &hung)
			hung_count--;
		sim_timer_stop(&req->timer);
	}
	req->list = NULL;
}

static void
finish(SimRequest *req)
{
	out(req);
	req->state = SIM_READY;
	sim_http_resume(req);
}

static void
service_done(SimTimer *timer, void *arg)
{
	(void) timer;
	finish(arg);
	sim_sched_pump();
	sim_stats_changed();
}

/*
 * Ends are rounded to a grid, half a hundredth of the service time or less:
 * each turn of the event loop in which a request ends costs libmicrohttpd a
 * walk over all suspended connections.  A coarser grid would save more, and
 * flatter the clients that are measured with it: replies in bunches are cheap
 * to read.  On average rounding changes nothing.
 */
static uint64_t
end_of_service(const SimRequest *req)
{
	uint64_t	begin = sim_now() > frozen_until ? sim_now() : frozen_until;
	uint64_t	end = begin + req->service;
	uint64_t	grid = req->service >= 1000000 ? 4000 :
		req->service >= 200000 ? 1000 : req->service >= 10000 ? 50 : 1;

	return (end + grid / 2) / grid * grid;
}

/* Gives a request its slots; it is READY at once if it needs no time */
static void
start(SimRequest *req)
{
	req->state = SIM_RUNNING;
	running_count++;
	slots_used += req->slots;
	sim_stats_peaks();
	if (req->hang)
	{
		hung_count++;
		into(&hung, req);
	}
	else if (sim_settings.hold || req->hold)
	{
		held_count++;
		into(&held, req);
	}
	else
	{
		into(&active, req);
		if (req->service == 0 && sim_now() >= frozen_until)
			finish(req);
		else
			sim_timer_set(&req->timer, end_of_service(req), service_done, req);
	}
}

static void
step_due(SimTimer *timer, void *arg)
{
	(void) timer;
	(void) arg;
	sim_sched_pump();
	sim_stats_changed();
}

bool
sim_sched_submit(SimRequest *req)
{
	if (sim_settings.step_ms > 0 && step.slot == 0)
		sim_timer_set(&step, sim_now() + (uint64_t) sim_settings.step_ms * 1000,
					  step_due, NULL);
	if (sim_settings.step_ms == 0 && queued_count == 0 && fits(req) && !stopped)
		start(req);
	else
	{
		if (sim_settings.max_queue >= 0 &&
			queued_count >= sim_settings.max_queue)
			return false;
		req->state = SIM_QUEUED;
		queued_count++;
		into(&queue, req);
		sim_stats_peaks();
	}
	sim_stats_changed();
	return true;
}

void
sim_sched_pump(void)
{
	SimRequest *req;

	while (!stopped && (req = TAILQ_FIRST(&queue)) != NULL && fits(req))
	{
		out(req);
		start(req);
	}
}

void
sim_sched_remove(SimRequest *req)
{
	if (req->list == NULL)
		return;
	out(req);
	sim_sched_pump();
	sim_stats_changed();
}

int
sim_sched_release(int n)
{
	int			done = 0;
	SimRequest *req;

	while (done != n && (req = TAILQ_FIRST(&held)) != NULL)
	{
		finish(req);
		done++;
	}
	sim_sched_pump();
	sim_stats_changed();
	return done;
}

static int
drop_all(struct SimList *list)
{
	int			done = 0;
	SimRequest *req;

	while ((req = TAILQ_FIRST(list)) != NULL)
	{
		req->reply.delivery = SIM_DELIVER_CLOSE;
		finish(req);
		done++;
	}
	return done;
}

int
sim_sched_drop_hung(void)
{
	int			done = drop_all(&hung) + drop_all(&lost);

	sim_sched_pump();
	sim_stats_changed();
	return done;
}

/* What ran hangs from now on */
static void
hang_all(struct SimList *list)
{
	SimRequest *req;

	while ((req = TAILQ_FIRST(list)) != NULL)
	{
		out(req);
		running_count++;
		slots_used += req->slots;
		hung_count++;
		into(&hung, req);
	}
}

bool
sim_sched_stop(void)
{
	if (running_count + queued_count == 0)
		return false;
	stopped = true;
	hang_all(&active);
	hang_all(&held);
	sim_stats_changed();
	return true;
}

static void
lose_all(struct SimList *list)
{
	SimRequest *req;

	while ((req = TAILQ_FIRST(list)) != NULL)
	{
		out(req);
		lost_count++;
		into(&lost, req);
	}
}

void
sim_sched_lose(void)
{
	lose_all(&active);
	lose_all(&held);
	lose_all(&hung);
	lose_all(&queue);
	sim_stats_changed();
}

void
sim_sched_freeze(int ms)
{
	uint64_t	until = sim_now() + (uint64_t) ms * 1000;
	uint64_t	from = sim_now() > frozen_until ? sim_now() : frozen_until;
	SimRequest *req;

	TAILQ_FOREACH(req, &active, entry)
	{
		if (until > from)
			sim_timer_set(&req->timer, req->timer.due + (until - from),
						  service_done, req);
	}
	frozen_until = until;
}

SimRequest *
sim_sched_find(const char *rid)
{
	struct SimList *lists[] = {&active, &held, &hung, &queue};

	for (int i = 0; i < 4; i++)
	{
		SimRequest *req;

		TAILQ_FOREACH(req, lists[i], entry)
		{
			if (strcmp(req->rid, rid) == 0)
				return req;
		}
	}
	return NULL;
}

SimRequest *
sim_sched_first(void)
{
	struct SimList *lists[] = {&active, &held, &hung, &queue};

	for (int i = 0; i < 4; i++)
	{
		if (!TAILQ_EMPTY(lists[i]))
			return TAILQ_FIRST(lists[i]);
	}
	return NULL;
}

int
sim_sched_running(void)
{
	return running_count;
}

int
sim_sched_slots(void)
{
	return slots_used;
}

int
sim_sched_queued(void)
{
	return queued_count;
}

int
sim_sched_held(void)
{
	return held_count;
}

int
sim_sched_hung(void)
{
	return hung_count;
}

int
sim_sched_lost(void)
{
	return lost_count;
}
