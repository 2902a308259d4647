/*-------------------------------------------------------------------------
 *
 * passages_sql.c
 *		retro_star_passages(): a long document in passages, as rows.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "functions/passages.h"

PG_FUNCTION_INFO_V1(retrostar_retro_star_passages);

enum
{
	ARG_DOC,
	ARG_SIZE,
	ARG_OVERLAP,
	ARG_AT_MOST
};

static int	arg_number(FunctionCallInfo fcinfo, int n, const char *name, int least, int most);
static int	character_length(const char *at);
static int	text_encoding(void);
static void put_row(ReturnSetInfo *rsinfo, int n, const char *doc, const RstarPassage *passage);

Datum
retrostar_retro_star_passages(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	RstarPassagesRule rule;
	RstarPassages *passages;
	RstarPassage passage;
	text	   *doc;
	int			at_most;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext row_context = AllocSetContextCreate(context, "retrostar row", ALLOCSET_SMALL_SIZES);

	InitMaterializedSRF(fcinfo, 0);
	rule.size = arg_number(fcinfo, ARG_SIZE, "size", 1, RSTAR_PASSAGES_MAX_SIZE);
	rule.overlap = arg_number(fcinfo, ARG_OVERLAP, "overlap", 0, RSTAR_PASSAGES_MAX_SIZE);
	at_most = arg_number(fcinfo, ARG_AT_MOST, "at_most", 1, INT_MAX);
	if (rule.overlap >= rule.size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("overlap must be less than size"),
				 errdetail("The overlap is %d and the size %d characters.", rule.overlap, rule.size),
				 errhint("Give both; an overlap of a tenth of the size is enough for most texts.")));
	if (PG_ARGISNULL(ARG_DOC))
		return (Datum) 0;
	doc = PG_GETARG_TEXT_PP(ARG_DOC);
	rule.text.data = VARDATA_ANY(doc);
	rule.text.len = VARSIZE_ANY_EXHDR(doc);
	rule.length = character_length;
	rule.utf8 = text_encoding() == PG_UTF8;
	passages = rstar_passages_create(palloc(rstar_passages_size(&rule)), &rule);
	for (int n = 1; n <= at_most && rstar_passages_next(passages, &passage); n++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(row_context);
		put_row(rsinfo, n, rule.text.data, &passage);
		MemoryContextSwitchTo(context);
		MemoryContextReset(row_context);
	}
	return (Datum) 0;
}

static int
arg_number(FunctionCallInfo fcinfo, int n, const char *name, int least, int most)
{
	int			number;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be NULL", name),
				 errhint("Leave the argument out to get its default.")));
	number = PG_GETARG_INT32(n);
	if (number < least || number > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be from %d to %d", name, least, most),
				 errdetail("It is %d.", number)));
	return number;
}

static int
character_length(const char *at)
{
	return pg_encoding_mblen(text_encoding(), at);
}

/* What is sent must be UTF-8 where the database does not know what it has */
static int
text_encoding(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_SQL_ASCII ? PG_UTF8 : encoding;
}

static void
put_row(ReturnSetInfo *rsinfo, int n, const char *doc, const RstarPassage *passage)
{
	Datum		values[3] = {
		Int32GetDatum(n),
		PointerGetDatum(cstring_to_text_with_len(doc + passage->from, passage->len)),
		Int32GetDatum(passage->start + 1)
	};
	bool		nulls[3] = {false};

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
