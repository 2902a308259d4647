/*-------------------------------------------------------------------------
 *
 * pair.h
 *		The arguments of a call become a server, a task, two texts and a key.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PAIR_H
#define RSTAR_PAIR_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "base/result.h"
#include "base/text.h"
#include "model/config.h"
#include "model/task.h"
#include "session/statement.h"

/* Positions of retro_star_score's arguments; explain and prefetch share them */
enum
{
	RSTAR_ARG_QUERY,
	RSTAR_ARG_DOC,
	RSTAR_ARG_TASK,
	RSTAR_ARG_RELEVANCE_DEFINITION,
	RSTAR_ARG_QUERY_TYPE,
	RSTAR_ARG_DOC_TYPE,
	RSTAR_ARG_SAMPLES,
	RSTAR_ARG_SERVER,
	RSTAR_NARGS
};

/* All arguments but query and document, resolved */
typedef struct RstarCall
{
	uint64		id;				/* unique within the statement */

	/* what it was resolved from */
	char	   *args[RSTAR_NARGS];	/* as strings; NULL: not given */
	Oid			userid;
	uint64		server_version;
	CommandId	command;
	SubTransactionId subtransaction;
	TimestampTz transaction;
	int			samples_setting;

	/* what came of it */
	RstarServer server;			/* serverid, name, model, params; its strings
								 * belong to the call */
	bool		shared;			/* the server has a hub */
	Oid			mapping;
	RstarTask	task;
	int			samples;
	char	   *key_prefix;		/* what all keys of the call begin with */
	int			key_prefix_len;
	uint64		fingerprint;	/* hash of what the server puts into the key */
	uint64		affinity;		/* hash of server and task */
} RstarCall;

/* What is scored, as it goes to the model */
typedef struct RstarPair
{
	const RstarCall *call;
	RstarText	query;
	RstarText	doc;
	RstarKey	key;
} RstarPair;

/* Without query or document there is no pair, and its score is NULL */
static inline bool
rstar_pair_is_null(const NullableDatum *args)
{
	return args[RSTAR_ARG_QUERY].isnull || args[RSTAR_ARG_DOC].isnull;
}

/*
 * The pair of a call whose query and document are not NULL.  The texts may
 * point into the arguments; the call is rstar_pair_resolve()'s.  Raises what
 * the two functions below raise.
 */
extern void rstar_pair_make(RstarStatement *statement, const NullableDatum *args,
							RstarPair *pair);

/*
 * Resolves the arguments of a call; query and document are not looked at.
 * Checks USAGE.  Raises coded errors.  Remembered for the statement; the result
 * stays valid until the next call of this function in the statement.
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

/*
 * No text, or nothing but white space (of ASCII): the pair is not asked for, it
 * fails
 */
extern bool rstar_pair_is_blank(RstarText text);

/* Sets the key of call and texts; see doc/operations.md, "The score cache" */
extern void rstar_pair_key(RstarPair *pair);

/* Hash that pairs of one server, task and query share, for routing */
extern uint64 rstar_pair_affinity(const RstarPair *pair);

#endif							/* RSTAR_PAIR_H */
