/*-------------------------------------------------------------------------
 *
 * http.h
 *		libmicrohttpd: connections and requests, in and out.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_HTTP_H
#define SIM_HTTP_H

#include <sys/socket.h>

#include "sim.h"

/*
 * A path.  "handle" sets the reply and the state READY, or leaves the request
 * in a state that waits.
 */
typedef struct SimEndpoint
{
	const char *path;
	const char *method;			/* "GET" or "POST" */
	void		(*handle) (SimRequest *req);
	unsigned	dialects;		/* bit mask of SimDialect; those who have it */
	bool		keyed;			/* wants the API key (sglang, llamacpp: all do
								 * but /health) */
} SimEndpoint;

/* Starts the daemons; false and a message when that fails */
extern bool sim_http_start(int epoll_fd, int connection_limit);
extern void sim_http_stop(void);

/* Hands over an accepted, non-blocking socket */
extern void sim_http_add(int fd, const struct sockaddr *addr, socklen_t len,
						 bool control);

/* True when "ptr" of an event stands for libmicrohttpd */
extern bool sim_http_event(void *ptr);

/*
 * Lets libmicrohttpd do what there is.  True when there is more, so that it
 * must be called again before any wait.
 */
extern bool sim_http_run(void);

/* An edge of EPOLLRDHUP or EPOLLHUP was seen on the connection */
extern void sim_http_hup(SimConn *conn);

/* If the client is gone, it is noticed now, and not after disconnect_ms */
extern bool sim_http_notice_gone(SimConn *conn);

/* The request's state has changed: call its handler again */
extern void sim_http_resume(SimRequest *req);

/* Puts a request aside until sim_http_resume */
extern void sim_http_suspend(SimRequest *req);

/* Closes the connections of clients that wait for nothing */
extern void sim_http_close_idle(void);

/* Idle times and the like were changed */
extern void sim_http_settings_changed(void);

/* The connection serves /sim/ and is not to be counted as a client's */
extern void sim_http_mark_control(SimConn *conn);

/* Sends a TCP reset (a Unix socket is only closed, by the caller) */
extern void sim_http_reset(const SimConn *conn);

/* A query parameter or header, NULL without */
extern const char *sim_http_arg(const SimRequest *req, const char *name);
extern const char *sim_http_header(const SimRequest *req, const char *name);

extern int	sim_http_open(void);	/* connections */

#endif							/* SIM_HTTP_H */
