/*-------------------------------------------------------------------------
 *
 * exchange.h
 *		One HTTP exchange: what it is to send, and what came of it.
 *
 * Types only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_EXCHANGE_H
#define RSTAR_EXCHANGE_H

#include "postgres.h"

#define RSTAR_HTTP_ERROR_LEN 256

/* Under way; made by rstar_http_start(), ends with its reply or by cancel */
typedef struct RstarTransfer RstarTransfer;

/* Request headers that many exchanges share; malloc'd */
typedef struct RstarHttpHeaders RstarHttpHeaders;

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
	bool		refused;		/* nobody listens there */
	bool		nowhere;		/* that, or nobody knows where that is, or
								 * nobody speaks TLS there */
	char	   *body;			/* may repeat secrets: for outcome.c alone */
	Size		body_len;
	char	   *const *secrets; /* that were sent, the key among them; ends
								 * with NULL */
	const char *retry_after;	/* header's value or NULL */
	int64		elapsed_us;
	const char *error;			/* what curl says, when not REPLY */
	const RstarTransfer *transfer;	/* for rstar_http_header() */
} RstarHttpReply;

/* May start and cancel exchanges, but not raise an error */
typedef void (*RstarHttpDone) (const RstarHttpReply *reply);

typedef struct RstarHttpRequest
{
	const char *url;			/* copied */
	const char *unix_socket;	/* path or NULL; copied */
	const char *ca_file;		/* path or NULL for the system's; copied */
	const RstarHttpHeaders *headers;	/* must live until the end */
	const char *request_id;		/* for X-Request-Id, or NULL; copied */
	const char *traceparent;	/* for that header, or NULL or ""; copied */
	bool		fresh;			/* not on a connection that was kept: one
								 * broke */
	bool		last;			/* the connection is closed afterwards */
	const char *body;			/* copied; NULL: GET */
	Size		body_len;
	const char *body_rest;		/* goes behind the body; copied */
	Size		body_rest_len;
	const char *body_end;		/* goes behind that; copied */
	Size		body_end_len;
	int			timeout;		/* ms, from now to the whole reply */
	int			connect_timeout;	/* ms */
	RstarHttpDone done;			/* called at the end, unless it is cancelled */
	void	   *owner;			/* the caller's, comes back with the reply */
} RstarHttpRequest;

#endif							/* RSTAR_EXCHANGE_H */
