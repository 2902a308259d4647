/*-------------------------------------------------------------------------
 *
 * listen.c
 *		Listening sockets, and refusing connections on purpose.
 *
 * Called by: main.c, http.c, control.c.  Calls: sim_http_add.
 *
 * libmicrohttpd could listen itself, but not stop and start again, nor leave
 * connections in the backlog as a server does whose threads are all taken.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "http.h"
#include "listen.h"
#include "sim.h"

#define SIM_BACKLOG 4096

typedef struct Listener
{
	int			fd;				/* -1: closed */
	int			port;			/* 0 for the Unix socket */
	bool		control;
	bool		armed;			/* main.c's epoll set reports connections */
} Listener;

static Listener service = {.fd = -1};
static Listener control = {.fd = -1,.control = true};
static int	main_epoll;
static int	hard_limit;
static SimTimer reopen;

static void
complain(const char *what)
{
	fprintf(stderr, "simulator: could not %s: %s\n", what, strerror(errno));
}

static int
open_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int			fd;

	if (strlen(path) >= sizeof(addr.sun_path))
	{
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	unlink(path);
	if (bind(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0 ||
		listen(fd, SIM_BACKLOG) != 0)
	{
		close(fd);
		return -1;
	}
	return fd;
}

static int
open_tcp(int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t	len = sizeof(addr);
	int			on = 1;
	int			fd;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addr.sin_port = htons(*port);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0 ||
		listen(fd, SIM_BACKLOG) != 0 ||
		getsockname(fd, (struct sockaddr *) &addr, &len) != 0)
	{
		close(fd);
		return -1;
	}
	*port = ntohs(addr.sin_port);
	return fd;
}

static bool
open_listener(Listener *l)
{
	struct epoll_event ev = {.events = EPOLLIN,.data.ptr = l};

	if (!l->control && sim_options.unix_path != NULL)
		l->fd = open_unix(sim_options.unix_path);
	else
		l->fd = open_tcp(&l->port);
	if (l->fd < 0)
	{
		complain("listen");
		return false;
	}
	if (epoll_ctl(main_epoll, EPOLL_CTL_ADD, l->fd, &ev) != 0)
	{
		complain("watch the listening socket");
		return false;
	}
	l->armed = true;
	return true;
}

/* Written aside and renamed, so that who sees the file sees all of it */
static bool
write_port_file(void)
{
	char		aside[4096];
	FILE	   *file;

	if (sim_options.port_file == NULL)
		return true;
	snprintf(aside, sizeof(aside), "%s.new", sim_options.port_file);
	file = fopen(aside, "w");
	if (file == NULL)
	{
		complain("write the port file");
		return false;
	}
	if (sim_options.unix_path != NULL)
		fputs("ready\n", file);
	else
		fprintf(file, "%d\n", service.port);
	if (control.fd >= 0)
		fprintf(file, "%d\n", control.port);
	if (fclose(file) != 0 || rename(aside, sim_options.port_file) != 0)
	{
		complain("write the port file");
		return false;
	}
	return true;
}

bool
sim_listen_start(int epoll_fd, int connection_limit)
{
	main_epoll = epoll_fd;
	hard_limit = connection_limit;
	service.port = sim_options.port;
	control.port = sim_options.control_port;
	if (!open_listener(&service))
		return false;
	if (control.port >= 0 && !open_listener(&control))
		return false;
	return write_port_file();
}

void
sim_listen_stop(void)
{
	if (service.fd >= 0)
		close(service.fd);
	if (control.fd >= 0)
		close(control.fd);
	if (sim_options.unix_path != NULL)
		unlink(sim_options.unix_path);
	if (sim_options.port_file != NULL)
		unlink(sim_options.port_file);
}

static bool
may_accept(const Listener *l)
{
	int			open = sim_http_open();

	if (l->control)
		return true;
	return open < hard_limit && (sim_settings.max_connections == 0 ||
								 open < sim_settings.max_connections);
}

bool
sim_listen_event(void *ptr)
{
	Listener   *l = ptr;

	if (l != &service && l != &control)
		return false;
	while (l->fd >= 0 && may_accept(l))
	{
		struct sockaddr_storage addr;
		socklen_t	len = sizeof(addr);
		int			fd = accept4(l->fd, (struct sockaddr *) &addr, &len,
								 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return true;
		sim_http_add(fd, (struct sockaddr *) &addr, len, l->control);
	}
	sim_listen_update();
	return true;
}

void
sim_listen_update(void)
{
	bool		want = may_accept(&service);
	struct epoll_event ev = {.events = want ? EPOLLIN : 0,.data.ptr = &service};

	if (service.fd < 0 || want == service.armed)
		return;
	epoll_ctl(main_epoll, EPOLL_CTL_MOD, service.fd, &ev);
	service.armed = want;
}

static void
reopen_due(SimTimer *timer, void *arg)
{
	(void) timer;
	(void) arg;
	sim_listen_open();
}

void
sim_listen_close(int ms)
{
	if (service.fd >= 0)
		close(service.fd);
	service.fd = -1;
	service.armed = false;
	sim_timer_stop(&reopen);
	if (ms > 0)
		sim_timer_set(&reopen, sim_now() + (uint64_t) ms * 1000, reopen_due,
					  NULL);
}

void
sim_listen_open(void)
{
	sim_timer_stop(&reopen);
	if (service.fd >= 0)
		return;

	/* Somebody else may have taken the port; tests see it as still refused */
	if (open_listener(&service))
		sim_listen_update();
}

bool
sim_listen_is_open(void)
{
	return service.fd >= 0;
}
