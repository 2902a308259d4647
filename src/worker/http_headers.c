/*-------------------------------------------------------------------------
 *
 * http_headers.c
 *		Request headers that many exchanges share, the key among them.
 *
 * Each copy of a secret that is made here is overwritten at its end, but for the
 * line that curl copies and frees.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <curl/curl.h>

#include "worker/http_headers.h"

static bool gives_agent(const RstarHttpHeader *own, int n);
static bool add_line(RstarHttpHeaders *headers, const char *line);
static bool add_header(RstarHttpHeaders *headers, const RstarHttpHeader *header);

RstarHttpHeaders *
rstar_http_headers(const RstarHttpHeader *own, int n)
{
	static const char *const common[] = {
		"User-Agent: retrostar",
		"Content-Type: application/json",
		"Accept: application/json",
		"Expect:"
	};
	RstarHttpHeaders *headers = calloc(1, sizeof(RstarHttpHeaders));
	bool		ok = headers != NULL;

	if (ok)
	{
		headers->secrets = calloc(n + 1, sizeof(char *));
		ok = headers->secrets != NULL;
	}
	for (int i = gives_agent(own, n) ? 1 : 0; ok && i < (int) lengthof(common); i++)
		ok = add_line(headers, common[i]);
	for (int i = 0; ok && i < n; i++)
		ok = add_header(headers, &own[i]);
	if (ok)
		return headers;
	rstar_http_headers_free(headers);
	return NULL;
}

/* An option may say who asks */
static bool
gives_agent(const RstarHttpHeader *own, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (pg_strcasecmp(own[i].name, "User-Agent") == 0)
			return true;
	}
	return false;
}

static bool
add_line(RstarHttpHeaders *headers, const char *line)
{
	struct curl_slist *longer = curl_slist_append(headers->list, line);

	if (longer != NULL)
		headers->list = longer;
	return longer != NULL;
}

static bool
add_header(RstarHttpHeaders *headers, const RstarHttpHeader *header)
{
	Size		size = strlen(header->name) + strlen(header->scheme) + strlen(header->value) + 3;
	char	   *line = malloc(size);
	bool		ok = line != NULL;

	if (ok)
	{
		snprintf(line, size, "%s: %s%s", header->name, header->scheme, header->value);
		ok = add_line(headers, line);
		explicit_bzero(line, size);
	}
	free(line);
	if (ok && header->secret)
	{
		char	   *copy = strdup(header->value);

		ok = copy != NULL;
		headers->secrets[headers->nsecrets] = copy;
		headers->nsecrets += ok ? 1 : 0;
	}
	return ok;
}

void
rstar_http_headers_free(RstarHttpHeaders *headers)
{
	if (headers == NULL)
		return;
	curl_slist_free_all(headers->list);
	for (int i = 0; i < headers->nsecrets; i++)
	{
		explicit_bzero(headers->secrets[i], strlen(headers->secrets[i]));
		free(headers->secrets[i]);
	}
	free(headers->secrets);
	free(headers);
}
