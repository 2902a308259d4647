/*-------------------------------------------------------------------------
 *
 * abort.c
 *		Tells SGLang that a request was cancelled, so that its GPU is free at
 *		once.
 *
 * Called by: send.c.  Calls: http.c, sample.c (the request's id), target.c.
 *
 * To close the connection is what frees the GPU of all other servers, and
 * SGLang's too, but that looks for closed connections every few seconds only
 * and some versions not at all.  So it is sent POST /abort_request besides,
 * with the id under which the request went out.  That is a favour: few at a
 * time, not tried again, without consequences for the endpoint.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/memutils.h"

#include "abort.h"
#include "route.h"

/* Under way at once, of http.c's spare descriptors; and waiting for that */
#define MAX_ABORTS 64
#define MAX_WAITING 4096

typedef struct Abort
{
	RstarExchange kind;			/* first, see rstar_send_done() */
	dlist_node	link;			/* in waiting */
	RstarChannel *channel;		/* its key */
	int			timeout;
	char	   *url;			/* the server may be altered meanwhile */
	char	   *unix_socket;
	char	   *ca_file;
	char		rid[RSTAR_SAMPLE_ID_LEN];
} Abort;

static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static int	nwaiting = 0;
static int	nsent = 0;

static char *copy(const char *string);
static void send_waiting(void);
static bool send_abort(Abort *exchange);
static void forget_waiting(const Abort *failed);
static bool is_same(const char *a, const char *b);
static void free_abort(Abort *exchange);

void
rstar_abort_sample(const RstarSample *sample)
{
	const RstarTarget *target = sample->target;
	const RstarServer *config = target->config;
	int			endpoint = sample->attempt.endpoint;
	RstarEndpointState state;
	MemoryContext old;
	Abort	   *exchange;

	if (sample->claim.kind != RSTAR_KIND_SCORE || config == NULL ||
		config->dialect != RSTAR_DIALECT_SGLANG || endpoint < 0 || nwaiting == MAX_WAITING)
		return;
	rstar_route_state(target->route, endpoint, &state);
	if (strcmp(state.state, "open") == 0 || strcmp(state.state, "half-open") == 0)
		return;					/* it would not hear it */

	old = MemoryContextSwitchTo(TopMemoryContext);
	exchange = palloc0(sizeof(Abort));
	exchange->kind = RSTAR_EXCHANGE_ABORT;
	exchange->channel = sample->channel;
	exchange->channel->users++;
	exchange->timeout = config->connect_timeout;
	exchange->url = psprintf("%s/abort_request", config->urls[endpoint].base);
	exchange->unix_socket = copy(config->urls[endpoint].unix_socket);
	exchange->ca_file = copy(config->ca_file);
	MemoryContextSwitchTo(old);
	rstar_sample_id(sample, exchange->rid);
	dlist_push_tail(&waiting, &exchange->link);
	nwaiting++;
	send_waiting();
}

static char *
copy(const char *string)
{
	return string == NULL ? NULL : pstrdup(string);
}

static void
send_waiting(void)
{
	while (nsent < MAX_ABORTS && !dlist_is_empty(&waiting))
	{
		Abort	   *exchange = dlist_container(Abort, link, dlist_pop_head_node(&waiting));

		nwaiting--;
		if (send_abort(exchange))
			nsent++;
		else
			free_abort(exchange);
	}
}

static bool
send_abort(Abort *exchange)
{
	RstarHttpRequest request;
	char		body[RSTAR_SAMPLE_ID_LEN + 16];

	memset(&request, 0, sizeof(request));
	request.body_len = snprintf(body, sizeof(body), "{\"rid\":\"%s\"}", exchange->rid);
	request.body = body;
	request.url = exchange->url;
	request.unix_socket = exchange->unix_socket;
	request.ca_file = exchange->ca_file;
	request.headers = exchange->channel->headers;
	request.timeout = request.connect_timeout = exchange->timeout;
	request.owner = exchange;
	/* Nothing more may come for long, and what was cancelled is to leave nothing */
	request.last = true;
	return rstar_http_start(&request) != NULL;
}

void
rstar_abort_done(const RstarHttpReply *reply)
{
	Abort	   *exchange = reply->owner;

	nsent--;
	/* The others would wait for nothing */
	if (reply->result != RSTAR_HTTP_REPLY)
		forget_waiting(exchange);
	free_abort(exchange);
	send_waiting();
}

static void
forget_waiting(const Abort *failed)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &waiting)
	{
		Abort	   *exchange = dlist_container(Abort, link, iter.cur);

		if (!is_same(exchange->url, failed->url) ||
			!is_same(exchange->unix_socket, failed->unix_socket))
			continue;
		dlist_delete(&exchange->link);
		nwaiting--;
		free_abort(exchange);
	}
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
free_abort(Abort *exchange)
{
	rstar_target_leave_channel(exchange->channel);
	pfree(exchange->url);
	if (exchange->unix_socket != NULL)
		pfree(exchange->unix_socket);
	if (exchange->ca_file != NULL)
		pfree(exchange->ca_file);
	pfree(exchange);
}
