/*-------------------------------------------------------------------------
 *
 * raise.c
 *		Whether evaluating an expression may raise an error.
 *
 * A short list of what certainly does not: leakproof functions, which must
 * not by definition, and the text functions that people build documents with.
 * Everything else counts as dangerous.  Running out of memory does not count.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "prefetch/raise.h"

static bool may_raise(Node *expr, void *context);
static bool substring_may_raise(FuncExpr *func);
static bool concat_may_raise(FuncExpr *func);
static bool func_may_raise(Oid funcid, void *context);
static bool output_may_raise(Oid type);

bool
rstar_raise_possible(Node *expr)
{
	return may_raise(expr, NULL);
}

static bool
may_raise(Node *expr, void *context)
{
	if (expr == NULL)
		return false;
	switch (nodeTag(expr))
	{
		case T_List:
		case T_Var:
		case T_Const:
		case T_Param:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_BooleanTest:
		case T_NullTest:
		case T_RelabelType:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_RowExpr:
		case T_SQLValueFunction:
			break;
		case T_FuncExpr:
			if (concat_may_raise((FuncExpr *) expr))
				return true;
			if (!substring_may_raise((FuncExpr *) expr))
				return expression_tree_walker(expr, may_raise, context);
			break;
		case T_CoerceViaIO:
			{
				CoerceViaIO *coerce = (CoerceViaIO *) expr;

				if (coerce->resulttype != TEXTOID && coerce->resulttype != VARCHAROID)
					return true;
				return output_may_raise(exprType((Node *) coerce->arg)) ||
					may_raise((Node *) coerce->arg, context);
			}
		default:
			return true;
	}
	if (check_functions_in_node(expr, func_may_raise, NULL))
		return true;
	return expression_tree_walker(expr, may_raise, context);
}

/* substring(text, from, for) raises exactly when the length is negative */
static bool
substring_may_raise(FuncExpr *func)
{
	Const	   *length;

	if (func->funcid != F_SUBSTR_TEXT_INT4_INT4 &&
		func->funcid != F_SUBSTRING_TEXT_INT4_INT4)
		return true;
	length = lthird(func->args);
	return !IsA(length, Const) || length->constisnull ||
		DatumGetInt32(length->constvalue) < 0;
}

/* concat() calls the output functions of its arguments' types */
static bool
concat_may_raise(FuncExpr *func)
{
	ListCell   *lc;

	if (func->funcid != F_CONCAT && func->funcid != F_CONCAT_WS)
		return false;
	foreach(lc, func->args)
	{
		if (output_may_raise(exprType(lfirst(lc))))
			return true;
	}
	return false;
}

static bool
func_may_raise(Oid funcid, void *context)
{
	switch (funcid)
	{
		case F_TEXTCAT:
		case F_CONCAT:
		case F_CONCAT_WS:
		case F_LEFT:
		case F_RIGHT:
		case F_SUBSTR_TEXT_INT4:
		case F_SUBSTRING_TEXT_INT4:
		case F_LENGTH_TEXT:
		case F_REPLACE:
		case F_UPPER_TEXT:
		case F_LOWER_TEXT:
		case F_BTRIM_TEXT:
		case F_LTRIM_TEXT:
		case F_RTRIM_TEXT:
		case F_TEXT_BPCHAR:
		case F_JSONB_OBJECT_FIELD_TEXT:
		case F_JSONB_ARRAY_ELEMENT_TEXT:
			return false;
		default:
			return !get_func_leakproof(funcid);
	}
}

/* Turning a value of a built-in scalar type into text works for all values */
static bool
output_may_raise(Oid type)
{
	return type >= FirstNormalObjectId || type_is_rowtype(type);
}
