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

#endif							/* RSTAR_TEXT_H */
