/*-------------------------------------------------------------------------
 *
 * report_query.c
 *		The part of a report that is about one query and its documents.
 *
 * Scores are those of the cache table; an answer that the worker has not stored
 * yet, which on a standby it never does, is not in it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/settings.h"
#include "functions/report_chart.h"
#include "functions/report_page.h"
#include "functions/report_query.h"
#include "session/pair.h"
#include "session/statement.h"
#include "shared/cache.h"

#define LOOKED_UP		1000	/* documents, ... */
#define SHOWN			50		/* ... and the best of them */
#define BEGINNING		300		/* characters of a document that are shown */

typedef struct Document
{
	int			n;				/* from 1 */
	Datum		text;
	double		score;			/* -1: none */
	double		spread;
	RstarTally	tally;
} Document;

static void look_up(const NullableDatum *args, Document *document);
static int	compare_documents(const void *a, const void *b);
static void documents_chart(StringInfo page, const Document *documents, int n);
static void documents_table(StringInfo page, const Document *documents, int n);
static char *beginning(Datum value, int chars);

void
rstar_report_query(StringInfo page, const NullableDatum *args)
{
	Document   *documents;
	Datum	   *texts;
	bool	   *nulls;
	int			given;
	int			n = 0;
	int			known = 0;

	deconstruct_array(DatumGetArrayTypeP(args[RSTAR_REPORT_ARG_DOCS].value), TEXTOID, -1, false, TYPALIGN_INT,
					  &texts, &nulls, &given);
	documents = palloc0(Max(Min(given, LOOKED_UP), 1) * sizeof(Document));
	for (int i = 0; i < given && n < LOOKED_UP; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nulls[i])
			continue;
		documents[n].n = i + 1;
		documents[n].text = texts[i];
		look_up(args, &documents[n]);
		known += documents[n++].score >= 0 ? 1 : 0;
	}
	qsort(documents, n, sizeof(Document), compare_documents);

	rstar_page_section(page, "A query");
	rstar_page_element(page, "blockquote", beginning(args[RSTAR_REPORT_ARG_QUERY].value, 4 * BEGINNING));
	rstar_page_element(page, "p", psprintf("%s documents were given%s; the cache has scores of %s of them%s.",
										   rstar_page_number(given),
										   given > LOOKED_UP ? psprintf(", and the first %s looked up", rstar_page_number(LOOKED_UP)) : "",
										   rstar_page_number(known),
										   known > SHOWN ? psprintf(", and here are the best %d", SHOWN) : ""));
	if (known > 0)
	{
		documents_chart(page, documents, Min(known, SHOWN));
		documents_table(page, documents, Min(known, SHOWN));
	}
	rstar_page_section_end(page);
}

static void
look_up(const NullableDatum *args, Document *document)
{
	static const int from[RSTAR_NARGS] = {
		[RSTAR_ARG_QUERY] = RSTAR_REPORT_ARG_QUERY,
		[RSTAR_ARG_TASK] = RSTAR_REPORT_ARG_TASK,
		[RSTAR_ARG_RELEVANCE_DEFINITION] = RSTAR_REPORT_ARG_RELEVANCE_DEFINITION,
		[RSTAR_ARG_QUERY_TYPE] = RSTAR_REPORT_ARG_QUERY_TYPE,
		[RSTAR_ARG_DOC_TYPE] = RSTAR_REPORT_ARG_DOC_TYPE,
		[RSTAR_ARG_SERVER] = RSTAR_REPORT_ARG_SERVER
	};
	NullableDatum call[RSTAR_NARGS];
	RstarPair	pair;
	RstarTally *tally = &document->tally;
	bool		zero = rstar_unscored_reply == RSTAR_UNSCORED_ZERO;
	int			counted;
	double		squares = 0;

	for (int i = 0; i < RSTAR_NARGS; i++)
		call[i] = args[from[i]];
	call[RSTAR_ARG_DOC].value = document->text;
	call[RSTAR_ARG_DOC].isnull = false;
	call[RSTAR_ARG_SAMPLES].isnull = true;
	rstar_pair_make(rstar_statement_current(), call, &pair);
	rstar_cache_lookup(&pair.key, tally);
	counted = rstar_tally_counted(tally, zero);
	document->score = counted > 0 ? tally->sum / (double) counted : -1;
	for (int i = 0; i < tally->nscores; i++)
		squares += (tally->scores[i] - document->score) * (tally->scores[i] - document->score);
	if (zero)
		squares += tally->unscored * document->score * document->score;
	document->spread = counted > 1 ? sqrt(squares / (counted - 1)) : -1;
}

/* Best first, in the order in which they came */
static int
compare_documents(const void *a, const void *b)
{
	const Document *x = a;
	const Document *y = b;

	return x->score > y->score ? -1 : x->score < y->score ? 1 : x->n - y->n;
}

static void
documents_chart(StringInfo page, const Document *documents, int n)
{
	RstarRange	ranges[SHOWN];
	RstarRangeChart chart = {
		.title = "Scores of the documents",
		.summary = "The stroke is the score, the points are its samples.",
		.high = 100,
		.nranges = n,
		.ranges = ranges
	};

	for (int i = 0; i < n; i++)
	{
		const RstarTally *tally = &documents[i].tally;
		double	   *points = palloc(RSTAR_MAX_SAMPLES * sizeof(double));

		for (int j = 0; j < tally->nscores; j++)
			points[j] = tally->scores[j];
		ranges[i].label = beginning(documents[i].text, 60);
		ranges[i].mark = documents[i].score;
		ranges[i].npoints = tally->nscores;
		ranges[i].points = points;
	}
	rstar_chart_ranges(page, &chart);
}

static void
documents_table(StringInfo page, const Document *documents, int n)
{
	static const char *const headings[] = {"rank", "score", "samples", "standard deviation", "document"};
	static const char *const columns = "tnnnt";

	rstar_page_table(page, "The documents with a score, best first", columns, headings);
	for (int i = 0; i < n; i++)
	{
		char	   *cells[] = {
			psprintf("%d", i + 1),
			rstar_page_decimal(documents[i].score),
			rstar_page_number(documents[i].tally.scored),
			documents[i].spread >= 0 ? rstar_page_decimal(documents[i].spread) : NULL,
			psprintf("%d: %s", documents[i].n, beginning(documents[i].text, BEGINNING))
		};

		rstar_page_row(page, columns, cells);
	}
	rstar_page_table_end(page);
}

/* So many characters at most; palloc'd */
static char *
beginning(Datum value, int chars)
{
	/* A character has four bytes at most: long texts are not read in whole */
	char	   *start = text_to_cstring(DatumGetTextPSlice(value, 0, 4 * chars + 4));
	int			len = strlen(start);
	int			kept = pg_mbcharcliplen(start, pg_mbcliplen(start, len, len), chars);

	return kept == len ? start : psprintf("%.*s ...", kept, start);
}
