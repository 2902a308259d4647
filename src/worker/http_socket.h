/*-------------------------------------------------------------------------
 *
 * http_socket.h
 *		The sockets of libcurl's connections, in one epoll set.
 *
 * For http.c and http_transfer.c alone.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HTTP_SOCKET_H
#define RSTAR_HTTP_SOCKET_H

#include <curl/curl.h>

/* A socket that is ready */
typedef struct RstarSocketEvent
{
	curl_socket_t socket;
	int			what;			/* CURL_CSELECT_IN and so on */
	void	   *owner;
} RstarSocketEvent;

/* The epoll set, which lives as long as the process; -1: errno says why not */
extern int	rstar_http_socket_init(void);

/* The sockets that are ready now and waited for; never blocks */
extern int	rstar_http_socket_ready(RstarSocketEvent *events, int max);

/*
 * For CURLMOPT_SOCKETFUNCTION; CURLMOPT_SOCKETDATA becomes the event's owner.
 */
extern int	rstar_http_socket_watch(CURL *easy, curl_socket_t socket, int what,
									void *owner, void *unused);

/*
 * For CURLOPT_OPENSOCKETFUNCTION and CURLOPT_CLOSESOCKETFUNCTION.  "arg" of the
 * first is an int that becomes the errno when descriptors or memory have run
 * out, which is our affair and not the endpoint's; else 0.
 */
extern curl_socket_t rstar_http_socket_open(void *arg, curlsocktype purpose,
											struct curl_sockaddr *address);
extern int	rstar_http_socket_close(void *arg, curl_socket_t socket);

#endif							/* RSTAR_HTTP_SOCKET_H */
