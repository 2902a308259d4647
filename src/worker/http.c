/*-------------------------------------------------------------------------
 *
 * http.c
 *		Many HTTP exchanges at once, on libcurl's multi interface.
 *
 * curl's sockets live in an epoll set of ours (http_socket.c), which the worker
 * nests in its one WaitEventSet: curl_multi_socket_action() then costs the same
 * however many exchanges wait, where curl_multi_poll() looks at all of them each
 * time.  Easy handles, reply buffers and connections are reused.
 *
 * Exchanges are spread over pools, each a multi handle with a limited number
 * of easy handles, since curl walks through all connections of a multi handle
 * at the end of each exchange, and through those of the host at its start.  The
 * first pools are filled first; one that nobody uses is closed, and with it
 * connections that the server would close soon.
 *
 * Callbacks are called from inside libcurl, so they neither raise errors nor
 * use palloc; they run with all signals blocked, because a resolver thread
 * that curl starts inherits the mask, and no handler of PostgreSQL's may run
 * on such a thread.
 *
 * Queueing is the caller's: a transfer that starts here goes out at once, so
 * its time-out counts from the moment it is sent.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "base/clock.h"
#include "worker/http.h"
#include "worker/http_socket.h"
#include "worker/http_transfer.h"

/*
 * Descriptors for the rest of the process, besides max_files_per_process for
 * relations: logs, epoll, resolver
 */
#define SPARE_DESCRIPTORS 128
#define MAX_TRANSFERS 8192

/*
 * Exchanges of a pool, and its connections, in use and idle: a few for each, for
 * an idle one serves the requests of its endpoint only, but no more than there
 * are descriptors for
 */
#define POOL_SIZE 64
#define MOST_CONNECTIONS 4
/* Two more than callers are told of, for what they send besides (abort.c, probe.c) */
#define MAX_POOLS (MAX_TRANSFERS / POOL_SIZE + 2)

/* One that was idle for so long is closed */
#define IDLE_POOL_US (RSTAR_IDLE_CONNECTION_S * INT64CONST(1000000))

#define EVENTS_AT_ONCE 256

typedef struct RstarHttpPool
{
	CURLM	   *multi;			/* NULL: closed */
	dlist_head	active;
	dlist_head	idle;			/* handles for reuse */
	int			nactive;
	int64		timer_at;		/* us; -1: none */
	int64		idle_since;		/* us; 0: not idle */
	bool		started;		/* something, since curl was last called */
	bool		moved;			/* curl was called, and may have ended
								 * something */
} Pool;

static Pool pools[MAX_POOLS];
static int	npools = 0;			/* used so far */
static long pool_connections = MOST_CONNECTIONS * POOL_SIZE;
static CURLSH * shared = NULL;	/* what pools have in common: names, TLS
								 * sessions */
static sigset_t all_signals;

static Pool *choose_pool(void);
static bool open_pool(Pool *pool);
static void close_pool(Pool *pool);
static void close_idle_pools(int64 now);
static void release(RstarTransfer *transfer);
static void discard(RstarTransfer *transfer);
static void take_out(RstarTransfer *transfer);
static void report(RstarTransfer *transfer, CURLcode code);
static void read_messages(Pool *pool);
static void start_over(Pool *pool);
static int	on_timer(CURLM *m, long timeout_ms, void *arg);

int
rstar_http_init(int *max)
{
	struct rlimit limit;
	int64		spare = (int64) SPARE_DESCRIPTORS + max_files_per_process;
	int			epoll_fd;

	sigfillset(&all_signals);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION),
				 errmsg("could not initialize libcurl")));
	epoll_fd = rstar_http_socket_init();
	shared = curl_share_init();
	if (epoll_fd < 0 || shared == NULL ||
		curl_share_setopt(shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
		curl_share_setopt(shared, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK ||
		!rstar_transfer_init())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not set up HTTP: %m")));

	*max = MAX_TRANSFERS;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		if (limit.rlim_cur < limit.rlim_max)
		{
			rlim_t		soft = limit.rlim_cur;

			limit.rlim_cur = limit.rlim_max;
			if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
				limit.rlim_cur = soft;
		}
		if (limit.rlim_cur < (rlim_t) MAX_TRANSFERS + spare)
			*max = limit.rlim_cur > (rlim_t) spare + 16 ? (int) (limit.rlim_cur - spare) : 16;
		if (limit.rlim_cur < (rlim_t) MOST_CONNECTIONS * MAX_TRANSFERS + spare)
			pool_connections = Max(POOL_SIZE, POOL_SIZE * ((int64) limit.rlim_cur - spare) / MAX_TRANSFERS);
	}
	return epoll_fd;
}

