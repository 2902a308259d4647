/*-------------------------------------------------------------------------
 *
 * fit.h
 *		Documents are shortened until prompt and reply fit into the context.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_FIT_H
#define RSTAR_FIT_H

#include "postgres.h"

#include "model/reply.h"
#include "worker/sample.h"

/*
 * Whether a reply has no score because the context was full before it had
 * max_tokens, as far as one knows; sample->full_sure says whether one does.
 * The document becomes as long again as it was when shortening it turns out to
 * have been of no use.
 */
extern bool rstar_fit_is_full(RstarSample *sample, const RstarReply *parsed);

/*
 * The text was too long, or "full": it left no room for the reply.  Its document
 * is cut, for all samples of the pair that are sent from now on.  False: that
 * does not help.
 */
extern bool rstar_fit_shorten(RstarSample *sample, const RstarReply *parsed, bool full);

/*
 * Of a reply that ended before it had max_tokens: after how many tokens of how
 * many, in "detail", which has RSTAR_DETAIL_LEN bytes.  Else NULL.
 */
extern const char *rstar_fit_ended_early(const RstarSample *sample, const RstarReply *parsed,
										 char *detail);

/* How many tokens the text had that was sent, where the reply says that */
extern void rstar_fit_learn(const RstarSample *sample, const RstarReply *parsed);

#endif							/* RSTAR_FIT_H */
