/*-------------------------------------------------------------------------
 *
 * target.c
 *		What the worker knows of the servers it sends to: options, endpoints,
 *		keys, as the catalog has them.
 *
 * A target is loaded in a short transaction when its first sample comes and
 * again when a server or mapping changed, never while anything is waited
 * for.  Keys live here, in the worker's private memory, and nowhere else.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/clock.h"
#include "model/dialect.h"
#include "model/header.h"
#include "model/header_list.h"
#include "model/server.h"
#include "worker/http_headers.h"
#include "worker/target.h"

/* ms: of a server that was not told how long to wait; and if it has never been reached */
#define PATIENCE 90000
#define PATIENCE_NEW 4000

/* What could not be read is tried again, but not at once, and not for ever; us */
#define UNREAD_RETRY INT64CONST(1000000)
#define UNREAD_PATIENCE INT64CONST(60000000)

static HTAB *targets = NULL;

/* All of them: a scan of the table would not outlive a reload's transaction */
static dlist_head all_targets = DLIST_STATIC_INIT(all_targets);

static void load(RstarTarget *target, int *map, bool *changed);
static TransactionId row_writer(Oid serverid);
static bool is_unread(RstarUnread *unread);
static void set_config(RstarTarget *target, RstarServer *config, MemoryContext context);
static bool set_route(RstarTarget *target, int *map, bool *changed);
static char **urls(RstarTarget *target, const char *path);
static void set_stats(RstarTarget *target);
static void learn(RstarTarget *target);
static int64 patience(const RstarTarget *target);
static void drop_channels(RstarTarget *target);
static void make_headers(RstarChannel *channel, const RstarServer *config);
static void describe_key(RstarChannel *channel, const RstarServer *config,
						 const RstarMapping *mapping);
static RstarHttpHeaders *headers_of(const RstarServer *config, const RstarMapping *mapping);

void
rstar_target_init(void)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(RstarTarget);
	control.hcxt = TopMemoryContext;
	targets = hash_create("retrostar targets", 16, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

RstarTarget *
rstar_target_find(Oid serverid)
{
	return hash_search(targets, &serverid, HASH_FIND, NULL);
}

bool
rstar_target_unread(const RstarUnread *unread, int64 now)
{
	return unread->since > 0 && now - unread->since < UNREAD_PATIENCE;
}

void
rstar_target_each(void (*function) (RstarTarget *target, int64 now), int64 now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &all_targets)
		function(dlist_container(RstarTarget, link, iter.cur), now);
}

RstarTarget *
rstar_target_load(Oid serverid, int *map, bool *changed)
{
	RstarTarget *target;
	bool		found;

	*changed = false;
	target = hash_search(targets, &serverid, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) target + sizeof(Oid), 0, sizeof(RstarTarget) - sizeof(Oid));
		dlist_push_tail(&all_targets, &target->link);
		dlist_init(&target->channels);
		dlist_init(&target->delayed);
		dlist_init(&target->flying);
		target->wake = PG_INT64_MAX;
		target->nyielding = -1;
	}
	else if (target->version == rstar_server_version() &&
			 (target->unread.since == 0 || rstar_clock() < target->unread.retry_at))
		return target;
	load(target, map, changed);
	return target;
}

/*
 * An error leaves the target without configuration: a lock, or that somebody
 * cancelled us, so its samples wait and it is tried again.
 */
