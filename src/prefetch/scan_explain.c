/*-------------------------------------------------------------------------
 *
 * scan_explain.c
 *		What EXPLAIN shows of a prefetch node.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/ruleutils.h"

#include "base/settings.h"
#include "prefetch/calls.h"
#include "prefetch/node.h"
#include "prefetch/scan_explain.h"
#include "model/server.h"
#include "session/allowance.h"
#include "session/pair.h"
#include "session/statement.h"

static List *site_texts(CustomScan *scan, List *ancestors, ExplainState *es);
static FuncExpr *without_defaults(FuncExpr *func);
static void explain_estimates(const CustomScan *scan, ExplainState *es);
static double estimated_rows(const CustomScan *scan);
static double samples_of(const FuncExpr *func, bool is_score);
static Oid	server_of(const FuncExpr *func, bool is_score);
static void explain_properties(const RstarScanReport *report, ExplainState *es);
static void explain_text(const RstarScanReport *report, ExplainState *es);
static void indent(ExplainState *es);

void
rstar_scan_explain(CustomScan *scan, const RstarScanReport *report, List *ancestors,
				   ExplainState *es)
{
	ExplainPropertyList("Calls Ahead", site_texts(scan, ancestors, es), es);
	if (es->costs)
		explain_estimates(scan, es);
	if (!es->analyze)
		return;
	if (es->format == EXPLAIN_FORMAT_TEXT)
		explain_text(report, es);
	else
		explain_properties(report, es);
}

/* Each call that is made ahead, and when */
static List *
site_texts(CustomScan *scan, List *ancestors, ExplainState *es)
{
	List	   *context = set_deparse_context_plan(es->deparse_cxt, &scan->scan.plan, ancestors);
	bool		prefix = es->verbose || list_length(es->rtable) > 1;
	List	   *header = linitial(scan->custom_private);
	int			next = list_nth_int(header, RSTAR_SCAN_NBOUND);
	List	   *texts = NIL;

	for (int i = 1; i < list_length(scan->custom_private); i++)
	{
		List	   *numbers = list_nth(scan->custom_private, i);
		int			nguards = list_nth_int(numbers, RSTAR_SITE_NGUARDS);
		FuncExpr   *func = list_nth_node(FuncExpr, scan->custom_exprs, next);
		bool		is_score = list_nth_int(numbers, RSTAR_SITE_KIND) == RSTAR_CALL_SCORE;
		char	   *text = deparse_expression(is_score ? (Node *) without_defaults(func) : (Node *) func,
											  context, prefix, false);

		if (nguards > 0)
		{
			List	   *guards = list_truncate(list_copy_tail(scan->custom_exprs, next + 1),
											   nguards);

			text = psprintf("%s WHEN %s", text,
							deparse_expression((Node *) make_ands_explicit(guards), context,
											   prefix, false));
		}
		texts = lappend(texts, text);
		next += 1 + nguards;
	}
	return texts;
}

/* The call as its author may have written it: all defaults are NULL */
static FuncExpr *
without_defaults(FuncExpr *func)
{
	FuncExpr   *shorter = copyObject(func);

	while (list_length(shorter->args) > RSTAR_ARG_DOC + 1)
	{
		Const	   *last = llast(shorter->args);

		if (!IsA(last, Const) || !last->constisnull)
			break;
		shorter->args = list_delete_last(shorter->args);
	}
	return shorter;
}

/*
 * As many as the planner expects rows, for each call.  Known scores cost
 * nothing, and guards are not estimated, so fewer may be asked for.
 */
static void
explain_estimates(const CustomScan *scan, ExplainState *es)
{
	double		rows = estimated_rows(scan);
	int			nsites = list_length(scan->custom_private) - 1;
	int			next = list_nth_int(linitial(scan->custom_private), RSTAR_SCAN_NBOUND);
	double	   *samples = palloc(nsites * sizeof(double));
	Oid		   *servers = palloc(nsites * sizeof(Oid));
	double		sum = 0;
	List	   *passed;

	for (int i = 1; i <= nsites; i++)
	{
		List	   *numbers = list_nth(scan->custom_private, i);
		FuncExpr   *func = list_nth_node(FuncExpr, scan->custom_exprs, next);
		bool		is_score = list_nth_int(numbers, RSTAR_SITE_KIND) == RSTAR_CALL_SCORE;

		samples[i - 1] = rows * samples_of(func, is_score);
		servers[i - 1] = server_of(func, is_score);
		sum += samples[i - 1];
		next += 1 + list_nth_int(numbers, RSTAR_SITE_NGUARDS);
	}
	ExplainPropertyFloat("Estimated Calls", NULL, rows * nsites, 0, es);
	if (rstar_request_limit >= 0 && sum > rstar_request_limit)
		ExplainPropertyText("Request Limit",
							psprintf("%d samples, of %.0f if none is known", rstar_request_limit, sum),
							es);

	/*
	 * What has run is in what is used; and behind a statement nothing may
	 * fail
	 */
	if (!rstar_statement_explains() || es->analyze)
		return;
	passed = rstar_allowance_passed(servers, samples, nsites);
	if (passed != NIL)
		ExplainPropertyList("Over Budget", passed, es);
}

double
rstar_scan_expected(const CustomScan *scan)
{
	return estimated_rows(scan) * (list_length(scan->custom_private) - 1);
}

/*
 * A LIMIT that is written down counts: so many rows, or so many that so many of
 * them pass the filter
 */
