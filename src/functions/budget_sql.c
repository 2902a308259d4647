/*-------------------------------------------------------------------------
 *
 * budget_sql.c
 *		The triggers of the table retrostar.budget, and the functions under the
 *		view retrostar.stat_budget.
 *
 * A row that makes no sense is refused when it is written.  A subscription, and
 * who disables triggers, writes unchecked; session/allowance.c copes with that.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "base/period.h"
#include "session/allowance.h"

PG_FUNCTION_INFO_V1(retrostar_budget_check);
PG_FUNCTION_INFO_V1(retrostar_budget_changed);
PG_FUNCTION_INFO_V1(retrostar_budget_window_state);
PG_FUNCTION_INFO_V1(retrostar_budget_member_state);

static Datum field(const TriggerData *data, HeapTuple row, const char *name, Oid type, bool *isnull);
static void check_role(const char *role);
static void check_server(const char *server);
static void check_period(const Interval *interval);
static void check_limit(const TriggerData *data, HeapTuple row, const char *name);
static RstarPeriod period_of(const Interval *interval);

Datum
retrostar_budget_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple	row;
	Datum		value;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) || TRIGGER_FIRED_BY_DELETE(data->tg_event))
		elog(ERROR, "not called for a row by a trigger BEFORE");
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;

	/* Nulls are refused by the columns */
	value = field(data, row, "role", NAMEOID, &isnull);
	if (!isnull)
		check_role(NameStr(*DatumGetName(value)));
	value = field(data, row, "server", TEXTOID, &isnull);
	if (!isnull)
		check_server(TextDatumGetCString(value));
	value = field(data, row, "period", INTERVALOID, &isnull);
	if (!isnull)
		check_period(DatumGetIntervalP(value));
	check_limit(data, row, "samples");
	check_limit(data, row, "tokens");
	return PointerGetDatum(row);
}

static Datum
field(const TriggerData *data, HeapTuple row, const char *name, Oid type, bool *isnull)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int			n = SPI_fnumber(desc, name);

	/* Whoever has a table may put this trigger on it */
	if (n <= 0 || SPI_gettypeid(desc, n) != type)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" does not have the columns that it was created with",
						RelationGetRelationName(data->tg_relation))));
	return SPI_getbinval(row, desc, n, isnull);
}

static void
check_role(const char *role)
{
	if (strcmp(role, "public") == 0 || OidIsValid(get_role_oid(role, true)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("role \"%s\" does not exist", role),
			 pg_strcasecmp(role, "public") == 0 ?
			 errhint("A budget for everybody has the role \"public\", in lower case.") :
			 errhint("A budget is for a role, with all its members, or for \"public\".")));
}

static void
check_server(const char *server)
{
	ForeignServer *object = GetForeignServerByName(server, true);

	if (object != NULL && strcmp(GetForeignDataWrapper(object->fdwid)->fdwname, "retrostar") == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 object == NULL ? errmsg("server \"%s\" does not exist", server) :
			 errmsg("server \"%s\" is not one of retrostar", server),
			 errhint("A budget without a server is for all servers together.")));
}

static void
check_period(const Interval *interval)
{
	RstarPeriod period = period_of(interval);
	const char *wrong = rstar_period_wrong(&period);

	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid period of a budget"),
				 errdetail_internal("%s", wrong),
				 errhint("Usage is kept by the hour: give a number of hours, days or weeks, or of months.")));
}

static void
check_limit(const TriggerData *data, HeapTuple row, const char *name)
{
	bool		isnull;
	int64		limit = DatumGetInt64(field(data, row, name, INT8OID, &isnull));

	if (!isnull && limit < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("limit of %s must not be negative", name),
				 errhint("0 allows none; a null is no limit.")));
}

static RstarPeriod
period_of(const Interval *interval)
{
	RstarPeriod period = {
		.months = interval->month,
		.days = interval->day,
		.us = interval->time
	};

	return period;
}

Datum
retrostar_budget_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "not called by a trigger");
	rstar_allowance_changed(RelationGetRelid(data->tg_relation));
	return PointerGetDatum(NULL);
}

/* Nulls where there is none */
Datum
retrostar_budget_window_state(PG_FUNCTION_ARGS)
{
	RstarPeriod period = period_of(PG_GETARG_INTERVAL_P(0));
	bool		wrong = rstar_period_wrong(&period) != NULL;
	Datum		values[2] = {0};
	bool		nulls[2] = {wrong, wrong};
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!wrong)
	{
		int64_t		starts;
		int64_t		ends;

		rstar_period_window(&period, GetCurrentTimestamp(), &starts, &ends);
		values[0] = TimestampTzGetDatum(starts);
		values[1] = TimestampTzGetDatum(ends);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
retrostar_budget_member_state(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(1));
	Oid			role = get_role_oid(name, true);

	PG_RETURN_BOOL(strcmp(name, "public") == 0 ||
				   (OidIsValid(role) && is_member_of_role_nosuper(PG_GETARG_OID(0), role)));
}