static void
load(RstarTarget *target, int *map, bool *changed)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "retrostar target",
												  ALLOCSET_SMALL_SIZES);
	RstarServer *volatile config = NULL;
	char	   *volatile question = NULL;
	volatile bool unread = false;
	volatile TransactionId row = InvalidTransactionId;

	target->dropped = false;
	PG_TRY();
	{
		StartTransactionCommand();
		/* Not after the load: what changes meanwhile must be seen next time */
		target->version = rstar_server_version();
		row = row_writer(target->serverid);
		MemoryContextSwitchTo(context);
		config = rstar_server_load(target->serverid);
		if (config != NULL)
			question = rstar_dialect_question(config);
		target->dropped = config == NULL &&
			!SearchSysCacheExists1(FOREIGNSERVEROID, ObjectIdGetDatum(target->serverid));
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		if (is_unread(&target->unread))
			EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		unread = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);

	set_config(target, unread ? NULL : config, context);
	target->question = question;
	drop_channels(target);
	if (target->config != NULL && !set_route(target, map, changed))
	{
		/* out of memory */
		target->config = NULL;
		unread = true;
		(void) is_unread(&target->unread);
	}
	if (target->config != NULL && target->row != row)
	{
		rstar_route_altered(target->route, rstar_clock());
		target->row = row;
		target->no_priority = 0;
	}
	if (!unread)
		target->unread.since = 0;
	set_stats(target);
}

/* Who wrote its row: another one when it was altered, but not when others were */
static TransactionId
row_writer(Oid serverid)
{
	HeapTuple	tuple = SearchSysCache1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid));
	TransactionId xmin;

	if (!HeapTupleIsValid(tuple))
		return InvalidTransactionId;
	xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return xmin;
}

/* True: it could be read before */
static bool
is_unread(RstarUnread *unread)
{
	int64		now = rstar_clock();
	bool		first = unread->since == 0;

	if (first)
		unread->since = now;
	unread->retry_at = now + UNREAD_RETRY;
	return first;
}

void
rstar_target_forget(RstarTarget *target)
{
	Assert(dlist_is_empty(&target->delayed) && dlist_is_empty(&target->flying));
	drop_channels(target);
	if (target->route != NULL)
		rstar_route_free(target->route);
	MemoryContextDelete(target->context);
	dlist_delete(&target->link);
	(void) hash_search(targets, &target->serverid, HASH_REMOVE, NULL);
}

static void
set_config(RstarTarget *target, RstarServer *config, MemoryContext context)
{
	MemoryContext old;

	if (target->context)
		MemoryContextDelete(target->context);
	target->context = context;
	target->config = config;
	if (config == NULL)
		return;
	if (target->learnt_under != rstar_server_learnt_under(config))
	{
		target->learnt_under = rstar_server_learnt_under(config);
		memset(&target->density, 0, sizeof(target->density));
		target->context_tokens = 0;
		target->cuts_replies = false;
		if (target->route != NULL)
			rstar_route_forget_limits(target->route);
	}
	target->fingerprint = rstar_server_fingerprint(config);
	old = MemoryContextSwitchTo(context);
	target->chat_urls = urls(target, "/v1/chat/completions");
	target->model_urls = urls(target, "/v1/models");
	target->health_urls = urls(target, "/health");
	target->listed = palloc0(config->nurls * sizeof(RstarListed));
	MemoryContextSwitchTo(old);
}

static char **
urls(RstarTarget *target, const char *path)
{
	char	  **full = palloc(target->config->nurls * sizeof(char *));

	for (int i = 0; i < target->config->nurls; i++)
		full[i] = psprintf("%s%s", target->config->urls[i].base, path);
	return full;
}

static bool
set_route(RstarTarget *target, int *map, bool *changed)
{
	const char *names[RSTAR_SERVER_MAX_URLS];
	int			n = Min(target->config->nurls, RSTAR_SERVER_MAX_URLS);
	RstarRouteConfig config;

	StaticAssertStmt(RSTAR_SERVER_MAX_URLS <= RSTAR_ROUTE_MAX_ENDPOINTS,
					 "a route has room for all URLs of a server");
	config.max_in_flight = target->config->max_in_flight;
	config.retries = target->config->retries;
	config.timeout = target->config->timeout * INT64CONST(1000);
	for (int i = 0; i < n; i++)
		names[i] = target->config->urls[i].text;
	if (target->route == NULL)
	{
		target->route = rstar_route_create(names, n, &config, rstar_clock());
		return target->route != NULL;
	}
	*changed = rstar_route_update(target->route, names, n, &config, map);
	return *changed;
}

