/*-------------------------------------------------------------------------
 *
 * report.c
 *		retrostar.report(): a page about scores, what they cost, and who gives
 *		them.
 *
 * It asks nobody for anything: it reads the cache table, retrostar.usage and
 * the views, as its caller, who sees there what he may see.
 *
 * Of a large cache it reads some pages (READ_PAGES), so that it takes seconds
 * and the memory of one batch whatever the size of the table.  The sample is the
 * same each time that the table is.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "functions/args.h"
#include "functions/report_chart.h"
#include "functions/report_page.h"
#include "functions/report_query.h"
#include "shared/queue.h"

PG_FUNCTION_INFO_V1(retrostar_report);


/* 64 MB of the usual 8 kB, some 500,000 rows without replies */
#define READ_PAGES		8192
#define BATCH			1000
#define MODELS			20		/* that are told apart, ... */
#define ENDPOINTS		64		/* that are shown */
#define MAX_DAYS		3660
#define SCORE_BINS		20		/* of 5, the last with 100 */

/* Upper ends of the bins */
static const int sample_bins[] = {1, 2, 4, 8, 16, 32, 64};
static const char *const sample_labels[] = {"1", "2", "3-4", "5-8", "9-16", "17-32", "33-64"};
static const int spread_bins[] = {1, 5, 10, 15, 20, 30, 1000};
static const char *const spread_labels[] = {"0-1", "1-5", "5-10", "10-15", "15-20", "20-30", "> 30"};

typedef struct ModelSum
{
	char	   *name;
	double		pairs;
	double		scored;			/* of these, with a score */
	double		samples;
	double		unscored;
	double		sum;			/* of scores */
	double		prompt_tokens;
	double		completion_tokens;
} ModelSum;

/* What the rows that were read have */
typedef struct CacheSums
{
	double		scores[SCORE_BINS];
	double		samples[lengthof(sample_bins)];
	double		spreads[lengthof(spread_bins)];
	int			nmodels;
	ModelSum	models[MODELS + 1]; /* the last one: all others */
	ModelSum	all;
} CacheSums;

static void check_period(FunctionCallInfo fcinfo);
static void set_search_path(void);
static uint64 select_rows(const char *command, int nargs, Oid *types, Datum *values);
static char *cell(uint64 row, int column);
static double value(uint64 row, int column);
static char *number_cell(uint64 row, int column);
static void tile(StringInfo page, const char *name, const char *text);
static void overview(StringInfo page);
static void cache_section(StringInfo page);
static bool may_read_cache(void);
static void read_cache(double percent, CacheSums *sums);
static int	bin_of(double n, const int *ends, int nbins);
static void count_row(CacheSums *sums, HeapTuple row, TupleDesc desc);
static ModelSum *model_of(CacheSums *sums, const char *name);
static void cache_charts(StringInfo page, const CacheSums *sums);
static void bins_chart(StringInfo page, const char *title, const char *summary, const char *across,
					   int n, const char *const *labels, const double *counts);
static void models_table(StringInfo page, const CacheSums *sums);
static void usage_section(StringInfo page, const Interval *period);
static void usage_over_time(StringInfo page, const char *unit, Datum since, ArrayType *servers, int nservers,
							char **names);
static void endpoint_section(StringInfo page);

Datum
retrostar_report(PG_FUNCTION_ARGS)
{
	StringInfoData page;
	TimestampTz now = GetCurrentTimestamp();
	int			nest_level;

	rstar_queue_require();
	if (PG_ARGISNULL(0) != PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query and docs must be given together"),
				 errhint("For example: retrostar.report(query => 'Why is the sky blue?', docs => ARRAY(SELECT body FROM doc)).")));
	check_period(fcinfo);
	initStringInfo(&page);
	rstar_page_begin(&page, psprintf("retrostar: %s", get_database_name(MyDatabaseId)),
					 psprintf("%s, for role %s. Nothing was asked of a model for this page.",
							  timestamptz_to_str(now - now % USECS_PER_SEC), GetUserNameFromId(GetUserId(), false)));
	if (!PG_ARGISNULL(0))
		rstar_report_query(&page, fcinfo->args);

	nest_level = NewGUCNestLevel();
	set_search_path();
	SPI_connect();
	overview(&page);
	cache_section(&page);
	usage_section(&page, PG_GETARG_INTERVAL_P(RSTAR_REPORT_ARG_PERIOD));
	endpoint_section(&page);
	SPI_finish();
	AtEOXact_GUC(true, nest_level);
	rstar_page_end(&page);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(page.data, page.len));
}

