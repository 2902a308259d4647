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

#include <stddef.h>
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

#endif							/* RSTAR_TEXT_H */
