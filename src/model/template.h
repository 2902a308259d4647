/*-------------------------------------------------------------------------
 *
 * template.h
 *		A prompt and an answer, as somebody who has another model writes them.
 *
 * Pure: no PostgreSQL, no allocation.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_TEMPLATE_H
#define RSTAR_TEMPLATE_H

#include <stdbool.h>

#include "base/form.h"
#include "base/text.h"

/* Longest template, in bytes */
#define RSTAR_TEMPLATE_LEN 65536

/* What is put into a prompt, or found in an answer */
typedef enum RstarPlace
{
	RSTAR_PLACE_RELEVANCE_DEFINITION,
	RSTAR_PLACE_QUERY_TYPE,
	RSTAR_PLACE_DOC_TYPE,
	RSTAR_PLACE_QUERY,
	RSTAR_PLACE_DOCUMENT,
	RSTAR_PLACE_SCORE,
	RSTAR_PLACE_NONE,
	RSTAR_PLACE_WRONG			/* a brace that begins no place */
} RstarPlace;

#define RSTAR_PLACES RSTAR_PLACE_NONE

/* A literal piece, and what is inserted after it */
typedef struct RstarPiece
{
	RstarText	literal;
	RstarPlace	place;
} RstarPiece;

/*
 * Takes the next piece of a template off *rest; false at its end.  "{query}" is
 * a place, "{{" and "}}" are braces.  After RSTAR_PLACE_WRONG the rest begins
 * with the brace.
 */
extern bool rstar_template_next(RstarText *rest, RstarPiece *piece);

/* How a place is written, without its braces */
extern const char *rstar_template_place(RstarPlace place);

typedef enum RstarTemplateFault
{
	RSTAR_TEMPLATE_GOOD,
	RSTAR_TEMPLATE_TOO_LONG,
	RSTAR_TEMPLATE_BRACE,		/* begins no place that a prompt can have */
	RSTAR_TEMPLATE_LACKS,		/* a place */
	RSTAR_TEMPLATE_TWICE		/* has a place more than once */
} RstarTemplateFault;

/* What is in a template */
typedef struct RstarTemplateReport
{
	int			count[RSTAR_PLACES];	/* of each place */
	RstarPlace	place;			/* LACKS, TWICE: which */
	RstarText	at;				/* BRACE: from there on */
} RstarTemplateReport;

extern RstarTemplateFault rstar_template_check(RstarText template, RstarTemplateReport *report);

typedef enum RstarFormFault
{
	RSTAR_FORM_GOOD,
	RSTAR_FORM_SCALE,			/* is not written as one */
	RSTAR_FORM_EMPTY,			/* scale: nothing is between its bounds */
	RSTAR_FORM_PLACE,			/* answer: {score} is not there once, alone */
	RSTAR_FORM_BEFORE,			/* answer: nothing stands before {score} */
	RSTAR_FORM_TOO_LONG			/* answer */
} RstarFormFault;

/* An answer such as "<answer>{score}</answer>" and a scale such as "0..10" */
extern RstarFormFault rstar_template_form(RstarText answer, RstarText scale, RstarForm *form);

#endif							/* RSTAR_TEMPLATE_H */
