/*-------------------------------------------------------------------------
 *
 * http_transfer.h
 *		One HTTP exchange after another: a handle of libcurl, and its buffers.
 *
 * For http.c alone.  Nothing here raises an error.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HTTP_TRANSFER_H
#define RSTAR_HTTP_TRANSFER_H

#include "postgres.h"

#include "lib/ilist.h"

#include <curl/curl.h>

#include "worker/exchange.h"

/* Connections that idled longer are not used again: servers close after 5 s */
#define RSTAR_IDLE_CONNECTION_S 3

struct RstarHttpPool;

struct RstarTransfer
{
	dlist_node	link;			/* in its pool's active or idle */
	struct RstarHttpPool *pool; /* http.c's */
	CURL	   *easy;
	RstarHttpDone done;			/* of the request, as is owner */
	void	   *owner;
	char	   *body;			/* request */
	Size		body_size;
	char	   *data;			/* reply */
	Size		len;
	Size		size;
	bool		too_large;
	bool		no_memory;
	int			socket_errno;	/* why there is no socket; 0: there is one */
	char	   *const *secrets; /* in the request's headers; ends with NULL */
	int			sent;			/* times that curl began to send it */
	int64		started;		/* us */
	char	   *url;			/* what the handle has, NULL: its default */
	CURLU	   *parsed;			/* the same in parts, or NULL */
	char	   *unix_socket;
	char	   *ca_file;
	struct curl_slist request_id;	/* in front of the shared headers */
	char		id_header[128];
	struct curl_slist traceparent;
	char		trace_header[128];
	char		error[CURL_ERROR_SIZE];
};

/* Once in a process; false: out of memory */
extern bool rstar_transfer_init(void);

/* NULL: out of memory */
extern RstarTransfer *rstar_transfer_new(struct RstarHttpPool *pool, CURLSH * shared);
extern void rstar_transfer_free(RstarTransfer *transfer);

/* Makes it ready for curl_multi_add_handle(); false: out of memory */
extern bool rstar_transfer_set_up(RstarTransfer *transfer, const RstarHttpRequest *request);

/* What came of it; the reply points into the transfer */
extern void rstar_transfer_reply(RstarTransfer *transfer, CURLcode code, RstarHttpReply *reply);

/* A header of its reply, or NULL */
extern const char *rstar_transfer_header(const RstarTransfer *transfer, const char *name);

/* It is not in use until it is set up again: large buffers go */
extern void rstar_transfer_rest(RstarTransfer *transfer);

#endif							/* RSTAR_HTTP_TRANSFER_H */
