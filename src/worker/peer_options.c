/*-------------------------------------------------------------------------
 *
 * peer_options.c
 *		How a hub is reached: what its foreign server and the user mapping say.
 *
 * The hub is a foreign server, mostly of postgres_fdw; of its options those
 * are taken that libpq knows.  The owner of the retrostar server must be
 * allowed to use it, and the mapping is his, or PUBLIC's.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/defrem.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "libpq-fe.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "model/server.h"
#include "worker/peer_options.h"

/* Those that we give by ourselves, and the end */
#define OWN_OPTIONS 3

static void read_options(const char *name, Oid owner, RstarPeerOptions *options);
static int	add_options(RstarPeerOptions *options, int n, const List *list);
static bool is_libpq_option(const char *name);
static void add(RstarPeerOptions *options, int n, const char *keyword, const char *value);

bool
rstar_peer_options_read(const char *name, Oid owner, RstarPeerOptions *options)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool ok = false;

	memset(options, 0, sizeof(RstarPeerOptions));
	options->context = AllocSetContextCreate(TopMemoryContext, "retrostar hub options",
											 ALLOCSET_SMALL_SIZES);
	PG_TRY();
	{
		StartTransactionCommand();
		/* Not afterwards: what changes meanwhile must be seen next time */
		options->version = rstar_server_version();
		MemoryContextSwitchTo(options->context);
		read_options(name, owner, options);
		CommitTransactionCommand();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		strlcpy(options->error, error->message, sizeof(options->error));
		FreeErrorData(error);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return ok;
}

static void
read_options(const char *name, Oid owner, RstarPeerOptions *options)
{
	ForeignServer *server = GetForeignServerByName(name, false);
	UserMapping *mapping;
	AclResult	result = rstar_server_aclcheck(server->serverid, owner, ACL_USAGE);
	bool		password = false;
	int			n;

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, name);
	mapping = GetUserMapping(owner, server->serverid);
	n = list_length(server->options) + list_length(mapping->options) + OWN_OPTIONS;
	options->keywords = palloc0_array(const char *, n);
	options->values = palloc0_array(const char *, n);
	n = add_options(options, 0, server->options);
	n = add_options(options, n, mapping->options);
	for (int i = 0; i < n; i++)
		password |= strcmp(options->keywords[i], "password") == 0 && options->values[i][0] != '\0';
	/* Whoever owns either says where the connection goes */
	options->trusted = superuser_arg(owner) && superuser_arg(server->owner);
	if (!options->trusted && !password)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("password is required: the owner of the retrostar server or of server \"%s\" "
						"is no superuser, and the user mapping has none", name)));
	add(options, n++, "fallback_application_name", "retrostar");
	/* That of model names in memory */
	add(options, n++, "client_encoding", "UTF8");
}

static int
add_options(RstarPeerOptions *options, int n, const List *list)
{
	ListCell   *lc;

	foreach(lc, list)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (is_libpq_option(option->defname))
			add(options, n++, option->defname, defGetString(option));
	}
	return n;
}

static void
add(RstarPeerOptions *options, int n, const char *keyword, const char *value)
{
	options->keywords[n] = keyword;
	options->values[n] = value;
	options->fingerprint = hash_combine64(options->fingerprint,
										  hash_bytes_extended((const unsigned char *) keyword, strlen(keyword), n));
	options->fingerprint = hash_combine64(options->fingerprint,
										  hash_bytes_extended((const unsigned char *) value, strlen(value), n));
}

/*
 * The list is libpq's own, and stays.  As with postgres_fdw, those for debugging
 * are not taken, some write files as the server's operating system user, nor is
 * OAuth, for which somebody would have to be asked.
 */
static bool
is_libpq_option(const char *name)
{
	static PQconninfoOption *known = NULL;

	if (known == NULL)
		known = PQconndefaults();
	if (known == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("out of memory")));
	for (const PQconninfoOption *option = known; option->keyword != NULL; option++)
	{
		/* We say the encoding ourselves */
		if (strcmp(option->keyword, name) == 0)
			return strcmp(name, "client_encoding") != 0 && strncmp(name, "oauth_", 6) != 0 &&
				strchr(option->dispchar, 'D') == NULL;
	}
	return false;
}

void
rstar_peer_options_free(RstarPeerOptions *options)
{
	for (int i = 0; options->values != NULL && options->values[i] != NULL; i++)
	{
		if (strcmp(options->keywords[i], "password") == 0)
			explicit_bzero(unconstify(char *, options->values[i]), strlen(options->values[i]));
	}
	MemoryContextDelete(options->context);
}
