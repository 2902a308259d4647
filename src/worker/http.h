/*-------------------------------------------------------------------------
 *
 * http.h
 *		Many HTTP exchanges at once: bytes out, bytes and a status in.
 *
 * Knows nothing of scores, servers or SQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HTTP_H
#define RSTAR_HTTP_H

#include "postgres.h"

#include "worker/exchange.h"

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

/* A header of the reply, valid during the callback only; or NULL */
extern const char *rstar_http_header(const RstarHttpReply *reply, const char *name);

/* Closes an exchange and its connection; its reply never comes */
extern void rstar_http_cancel(RstarTransfer *transfer);

/* ms until poll must be called even when nothing is readable; -1: never */
extern long rstar_http_timeout(void);

/*
 * Moves everything on that can move, without waiting, and calls "done" of
 * each exchange that ended.
 */
extern void rstar_http_poll(void);

/*
 * Puts what was started since the last poll on the wire, so that the caller
 * need not poll again before it sleeps.
 */
extern void rstar_http_flush(void);

#endif							/* RSTAR_HTTP_H */
