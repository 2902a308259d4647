/*-------------------------------------------------------------------------
 *
 * http.c
 *		Many HTTP exchanges at once, on libcurl's multi interface.
 *
 * Called by: worker.c.  Calls: libcurl, in no other file.
 *
 * curl's sockets live in an epoll set of ours, which the worker nests in its
 * one WaitEventSet: curl_multi_socket_action() then costs the same however
 * many exchanges wait, where curl_multi_poll() looks at all of them each time.
 * Easy handles, reply buffers and connections are reused.
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
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/fd.h"

#include <curl/curl.h>

#include "http.h"

#include "hide.h"

/* Replies are a few kB; what is longer than this is no reply of a model */
#define MAX_REPLY (8 * 1024 * 1024)
#define FIRST_BUFFER (4 * 1024)
/* A buffer that grew beyond this is not kept for the next exchange */
#define KEEP_BUFFER (64 * 1024)

/* Servers close idle connections after 5 s; we do so before them */
#define IDLE_CONNECTION_S 3

/* Descriptors for the rest of the process: relations, logs, epoll, resolver */
#define SPARE_DESCRIPTORS 128
#define MAX_TRANSFERS 8192

/* Reads from the socket; replies are short, and each transfer has one */
#define RECEIVE_BUFFER (4 * 1024)

#define EVENTS_AT_ONCE 256

struct RstarHttpHeaders
{
	struct curl_slist *list;
	char	   *key;			/* in one of these lines, or NULL */
};

struct RstarTransfer
{
	dlist_node	link;			/* in active or idle */
	CURL	   *easy;
	void	   *owner;
	char	   *body;			/* request */
	char	   *data;			/* reply */
	Size		len;
	Size		size;
	bool		too_large;
	bool		no_memory;
	int			socket_errno;	/* why there is no socket, 0: there is one */
	const char *key;			/* of the request's headers, or NULL */
	int			sent;			/* times that curl began to send it */
	int64		started;		/* us */
	struct curl_slist request_id;	/* in front of the shared headers */
	char		id_header[128];
	char		error[CURL_ERROR_SIZE];
};

static CURLM *multi = NULL;
static int	epoll_fd = -1;
static int64 timer_at = -1;		/* us; -1: none */
static dlist_head active = DLIST_STATIC_INIT(active);
static dlist_head idle = DLIST_STATIC_INIT(idle);
static int	nactive = 0;
static bool started = false;	/* something, since curl was last called */
static sigset_t all_signals;
static char *default_cainfo = NULL;
static char *default_capath = NULL;

static int64 now_us(void);
static bool make_multi(void);
static bool add_header(RstarHttpHeaders *headers, const char *line);
static RstarTransfer *new_transfer(void);
static bool set_up(RstarTransfer *transfer, const RstarHttpRequest *request);
static void release(RstarTransfer *transfer);
static void report(RstarTransfer *transfer, CURLcode code, RstarHttpDone done);
static RstarHttpResult classify(const RstarTransfer *transfer, CURLcode code, int status);
static void start_over(RstarHttpDone done);
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address);
static int	on_send(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port);
static size_t on_data(char *data, size_t size, size_t nmemb, void *arg);
static int	on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *known);
static int	on_timer(CURLM *m, long timeout_ms, void *arg);

static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

int
rstar_http_init(int *max)
{
	struct rlimit limit;
	CURL	   *probe;

	sigfillset(&all_signals);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_UNABLE_TO_CREATE_EXECUTION),
				 errmsg("could not initialize libcurl")));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_fd < 0 || !make_multi())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not set up HTTP: %m")));

	/* The defaults come back for exchanges without a CA file of their own */
	probe = curl_easy_init();
	if (probe != NULL)
	{
		char	   *value = NULL;

		if (curl_easy_getinfo(probe, CURLINFO_CAINFO, &value) == CURLE_OK && value)
			default_cainfo = strdup(value);
		value = NULL;
		if (curl_easy_getinfo(probe, CURLINFO_CAPATH, &value) == CURLE_OK && value)
			default_capath = strdup(value);
		curl_easy_cleanup(probe);
	}

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
		if (limit.rlim_cur < MAX_TRANSFERS + SPARE_DESCRIPTORS)
			*max = Max((int) limit.rlim_cur - SPARE_DESCRIPTORS - max_files_per_process, 16);
	}
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) *max);
	return epoll_fd;
}

