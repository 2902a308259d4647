/*-------------------------------------------------------------------------
 *
 * args.h
 *		Arguments of SQL functions.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ARGS_H
#define RSTAR_ARGS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

/* The n-th argument, a text, palloc'd; NULL when it is */
static inline char *
rstar_arg_string(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

#endif							/* RSTAR_ARGS_H */
