/*-------------------------------------------------------------------------
 *
 * prompt.h
 *		A query and a document become a prompt and a request body.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PROMPT_H
#define RSTAR_PROMPT_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/text.h"
#include "model/config.h"
#include "model/task.h"

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
 * members that differ between samples and the closing brace.  Returns where
 * the document is in it.
 */
extern RstarSpan rstar_prompt_append_body(StringInfo buf, const RstarServer *server,
										  const RstarTask *task, RstarText query,
										  RstarText doc);

#endif							/* RSTAR_PROMPT_H */
