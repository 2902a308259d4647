/*-------------------------------------------------------------------------
 *
 * peer.c
 *		Connections to hubs, with libpq.
 *
 * Their sockets are in an epoll set, which the worker nests in its one
 * WaitEventSet.  libpq is used without waiting; but for host names, which it
 * looks up by itself: "hostaddr" avoids that.
 *
 * The worker is a superuser, and libpq would use what its operating system user
 * may: as with postgres_fdw, who is no superuser must give a password, and the
 * hub must have asked for it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/epoll.h>

#include "libpq-fe.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "model/server.h"
#include "worker/peer.h"
#include "worker/peer_options.h"

/* us */
#define CONNECT_TIMEOUT INT64CONST(3000000)
#define RETRY_FIRST INT64CONST(500000)
#define RETRY_MAX INT64CONST(30000000)

#define EVENTS_AT_ONCE 64

static int	epoll_fd = -1;
static dlist_head peers = DLIST_STATIC_INIT(peers);

static void connect_to(RstarPeer *peer, int64 now);
static void connecting(RstarPeer *peer, int64 now);
static void connected(RstarPeer *peer, int64 now);
static void ignore_notice(void *arg, const char *message);
static void works_again(RstarPeer *peer);
static bool is_passing(const struct pg_result *result);
static void set_state(RstarPeer *peer, RstarPeerState state);
static void read_results(RstarPeer *peer, int64 now);
static void watch(RstarPeer *peer, uint32 events);
static void close_connection(RstarPeer *peer);
static void first_line(char *to, const char *text);
static bool is_outdated(RstarPeer *peer);

int
rstar_peer_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not set up connections to other nodes: %m")));
	return epoll_fd;
}

RstarPeer *
rstar_peer_make(const char *name, Oid owner, RstarPeerDone done, void *data)
{
	RstarPeer  *peer = MemoryContextAllocZero(TopMemoryContext, sizeof(RstarPeer));

	strlcpy(peer->name, name, sizeof(peer->name));
	peer->owner = owner;
	peer->done = done;
	peer->data = data;
	peer->fd = -1;
	dlist_push_tail(&peers, &peer->link);
	return peer;
}

bool
rstar_peer_away(const RstarPeer *peer)
{
	return peer->failing && peer->state <= RSTAR_PEER_CONNECTING;
}

void
rstar_peer_want(RstarPeer *peer, int64 now)
{
	if (peer->state == RSTAR_PEER_READY && is_outdated(peer))
		close_connection(peer);
	/* What has changed of its options may be what it failed of */
	if (peer->state == RSTAR_PEER_CLOSED &&
		(!peer->failing || now >= peer->due || is_outdated(peer)))
		connect_to(peer, now);
}

/* Have the options changed since they were read?  Looked at when anything of the catalog has. */
static bool
is_outdated(RstarPeer *peer)
{
	RstarPeerOptions options;
	bool		outdated;

	if (peer->version == rstar_server_version())
		return false;
	outdated = !rstar_peer_options_read(peer->name, peer->owner, &options) ||
		options.fingerprint != peer->fingerprint || options.trusted != peer->trusted;
	peer->version = options.version;
	rstar_peer_options_free(&options);
	return outdated;
}

static void
connect_to(RstarPeer *peer, int64 now)
{
	RstarPeerOptions options;
	bool		readable = rstar_peer_options_read(peer->name, peer->owner, &options);

	peer->version = options.version;
	if (!readable)
	{
		rstar_peer_fail(peer, options.error, now);
		rstar_peer_options_free(&options);
		return;
	}
	peer->fingerprint = options.fingerprint;
	peer->trusted = options.trusted;
	HOLD_INTERRUPTS();
	peer->conn = PQconnectStartParams(options.keywords, options.values, 0);
	rstar_peer_options_free(&options);
	if (peer->conn == NULL)
		rstar_peer_fail(peer, "out of memory", now);
	else if (PQstatus(peer->conn) == CONNECTION_BAD)
		rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
	else
	{
		PQsetNoticeProcessor(peer->conn, ignore_notice, NULL);
		set_state(peer, RSTAR_PEER_CONNECTING);
		peer->due = now + CONNECT_TIMEOUT;
		watch(peer, EPOLLOUT);
	}
	RESUME_INTERRUPTS();
}

