/*-------------------------------------------------------------------------
 *
 * server.c
 *		Servers as SQL/MED objects: look-up, privileges, secrets.
 *
 * Called by: functions.c, score.c (backend), worker.c (worker).
 * Calls: option.c (what the options say), dialect.c (the request's part).
 *
 * rstar_server_resolve() is called for every pair, so what it found last is
 * remembered, the privilege check included, for as long as no catalog row
 * that took part changes: servers, wrappers, roles, memberships.  That is how
 * PostgreSQL's own role cache does it, and no later than a catalog look-up
 * would notice.
 *
 * Whose answers may a server share?  The cache key holds cache_scope, by
 * default the owner's name.  An owner who could write any name there could
 * plant answers for somebody else's servers, so a scope is shared with other
 * owners only when the owner is a superuser or has the privileges of the role
 * that the scope names.  Any other scope is the owner's own: his name goes
 * into the key beside it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "common/hashfn.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "server.h"

#include "compat.h"
#include "dialect.h"
#include "guc.h"
#include "option.h"

#define WRAPPER_NAME	"retrostar"

/* Changes whenever the same options shall no longer give the same key */
#define KEY_VERSION		"1"

#define MAX_KEY_FILE_LEN	65536

/* Names listed when there are several servers to choose from */
#define MAX_LISTED		10

/* One parsed server of the cache */
typedef struct CachedServer
{
	Oid			serverid;		/* hash key */
	RstarServer *server;
} CachedServer;

/* What rstar_server_resolve() found last */
typedef struct Resolved
{
	const RstarServer *server;	/* NULL: nothing remembered */
	uint64		version;		/* of the catalogs it was found in */
	Oid			userid;			/* whose privileges were checked */
	bool		by_name;		/* false: the only usable one */
	char		name[NAMEDATALEN];	/* what was looked up */
} Resolved;

/* What a scan for the only usable server finds */
typedef struct Candidates
{
	Oid			serverid;		/* the last usable one */
	int			total;			/* servers of our wrapper */
	List	   *names;			/* of the usable ones */
} Candidates;

static uint64 catalog_version = 1;
static Resolved resolved;

/* Parsed servers, all in cache_context, from catalogs of cache_version */
static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_version = 0;

static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static Oid	find_named(const char *name, bool is_setting);
static Oid	our_wrapper(void);
static Oid	find_only(void);
static void scan_servers(Oid wrapper, Candidates *found);
static void raise_none(int total);
static void raise_several(List *names);
static RstarServer *cached_server(Oid serverid);
static void reset_cache(void);
static RstarServer *parse_server(const ForeignServer *catalog);
static void append_key_material(StringInfo buf, const RstarServer *server, const char *owner);
static const char *scope_qualifier(const RstarServer *server, const char *owner);
static void append_part(StringInfo buf, const char *part);
static void append_real_part(StringInfo buf, double number);
static void append_integer_part(StringInfo buf, int number);
static List *mapping_options(Oid umid, Oid serverid);
static char *read_key_file(const char *path);
static int	read_small_file(const char *path, char *buf, int size);

void
rstar_server_init(void)
{
	static bool done = false;

	if (done)
		return;
	done = true;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_changed, (Datum) 0);
	/* USAGE may come through pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, catalog_changed, (Datum) 0);
}

/*
 * May run in the middle of anything that looks at a catalog, so it frees
 * nothing; the next rstar_server_resolve() does.
 */
static void
catalog_changed(Datum arg, int cacheid, uint32 hashvalue)
{
	catalog_version++;
}

uint64
rstar_server_version(void)
{
	return catalog_version;
}

