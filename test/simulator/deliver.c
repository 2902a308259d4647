/*-------------------------------------------------------------------------
 *
 * deliver.c
 *		A reply goes out: whole, in pieces, cut, or not at all.
 *
 * Called by: http.c.  Calls: libmicrohttpd, sim_http_suspend and _reset.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "http.h"
#include "probe.h"
#include "reply.h"
#include "settings.h"

/* The fixed mode's one reply: for connections that stay, and that end with it */
static struct MHD_Response *fixed_stay;
static struct MHD_Response *fixed_close;

void
sim_reply_header(SimReply *reply, const char *name, const char *value)
{
	if (reply->nheaders == SIM_MAX_HEADERS)
		return;
	reply->headers[reply->nheaders].name = name;
	reply->headers[reply->nheaders].value = sim_strdup(value);
	reply->nheaders++;
}

void
sim_reply_clear(SimReply *reply)
{
	for (int i = 0; i < reply->nheaders; i++)
		free(reply->headers[i].value);
	sim_buf_free(&reply->body);
	memset(reply, 0, sizeof(*reply));
}

void
sim_reply_json(SimRequest *req, int status, SimBuf *body)
{
	sim_reply_clear(&req->reply);
	req->reply.status = status;
	req->reply.body = *body;
	memset(body, 0, sizeof(*body));
	req->state = SIM_READY;
}

static void
drip_due(SimTimer *timer, void *arg)
{
	SimRequest *req = arg;

	(void) timer;
	req->drip_due = true;
	sim_http_resume(req);
}

/* The body of a streamed reply; libmicrohttpd calls when it can send */
static ssize_t
read_piece(void *cls, uint64_t pos, char *out, size_t max)
{
	SimRequest *req = cls;
	SimReply   *reply = &req->reply;
	size_t		n;

	if (req->conn->hup)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos >= reply->limit)
	{
		switch (reply->end)
		{
			case SIM_END_NORMAL:
				return MHD_CONTENT_READER_END_OF_STREAM;
			case SIM_END_CLOSE:

				/*
				 * libmicrohttpd 0.9.75 does not close a chunked reply that
				 * ends with an error.
				 */
				shutdown(req->conn->fd, SHUT_RDWR);
				return MHD_CONTENT_READER_END_WITH_ERROR;
			case SIM_END_RESET:
				sim_http_reset(req->conn);
				return MHD_CONTENT_READER_END_WITH_ERROR;
			case SIM_END_STALL:
				sim_http_suspend(req);
				return 0;
		}
	}
	if (reply->drip_ms > 0 && pos > 0 && !req->drip_due)
	{
		sim_timer_set(&req->timer, sim_now() + (uint64_t) reply->drip_ms * 1000,
					  drip_due, req);
		sim_http_suspend(req);
		return 0;
	}
	req->drip_due = false;
	n = reply->limit - pos;
	if (n > max)
		n = max;
	if (reply->drip_bytes > 0 && n > reply->drip_bytes)
		n = reply->drip_bytes;
	if (reply->body.len == 0)
		memset(out, ' ', n);
	else
	{
		for (size_t i = 0; i < n; i++)
			out[i] = reply->body.data[(pos + i) % reply->body.len];
	}
	return n;
}

/* llama-server says how long a connection may be kept */
static void
announce_limits(const SimConn *conn, struct MHD_Response *response)
{
	int			seconds = (sim_settings_idle_close_ms() + 999) / 1000;
	int			most = sim_settings_close_after();
	char		value[64];

	if (sim_settings.dialect != SIM_LLAMACPP || conn->control ||
		seconds == 0 || most == 0)
		return;
	snprintf(value, sizeof(value), "timeout=%d, max=%d", seconds, most);
	MHD_add_response_header(response, "Keep-Alive", value);
}

