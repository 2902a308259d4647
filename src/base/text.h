/*-------------------------------------------------------------------------
 *
 * text.h
 *		A piece of text that somebody else owns.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TEXT_H
#define RSTAR_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes, not NUL-terminated, owned by the caller; data is never NULL */
typedef struct RstarText
{
	const char *data;
	size_t		len;
} RstarText;

static inline RstarText
rstar_text(const char *string)
{
	RstarText	text = {string, strlen(string)};

	return text;
}

/* Bytes that are looked at together; comparing two blocks gives 0 or 255 for each */
#define RSTAR_BLOCK 16
typedef unsigned char RstarBlock __attribute__((vector_size(RSTAR_BLOCK)));

/* Which of eight bytes, in the order of memory, is the first that is not 0; one is not */
static inline int
rstar_text_first(uint64_t bytes)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return __builtin_ctzll(bytes) / 8;
#else
	return __builtin_clzll(bytes) / 8;
#endif
}

/*
 * Whether none of RSTAR_BLOCK bytes has a meaning in a JSON string, or is "also"
 * ('"': no other one).
 */
static inline bool
rstar_text_is_plain(const char *bytes, char also)
{
	RstarBlock	block;
	RstarBlock	hits;
	uint64_t	halves[2];

	memcpy(&block, bytes, RSTAR_BLOCK);
	hits = (RstarBlock) ((block < ' ') | (block == '"') | (block == '\\') |
						 (block == (unsigned char) also));
	memcpy(halves, &hits, RSTAR_BLOCK);
	return (halves[0] | halves[1]) == 0;
}

/* How many of RSTAR_BLOCK bytes there are before the first with a meaning in a JSON string */
static inline int
rstar_text_plain(const char *bytes)
{
	RstarBlock	block;
	RstarBlock	hits;
	uint64_t	halves[2];

	memcpy(&block, bytes, RSTAR_BLOCK);
	hits = (RstarBlock) ((block < ' ') | (block == '"') | (block == '\\'));
	memcpy(halves, &hits, RSTAR_BLOCK);
	if (halves[0] != 0)
		return rstar_text_first(halves[0]);
	return halves[1] != 0 ? 8 + rstar_text_first(halves[1]) : RSTAR_BLOCK;
}

/* Whether RSTAR_BLOCK bytes are all ASCII, and none is 0 */
static inline bool
rstar_text_is_ascii(const char *bytes)
{
	RstarBlock	block;
	RstarBlock	hits;
	uint64_t	halves[2];

	memcpy(&block, bytes, RSTAR_BLOCK);
	hits = (RstarBlock) ((block == 0) | (block > 0x7f));
	memcpy(halves, &hits, RSTAR_BLOCK);
	return (halves[0] | halves[1]) == 0;
}

#endif							/* RSTAR_TEXT_H */