static bool
make_multi(void)
{
	multi = curl_multi_init();
	if (multi == NULL)
		return false;
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) MAX_TRANSFERS);
	timer_at = -1;
	return true;
}

RstarHttpHeaders *
rstar_http_headers(const char *key)
{
	static const char *const common[] = {
		"Content-Type: application/json",
		"Accept: application/json",
		"Expect:"
	};
	RstarHttpHeaders *headers = calloc(1, sizeof(RstarHttpHeaders));
	bool		ok = headers != NULL;

	for (int i = 0; ok && i < (int) lengthof(common); i++)
		ok = add_header(headers, common[i]);
	if (ok && key != NULL)
	{
		static const char scheme[] = "Authorization: Bearer ";
		Size		size = sizeof(scheme) + strlen(key);
		char	   *line = malloc(size);

		headers->key = strdup(key);
		ok = line != NULL && headers->key != NULL;
		if (ok)
		{
			snprintf(line, size, "%s%s", scheme, key);
			ok = add_header(headers, line);
			explicit_bzero(line, size);
		}
		free(line);
	}
	if (ok)
		return headers;
	rstar_http_headers_free(headers);
	return NULL;
}

static bool
add_header(RstarHttpHeaders *headers, const char *line)
{
	struct curl_slist *longer = curl_slist_append(headers->list, line);

	if (longer != NULL)
		headers->list = longer;
	return longer != NULL;
}

void
rstar_http_headers_free(RstarHttpHeaders *headers)
{
	if (headers == NULL)
		return;
	curl_slist_free_all(headers->list);
	if (headers->key != NULL)
		explicit_bzero(headers->key, strlen(headers->key));
	free(headers->key);
	free(headers);
}

RstarTransfer *
rstar_http_start(const RstarHttpRequest *request)
{
	RstarTransfer *transfer;

	if (!dlist_is_empty(&idle))
		transfer = dlist_container(RstarTransfer, link, dlist_pop_head_node(&idle));
	else
		transfer = new_transfer();
	if (transfer == NULL)
	{
		free(request->body);
		return NULL;
	}
	transfer->owner = request->owner;
	transfer->body = request->body;
	transfer->len = 0;
	transfer->too_large = transfer->no_memory = false;
	transfer->sent = 0;
	transfer->socket_errno = 0;
	transfer->key = request->headers->key;
	transfer->error[0] = '\0';
	transfer->started = now_us();
	dlist_push_tail(&active, &transfer->link);
	nactive++;
	if (!set_up(transfer, request) ||
		curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
	{
		release(transfer);
		return NULL;
	}
	started = true;
	return transfer;
}

/* What never changes is set here, once */
static RstarTransfer *
new_transfer(void)
{
	RstarTransfer *transfer = calloc(1, sizeof(RstarTransfer));
	CURL	   *easy;

	if (transfer == NULL)
		return NULL;
	transfer->easy = easy = curl_easy_init();
	if (easy == NULL)
	{
		free(transfer);
		return NULL;
	}
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long) IDLE_CONNECTION_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long) RECEIVE_BUFFER);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "retrostar");
	return transfer;
}

static bool
set_up(RstarTransfer *transfer, const RstarHttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	struct curl_slist *headers = request->headers->list;
	bool		ok;

	if (request->request_id != NULL)
	{
		snprintf(transfer->id_header, sizeof(transfer->id_header),
				 "X-Request-Id: %s", request->request_id);
		transfer->request_id.data = transfer->id_header;
		transfer->request_id.next = headers;
		headers = &transfer->request_id;
	}
	ok = curl_easy_setopt(easy, CURLOPT_URL, request->url) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, request->unix_socket) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CAINFO,
						 request->ca_file ? request->ca_file : default_cainfo) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CAPATH,
						 request->ca_file ? NULL : default_capath) == CURLE_OK;
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) request->connect_timeout);
	if (request->body != NULL)
	{
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) request->body_len);
	}
	else
	{
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	}
	return ok;
}

