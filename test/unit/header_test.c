/*-------------------------------------------------------------------------
 *
 * header_test.c
 *		Tests of src/model/header.c and src/base/traceparent.c: what may go
 *		into a request as a header.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

#include "base/traceparent.h"
#include "model/header.h"

#define TRACE "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"

static void
names(void)
{
	static const char *const good[] = {"X-Team", "api-key", "a", "x_y.z!#$%&'*+^`|~9", "Cookie", "Host-X", "Contents"};
	static const char *const bad[] = {
		"", " ", "a b", "a:", ":a", "a\r\n", "a\nb", "a\tb", "\x7f", "t\xc3\xa4m", "a\x01", "(a)", "a/b", "\"a\"",
		"Host", "hOST", "Content-Length", "content-type", "Content-", "Transfer-Encoding", "Connection",
		"Keep-Alive", "TE", "Upgrade", "Expect", "Accept", "Accept-Encoding", "X-Request-Id", "x-request-id",
		"traceparent", "TraceParent"
	};
	char		longest[RSTAR_HEADER_MAX_NAME + 2];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK_STR(rstar_header_name_problem(good[i], false), NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		CHECK(rstar_header_name_problem(bad[i], false) != NULL);
		CHECK(rstar_header_name_problem(bad[i], true) != NULL);
	}
	CHECK(rstar_header_name_problem("Authorization", false) != NULL);
	CHECK_STR(rstar_header_name_problem("authorization", true), NULL);
	memset(longest, 'a', sizeof(longest));
	longest[RSTAR_HEADER_MAX_NAME] = '\0';
	CHECK_STR(rstar_header_name_problem(longest, false), NULL);
	longest[RSTAR_HEADER_MAX_NAME] = 'a';
	longest[RSTAR_HEADER_MAX_NAME + 1] = '\0';
	CHECK(rstar_header_name_problem(longest, false) != NULL);
}

/* Each byte, in the middle of a value */
static void
values(void)
{
	char		value[] = "a?b";
	char	   *longest = malloc(RSTAR_HEADER_MAX_VALUE + 2);

	for (int c = 1; c < 256; c++)
	{
		value[1] = (char) c;
		CHECK((rstar_header_value_problem(value) == NULL) == (c >= ' ' && c <= '~'));
	}
	CHECK(rstar_header_value_problem("") != NULL);
	CHECK(rstar_header_value_problem(" a") != NULL);
	CHECK(rstar_header_value_problem("a ") != NULL);
	memset(longest, 'a', RSTAR_HEADER_MAX_VALUE + 1);
	longest[RSTAR_HEADER_MAX_VALUE + 1] = '\0';
	CHECK(rstar_header_value_problem(longest) != NULL);
	longest[RSTAR_HEADER_MAX_VALUE] = '\0';
	CHECK_STR(rstar_header_value_problem(longest), NULL);
	free(longest);
}

static void
spans(void)
{
	static const char *const bad[] = {
		"", "00", "00-" TRACE "-" SPAN, "00-" TRACE "-" SPAN "-1", "00-" TRACE "-" SPAN "-011",
		"00-" TRACE "-" SPAN "-01-x", "01-" TRACE "-" SPAN "-01", "ff-" TRACE "-" SPAN "-01",
		"00_" TRACE "-" SPAN "-01", "00-" TRACE "_" SPAN "-01", "00-" TRACE "-" SPAN "_01",
		"00-00000000000000000000000000000000-" SPAN "-01", "00-" TRACE "-0000000000000000-01",
		"00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", "00-" TRACE "-" SPAN "-0g",
		"00-" TRACE "-" SPAN "-0\n", "00-4bf92f3577b34da6a3ce929d0e0e473g-" SPAN "-01"
	};

	CHECK(rstar_traceparent_valid("00-" TRACE "-" SPAN "-01"));
	CHECK(rstar_traceparent_valid("00-" TRACE "-" SPAN "-00"));
	CHECK(rstar_traceparent_valid("00-00000000000000000000000000000001-" SPAN "-ff"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!rstar_traceparent_valid(bad[i]));
}

int
main(void)
{
	CASE("names");
	names();
	CASE("values");
	values();
	CASE("spans of traces");
	spans();
	CHECK(rstar_header_same_name("X-Team", "x-tEAM") && !rstar_header_same_name("X-Team", "X-Teams"));
	return check_end("header_test");
}
