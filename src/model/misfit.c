/*-------------------------------------------------------------------------
 *
 * misfit.c
 *		A dialect that is not that of the server, and what is lost by it.
 *
 * Servers read the members that they know and skip the others, so that there
 * are scores, of another distribution than the options say.  What is said here
 * follows from dialect.c and abort.c, and from what the servers do with it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "foreign/foreign.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"

#include "model/dialect.h"
#include "model/misfit.h"
#include "model/reply_models.h"

/* Which dialect those want who say what they are */
static const struct
{
	const char *server;
	RstarDialect dialect;
}			wanted[] = {
	{"SGLang", RSTAR_DIALECT_SGLANG},
	{"vLLM", RSTAR_DIALECT_VLLM},
	{"llama-server", RSTAR_DIALECT_LLAMACPP},
	{"llama-cpp-python", RSTAR_DIALECT_LLAMACPP}
};

static const char *harm(RstarDialect dialect, RstarDialect fits);

bool
rstar_misfit(RstarDialect dialect, const char *owner, RstarMisfit *misfit)
{
	const char *server = rstar_reply_models_server(owner);

	for (int i = 0; server != NULL && i < (int) lengthof(wanted); i++)
	{
		if (strcmp(wanted[i].server, server) != 0 || wanted[i].dialect == dialect)
			continue;
		misfit->server = server;
		misfit->fits = rstar_dialect_name(wanted[i].dialect);
		misfit->harm = harm(dialect, wanted[i].dialect);
		return true;
	}
	return false;
}

static const char *
harm(RstarDialect dialect, RstarDialect fits)
{
	switch (dialect)
	{
		case RSTAR_DIALECT_SGLANG:
		case RSTAR_DIALECT_VLLM:
			if (fits == RSTAR_DIALECT_LLAMACPP)
				return "it ignores the option \"repetition_penalty\"";
			if (fits == RSTAR_DIALECT_VLLM)
				return "it does not learn the ids of requests, puts spaces between special tokens, and with \"priority_scheduling\" takes background requests first";
			return "it is not told to abort what nobody waits for, puts spaces between special tokens, and with \"priority_scheduling\" takes background requests first";
		case RSTAR_DIALECT_LLAMACPP:
			if (fits == RSTAR_DIALECT_VLLM)
				return "it ignores the option \"repetition_penalty\", and leaves special tokens out of its answers";
			return "it ignores the option \"repetition_penalty\", leaves special tokens out of its answers, and is not told to abort what nobody waits for";
		case RSTAR_DIALECT_OPENAI:
			break;
	}
	return "it is not sent the options \"top_k\", \"min_p\" and \"repetition_penalty\", nor told that the model is not to think";
}

char *
rstar_misfit_remedy(const RstarServer *server, const char *fits)
{
	ForeignServer *catalog = GetForeignServerExtended(server->serverid, FSV_MISSING_OK);
	const char *action = "ADD";
	ListCell   *lc;

	foreach(lc, catalog ? catalog->options : NIL)
	{
		if (strcmp(lfirst_node(DefElem, lc)->defname, "dialect") == 0)
			action = "SET";
	}
	return psprintf("ALTER SERVER %s OPTIONS (%s dialect '%s')",
					quote_identifier(server->name), action, fits);
}
