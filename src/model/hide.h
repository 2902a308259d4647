/*-------------------------------------------------------------------------
 *
 * hide.h
 *		Makes a key that a server repeats unreadable.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HIDE_H
#define RSTAR_HIDE_H

#include <stdbool.h>
#include <stddef.h>

/* Shorter ones are not looked for: they would be found in ordinary text */
#define RSTAR_HIDE_MIN_LEN 8

/*
 * Overwrites each occurrence of "secret" in these bytes with asterisks, also
 * where its ASCII characters are escaped as in JSON (\", \/, \u0022).  The
 * length of the bytes, and so JSON around it, stays the same.  False: there is
 * none.
 */
extern bool rstar_hide(char *bytes, size_t len, const char *secret);

#endif							/* RSTAR_HIDE_H */