const RstarServer *
rstar_server_resolve(const char *name)
{
	bool		is_setting = (name == NULL && rstar_server != NULL && *rstar_server != '\0');
	const char *wanted = is_setting ? rstar_server : name;
	uint64		version = catalog_version;
	Oid			serverid;

	if (resolved.server != NULL && resolved.version == version &&
		resolved.userid == GetUserId() && resolved.by_name == (wanted != NULL) &&
		(wanted == NULL || strcmp(resolved.name, wanted) == 0))
		return resolved.server;

	rstar_server_init();
	resolved.server = NULL;
	if (wanted != NULL)
		serverid = find_named(wanted, is_setting);
	else
		serverid = find_only();
	resolved.server = cached_server(serverid);

	/* the version from before the look-ups, which may have noticed changes */
	resolved.version = version;
	resolved.userid = GetUserId();
	resolved.by_name = (wanted != NULL);
	strlcpy(resolved.name, wanted ? wanted : "", NAMEDATALEN);
	return resolved.server;
}

static Oid
find_named(const char *name, bool is_setting)
{
	ForeignServer *server = GetForeignServerByName(name, true);
	AclResult	result;

	if (server == NULL || server->fdwid != our_wrapper())
		ereport(ERROR,
				(errcode(server ? ERRCODE_WRONG_OBJECT_TYPE : ERRCODE_UNDEFINED_OBJECT),
				 server ?
				 errmsg("server \"%s\" does not belong to the foreign-data wrapper \"%s\"",
						name, WRAPPER_NAME) :
				 errmsg("server \"%s\" does not exist", name),
				 is_setting ? errdetail("The name comes from the setting \"%s\".",
										"retrostar.server") : 0));
	result = rstar_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, name);
	return server->serverid;
}

static Oid
our_wrapper(void)
{
	return GetForeignDataWrapperByName(WRAPPER_NAME, false)->fdwid;
}

static Oid
find_only(void)
{
	Candidates	found = {InvalidOid, 0, NIL};

	scan_servers(our_wrapper(), &found);
	if (found.names == NIL)
		raise_none(found.total);
	if (list_length(found.names) > 1)
		raise_several(found.names);
	list_free_deep(found.names);
	return found.serverid;
}

static void
scan_servers(Oid wrapper, Candidates *found)
{
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	/* there is no index on the wrapper, and few servers */
	ScanKeyInit(&key, Anum_pg_foreign_server_srvfdw, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(wrapper));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);

		found->total++;
		if (rstar_server_aclcheck(form->oid, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
			continue;
		found->serverid = form->oid;
		found->names = lappend(found->names, pstrdup(NameStr(form->srvname)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
raise_none(int total)
{
	if (total > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for all servers of the foreign-data wrapper \"%s\"",
						WRAPPER_NAME),
				 errhint("Ask a server's owner to GRANT USAGE ON FOREIGN SERVER.")));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no server of the foreign-data wrapper \"%s\"", WRAPPER_NAME),
			 errhint("Create one, for example: CREATE SERVER gpu FOREIGN DATA WRAPPER %s "
					 "OPTIONS (url 'http://10.0.0.7:30000', "
					 "model 'ljw13/retro-star-qwen3-14b-0928');", WRAPPER_NAME)));
}

static int
compare_names(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static void
raise_several(List *names)
{
	StringInfoData list;
	ListCell   *lc;

	list_sort(names, compare_names);
	initStringInfo(&list);
	foreach(lc, names)
	{
		if (foreach_current_index(lc) < MAX_LISTED)
			appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "",
							 (char *) lfirst(lc));
	}
	if (list_length(names) > MAX_LISTED)
		appendStringInfo(&list, " and %d more", list_length(names) - MAX_LISTED);
	ereport(ERROR,
			(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
			 errmsg("there is more than one server to choose from"),
			 errdetail("You have USAGE on %s.", list.data),
			 errhint("Name one in the argument \"%s\" or by SET %s.", "server",
					 "retrostar.server")));
}

