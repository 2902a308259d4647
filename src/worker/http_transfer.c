/*-------------------------------------------------------------------------
 *
 * http_transfer.c
 *		One HTTP exchange after another: a handle of libcurl, and its buffers.
 *
 * What curl calls here neither raises errors nor uses palloc, see http.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "worker/http_headers.h"
#include "worker/http_socket.h"
#include "worker/http_transfer.h"

/* Replies are a few kB; what is longer than this is no reply of a model */
#define MAX_REPLY (8 * 1024 * 1024)
#define FIRST_BUFFER (4 * 1024)
/* A buffer that grew beyond this is not kept for the next exchange */
#define KEEP_BUFFER (64 * 1024)

/* A CA file that was replaced is read again after so long; curl's 24 h are long */
#define CA_CACHE_S 60

/* Reads from the socket; replies are short, and each transfer has one */
#define RECEIVE_BUFFER (4 * 1024)

static char *default_cainfo = NULL;
static char *default_capath = NULL;

static bool is_same(const char *known, const char *value);
static bool set_url(RstarTransfer *transfer, const char *url);
static bool set_text(RstarTransfer *transfer, CURLoption option, char **known, const char *value);
static bool set_ca_file(RstarTransfer *transfer, const char *ca_file);
static Size body_size(const RstarHttpRequest *request);
static char *append(char *dst, const char *src, Size len);
static bool copy_body(RstarTransfer *transfer, const RstarHttpRequest *request);
static RstarHttpResult classify(const RstarTransfer *transfer, CURLcode code, int status);
static int	on_send(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port);
static size_t on_data(char *data, size_t size, size_t nmemb, void *arg);

/* The defaults come back for exchanges without a CA file of their own */
bool
rstar_transfer_init(void)
{
	CURL	   *probe = curl_easy_init();
	char	   *value = NULL;

	if (probe == NULL)
		return false;
	if (curl_easy_getinfo(probe, CURLINFO_CAINFO, &value) == CURLE_OK && value)
		default_cainfo = strdup(value);
	value = NULL;
	if (curl_easy_getinfo(probe, CURLINFO_CAPATH, &value) == CURLE_OK && value)
		default_capath = strdup(value);
	curl_easy_cleanup(probe);
	return true;
}

/* What never changes is set here, once */
RstarTransfer *
rstar_transfer_new(struct RstarHttpPool *pool, CURLSH * shared)
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
	transfer->pool = pool;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_SHARE, shared);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, rstar_http_socket_open);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, &transfer->socket_errno);
	curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, rstar_http_socket_close);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long) RSTAR_IDLE_CONNECTION_S);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long) RECEIVE_BUFFER);
#if LIBCURL_VERSION_NUM >= 0x075700
	curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, (long) CA_CACHE_S);
	/* Else curl waits for a resolver's thread when its exchange has ended */
	curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	return transfer;
}

bool
rstar_transfer_set_up(RstarTransfer *transfer, const RstarHttpRequest *request)
{
	CURL	   *easy = transfer->easy;
	struct curl_slist *headers = request->headers->list;
	bool		ok;

	transfer->done = request->done;
	transfer->owner = request->owner;
	transfer->len = 0;
	transfer->too_large = transfer->no_memory = false;
	transfer->sent = 0;
	transfer->socket_errno = 0;
	transfer->secrets = request->headers->secrets;
	transfer->error[0] = '\0';
	transfer->started = rstar_clock();
	if (request->request_id != NULL)
	{
		snprintf(transfer->id_header, sizeof(transfer->id_header),
				 "X-Request-Id: %s", request->request_id);
		transfer->request_id.data = transfer->id_header;
		transfer->request_id.next = headers;
		headers = &transfer->request_id;
	}
	if (request->traceparent != NULL && request->traceparent[0] != '\0')
	{
		snprintf(transfer->trace_header, sizeof(transfer->trace_header),
				 "traceparent: %s", request->traceparent);
		transfer->traceparent.data = transfer->trace_header;
		transfer->traceparent.next = headers;
		headers = &transfer->traceparent;
	}
	ok = set_url(transfer, request->url) &&
		set_text(transfer, CURLOPT_UNIX_SOCKET_PATH, &transfer->unix_socket, request->unix_socket) &&
		set_ca_file(transfer, request->ca_file);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->fresh ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, request->last ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) request->timeout);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long) request->connect_timeout);
	if (request->body != NULL)
	{
		ok = ok && copy_body(transfer, request);
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
						 (curl_off_t) body_size(request));
	}
	else
	{
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	}
	return ok;
}

