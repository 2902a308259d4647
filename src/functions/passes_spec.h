/*-------------------------------------------------------------------------
 *
 * passes_spec.h
 *		How the passes of a set are written.
 *
 * Pure.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_PASSES_SPEC_H
#define RSTAR_PASSES_SPEC_H

#include <stddef.h>

/* Limits of a specification: bytes, passes or rounds, and the numbers in it */
#define RSTAR_PASSES_MAX_TEXT 256
#define RSTAR_PASSES_MAX_ROUNDS 16
#define RSTAR_PASSES_MAX_SAMPLES 64
#define RSTAR_PASSES_MAX_DOCUMENTS 1000000

/* What a specification looks like, as a hint for whoever wrote a wrong one */
#define RSTAR_PASSES_GRAMMAR \
	"Valid are a number of samples (\"16\"), passes of documents@samples " \
	"(\"100@1,30@16\"), \"adaptive\", \"adaptive\" with rounds of your own " \
	"(\"adaptive:1,2,4,8\"), \"lean\" and \"members\". Where there are priors, " \
	"so many documents are those with the highest."

typedef enum RstarPassesKind
{
	RSTAR_PASSES_FIXED,			/* each pass keeps the best of the one before */
	RSTAR_PASSES_ADAPTIVE,		/* samples go where the first k are open */
	RSTAR_PASSES_MEMBERS		/* the same, but their order does not matter */
} RstarPassesKind;

/* One pass or round */
typedef struct RstarPassesRound
{
	int			documents;		/* how many take part; INT_MAX: all.  In the
								 * first round they are the best by prior, or
								 * those that come first; the later rounds of
								 * rules other than FIXED leave it at that */
	int			samples;		/* of each, those of earlier rounds included */
} RstarPassesRound;

/* A specification, parsed */
typedef struct RstarPassesSpec
{
	RstarPassesKind kind;
	int			beyond;			/* ADAPTIVE: contenders at most beyond the k
								 * best, in percent of k */
	int			nrounds;
	RstarPassesRound rounds[RSTAR_PASSES_MAX_ROUNDS];
} RstarPassesSpec;

typedef enum RstarPassesCode
{
	RSTAR_PASSES_OK,
	RSTAR_PASSES_EMPTY,
	RSTAR_PASSES_TEXT_TOO_LONG,
	RSTAR_PASSES_UNKNOWN_WORD,
	RSTAR_PASSES_NO_NUMBER,		/* something else stands where one belongs */
	RSTAR_PASSES_BAD_SAMPLES,	/* out of range */
	RSTAR_PASSES_BAD_DOCUMENTS,
	RSTAR_PASSES_TOO_MANY,		/* passes or rounds */
	RSTAR_PASSES_MORE_DOCUMENTS,	/* than in the pass before */
	RSTAR_PASSES_NO_MORE_SAMPLES,	/* than in the pass or round before */
	RSTAR_PASSES_NO_DOCUMENTS,	/* "16,30": a list, but a pass has no "@" */
	RSTAR_PASSES_TRAILING		/* a whole specification, then something else */
} RstarPassesCode;

/*
 * Parses a specification of "len" bytes, which need not end in NUL.  Unless
 * the result is OK, *spec is undefined and *position is the byte (from 0; all
 * before it are ASCII) where the text goes wrong.
 */
extern RstarPassesCode rstar_passes_spec_parse(RstarPassesSpec *spec, const char *text,
											   size_t len, int *position);

/* The rule that was broken, as a sentence; a constant */
extern const char *rstar_passes_spec_reason(RstarPassesCode code);

#endif							/* RSTAR_PASSES_SPEC_H */