static RstarServer *
cached_server(Oid serverid)
{
	CachedServer *entry;
	ForeignServer *catalog;
	RstarServer *server;
	MemoryContext context;
	MemoryContext caller;
	bool		found;

	if (cache == NULL || cache_version != catalog_version)
		reset_cache();
	entry = hash_search(cache, &serverid, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->server;

	/* the caller's context frees what an error in between leaves behind */
	catalog = GetForeignServer(serverid);
	context = AllocSetContextCreate(CurrentMemoryContext, "retrostar server",
									ALLOCSET_SMALL_SIZES);
	caller = MemoryContextSwitchTo(context);
	server = parse_server(catalog);
	MemoryContextSwitchTo(caller);

	entry = hash_search(cache, &serverid, HASH_ENTER, &found);
	entry->server = server;
	MemoryContextSetParent(context, cache_context);
	return server;
}

/* Frees all parsed servers.  Their version is that of before they are read. */
static void
reset_cache(void)
{
	HASHCTL		info = {0};

	resolved.server = NULL;
	cache = NULL;
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(CacheMemoryContext, "retrostar servers",
											  ALLOCSET_SMALL_SIZES);
	MemoryContextReset(cache_context);

	info.keysize = sizeof(Oid);
	info.entrysize = sizeof(CachedServer);
	info.hcxt = cache_context;
	cache = hash_create("retrostar servers", 16, &info,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	cache_version = catalog_version;
}

RstarServer *
rstar_server_load(Oid serverid)
{
	MemoryContext caller = CurrentMemoryContext;
	ForeignServer *catalog = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	RstarServer *volatile server = NULL;

	if (catalog == NULL)
		return NULL;

	/*
	 * The validator lets no bad options in, but it may have been an older
	 * one, or switched off.  Only what it would have raised is caught: the
	 * parser holds no resources, so no subtransaction is needed.
	 */
	PG_TRY();
	{
		server = parse_server(catalog);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(caller);
		error = CopyErrorData();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_FDW_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		ereport(LOG,
				(errmsg("could not use server \"%s\": %s", catalog->servername,
						error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0));
		FreeErrorData(error);
	}
	PG_END_TRY();
	return server;
}

static RstarServer *
parse_server(const ForeignServer *catalog)
{
	RstarServer *server = palloc(sizeof(RstarServer));
	char	   *owner = GetUserNameFromId(catalog->owner, true);
	StringInfoData key;

	if (owner == NULL)			/* dropped this moment, and the server with it */
		ereport(ERROR,
				(errcode(ERRCODE_FDW_ERROR),
				 errmsg("server \"%s\" has no owner", catalog->servername)));
	rstar_option_parse_server(catalog->options, owner, server);
	server->serverid = catalog->serverid;
	server->owner = catalog->owner;
	server->name = pstrdup(catalog->servername);
	server->params = rstar_dialect_params(server);

	initStringInfo(&key);
	append_key_material(&key, server, owner);
	server->key_material = key.data;
	server->key_material_len = key.len;
	return server;
}

/*
 * What all pairs of this server have in common for the cache: whatever
 * changes the distribution of answers, and who vouches for them.  Frozen with
 * KEY_VERSION; each part is its length, four bytes big-endian, and its bytes.
 */
static void
append_key_material(StringInfo buf, const RstarServer *server, const char *owner)
{
	const char *extra = server->extra_body ? server->extra_body : "";

	append_part(buf, KEY_VERSION);
	append_part(buf, scope_qualifier(server, owner));
	append_part(buf, server->cache_scope);
	append_part(buf, pg_server_to_any(server->model, strlen(server->model), PG_UTF8));
	append_real_part(buf, server->temperature);
	append_integer_part(buf, server->top_k);
	append_real_part(buf, server->top_p);
	append_real_part(buf, server->min_p);
	append_real_part(buf, server->repetition_penalty);
	append_integer_part(buf, server->max_tokens);
	append_integer_part(buf, server->context_length);
	append_part(buf, pg_server_to_any(extra, strlen(extra), PG_UTF8));
}

/* "" for a scope that other owners may share; see the file's header */
static const char *
scope_qualifier(const RstarServer *server, const char *owner)
{
	Oid			role;

	if (strcmp(server->cache_scope, owner) == 0 || superuser_arg(server->owner))
		return "";
	role = get_role_oid(server->cache_scope, true);
	if (OidIsValid(role) && has_privs_of_role(server->owner, role))
		return "";
	return owner;
}

static void
append_part(StringInfo buf, const char *part)
{
	uint32		len = strlen(part);
	uint32		prefix = pg_hton32(len);

	appendBinaryStringInfo(buf, (char *) &prefix, sizeof(prefix));
	appendBinaryStringInfo(buf, part, len);
}

static void
append_real_part(StringInfo buf, double number)
{
	StringInfoData digits;

	initStringInfo(&digits);
	rstar_dialect_append_real(&digits, number);
	append_part(buf, digits.data);
	pfree(digits.data);
}

static void
append_integer_part(StringInfo buf, int number)
{
	char		digits[12];

	snprintf(digits, sizeof(digits), "%d", number);
	append_part(buf, digits);
}

Oid
rstar_server_mapping(Oid serverid, Oid userid)
{
	Oid			umid = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
									   ObjectIdGetDatum(userid), ObjectIdGetDatum(serverid));

	if (!OidIsValid(umid))
		umid = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
							   ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(serverid));
	return umid;
}

char *
rstar_server_api_key(Oid umid, const RstarServer *server)
{
	RstarMapping mapping;

	if (!OidIsValid(umid))
		return NULL;
	rstar_option_parse_mapping(mapping_options(umid, server->serverid), &mapping);
	if (mapping.api_key_file == NULL)
		return mapping.api_key;

	/*
	 * The mapping's privileged author trusted this server's owner with the
	 * key, or not: whoever owns the server can point its URL at himself.
	 */
	if (!has_privs_of_role(server->owner, ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to use option \"%s\" with server \"%s\"",
						"api_key_file", server->name),
				 errdetail("The server's owner must be a superuser or a member of the role \"%s\".",
						   "pg_read_server_files")));
	return read_key_file(mapping.api_key_file);
}

