/*-------------------------------------------------------------------------
 *
 * report_page.c
 *		The HTML of a page: head, text, tables, numbers.
 *
 * Names, URLs and documents are others' words: rstar_page_text() is the one way
 * by which they get into a page.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"

#include "base/encoding.h"
#include "functions/report_page.h"

/* What XML has no place for */
#define REPLACEMENT "&#65533;"

static const char *const head_begin =
"<!DOCTYPE html>\n"
"<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n"
"<head>\n"
"<meta charset=\"utf-8\"/>\n"
"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n"
"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
"<title>";

/* Colours of text have a contrast of 4.5 and more to their background */
static const char *const head_end =
"</title>\n"
"<style>\n"
":root { color-scheme: light dark; --back: #ffffff; --ink: #1b1f24; --soft: #57606a; --rule: #d8dee4; --card: #f6f8fa;\n"
"  --c0: #1f5fa8; --c1: #b3541e; --c2: #3f7f31; --c3: #7a4fa3; --c4: #8a6d00; --c5: #6e7781; }\n"
"@media (prefers-color-scheme: dark) { :root { --back: #0d1117; --ink: #e6edf3; --soft: #9da7b1; --rule: #30363d; --card: #161b22;\n"
"  --c0: #7db3ec; --c1: #f0a06a; --c2: #8fcf7d; --c3: #c7a0ee; --c4: #e0c25a; --c5: #a3adb8; } }\n"
"body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--back); color: var(--ink);\n"
"  font: 1rem/1.5 system-ui, sans-serif; }\n"
"h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; border-bottom: 1px solid var(--rule); }\n"
"p { margin: .5rem 0; } .soft, figcaption p { color: var(--soft); font-size: .9rem; }\n"
"dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .6rem; margin: .8rem 0; }\n"
"dl div { background: var(--card); border: 1px solid var(--rule); border-radius: .4rem; padding: .5rem .7rem; }\n"
"dt { color: var(--soft); font-size: .85rem; } dd { margin: 0; font-size: 1.25rem; font-variant-numeric: tabular-nums; }\n"
".charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 0 1.5rem; }\n"
"figure { margin: 1rem 0; max-width: 40rem; } figcaption { font-weight: 600; } figcaption p { font-weight: 400; margin: 0; }\n"
"svg { width: 100%; height: auto; display: block; } svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }\n"
"svg .grid { stroke: var(--rule); } svg .span { stroke: var(--c0); stroke-width: 2; } svg .dot { fill: var(--c0); fill-opacity: .55; }\n"
"svg .mark { stroke: var(--c1); stroke-width: 3; } svg rect { stroke: var(--back); stroke-width: .5; }\n"
".c0 { fill: var(--c0); background: var(--c0); } .c1 { fill: var(--c1); background: var(--c1); } .c2 { fill: var(--c2); background: var(--c2); }\n"
".c3 { fill: var(--c3); background: var(--c3); } .c4 { fill: var(--c4); background: var(--c4); } .c5 { fill: var(--c5); background: var(--c5); }\n"
"ul { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: .3rem 0; padding: 0; font-size: .85rem; }\n"
"li span { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem; border-radius: .15rem; }\n"
".wide { overflow-x: auto; } table { border-collapse: collapse; margin: .6rem 0; font-size: .88rem; }\n"
"caption { text-align: left; color: var(--soft); } th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--rule);\n"
"  vertical-align: top; } td, th[scope=row] { overflow-wrap: anywhere; min-width: 4.5rem; } tr > :last-child:not(.n) { min-width: 14rem; }\n"
"th[scope=row] { font-weight: 400; } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums;\n"
"  white-space: nowrap; min-width: 0; } summary { cursor: pointer; color: var(--soft); font-size: .88rem; }\n"
"blockquote { margin: .5rem 0; padding-left: .8rem; border-left: .25rem solid var(--rule); overflow-wrap: anywhere; }\n"
"@media print { details { display: none; } }\n"
"</style>\n"
"</head>\n"
"<body>\n"
"<header>\n";

void
rstar_page_begin(StringInfo page, const char *title, const char *subtitle)
{
	appendStringInfoString(page, head_begin);
	rstar_page_text(page, title);
	appendStringInfoString(page, head_end);
	rstar_page_element(page, "h1", title);
	rstar_page_element(page, "p", subtitle);
	appendStringInfoString(page, "</header>\n<main>\n");
}

void
rstar_page_end(StringInfo page)
{
	appendStringInfoString(page, "</main>\n</body>\n</html>\n");
}

