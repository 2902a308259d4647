/*-------------------------------------------------------------------------
 *
 * url.c
 *		A server's base URLs: what is accepted, and its canonical form.
 *
 * Not libcurl's parser, although libcurl will read the URL again: that one
 * is lenient (it guesses schemes, accepts credentials, reads file: and
 * gopher:), and <curl/curl.h> belongs to http.c.  What passes here is plain
 * enough to mean the same to every parser.
 *
 * The canonical form (scheme and host in lower case, no default port, no
 * trailing slash, no "/v1") names an endpoint: two spellings of one address
 * are one endpoint, with one in-flight limit.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "common/string.h"
#include "lib/stringinfo.h"

#include "model/url.h"

/* sun_path of Linux, without its NUL */
#define UNIX_PATH_MAX_LEN	107

/* Longest name that DNS can hold */
#define HOST_MAX_LEN		253

#define LETTERS	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"
#define HEXDIGITS "0123456789abcdefABCDEF"

/* Host names: "_" is not in the standard, but in many container networks */
#define HOST_CHARS	LETTERS DIGITS "-._"

/* RFC 3986 "pchar" and "/", without "," (it separates URLs) and "%" */
#define PATH_CHARS	LETTERS DIGITS "-._~!$&'()*+;=:@/"

static const char *parse_unix(char *path, RstarUrl *url);
static const char *parse_http(const char *given, const char *scheme,
							  const char *default_port, RstarUrl *url);
static const char *append_authority(StringInfo base, const char *authority,
									const char *end, const char *default_port);
static const char *append_host(StringInfo base, const char *host, size_t len);
static const char *append_path(StringInfo base, const char *path);
static bool cut_suffix(StringInfo buf, int from, const char *suffix);

const char *
rstar_url_parse(char *given, RstarUrl *url)
{
	url->text = given;
	url->base = NULL;
	url->unix_socket = NULL;

	if (strlen(given) > RSTAR_SERVER_MAX_URL_LEN)
		return psprintf("A URL is not longer than %d bytes.", RSTAR_SERVER_MAX_URL_LEN);
	for (const char *c = given; *c; c++)
	{
		if (*c <= ' ' || *c > '~')
			return "A URL has no white space, control characters or characters outside ASCII.";
		if (strchr("\"<>\\^`{|}", *c) != NULL)
			return psprintf("The character \"%c\" is not allowed in a URL.", *c);
	}

	if (pg_strncasecmp(given, "unix:", 5) == 0)
		return parse_unix(given + 5, url);
	if (pg_strncasecmp(given, "http://", 7) == 0)
		return parse_http(given + 7, "http://", "80", url);
	if (pg_strncasecmp(given, "https://", 8) == 0)
		return parse_http(given + 8, "https://", "443", url);
	return "A URL begins with \"http://\", \"https://\" or \"unix:/\".";
}

bool
rstar_url_equal(const RstarUrl *a, const RstarUrl *b)
{
	if (a->unix_socket != NULL && b->unix_socket != NULL)
		return strcmp(a->unix_socket, b->unix_socket) == 0;
	return a->unix_socket == NULL && b->unix_socket == NULL &&
		strcmp(a->base, b->base) == 0;
}

/*
 * unix:/path names the socket's file, taken literally: "/v1" is not cut, since
 * it would be a part of the file's name.
 */
static const char *
parse_unix(char *path, RstarUrl *url)
{
	size_t		len;

	if (path[0] != '/')
		return "A Unix socket is given by its absolute path, as in \"unix:/run/sglang.sock\".";
	while (path[1] == '/')		/* unix:///path */
		path++;
	len = strlen(path);
	if (path[len - 1] == '/')
		return "A Unix socket's path names a file, not a directory.";
	if (len > UNIX_PATH_MAX_LEN)
		return psprintf("A Unix socket's path is not longer than %d bytes.",
						UNIX_PATH_MAX_LEN);
	url->unix_socket = pstrdup(path);
	url->base = pstrdup("http://localhost");
	return NULL;
}

