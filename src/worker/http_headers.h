/*-------------------------------------------------------------------------
 *
 * http_headers.h
 *		Request headers that many exchanges share, the key among them.
 *
 * Nothing here raises an error.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HTTP_HEADERS_H
#define RSTAR_HTTP_HEADERS_H

#include "postgres.h"

#include "worker/exchange.h"

struct curl_slist;

struct RstarHttpHeaders
{
	struct curl_slist *list;
	char	  **secrets;		/* in these lines; ends with NULL */
	int			nsecrets;
};

/* One line, whose parts are copied */
typedef struct RstarHttpHeader
{
	const char *name;
	const char *scheme;			/* before the value, or "" */
	const char *value;
	bool		secret;			/* the value is */
} RstarHttpHeader;

/* These and those that all requests have.  Returns NULL when out of memory. */
extern RstarHttpHeaders *rstar_http_headers(const RstarHttpHeader *own, int n);

/* NULL: nothing to do */
extern void rstar_http_headers_free(RstarHttpHeaders *headers);

#endif							/* RSTAR_HTTP_HEADERS_H */
