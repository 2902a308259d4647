/*-------------------------------------------------------------------------
 *
 * encoding.c
 *		Between the database's encoding and UTF-8, which models speak.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "base/encoding.h"

RstarText
rstar_encoding_to_utf8(const char *data, int len)
{
	RstarText	utf8 = {data, len};
	char	   *converted;

	if (GetDatabaseEncoding() == PG_UTF8)
		return utf8;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		if (!pg_verify_mbstr(PG_UTF8, data, len, true))
			ereport(ERROR,
					(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
					 errmsg("text to be scored is not valid UTF-8"),
					 errdetail("The database's encoding is SQL_ASCII, which does not say what its bytes mean."),
					 errhint("Convert it with convert(bytea, source_encoding, 'UTF8').")));
		return utf8;
	}
	converted = pg_server_to_any(data, len, PG_UTF8);
	if (converted != data)
	{
		utf8.data = converted;
		utf8.len = strlen(converted);
	}
	return utf8;
}

char *
rstar_encoding_from_utf8(const char *utf8, int len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc = InvalidOid;
	StringInfoData buf;
	int			n;

	initStringInfo(&buf);
	if (encoding != PG_UTF8 && encoding != PG_SQL_ASCII)
		proc = FindDefaultConversionProc(PG_UTF8, encoding);
	for (int i = 0; i < len; i += n)
	{
		unsigned char converted[MAX_CONVERSION_GROWTH * MAX_MULTIBYTE_CHAR_LEN + 1];

		n = pg_utf_mblen((const unsigned char *) utf8 + i);
		if (n > len - i || !pg_utf8_islegal((const unsigned char *) utf8 + i, n) || utf8[i] == '\0')
		{
			appendStringInfoChar(&buf, '?');
			n = 1;
		}
		else if (!OidIsValid(proc) || n == 1)
			appendBinaryStringInfo(&buf, utf8 + i, n);
		else if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
											   (unsigned char *) utf8 + i, n,
											   converted, sizeof(converted), true) == n)
			appendStringInfoString(&buf, (char *) converted);
		else
			appendStringInfoChar(&buf, '?');
	}
	return buf.data;
}
