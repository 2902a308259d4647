/*-------------------------------------------------------------------------
 *
 * check.c
 *		Whether an endpoint answers, and serves the model.
 *
 * Called by: functions.c.  Calls: queue.c, memo.c, progress.c.
 *
 * The question goes through queue and worker as a sample does, so that what is
 * checked is the way that samples go.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "check.h"
#include "memo.h"
#include "progress.h"
#include "score.h"
#include "statement.h"

/* Its waiter has a memo entry of its own, which no pair leads to */
void
rstar_check_endpoint(Oid serverid, Oid mapping, int endpoint, RstarResult *result)
{
	RstarStatement *statement = rstar_statement_current();
	RstarMemoEntry  *entry = MemoryContextAllocZero(statement->context, sizeof(RstarMemoEntry));
	RstarWaiter *waiter;
	RstarSpec	spec;
	uint32		cookie;

	rstar_score_require_preload();
	memset(&spec, 0, sizeof(spec));
	spec.kind = RSTAR_KIND_CHECK;
	spec.serverid = serverid;
	spec.mapping = mapping;
	spec.endpoint = endpoint;
	spec.samples = 1;
	spec.model = "";
	rstar_progress_wanted();
	for (;;)
	{
		cookie = rstar_memo_cookie();
		if (rstar_queue_submit(&spec, cookie, &waiter, result) == RSTAR_SUBMITTED_SENT)
			break;
		(void) rstar_memo_wait_for_room(&spec, 0);
	}
	rstar_memo_pend(statement, entry, waiter, cookie);
	rstar_memo_wait(statement, entry, 0);
	/* Without a score it does not make a value */
	*result = *entry->failure;
	if (result->status == RSTAR_STATUS_OK)
		rstar_progress_moved(RSTAR_PLACE_FAILED, RSTAR_PLACE_DONE);
}
