/*-------------------------------------------------------------------------
 *
 * prompt.h
 *		A query and a document become a prompt and a request body.
 *
 * Called by: functions.c (retro_star_prompt), score.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PROMPT_H
#define RSTAR_PROMPT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "server.h"
#include "task.h"

/* A piece of UTF-8 text, not NUL-terminated, owned by the caller */
typedef struct RstarText
{
	const char *data;
	int			len;
} RstarText;

/*
 * Text of the database's encoding as UTF-8.  Points into "t" when nothing had
 * to be converted, else palloc'd.  Raises CHARACTER_NOT_IN_REPERTOIRE when a
 * SQL_ASCII database holds something that is not UTF-8.
 */
extern RstarText rstar_prompt_utf8(const char *data, int len);

/*
 * Appends the exact prompt (UTF-8).  Control tokens of chat templates in
 * query and document are neutralised (prompt.c says how); a text without
 * them comes out byte for byte as the reference template renders it.
 */
extern void rstar_prompt_append(StringInfo buf, const RstarTask *task,
								RstarText query, RstarText doc);

/* Where in a request body the document stands, as a piece of a JSON string */
typedef struct RstarSpan
{
	int			at;
	int			len;
} RstarSpan;

/*
 * Appends the request body of a pair, all but its end: the worker adds the
 * members that differ between samples and the closing brace.
 */
extern void rstar_prompt_append_body(StringInfo buf, const RstarServer *server,
									 const RstarTask *task, RstarText query,
									 RstarText doc, RstarSpan *doc_place);

#endif							/* RSTAR_PROMPT_H */