static double
estimated_rows(const CustomScan *scan)
{
	List	   *header = linitial(scan->custom_private);
	int			nbound = list_nth_int(header, RSTAR_SCAN_NBOUND);
	double		rows = clamp_row_est(outerPlan(&scan->scan.plan)->plan_rows);
	double		bound = 0;

	if (nbound < 2 || !list_nth_int(header, RSTAR_SCAN_EXACT))
		return rows;
	/* Count and offset of the innermost one: the others are its readers */
	for (int i = nbound - 2; i < nbound; i++)
	{
		Const	   *number = list_nth(scan->custom_exprs, i);

		if (!IsA(number, Const) || (number->constisnull && i == nbound - 2))
			return rows;
		if (!number->constisnull)
			bound += DatumGetInt64(number->constvalue);
	}
	return Min(rows, ceil(bound * rows / Min(clamp_row_est(scan->scan.plan.plan_rows), rows)));
}

/* Passes spend them otherwise, but begin with one at least */
static double
samples_of(const FuncExpr *func, bool is_score)
{
	Const	   *samples = is_score && list_length(func->args) > RSTAR_ARG_SAMPLES ?
		list_nth(func->args, RSTAR_ARG_SAMPLES) : NULL;

	if (samples != NULL && IsA(samples, Const) && !samples->constisnull)
		return DatumGetInt32(samples->constvalue);
	return !is_score && rstar_passes != NULL && rstar_passes[0] != '\0' ? 1 : rstar_samples;
}

/* InvalidOid: not known before it runs */
static Oid
server_of(const FuncExpr *func, bool is_score)
{
	Const	   *server = is_score && list_length(func->args) > RSTAR_ARG_SERVER ?
		list_nth(func->args, RSTAR_ARG_SERVER) : NULL;

	if (server == NULL)
		return rstar_server_meant(NULL);
	if (!IsA(server, Const))
		return InvalidOid;
	return rstar_server_meant(server->constisnull ? NULL : TextDatumGetCString(server->constvalue));
}

static void
explain_properties(const RstarScanReport *report, ExplainState *es)
{
	const RstarMemoStats *stats = &report->stats;

	ExplainPropertyInteger("Rows Read Ahead", NULL, report->rows_read, es);
	ExplainPropertyInteger("Largest Window", NULL, report->largest_window, es);
	ExplainPropertyInteger("Rows Dropped", NULL, report->rows_dropped, es);
	ExplainPropertyInteger("Calls Not Ahead", NULL, report->not_ahead, es);
	ExplainPropertyInteger("Pairs Cached", NULL, stats->cached, es);
	ExplainPropertyInteger("Pairs Joined", NULL, stats->joined, es);
	ExplainPropertyInteger("Pairs Sent", NULL, stats->sent, es);
	ExplainPropertyInteger("Pairs Failed", NULL, stats->failures, es);
	ExplainPropertyInteger("Samples", NULL, stats->samples, es);
	ExplainPropertyInteger("Prompt Tokens", NULL, stats->prompt_tokens, es);
	ExplainPropertyInteger("Cached Prompt Tokens", NULL, stats->cached_tokens, es);
	ExplainPropertyInteger("Completion Tokens", NULL, stats->completion_tokens, es);
	if (report->priors != NULL)
	{
		ExplainPropertyInteger("Sets with Priors", NULL, report->priors->sets, es);
		ExplainPropertyFloat("Least Prior Weight", NULL, report->priors->least, 3, es);
		ExplainPropertyFloat("Most Prior Weight", NULL, report->priors->most, 3, es);
	}
	if (es->timing)
		ExplainPropertyFloat("Wait Time", "ms", stats->wait_us / 1000.0, 3, es);
}

/* Several numbers in a line, as buffer usage has them */
static void
explain_text(const RstarScanReport *report, ExplainState *es)
{
	const RstarMemoStats *stats = &report->stats;

	indent(es);
	appendStringInfo(es->str, "Read Ahead: rows=" INT64_FORMAT " window=%d",
					 report->rows_read, report->largest_window);
	if (report->rows_dropped > 0)
		appendStringInfo(es->str, " dropped=" INT64_FORMAT, report->rows_dropped);
	if (report->not_ahead > 0)
		appendStringInfo(es->str, " calls not ahead=" INT64_FORMAT, report->not_ahead);
	appendStringInfoChar(es->str, '\n');

	indent(es);
	appendStringInfo(es->str, "Pairs: cached=" INT64_FORMAT " joined=" INT64_FORMAT
					 " sent=" INT64_FORMAT " failed=" INT64_FORMAT "\n",
					 stats->cached, stats->joined, stats->sent, stats->failures);

	indent(es);
	appendStringInfo(es->str, "Samples: scored=" INT64_FORMAT " prompt tokens=" INT64_FORMAT,
					 stats->samples, stats->prompt_tokens);
	if (stats->cached_tokens > 0)
		appendStringInfo(es->str, " (cached=" INT64_FORMAT ")", stats->cached_tokens);
	appendStringInfo(es->str, " completion tokens=" INT64_FORMAT "\n", stats->completion_tokens);
	if (report->priors != NULL)
	{
		indent(es);
		appendStringInfo(es->str, "Priors: sets=" INT64_FORMAT " weight=%.3f..%.3f\n",
						 report->priors->sets, report->priors->least, report->priors->most);
	}
	if (es->timing)
		ExplainPropertyFloat("Wait Time", "ms", stats->wait_us / 1000.0, 3, es);
}

static void
indent(ExplainState *es)
{
	appendStringInfoSpaces(es->str, es->indent * 2);
}
