/*-------------------------------------------------------------------------
 *
 * encoding.h
 *		Between the database's encoding and UTF-8, which models speak.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ENCODING_H
#define RSTAR_ENCODING_H

#include "postgres.h"

#include "base/text.h"

/*
 * Text of the database's encoding as UTF-8.  Points into "data" when nothing
 * had to be converted, else palloc'd.  Raises CHARACTER_NOT_IN_REPERTOIRE when
 * a SQL_ASCII database holds something that is not UTF-8.
 */
extern RstarText rstar_encoding_to_utf8(const char *data, int len);

/*
 * UTF-8 text as text of the database's encoding, palloc'd; characters that it
 * does not have, and bytes that are no UTF-8, become "?".
 */
extern char *rstar_encoding_from_utf8(const char *utf8, int len);

#endif							/* RSTAR_ENCODING_H */
