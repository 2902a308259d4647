/*-------------------------------------------------------------------------
 *
 * probe.c
 *		Asks endpoints whether they are well.
 *
 * When it is time to ask, and what the outcome means, is route.c's.
 *
 * It is GET /health, without the key: no server wants one there, but for some
 * proxies, whose refusal is a reply, too; and LiteLLM, if it is given one, asks
 * each of its models for an answer.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/clock.h"
#include "worker/http.h"
#include "worker/probe.h"
#include "worker/route.h"

typedef struct Probe
{
	Oid			serverid;
	RstarChannel *channel;
	char		url[FLEXIBLE_ARRAY_MEMBER]; /* endpoints may be renumbered */
} Probe;

static void probe_done(const RstarHttpReply *reply);
static RstarHealth health(const RstarHttpReply *reply);

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

		exchange->serverid = target->serverid;
		exchange->channel = rstar_target_channel(target, InvalidOid);
		strcpy(exchange->url, url->text);
		memset(&request, 0, sizeof(request));
		request.url = target->health_urls[endpoint];
		request.unix_socket = url->unix_socket;
		request.ca_file = target->config->ca_file;
		request.headers = exchange->channel->headers;

		/*
		 * On a connection that was kept, one that listens no more answers,
		 * too
		 */
		request.fresh = request.last = true;
		request.timeout = request.connect_timeout = target->config->connect_timeout;
		request.done = probe_done;
		request.owner = exchange;
		if (request.headers == NULL || rstar_http_start(&request) == NULL)
		{
			rstar_target_leave_channel(exchange->channel);
			pfree(exchange);
			rstar_route_probed(target->route, endpoint, RSTAR_HEALTH_NOT_ASKED, now);
		}
		rstar_target_publish(target, endpoint);
	}
	return wake;
}

static void
probe_done(const RstarHttpReply *reply)
{
	Probe	   *exchange = reply->owner;
	RstarTarget *target = rstar_target_find(exchange->serverid);

	if (target != NULL && target->config != NULL)
	{
		for (int i = 0; i < target->config->nurls; i++)
		{
			if (strcmp(target->config->urls[i].text, exchange->url) != 0)
				continue;
			rstar_route_probed(target->route, i, health(reply), rstar_clock());
			rstar_target_publish(target, i);
		}
		rstar_target_log_changes(target, reply->status, reply->error);
		target->wake = 0;
	}
	rstar_target_leave_channel(exchange->channel);
	pfree(exchange);
}

/* A certificate that is not trusted is a sign of life; the next sample tells */
static RstarHealth
health(const RstarHttpReply *reply)
{
	switch (reply->result)
	{
		case RSTAR_HTTP_REPLY:
			if (reply->status >= 200 && reply->status <= 299)
				return RSTAR_HEALTH_WELL;
			return reply->status == 503 ? RSTAR_HEALTH_UNWELL : RSTAR_HEALTH_REPLY;
		case RSTAR_HTTP_UNTRUSTED:
		case RSTAR_HTTP_TOO_LARGE:
			return RSTAR_HEALTH_REPLY;
		case RSTAR_HTTP_TRANSPORT:
		case RSTAR_HTTP_TIMEOUT:
			return reply->refused ? RSTAR_HEALTH_REFUSED : RSTAR_HEALTH_MUTE;
		case RSTAR_HTTP_NO_SOCKET:
		case RSTAR_HTTP_NO_MEMORY:
		case RSTAR_HTTP_SETUP:
			break;
	}
	return RSTAR_HEALTH_NOT_ASKED;
}
