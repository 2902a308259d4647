/*-------------------------------------------------------------------------
 *
 * server.h
 *		Servers as SQL/MED objects: options, look-up, privileges, secrets.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_SERVER_H
#define RSTAR_SERVER_H

#include "postgres.h"

#include "model/config.h"
#include "model/option.h"

/*
 * The server that a call uses: "name" when given, else retrostar.server, else
 * the only one on which the current user has USAGE.  Checks USAGE.  Raises a
 * coded error with a hint when there is none, or no privilege.  The result
 * belongs to server.c and stays valid until the next catalog invalidation is
 * processed (do not keep it across a wait).
 */
extern const RstarServer *rstar_server_resolve(const char *name);

/*
 * The OID of the server that rstar_server_resolve() would give, or InvalidOid
 * where there is none such.  Privileges on a server that is named are not
 * checked.
 */
extern Oid	rstar_server_meant(const char *name);

/*
 * The server with this OID without any privilege check, or NULL when it is
 * gone or its options do not parse.  Allocated in CurrentMemoryContext.
 * Must be called inside a transaction.
 */
extern RstarServer *rstar_server_load(Oid serverid);

/* The user mapping of this role (or PUBLIC's) for the server, or InvalidOid */
extern Oid	rstar_server_mapping(Oid serverid, Oid userid);

/*
 * What a user mapping says, palloc'd, api_key being the key also where it
 * stands in a file.  Raises an error when the file cannot be read, or when
 * the mapping has what it may not have with this server: a file, if the
 * server's owner may not read server files; headers, if its role may not
 * say what the server is.  umid InvalidOid gives an empty one.  Must be
 * called inside a transaction.
 */
extern void rstar_server_read_mapping(Oid umid, const RstarServer *server, RstarMapping *mapping);

/*
 * A hash of what the server puts into keys: another one means that the server
 * was altered so that answers belong to other keys.
 */
extern uint64 rstar_server_fingerprint(const RstarServer *server);

/* The same of all that RstarLearnt depends on */
extern uint64 rstar_server_learnt_under(const RstarServer *server);

/* Backend and worker: register syscache callbacks.  Idempotent. */
extern void rstar_server_init(void);

/*
 * Grows with every invalidation of a server, a mapping or a role, so a holder
 * of copies can tell whether to load them again.
 */
extern uint64 rstar_server_version(void);

#endif							/* RSTAR_SERVER_H */