void
rstar_page_text(StringInfo page, const char *text)
{
	RstarText	utf8;
	const unsigned char *next;
	const unsigned char *end;

	/*
	 * A database that does not say what its bytes are may hold any, and names
	 * of roles and databases may come from one of another encoding
	 */
	if (!pg_verify_mbstr(GetDatabaseEncoding() == PG_SQL_ASCII ? PG_UTF8 : GetDatabaseEncoding(),
						 text, strlen(text), true))
	{
		char	   *plain = pstrdup(text);

		for (char *c = plain; *c != '\0'; c++)
			*c = IS_HIGHBIT_SET(*c) ? '?' : *c;
		text = plain;
	}
	utf8 = rstar_encoding_to_utf8(text, strlen(text));
	next = (const unsigned char *) utf8.data;
	end = next + utf8.len;
	while (next < end)
	{
		pg_wchar	c = utf8_to_unicode(next);

		next += pg_utf_mblen(next);
		if (c == '<')
			appendStringInfoString(page, "&lt;");
		else if (c == '>')
			appendStringInfoString(page, "&gt;");
		else if (c == '&')
			appendStringInfoString(page, "&amp;");
		else if (c == '"')
			appendStringInfoString(page, "&quot;");
		else if (c == '\'')
			appendStringInfoString(page, "&#39;");
		else if (c == '\t' || c == '\n' || (c >= ' ' && c < 0x7F))
			appendStringInfoChar(page, (char) c);
		else if (c < 0xA0 || (c & 0xFFFE) == 0xFFFE || (c >= 0xD800 && c < 0xE000) ||
				 (c >= 0xFDD0 && c < 0xFDF0) || c > 0x10FFFF)
			appendStringInfoString(page, c == '\r' ? "\n" : REPLACEMENT);
		else
			appendStringInfo(page, "&#%u;", (unsigned) c);
	}
}

void
rstar_page_element(StringInfo page, const char *tag, const char *text)
{
	appendStringInfo(page, "<%s>", tag);
	rstar_page_text(page, text);
	appendStringInfo(page, "</%.*s>\n", (int) strcspn(tag, " "), tag);
}

void
rstar_page_section(StringInfo page, const char *title)
{
	appendStringInfoString(page, "<section>\n");
	rstar_page_element(page, "h2", title);
}

void
rstar_page_section_end(StringInfo page)
{
	appendStringInfoString(page, "</section>\n");
}

/* tabindex: what is wider than the screen can be moved by keys */
void
rstar_page_table(StringInfo page, const char *caption, const char *columns,
				 const char *const *headings)
{
	appendStringInfoString(page, "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"");
	rstar_page_text(page, caption);
	appendStringInfoString(page, "\"><table>\n");
	rstar_page_element(page, "caption", caption);
	appendStringInfoString(page, "<thead><tr>");
	for (int i = 0; columns[i] != '\0'; i++)
		rstar_page_element(page, columns[i] == 'n' ? "th scope=\"col\" class=\"n\"" : "th scope=\"col\"",
						   headings[i]);
	appendStringInfoString(page, "</tr></thead>\n<tbody>\n");
}

void
rstar_page_row(StringInfo page, const char *columns, char *const *cells)
{
	appendStringInfoString(page, "<tr>");
	for (int i = 0; columns[i] != '\0'; i++)
	{
		if (cells[i] == NULL)
			appendStringInfoString(page, columns[i] == 'n' ? "<td class=\"n\">&#8211;</td>" : "<td>&#8211;</td>");
		else
			rstar_page_element(page, i == 0 ? "th scope=\"row\"" : columns[i] == 'n' ? "td class=\"n\"" : "td",
							   cells[i]);
	}
	appendStringInfoString(page, "</tr>\n");
}

void
rstar_page_table_end(StringInfo page)
{
	appendStringInfoString(page, "</tbody></table></div>\n");
}

char *
rstar_page_number(double n)
{
	char		digits[32];
	char	   *grouped = palloc(48);
	char	   *to = grouped;
	int			len = snprintf(digits, sizeof(digits), "%.0f", Min(fabs(n), 1e18));

	if (n <= -0.5)
		*to++ = '-';
	for (int i = 0; i < len; i++)
	{
		if (i > 0 && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = '\0';
	return grouped;
}

char *
rstar_page_decimal(double n)
{
	if (fabs(n) >= 1000)
		return rstar_page_number(n);
	return psprintf(fabs(n) >= 1 || n == 0 ? "%.1f" : "%.2f", n);
}

char *
rstar_page_share(double part, double whole)
{
	return whole > 0 ? psprintf("%.1f %%", 100 * part / whole) : NULL;
}

char *
rstar_page_seconds(double seconds)
{
	return seconds < 1 ? psprintf("%.0f ms", seconds * 1000) : psprintf("%s s", rstar_page_decimal(seconds));
}

char *
rstar_page_bytes(double bytes)
{
	static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
	int			unit = 0;

	for (; bytes >= 1024 && unit < (int) lengthof(units) - 1; unit++)
		bytes /= 1024;
	return psprintf("%s %s", unit == 0 ? rstar_page_number(bytes) : rstar_page_decimal(bytes), units[unit]);
}
