--
-- What CREATE EXTENSION makes, with which rights, and what DROP EXTENSION leaves
--
\pset format unaligned
\pset tuples_only on

-- The outcome of a statement on one line
CREATE FUNCTION outcome(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text;
BEGIN
	EXECUTE sql;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- What belongs to it
CREATE VIEW members AS
	SELECT d.classid, d.objid, i.type, i.identity
	FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar');

--
-- Installing
--
-- needs a superuser
CREATE ROLE regress_retrostar_owner;
SELECT format('GRANT CREATE ON DATABASE %I TO regress_retrostar_owner', current_database()) \gexec
SET ROLE regress_retrostar_owner;
SELECT split_part(outcome('CREATE EXTENSION retrostar'), ' | ', 1);
RESET ROLE;
SELECT format('REVOKE CREATE ON DATABASE %I FROM regress_retrostar_owner', current_database()) \gexec
DROP ROLE regress_retrostar_owner;

-- takes over nothing that is there
CREATE SCHEMA retrostar;
SELECT outcome('CREATE EXTENSION retrostar');
DROP SCHEMA retrostar;
CREATE FUNCTION retro_star_score(query text, doc text, task text, relevance_definition text, query_type text,
								 doc_type text, samples int, server text)
	RETURNS float8 LANGUAGE sql AS 'SELECT 100.0::float8';
SELECT split_part(outcome('CREATE EXTENSION retrostar'), ' | ', 1);
DROP FUNCTION retro_star_score;
SELECT count(*) FROM members;

CREATE EXTENSION retrostar;
SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'retrostar';

--
-- Objects
--
-- of users, in the extension's schema: volatility, parallel label, strict, set, cost
SELECT p.oid::regprocedure, provolatile, proparallel, proisstrict, proretset, procost
FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE pronamespace = 'public'::regnamespace ORDER BY 1::text COLLATE "C";

-- with defaults for all but query and document
SELECT proname, pronargs - pronargdefaults AS required FROM pg_proc
WHERE oid IN (SELECT objid FROM members WHERE classid = 'pg_proc'::regclass)
	AND proname IN ('retro_star_score', 'retro_star_prefetch', 'retro_star_prompt', 'retro_star_explain', 'cache_key')
ORDER BY 1;

-- everything has a comment
SELECT type, identity FROM members
WHERE type NOT LIKE '%type%' AND type NOT IN ('toast table')
	AND obj_description(objid, classid::regclass::name) IS NULL
ORDER BY identity COLLATE "C";
-- and so has every column
SELECT c.oid::regclass, a.attname
FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'v') AND col_description(c.oid, a.attnum) IS NULL ORDER BY 1, a.attnum;

-- none runs with its owner's rights
SELECT count(*) FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE prosecdef;

-- what PUBLIC may
SELECT identity FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE NOT has_function_privilege('pg_read_all_stats', p.oid, 'EXECUTE') ORDER BY identity COLLATE "C";
SELECT relname, has_table_privilege('pg_monitor', c.oid, 'SELECT') AS reads,
	has_table_privilege('pg_monitor', c.oid, 'INSERT,UPDATE,DELETE,TRUNCATE') AS writes
FROM members m JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
WHERE relname IN ('task', 'score_cache') OR relname ~ '^stat_' ORDER BY relname;
SELECT has_schema_privilege('pg_monitor', 'retrostar', 'USAGE') AS usage,
	has_schema_privilege('pg_monitor', 'retrostar', 'CREATE') AS "create",
	has_foreign_data_wrapper_privilege('pg_monitor', 'retrostar', 'USAGE') AS wrapper;

-- what a dump carries: users' own tasks, and no scores
SELECT c.oid::regclass, condition FROM pg_extension, unnest(extconfig, extcondition) AS c (oid, condition)
WHERE extname = 'retrostar' ORDER BY 1::text COLLATE "C";

-- the tasks that it brings
SELECT name, query_type, doc_type FROM retrostar.task WHERE builtin ORDER BY name COLLATE "C";
SELECT count(*) FROM retrostar.score_cache;

--
-- Settings
--
SELECT name, setting, unit, context FROM pg_settings
WHERE name IN ('retrostar.server', 'retrostar.task', 'retrostar.samples', 'retrostar.on_error', 'retrostar.on_miss',
	'retrostar.cache', 'retrostar.request_limit', 'retrostar.unscored_reply', 'retrostar.worker_idle_timeout')
ORDER BY name;
SELECT name FROM pg_settings WHERE name LIKE 'retrostar.%' AND (short_desc = '' OR short_desc NOT LIKE '%.');
SELECT outcome('SET retrostar.smaples = 4');
SELECT outcome($$SET retrostar.on_miss = 'ask'$$);

--
-- Leaving
--
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
SELECT split_part(outcome('DROP EXTENSION retrostar'), ' | ', 1);
SET client_min_messages = warning;
DROP EXTENSION retrostar CASCADE;
SELECT count(*) FROM pg_foreign_server;
SELECT count(*) FROM pg_namespace WHERE nspname = 'retrostar';

-- in a schema of choice, where it stays
CREATE SCHEMA ranking;
CREATE EXTENSION retrostar SCHEMA ranking;
SELECT left(ranking.retro_star_prompt('q', 'd'), 8);
SELECT count(*) > 0 FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE pronamespace = 'ranking'::regnamespace;
SELECT count(*) FROM members m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE pronamespace NOT IN ('ranking'::regnamespace, 'retrostar'::regnamespace);
SELECT split_part(outcome('ALTER EXTENSION retrostar SET SCHEMA public'), ' | ', 1);
DROP EXTENSION retrostar;
DROP SCHEMA ranking;

-- in one transaction, and undone
BEGIN;
CREATE EXTENSION retrostar;
SELECT count(*) FROM retrostar.task;
ROLLBACK;
CREATE EXTENSION retrostar;
SELECT count(*) FROM retrostar.task;
RESET client_min_messages;

DROP VIEW members;
DROP FUNCTION outcome;