/* Those that stay keep their entries; the others go before new ones are taken */
static void
set_stats(RstarTarget *target)
{
	int			n = target->config ? Min(target->config->nurls, RSTAR_SERVER_MAX_URLS) : 0;
	uint64		names[RSTAR_SERVER_MAX_URLS];

	for (int i = 0; i < n; i++)
		names[i] = rstar_counters_url(target->config->urls[i].text);
	for (int i = 0; i < target->nstats; i++)
	{
		int			j = 0;

		while (j < n && names[j] != target->names[i])
			j++;
		if (j == n)
			rstar_counters_let_go(target->stats[i]);
	}
	target->nstats = n;
	for (int i = 0; i < n; i++)
	{
		target->names[i] = names[i];
		target->stats[i] = rstar_counters_take(target->serverid, target->config->urls[i].text);
	}
	learn(target);
	for (int i = 0; i < n; i++)
		rstar_target_publish(target, i);
}

/* From workers that were there before, about the server as it is now */
static void
learn(RstarTarget *target)
{
	for (int i = 0; i < target->nstats; i++)
	{
		RstarLearnt learnt;

		if (!rstar_counters_learnt(target->stats[i], &learnt))
			continue;
		if (learnt.heard == target->row)
			rstar_route_hear(target->route, i);
		memcpy(target->listed[i].misfit, learnt.misfit, sizeof(learnt.misfit));
		if (learnt.options != target->learnt_under)
			continue;
		rstar_route_learn(target->route, i, &learnt.limit);
		if (target->context_tokens == 0)
			target->context_tokens = learnt.context_tokens;
		if (target->density.n < learnt.density.n)
			target->density = learnt.density;
	}
}

void
rstar_target_publish(const RstarTarget *target, int endpoint)
{
	RstarEndpointState state;
	RstarLearnt learnt;
	int64		gives_up;

	if (endpoint < 0 || endpoint >= target->nstats)
		return;
	rstar_route_state(target->route, endpoint, &state);
	learnt.options = target->learnt_under;
	rstar_route_learnt(target->route, endpoint, &learnt.limit);
	learnt.context_tokens = target->context_tokens;
	learnt.density = target->density;
	learnt.heard = rstar_route_heard(target->route, endpoint) ? target->row : 0;
	strlcpy(learnt.misfit, target->listed[endpoint].misfit, sizeof(learnt.misfit));
	gives_up = rstar_route_gives_up(target->route, patience(target));
	rstar_counters_state(target->stats[endpoint], state.state, state.limit, &learnt,
						 gives_up < 0 ? 0 : GetCurrentTimestamp() + gives_up - rstar_clock());
}

/*
 * How long it is waited for, in us.  Who mistypes a port is not to wait as long
 * as one whose server is being started again.
 */
static int64
patience(const RstarTarget *target)
{
	int			given = target->config->unavailable_timeout;

	if (given == 0)
		given = rstar_route_is_nowhere(target->route) ? PATIENCE_NEW : PATIENCE;
	return given * INT64CONST(1000);
}

int64
rstar_target_turn(RstarTarget *target, int64 now)
{
	int64		wake;

	if (rstar_route_turn(target->route, now, &wake))
	{
		target->wake = 0;
		for (int i = 0; i < target->nstats; i++)
			rstar_target_publish(target, i);
		return now;				/* there is room for others */
	}
	return wake;
}

bool
rstar_target_silent(RstarTarget *target, int64 now)
{
	target->silent = rstar_route_unavailable(target->route, now, patience(target));
	target->never = target->silent && target->config->unavailable_timeout == 0 &&
		rstar_route_is_nowhere(target->route);
	return target->silent;
}

static void
drop_channels(RstarTarget *target)
{
	while (!dlist_is_empty(&target->channels))
	{
		RstarChannel *channel = dlist_container(RstarChannel, link,
												dlist_pop_head_node(&target->channels));

		rstar_target_leave_channel(channel);
	}
}

