/*-------------------------------------------------------------------------
 *
 * rounds.c
 *		A set of documents goes through its rounds.
 *
 * In a round everything is asked for before anything is waited for.  The
 * groups of an aggregate go on together: while one waits for its round, the
 * requests of the others are under way, and whenever its round ends those
 * whose rounds have ended too begin the next.  But not those that may get
 * another document: the hashed groups of grouping sets while sorted ones come.
 *
 * Samples that are known count, but passes.c is told of a document no more
 * than the samples that the round asks for: so a set that was scored before
 * goes the same way again, and asks for nothing.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "functions/rounds.h"
#include "session/warm.h"

static void begin_passes(RstarSet *set);
static void place_priors(RstarSet *set);
static bool begin_round(RstarSet *set);
static void advance_others(const RstarSet *set);
static bool round_ended(const RstarSet *set);
static void end_round(RstarSet *set);
static void await_round(RstarSet *set);
static void take_all(RstarSet *set);
static void feed_targets(RstarSet *set);
static void feed(RstarSet *set, int i, int limit);
static void choose_on(RstarSet *set);
static void report_weight(const RstarSet *set);

void
rstar_rounds_run(RstarSet *set)
{
	begin_passes(set);
	while (set->in_round || begin_round(set))
	{
		advance_others(set);
		end_round(set);
	}
	take_all(set);
	choose_on(set);
	if (set->places != NULL)
		report_weight(set);
}

/* No document comes any more: passes.c is told of each once */
static void
begin_passes(RstarSet *set)
{
	MemoryContext old;

	if (set->passes != NULL)
		return;
	old = MemoryContextSwitchTo(set->context);
	set->order = palloc_extended(Max(set->ndocs, 1) * sizeof(int), MCXT_ALLOC_HUGE);
	for (int i = 0; i < set->ndocs; i++)
	{
		if (!set->docs[i].isnull && set->docs[i].first == i)
			set->order[set->norder++] = i;
	}
	set->passes = rstar_passes_create(palloc_extended(rstar_passes_size(set->norder), MCXT_ALLOC_HUGE),
									  &set->spec, set->norder, set->top_n);
	if (set->weight > 0)
		place_priors(set);
	MemoryContextSwitchTo(old);
}

/*
 * All priors of the set make its scale, also those of documents that will not
 * have a score.  A document that comes several times is chosen by its highest.
 */
static void
place_priors(RstarSet *set)
{
	double	   *places = palloc_extended(Max(set->ndocs, 1) * sizeof(double), MCXT_ALLOC_HUGE);
	double	   *highest = palloc_extended(Max(set->ndocs, 1) * sizeof(double), MCXT_ALLOC_HUGE);

	for (int i = 0; i < set->ndocs; i++)
		places[i] = set->docs[i].prior;
	if (rstar_prior_scale(places, set->ndocs))
	{
		for (int i = 0; i < set->ndocs; i++)
			highest[i] = places[i];
		for (int i = 0; i < set->ndocs; i++)
			highest[set->docs[i].first] = fmax(highest[set->docs[i].first], places[i]);
		rstar_passes_weigh(set->passes, set->weight, set->trusting);
		for (int i = 0; i < set->norder; i++)
			rstar_passes_prior(set->passes, i, highest[set->order[i]]);
		set->places = places;
	}
	else
		pfree(places);
	pfree(highest);
}

