/*-------------------------------------------------------------------------
 *
 * peer_options.h
 *		How a hub is reached: what its foreign server and the user mapping say.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PEER_OPTIONS_H
#define RSTAR_PEER_OPTIONS_H

#include "postgres.h"

#include "base/result.h"

/* For PQconnectStartParams(); they have a password in them, perhaps */
typedef struct RstarPeerOptions
{
	MemoryContext context;		/* of all */
	const char **keywords;
	const char **values;
	uint64		fingerprint;	/* hash of these */
	uint64		version;		/* rstar_server_version() before they were
								 * read */
	bool		trusted;		/* the role is a superuser, and needs no
								 * password */
	char		error[RSTAR_DETAIL_LEN];	/* why there are none */
} RstarPeerOptions;

/*
 * Reads them in a transaction of its own, as that role; false when there is
 * something that stands against it.  Never raises an error.  To be freed in
 * both cases.
 */
extern bool rstar_peer_options_read(const char *name, Oid owner, RstarPeerOptions *options);
extern void rstar_peer_options_free(RstarPeerOptions *options);

#endif							/* RSTAR_PEER_OPTIONS_H */
