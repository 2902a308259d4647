/*-------------------------------------------------------------------------
 *
 * task.h
 *		Tasks: the three strings that tell the model what relevance means.
 *
 * Called by: functions.c, score.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TASK_H
#define RSTAR_TASK_H

#include "postgres.h"

/* Strings are UTF-8, NUL-terminated, in the context the task was made in */
typedef struct RstarTask
{
	char	   *query_type;
	char	   *doc_type;
	char	   *relevance_definition;
} RstarTask;

/*
 * Resolves the task of a call: each explicit string wins over the named task
 * (argument, else the setting retrostar.task), which wins over the defaults.
 * Any argument may be NULL.  Arguments are in the database's encoding; the
 * result is UTF-8, palloc'd.  Raises UNDEFINED_OBJECT for an unknown name,
 * INVALID_PARAMETER_VALUE for an explicit string that is empty.
 */
extern void rstar_task_resolve(RstarTask *task, const char *name,
							   const char *relevance_definition,
							   const char *query_type, const char *doc_type);

#endif							/* RSTAR_TASK_H */