/* Not in the multi any more: keep handle and buffer for the next one */
static void
release(RstarTransfer *transfer)
{
	dlist_delete(&transfer->link);
	nactive--;
	free(transfer->body);
	transfer->body = NULL;
	transfer->owner = NULL;
	if (transfer->size > KEEP_BUFFER)
	{
		free(transfer->data);
		transfer->data = NULL;
		transfer->size = 0;
	}
	dlist_push_head(&idle, &transfer->link);
}

void
rstar_http_cancel(RstarTransfer *transfer)
{
	/* Removing a handle in mid-exchange closes its connection */
	curl_multi_remove_handle(multi, transfer->easy);
	release(transfer);
}

long
rstar_http_timeout(void)
{
	int64		left;

	if (timer_at < 0)
		return -1;
	left = timer_at - now_us();
	return left <= 0 ? 0 : (long) ((left + 999) / 1000);
}

int
rstar_http_active(void)
{
	return nactive;
}

void
rstar_http_poll(RstarHttpDone done)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	sigset_t	old_mask;
	CURLMcode	code = CURLM_OK;
	CURLMsg    *message;
	int			running;
	int			left;
	int			n;

	sigprocmask(SIG_SETMASK, &all_signals, &old_mask);
	do
	{
		n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, 0);
		for (int i = 0; i < n && code == CURLM_OK; i++)
		{
			int			what = 0;

			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
				what |= CURL_CSELECT_IN;
			if (events[i].events & EPOLLOUT)
				what |= CURL_CSELECT_OUT;
			if (events[i].events & EPOLLERR)
				what |= CURL_CSELECT_ERR;
			code = curl_multi_socket_action(multi, events[i].data.fd, what, &running);
		}
	} while (n == EVENTS_AT_ONCE && code == CURLM_OK);
	if (code == CURLM_OK && timer_at >= 0 && now_us() >= timer_at)
	{
		timer_at = -1;
		code = curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	sigprocmask(SIG_SETMASK, &old_mask, NULL);

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		RstarTransfer *transfer = NULL;
		CURLcode	result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		curl_multi_remove_handle(multi, transfer->easy);
		report(transfer, result, done);
		release(transfer);
	}
	if (code != CURLM_OK)
		start_over(done);
}

void
rstar_http_flush(void)
{
	sigset_t	old_mask;
	int			running;

	if (!started)
		return;
	started = false;
	sigprocmask(SIG_SETMASK, &all_signals, &old_mask);
	timer_at = -1;
	/* What ended at once, and an error, are for the next poll, without delay */
	if (curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running) != CURLM_OK ||
		running < nactive)
		timer_at = now_us();
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
}

static void
report(RstarTransfer *transfer, CURLcode code, RstarHttpDone done)
{
	RstarHttpReply reply;
	struct curl_header *header = NULL;
	long		status = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	if (transfer->key != NULL)
		rstar_hide(transfer->data, transfer->len, transfer->key);
	memset(&reply, 0, sizeof(reply));
	reply.owner = transfer->owner;
	reply.status = (int) status;
	reply.result = classify(transfer, code, reply.status);
	reply.body = transfer->data;
	reply.body_len = transfer->len;
	reply.elapsed_us = now_us() - transfer->started;
	if (status >= 300 &&
		curl_easy_header(transfer->easy, "Retry-After", 0, CURLH_HEADER, -1, &header) == CURLHE_OK)
		reply.retry_after = header->value;
	if (reply.result != RSTAR_HTTP_REPLY)
		reply.error = transfer->too_large ? "reply is too large" :
			transfer->no_memory ? "out of memory" :
			transfer->socket_errno ? strerror(transfer->socket_errno) :
			transfer->sent > 1 ? "the server closed the connection without a reply" :
			transfer->error[0] ? transfer->error : curl_easy_strerror(code);
	done(&reply);
}

