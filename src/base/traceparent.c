/*-------------------------------------------------------------------------
 *
 * traceparent.c
 *		The W3C's name of a span in a trace: is it one?
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>
#include <string.h>

#include "base/traceparent.h"

static bool is_hex(const char *digits, size_t n);
static bool is_zero(const char *digits, size_t n);

bool
rstar_traceparent_valid(const char *value)
{
	return strlen(value) == RSTAR_TRACEPARENT_LEN &&
		strncmp(value, "00-", 3) == 0 && value[35] == '-' && value[52] == '-' &&
		is_hex(value + 3, 32) && !is_zero(value + 3, 32) &&
		is_hex(value + 36, 16) && !is_zero(value + 36, 16) &&
		is_hex(value + 53, 2);
}

/* In lower case, as the specification has it */
static bool
is_hex(const char *digits, size_t n)
{
	return strspn(digits, "0123456789abcdef") >= n;
}

static bool
is_zero(const char *digits, size_t n)
{
	return strspn(digits, "0") >= n;
}