RstarChannel *
rstar_target_channel(RstarTarget *target, Oid mapping)
{
	RstarChannel *channel;
	dlist_iter	iter;

	dlist_foreach(iter, &target->channels)
	{
		channel = dlist_container(RstarChannel, link, iter.cur);
		if (channel->mapping == mapping)
		{
			channel->users++;
			if (channel->unread.since > 0 && rstar_clock() >= channel->unread.retry_at)
				make_headers(channel, target->config);
			return channel;
		}
	}
	channel = MemoryContextAllocZero(TopMemoryContext, sizeof(RstarChannel));
	channel->mapping = mapping;
	channel->users = 2;			/* the target and the caller */
	dlist_push_head(&target->channels, &channel->link);
	make_headers(channel, target->config);
	return channel;
}

static void
make_headers(RstarChannel *channel, const RstarServer *config)
{
	MemoryContext old = CurrentMemoryContext;
	uint32		held = InterruptHoldoffCount;	/* an error lets interrupts in */

	PG_TRY();
	{
		RstarMapping mapping;

		StartTransactionCommand();
		rstar_server_read_mapping(channel->mapping, config, &mapping);
		channel->headers = headers_of(config, &mapping);
		describe_key(channel, config, &mapping);
		if (mapping.api_key != NULL)
			explicit_bzero(mapping.api_key, strlen(mapping.api_key));
		CommitTransactionCommand();
		channel->unread.since = 0;
		if (channel->headers == NULL)
		{
			strlcpy(channel->error, "out of memory", sizeof(channel->error));
			(void) is_unread(&channel->unread);
		}
	}
	PG_CATCH();
	{
		ErrorData  *error;

		InterruptHoldoffCount = held;
		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			error->sqlerrcode != ERRCODE_QUERY_CANCELED &&
			error->sqlerrcode != ERRCODE_OUT_OF_MEMORY)
			channel->unread.since = 0;	/* the file with the key, mostly */
		else if (is_unread(&channel->unread))
			EmitErrorReport();
		FlushErrorState();
		snprintf(channel->error, sizeof(channel->error), "%s%s%s", error->message,
				 error->detail ? ".  " : "", error->detail ? error->detail : "");
		FreeErrorData(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

/* For who is told that the key was refused; ASCII */
static void
describe_key(RstarChannel *channel, const RstarServer *config, const RstarMapping *mapping)
{
	const char *whose = OidIsValid(mapping->role) ? "the role's own user mapping" : "the user mapping for PUBLIC";
	bool		others = mapping->headers.n + config->headers.n > 0;
	bool		twice = mapping->api_key != NULL && pg_strncasecmp(mapping->api_key, "Bearer ", 7) == 0 &&
		mapping->api_key_header == NULL && config->api_key_header == NULL;

	if (mapping->api_key != NULL)
		snprintf(channel->key_from, sizeof(channel->key_from), "the key that was sent is from the option \"%s\" of %s%s",
				 mapping->api_key_file ? "api_key_file" : "api_key", whose,
				 twice ? ", and begins with \"Bearer\", which is added to it" : "");
	else
		snprintf(channel->key_from, sizeof(channel->key_from), "no key was sent: %s%s%s",
				 OidIsValid(channel->mapping) ? whose : "there is no user mapping",
				 OidIsValid(channel->mapping) ? " has none" : "",
				 others ? ", only the option \"headers\"" : "");
}

/* Those of the mapping come in the place of the server's of the same name */
static RstarHttpHeaders *
headers_of(const RstarServer *config, const RstarMapping *mapping)
{
	const RstarHeaderList *lists[] = {&mapping->headers, &config->headers};
	const char *key_name = mapping->api_key_header ? mapping->api_key_header : config->api_key_header;
	RstarHttpHeader all[2 * RSTAR_HEADER_LIST_MAX + 1];
	int			n = 0;

	if (mapping->api_key != NULL)
	{
		all[n].name = key_name ? key_name : "Authorization";
		all[n].scheme = key_name ? "" : "Bearer ";
		all[n].value = mapping->api_key;
		all[n++].secret = true;
	}
	for (int i = 0; i < (int) lengthof(lists); i++)
	{
		for (int j = 0; j < lists[i]->n; j++)
		{
			const RstarHeader *header = &lists[i]->headers[j];
			bool		taken = false;

			for (int k = 0; k < n && !taken; k++)
				taken = rstar_header_same_name(all[k].name, header->name);
			if (taken)
				continue;
			all[n].name = header->name;
			all[n].scheme = "";
			all[n].value = header->value;
			all[n++].secret = lists[i] == &mapping->headers;
		}
	}
	return rstar_http_headers(all, n);
}

void
rstar_target_leave_channel(RstarChannel *channel)
{
	if (--channel->users > 0)
		return;
	rstar_http_headers_free(channel->headers);
	pfree(channel);
}

void
rstar_target_forget_channel(RstarTarget *target, Oid mapping)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &target->channels)
	{
		RstarChannel *channel = dlist_container(RstarChannel, link, iter.cur);

		if (channel->mapping != mapping)
			continue;
		dlist_delete(&channel->link);
		rstar_target_leave_channel(channel);
	}
}