static struct MHD_Response *
make_response(SimRequest *req)
{
	SimReply   *reply = &req->reply;
	struct MHD_Response *response;

	if (reply->streamed)
	{
		uint64_t	size = reply->chunked ? MHD_SIZE_UNKNOWN : reply->total;

		response = MHD_create_response_from_callback(size, 16384, read_piece,
													 req, NULL);
	}
	else
	{
		/* The buffer is the response's from now on */
		response = MHD_create_response_from_buffer(reply->body.len,
												   reply->body.data,
												   MHD_RESPMEM_MUST_FREE);
		memset(&reply->body, 0, sizeof(reply->body));
	}
	if (response == NULL)
		return NULL;
	if (reply->content_type == NULL)
		reply->content_type = "application/json";
	if (reply->content_type[0] != '\0')
		MHD_add_response_header(response, "Content-Type", reply->content_type);
	for (int i = 0; i < reply->nheaders; i++)
		MHD_add_response_header(response, reply->headers[i].name,
								reply->headers[i].value);
	if (reply->close)
		MHD_add_response_header(response, "Connection", "close");
	else
		announce_limits(req->conn, response);
	return response;
}

static bool
last_of_connection(const SimConn *conn)
{
	int			most = sim_settings_close_after();

	return most > 0 && !conn->control && conn->requests >= most;
}

enum MHD_Result
sim_deliver(SimRequest *req)
{
	SimReply   *reply = &req->reply;
	struct MHD_Response *response;
	enum MHD_Result result;

	if (req->conn->hup)
		return MHD_NO;
	if (reply->fixed)
		return sim_deliver_fixed(req);
	switch (reply->delivery)
	{
		case SIM_DELIVER_RESPONSE:
			break;
		case SIM_DELIVER_NEVER:
			req->state = SIM_WAITING;
			sim_http_suspend(req);
			return MHD_YES;
		case SIM_DELIVER_RAW:
			reply->deliberate = true;
			(void) send(req->conn->fd, reply->body.data, reply->body.len,
						MSG_NOSIGNAL);
			return MHD_NO;
		case SIM_DELIVER_RESET:
			sim_http_reset(req->conn);
			reply->deliberate = true;
			return MHD_NO;
		case SIM_DELIVER_CLOSE:
			reply->deliberate = true;
			return MHD_NO;
	}
	if (last_of_connection(req->conn))
		reply->close = true;
	if (reply->streamed && reply->end != SIM_END_NORMAL)
		reply->deliberate = true;
	if (req->chat && reply->status == 200)
		sim_probe_load(req);
	response = make_response(req);
	if (response == NULL)
		return MHD_NO;
	req->state = SIM_SENDING;
	result = MHD_queue_response(req->mhd, reply->status, response);
	MHD_destroy_response(response);
	return result;
}

void
sim_deliver_prepare_fixed(void)
{
	SimBuf		body = {0};

	if (fixed_stay != NULL)
	{
		MHD_destroy_response(fixed_stay);
		MHD_destroy_response(fixed_close);
		fixed_stay = fixed_close = NULL;
	}
	if (sim_settings.fixed < 0)
		return;
	sim_reply_fixed(&body, sim_settings.fixed);
	fixed_stay = MHD_create_response_from_buffer(body.len, body.data,
												 MHD_RESPMEM_MUST_COPY);
	fixed_close = MHD_create_response_from_buffer(body.len, body.data,
												  MHD_RESPMEM_MUST_COPY);
	sim_buf_free(&body);
	MHD_add_response_header(fixed_stay, "Content-Type", "application/json");
	MHD_add_response_header(fixed_close, "Content-Type", "application/json");
	MHD_add_response_header(fixed_close, "Connection", "close");
}

enum MHD_Result
sim_deliver_fixed(SimRequest *req)
{
	struct MHD_Response *response = fixed_stay;

	if (last_of_connection(req->conn))
		response = fixed_close;

	/* The mode was left while this request waited */
	if (response == NULL)
		return MHD_NO;
	req->state = SIM_SENDING;
	return MHD_queue_response(req->mhd, req->reply.status, response);
}
