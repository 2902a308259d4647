/*-------------------------------------------------------------------------
 *
 * dialect.h
 *		What kinds of servers want in a request, besides the prompt.
 *
 * Called by: option.c, server.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DIALECT_H
#define RSTAR_DIALECT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "server.h"

/* False when there is no dialect of this name */
extern bool rstar_dialect_parse(const char *name, RstarDialect *dialect);

/* The names, quoted, for a message */
extern char *rstar_dialect_names(void);

/*
 * Reads the option extra_body.  Returns NULL and sets *canonical to the
 * object's text in a form that depends on its meaning only (NULL for an
 * empty object), or returns a sentence that says what is wrong.
 */
extern const char *rstar_dialect_read_extra(const char *value, char **canonical);

/*
 * The part of a request that all pairs of a server share: JSON members
 * without the braces, UTF-8, palloc'd.  Needs the options' fields only.
 */
extern char *rstar_dialect_params(const RstarServer *server);

/* Appends the shortest text that reads back as this number; finite only */
extern void rstar_dialect_append_real(StringInfo buf, double number);

#endif							/* RSTAR_DIALECT_H */
