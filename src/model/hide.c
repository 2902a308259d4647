/*-------------------------------------------------------------------------
 *
 * hide.c
 *		Makes a key that a server repeats unreadable.
 *
 * Each reply to a request that had a key goes through here.
 *
 * Some servers say which key it was that they refused.  What they say goes
 * into messages, the log and, with retrostar.store_reasoning, into a table, so
 * the key is taken out of the reply before anybody reads that.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "model/hide.h"

static size_t match(const char *bytes, size_t len, const char *secret);
static size_t match_escaped(const char *bytes, size_t len, char wanted);
static int	hex_digit(char c);

bool
rstar_hide(char *bytes, size_t len, const char *secret)
{
	bool		hidden = false;

	if (strlen(secret) < RSTAR_HIDE_MIN_LEN)
		return false;
	for (size_t i = 0; i < len;)
	{
		size_t		found = 0;

		if (bytes[i] == secret[0] || bytes[i] == '\\')
			found = match(bytes + i, len - i, secret);
		if (found > 0)
			memset(bytes + i, '*', found);
		hidden = hidden || found > 0;
		i += found > 0 ? found : 1;
	}
	return hidden;
}

/* Bytes of the secret at the beginning of "bytes", 0 when it is not there */
static size_t
match(const char *bytes, size_t len, const char *secret)
{
	size_t		i = strlen(secret);

	if (i <= len && memcmp(bytes, secret, i) == 0)
		return i;
	i = 0;
	for (const char *s = secret; *s; s++)
	{
		size_t		n = 0;

		if (i < len && bytes[i] == '\\')
			n = match_escaped(bytes + i, len - i, *s);
		if (n == 0 && i < len && bytes[i] == *s)
			n = 1;
		if (n == 0)
			return 0;
		i += n;
	}
	return i;
}

/* Bytes of an escape that stands for this character, 0 when it does not */
static size_t
match_escaped(const char *bytes, size_t len, char wanted)
{
	if (len >= 2 && bytes[1] == wanted && strchr("\"\\/", wanted) != NULL)
		return 2;
	if (len >= 6 && memcmp(bytes, "\\u00", 4) == 0 && (unsigned char) wanted < 0x80 &&
		hex_digit(bytes[4]) * 16 + hex_digit(bytes[5]) == wanted)
		return 6;
	return 0;
}

/* Far out of range when it is none */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 4096;
}
