/*-------------------------------------------------------------------------
 *
 * ranked_sql.c
 *		retrostar.ranked(): what retro_star_rerank_agg returns, in a type that
 *		has a name.
 *
 * Records without a type of their own exist in one session only: they cannot
 * be read back from a text, so neither a client in binary format nor another
 * node of a cluster nor a table can take them.  A type of its own must name
 * the type of the id, whatever that is for the aggregate: it is text here, as
 * the id's type prints it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#define NCOLUMNS 3

PG_FUNCTION_INFO_V1(retrostar_ranked);

/* How the ids of records of one type become texts */
typedef struct IdOutput
{
	Oid			type;			/* of the records: InvalidOid at first */
	int32		typmod;
	TupleDesc	desc;
	Oid			function;
} IdOutput;

static Datum name_record(HeapTupleHeader record, IdOutput *output, TupleDesc to);
static void find_output(HeapTupleHeader record, IdOutput *output);
static bool has_type(TupleDesc desc, int n, Oid type);

/*
 * Gives an array of one dimension, with the records in their order; NULL
 * elements stay.  Raises 42804 for records of other columns.
 */
Datum
retrostar_ranked(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	Oid			type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	TupleDesc	to = lookup_rowtype_tupdesc_copy(type, -1);
	IdOutput	output = {InvalidOid};
	Datum	   *records;
	bool	   *nulls;
	int			n;
	int			lower = 1;

	/* It may have been altered: its rows are made without another look */
	if (to->natts != NCOLUMNS || !has_type(to, 0, TEXTOID) || !has_type(to, 1, FLOAT8OID) ||
		!has_type(to, 2, INT4OID))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type \"%s\" does not have the attributes that it was created with",
						"retrostar.ranked"),
				 errhint("Create the extension again.")));

	/* those of a type with a name come here, too */
	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &records, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			records[i] = name_record(DatumGetHeapTupleHeader(records[i]), &output, to);
	}
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(type));
	PG_RETURN_ARRAYTYPE_P(construct_md_array(records, nulls, 1, &n, &lower, type, -1, false,
											 TYPALIGN_DOUBLE));
}

static Datum
name_record(HeapTupleHeader record, IdOutput *output, TupleDesc to)
{
	HeapTupleData tuple;
	Datum		values[NCOLUMNS];
	bool		nulls[NCOLUMNS];

	find_output(record, output);
	tuple.t_len = HeapTupleHeaderGetDatumLength(record);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = record;
	heap_deform_tuple(&tuple, output->desc, values, nulls);
	if (!nulls[0])
		values[0] = CStringGetTextDatum(OidOutputFunctionCall(output->function, values[0]));
	return HeapTupleGetDatum(heap_form_tuple(to, values, nulls));
}

/* Each record says which type it has; mostly it is the one before's */
static void
find_output(HeapTupleHeader record, IdOutput *output)
{
	Oid			type = HeapTupleHeaderGetTypeId(record);
	int32		typmod = HeapTupleHeaderGetTypMod(record);
	bool		is_varlena;

	if (output->type == type && output->typmod == typmod)
		return;
	output->type = type;
	output->typmod = typmod;
	output->desc = lookup_rowtype_tupdesc_copy(type, typmod);
	if (output->desc->natts != NCOLUMNS || TupleDescAttr(output->desc, 0)->attisdropped ||
		!has_type(output->desc, 1, FLOAT8OID) || !has_type(output->desc, 2, INT4OID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the records are not those of retro_star_rerank_agg()"),
				 errdetail("They must have an id of any type, a score of type double precision and a rank of type integer.")));
	getTypeOutputInfo(TupleDescAttr(output->desc, 0)->atttypid, &output->function, &is_varlena);
}

static bool
has_type(TupleDesc desc, int n, Oid type)
{
	return !TupleDescAttr(desc, n)->attisdropped && TupleDescAttr(desc, n)->atttypid == type;
}