static RstarHttpResult
classify(const RstarTransfer *transfer, CURLcode code, int status)
{
	curl_off_t	sent_after = 0;

	if (transfer->too_large)
		return RSTAR_HTTP_TOO_LARGE;
	if (transfer->no_memory)
		return RSTAR_HTTP_SETUP;
	if (transfer->socket_errno != 0)
		return RSTAR_HTTP_NO_SOCKET;
	curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &sent_after);
	switch (code)
	{
		case CURLE_OK:
			return status > 0 ? RSTAR_HTTP_REPLY : RSTAR_HTTP_TRANSPORT;
		case CURLE_OPERATION_TIMEDOUT:
			/* Only what was sent can have been too slow to answer */
			return sent_after > 0 ? RSTAR_HTTP_TIMEOUT : RSTAR_HTTP_TRANSPORT;
		case CURLE_OUT_OF_MEMORY:	/* also says: its header is too large */
		case CURLE_UNSUPPORTED_PROTOCOL:	/* also says: that is not HTTP */
			return sent_after > 0 ? RSTAR_HTTP_TRANSPORT : RSTAR_HTTP_SETUP;
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_URL_MALFORMAT:
			return RSTAR_HTTP_SETUP;
		default:
			return RSTAR_HTTP_TRANSPORT;
	}
}

/*
 * curl's state is unknown after an error of the multi interface (out of
 * memory, mostly): all exchanges end as broken, and we begin anew.
 */
static void
start_over(RstarHttpDone done)
{
	while (!dlist_is_empty(&active))
	{
		RstarTransfer *transfer = dlist_head_element(RstarTransfer, link, &active);

		curl_multi_remove_handle(multi, transfer->easy);
		report(transfer, CURLE_RECV_ERROR, done);
		release(transfer);
	}
	curl_multi_cleanup(multi);
	if (!make_multi())
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not set up HTTP again: out of memory")));
}

/*
 * As curl would do it; but where descriptors or buffers have run out, that is
 * our affair and not the endpoint's.
 */
static curl_socket_t
on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	RstarTransfer *transfer = arg;
	int			fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);

	/* an address of a family that the machine does not have is passed over */
	transfer->socket_errno = fd < 0 && errno != EAFNOSUPPORT ? errno : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/*
 * When a kept connection breaks before the first byte of the reply, curl sends
 * the request again by itself, up to five times, with the same id and perhaps
 * to a server that works on it.  Whether to try again is not its decision.
 */
static int
on_send(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	RstarTransfer *transfer = arg;

	return transfer->sent++ == 0 ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* A short count aborts the exchange */
static size_t
on_data(char *data, size_t size, size_t nmemb, void *arg)
{
	RstarTransfer *transfer = arg;
	Size		n = size * nmemb;

	if (transfer->len + n > MAX_REPLY)
	{
		transfer->too_large = true;
		return 0;
	}
	if (transfer->len + n > transfer->size)
	{
		Size		larger = Max(transfer->size * 2, FIRST_BUFFER);
		char	   *grown;

		while (larger < transfer->len + n)
			larger *= 2;
		grown = realloc(transfer->data, larger);
		if (grown == NULL)
		{
			transfer->no_memory = true;
			return 0;
		}
		transfer->data = grown;
		transfer->size = larger;
	}
	memcpy(transfer->data + transfer->len, data, n);
	transfer->len += n;
	return n;
}

/* "known" is NULL for a socket that is not in the epoll set yet */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *known)
{
	struct epoll_event event = {0};

	if (what == CURL_POLL_REMOVE)
	{
		/* Fails when curl has closed it already: then it is gone anyway */
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, socket, NULL);
		return 0;
	}
	event.data.fd = socket;
	event.events = ((what & CURL_POLL_IN) ? EPOLLIN : 0) |
		((what & CURL_POLL_OUT) ? EPOLLOUT : 0);
	if (epoll_ctl(epoll_fd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event) != 0)
		return -1;
	if (known == NULL)
		curl_multi_assign(multi, socket, &epoll_fd);
	return 0;
}

static int
on_timer(CURLM *m, long timeout_ms, void *arg)
{
	timer_at = timeout_ms < 0 ? -1 : now_us() + timeout_ms * INT64CONST(1000);
	return 0;
}
