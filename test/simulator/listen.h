/*-------------------------------------------------------------------------
 *
 * listen.h
 *		Listening sockets, and refusing connections on purpose.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_LISTEN_H
#define SIM_LISTEN_H

#include <stdbool.h>

/* Opens what the options ask for; false and a message when that fails */
extern bool sim_listen_start(int epoll_fd, int connection_limit);
extern void sim_listen_stop(void);

/* True when "ptr" of an event stands for a listening socket; accepts from it */
extern bool sim_listen_event(void *ptr);

/*
 * Closes the service's socket, so that connections are refused, and opens it
 * on the same address again: after so many ms when ms > 0.
 */
extern void sim_listen_close(int ms);
extern void sim_listen_open(void);
extern bool sim_listen_is_open(void);

/* The number of connections or its limit has changed */
extern void sim_listen_update(void);

#endif							/* SIM_LISTEN_H */