/* What the other server remarks is not for our log */
static void
ignore_notice(void *arg, const char *message)
{
}

static void
set_state(RstarPeer *peer, RstarPeerState state)
{
	bool		was_open = peer->state >= RSTAR_PEER_READY;

	if (peer->state != state && (!was_open || state < RSTAR_PEER_READY))
		peer->announce = true;
	peer->state = state;
}

static void
connecting(RstarPeer *peer, int64 now)
{
	switch (PQconnectPoll(peer->conn))
	{
		case PGRES_POLLING_READING:
			watch(peer, EPOLLIN);
			break;
		case PGRES_POLLING_WRITING:
			watch(peer, EPOLLOUT);
			break;
		case PGRES_POLLING_OK:
			connected(peer, now);
			break;
		default:
			rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
			break;
	}
}

static void
connected(RstarPeer *peer, int64 now)
{
	if (!peer->trusted && !PQconnectionUsedPassword(peer->conn))
	{
		rstar_peer_fail(peer, "the server did not ask for the password, which is required of a non-superuser", now);
		return;
	}
	if (PQsetnonblocking(peer->conn, 1) != 0)
	{
		rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
		return;
	}
	set_state(peer, RSTAR_PEER_READY);
	watch(peer, EPOLLIN);
}

/* A statement has: a connection alone says nothing of what those wait for */
static void
works_again(RstarPeer *peer)
{
	if (peer->failing)
	{
		ereport(LOG, (errmsg("the shared cache of server \"%s\" is used again", peer->name)));
		peer->announce = true;
	}
	peer->failing = false;
	peer->delay = 0;
}

/*
 * An error that says nothing of what was asked: a lock, a time-out, a shutdown.
 * It is as if there were no connection, and what was to be told is kept.
 */
static bool
is_passing(const struct pg_result *result)
{
	const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return code != NULL &&
		(strncmp(code, "40", 2) == 0 || strncmp(code, "53", 2) == 0 ||
		 strncmp(code, "57", 2) == 0 || strcmp(code, "55P03") == 0);
}

void
rstar_peer_send(RstarPeer *peer, const char *command, int nparams, const char *const *params,
				int64 now, int64 timeout)
{
	Assert(peer->state == RSTAR_PEER_READY);
	peer->due = now + timeout;
	if (PQsendQueryParams(peer->conn, command, nparams, NULL, params, NULL, NULL, 1) == 0)
	{
		/* It is told as of one that ended */
		set_state(peer, RSTAR_PEER_BUSY);
		rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
		return;
	}
	set_state(peer, RSTAR_PEER_BUSY);
	watch(peer, EPOLLIN | (PQflush(peer->conn) == 1 ? EPOLLOUT : 0));
}

/* What its statement brought is not told: what has come of that is not known */
void
rstar_peer_fail(RstarPeer *peer, const char *error, int64 now)
{
	bool		was_busy = peer->state == RSTAR_PEER_BUSY;

	first_line(peer->error, error);
	peer->announce = true;
	if (!peer->failing)
	{
		/* Nothing here catches what a cancel would raise */
		HOLD_INTERRUPTS();
		ereport(LOG,
				(errmsg("the shared cache of server \"%s\" is not used for now", peer->name),
				 errdetail_internal("%s", peer->error)));
		RESUME_INTERRUPTS();
		peer->failing_since = now;
	}
	peer->failing = true;
	peer->delay = Min(Max(peer->delay * 2, RETRY_FIRST), RETRY_MAX);
	peer->due = now + peer->delay;
	close_connection(peer);
	if (was_busy)
		peer->done(peer, NULL, peer->error);
}

/* libpq's messages have line ends, and sometimes several lines */
static void
first_line(char *to, const char *text)
{
	strlcpy(to, text, RSTAR_DETAIL_LEN);
	to[strcspn(to, "\n")] = '\0';
}

