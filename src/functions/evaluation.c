/*-------------------------------------------------------------------------
 *
 * evaluation.c
 *		retrostar.ndcg() and retrostar.recall(): how good a ranking is, by
 *		judgements of which documents are relevant.
 *
 * As trec_eval computes ndcg_cut and recall: the gain of a document is its
 * grade, the discount log2(rank + 1), and the best ranking is that of all
 * that was judged.  expected/evaluation.out has figures of trec_eval's own.
 *
 * trec_eval knows neither a document that is there twice nor one without a
 * name.  Here the first place counts, the others are of no use, and of
 * several grades the highest; NULL is no document.  And where nothing is
 * relevant the result is NULL, so that an average leaves the query out.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(retrostar_ndcg);
PG_FUNCTION_INFO_V1(retrostar_recall);
PG_FUNCTION_INFO_V1(retrostar_recall_graded);

enum
{
	ARG_RANKING,
	ARG_JUDGED,
	ARG_GRADES
};

/* Elements of an array; none where it is NULL */
typedef struct Elements
{
	Datum	   *values;
	bool	   *nulls;
	int			n;
} Elements;

/* A relevant document */
typedef struct Judgement
{
	Datum		id;
	double		grade;			/* more than 0 */
	bool		found;			/* in the ranking */
} Judgement;

/* The relevant documents, each once, in the order of their ids */
typedef struct Judgements
{
	Judgement  *items;
	int			n;
	FunctionCallInfo compare;	/* compares two ids */
} Judgements;

static Datum recall(FunctionCallInfo fcinfo, int arg_grades, int arg_k);
static int	cut_off(FunctionCallInfo fcinfo, int arg);
static void judgements(FunctionCallInfo fcinfo, int arg_grades, Judgements *relevant);
static Elements elements(FunctionCallInfo fcinfo, int arg);
static double grade(const Elements *grades, int i);
static FunctionCallInfo compare_function(Oid type, Oid collation);
static int	compare_ids(Datum a, Datum b, FunctionCallInfo compare);
static int	compare_judgements(const void *a, const void *b, void *arg);
static int	same_id(const void *a, const void *b, void *arg);
static int	compare_grades(const void *a, const void *b);
static Judgement *find(const Judgements *relevant, const Elements *ranking, int i);

Datum
retrostar_ndcg(PG_FUNCTION_ARGS)
{
	int			k = cut_off(fcinfo, ARG_GRADES + 1);
	Elements	ranking = elements(fcinfo, ARG_RANKING);
	Judgements	relevant;
	double		dcg = 0;
	double		ideal = 0;

	if (PG_ARGISNULL(ARG_JUDGED) || PG_ARGISNULL(ARG_GRADES))
		PG_RETURN_NULL();
	judgements(fcinfo, ARG_GRADES, &relevant);
	if (relevant.n == 0)
		PG_RETURN_NULL();
	for (int i = 0; i < ranking.n && i < k; i++)
	{
		Judgement  *judgement = find(&relevant, &ranking, i);

		if (judgement != NULL)
			dcg += judgement->grade / log2(i + 2.0);
	}
	qsort(relevant.items, relevant.n, sizeof(Judgement), compare_grades);
	for (int i = 0; i < relevant.n && i < k; i++)
		ideal += relevant.items[i].grade / log2(i + 2.0);
	PG_RETURN_FLOAT8(dcg / ideal);
}

Datum
retrostar_recall(PG_FUNCTION_ARGS)
{
	return recall(fcinfo, -1, ARG_GRADES);
}

Datum
retrostar_recall_graded(PG_FUNCTION_ARGS)
{
	return recall(fcinfo, ARG_GRADES, ARG_GRADES + 1);
}

static Datum
recall(FunctionCallInfo fcinfo, int arg_grades, int arg_k)
{
	int			k = cut_off(fcinfo, arg_k);
	Elements	ranking = elements(fcinfo, ARG_RANKING);
	Judgements	relevant;
	int			found = 0;

	if (PG_ARGISNULL(ARG_JUDGED) || (arg_grades >= 0 && PG_ARGISNULL(arg_grades)))
		PG_RETURN_NULL();
	judgements(fcinfo, arg_grades, &relevant);
	if (relevant.n == 0)
		PG_RETURN_NULL();
	for (int i = 0; i < ranking.n && i < k; i++)
		found += find(&relevant, &ranking, i) != NULL ? 1 : 0;
	PG_RETURN_FLOAT8((double) found / relevant.n);
}

