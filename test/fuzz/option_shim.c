/*-------------------------------------------------------------------------
 *
 * option_shim.c
 *		What option.c needs of the server, for the fuzzer: memory, errors, and
 *		stand-ins for catalogs, encodings and jsonb.
 *
 * Memory comes from malloc, piece by piece, so that the sanitizers see each
 * step beyond it.  Errors jump as the server's do.  Numbers with units are
 * read in a simpler way than the server's, and each JSON text is refused: its
 * parser is the server's own.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "option_shim.h"

typedef struct Piece
{
	struct Piece *next;
	struct Piece *previous;
} Piece;

sigjmp_buf *PG_exception_stack = NULL;
ErrorContextCallback *error_context_stack = NULL;
MemoryContext CurrentMemoryContext = NULL;

static Piece pieces = {&pieces, &pieces};
static bool privileged;
static int	sqlstate;
static char message[65536];
static size_t message_len;

void
shim_begin(bool may_read_files)
{
	privileged = may_read_files;
	sqlstate = 0;
	message_len = 0;
	message[0] = '\0';
}

void
shim_end(void)
{
	while (pieces.next != &pieces)
		pfree(pieces.next + 1);
}

int
shim_sqlstate(void)
{
	return sqlstate;
}

const char *
shim_message(void)
{
	return message;
}

/*
 * Memory
 */

void *
palloc(Size size)
{
	Piece	   *piece = malloc(sizeof(Piece) + size);

	piece->next = pieces.next;
	piece->previous = &pieces;
	piece->next->previous = piece;
	pieces.next = piece;
	return piece + 1;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return flags & MCXT_ALLOC_ZERO ? palloc0(size) : palloc(size);
}

void
pfree(void *pointer)
{
	Piece	   *piece = (Piece *) pointer - 1;

	piece->next->previous = piece->previous;
	piece->previous->next = piece->next;
	free(piece);
}

void *
repalloc(void *pointer, Size size)
{
	Piece	   *piece = realloc((Piece *) pointer - 1, sizeof(Piece) + size);

	piece->next->previous = piece;
	piece->previous->next = piece;
	return piece + 1;
}

char *
pstrdup(const char *text)
{
	return strcpy(palloc(strlen(text) + 1), text);
}

/* Newer minor versions of PostgreSQL allocate arrays so */
extern void *palloc0_mul(Size size, Size count);

void *
palloc0_mul(Size size, Size count)
{
	return palloc0(size * count);
}

/*
 * Errors
 */

/* Of a PostgreSQL with assertions */
extern void ExceptionalCondition(const char *condition, const char *type, const char *file, int line);

void
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
{
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
	abort();
}

bool
errstart(int elevel, const char *domain)
{
	if (elevel < ERROR)
		return false;
	sqlstate = 0;
	message_len = 0;
	message[0] = '\0';
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	pg_re_throw();
}

void
pg_re_throw(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

void
FlushErrorState(void)
{
}

ErrorData *
CopyErrorData(void)
{
	ErrorData  *error = palloc0(sizeof(ErrorData));

	error->sqlerrcode = sqlstate;
	error->message = pstrdup(message);
	return error;
}

void
FreeErrorData(ErrorData *error)
{
	pfree(error->message);
	pfree(error);
}

int
errcode(int code)
{
	sqlstate = code;
	return 0;
}

static int
append_text(const char *format, va_list args)
{
	int			n = vsnprintf(message + message_len, sizeof(message) - message_len, format, args);

	if (n > 0)
		message_len = Min(message_len + n, sizeof(message) - 1);
	return 0;
}

#define TEXT_FUNCTION(name) \
	int \
	name(const char *format, ...) \
	{ \
		va_list		args; \
		va_start(args, format); \
		append_text(format, args); \
		va_end(args); \
		return 0; \
	}

TEXT_FUNCTION(errmsg)
TEXT_FUNCTION(errmsg_internal)
TEXT_FUNCTION(errdetail)
TEXT_FUNCTION(errdetail_internal)
TEXT_FUNCTION(errhint)

int
errhidestmt(bool hide_stmt)
{
	return 0;
}

/*
 * The rest
 */

List *
untransformRelOptions(Datum options)
{
	return (List *) DatumGetPointer(options);
}

char *
defGetString(DefElem *def)
{
	return strVal(def->arg);
}

Oid
GetUserId(void)
{
	return 10;
}

bool
has_privs_of_role(Oid member, Oid role)
{
	return privileged;
}

bool
parse_real(const char *value, double *result, int flags, const char **hintmsg)
{
	char	   *end;

	*result = strtod(value, &end);
	if (end == value || isnan(*result))
		return false;
	if (strcmp(end, "ms") == 0 && flags == GUC_UNIT_S)
		*result /= 1000;
	else if (strcmp(end, "d") == 0 && flags == GUC_UNIT_S)
		*result *= 86400;
	else if (*end != '\0')
	{
		*hintmsg = "Valid units for this parameter are \"ms\" and \"d\".";
		return false;
	}
	return true;
}

int
pg_mbcliplen(const char *text, int len, int limit)
{
	int			clipped = 0;

	while (clipped < len)
	{
		int			n = pg_utf_mblen((const unsigned char *) text + clipped);

		if (clipped + n > Min(len, limit))
			break;
		clipped += n;
	}
	return clipped;
}

char *
pg_server_to_any(const char *text, int len, int encoding)
{
	return unconstify(char *, text);
}

Datum
jsonb_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION), errmsg("no JSON here")));
	PG_RETURN_NULL();
}

Datum
DirectFunctionCall1Coll(PGFunction function, Oid collation, Datum argument)
{
	return function(NULL);
}

struct varlena *
pg_detoast_datum(struct varlena *datum)
{
	return datum;
}

/* Of what follows a JSON text that was accepted, nothing is reached */
JsonbValue *
findJsonbValueFromContainer(JsonbContainer *container, uint32 flags, JsonbValue *key)
{
	abort();
}

char *
JsonbToCString(StringInfo out, JsonbContainer *in, int estimated_len)
{
	abort();
}

void
escape_json(StringInfo buf, const char *text)
{
	abort();
}