/* False: there is no round any more */
static bool
begin_round(RstarSet *set)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext scratch;

	if (rstar_set_past_deadline(set) || rstar_passes_next(set->passes) == 0)
	{
		rstar_set_leave(set);
		return false;
	}
	scratch = AllocSetContextCreate(CurrentMemoryContext, "retrostar round",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	for (int i = 0; i < set->norder; i++)
	{
		RstarSetDoc *doc = &set->docs[set->order[i]];
		int			target = rstar_passes_target(set->passes, i);

		CHECK_FOR_INTERRUPTS();
		if (target == 0 || doc->failed || rstar_set_samples(doc) >= target ||
			((doc->entry != NULL || doc->early) && doc->asked >= target))
			continue;
		if (doc->entry != NULL)
			rstar_set_take(set, doc);
		rstar_set_ask(set, doc, target);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	set->in_round = true;
	return true;
}

/*
 * Other groups whose rounds have ended begin the next.  The aggregate keeps in
 * one memory context what it puts out together, and then all rows of it have
 * come.
 */
static void
advance_others(const RstarSet *set)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &set->statement->sets)
	{
		RstarSet   *other = dlist_container(RstarSet, link, iter.cur);

		if (other == set || set->owner == NULL || other->context != set->context)
			continue;
		begin_passes(other);
		if (other->in_round && round_ended(other))
			end_round(other);
		if (!other->in_round)
			(void) begin_round(other);
	}
}

static bool
round_ended(const RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		const RstarSetDoc *doc = &set->docs[set->order[i]];

		if (doc->entry != NULL && doc->entry->state == RSTAR_MEMO_PENDING)
			return false;
	}
	return true;
}

/* Waits for all that was asked for, and says what came of it */
static void
end_round(RstarSet *set)
{
	await_round(set);
	take_all(set);
	feed_targets(set);
	set->in_round = false;
}

/*
 * A refresh that is stopped for the first of these goes on when all have been
 * answered: each of them is needed before anything more is asked for.
 */
static void
await_round(RstarSet *set)
{
	for (int i = 0; i < set->norder && rstar_statement_in_pass(); i++)
	{
		if (set->docs[set->order[i]].entry != NULL)
			rstar_memo_await(set->statement, set->docs[set->order[i]].entry);
	}
}

/* All that was asked for; at the deadline, as far as it has come */
static void
take_all(RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		RstarSetDoc *doc = &set->docs[set->order[i]];

		if (doc->entry != NULL)
			rstar_set_take(set, doc);
		doc->early = false;
	}
}

/* Tells passes.c of those that the round concerned */
static void
feed_targets(RstarSet *set)
{
	for (int i = 0; i < set->norder; i++)
	{
		if (rstar_passes_target(set->passes, i) > 0)
			feed(set, i, rstar_passes_target(set->passes, i));
	}
}

/* The first "limit" samples of the i-th document that passes.c knows of */
static void
feed(RstarSet *set, int i, int limit)
{
	const RstarSetDoc *doc = &set->docs[set->order[i]];
	const uint8 *scores = rstar_set_scores(doc);
	RstarPassesKnown known = {0};

	known.samples = Min(limit, rstar_set_samples(doc));
	for (int j = 0; j < Min(limit, doc->tally.nscores); j++)
	{
		known.sum += scores[j];
		known.sum_squares += scores[j] * scores[j];
	}
	known.failed = doc->failed;
	(void) rstar_passes_feed(set->passes, i, &known);
}

/*
 * The deadline ends the asking, not the choosing: else the mean of one sample
 * of some would compete with the mean of many that were known of others.
 */
static void
choose_on(RstarSet *set)
{
	while (set->late && rstar_passes_next(set->passes) > 0)
		feed_targets(set);
	for (int i = 0; i < set->norder; i++)
		set->docs[set->order[i]].pass = rstar_passes_reached(set->passes, i);
}

/* Says what the priors weighed */
static void
report_weight(const RstarSet *set)
{
	const RstarPassesWeight *weight = rstar_passes_weight(set->passes);
	RstarPriorUse *use = set->statement->prior_use;

	ereport(DEBUG1,
			(errmsg_internal("priors of %d documents weigh %g: %g times a trust of %g, correlation %g over %d documents",
							 set->ndocs, weight->weight, set->weight, weight->trust,
							 weight->correlation, weight->documents)));
	if (rstar_prior_reversed(weight->documents, weight->correlation))
		rstar_statement_reversed(set->statement);
	if (use == NULL)
		return;
	use->least = use->sets > 0 ? Min(use->least, weight->weight) : weight->weight;
	use->most = use->sets > 0 ? Max(use->most, weight->weight) : weight->weight;
	use->sets++;
}