static List *
mapping_options(Oid umid, Oid serverid)
{
	HeapTuple	tuple = SearchSysCache1(USERMAPPINGOID, ObjectIdGetDatum(umid));
	List	   *options = NIL;
	Datum		datum;
	bool		isnull;

	if (!HeapTupleIsValid(tuple) ||
		((Form_pg_user_mapping) GETSTRUCT(tuple))->umserver != serverid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("user mapping %u of server %u does not exist", umid, serverid)));
	datum = SysCacheGetAttr(USERMAPPINGOID, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

static char *
read_key_file(const char *path)
{
	char	   *key = palloc(MAX_KEY_FILE_LEN + 2);
	int			len = read_small_file(path, key, MAX_KEY_FILE_LEN + 1);

	if (len > MAX_KEY_FILE_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("API key file \"%s\" is longer than %d bytes", path, MAX_KEY_FILE_LEN)));
	while (len > 0 && strchr(" \t\r\n\f\v", key[len - 1]) != NULL && key[len - 1] != '\0')
		len--;
	key[len] = '\0';

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("API key file \"%s\" is empty", path)));
	for (int i = 0; i < len; i++)
	{
		if ((unsigned char) key[i] < ' ' || key[i] == '\177')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("API key file \"%s\" contains a control character", path),
					 errhint("The file holds the key on one line and nothing else.")));
	}
	return key;
}

/* Up to "size" bytes; the number read */
static int
read_small_file(const char *path, char *buf, int size)
{
	/* O_NONBLOCK: a FIFO must not stop the worker */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat status;
	int			len = 0;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open API key file \"%s\": %m", path)));
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("API key file \"%s\" is not a regular file", path)));
	while (len < size)
	{
		int			n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read API key file \"%s\": %m", path)));
		if (n == 0)
			break;
		len += n;
	}
	CloseTransientFile(fd);
	return len;
}

uint64
rstar_server_fingerprint(const RstarServer *server)
{
	return hash_bytes_extended((const unsigned char *) server->key_material,
							   server->key_material_len, 0);
}
