/*-------------------------------------------------------------------------
 *
 * text_test.c
 *		Unit tests of text.h, and of what copies by its blocks: each byte at
 *		each place.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "base/text.h"
#include "model/reply_text.h"

#define LONGEST 50

static void
one_byte_of_a_block(void)
{
	for (int byte = 0; byte < 256; byte++)
	{
		bool		means = byte < ' ' || byte == '"' || byte == '\\';

		for (int place = 0; place < RSTAR_BLOCK; place++)
		{
			char	   *block = malloc(RSTAR_BLOCK);

			memset(block, 'x', RSTAR_BLOCK);
			block[place] = (char) byte;
			CHECK_INT(rstar_text_plain(block), means ? place : RSTAR_BLOCK);
			CHECK(rstar_text_is_plain(block, '"') == !means);
			CHECK(rstar_text_is_ascii(block) == (byte > 0 && byte < 0x80));
			/* what comes behind the first is not looked at */
			block[RSTAR_BLOCK - 1] = '"';
			CHECK_INT(rstar_text_plain(block), means ? place : RSTAR_BLOCK - 1);
			free(block);
		}
	}
}

/* As it is copied without blocks: from the end of a text of this length */
static void
one_byte_of_a_text(size_t len, size_t place, int byte)
{
	char	   *text = malloc(len);
	char	   *copy = malloc(len);
	size_t		n;

	memset(text, 'x', len);
	text[place] = (char) byte;
	n = rstar_text_copy(copy, text, len);
	if (byte == 0)
	{
		CHECK_INT(n, len - 1);
		CHECK(memcmp(copy, text, place) == 0);
		CHECK(memcmp(copy + place, text + place + 1, len - place - 1) == 0);
	}
	else
	{
		CHECK_INT(n, len);
		if (byte >= 0x80)
			text[place] = '?';
		CHECK(memcmp(copy, text, len) == 0);
	}
	free(text);
	free(copy);
}

int
main(void)
{
	CASE("a block");
	one_byte_of_a_block();
	CASE("a copy");
	for (size_t len = 1; len <= LONGEST; len++)
	{
		for (size_t place = 0; place < len; place++)
		{
			static const int bytes[] = {0, 1, '\n', '"', 0x7f, 0x80, 0xc3, 0xff};

			for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++)
				one_byte_of_a_text(len, place, bytes[i]);
		}
	}
	CASE("a character across blocks");
	for (size_t before = 0; before < LONGEST; before++)
	{
		char		text[2 * LONGEST];
		char		copy[2 * LONGEST];

		memset(text, 'x', sizeof(text));
		memcpy(text + before, "\xe2\x82\xac", 3);
		CHECK_INT(rstar_text_copy(copy, text, sizeof(text)), sizeof(text));
		CHECK(memcmp(copy, text, sizeof(text)) == 0);
	}
	return check_end("text");
}