/* The first that has room; it is open.  NULL: none, or out of memory */
static Pool *
choose_pool(void)
{
	for (int i = 0; i < MAX_POOLS; i++)
	{
		Pool	   *pool = &pools[i];

		if (pool->nactive == POOL_SIZE)
			continue;
		if (i == npools)
		{
			dlist_init(&pool->active);
			dlist_init(&pool->idle);
			npools++;
		}
		return pool->multi != NULL || open_pool(pool) ? pool : NULL;
	}
	return NULL;
}

static bool
open_pool(Pool *pool)
{
	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		return false;
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, rstar_http_socket_watch);
	curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
	curl_multi_setopt(pool->multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
	curl_multi_setopt(pool->multi, CURLMOPT_MAXCONNECTS, pool_connections);

	/*
	 * Closes the oldest idle one for a new one; there is one, so none waits
	 * in curl
	 */
	curl_multi_setopt(pool->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, pool_connections);
	pool->timer_at = -1;
	pool->idle_since = 0;
	pool->started = pool->moved = false;
	return true;
}

/* Nothing is active in it */
static void
close_pool(Pool *pool)
{
	while (!dlist_is_empty(&pool->idle))
	{
		RstarTransfer *transfer = dlist_container(RstarTransfer, link,
												  dlist_pop_head_node(&pool->idle));

		rstar_transfer_free(transfer);
	}
	curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
	pool->idle_since = 0;
	pool->timer_at = -1;
	pool->started = pool->moved = false;
}

static void
close_idle_pools(int64 now)
{
	for (int i = 0; i < npools; i++)
	{
		if (pools[i].idle_since > 0 &&
			now - pools[i].idle_since > IDLE_POOL_US)
			close_pool(&pools[i]);
	}
}

RstarTransfer *
rstar_http_start(const RstarHttpRequest *request)
{
	Pool	   *pool = choose_pool();
	RstarTransfer *transfer = NULL;

	Assert(request->done != NULL);
	if (pool != NULL && !dlist_is_empty(&pool->idle))
		transfer = dlist_container(RstarTransfer, link, dlist_pop_head_node(&pool->idle));
	else if (pool != NULL)
		transfer = rstar_transfer_new(pool, shared);
	if (transfer == NULL)
		return NULL;
	dlist_push_tail(&pool->active, &transfer->link);
	pool->nactive++;
	pool->idle_since = 0;
	if (!rstar_transfer_set_up(transfer, request) ||
		curl_multi_add_handle(pool->multi, transfer->easy) != CURLM_OK)
	{
		discard(transfer);
		return NULL;
	}
	pool->started = true;
	return transfer;
}

/* Not in the multi any more: keep handle and buffer for the next one */
static void
release(RstarTransfer *transfer)
{
	take_out(transfer);
	rstar_transfer_rest(transfer);
	dlist_push_head(&transfer->pool->idle, &transfer->link);
}

/* Nobody knows which of its options it has: another exchange must not use it */
static void
discard(RstarTransfer *transfer)
{
	take_out(transfer);
	rstar_transfer_free(transfer);
}

static void
take_out(RstarTransfer *transfer)
{
	Pool	   *pool = transfer->pool;

	dlist_delete(&transfer->link);
	if (--pool->nactive == 0)
		pool->idle_since = rstar_clock();
}

void
rstar_http_cancel(RstarTransfer *transfer)
{
	/* Removing a handle in mid-exchange closes its connection */
	curl_multi_remove_handle(transfer->pool->multi, transfer->easy);
	release(transfer);
}

