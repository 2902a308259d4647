/*-------------------------------------------------------------------------
 *
 * hide_test.c
 *		Unit tests of hide.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "model/hide.h"

/* What becomes of "text", in a copy of the exact size */
static char *
hidden(const char *text, const char *secret)
{
	static char result[512];
	size_t		len = strlen(text);
	char	   *copy = malloc(len > 0 ? len : 1);

	memcpy(copy, text, len);
	CHECK(rstar_hide(copy, len, secret) == (memcmp(copy, text, len) != 0));
	memcpy(result, copy, len);
	result[len] = '\0';
	free(copy);
	return result;
}

int
main(void)
{
	static const struct
	{
		const char *secret;
		const char *text;
		const char *result;
	}			cases[] = {
		{"sk-12345", "wrong key sk-12345.", "wrong key ********."},
		{"sk-12345", "(sk-12345)", "(********)"},
		{"sk-12345", "sk-12345sk-12345", "****************"},
		{"sk-12345", "sk-12345", "********"},
		{"sk-12345", "sk-1234", "sk-1234"},
		{"sk-12345", "SK-12345", "SK-12345"},
		{"sk-12345", "", ""},
		{"ssssssss", "sssssssssssss", "********sssss"},
		{"a\"b/c\\d-", "x a\\\"b\\/c\\\\d- y", "x *********** y"},
		{"a\"b/c\\d-", "x a\"b/c\\d- y", "x ******** y"},
		{"a\"b/c\\d-", "x ax\"b/c\\d- y", "x ax\"b/c\\d- y"},
		{"\"quoted\"", "\\\"quoted\\\"", "**********"},
		{"\\\\\\\\\\\\\\\\", "\\\\\\\\\\\\\\\\", "********"},
		{"sk-12345", "\\u0073\\u006B-12345!", "******************!"},
		{"sk-12345", "\\u0073k-1234", "\\u0073k-1234"},
		{"sk-12345", "sk-1234\\u0035", "*************"},
		{"sk-12345", "sk-1234\\u003", "sk-1234\\u003"},
		{"jafo@py9", "\\u006a\\u0061\\u0066\\u006f\\u0040\\u0070\\u0079\\u0039", "************************************************"},
		{"jkno@py9", "\\u006A\\u006b\\u006E\\u006F\\u0040\\u0070\\u0079\\u0039", "************************************************"},
		{"jkno@py9", "\\u006AK\\u006E\\u006F@py9", "\\u006AK\\u006E\\u006F@py9"},
		{"sk-12345", "\\u00", "\\u00"},
		{"sk-12345", "\\u00zz\\", "\\u00zz\\"},
		{"schl\303\274ssel", "schl\303\274ssel", "**********"},
		{"1234567", "1234567", "1234567"},
		{"", "anything", "anything"}
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CASE(cases[i].text);
		CHECK_STR(hidden(cases[i].text, cases[i].secret), cases[i].result);
	}
	return check_end("hide_test");
}
