/*-------------------------------------------------------------------------
 *
 * http.h
 *		Many HTTP exchanges at once: bytes out, bytes and a status in.
 *
 * Knows nothing of scores, servers or SQL.  Called by: worker.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HTTP_H
#define RSTAR_HTTP_H

#include "postgres.h"

#define RSTAR_HTTP_ERROR_LEN 256

/* One exchange under way; made by start, ends with its reply or by cancel */
typedef struct RstarTransfer RstarTransfer;

/* Request headers that many exchanges share; malloc'd */
typedef struct RstarHttpHeaders RstarHttpHeaders;

typedef struct RstarHttpRequest
{
	const char *url;			/* copied */
	const char *unix_socket;	/* path or NULL; copied */
	const char *ca_file;		/* path or NULL for the system's; copied */
	const RstarHttpHeaders *headers;	/* must live until the end */
	const char *request_id;		/* for X-Request-Id, or NULL; copied */
	bool		fresh;			/* not on a connection that was kept: one broke */
	bool		last;			/* the connection is closed afterwards */
	const char *body;			/* copied; NULL: GET */
	Size		body_len;
	const char *body_end;		/* goes behind the body; copied */
	Size		body_end_len;
	int			timeout;		/* ms, from now to the whole reply */
	int			connect_timeout;	/* ms */
	void	   *owner;			/* the caller's, comes back with the reply */
} RstarHttpRequest;

typedef enum RstarHttpResult
{
	RSTAR_HTTP_REPLY,			/* a whole reply with a status */
	RSTAR_HTTP_TRANSPORT,		/* not connected, broken, empty, TLS refused */
	RSTAR_HTTP_UNTRUSTED,		/* its certificate cannot be verified */
	RSTAR_HTTP_TIMEOUT,
	RSTAR_HTTP_TOO_LARGE,		/* reply over the cap */
	RSTAR_HTTP_NO_SOCKET,		/* this process or machine has none left */
	RSTAR_HTTP_NO_MEMORY,		/* the same */
	RSTAR_HTTP_SETUP			/* CA file: no use in trying again */
} RstarHttpResult;

/* Valid during the callback only */
typedef struct RstarHttpReply
{
	void	   *owner;
	RstarHttpResult result;
	int			status;			/* HTTP status, 0 when there was none */
	char	   *body;			/* may repeat the key: for outcome.c alone */
	Size		body_len;
	const char *key;			/* that was sent, or NULL */
	const char *retry_after;	/* header's value or NULL */
	int64		elapsed_us;
	const char *error;			/* what curl says, when not REPLY */
} RstarHttpReply;

typedef void (*RstarHttpDone) (const RstarHttpReply *reply);

/*
 * Sets up the process's HTTP machinery; returns the descriptor to wait on for
 * reading, and in *max how many exchanges descriptors allow at once.  Raises
 * an error when it cannot.
 */
extern int	rstar_http_init(int *max);

/*
 * Starts an exchange.  NULL: out of memory.  Never raises.
 */
extern RstarTransfer *rstar_http_start(const RstarHttpRequest *request);

/* Closes an exchange and its connection; its reply never comes */
extern void rstar_http_cancel(RstarTransfer *transfer);

/* ms until poll must be called even when nothing is readable; -1: never */
extern long rstar_http_timeout(void);

/*
 * Moves everything on that can move, without waiting, and calls "done" for
 * each exchange that ended.  "done" may start and cancel others, but must not
 * raise an error.
 */
extern void rstar_http_poll(RstarHttpDone done);

/*
 * Puts what was started since the last poll on the wire, so that the caller
 * need not poll again before it sleeps.
 */
extern void rstar_http_flush(void);

/*
 * "key" is sent as a bearer token, or NULL.  Returns NULL when out of memory.
 */
extern RstarHttpHeaders *rstar_http_headers(const char *key);
extern void rstar_http_headers_free(RstarHttpHeaders *headers);

#endif							/* RSTAR_HTTP_H */