static bool
copy_body(RstarTransfer *transfer, const RstarHttpRequest *request)
{
	Size		size = body_size(request);
	char	   *p;

	if (size > transfer->body_size)
	{
		free(transfer->body);
		transfer->body = malloc(size);
		transfer->body_size = transfer->body ? size : 0;
		if (transfer->body == NULL)
			return false;
	}
	p = append(transfer->body, request->body, request->body_len);
	p = append(p, request->body_rest, request->body_rest_len);
	(void) append(p, request->body_end, request->body_end_len);
	return true;
}

static Size
body_size(const RstarHttpRequest *request)
{
	return request->body_len + request->body_rest_len + request->body_end_len;
}

/* There may be nothing, at NULL */
static char *
append(char *dst, const char *src, Size len)
{
	if (len > 0)
		memcpy(dst, src, len);
	return dst + len;
}

/* curl copies each text anew, and nearly always it is the one it has */
static bool
is_same(const char *known, const char *value)
{
	return value == NULL ? known == NULL : known != NULL && strcmp(known, value) == 0;
}

/*
 * In parts as well, or curl takes it to pieces, and puts it together again, for
 * each exchange.  One that it cannot take is left to it: it says why.
 */
static bool
set_url(RstarTransfer *transfer, const char *url)
{
	if (is_same(transfer->url, url))
		return true;
	curl_easy_setopt(transfer->easy, CURLOPT_CURLU, NULL);
	curl_url_cleanup(transfer->parsed);
	transfer->parsed = curl_url();
	if (transfer->parsed == NULL || !set_text(transfer, CURLOPT_URL, &transfer->url, url))
		return false;
	if (curl_url_set(transfer->parsed, CURLUPART_URL, url, CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		return true;
	return curl_easy_setopt(transfer->easy, CURLOPT_CURLU, transfer->parsed) == CURLE_OK;
}

static bool
set_text(RstarTransfer *transfer, CURLoption option, char **known, const char *value)
{
	if (is_same(*known, value))
		return true;
	free(*known);
	*known = value ? strdup(value) : NULL;
	return (value == NULL || *known != NULL) &&
		curl_easy_setopt(transfer->easy, option, value) == CURLE_OK;
}

/* A CA file of the server's own takes the place of all that the system trusts */
static bool
set_ca_file(RstarTransfer *transfer, const char *ca_file)
{
	CURL	   *easy = transfer->easy;

	if (is_same(transfer->ca_file, ca_file))
		return true;
	free(transfer->ca_file);
	transfer->ca_file = ca_file ? strdup(ca_file) : NULL;
	if (ca_file != NULL && transfer->ca_file == NULL)
		return false;
	return curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file ? ca_file : default_cainfo) == CURLE_OK &&
		curl_easy_setopt(easy, CURLOPT_CAPATH, ca_file ? NULL : default_capath) == CURLE_OK;
}

void
rstar_transfer_free(RstarTransfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	curl_url_cleanup(transfer->parsed);
	free(transfer->url);
	free(transfer->unix_socket);
	free(transfer->ca_file);
	free(transfer->body);
	free(transfer->data);
	free(transfer);
}

void
rstar_transfer_rest(RstarTransfer *transfer)
{
	transfer->done = NULL;
	transfer->owner = NULL;
	if (transfer->body_size > KEEP_BUFFER)
	{
		free(transfer->body);
		transfer->body = NULL;
		transfer->body_size = 0;
	}
	if (transfer->size > KEEP_BUFFER)
	{
		free(transfer->data);
		transfer->data = NULL;
		transfer->size = 0;
	}
}

void
rstar_transfer_reply(RstarTransfer *transfer, CURLcode code, RstarHttpReply *reply)
{
	long		status = 0;
	long		os_errno = 0;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	memset(reply, 0, sizeof(*reply));
	reply->owner = transfer->owner;
	reply->status = (int) status;
	reply->result = classify(transfer, code, reply->status);
	if (code == CURLE_COULDNT_CONNECT &&
		curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &os_errno) == CURLE_OK)
		reply->refused = os_errno == ECONNREFUSED || os_errno == ENOENT;
	reply->nowhere = reply->refused || code == CURLE_COULDNT_RESOLVE_HOST ||
		code == CURLE_SSL_CONNECT_ERROR;
	reply->body = transfer->data;
	reply->body_len = transfer->len;
	reply->secrets = transfer->secrets;
	reply->elapsed_us = rstar_clock() - transfer->started;
	reply->transfer = transfer;
	/* curl's own words are of port 80 of localhost */
	if (code == CURLE_COULDNT_CONNECT && transfer->unix_socket != NULL && os_errno != 0)
		snprintf(transfer->error, sizeof(transfer->error), "could not connect to Unix socket \"%s\": %s",
				 transfer->unix_socket, strerror((int) os_errno));
	if (status >= 300)
		reply->retry_after = rstar_transfer_header(transfer, "Retry-After");
	if (reply->result != RSTAR_HTTP_REPLY)
		reply->error = transfer->too_large ? "reply is too large" :
			transfer->no_memory ? "out of memory" :
			transfer->socket_errno ? strerror(transfer->socket_errno) :
			transfer->sent > 1 ? "the server closed the connection without a reply" :
			transfer->error[0] ? transfer->error : curl_easy_strerror(code);
}

