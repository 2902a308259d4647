/*-------------------------------------------------------------------------
 *
 * report_query.h
 *		The part of a report that is about one query and its documents.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPORT_QUERY_H
#define RSTAR_REPORT_QUERY_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

/* Positions of retrostar.report's arguments */
enum
{
	RSTAR_REPORT_ARG_QUERY,
	RSTAR_REPORT_ARG_DOCS,
	RSTAR_REPORT_ARG_PERIOD,
	RSTAR_REPORT_ARG_TASK,
	RSTAR_REPORT_ARG_RELEVANCE_DEFINITION,
	RSTAR_REPORT_ARG_QUERY_TYPE,
	RSTAR_REPORT_ARG_DOC_TYPE,
	RSTAR_REPORT_ARG_SERVER
};

/*
 * A section with what the cache table knows of the documents for the query, best
 * first.  Query and docs are not NULL.  Checks USAGE of the server as
 * retro_star_score() does, and asks for nothing.
 */
extern void rstar_report_query(StringInfo page, const NullableDatum *args);

#endif							/* RSTAR_REPORT_QUERY_H */
