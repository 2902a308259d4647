/*-------------------------------------------------------------------------
 *
 * report_page.h
 *		The HTML of a page: head, text, tables, numbers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPORT_PAGE_H
#define RSTAR_REPORT_PAGE_H

#include "postgres.h"

#include "lib/stringinfo.h"

/*
 * Everything up to the first section, and what comes behind the last one.  The
 * page is HTML and well-formed XML, of ASCII characters alone, asks for no
 * other file, and tells browsers to run and load nothing.
 */
extern void rstar_page_begin(StringInfo page, const char *title, const char *subtitle);
extern void rstar_page_end(StringInfo page);

/*
 * Text of the database's encoding as content or as the value of an attribute,
 * whatever it is: characters with a meaning and all beyond ASCII become
 * references, those that XML does not have U+FFFD.
 */
extern void rstar_page_text(StringInfo page, const char *text);

/* <tag>text</tag>; the tag is taken as it is */
extern void rstar_page_element(StringInfo page, const char *tag, const char *text);

/* A section with its heading, and its end */
extern void rstar_page_section(StringInfo page, const char *title);
extern void rstar_page_section_end(StringInfo page);

/*
 * A table: "columns" says for each whether it is text (t) or a number (n).  The
 * first cell of a row is its heading; a cell that is NULL is shown as a dash.
 */
extern void rstar_page_table(StringInfo page, const char *caption, const char *columns,
							 const char *const *headings);
extern void rstar_page_row(StringInfo page, const char *columns, char *const *cells);
extern void rstar_page_table_end(StringInfo page);

/* What numbers look like; palloc'd */
extern char *rstar_page_number(double n);	/* whole, 1,234,567 */
extern char *rstar_page_decimal(double n);	/* 12.5, 0.25 */
extern char *rstar_page_share(double part, double whole);	/* 12.5 %; of 0: NULL */
extern char *rstar_page_seconds(double seconds);	/* 250 ms, 2.5 s */
extern char *rstar_page_bytes(double bytes);	/* 512 kB, 1.5 GB */

#endif							/* RSTAR_REPORT_PAGE_H */