const char *
rstar_transfer_header(const RstarTransfer *transfer, const char *name)
{
	struct curl_header *header = NULL;

	if (curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return NULL;
	return header->value;
}

static RstarHttpResult
classify(const RstarTransfer *transfer, CURLcode code, int status)
{
	/*
	 * CURLINFO_PRETRANSFER_TIME says so, too, but since 8.22 without a
	 * connection
	 */
	bool		sent = transfer->sent > 0;

	if (transfer->too_large)
		return RSTAR_HTTP_TOO_LARGE;
	if (transfer->no_memory)
		return RSTAR_HTTP_NO_MEMORY;
	if (transfer->socket_errno != 0)
		return RSTAR_HTTP_NO_SOCKET;
	switch (code)
	{
		case CURLE_OK:
			return status > 0 ? RSTAR_HTTP_REPLY : RSTAR_HTTP_TRANSPORT;
		case CURLE_OPERATION_TIMEDOUT:
			/* Only what was sent can have been too slow to answer */
			return sent ? RSTAR_HTTP_TIMEOUT : RSTAR_HTTP_TRANSPORT;
		case CURLE_OUT_OF_MEMORY:	/* also says: its header is too large */
			return sent ? RSTAR_HTTP_TRANSPORT : RSTAR_HTTP_NO_MEMORY;
		case CURLE_UNSUPPORTED_PROTOCOL:	/* also says: that is not HTTP */
			return sent ? RSTAR_HTTP_TRANSPORT : RSTAR_HTTP_SETUP;
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_ISSUER_ERROR:
			return RSTAR_HTTP_UNTRUSTED;
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_URL_MALFORMAT:
			return RSTAR_HTTP_SETUP;
		default:
			return RSTAR_HTTP_TRANSPORT;
	}
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
