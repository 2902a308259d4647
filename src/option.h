/*-------------------------------------------------------------------------
 *
 * option.h
 *		Options of servers and user mappings: names, ranges, parsing.
 *
 * Called by: server.c; by PostgreSQL, as the wrapper's validator.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_OPTION_H
#define RSTAR_OPTION_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "server.h"

/* What a user mapping says; at most one of the two is set */
typedef struct RstarMapping
{
	char	   *api_key;		/* the key itself, or NULL */
	char	   *api_key_file;	/* path of a file that holds it, or NULL */
} RstarMapping;

/*
 * Parses a list of DefElem into the fields that options set, defaults filled
 * in; the strings are palloc'd in the current context.  "owner" is the name
 * of the server's owner, the default of cache_scope.  Raises a coded error
 * (class 22 or HV) for whatever the validator would not have let through.
 */
extern void rstar_option_parse_server(List *options, const char *owner,
									  RstarServer *server);
extern void rstar_option_parse_mapping(List *options, RstarMapping *mapping);

#endif							/* RSTAR_OPTION_H */
