/*-------------------------------------------------------------------------
 *
 * report_chart.c
 *		Drawings of a page, as SVG, each with its table.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"

#include "functions/report_chart.h"
#include "functions/report_page.h"

/* Of the drawing */
#define WIDTH	560
#define HEIGHT	230
#define LEFT	56
#define RIGHT	8
#define TOP		12
#define BOTTOM	34
#define ROW		22				/* of a range */
#define NAMES	170				/* of what stands before it */
#define LETTER	7				/* of a label, about */

static void begin_figure(StringInfo page, const char *title, const char *summary, int height);
static double step(double high);
static void draw_bars(StringInfo page, const RstarBarChart *chart, double high);
static void bars_table(StringInfo page, const RstarBarChart *chart);
static void draw_range(StringInfo page, const RstarRange *range, double y, double high);
static double bar_total(const RstarBarChart *chart, int bar);
static void text_at(StringInfo page, double x, double y, const char *anchor, const char *text);
static char *cut(const char *text, int chars);

void
rstar_chart_bars(StringInfo page, const RstarBarChart *chart)
{
	double		highest = 0;
	double		high;
	double		tick;

	for (int i = 0; i < chart->nbars; i++)
		highest = Max(highest, bar_total(chart, i));
	tick = ceil(step(highest)); /* of what is counted */
	high = tick * Max(ceil(highest / tick), 1);
	begin_figure(page, chart->title, chart->summary, HEIGHT);
	for (double at = 0; at <= high; at += tick)
	{
		double		y = HEIGHT - BOTTOM - at / high * (HEIGHT - TOP - BOTTOM);

		appendStringInfo(page, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
						 LEFT, WIDTH - RIGHT, y, y);
		text_at(page, LEFT - 6, y + 4, "end", rstar_page_number(at));
	}
	draw_bars(page, chart, high);
	text_at(page, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 2, "middle", chart->across);
	appendStringInfoString(page, "</svg>\n");
	if (chart->nseries > 1)
	{
		appendStringInfoString(page, "<ul>\n");
		for (int i = 0; i < chart->nseries; i++)
		{
			appendStringInfo(page, "<li><span class=\"c%d\"></span>", i);
			rstar_page_text(page, chart->series[i]);
			appendStringInfoString(page, "</li>\n");
		}
		appendStringInfoString(page, "</ul>\n");
	}
	bars_table(page, chart);
	appendStringInfoString(page, "</figure>\n");
}

void
rstar_chart_ranges(StringInfo page, const RstarRangeChart *chart)
{
	double		high = chart->high;
	double		tick;
	int			base = TOP + ROW * chart->nranges;

	if (high <= 0)
	{
		for (int i = 0; i < chart->nranges; i++)
		{
			high = Max(high, chart->ranges[i].mark);
			for (int j = 0; j < chart->ranges[i].npoints; j++)
				high = Max(high, chart->ranges[i].points[j]);
		}
		tick = step(high);
		high = tick * Max(ceil(high / tick), 1);
	}
	else
		tick = step(high);
	begin_figure(page, chart->title, chart->summary, base + BOTTOM / 2);
	for (double at = 0; at <= high * 1.0001; at += tick)
	{
		double		x = NAMES + at / high * (WIDTH - NAMES - 2 * RIGHT);

		appendStringInfo(page, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n",
						 x, x, TOP, base);
		text_at(page, x, base + 14, "middle", tick == floor(tick) ? rstar_page_number(at) : rstar_page_decimal(at));
	}
	for (int i = 0; i < chart->nranges; i++)
		draw_range(page, &chart->ranges[i], TOP + ROW * i + ROW / 2, high);
	appendStringInfoString(page, "</svg>\n</figure>\n");
}

/* Browsers read <title> and <desc> of an SVG out loud, by their ids */
static void
begin_figure(StringInfo page, const char *title, const char *summary, int height)
{
	/* There is nothing before it twice */
	int			id = page->len;

	appendStringInfoString(page, "<figure>\n<figcaption>");
	rstar_page_text(page, title);
	rstar_page_element(page, "p", summary);
	appendStringInfo(page, "</figcaption>\n<svg role=\"img\" viewBox=\"0 0 %d %d\" aria-labelledby=\"t%d d%d\" "
					 "xmlns=\"http://www.w3.org/2000/svg\">\n<title id=\"t%d\">", WIDTH, height, id, id, id);
	rstar_page_text(page, title);
	appendStringInfo(page, "</title>\n<desc id=\"d%d\">", id);
	rstar_page_text(page, summary);
	appendStringInfoString(page, "</desc>\n");
}

