/*-------------------------------------------------------------------------
 *
 * http.c
 *		libmicrohttpd: connections and requests, in and out.
 *
 * Called by: main.c (events), listen.c (accepted sockets), sched.c and others
 * (sim_http_resume).  Calls: route.c, chat.c (a request's end), deliver.c.
 *
 * Two daemons without threads and without listen sockets: one for the service,
 * one for the control port, which never speaks TLS.  Each has an epoll set of
 * its own, nested in main.c's.  libmicrohttpd does not watch a suspended
 * connection, so every socket is also in main.c's set, edge-triggered and for
 * EPOLLRDHUP only: that is how a client's going is noticed while its request
 * waits, for one system call a connection.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "chat.h"
#include "deliver.h"
#include "front.h"
#include "http.h"
#include "listen.h"
#include "route.h"
#include "sched.h"
#include "settings.h"
#include "stats.h"

/*
 * A connection's memory, for headers and pieces of the body.  libmicrohttpd
 * clears all of it after each request.
 */
#define SIM_CONN_MEMORY 16384

enum
{
	SERVICE, CONTROL, NDAEMONS
};

/* What the callbacks are told of their daemon */
static const bool is_control[NDAEMONS] = {false, true};
static struct MHD_Daemon *daemons[NDAEMONS];
static int	main_epoll = -1;
static bool work[NDAEMONS];		/* something was added or resumed, or came in */
static int	open_connections;
static unsigned connection_numbers;
static LIST_HEAD(, SimConn) connections = LIST_HEAD_INITIALIZER(connections);

/* Used requests, kept for the next ones */
static struct SimList spare = TAILQ_HEAD_INITIALIZER(spare);

