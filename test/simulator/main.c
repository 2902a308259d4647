/*-------------------------------------------------------------------------
 *
 * main.c
 *		Start, event loop, end.
 *
 * Calls: options.c, listen.c, http.c, timer.c.
 *
 * One epoll set: listening sockets, libmicrohttpd's own sets, every client's
 * socket (for its end only, see http.c) and the signals.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "http.h"
#include "listen.h"
#include "log.h"
#include "options.h"
#include "fault.h"
#include "sched.h"
#include "score.h"
#include "settings.h"
#include "sim.h"
#include "stats.h"

#define SIM_EVENTS 512

/* Descriptors that are not connections: epoll sets, listeners, stdio, .. */
#define SIM_OTHER_FDS 32

static SimRng rng;
static int	epoll_fd;
static int	signal_fd;

double
sim_random(void)
{
	return sim_rng_uniform(&rng);
}

/* As many descriptors as the system lets us have */
static int
raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 256;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > 1000000)
		return 1000000;
	return limit.rlim_cur > 2 * SIM_OTHER_FDS ?
		(int) limit.rlim_cur - SIM_OTHER_FDS : SIM_OTHER_FDS;
}

static void
take_signals(void)
{
	sigset_t	set;
	struct epoll_event ev = {.events = EPOLLIN,.data.ptr = &signal_fd};

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signal_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, signal_fd, &ev) != 0)
	{
		perror("simulator: signalfd");
		exit(1);
	}
}

/* Exits with its parent, whatever it holds, also when that is gone already */
static void
follow_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGHUP);
	if (getppid() != parent)
		exit(1);
}

static int
wait_events(struct epoll_event *events, bool pending)
{
	static bool coarse;			/* an old kernel, or valgrind */
	int64_t		us = pending ? 0 : sim_timer_wait();
	struct timespec timeout = {us / 1000000, us % 1000000 * 1000};

	if (!coarse)
	{
		int			n = epoll_pwait2(epoll_fd, events, SIM_EVENTS,
									 us < 0 ? NULL : &timeout, NULL);

		if (n >= 0 || errno != ENOSYS)
			return n;
		coarse = true;
	}
	return epoll_wait(epoll_fd, events, SIM_EVENTS,
					  us < 0 ? -1 : (int) ((us + 999) / 1000));
}

/* Is it the end?  Not yet, where a server holds on to its requests. */
static bool
take_signal(void)
{
	static bool held;
	struct signalfd_siginfo info;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (held || info.ssi_signo != SIGTERM || !sim_settings.term_hold ||
		!sim_sched_stop())
		return true;
	held = true;
	sim_listen_close(0);
	sim_http_close_idle();
	return false;
}

static void
run(void)
{
	struct epoll_event events[SIM_EVENTS];
	bool		pending = false;

	for (;;)
	{
		int			n = wait_events(events, pending);

		sim_now_update();
		if (n < 0 && errno != EINTR)
		{
			perror("simulator: epoll_wait");
			return;
		}

		/*
		 * Connections are freed in sim_http_run only, so that a pointer in
		 * the events is good for the whole of this loop.
		 */
		for (int i = 0; i < n; i++)
		{
			void	   *ptr = events[i].data.ptr;

			if (ptr == &signal_fd)
			{
				if (take_signal())
					return;
			}
			else if (!sim_http_event(ptr) && !sim_listen_event(ptr))
				sim_http_hup(ptr);
		}
		sim_timer_run();
		pending = sim_http_run();
	}
}

int
main(int argc, char **argv)
{
	pid_t		parent = getppid();
	int			connections = raise_limit();
	int			status = 1;

	sim_options_read(argc, argv);
	if (sim_options.die_with_parent)
		follow_parent(parent);
	rng.state = sim_options.seed;
	sim_now_update();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
	{
		perror("simulator: epoll_create1");
		return 1;
	}
	take_signals();
	sim_log_resize(sim_settings.log_size);
	if (sim_http_start(epoll_fd, connections) &&
		sim_listen_start(epoll_fd, connections))
	{
		run();
		status = 0;
	}
	sim_http_stop();
	sim_listen_stop();
	sim_fault_clear_rules();
	sim_stats_reset();
	sim_log_resize(0);
	return status;
}
