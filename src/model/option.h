/*-------------------------------------------------------------------------
 *
 * option.h
 *		Options of servers and user mappings: names, ranges, parsing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_OPTION_H
#define RSTAR_OPTION_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "model/config.h"

/* What a user mapping says; at most one of the first two is set */
typedef struct RstarMapping
{
	char	   *api_key;		/* the key itself, or NULL */
	char	   *api_key_file;	/* path of a file that holds it, or NULL */
	char	   *api_key_header; /* that carries it, or NULL */
	RstarHeaderList headers;	/* secret ones */
	Oid			role;			/* whose it is, by who has read it from the
								 * catalog; InvalidOid: PUBLIC's, or there is
								 * none */
} RstarMapping;

/*
 * Parses a list of DefElem into the fields that options set, defaults filled
 * in; the strings are palloc'd in the current context.  "cache_scope" is as
 * given, or NULL.  Raises a coded error (class 22 or HV) for whatever the
 * validator would not have let through.
 */
extern void rstar_option_parse_server(List *options, RstarServer *server);
extern void rstar_option_parse_mapping(List *options, RstarMapping *mapping);

#endif							/* RSTAR_OPTION_H */
