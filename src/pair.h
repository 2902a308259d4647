/*-------------------------------------------------------------------------
 *
 * pair.h
 *		The arguments of a call become a server, a task and a key.
 *
 * Called by: score.c, functions.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PAIR_H
#define RSTAR_PAIR_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "prompt.h"
#include "queue.h"
#include "score.h"
#include "server.h"
#include "statement.h"
#include "task.h"

/* All arguments but query and document, resolved */
typedef struct RstarCall
{
	uint64		id;				/* unique within the statement */

	/* what it was resolved from */
	char	   *args[RSTAR_NARGS];	/* as strings; NULL: not given */
	Oid			userid;
	uint64		server_version;
	CommandId	command;
	TimestampTz transaction;
	int			samples_setting;

	/* what came of it */
	RstarServer server;			/* serverid, name, model, params; its strings
								 * belong to the call */
	Oid			mapping;
	RstarTask	task;
	int			samples;
	char	   *key_prefix;		/* what all keys of the call begin with */
	int			key_prefix_len;
	uint64		fingerprint;	/* hash of what the server puts into the key */
	uint64		affinity;		/* hash of server and task */
} RstarCall;

/*
 * Resolves the arguments of a call (score.h names their positions); query and
 * document are not looked at.  Checks USAGE.  Raises coded errors.  Remembered
 * for the statement; the result stays valid until the next call of this
 * function in the statement.
 */
extern const RstarCall *rstar_pair_resolve(RstarStatement *statement,
										   const NullableDatum *args);

/*
 * Have such arguments been resolved in this statement?  Then they can be again,
 * unless the statement has changed what they stand for.
 */
extern bool rstar_pair_resolved(const RstarStatement *statement, const NullableDatum *args);

/*
 * A query or document as UTF-8, detoasted if need be.  Raises
 * CHARACTER_NOT_IN_REPERTOIRE.
 */
extern RstarText rstar_pair_text(Datum value);

/* False when that would raise, as far as can be told without converting it */
extern bool rstar_pair_is_text(Datum value);

/* The key of a pair; see design.md section 3 and README, "Cache" */
extern void rstar_pair_key(const RstarCall *call, RstarText query, RstarText doc,
						   RstarKey *key);

/* Hash that pairs of one server, task and query share, for routing */
extern uint64 rstar_pair_affinity(const RstarCall *call, RstarText query);

#endif							/* RSTAR_PAIR_H */
