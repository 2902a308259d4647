/*-------------------------------------------------------------------------
 *
 * floor.c
 *		The least that a libcurl client costs: what the worker is held
 *		against.
 *
 * floor URL[,URL]... IN_FLIGHT N BODY_BYTES
 *
 * Sends N requests, IN_FLIGHT at a time over all URLs, all from one thread, and
 * prints what that took as JSON, with its private memory at the end.  epoll and curl_multi_socket_action(); handles, buffers
 * and connections are reused; nothing is set per request; a reply counts when
 * it holds the tag of a score.  Connections are made in the measured time, as
 * the worker makes them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include <curl/curl.h>

#define EVENTS_AT_ONCE 256
#define REPLY_BUFFER 8192
#define MAX_URLS 64

typedef struct Transfer
{
	CURL	   *easy;
	size_t		len;
	char		data[REPLY_BUFFER];
} Transfer;

static CURLM *multi;
static int	epoll_fd;
static int64_t timer_at = -1;	/* us; -1: none */
static int	in_flight = 0;
static int	sent = 0;
static int	done = 0;
static int	failed = 0;

static void die(const char *why);
static int64_t now_us(void);
static int64_t cpu_us(void);
static void raise_descriptor_limit(void);
static int	split_urls(char *words, char **urls);
static double rss_anon_mb(void);
static char *make_body(size_t size);
static void make_multi(int max);
static struct curl_slist *make_headers(void);
static Transfer *make_transfer(const char *url, const char *body, size_t size,
							   struct curl_slist *headers);
static void start(Transfer *transfer);
static void turn(void);
static void finish(int n);
static size_t on_data(char *data, size_t size, size_t nmemb, void *arg);
static int	on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *known);
static int	on_timer(CURLM *m, long timeout_ms, void *arg);

int
main(int argc, char **argv)
{
	int			max = argc == 5 ? atoi(argv[2]) : 0;
	int			n = argc == 5 ? atoi(argv[3]) : 0;
	size_t		size = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
	char	   *urls[MAX_URLS];
	int			n_urls;
	struct curl_slist *headers;
	char	   *body;
	int64_t		wall;
	int64_t		cpu;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
	{
		printf("%s\n", curl_version_info(CURLVERSION_NOW)->version);
		return 0;
	}
	if (max < 1 || n < 1)
	{
		fprintf(stderr, "usage: floor URL[,URL]... IN_FLIGHT N BODY_BYTES\n");
		return 2;
	}
	raise_descriptor_limit();
	n_urls = split_urls(argv[1], urls);
	body = make_body(size);
	make_multi(max);
	headers = make_headers();

	wall = now_us();
	cpu = cpu_us();
	while (sent < n && sent < max)
		start(make_transfer(urls[sent % n_urls], body, strlen(body), headers));
	while (done < n)
	{
		turn();
		finish(n);
	}
	wall = now_us() - wall;
	cpu = cpu_us() - cpu;

	printf("{\"n\": %d, \"in_flight\": %d, \"failed\": %d, \"seconds\": %.6f, "
		   "\"per_second\": %.1f, \"cpu_us\": %.2f, \"rss_mb\": %.2f}\n",
		   n, max, failed, wall / 1e6, n * 1e6 / wall, (double) cpu / n, rss_anon_mb());
	return failed > 0;
}

static void
die(const char *why)
{
	fprintf(stderr, "floor: %s\n", why);
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t
cpu_us(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (int64_t) used.tv_sec * 1000000 + used.tv_nsec / 1000;
}

static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void) setrlimit(RLIMIT_NOFILE, &limit);
}

/* Cuts the list at its commas */
static int
split_urls(char *words, char **urls)
{
	int			n = 0;

	for (char *url = strtok(words, ","); url != NULL; url = strtok(NULL, ","))
	{
		if (n == MAX_URLS)
			die("too many URLs");
		urls[n++] = url;
	}
	if (n == 0)
		die("no URL");
	return n;
}