/* How many places of the ranking are looked at; NULL: all */
static int
cut_off(FunctionCallInfo fcinfo, int arg)
{
	int			k;

	if (PG_ARGISNULL(arg))
		return INT_MAX;
	k = PG_GETARG_INT32(arg);
	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("k must be at least 1"),
				 errdetail("It is %d.", k),
				 errhint("NULL stands for the whole ranking.")));
	return k;
}

/* Without grades all that are judged are relevant */
static void
judgements(FunctionCallInfo fcinfo, int arg_grades, Judgements *relevant)
{
	Elements	judged = elements(fcinfo, ARG_JUDGED);
	Elements	grades = {0};

	if (arg_grades >= 0)
	{
		grades = elements(fcinfo, arg_grades);
		if (grades.n != judged.n)
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("judged and grades must have the same number of elements"),
					 errdetail("There are %d documents and %d grades.", judged.n, grades.n)));
	}
	relevant->compare = compare_function(ARR_ELEMTYPE(PG_GETARG_ARRAYTYPE_P(ARG_JUDGED)), PG_GET_COLLATION());
	relevant->items = palloc(Max(judged.n, 1) * sizeof(Judgement));
	relevant->n = 0;
	for (int i = 0; i < judged.n; i++)
	{
		Judgement  *item = &relevant->items[relevant->n];

		item->id = judged.values[i];
		item->grade = arg_grades >= 0 ? grade(&grades, i) : 1;
		item->found = false;
		if (!judged.nulls[i] && item->grade > 0)
			relevant->n++;
	}
	qsort_arg(relevant->items, relevant->n, sizeof(Judgement), compare_judgements, relevant->compare);
	relevant->n = qunique_arg(relevant->items, relevant->n, sizeof(Judgement), same_id, relevant->compare);
}

static Elements
elements(FunctionCallInfo fcinfo, int arg)
{
	Elements	result = {0};
	ArrayType  *array;
	int16		len;
	bool		byval;
	char		align;

	if (PG_ARGISNULL(arg))
		return result;
	array = PG_GETARG_ARRAYTYPE_P(arg);
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align,
					  &result.values, &result.nulls, &result.n);
	return result;
}

/* 0 where it is NULL: as if the document had not been judged */
static double
grade(const Elements *grades, int i)
{
	double		result;

	if (grades->nulls[i])
		return 0;
	result = DatumGetFloat8(grades->values[i]);
	if (isnan(result) || isinf(result))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grades must be finite"),
				 errdetail("Grade %d is %g.", i + 1, result),
				 errhint("A document that nobody judged has the grade NULL, or is not in the array.")));
	return result;
}

static FunctionCallInfo
compare_function(Oid type, Oid collation)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_CMP_PROC_FINFO);
	FunctionCallInfo compare = palloc0(SizeForFunctionCallInfo(2));

	if (!OidIsValid(entry->cmp_proc_finfo.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify a comparison function for type %s", format_type_be(type)),
				 errhint("Give the ids as text.")));
	InitFunctionCallInfoData(*compare, &entry->cmp_proc_finfo, 2, collation, NULL, NULL);
	return compare;
}

static int
compare_ids(Datum a, Datum b, FunctionCallInfo compare)
{
	CHECK_FOR_INTERRUPTS();
	compare->args[0].value = a;
	compare->args[0].isnull = false;
	compare->args[1].value = b;
	compare->args[1].isnull = false;
	compare->isnull = false;
	return DatumGetInt32(FunctionCallInvoke(compare));
}

/* By id, of one document the highest grade first */
static int
compare_judgements(const void *a, const void *b, void *arg)
{
	int			by_id = compare_ids(((const Judgement *) a)->id, ((const Judgement *) b)->id, arg);

	return by_id != 0 ? by_id : compare_grades(a, b);
}

static int
same_id(const void *a, const void *b, void *arg)
{
	return compare_ids(((const Judgement *) a)->id, ((const Judgement *) b)->id, arg);
}

/* The highest first */
static int
compare_grades(const void *a, const void *b)
{
	double		left = ((const Judgement *) a)->grade;
	double		right = ((const Judgement *) b)->grade;

	return left > right ? -1 : left < right ? 1 : 0;
}

/* What was judged of the document in this place; NULL: irrelevant, or it was there before */
static Judgement *
find(const Judgements *relevant, const Elements *ranking, int i)
{
	int			low = 0;
	int			high = relevant->n;

	if (ranking->nulls[i])
		return NULL;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		Judgement  *item = &relevant->items[middle];
		int			order = compare_ids(ranking->values[i], item->id, relevant->compare);

		if (order == 0)
		{
			if (item->found)
				return NULL;
			item->found = true;
			return item;
		}
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}