static SimConn *
conn_of(struct MHD_Connection *mhd)
{
	return MHD_get_connection_info(mhd,
								   MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
}

/*
 * libmicrohttpd sees the end of its input, and closes; but only after it has
 * read what came before, so that on_request() must not take that.
 */
static void
end_idle(SimConn *conn)
{
	conn->ended = true;
	shutdown(conn->fd, SHUT_RDWR);
}

static void
idle_close(SimTimer *timer, void *arg)
{
	SimConn    *conn = arg;

	(void) timer;
	if (conn->request != NULL)
		return;
	sim_stats.idle_closed++;
	end_idle(conn);
}

static void
idle_start(SimConn *conn)
{
	int			ms = sim_settings_idle_close_ms();

	if (ms > 0 && !conn->control)
		sim_timer_set(&conn->idle, sim_now() + (uint64_t) ms * 1000, idle_close,
					  conn);
	else
		sim_timer_stop(&conn->idle);
}

void
sim_http_settings_changed(void)
{
	SimConn    *conn;

	LIST_FOREACH(conn, &connections, all)
	{
		if (conn->request == NULL)
			idle_start(conn);
	}
}

void
sim_http_close_idle(void)
{
	SimConn    *conn;

	LIST_FOREACH(conn, &connections, all)
	{
		if (conn->request == NULL && !conn->control)
			end_idle(conn);
	}
}

static SimRequest *
request_new(struct MHD_Connection *mhd, const char *url, const char *method)
{
	SimRequest *req = TAILQ_FIRST(&spare);
	SimConn    *conn = conn_of(mhd);

	if (req != NULL)
	{
		TAILQ_REMOVE(&spare, req, entry);
		memset(req, 0, sizeof(*req));
	}
	else
		req = sim_alloc(sizeof(*req));
	req->conn = conn;
	req->mhd = mhd;
	req->arrived = sim_now();
	conn->request = req;
	conn->requests++;
	sim_timer_stop(&conn->idle);
	sim_route_find(req, url, method);
	return req;
}

static void
take_body(SimRequest *req, const char *data, size_t len)
{
	req->body_len += len;

	/* A fixed reply needs no body; a body that is too large is only counted */
	if (sim_settings.fixed >= 0 && req->endpoint != NULL &&
		req->endpoint->handle == sim_chat_handle)
		return;
	if (req->body_len > sim_options.max_body)
	{
		req->too_large = true;
		sim_buf_free(&req->body);
		return;
	}
	sim_buf_append(&req->body, data, len);
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *mhd, const char *url,
		   const char *method, const char *version, const char *upload_data,
		   size_t *upload_data_size, void **req_cls)
{
	SimRequest *req = *req_cls;

	(void) cls;
	(void) version;
	if (req == NULL)
	{
		if (conn_of(mhd)->ended)
			return MHD_NO;
		*req_cls = req = request_new(mhd, url, method);
		if (!sim_route_early(req))
			return MHD_YES;
		return sim_deliver(req);
	}
	if (*upload_data_size > 0)
	{
		take_body(req, upload_data, *upload_data_size);
		*upload_data_size = 0;
		return MHD_YES;
	}
	if (req->state == SIM_RECEIVING)
		sim_route_dispatch(req);
	switch (req->state)
	{
		case SIM_GONE:
			return MHD_NO;
		case SIM_READY:
			if (!sim_front_again(req))
				return sim_deliver(req);
			/* FALLTHROUGH */
		default:
			sim_http_suspend(req);
			if (req->conn->hup)
				sim_http_hup(req->conn);
			return MHD_YES;
	}
}

static void
on_completed(void *cls, struct MHD_Connection *mhd, void **req_cls,
			 enum MHD_RequestTerminationCode toe)
{
	SimRequest *req = *req_cls;

	(void) cls;
	(void) mhd;
	if (req == NULL)
		return;
	*req_cls = NULL;
	sim_sched_remove(req);
	sim_stats_wait_end(req);
	sim_timer_stop(&req->timer);
	sim_timer_stop(&req->proxy);
	if (req->chat)
		sim_chat_end(req, toe == MHD_REQUEST_TERMINATED_COMPLETED_OK);
	req->conn->request = NULL;
	if (req->reply.close_behind)
		sim_timer_set(&req->conn->idle, sim_now(), idle_close, req->conn);
	else
		idle_start(req->conn);
	sim_buf_free(&req->body);
	sim_reply_clear(&req->reply);
	free(req->fault);
	TAILQ_INSERT_HEAD(&spare, req, entry);
	sim_stats_changed();
}

static void
conn_open(struct MHD_Connection *mhd, bool control, void **socket_context)
{
	SimConn    *conn = sim_alloc(sizeof(*conn));
	const struct sockaddr *addr;
	struct epoll_event ev;

	conn->mhd = mhd;
	conn->control = control;
	conn->listener = control ? CONTROL : SERVICE;
	conn->number = ++connection_numbers;
	conn->fd = MHD_get_connection_info(mhd,
									   MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	addr = MHD_get_connection_info(mhd,
								   MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr;
	if (addr != NULL && addr->sa_family == AF_INET)
		snprintf(conn->peer, sizeof(conn->peer), "127.0.0.1:%d",
				 ntohs(((const struct sockaddr_in *) addr)->sin_port));
	else
		strcpy(conn->peer, "unix");
	*socket_context = conn;
	LIST_INSERT_HEAD(&connections, conn, all);
	ev.events = EPOLLRDHUP | EPOLLET;
	ev.data.ptr = conn;
	epoll_ctl(main_epoll, EPOLL_CTL_ADD, conn->fd, &ev);
	if (!control)
	{
		sim_stats.connections++;
		idle_start(conn);
	}
}

static void
conn_close(SimConn *conn)
{
	sim_timer_stop(&conn->idle);
	LIST_REMOVE(conn, all);
	if (!conn->control)
		open_connections--;
	free(conn);
	sim_listen_update();
	sim_stats_changed();
}

static void
on_connection(void *cls, struct MHD_Connection *mhd, void **socket_context,
			  enum MHD_ConnectionNotificationCode toe)
{
	if (toe == MHD_CONNECTION_NOTIFY_STARTED)
		conn_open(mhd, *(const bool *) cls, socket_context);
	else if (*socket_context != NULL)
	{
		conn_close(*socket_context);
		*socket_context = NULL;
	}
}

/* Errors of the protocol are the client's or wanted: nothing is logged */
static void
no_log(void *cls, const char *fmt, va_list args)
{
	(void) cls;
	(void) fmt;
	(void) args;
}

static char *
read_file(const char *path)
{
	FILE	   *file = fopen(path, "r");
	SimBuf		buf = {0};
	char		piece[4096];
	size_t		n;

	if (file == NULL)
	{
		fprintf(stderr, "simulator: could not open \"%s\": %s\n", path,
				strerror(errno));
		return NULL;
	}
	while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
		sim_buf_append(&buf, piece, n);
	fclose(file);
	if (buf.data == NULL)
		fprintf(stderr, "simulator: \"%s\" is empty\n", path);
	return buf.data;
}

static struct MHD_Daemon *
daemon_start(int which, int connection_limit)
{
	unsigned	flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
		MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[3] = {{MHD_OPTION_END, 0, NULL}}; /* three ends */
	char	   *key = NULL;
	char	   *cert = NULL;
	struct MHD_Daemon *d;
	struct epoll_event ev;

	if (which == SERVICE && sim_options.tls_cert != NULL)
	{
		flags |= MHD_USE_TLS;
		key = read_file(sim_options.tls_key);
		cert = read_file(sim_options.tls_cert);
		if (key == NULL || cert == NULL)
		{
			free(key);
			free(cert);
			return NULL;
		}
		tls[0].option = MHD_OPTION_HTTPS_MEM_KEY;
		tls[0].ptr_value = key;
		tls[1].option = MHD_OPTION_HTTPS_MEM_CERT;
		tls[1].ptr_value = cert;
	}
	d = MHD_start_daemon(flags, 0, NULL, NULL, on_request, NULL,
						 MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
						 MHD_OPTION_CONNECTION_MEMORY_LIMIT,
						 (size_t) SIM_CONN_MEMORY,
						 MHD_OPTION_CONNECTION_LIMIT, (unsigned) connection_limit,
						 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
						 MHD_OPTION_NOTIFY_CONNECTION, on_connection,
						 (void *) &is_control[which],
						 MHD_OPTION_ARRAY, tls,
						 MHD_OPTION_END);
	free(key);
	free(cert);
	if (d == NULL)
	{
		fputs("simulator: libmicrohttpd did not start\n", stderr);
		return NULL;
	}

	ev.events = EPOLLIN;
	ev.data.ptr = &work[which];
	if (epoll_ctl(main_epoll, EPOLL_CTL_ADD,
				  MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
				  &ev) != 0)
	{
		perror("simulator: epoll_ctl");
		MHD_stop_daemon(d);
		return NULL;
	}
	return d;
}

bool
sim_http_start(int epoll_fd, int connection_limit)
{
	main_epoll = epoll_fd;
	for (int i = 0; i < NDAEMONS; i++)
	{
		daemons[i] = daemon_start(i, connection_limit);
		if (daemons[i] == NULL)
			return false;
	}
	sim_deliver_prepare_fixed();
	return true;
}

void
sim_http_stop(void)
{
	SimConn    *conn;

	/* A daemon must not be stopped while it has suspended connections */
	LIST_FOREACH(conn, &connections, all)
	{
		if (conn->request != NULL && conn->request->suspended)
		{
			conn->request->state = SIM_GONE;
			conn->hup = true;
			sim_http_resume(conn->request);
		}
	}
	while (sim_http_run())
		;
	for (int i = 0; i < NDAEMONS; i++)
	{
		if (daemons[i] != NULL)
			MHD_stop_daemon(daemons[i]);
	}
	while (!TAILQ_EMPTY(&spare))
	{
		SimRequest *req = TAILQ_FIRST(&spare);

		TAILQ_REMOVE(&spare, req, entry);
		free(req);
	}
}

void
sim_http_add(int fd, const struct sockaddr *addr, socklen_t len, bool control)
{
	int			which = control ? CONTROL : SERVICE;

	/*
	 * Counted here and not in conn_open: newer versions call that later, when
	 * the limit on connections is passed already.  On failure libmicrohttpd
	 * has closed the socket.
	 */
	if (MHD_add_connection(daemons[which], fd, addr, len) == MHD_YES &&
		!control)
		open_connections++;
	work[which] = true;
}

bool
sim_http_event(void *ptr)
{
	for (int i = 0; i < NDAEMONS; i++)
	{
		if (ptr == &work[i])
			return work[i] = true;
	}
	return false;
}

/* Sets work[] for those that have more to do without a new event */
static void
look_for_work(int i)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(daemons[i], &ms) == MHD_YES && ms == 0)
		work[i] = true;
}

bool
sim_http_run(void)
{
	bool		more = false;

	for (int i = 0; i < NDAEMONS; i++)
	{
		if (!work[i])
			continue;
		work[i] = false;
		MHD_run(daemons[i]);
		look_for_work(i);
	}
	/* Each may have given work to the other: what was held is released by /sim/ */
	for (int i = 0; i < NDAEMONS; i++)
		more |= work[i];
	return more;
}

/* The client is gone, as far as the simulated server wants to know */
static void
gone(SimConn *conn)
{
	SimRequest *req = conn->request;

	if (req == NULL || !req->suspended)
		return;
	if (req->state != SIM_SENDING)
	{
		if (req->chat && !req->counted)
		{
			if (req->epoch == sim_stats_epoch())
				sim_stats.aborted++;
			req->counted = true;
		}
		req->state = SIM_GONE;
		sim_sched_remove(req);
		sim_stats_wait_end(req);
	}
	sim_timer_stop(&req->timer);
	sim_timer_stop(&req->proxy);
	sim_http_resume(req);
}

static void
gone_late(SimTimer *timer, void *arg)
{
	(void) timer;
	gone(arg);
}

void
sim_http_hup(SimConn *conn)
{
	SimRequest *req = conn->request;

	conn->hup = true;
	if (req == NULL || !req->suspended)
		return;
	if (req->list == NULL ||
		(sim_settings.disconnect_ms == 0 && !sim_front_hides_clients()))
		gone(conn);
	else if (sim_settings.disconnect_ms > 0)
		sim_timer_set(&conn->idle,
					  sim_now() + (uint64_t) sim_settings.disconnect_ms * 1000,
					  gone_late, conn);
}

bool
sim_http_notice_gone(SimConn *conn)
{
	struct pollfd peer = {.fd = conn->fd,.events = POLLRDHUP};

	if (conn->request == NULL || !conn->request->suspended ||
		(!conn->hup && poll(&peer, 1, 0) <= 0))
		return false;
	gone(conn);
	return true;
}

void
sim_http_suspend(SimRequest *req)
{
	req->suspended = true;
	MHD_suspend_connection(req->mhd);
}

void
sim_http_resume(SimRequest *req)
{
	if (!req->suspended)
		return;
	req->suspended = false;
	MHD_resume_connection(req->mhd);
	work[req->conn->listener] = true;
}

void
sim_http_mark_control(SimConn *conn)
{
	if (conn->control)
		return;
	conn->control = true;
	open_connections--;
	sim_stats.connections--;
	sim_listen_update();
}

void
sim_http_reset(const SimConn *conn)
{
	struct sockaddr nowhere = {.sa_family = AF_UNSPEC};
	int			on = 1;

	/*
	 * Push what was written, then dissolve the connection: Linux sends RST
	 * for that.  SO_LINGER would not do, libmicrohttpd shuts the socket down
	 * before it closes it, and the FIN would be first.
	 */
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	connect(conn->fd, &nowhere, sizeof(nowhere));
}

const char *
sim_http_arg(const SimRequest *req, const char *name)
{
	return MHD_lookup_connection_value(req->mhd, MHD_GET_ARGUMENT_KIND, name);
}

const char *
sim_http_header(const SimRequest *req, const char *name)
{
	return MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, name);
}

int
sim_http_open(void)
{
	return open_connections;
}