/* As bench.py looks at the worker's; nothing has been freed yet */
static double
rss_anon_mb(void)
{
	FILE	   *file = fopen("/proc/self/status", "r");
	char		line[256];
	long		kb = 0;

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	}
	fclose(file);
	return kb / 1024.0;
}

/* A chat completion request of the given size */
static char *
make_body(size_t size)
{
	static const char head[] = "{\"model\":\"bench\",\"messages\":[{\"role\":\"user\",\"content\":\"";
	static const char tail[] = "\"}]}";
	char	   *body;

	if (size < sizeof(head) + sizeof(tail))
		size = sizeof(head) + sizeof(tail);
	body = malloc(size + 1);
	if (body == NULL)
		die("out of memory");
	memset(body, 'x', size);
	memcpy(body, head, sizeof(head) - 1);
	memcpy(body + size - (sizeof(tail) - 1), tail, sizeof(tail));
	return body;
}

static void
make_multi(int max)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (multi == NULL || epoll_fd < 0)
		die("could not set up libcurl");
	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) max);
}

/* Those of the worker, so that as many bytes travel */
static struct curl_slist *
make_headers(void)
{
	static const char *const lines[] = {
		"X-Request-Id: retrostar-00000-00000-00000000-0",
		"Content-Type: application/json",
		"Accept: application/json",
		"Expect:"
	};
	struct curl_slist *list = NULL;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		list = curl_slist_append(list, lines[i]);
	return list;
}

static Transfer *
make_transfer(const char *url, const char *body, size_t size, struct curl_slist *headers)
{
	Transfer   *transfer = malloc(sizeof(Transfer));
	CURL	   *easy = curl_easy_init();

	if (transfer == NULL || easy == NULL)
		die("out of memory");
	transfer->easy = easy;
	curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "retrostar");
	curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 4096L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 300000L);
	curl_easy_setopt(easy, CURLOPT_POST, 1L);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) size);
	return transfer;
}

static void
start(Transfer *transfer)
{
	transfer->len = 0;
	if (curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		die("could not add a request");
	sent++;
	in_flight++;
}

/* Waits for something to happen, and lets it happen */
static void
turn(void)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int			timeout = -1;
	int			running;
	int			n;

	if (timer_at >= 0)
	{
		int64_t		left = timer_at - now_us();

		timeout = left <= 0 ? 0 : (int) ((left + 999) / 1000);
	}
	n = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, timeout);
	for (int i = 0; i < n; i++)
	{
		int			what = 0;

		if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			what |= CURL_CSELECT_IN;
		if (events[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (events[i].events & EPOLLERR)
			what |= CURL_CSELECT_ERR;
		curl_multi_socket_action(multi, events[i].data.fd, what, &running);
	}
	if (timer_at >= 0 && now_us() >= timer_at)
	{
		timer_at = -1;
		curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
}

static void
finish(int n)
{
	CURLMsg    *message;
	int			left;

	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		Transfer   *transfer = NULL;
		CURLcode	code = message->data.result;

		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
		transfer->data[transfer->len] = '\0';
		if (code != CURLE_OK || strstr(transfer->data, "<score>") == NULL)
			failed++;
		curl_multi_remove_handle(multi, transfer->easy);
		in_flight--;
		done++;
		if (sent < n)
			start(transfer);
	}
}

static size_t
on_data(char *data, size_t size, size_t nmemb, void *arg)
{
	Transfer   *transfer = arg;
	size_t		n = size * nmemb;

	if (transfer->len + n >= sizeof(transfer->data))
		return 0;
	memcpy(transfer->data + transfer->len, data, n);
	transfer->len += n;
	return n;
}

static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *known)
{
	struct epoll_event event = {0};

	(void) easy;
	(void) arg;
	if (what == CURL_POLL_REMOVE)
	{
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
	(void) m;
	(void) arg;
	timer_at = timeout_ms < 0 ? -1 : now_us() + (int64_t) timeout_ms * 1000;
	return 0;
}
