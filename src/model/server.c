/*-------------------------------------------------------------------------
 *
 * server.c
 *		Servers as SQL/MED objects: look-up, privileges, secrets.
 *
 * rstar_server_resolve() is called for every pair, so what it found last is
 * remembered, the privilege check included, for as long as no catalog row
 * that took part changes: servers, wrappers, roles, memberships.  That is how
 * PostgreSQL's own role cache does it, and no later than a catalog look-up
 * would notice.
 *
 * Whose answers may a server share?  The cache key holds a scope.  Names of
 * roles change hands, so the scope has the OID of a role, "role 16384": by
 * default the owner's, and with cache_scope that of another role whose
 * privileges the owner has.  An owner who could write any scope there could
 * plant answers for somebody else's servers, so any other cache_scope is the
 * owner's own and stands behind his OID, "role 16384: text".  Only a superuser
 * says the scope as it is.  So he can carry on any of them, whatever OIDs roles
 * have where he is, and a name of his own becomes nobody else's when a role is
 * called so.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

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
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/closest.h"
#include "base/compat.h"
#include "base/settings.h"
#include "base/version.h"
#include "model/dialect.h"
#include "model/header.h"
#include "model/key_file.h"
#include "model/option.h"
#include "model/server.h"

#define WRAPPER_NAME	"retrostar"

/* Changes whenever the same options shall no longer give the same key */
#define KEY_VERSION		"1"

/* The scope of a role; goes into keys */
#define ROLE_SCOPE		"role %u"

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
	char	   *other;			/* of the last one that is not */
} Candidates;

static uint64 catalog_version = 1;
static Resolved resolved;

/* Parsed servers, all in cache_context, from catalogs of cache_version */
static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static uint64 cache_version = 0;

static void catalog_changed(Datum arg, int cacheid, uint32 hashvalue);
static Oid	find_named(const char *name, bool is_setting);
RSTAR_NORETURN static void raise_no_server(const char *name, bool is_setting);
static Oid	our_wrapper(void);
static Oid	find_only(void);
static void scan_servers(Oid wrapper, Candidates *found);
static void raise_none(const Candidates *found);
static void raise_several(List *names);
static RstarServer *cached_server(Oid serverid);
static void reset_cache(void);
static RstarServer *parse_server(const ForeignServer *catalog);
static char *scope_of(Oid owner, const char *option);
static Oid	scope_role(const char *option, Oid owner);
static char *to_utf8(const char *string);
static void append_key_material(StringInfo buf, const RstarServer *server);
static void append_part(StringInfo buf, const char *part);
static void append_real_part(StringInfo buf, double number);
static void append_integer_part(StringInfo buf, int number);
static List *mapping_options(Oid umid, Oid serverid, Oid *role);
static void check_headers(const RstarMapping *mapping, Oid role, const RstarServer *server);

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
	rstar_version_require();
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

	if (server == NULL)
		raise_no_server(name, is_setting);
	if (server->fdwid != our_wrapper())
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" does not belong to the foreign-data wrapper \"%s\"",
						name, WRAPPER_NAME),
				 is_setting ? errdetail("The name comes from the setting \"%s\".",
										"retrostar.server") : 0));
	result = rstar_server_aclcheck(server->serverid, GetUserId(), ACL_USAGE);
	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_FOREIGN_SERVER, name);
	return server->serverid;
}

/* Of servers that the role may use: it need not know that there are others */
static void
raise_no_server(const char *name, bool is_setting)
{
	Candidates	found = {0};
	RstarClosest closest;
	ListCell   *lc;

	scan_servers(our_wrapper(), &found);
	rstar_closest_init(&closest, name);
	foreach(lc, found.names)
		rstar_closest_offer(&closest, lfirst(lc));
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("server \"%s\" does not exist", name),
			 is_setting ? errdetail("The name comes from the setting \"%s\".",
									"retrostar.server") : 0,
			 closest.found != NULL ? errhint("Perhaps you meant the server \"%s\".", closest.found) : 0));
}

static Oid
our_wrapper(void)
{
	return GetForeignDataWrapperByName(WRAPPER_NAME, false)->fdwid;
}

static Oid
find_only(void)
{
	Candidates	found = {0};

	scan_servers(our_wrapper(), &found);
	if (found.names == NIL)
		raise_none(&found);
	if (list_length(found.names) > 1)
		raise_several(found.names);
	list_free_deep(found.names);
	return found.serverid;
}

