/*-------------------------------------------------------------------------
 *
 * config.h
 *		A server's description: what its options say, parsed.
 *
 * Types only.  option.c fills them in, server.c keeps them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CONFIG_H
#define RSTAR_CONFIG_H

#include "postgres.h"

/* URLs of one server, and bytes of one URL without its NUL */
#define RSTAR_SERVER_MAX_URLS		64
#define RSTAR_SERVER_MAX_URL_LEN	1023

typedef enum RstarDialect
{
	RSTAR_DIALECT_SGLANG,
	RSTAR_DIALECT_VLLM,
	RSTAR_DIALECT_LLAMACPP,
	RSTAR_DIALECT_OPENAI
} RstarDialect;

/* One base URL of a server */
typedef struct RstarUrl
{
	char	   *text;			/* as the user wrote it, for messages */
	char	   *base;			/* scheme://host[:port][/path], no "/v1", no
								 * trailing slash; http://localhost for unix: */
	char	   *unix_socket;	/* path of a Unix socket, or NULL */
} RstarUrl;

/* A header, its value being printable ASCII */
typedef struct RstarHeader
{
	char	   *name;
	char	   *value;
} RstarHeader;

typedef struct RstarHeaderList
{
	int			n;
	RstarHeader *headers;
} RstarHeaderList;

/*
 * One server, its options parsed and defaults filled in.  Lives in a memory
 * context of its own; the functions of server.h say how long.
 */
typedef struct RstarServer
{
	Oid			serverid;
	Oid			owner;
	char	   *name;
	int			nurls;
	RstarUrl   *urls;
	char	   *model;
	RstarDialect dialect;
	double		temperature;
	double		top_p;
	double		min_p;
	double		repetition_penalty;
	int			top_k;
	int			max_tokens;
	int			context_length; /* tokens; 0: not given */
	int			max_in_flight;	/* per endpoint; 0: not given */
	int			timeout;		/* ms, from send to the whole reply */
	int			connect_timeout;	/* ms */
	int			retries;		/* further attempts after the first */
	int			unavailable_timeout;	/* ms; 0: as the worker sees fit */
	char	   *extra_body;		/* a JSON object's text, or NULL */
	char	   *cache_scope;	/* whose answers it shares (UTF-8): what the
								 * option comes to, see server.c */
	char	   *ca_file;		/* or NULL */
	RstarHeaderList headers;	/* of each request, not in the key */
	char	   *api_key_header; /* that carries the key; NULL: as a bearer
								 * token */
	bool		priority_scheduling;	/* the engine is told the priority */
	bool		preempt;		/* the background gives way */
	char	   *shared_cache;	/* name of the foreign server whose cache is
								 * asked, too; or NULL */

	/*
	 * Derived once per load.  "params" is the part of the request body that
	 * all pairs share, JSON members without the braces, for example
	 * "model":"m","temperature":0.6,...  (UTF-8).  "key_material" is the part
	 * of the cache key that all pairs share, each string length-prefixed.
	 */
	char	   *params;
	char	   *key_material;
	int			key_material_len;
} RstarServer;

#endif							/* RSTAR_CONFIG_H */
