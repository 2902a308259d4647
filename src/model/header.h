/*-------------------------------------------------------------------------
 *
 * header.h
 *		HTTP headers that an option may give: which names, which values.
 *
 * Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_HEADER_H
#define RSTAR_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#define RSTAR_HEADER_MAX_NAME	64
#define RSTAR_HEADER_MAX_VALUE	8192

/*
 * What is wrong with a name or a value, as a sentence, or NULL.  A name that is
 * to carry the key may be "Authorization".
 */
extern const char *rstar_header_name_problem(const char *name, bool for_key);
extern const char *rstar_header_value_problem(const char *value);

/* Names are the same in upper and lower case */
extern bool rstar_header_same_name(const char *one, const char *other);

#endif							/* RSTAR_HEADER_H */
