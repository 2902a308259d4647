/*-------------------------------------------------------------------------
 *
 * scan_explain.c
 *		What EXPLAIN shows of a prefetch node.
 *
 * Called by: scan.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "utils/ruleutils.h"

#include "scan_explain.h"

#include "calls.h"
#include "scan.h"

static List *site_texts(CustomScan *scan, List *ancestors, ExplainState *es);
static FuncExpr *without_defaults(FuncExpr *func);
static void explain_properties(const RstarScanReport *report, ExplainState *es);
static void explain_text(const RstarScanReport *report, ExplainState *es);
static void indent(ExplainState *es);

void
rstar_scan_explain(CustomScan *scan, const RstarScanReport *report, List *ancestors,
				   ExplainState *es)
{
	ExplainPropertyList("Calls Ahead", site_texts(scan, ancestors, es), es);
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

static void
explain_properties(const RstarScanReport *report, ExplainState *es)
{
	const RstarScoreStats *stats = &report->stats;

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
	ExplainPropertyInteger("Completion Tokens", NULL, stats->completion_tokens, es);
	if (es->timing)
		ExplainPropertyFloat("Wait Time", "ms", stats->wait_us / 1000.0, 3, es);
}

/* Several numbers in a line, as buffer usage has them */
static void
explain_text(const RstarScanReport *report, ExplainState *es)
{
	const RstarScoreStats *stats = &report->stats;

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
	appendStringInfo(es->str, "Samples: scored=" INT64_FORMAT " prompt tokens=" INT64_FORMAT
					 " completion tokens=" INT64_FORMAT "\n",
					 stats->samples, stats->prompt_tokens, stats->completion_tokens);
	if (es->timing)
		ExplainPropertyFloat("Wait Time", "ms", stats->wait_us / 1000.0, 3, es);
}

static void
indent(ExplainState *es)
{
	appendStringInfoSpaces(es->str, es->indent * 2);
}