long
rstar_http_timeout(void)
{
	int64		first = -1;
	int64		left;

	for (int i = 0; i < npools; i++)
	{
		int64		at = pools[i].timer_at;

		if (pools[i].idle_since > 0)
		{
			int64		closes = pools[i].idle_since + IDLE_POOL_US + 1;

			at = at < 0 ? closes : Min(at, closes);
		}
		if (at >= 0 && (first < 0 || at < first))
			first = at;
	}
	if (first < 0)
		return -1;
	left = first - rstar_clock();
	return left <= 0 ? 0 : (long) ((left + 999) / 1000);
}

void
rstar_http_poll(void)
{
	RstarSocketEvent events[EVENTS_AT_ONCE];
	sigset_t	old_mask;
	bool		broken[MAX_POOLS] = {false};
	int64		now;
	int			running;
	int			n;

	sigprocmask(SIG_SETMASK, &all_signals, &old_mask);
	do
	{
		n = rstar_http_socket_ready(events, EVENTS_AT_ONCE);
		for (int i = 0; i < n; i++)
		{
			Pool	   *pool = events[i].owner;

			pool->moved = true;
			if (curl_multi_socket_action(pool->multi, events[i].socket, events[i].what,
										 &running) != CURLM_OK)
				broken[pool - pools] = true;
		}
	} while (n == EVENTS_AT_ONCE);
	now = rstar_clock();
	for (int i = 0; i < npools; i++)
	{
		Pool	   *pool = &pools[i];

		if (pool->timer_at < 0 || now < pool->timer_at)
			continue;
		pool->timer_at = -1;
		pool->moved = true;
		if (curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK)
			broken[i] = true;
	}
	close_idle_pools(now);
	sigprocmask(SIG_SETMASK, &old_mask, NULL);

	for (int i = 0; i < npools; i++)
	{
		if (pools[i].moved)
			read_messages(&pools[i]);
		if (broken[i] && pools[i].multi != NULL)
			start_over(&pools[i]);
	}
}

static void
read_messages(Pool *pool)
{
	CURLMsg    *message;
	int			left;

	pool->moved = false;
	while ((message = curl_multi_info_read(pool->multi, &left)) != NULL)
	{
		RstarTransfer *transfer = NULL;
		CURLcode	result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		curl_multi_remove_handle(pool->multi, transfer->easy);
		report(transfer, result);
		release(transfer);
	}
}

void
rstar_http_flush(void)
{
	sigset_t	old_mask;
	int			running;

	sigprocmask(SIG_SETMASK, &all_signals, &old_mask);
	for (int i = 0; i < npools; i++)
	{
		Pool	   *pool = &pools[i];

		if (!pool->started)
			continue;
		pool->started = false;
		pool->timer_at = -1;

		/*
		 * What ended at once, and an error, are for the next poll, without
		 * delay
		 */
		if (curl_multi_socket_action(pool->multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK ||
			running < pool->nactive)
			pool->timer_at = rstar_clock();
	}
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
}

const char *
rstar_http_header(const RstarHttpReply *reply, const char *name)
{
	return rstar_transfer_header(reply->transfer, name);
}

static void
report(RstarTransfer *transfer, CURLcode code)
{
	RstarHttpReply reply;

	rstar_transfer_reply(transfer, code, &reply);
	transfer->done(&reply);
}

/*
 * curl's state is unknown after an error of the multi interface (out of
 * memory, mostly): all exchanges of the pool end as broken, and it begins anew.
 */
static void
start_over(Pool *pool)
{
	while (!dlist_is_empty(&pool->active))
	{
		RstarTransfer *transfer = dlist_head_element(RstarTransfer, link, &pool->active);

		curl_multi_remove_handle(pool->multi, transfer->easy);
		report(transfer, CURLE_RECV_ERROR);
		release(transfer);
	}
	close_pool(pool);
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	Pool	   *pool = arg;

	pool->timer_at = timeout_ms < 0 ? -1 : rstar_clock() + timeout_ms * INT64CONST(1000);
	return 0;
}