Oid
rstar_server_meant(const char *name)
{
	const char *wanted = name == NULL && rstar_server != NULL && *rstar_server != '\0' ? rstar_server : name;
	Candidates	found = {0};

	if (wanted != NULL)
	{
		ForeignServer *named = GetForeignServerByName(wanted, true);

		return named != NULL ? named->serverid : InvalidOid;
	}
	scan_servers(our_wrapper(), &found);
	return list_length(found.names) == 1 ? found.serverid : InvalidOid;
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
		{
			found->other = pstrdup(NameStr(form->srvname));
			continue;
		}
		found->serverid = form->oid;
		found->names = lappend(found->names, pstrdup(NameStr(form->srvname)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
raise_none(const Candidates *found)
{
	if (found->total > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for all servers of the foreign-data wrapper \"%s\"",
						WRAPPER_NAME),
				 errhint("Ask a server's owner for this, for example: GRANT USAGE ON FOREIGN SERVER %s TO %s;",
						 quote_identifier(found->other),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
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
	StringInfoData key;

	rstar_option_parse_server(catalog->options, server);
	server->serverid = catalog->serverid;
	server->owner = catalog->owner;
	server->name = pstrdup(catalog->servername);
	server->cache_scope = scope_of(catalog->owner, server->cache_scope);
	server->params = rstar_dialect_params(server);

	initStringInfo(&key);
	append_key_material(&key, server);
	server->key_material = key.data;
	server->key_material_len = key.len;
	return server;
}

/* What a server of this owner with this cache_scope (or NULL) shares; UTF-8 */
static char *
scope_of(Oid owner, const char *option)
{
	Oid			role;

	if (option == NULL)
		return psprintf(ROLE_SCOPE, owner);
	if (superuser_arg(owner))
		return to_utf8(option);
	role = scope_role(option, owner);
	if (OidIsValid(role))
		return psprintf(ROLE_SCOPE, role);
	return psprintf(ROLE_SCOPE ": %s", owner, to_utf8(option));
}

/* The role that it names, by OID or name, if the owner has its privileges */
static Oid
scope_role(const char *option, Oid owner)
{
	Oid			role = InvalidOid;

	if (sscanf(option, ROLE_SCOPE, &role) == 1 && strcmp(option, psprintf(ROLE_SCOPE, role)) == 0 &&
		has_privs_of_role(owner, role))
		return role;
	role = get_role_oid(option, true);
	return OidIsValid(role) && has_privs_of_role(owner, role) ? role : InvalidOid;
}

static char *
to_utf8(const char *string)
{
	return pg_server_to_any(string, strlen(string), PG_UTF8);
}

/*
 * What all pairs of this server have in common for the cache: whatever
 * changes the distribution of answers, and who vouches for them.  Frozen with
 * KEY_VERSION, the empty part, too; each part is its length, four bytes
 * big-endian, and its bytes.
 */
static void
append_key_material(StringInfo buf, const RstarServer *server)
{
	append_part(buf, KEY_VERSION);
	append_part(buf, "");
	append_part(buf, server->cache_scope);
	append_part(buf, to_utf8(server->model));
	append_real_part(buf, server->temperature);
	append_integer_part(buf, server->top_k);
	append_real_part(buf, server->top_p);
	append_real_part(buf, server->min_p);
	append_real_part(buf, server->repetition_penalty);
	append_integer_part(buf, server->max_tokens);
	append_integer_part(buf, server->context_length);
	append_part(buf, server->extra_body ? to_utf8(server->extra_body) : "");
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

void
rstar_server_read_mapping(Oid umid, const RstarServer *server, RstarMapping *mapping)
{
	Oid			role = InvalidOid;

	memset(mapping, 0, sizeof(*mapping));
	if (!OidIsValid(umid))
		return;
	rstar_option_parse_mapping(mapping_options(umid, server->serverid, &role), mapping);
	mapping->role = role;
	check_headers(mapping, role, server);
	if (mapping->api_key_file == NULL)
		return;

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
	mapping->api_key = rstar_key_file_read(mapping->api_key_file);
}

/*
 * A gateway may choose the model by a header, and answers are shared.  So what
 * is sent besides the key is said by who may say what the server is: PUBLIC's
 * mapping is the owner's, but that of a role may be the role's own.
 */
static void
check_headers(const RstarMapping *mapping, Oid role, const RstarServer *server)
{
	bool		as_server = mapping->api_key_header == NULL ||
		(server->api_key_header != NULL &&
		 rstar_header_same_name(mapping->api_key_header, server->api_key_header));

	if (!OidIsValid(role) || has_privs_of_role(role, server->owner) ||
		(mapping->headers.n == 0 && as_server))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to use option \"%s\" with server \"%s\"",
					mapping->headers.n > 0 ? "headers" : "api_key_header", server->name),
			 errdetail("The role of the user mapping does not have the privileges of the server's owner."),
			 errhint("The owner can set the option for the server, or for PUBLIC.")));
}

/* *role: whose it is; InvalidOid is PUBLIC */
static List *
mapping_options(Oid umid, Oid serverid, Oid *role)
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
	*role = ((Form_pg_user_mapping) GETSTRUCT(tuple))->umuser;
	datum = SysCacheGetAttr(USERMAPPINGOID, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	if (!isnull)
		options = untransformRelOptions(datum);
	ReleaseSysCache(tuple);
	return options;
}

uint64
rstar_server_fingerprint(const RstarServer *server)
{
	return hash_bytes_extended((const unsigned char *) server->key_material,
							   server->key_material_len, 0);
}

uint64
rstar_server_learnt_under(const RstarServer *server)
{
	return hash_combine64(rstar_server_fingerprint(server),
						  hash_bytes_uint32_extended((uint32) server->max_in_flight, 0));
}
