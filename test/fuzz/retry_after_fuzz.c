/*-------------------------------------------------------------------------
 *
 * retry_after_fuzz.c
 *		libFuzzer target: rstar_reply_retry_after() of any bytes.
 *
 * A date that is understood must mean the same to the C library.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/reply_error.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(holds) \
	do { if (!(holds)) { fprintf(stderr, "not so: %s\n", #holds); abort(); } } while (0)

static void
require_same_date(const char *value, size_t len, int seconds)
{
	char		buf[64];
	struct tm	tm = {0};
	const char *end;
	time_t		date;

	while (len > 0 && (*value == ' ' || *value == '\t'))
	{
		value++;
		len--;
	}
	if (len == 0 || (*value >= '0' && *value <= '9'))
		return;
	/* white space may follow, any amount of it */
	if (len >= sizeof(buf))
		len = sizeof(buf) - 1;
	memcpy(buf, value, len);
	buf[len] = '\0';
	end = strptime(buf, "%a, %d %b %Y %H:%M:%S GMT", &tm);
	REQUIRE(end != NULL && strspn(end, " \t\r\n") == strlen(end));
	if (tm.tm_sec == 60)
		tm.tm_sec = 59;
	date = timegm(&tm);
	REQUIRE(seconds == (date < 0 ? 0 : date > INT_MAX ? INT_MAX : (int) date));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const long long clocks[] = {LLONG_MIN, -1, 0, 784111777, 4102444800, LLONG_MAX};
	const char *value = (const char *) data;
	int			seconds = rstar_reply_retry_after(value, size, 0, INT_MAX);

	REQUIRE(seconds >= -1);
	if (seconds >= 0)
		require_same_date(value, size, seconds);
	for (int i = 0; i < 6; i++)
	{
		int			other = rstar_reply_retry_after(value, size, clocks[i], 60);

		REQUIRE(other >= -1 && other <= 60);
		REQUIRE((other == -1) == (seconds == -1));
	}
	return 0;
}
