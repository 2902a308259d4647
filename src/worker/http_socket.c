/*-------------------------------------------------------------------------
 *
 * http_socket.c
 *		The sockets of libcurl's connections, in one epoll set.
 *
 * Between two exchanges curl takes no interest in a connection's socket.  It
 * stays in the epoll set all the same, for the next exchange, which would else
 * cost two system calls more; it leaves when there is something to read that
 * nobody waits for, mostly the end of the connection.  The kernel drops from
 * the set what is closed, so we must learn of that: rstar_http_socket_open()
 * and rstar_http_socket_close() see to it.  Sockets that curl opens for itself
 * (its resolver's) do not pass there, and leave at once.
 *
 * What curl calls here neither raises errors nor uses palloc, see http.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "worker/http_socket.h"

#define EVENTS_AT_ONCE 256

/* Found by the socket's number */
typedef struct Socket
{
	void	   *owner;
	uint32		events;			/* what the epoll set has; 0: it is not in it */
	bool		ours;			/* we opened it, so we shall close it */
	bool		wanted;			/* curl waits for it */
} Socket;

static int	epoll_fd = -1;
static Socket *sockets = NULL;
static int	nsockets = 0;

static Socket *find_socket(int fd);
static bool is_wanted(int fd);
static int	set_events(int fd, Socket *known, uint32 events);

int
rstar_http_socket_init(void)
{
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return epoll_fd;
}

int
rstar_http_socket_ready(RstarSocketEvent *events, int max)
{
	struct epoll_event found[EVENTS_AT_ONCE];
	int			n = epoll_wait(epoll_fd, found, Min(max, EVENTS_AT_ONCE), 0);
	int			nready = 0;

	for (int i = 0; i < n; i++)
	{
		int			fd = found[i].data.fd;
		uint32		what = found[i].events;

		if (!is_wanted(fd))
			continue;
		events[nready].socket = fd;
		events[nready].owner = sockets[fd].owner;
		events[nready].what = (what & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0) |
			(what & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
			(what & EPOLLERR ? CURL_CSELECT_ERR : 0);
		nready++;
	}
	return nready;
}

int
rstar_http_socket_watch(CURL *easy, curl_socket_t socket, int what, void *owner, void *unused)
{
	Socket	   *known = find_socket(socket);
	uint32		events = ((what & CURL_POLL_IN) ? EPOLLIN : 0) |
		((what & CURL_POLL_OUT) ? EPOLLOUT : 0);

	if (known == NULL)
		return -1;
	known->wanted = what != CURL_POLL_REMOVE;
	known->owner = owner;
	if (known->wanted ? known->events == events : known->ours)
		return 0;
	return set_events(socket, known, known->wanted ? events : 0);
}

curl_socket_t
rstar_http_socket_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
	Socket	   *known;

	/* an address of a family that the machine does not have is passed over */
	*(int *) arg = fd < 0 && errno != EAFNOSUPPORT ? errno : 0;
	if (fd < 0)
		return CURL_SOCKET_BAD;
	known = find_socket(fd);
	if (known == NULL)
	{
		*(int *) arg = ENOMEM;
		close(fd);
		return CURL_SOCKET_BAD;
	}
	memset(known, 0, sizeof(Socket));
	known->ours = true;
	return fd;
}

int
rstar_http_socket_close(void *arg, curl_socket_t socket)
{
	if (socket < nsockets)
		memset(&sockets[socket], 0, sizeof(Socket));
	return close(socket);
}

/* Its entry, which is made when there is none; NULL: out of memory */
static Socket *
find_socket(int fd)
{
	if (fd >= nsockets)
	{
		int			larger = Max(nsockets * 2, fd + 1);
		Socket	   *grown = realloc(sockets, larger * sizeof(Socket));

		if (grown == NULL)
			return NULL;
		memset(grown + nsockets, 0, (larger - nsockets) * sizeof(Socket));
		sockets = grown;
		nsockets = larger;
	}
	return &sockets[fd];
}

/* A socket that nobody waits for leaves the set */
static bool
is_wanted(int fd)
{
	if (sockets[fd].wanted)
		return true;
	(void) set_events(fd, &sockets[fd], 0);
	return false;
}

/* 0: it leaves the set.  The set may lack what curl has closed by itself. */
static int
set_events(int fd, Socket *known, uint32 events)
{
	struct epoll_event event = {.events = events,.data.fd = fd};
	bool		present = known->events != 0;

	known->events = events;
	if (events == 0)
	{
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (present && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	known->events = 0;
	return -1;
}
