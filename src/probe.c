/*-------------------------------------------------------------------------
 *
 * probe.c
 *		Asks endpoints that are out of use whether they are well again.
 *
 * Called by: send.c.  Calls: route.c (when, and what it means), http.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "probe.h"
#include "send.h"

typedef struct Probe
{
	RstarExchange kind;			/* first */
	Oid			serverid;
	RstarChannel *channel;
	char		url[FLEXIBLE_ARRAY_MEMBER]; /* endpoints may be renumbered */
} Probe;

/*
 * Endpoints that are out of use are asked whether they are well again.
 * Returns when to look at them the next time.
 */
int64
rstar_probe_turn(RstarTarget *target, int64 now)
{
	int64		wake;
	int			endpoint;

	while ((endpoint = rstar_route_probe(target->route, now, &wake)) >= 0)
	{
		const RstarUrl *url = &target->config->urls[endpoint];
		Probe	   *exchange = MemoryContextAlloc(TopMemoryContext,
												  offsetof(Probe, url) + strlen(url->text) + 1);
		RstarHttpRequest request;

		exchange->kind = RSTAR_EXCHANGE_PROBE;
		exchange->serverid = target->serverid;
		exchange->channel = rstar_target_channel(target, InvalidOid);
		strcpy(exchange->url, url->text);
		memset(&request, 0, sizeof(request));
		request.url = target->health_urls[endpoint];
		request.unix_socket = url->unix_socket;
		request.ca_file = target->config->ca_file;
		request.headers = exchange->channel->headers;
		request.timeout = request.connect_timeout = target->config->connect_timeout;
		request.owner = exchange;
		if (request.headers == NULL || rstar_http_start(&request) == NULL)
		{
			rstar_target_leave_channel(exchange->channel);
			pfree(exchange);
			rstar_route_probed(target->route, endpoint, false, now);
		}
		rstar_target_publish(target, endpoint);
	}
	return wake;
}

/*
 * Any status but 5xx is a sign of life: not every server has /health.  So is a
 * certificate that is not trusted; the next sample will say so.
 */
void
rstar_probe_done(const RstarHttpReply *reply)
{
	Probe	   *exchange = reply->owner;
	RstarTarget *target = rstar_target_find(exchange->serverid);
	bool		healthy = reply->result == RSTAR_HTTP_UNTRUSTED ||
		(reply->result == RSTAR_HTTP_REPLY && reply->status < 500);

	if (target != NULL && target->config != NULL)
	{
		for (int i = 0; i < target->config->nurls; i++)
		{
			if (strcmp(target->config->urls[i].text, exchange->url) != 0)
				continue;
			rstar_route_probed(target->route, i, healthy, rstar_send_clock());
			rstar_target_publish(target, i);
		}
		rstar_target_log_changes(target, reply->status, reply->error);
		target->wake = 0;
	}
	rstar_target_leave_channel(exchange->channel);
	pfree(exchange);
}