/* From line to line of the grid: five at most */
static double
step(double high)
{
	double		ten = pow(10, floor(log10(Max(high, 1e-9))));

	if (high <= 0)
		return 1;
	return high / ten <= 1.25 ? ten / 4 : high / ten <= 2.5 ? ten / 2 : high / ten <= 5 ? ten : ten * 2;
}

/* As many labels as there is room for */
static void
draw_bars(StringInfo page, const RstarBarChart *chart, double high)
{
	double		width = (WIDTH - LEFT - RIGHT) / (double) Max(chart->nbars, 1);
	int			longest = 0;
	int			each;

	for (int i = 0; i < chart->nbars; i++)
		longest = Max(longest, (int) strlen(chart->bars[i].label));
	each = ceil((longest + 2) * LETTER / width);

	for (int i = 0; i < chart->nbars; i++)
	{
		double		x = LEFT + i * width;
		double		below = 0;

		for (int j = 0; j < chart->nseries; j++)
		{
			double		part = chart->bars[i].parts[j];
			double		size = part / high * (HEIGHT - TOP - BOTTOM);

			if (part <= 0)
				continue;
			below += size;
			appendStringInfo(page, "<rect class=\"c%d\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>",
							 j, x + width * 0.06, HEIGHT - BOTTOM - below, width * 0.88, size);
			rstar_page_text(page, chart->bars[i].label);
			appendStringInfoString(page, ": ");
			if (chart->nseries > 1)
			{
				rstar_page_text(page, chart->series[j]);
				appendStringInfoString(page, ", ");
			}
			rstar_page_text(page, rstar_page_number(part));
			appendStringInfoString(page, "</title></rect>\n");
		}
		if (i % Max(each, 1) == 0 && (each <= 1 || i + each <= chart->nbars))
			text_at(page, each > 1 ? x : x + width / 2, HEIGHT - BOTTOM + 15, each > 1 ? "start" : "middle",
					chart->bars[i].label);
	}
}

static void
bars_table(StringInfo page, const RstarBarChart *chart)
{
	const char *headings[RSTAR_CHART_SERIES + 1];
	char	   *cells[RSTAR_CHART_SERIES + 1];
	char		columns[RSTAR_CHART_SERIES + 2] = "t";

	headings[0] = chart->across;
	for (int j = 0; j < chart->nseries; j++)
	{
		headings[j + 1] = chart->nseries > 1 ? chart->series[j] : chart->up;
		columns[j + 1] = 'n';
	}
	columns[chart->nseries + 1] = '\0';
	appendStringInfoString(page, "<details><summary>As a table</summary>\n");
	rstar_page_table(page, psprintf("%s: %s", chart->title, chart->up), columns, headings);
	for (int i = 0; i < chart->nbars; i++)
	{
		cells[0] = chart->bars[i].label;
		for (int j = 0; j < chart->nseries; j++)
			cells[j + 1] = rstar_page_number(chart->bars[i].parts[j]);
		rstar_page_row(page, columns, cells);
	}
	rstar_page_table_end(page);
	appendStringInfoString(page, "</details>\n");
}

static void
draw_range(StringInfo page, const RstarRange *range, double y, double high)
{
	double		scale = (WIDTH - NAMES - 2 * RIGHT) / high;
	double		first = range->mark;
	double		last = range->mark;

	text_at(page, NAMES - 8, y + 4, "end", cut(range->label, 24));
	for (int i = 0; i < range->npoints; i++)
	{
		first = Min(first, range->points[i]);
		last = Max(last, range->points[i]);
	}
	appendStringInfo(page, "<line class=\"span\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
					 NAMES + first * scale, NAMES + last * scale, y, y);
	for (int i = 0; i < range->npoints; i++)
		appendStringInfo(page, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n",
						 NAMES + range->points[i] * scale, y);
	appendStringInfo(page, "<line class=\"mark\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
					 NAMES + range->mark * scale, NAMES + range->mark * scale, y - 7, y + 7);
}

static double
bar_total(const RstarBarChart *chart, int bar)
{
	double		total = 0;

	for (int i = 0; i < chart->nseries; i++)
		total += chart->bars[bar].parts[i];
	return total;
}

static void
text_at(StringInfo page, double x, double y, const char *anchor, const char *text)
{
	appendStringInfo(page, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
	rstar_page_text(page, text);
	appendStringInfoString(page, "</text>\n");
}

/* So many characters at most, in one line; palloc'd */
static char *
cut(const char *text, int chars)
{
	int			len = strlen(text);
	int			kept = pg_mbcharcliplen(text, len, chars);
	char	   *line = kept == len ? pstrdup(text) : psprintf("%.*s..", pg_mbcharcliplen(text, len, chars - 2), text);

	for (char *c = line; *c != '\0'; c++)
		*c = *c == '\n' || *c == '\r' || *c == '\t' ? ' ' : *c;
	return line;
}
