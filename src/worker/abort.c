/*-------------------------------------------------------------------------
 *
 * abort.c
 *		Tells SGLang that a request was cancelled, so that its GPU is free at
 *		once.
 *
 * To close the connection is what frees the GPU of all other servers, and
 * SGLang's too, but that looks for closed connections every few seconds only
 * and some versions not at all.  So it is sent POST /abort_request besides,
 * with the id under which the request went out.  That is a favour: few at a
 * time, not tried again, without consequences for the endpoint.  Routers do not
 * know the path: who has said so is not told any more.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

#include "worker/abort.h"
#include "worker/http.h"
#include "worker/route.h"

/* Under way at once, of http.c's spare descriptors; and waiting for that */
#define MAX_ABORTS 64
#define MAX_WAITING 4096

/* Endpoints that are remembered for not knowing the path, the last ones */
#define MAX_DEAF 64

typedef struct Abort
{
	dlist_node	link;			/* in waiting */
	RstarChannel *channel;		/* its key */
	int			timeout;
	char	   *url;			/* the server may be altered meanwhile */
	char	   *unix_socket;
	char	   *ca_file;
	uint64		address;		/* a hash of both */
	char		rid[RSTAR_SAMPLE_ID_LEN];
} Abort;

static dlist_head waiting = DLIST_STATIC_INIT(waiting);
static int	nwaiting = 0;
static int	nsent = 0;
static uint64 deaf[MAX_DEAF];	/* hashes of their addresses, or 0 */
static int	next_deaf = 0;

static bool is_deaf(uint64 address);
static uint64 address_of(const char *url, const char *unix_socket);
static char *copy(const char *string);
static void send_waiting(void);
static bool send_abort(Abort *exchange);
static void abort_done(const RstarHttpReply *reply);
static void forget_waiting(const Abort *failed);
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
	exchange->channel = sample->channel;
	exchange->channel->users++;
	exchange->timeout = config->connect_timeout;
	exchange->url = psprintf("%s/abort_request", config->urls[endpoint].base);
	exchange->unix_socket = copy(config->urls[endpoint].unix_socket);
	exchange->ca_file = copy(config->ca_file);
	exchange->address = address_of(exchange->url, exchange->unix_socket);
	MemoryContextSwitchTo(old);
	if (is_deaf(exchange->address))
	{
		free_abort(exchange);
		return;
	}
	rstar_sample_id(sample, exchange->rid);
	dlist_push_tail(&waiting, &exchange->link);
	nwaiting++;
	send_waiting();
}

static bool
is_deaf(uint64 address)
{
	for (int i = 0; i < MAX_DEAF; i++)
	{
		if (deaf[i] == address)
			return true;
	}
	return false;
}

static uint64
address_of(const char *url, const char *unix_socket)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) url, strlen(url), 0);

	if (unix_socket != NULL)
		hash = hash_bytes_extended((const unsigned char *) unix_socket, strlen(unix_socket), hash);
	return hash == 0 ? 1 : hash;
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
	request.done = abort_done;
	request.owner = exchange;

	/*
	 * Nothing more may come for long, and what was cancelled is to leave
	 * nothing
	 */
	request.last = true;
	return rstar_http_start(&request) != NULL;
}

static void
abort_done(const RstarHttpReply *reply)
{
	Abort	   *exchange = reply->owner;

	nsent--;
	if (reply->result == RSTAR_HTTP_REPLY && (reply->status == 404 || reply->status == 405) &&
		!is_deaf(exchange->address))
	{
		deaf[next_deaf] = exchange->address;
		next_deaf = (next_deaf + 1) % MAX_DEAF;
	}
	/* The others would wait for nothing */
	if (reply->result != RSTAR_HTTP_REPLY || is_deaf(exchange->address))
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

		if (exchange->address != failed->address)
			continue;
		dlist_delete(&exchange->link);
		nwaiting--;
		free_abort(exchange);
	}
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
