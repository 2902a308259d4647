/*-------------------------------------------------------------------------
 *
 * recall.c
 *		Samples that would be answered too late are taken back.
 *
 * An endpoint of which nothing was known yet may have been sent more than it
 * works off within "timeout".  What waits there at the end of the line has not
 * been begun: closing it costs nothing, and the sample has all its attempts
 * still.  limit.c says which.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "shared/counters.h"
#include "worker/abort.h"
#include "worker/http.h"
#include "worker/recall.h"
#include "worker/route.h"
#include "worker/sample.h"

static void recall_from(RstarTarget *target, int endpoint, int64 now);
static void recall(RstarSample *sample);

void
rstar_recall_turn(RstarTarget *target, int64 now)
{
	for (int i = 0; i < target->nstats; i++)
	{
		if (rstar_route_strained(target->route, i, now))
			recall_from(target, i, now);
	}
}

/* Those in flight are listed as they were sent */
static void
recall_from(RstarTarget *target, int endpoint, int64 now)
{
	int			ahead = 0;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &target->flying)
	{
		RstarSample *sample = dlist_container(RstarSample, link, iter.cur);

		if (sample->attempt.endpoint != endpoint)
			continue;
		if (rstar_route_late(target->route, &sample->attempt, ahead, now))
			recall(sample);
		else
			ahead++;
	}
	rstar_target_publish(target, endpoint);
}

static void
recall(RstarSample *sample)
{
	RstarAttemptEnd end = {.ending = RSTAR_ENDING_CANCELLED};

	rstar_abort_sample(sample);
	rstar_http_cancel(sample->transfer);
	rstar_sample_land(sample);
	rstar_route_recalled(sample->target->route, &sample->attempt);
	rstar_counters_ended(sample->stats, &end);
	sample->stats = NULL;
}