void
rstar_target_forget_models(RstarTarget *target, int endpoint)
{
	target->listed[endpoint].fits = false;
	target->listed[endpoint].ask_at = 0;
}

void
rstar_target_log_changes(RstarTarget *target, int http_status, const char *error)
{
	RstarChange change;

	while (target->route != NULL && rstar_route_next_change(target->route, &change))
	{
		const char *endpoint = rstar_target_endpoint(target, change.endpoint);
		char		cause[RSTAR_HTTP_ERROR_LEN];

		if (endpoint == NULL)
			continue;
		if (http_status > 0)
			snprintf(cause, sizeof(cause), "HTTP status %d", http_status);
		else
			strlcpy(cause, error ? error : "no answer", sizeof(cause));
		switch (change.kind)
		{
			case RSTAR_CHANGE_OPENED:
				ereport(LOG,
						(errmsg("endpoint \"%s\" of server \"%s\" fails and is not used for now",
								endpoint, target->config->name),
						 errdetail("The last failure: %s.", cause)));
				break;
			case RSTAR_CHANGE_CLOSED:
				rstar_target_forget_models(target, change.endpoint);
				ereport(LOG,
						(errmsg("endpoint \"%s\" of server \"%s\" is used again",
								endpoint, target->config->name)));
				break;
			case RSTAR_CHANGE_MARKED:
				ereport(LOG,
						(errmsg("endpoint \"%s\" of server \"%s\" is misconfigured",
								endpoint, target->config->name),
						 OidIsValid(change.mapping) ?
						 errdetail("With user mapping %u: %s.", change.mapping, cause) :
						 errdetail("Without a user mapping: %s.", cause),
						 errhint("SELECT * FROM retrostar.check('%s') says more.", target->config->name)));
				break;
			case RSTAR_CHANGE_CLEARED:
				ereport(LOG,
						(errmsg("endpoint \"%s\" of server \"%s\" is not misconfigured any more",
								endpoint, target->config->name)));
				break;
		}
	}
}

void
rstar_target_refuses_priority(RstarTarget *target, int endpoint)
{
	const char *url = rstar_target_endpoint(target, endpoint);

	if (url == NULL || (target->no_priority >> endpoint & 1) != 0)
		return;
	target->no_priority |= UINT64CONST(1) << endpoint;
	ereport(LOG,
			(errmsg("endpoint \"%s\" of server \"%s\" refuses priorities, and gets none any more",
					url, target->config->name),
			 errhint("Start it with priority scheduling, or set the server's option \"%s\" to false.",
					 "priority_scheduling")));
}

const char *
rstar_target_endpoint(const RstarTarget *target, int endpoint)
{
	return target->config != NULL && endpoint >= 0 && endpoint < target->config->nurls ?
		target->config->urls[endpoint].text : NULL;
}
