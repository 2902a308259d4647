/*-------------------------------------------------------------------------
 *
 * check.h
 *		The few macros that the unit tests are written with.
 *
 * A case is begun by CASE(name) and passes when every CHECK until the next
 * one holds.  main() ends with "return check_end(NAME)".
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CHECK_H
#define RSTAR_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static char check_name[128];
static bool check_open;
static bool check_broken;
static int	check_passed;
static int	check_failed;

static void
check_close(void)
{
	if (check_open && check_broken)
		check_failed++;
	else if (check_open)
		check_passed++;
	check_open = false;
}

static void
check_begin(const char *name)
{
	check_close();
	snprintf(check_name, sizeof(check_name), "%s", name);
	check_open = true;
	check_broken = false;
}

static bool
check_that(bool holds, const char *what, const char *file, int line)
{
	if (!holds)
	{
		check_broken = true;
		printf("%s:%d: %s: not so: %s\n", file, line, check_name, what);
	}
	return holds;
}

static inline bool
check_int(long long actual, long long expected, const char *what,
		  const char *file, int line)
{
	char		text[256];

	snprintf(text, sizeof(text), "%s is %lld, expected %lld", what, actual, expected);
	return check_that(actual == expected, text, file, line);
}

static inline bool
check_str(const char *actual, const char *expected, const char *what,
		  const char *file, int line)
{
	char		text[1024];
	bool		same = actual == expected ||
		(actual != NULL && expected != NULL && strcmp(actual, expected) == 0);

	snprintf(text, sizeof(text), "%s is \"%s\", expected \"%s\"", what,
			 actual ? actual : "(null)", expected ? expected : "(null)");
	return check_that(same, text, file, line);
}

static int
check_end(const char *program)
{
	check_close();
	printf("%s: %d passed, %d failed\n", program, check_passed, check_failed);
	return check_failed > 0;
}

#define CASE(name) check_begin(name)
#define CHECK(holds) check_that((holds), #holds, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) \
	check_int((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_STR(actual, expected) \
	check_str((actual), (expected), #actual, __FILE__, __LINE__)

#endif							/* RSTAR_CHECK_H */
