/*-------------------------------------------------------------------------
 *
 * task.h
 *		Tasks: what tells the model what relevance means.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TASK_H
#define RSTAR_TASK_H

#include "postgres.h"

#include "base/form.h"

/* Strings are UTF-8, NUL-terminated, in the context the task was made in */
typedef struct RstarTask
{
	char	   *query_type;
	char	   *doc_type;
	char	   *relevance_definition;
	char	   *template;		/* NULL: Retro*'s prompt, scale and answer;
								 * then so are these two */
	char	   *scale;
	char	   *answer;
	RstarForm	form;			/* what the last two come to, or Retro*'s */
} RstarTask;

/*
 * Resolves the task of a call: each explicit string wins over the named task
 * (argument, else the setting retrostar.task), which wins over the defaults.
 * Any argument may be NULL.  Arguments are in the database's encoding; the
 * result is UTF-8, palloc'd.  Raises UNDEFINED_OBJECT for an unknown name,
 * INVALID_PARAMETER_VALUE for an explicit string that is empty, or has no place
 * in the task's template.
 */
extern void rstar_task_resolve(RstarTask *task, const char *name,
							   const char *relevance_definition,
							   const char *query_type, const char *doc_type);

/* Strings of its own, in the current context; and what frees them */
extern void rstar_task_copy(RstarTask *to, const RstarTask *from);
extern void rstar_task_free(RstarTask *task);

/*
 * Raises an error when template, scale and answer of a task are not such that
 * it can be used; any may be NULL.  They are UTF-8, the name is not.
 */
extern void rstar_task_check(const char *name, const char *template,
							 const char *scale, const char *answer);

#endif							/* RSTAR_TASK_H */