void
rstar_peer_poll(int64 now)
{
	struct epoll_event found[EVENTS_AT_ONCE];
	int			n = dlist_is_empty(&peers) ? 0 : epoll_wait(epoll_fd, found, EVENTS_AT_ONCE, 0);
	dlist_iter	iter;

	for (int i = 0; i < n; i++)
	{
		RstarPeer  *peer = found[i].data.ptr;

		if (peer->state == RSTAR_PEER_CONNECTING)
			connecting(peer, now);
		else if (peer->state != RSTAR_PEER_CLOSED)
			read_results(peer, now);
	}
	dlist_foreach(iter, &peers)
	{
		RstarPeer  *peer = dlist_container(RstarPeer, link, iter.cur);

		if ((peer->state == RSTAR_PEER_CONNECTING || peer->state == RSTAR_PEER_BUSY) && now >= peer->due)
			rstar_peer_fail(peer, peer->state == RSTAR_PEER_BUSY ?
							"no answer in time" : "no connection in time", now);
	}
}

/* Takes what came: the last result of the statement counts, or its error */
static void
read_results(RstarPeer *peer, int64 now)
{
	bool		idle = peer->state == RSTAR_PEER_READY;
	struct pg_result *result;
	bool		broken;
	int			flushed;

	if (PQconsumeInput(peer->conn) == 0 || (flushed = PQflush(peer->conn)) < 0)
	{
		/*
		 * One that was idle may have been closed by the server: no failure
		 * yet
		 */
		if (idle)
			close_connection(peer);
		else
			rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
		return;
	}
	if (idle)
	{
		/* drops what nobody has asked for */
		(void) PQisBusy(peer->conn);
		return;
	}
	watch(peer, EPOLLIN | (flushed == 1 ? EPOLLOUT : 0));
	while (!PQisBusy(peer->conn))
	{
		result = PQgetResult(peer->conn);
		if (result != NULL)
		{
			ExecStatusType status = PQresultStatus(result);

			PQclear(peer->result);
			peer->result = result;
			/* Of these there is no end */
			if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH)
			{
				rstar_peer_fail(peer, "it does not answer as retrostar does", now);
				return;
			}
			continue;
		}
		result = peer->result;
		peer->result = NULL;
		broken = PQstatus(peer->conn) == CONNECTION_BAD;
		if (result == NULL || broken)
			rstar_peer_fail(peer, PQerrorMessage(peer->conn), now);
		else if (is_passing(result))
			rstar_peer_fail(peer, PQresultErrorMessage(result), now);
		else
		{
			set_state(peer, RSTAR_PEER_READY);
			if (PQresultStatus(result) == PGRES_TUPLES_OK)
			{
				works_again(peer);
				peer->done(peer, result, NULL);
			}
			else
			{
				char		error[RSTAR_DETAIL_LEN];

				first_line(error, PQresultErrorMessage(result));
				peer->done(peer, NULL, error);
			}
		}
		PQclear(result);
		return;
	}
}

/* The socket may be another, as libpq tries several addresses; what it closes leaves the set */
static void
watch(RstarPeer *peer, uint32 events)
{
	struct epoll_event event = {.events = events,.data.ptr = peer};
	int			fd = PQsocket(peer->conn);

	peer->fd = fd;
	if (fd >= 0 && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) != 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void
close_connection(RstarPeer *peer)
{
	PQclear(peer->result);
	peer->result = NULL;
	if (peer->conn != NULL)
		PQfinish(peer->conn);
	peer->conn = NULL;
	peer->fd = -1;
	set_state(peer, RSTAR_PEER_CLOSED);
}

int64
rstar_peer_wake(void)
{
	int64		wake = PG_INT64_MAX;
	dlist_iter	iter;

	dlist_foreach(iter, &peers)
	{
		const RstarPeer *peer = dlist_container(RstarPeer, link, iter.cur);

		if (peer->state == RSTAR_PEER_CONNECTING || peer->state == RSTAR_PEER_BUSY)
			wake = Min(wake, peer->due);
	}
	return wake;
}

void
rstar_peer_close_all(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &peers)
		close_connection(dlist_container(RstarPeer, link, iter.cur));
}
