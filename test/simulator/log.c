/*-------------------------------------------------------------------------
 *
 * log.c
 *		The last chat requests, for GET /sim/log.
 *
 * Called by: chat.c, route.c.  A ring of entries; a request knows its entry by
 * number, and the entry may have been overwritten when the request ends.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "deliver.h"
#include "http.h"
#include "log.h"

typedef struct LogEntry
{
	uint64_t	id;				/* 0: never used */
	uint64_t	arrived;
	uint64_t	ended;			/* 0: still in work */
	char	   *headers;		/* a JSON object */
	char	   *body;
	size_t		body_len;
	char		seed[32];
	char		failure[32];
	char		peer[48];
	unsigned	connection;
	int			nth;			/* request of its connection, from 1 */
	int			status;			/* 0: none was sent, or not yet */
	const char *outcome;
} LogEntry;

static LogEntry *ring;
static int	ring_size;
static uint64_t last_id;

static void
entry_clear(LogEntry *entry)
{
	free(entry->headers);
	free(entry->body);
	memset(entry, 0, sizeof(*entry));
}

void
sim_log_clear(void)
{
	for (int i = 0; i < ring_size; i++)
		entry_clear(&ring[i]);
}

void
sim_log_resize(int size)
{
	if (size == ring_size)
		return;
	sim_log_clear();
	free(ring);
	ring = size > 0 ? sim_alloc(size * sizeof(*ring)) : NULL;
	ring_size = size;
}

static enum MHD_Result
add_header(void *cls, enum MHD_ValueKind kind, const char *key,
		   const char *value)
{
	SimBuf	   *buf = cls;
	char		name[64];
	size_t		i;

	(void) kind;
	for (i = 0; key[i] != '\0' && i < sizeof(name) - 1; i++)
		name[i] = key[i] >= 'A' && key[i] <= 'Z' ? key[i] + 32 : key[i];
	name[i] = '\0';
	sim_buf_puts(buf, buf->len > 1 ? "," : "");
	sim_buf_json(buf, name);
	sim_buf_puts(buf, ":");
	sim_buf_json(buf, value);
	return MHD_YES;
}

void
sim_log_add(SimRequest *req)
{
	LogEntry   *entry;
	SimBuf		headers = {0};

	if (ring_size == 0)
		return;
	req->log_id = ++last_id;
	entry = &ring[last_id % ring_size];
	entry_clear(entry);
	entry->id = last_id;
	entry->arrived = sim_now();
	entry->outcome = "pending";
	strcpy(entry->peer, req->conn->peer);
	strcpy(entry->seed, "null");
	entry->connection = req->conn->number;
	entry->nth = req->conn->requests;
	sim_buf_puts(&headers, "{");
	MHD_get_connection_values(req->mhd, MHD_HEADER_KIND, add_header, &headers);
	sim_buf_puts(&headers, "}");
	entry->headers = headers.data;
	if (req->body.data != NULL)
	{
		entry->body = sim_realloc(NULL, req->body.len + 1);
		memcpy(entry->body, req->body.data, req->body.len + 1);
		entry->body_len = req->body.len;
	}
}

static LogEntry *
entry_of(const SimRequest *req)
{
	LogEntry   *entry;

	if (req->log_id == 0 || ring_size == 0)
		return NULL;
	entry = &ring[req->log_id % ring_size];
	return entry->id == req->log_id ? entry : NULL;
}

void
sim_log_details(SimRequest *req, const char *seed, const char *failure)
{
	LogEntry   *entry = entry_of(req);

	if (entry == NULL)
		return;
	snprintf(entry->seed, sizeof(entry->seed), "%s", seed);
	if (failure != NULL)
		snprintf(entry->failure, sizeof(entry->failure), "%s", failure);
}

void
sim_log_end(SimRequest *req, int status, const char *outcome)
{
	LogEntry   *entry = entry_of(req);

	if (entry == NULL)
		return;
	entry->ended = sim_now();
	entry->status = status;
	entry->outcome = outcome;
}

static void
entry_json(SimBuf *buf, const LogEntry *entry)
{
	sim_buf_printf(buf, "{\"id\":%llu,\"peer\":\"%s\",\"connection\":%u,\"nth_on_connection\":%d,\"seed\":%s,\"failure\":",
				   (unsigned long long) entry->id, entry->peer,
				   entry->connection, entry->nth, entry->seed);
	sim_buf_json(buf, entry->failure[0] ? entry->failure : NULL);
	sim_buf_printf(buf, ",\"status\":%d,\"outcome\":\"%s\",\"arrived_us\":%llu,\"elapsed_us\":",
				   entry->status, entry->outcome,
				   (unsigned long long) entry->arrived);
	if (entry->ended != 0)
		sim_buf_printf(buf, "%llu",
					   (unsigned long long) (entry->ended - entry->arrived));
	else
		sim_buf_puts(buf, "null");
	sim_buf_printf(buf, ",\"headers\":%s,\"body\":", entry->headers);
	if (entry->body == NULL)
		sim_buf_puts(buf, "null");
	else
	{
		sim_buf_puts(buf, "\"");
		sim_buf_json_chars(buf, entry->body, entry->body_len);
		sim_buf_puts(buf, "\"");
	}
	sim_buf_puts(buf, "}");
}

void
sim_log_handle(SimRequest *req)
{
	const char *n_arg = sim_http_arg(req, "n");
	const char *match = sim_http_arg(req, "match");
	long		n = n_arg ? atol(n_arg) : 1;
	uint64_t	first = last_id;
	long		found = 0;
	SimBuf		body = {0};

	/* Back to the oldest that is wanted, then forward: oldest first */
	for (uint64_t id = last_id; id > 0 && last_id - id < (uint64_t) ring_size &&
		 found < n; id--)
	{
		LogEntry   *entry = &ring[id % ring_size];

		if (entry->id != id)
			break;
		if (match == NULL ||
			(entry->body != NULL && strstr(entry->body, match) != NULL))
		{
			found++;
			first = id;
		}
	}
	sim_buf_puts(&body, "[");
	for (uint64_t id = first; found > 0 && id <= last_id; id++)
	{
		LogEntry   *entry = &ring[id % ring_size];

		if (match != NULL &&
			(entry->body == NULL || strstr(entry->body, match) == NULL))
			continue;
		if (body.len > 1)
			sim_buf_puts(&body, ",\n");
		entry_json(&body, entry);
	}
	sim_buf_puts(&body, "]\n");
	sim_reply_json(req, 200, &body);
}