static void
check_period(FunctionCallInfo fcinfo)
{
	double		days = 0;

	if (!PG_ARGISNULL(RSTAR_REPORT_ARG_PERIOD))
	{
		Interval   *period = PG_GETARG_INTERVAL_P(RSTAR_REPORT_ARG_PERIOD);

		days = period->month * 30.0 + period->day + period->time / (double) USECS_PER_DAY;
	}
	if (days <= 0 || days > MAX_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("period must be longer than nothing, and no longer than %d days", MAX_DAYS)));
}

/* The queries are ours: no operator of the caller's path is meant */
static void
set_search_path(void)
{
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, ERROR, false);
}

/* Number of rows, which are in SPI_tuptable then */
static uint64
select_rows(const char *command, int nargs, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(command, nargs, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read for a report");
	return SPI_processed;
}

/* NULL when it is; palloc'd */
static char *
cell(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* Of a double precision; 0 when it is NULL */
static double
value(uint64 row, int column)
{
	bool		isnull;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	return isnull ? 0 : DatumGetFloat8(datum);
}

static char *
number_cell(uint64 row, int column)
{
	return cell(row, column) == NULL ? NULL : rstar_page_number(value(row, column));
}

static void
tile(StringInfo page, const char *name, const char *text)
{
	appendStringInfoString(page, "<div>");
	rstar_page_element(page, "dt", name);
	rstar_page_element(page, "dd", text);
	appendStringInfoString(page, "</div>\n");
}

/* Cheap whatever there is: what retrostar.stat_cache says */
static void
overview(StringInfo page)
{
	double		lookups;
	char	   *since;

	rstar_page_section(page, "Overview");
	if (select_rows("SELECT hits::float8, misses::float8, stored::float8, rows_estimated::float8,"
					" (table_bytes + index_bytes + reasoning_bytes)::float8, stats_reset::text"
					" FROM retrostar.stat_cache", 0, NULL, NULL) == 0)
	{
		rstar_page_element(page, "p", "The cache table is not there.");
		rstar_page_section_end(page);
		return;
	}
	lookups = value(0, 1) + value(0, 2);
	since = cell(0, 6);
	appendStringInfoString(page, "<dl>\n");
	tile(page, "cached pairs, about", rstar_page_number(value(0, 4)));
	tile(page, "size of the cache", rstar_page_bytes(value(0, 5)));
	tile(page, "look-ups", rstar_page_number(lookups));
	tile(page, "hits", rstar_page_number(value(0, 1)));
	tile(page, "misses", rstar_page_number(value(0, 2)));
	tile(page, "hit rate", lookups > 0 ? rstar_page_share(value(0, 1), lookups) : "-");
	tile(page, "answers stored", rstar_page_number(value(0, 3)));
	appendStringInfoString(page, "</dl>\n");
	rstar_page_element(page, "p class=\"soft\"", since != NULL ? psprintf("Look-ups are counted since %s.", since) :
					   "Look-ups are counted since PostgreSQL started.");
	rstar_page_section_end(page);
}

static void
cache_section(StringInfo page)
{
	CacheSums  *sums;
	double		pages;

	rstar_page_section(page, "The score cache");
	if (!may_read_cache())
	{
		rstar_page_element(page, "p", "Your role may not read retrostar.score_cache: no figures of its scores.");
		rstar_page_section_end(page);
		return;
	}
	(void) select_rows("SELECT (pg_relation_size('retrostar.score_cache') / current_setting('block_size')::int8)::float8",
					   0, NULL, NULL);
	pages = value(0, 1);
	sums = palloc0(sizeof(CacheSums));
	read_cache(pages <= READ_PAGES ? 100 : 100.0 * READ_PAGES / pages, sums);
	if (pages > READ_PAGES)
		rstar_page_element(page, "p", psprintf("A sample: %s pairs, of about %s of %s pages of the table, chosen at random. "
											   "Shares hold for the whole cache, counts for the sample.",
											   rstar_page_number(sums->all.pairs), rstar_page_number(READ_PAGES),
											   rstar_page_number(pages)));
	if (sums->all.pairs == 0)
		rstar_page_element(page, "p", "The cache is empty: no pair has a score yet.");
	else
	{
		cache_charts(page, sums);
		models_table(page, sums);
	}
	rstar_page_section_end(page);
}

/* The columns that are read */
static bool
may_read_cache(void)
{
	bool		isnull;

	(void) select_rows("SELECT bool_and(has_column_privilege('retrostar.score_cache', name, 'SELECT'))"
					   " FROM unnest('{scores,unscored,model,prompt_tokens,completion_tokens}'::text[]) AS name",
					   0, NULL, NULL);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
}

static void
read_cache(double percent, CacheSums *sums)
{
	static const char *const columns = "SELECT scores::int2[], unscored::float8, model::text, prompt_tokens::float8,"
		" completion_tokens::float8 FROM retrostar.score_cache";
	char	   *sampled = psprintf("%s TABLESAMPLE SYSTEM (%.6f) REPEATABLE (0)", columns, percent);
	Portal		portal = SPI_cursor_open_with_args(NULL, percent >= 100 ? columns : sampled, 0, NULL, NULL, NULL,
												   true, 0);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, BATCH);
		if (SPI_processed == 0)
			break;
		CHECK_FOR_INTERRUPTS();
		for (uint64 i = 0; i < SPI_processed; i++)
			count_row(sums, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
}

/* Rows that make no sense are for whoever reads their score to complain of */
static void
count_row(CacheSums *sums, HeapTuple row, TupleDesc desc)
{
	ArrayType  *array;
	int			n;
	int16	   *scores;
	double		mean = 0;
	double		squares = 0;
	double		figures[3];
	char	   *name = SPI_getvalue(row, desc, 3);
	bool		isnull;
	Datum		datum = SPI_getbinval(row, desc, 1, &isnull);
	ModelSum   *of[] = {&sums->all, model_of(sums, name != NULL ? name : "")};

	if (name != NULL)
		pfree(name);
	if (isnull)
		return;
	array = DatumGetArrayTypePCopy(datum);
	n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	scores = (int16 *) ARR_DATA_PTR(array);
	if (ARR_HASNULL(array))
		n = 0;
	for (int i = 0; i < n; i++)
		mean += Min(Max(scores[i], 0), 100) / (double) n;
	for (int i = 0; i < n; i++)
		squares += (scores[i] - mean) * (scores[i] - mean);
	pfree(array);
	for (int i = 0; i < (int) lengthof(figures); i++)
	{
		datum = SPI_getbinval(row, desc, i == 0 ? 2 : i + 3, &isnull);
		figures[i] = isnull ? 0 : DatumGetFloat8(datum);
	}
	for (int i = 0; i < (int) lengthof(of); i++)
	{
		of[i]->pairs++;
		of[i]->scored += n > 0 ? 1 : 0;
		of[i]->samples += n;
		of[i]->unscored += figures[0];
		of[i]->sum += mean;
		of[i]->prompt_tokens += figures[1];
		of[i]->completion_tokens += figures[2];
	}
	if (n > 0)
	{
		sums->scores[Min((int) (mean / (100 / SCORE_BINS)), SCORE_BINS - 1)]++;
		sums->samples[bin_of(n - 1, sample_bins, lengthof(sample_bins))]++;
	}
	if (n > 1)
		sums->spreads[bin_of(sqrt(squares / (n - 1)), spread_bins, lengthof(spread_bins))]++;
}

/* The first one whose end is higher; what is higher than all is in the last one */
static int
bin_of(double n, const int *ends, int nbins)
{
	int			bin = 0;

	while (bin < nbins - 1 && n >= ends[bin])
		bin++;
	return bin;
}

/* Rows of more models than there is room for count together */
static ModelSum *
model_of(CacheSums *sums, const char *name)
{
	int			i;

	for (i = 0; i < sums->nmodels; i++)
	{
		if (strcmp(sums->models[i].name, name) == 0)
			return &sums->models[i];
	}
	if (i < MODELS)
		sums->models[i].name = pstrdup(name);
	else
		return &sums->models[MODELS];
	sums->nmodels++;
	return &sums->models[i];
}

static void
cache_charts(StringInfo page, const CacheSums *sums)
{
	char	   *labels[SCORE_BINS];
	double		several = 0;

	for (int i = 0; i < SCORE_BINS; i++)
		labels[i] = psprintf("%d-%d", i * 5, i == SCORE_BINS - 1 ? 100 : i * 5 + 4);
	for (int i = 0; i < (int) lengthof(spread_bins); i++)
		several += sums->spreads[i];
	appendStringInfoString(page, "<div class=\"charts\">\n");
	bins_chart(page, "Scores",
			   psprintf("%s pairs with a score, %s on average.", rstar_page_number(sums->all.scored),
						rstar_page_decimal(sums->all.sum / Max(sums->all.scored, 1))),
			   "score", SCORE_BINS, (const char *const *) labels, sums->scores);
	bins_chart(page, "Samples of a pair",
			   psprintf("%s samples with a score, %s for each pair; %s replies without one.",
						rstar_page_number(sums->all.samples),
						rstar_page_decimal(sums->all.samples / Max(sums->all.scored, 1)),
						rstar_page_number(sums->all.unscored)),
			   "samples", lengthof(sample_bins), sample_labels, sums->samples);
	if (several > 0)
		bins_chart(page, "How far the samples of a pair lie apart",
				   psprintf("Standard deviation of the samples of %s pairs that have two or more.",
							rstar_page_number(several)),
				   "standard deviation", lengthof(spread_bins), spread_labels, sums->spreads);
	appendStringInfoString(page, "</div>\n");
}

static void
bins_chart(StringInfo page, const char *title, const char *summary, const char *across,
		   int n, const char *const *labels, const double *counts)
{
	RstarBar   *bars = palloc0(n * sizeof(RstarBar));
	RstarBarChart chart = {
		.title = title,
		.summary = summary,
		.across = across,
		.up = "pairs",
		.nseries = 1,
		.nbars = n,
		.bars = bars
	};

	for (int i = 0; i < n; i++)
	{
		bars[i].label = pstrdup(labels[i]);
		bars[i].parts[0] = counts[i];
	}
	rstar_chart_bars(page, &chart);
}

static void
models_table(StringInfo page, const CacheSums *sums)
{
	static const char *const headings[] = {"model", "pairs", "mean score", "samples", "without a score",
	"prompt tokens", "generated tokens", "of a reply, on average"};
	static const char *const columns = "tnnnnnnn";

	rstar_page_table(page, "Models, and the tokens of their replies as the servers counted them", columns, headings);
	for (int i = 0; i <= MODELS; i++)
	{
		const ModelSum *of = &sums->models[i];
		double		replies = of->samples + of->unscored;
		char	   *cells[] = {
			i == MODELS ? "all other models" : of->name,
			rstar_page_number(of->pairs),
			of->scored > 0 ? rstar_page_decimal(of->sum / of->scored) : NULL,
			rstar_page_number(of->samples),
			rstar_page_number(of->unscored),
			rstar_page_number(of->prompt_tokens),
			rstar_page_number(of->completion_tokens),
			replies > 0 ? rstar_page_number(of->completion_tokens / replies) : NULL
		};

		if (of->pairs > 0)
			rstar_page_row(page, columns, cells);
	}
	rstar_page_table_end(page);
}

/* Of the servers that have most, as many as there are colours */
static void
usage_section(StringInfo page, const Interval *period)
{
	static const char *const headings[] = {"server", "pairs", "failed", "samples", "prompt tokens", "of these, cached",
	"generated tokens", "mean time of a reply"};
	static const char *const columns = "tnnnnnnn";
	double		days = period->month * 30.0 + period->day + period->time / (double) USECS_PER_DAY;
	const char *unit = days <= 7 ? "hour" : days <= 180 ? "day" : "month";
	Oid			types[] = {TEXTOID, INTERVALOID};
	Datum		values[] = {CStringGetTextDatum(unit), IntervalPGetDatum(period)};
	Datum		servers[RSTAR_CHART_SERIES];
	char	   *names[RSTAR_CHART_SERIES];
	Datum		since;
	bool		isnull;
	uint64		n;

	rstar_page_section(page, "What it cost");
	(void) select_rows("SELECT date_trunc($1, now() - $2), date_trunc($1, now() - $2)::text", 2, types, values);
	since = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	rstar_page_element(page, "p", psprintf("Pairs that ended since %s, %s.", cell(0, 2),
										   has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ? "of all roles" :
										   "of your role and of those whose rights it has"));
	types[0] = TIMESTAMPTZOID;
	values[0] = since;
	n = select_rows("SELECT server, sum(pairs)::float8, sum(failures)::float8, sum(samples)::float8,"
					" sum(prompt_tokens)::float8, sum(cached_tokens)::float8, sum(completion_tokens)::float8,"
					" sum(seconds) / nullif(sum(samples), 0)::float8"
					" FROM retrostar.usage WHERE hour >= $1 GROUP BY server"
					" ORDER BY sum(samples) DESC, server COLLATE \"C\" LIMIT 64", 1, types, values);
	if (n == 0)
		rstar_page_element(page, "p", "There is no usage: nothing was asked of a model.");
	else
	{
		rstar_page_table(page, "Usage by server", columns, headings);
		for (uint64 i = 0; i < n; i++)
		{
			char	   *cells[] = {
				cell(i, 1), number_cell(i, 2), number_cell(i, 3), number_cell(i, 4), number_cell(i, 5),
				rstar_page_share(value(i, 6), value(i, 5)), number_cell(i, 7),
				cell(i, 8) == NULL ? NULL : rstar_page_seconds(value(i, 8))
			};

			rstar_page_row(page, columns, cells);
			if (i < RSTAR_CHART_SERIES - 1)
			{
				names[i] = cells[0];
				servers[i] = CStringGetTextDatum(cells[0]);
			}
		}
		rstar_page_table_end(page);
		n = Min(n, RSTAR_CHART_SERIES - 1);
		usage_over_time(page, unit, since, construct_array(servers, n, TEXTOID, -1, false, TYPALIGN_INT), n, names);
	}
	rstar_page_section_end(page);
}

/* A bar for each hour, day or month, also where there was nothing */
static void
usage_over_time(StringInfo page, const char *unit, Datum since, ArrayType *servers, int nservers, char **names)
{
	Oid			types[] = {TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID};
	Datum		values[] = {CStringGetTextDatum(unit), since, PointerGetDatum(servers)};
	RstarBarChart chart = {
		.title = psprintf("Samples by %s and server", unit),
		.summary = psprintf("Replies of models in each %s, of the time zone of the session.", unit),
		.across = unit,
		.up = "samples",
		.nseries = nservers
	};
	RstarBar   *bars;
	double		others = 0;

	/*
	 * Where clocks go forward at midnight the series itself is not of days
	 * any more
	 */
	chart.nbars = select_rows("SELECT to_char(bucket, CASE $1 WHEN 'hour' THEN 'MM-DD HH24:MI' WHEN 'day' THEN 'YYYY-MM-DD'"
							  " ELSE 'YYYY-MM' END),"
							  " sum(samples) FILTER (WHERE server = ($3)[1])::float8, sum(samples) FILTER (WHERE server = ($3)[2])::float8,"
							  " sum(samples) FILTER (WHERE server = ($3)[3])::float8, sum(samples) FILTER (WHERE server = ($3)[4])::float8,"
							  " sum(samples) FILTER (WHERE server = ($3)[5])::float8, sum(samples) FILTER (WHERE server <> ALL ($3))::float8"
							  " FROM (SELECT date_trunc($1, at) AS bucket FROM generate_series($2, now(), ('1 ' || $1)::interval) AS at"
							  " UNION SELECT date_trunc($1, now())) AS b LEFT JOIN"
							  " (SELECT date_trunc($1, hour) AS bucket, server, sum(samples) AS samples FROM retrostar.usage"
							  " WHERE hour >= $2 GROUP BY 1, 2) u USING (bucket)"
							  " GROUP BY bucket ORDER BY bucket", 3, types, values);
	bars = palloc0(chart.nbars * sizeof(RstarBar));
	for (int i = 0; i < chart.nbars; i++)
	{
		bars[i].label = cell(i, 1);
		for (int j = 0; j < nservers; j++)
			bars[i].parts[j] = value(i, j + 2);
		bars[i].parts[nservers] = value(i, RSTAR_CHART_SERIES + 1);
		others += bars[i].parts[nservers];
	}
	for (int j = 0; j < nservers; j++)
		chart.series[j] = names[j];
	if (others > 0)
		chart.series[chart.nseries++] = "all other servers";
	chart.bars = bars;
	rstar_chart_bars(page, &chart);
}

/* What retrostar.stat_server says to the caller */
static void
endpoint_section(StringInfo page)
{
	static const char *const headings[] = {"server", "endpoint", "state", "answered", "without a score", "failed", "median",
	"95 %", "99 %", "in flight", "last error"};
	static const char *const columns = "tttnnnnnnnt";
	RstarRange	ranges[ENDPOINTS];
	double		points[ENDPOINTS][2];
	RstarRangeChart chart = {
		.title = "Latency, in seconds",
		.summary = "From sending a request to its whole reply: the stroke is the median, the points are what 95 % and 99 % took less than.",
		.ranges = ranges
	};
	uint64		n = select_rows("SELECT server, endpoint, state, answered::float8, unscored::float8, failed::float8,"
								" extract(epoch FROM latency_p50)::float8, extract(epoch FROM latency_p95)::float8,"
								" extract(epoch FROM latency_p99)::float8, in_flight || ' of ' || in_flight_limit,"
								" last_error_at::timestamptz(0) || ': ' || last_error"
								" FROM retrostar.stat_server ORDER BY server COLLATE \"C\", endpoint COLLATE \"C\" LIMIT 64",
								0, NULL, NULL);

	StaticAssertStmt(ENDPOINTS == 64, "the LIMIT");
	rstar_page_section(page, "Endpoints");
	if (n == 0)
		rstar_page_element(page, "p", "There is no server.");
	else
	{
		rstar_page_table(page, "Endpoints of the servers, as retrostar.stat_server has counted them", columns, headings);
		for (uint64 i = 0; i < n; i++)
		{
			char	   *cells[] = {
				cell(i, 1), cell(i, 2), cell(i, 3), number_cell(i, 4), number_cell(i, 5), number_cell(i, 6),
				NULL, NULL, NULL, cell(i, 10), cell(i, 11)
			};

			if (cell(i, 7) != NULL)
			{
				for (int j = 0; j < 3; j++)
					cells[6 + j] = rstar_page_seconds(value(i, 7 + j));
				points[chart.nranges][0] = value(i, 8);
				points[chart.nranges][1] = value(i, 9);
				ranges[chart.nranges].label = psprintf("%s, %s", cells[0], cells[1]);
				ranges[chart.nranges].mark = value(i, 7);
				ranges[chart.nranges].npoints = 2;
				ranges[chart.nranges].points = points[chart.nranges];
				chart.nranges++;
			}
			rstar_page_row(page, columns, cells);
		}
		rstar_page_table_end(page);
		if (chart.nranges > 0)
			rstar_chart_ranges(page, &chart);
	}
	rstar_page_section_end(page);
}
