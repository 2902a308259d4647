/*-------------------------------------------------------------------------
 *
 * dialect.h
 *		What kinds of servers want in a request, besides the prompt.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_DIALECT_H
#define RSTAR_DIALECT_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#include "base/settings.h"
#include "model/config.h"

/* False when there is no dialect of this name, in any case */
extern bool rstar_dialect_parse(const char *name, RstarDialect *dialect);

/* Calls the function for each name */
extern void rstar_dialect_each(void (*function) (const char *name, void *arg), void *arg);

/* The names, quoted, for a message */
extern char *rstar_dialect_names(void);

/*
 * Reads the option extra_body.  Returns NULL and sets *canonical to the
 * object's text in a form that depends on its meaning only (NULL for an
 * empty object), or returns a sentence that says what is wrong.
 */
extern const char *rstar_dialect_read_extra(const char *value, char **canonical);

/* Whether the canonical text of extra_body, or NULL, has this member */
extern bool rstar_dialect_extra_has(const char *canonical, const char *name);

/* Reads JSON; NULL, and *problem says why, when it is none */
extern Jsonb *rstar_dialect_read_jsonb(const char *value, const char **problem);

/* The member of a request that names it, so that the engine's log does; or NULL */
extern const char *rstar_dialect_id_name(RstarDialect dialect);

/*
 * What the engine is told of a priority, as the member "priority".  False: it
 * is nothing, for that is what it takes a request for anyhow.
 */
extern bool rstar_dialect_priority(RstarDialect dialect, RstarPriority priority, int *value);

/*
 * The part of a request that all pairs of a server share: JSON members
 * without the braces, UTF-8, palloc'd.  Needs the options' fields only.
 */
extern char *rstar_dialect_params(const RstarServer *server);

/*
 * The body of a chat request without messages, which every server refuses once
 * it has looked at key and model; UTF-8, palloc'd.  For one token at most, for
 * there may be one that does not.
 */
extern char *rstar_dialect_question(const RstarServer *server);

/* The name of a dialect */
extern const char *rstar_dialect_name(RstarDialect dialect);

/* Appends the shortest text that reads back as this number; finite only */
extern void rstar_dialect_append_real(StringInfo buf, double number);

#endif							/* RSTAR_DIALECT_H */
