/*-------------------------------------------------------------------------
 *
 * recent.h
 *		The last replies, in shared memory, for retro_star_explain().
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_RECENT_H
#define RSTAR_RECENT_H

#include "postgres.h"

#include "base/result.h"

/* One reply; all that is of varying length is in "data" */
typedef struct RstarRecent
{
	uint32		size;			/* of all this, aligned */
	Oid			dboid;			/* InvalidOid: nothing */
	RstarKey	key;			/* of its pair */
	int			score;			/* 0..100 */
	int			prompt_tokens;
	int			completion_tokens;
	int			endpoint_len;
	int			text_len;
	int64		elapsed_us;
	char		finish_reason[16];
	char		data[FLEXIBLE_ARRAY_MEMBER];	/* URL of the endpoint, then
												 * the text: UTF-8 */
} RstarRecent;

/* RstarShmemPart of the replies */
extern void rstar_recent_request(void);
extern void rstar_recent_startup(void);

/* Whether any are kept (retrostar.reply_memory) */
extern bool rstar_recent_kept(void);

/*
 * In the worker: keeps a reply with a score to a pair of its database, in the
 * place of the oldest ones.  "reply" has all but size, database and data; one
 * that is too long for the memory is not kept.
 */
extern void rstar_recent_add(const RstarRecent *reply, const char *endpoint, const char *text);

/*
 * In a session: the replies to a pair of its database, oldest first; *n of
 * them, one behind the other, palloc'd.  NULL: none.
 */
extern RstarRecent *rstar_recent_find(const RstarKey *key, int *n);

/* Those of a database are gone */
extern void rstar_recent_purge(Oid dboid);

#endif							/* RSTAR_RECENT_H */