static const char *
parse_http(const char *given, const char *scheme, const char *default_port,
		   RstarUrl *url)
{
	const char *path = given + strcspn(given, "/?#");
	const char *problem;
	StringInfoData base;

	if (memchr(given, '@', path - given) != NULL)
		return "A URL must not contain a user name or password.";
	if (strpbrk(given, "?#") != NULL)
		return "A base URL has no query (\"?\") and no fragment (\"#\").";

	initStringInfo(&base);
	appendStringInfoString(&base, scheme);
	problem = append_authority(&base, given, path, default_port);
	if (problem == NULL)
		problem = append_path(&base, path);
	if (problem == NULL)
		url->base = base.data;
	return problem;
}

/* host or host:port, between authority and end */
static const char *
append_authority(StringInfo base, const char *authority, const char *end,
				 const char *default_port)
{
	const char *host_end;
	const char *problem;
	const char *port;
	size_t		port_len;

	if (*authority == '[')
	{
		host_end = memchr(authority, ']', end - authority);
		if (host_end == NULL)
			return "An IPv6 address is written as \"[address]\".";
		host_end++;
	}
	else
	{
		host_end = memchr(authority, ':', end - authority);
		if (host_end == NULL)
			host_end = end;
	}
	problem = append_host(base, authority, host_end - authority);
	if (problem != NULL || host_end == end)
		return problem;

	port = host_end + 1;
	port_len = end - port;
	if (*host_end != ':' || port_len < 1 || port_len > 5 ||
		strspn(port, DIGITS) != port_len || *port == '0' || atoi(port) > 65535)
		return "A port is a number from 1 to 65535.";
	if (strlen(default_port) != port_len || strncmp(default_port, port, port_len) != 0)
		appendBinaryStringInfo(base, host_end, end - host_end);
	return NULL;
}

static const char *
append_host(StringInfo base, const char *host, size_t len)
{
	struct in6_addr address;
	char		name[HOST_MAX_LEN + 1];

	if (len == 0)
		return "The URL has no host.";
	if (len > HOST_MAX_LEN)
		return psprintf("A host name is not longer than %d bytes.", HOST_MAX_LEN);
	for (size_t i = 0; i < len; i++)
		name[i] = pg_tolower((unsigned char) host[i]);
	name[len] = '\0';

	if (name[0] == '[')
	{
		bool		valid;

		name[len - 1] = '\0';
		valid = inet_pton(AF_INET6, name + 1, &address) == 1;
		name[len - 1] = ']';
		if (!valid)
			return "The text in brackets is not an IPv6 address.";
	}
	else if (strspn(name, HOST_CHARS) != len || strchr("-.", name[0]) != NULL ||
			 strstr(name, "..") != NULL)
		return "A host is a name, an IPv4 address or an IPv6 address in brackets.";
	appendStringInfoString(base, name);
	return NULL;
}

/* The path, if any, less what http.c adds to it */
static const char *
append_path(StringInfo base, const char *path)
{
	int			from = base->len;

	for (const char *c = path; *c; c++)
	{
		if (*c == '%')
		{
			if (strspn(c + 1, HEXDIGITS) < 2)
				return "A percent sign in a URL is followed by two hexadecimal digits.";
		}
		else if (strchr(PATH_CHARS, *c) == NULL)
			return psprintf("The character \"%c\" is not allowed in a URL's path.", *c);
	}
	appendStringInfoString(base, path);

	while (cut_suffix(base, from, "/"))
		;
	if (pg_str_endswith(base->data, "/completions"))
		return "A base URL ends before \"/v1/chat/completions\".";
	if (cut_suffix(base, from, "/v1"))
	{
		while (cut_suffix(base, from, "/"))
			;
	}
	return NULL;
}

/* Removes the suffix, if the part of buf that begins at "from" ends in it */
static bool
cut_suffix(StringInfo buf, int from, const char *suffix)
{
	int			len = strlen(suffix);

	if (buf->len - from < len || strcmp(buf->data + buf->len - len, suffix) != 0)
		return false;
	buf->len -= len;
	buf->data[buf->len] = '\0';
	return true;
}
