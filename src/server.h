/*-------------------------------------------------------------------------
 *
 * server.h
 *		Servers as SQL/MED objects: options, look-up, privileges, secrets.
 *
 * Called by: functions.c, score.c (backend), worker.c (worker).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SERVER_H
#define RSTAR_SERVER_H

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

/*
 * One server, its options parsed and defaults filled in.  Lives in a memory
 * context of its own; rstar_server_* functions below say how long.
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
	int			unavailable_timeout;	/* ms */
	char	   *extra_body;		/* a JSON object's text, or NULL */
	char	   *cache_scope;	/* option, else the owner's role name */
	char	   *ca_file;		/* or NULL */

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

/*
 * The server that a call uses: "name" when given, else retrostar.server, else
 * the only one on which the current user has USAGE.  Checks USAGE.  Raises a
 * coded error with a hint when there is none, or no privilege.  The result
 * belongs to server.c and stays valid until the next catalog invalidation is
 * processed (do not keep it across a wait).
 */
extern const RstarServer *rstar_server_resolve(const char *name);

/*
 * The server with this OID without any privilege check, or NULL when it is
 * gone or its options do not parse.  Allocated in CurrentMemoryContext.
 * Must be called inside a transaction.
 */
extern RstarServer *rstar_server_load(Oid serverid);

/* The user mapping of this role (or PUBLIC's) for the server, or InvalidOid */
extern Oid	rstar_server_mapping(Oid serverid, Oid userid);

/*
 * The API key of a user mapping, palloc'd, or NULL when the mapping has none.
 * Reads api_key_file, if that is what the mapping has, after checking that
 * the server's owner may read server files; raises an error when not, or when
 * the file cannot be read or is longer than 64 kB.  Trailing white space is
 * cut; an embedded control character is an error (it would split a header).
 * umid InvalidOid gives NULL.  Must be called inside a transaction.
 */
extern char *rstar_server_api_key(Oid umid, const RstarServer *server);

/*
 * A hash of what the server puts into keys: another one means that the server
 * was altered so that answers belong to other keys.
 */
extern uint64 rstar_server_fingerprint(const RstarServer *server);

/* Backend and worker: register syscache callbacks.  Idempotent. */
extern void rstar_server_init(void);

/*
 * Grows with every invalidation of a server, a mapping or a role, so a holder
 * of copies can tell whether to load them again.
 */
extern uint64 rstar_server_version(void);

#endif							/* RSTAR_SERVER_H */
