/*-------------------------------------------------------------------------
 *
 * header.c
 *		HTTP headers that an option may give: which names, which values.
 *
 * A line end in a name or value would begin another header, or a request of
 * its own.  What HTTP needs for itself, and what we send, is not for options:
 * two headers of one name are read by one server in this way and by the next
 * in that.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "model/header.h"

static const char token[] = "!#$%&'*+-.^_`|~0123456789"
"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static const char *const reserved_names[] = {
	/* HTTP's */
	"Host", "Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "TE",
	"Trailer", "Upgrade", "Expect", "HTTP2-Settings", "Range",
	/* ours, and what decides how the reply comes */
	"Accept", "Accept-Encoding", "X-Request-Id", "traceparent",
	NULL
};

const char *
rstar_header_name_problem(const char *name, bool for_key)
{
	size_t		len = strlen(name);

	if (len == 0)
		return "The name of a header must not be empty.";
	if (len > RSTAR_HEADER_MAX_NAME)
		return "The name of a header must not be longer than 64 characters.";
	if (strspn(name, token) != len)
		return "The name of a header has letters, digits and hyphens, "
			"and no colon, space, line end or character that is not ASCII.";
	if (rstar_header_same_name(name, "Authorization"))
		return for_key ? NULL : "The header \"Authorization\" is set by the key of the user mapping.";
	if (strncasecmp(name, "Content-", strlen("Content-")) == 0)
		return "Headers that begin with \"Content-\" are set by the extension.";
	for (const char *const *reserved = reserved_names; *reserved != NULL; reserved++)
	{
		if (rstar_header_same_name(name, *reserved))
			return "A header of this name is set by the extension, or belongs to HTTP itself.";
	}
	return NULL;
}

const char *
rstar_header_value_problem(const char *value)
{
	size_t		len = strlen(value);

	if (len == 0)
		return "The value of a header must not be empty.";
	if (len > RSTAR_HEADER_MAX_VALUE)
		return "The value of a header must not be longer than 8192 characters.";
	if (value[0] == ' ' || value[len - 1] == ' ')
		return "The value of a header must not begin or end with a space.";
	for (const char *c = value; *c != '\0'; c++)
	{
		if (*c < ' ' || *c > '~')
			return "The value of a header has printable ASCII characters only, "
				"and no control characters, such as line ends.";
	}
	return NULL;
}

bool
rstar_header_same_name(const char *one, const char *other)
{
	return strcasecmp(one, other) == 0;
}
