--
-- Who may do what
-- Nothing is sent anywhere: retrostar.on_miss is "skip".
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
SET retrostar.on_miss = 'skip';
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

CREATE FUNCTION outcome(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text; value text;
BEGIN
	IF sql LIKE 'SELECT%' THEN EXECUTE sql INTO value; ELSE EXECUTE sql; END IF;
	RETURN coalesce(value, 'ok');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;
GRANT EXECUTE ON FUNCTION outcome TO PUBLIC;

CREATE ROLE regress_retrostar_admin;
CREATE ROLE regress_retrostar_analyst;
CREATE ROLE regress_retrostar_guest;
GRANT CREATE ON SCHEMA public TO regress_retrostar_analyst;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
CREATE SERVER other FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
GRANT USAGE ON FOREIGN SERVER gpu TO regress_retrostar_analyst;
INSERT INTO retrostar.score_cache
	(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
VALUES (retrostar.cache_key('q', 'd', server => 'gpu'), 1, '{42}', 0, 'm', 1, 1, now(), now());

--
-- Scores need USAGE on the server, also those that are in the cache
--
SET ROLE regress_retrostar_guest;
SELECT outcome($$SELECT retro_star_score('q', 'd')$$);
SELECT outcome($$SELECT retro_star_score('q', 'd', server => 'gpu')$$);
SELECT outcome($$SELECT retro_star_score('q', 'unknown', server => 'gpu')$$);
SELECT outcome($$SELECT retro_star_prefetch('q', 'd', server => 'gpu')$$);
SELECT outcome($$SELECT retrostar.cache_key('q', 'd', server => 'gpu')$$);
SELECT outcome($$SELECT count(*) FROM retrostar.check('gpu')$$);
-- prompts are no secret
SELECT outcome($$SELECT left(retro_star_prompt('q', 'd'), 4)$$);

-- one server of several is enough to be chosen
SET ROLE regress_retrostar_analyst;
SELECT outcome($$SELECT retro_star_score('q', 'd')$$);
SELECT outcome($$SELECT retro_star_score('q', 'd', server => 'gpu')$$);
SELECT outcome($$SELECT retro_star_score('q', 'd', server => 'other')$$);
SET retrostar.server = 'other';
SELECT outcome($$SELECT retro_star_score('q', 'd')$$);
RESET retrostar.server;

-- a function or view passes on what its owner may, or does not
CREATE FUNCTION ask_for(q text, d text) RETURNS float8 LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp
	AS $$ SELECT retro_star_score(q, d) $$;
CREATE FUNCTION ask(q text, d text) RETURNS float8 LANGUAGE sql
	AS $$ SELECT retro_star_score(q, d) $$;
CREATE VIEW asked AS SELECT retro_star_score('q', 'd') AS score;
GRANT SELECT ON asked TO PUBLIC;
SET ROLE regress_retrostar_guest;
SELECT outcome($$SELECT ask_for('q', 'd')$$);
SELECT outcome($$SELECT ask('q', 'd')$$);
SELECT outcome($$SELECT score FROM asked$$);
SELECT outcome($$SELECT ask_for('q', 'd') + retro_star_score('q', 'd')$$);
RESET ROLE;

-- what is revoked counts at once, also in a prepared statement
SET ROLE regress_retrostar_analyst;
PREPARE p AS SELECT retro_star_score('q', 'd', server => 'gpu');
EXECUTE p;
RESET ROLE;
BEGIN;
REVOKE USAGE ON FOREIGN SERVER gpu FROM regress_retrostar_analyst;
SET LOCAL ROLE regress_retrostar_analyst;
\set VERBOSITY terse
EXECUTE p;
\set VERBOSITY default
ROLLBACK;
SET ROLE regress_retrostar_analyst;
EXECUTE p;
DEALLOCATE p;
RESET ROLE;

-- ... or is granted to a group
CREATE ROLE regress_retrostar_group;
GRANT regress_retrostar_group TO regress_retrostar_guest;
GRANT USAGE ON FOREIGN SERVER gpu TO regress_retrostar_group;
SET ROLE regress_retrostar_guest;
SELECT outcome($$SELECT retro_star_score('q', 'd')$$);
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER gpu FROM regress_retrostar_group;
DROP ROLE regress_retrostar_group;

--
-- Tables
--
SET ROLE regress_retrostar_analyst;
SELECT outcome('SELECT count(*) FROM retrostar.task WHERE builtin');
SELECT outcome($$INSERT INTO retrostar.task VALUES ('mine', 'q', 'd', 'r')$$);
SELECT outcome($$UPDATE retrostar.task SET relevance_definition = 'everything'$$);
SELECT outcome('SELECT count(*) FROM retrostar.score_cache');
SELECT outcome('DELETE FROM retrostar.score_cache');
SELECT outcome('TRUNCATE retrostar.score_cache');
SELECT outcome('SELECT retrostar.cache_prune(keep_rows => 0)');
SELECT outcome($$SELECT retrostar.cache_prune(interval '1 second')$$);
SELECT outcome('SELECT retrostar.cache_prune()');
RESET ROLE;
-- pruning asks for no more than it needs
GRANT SELECT, DELETE ON retrostar.score_cache TO regress_retrostar_admin;
SET ROLE regress_retrostar_admin;
SELECT outcome('SELECT retrostar.cache_prune(keep_rows => 1)');
SELECT outcome($$SELECT retrostar.cache_prune(interval '1 year')$$);
RESET ROLE;
REVOKE SELECT, DELETE ON retrostar.score_cache FROM regress_retrostar_admin;

--
-- Functions and settings
--
SET ROLE regress_retrostar_analyst;
SELECT outcome('SELECT retrostar.pause()');
SELECT outcome('SELECT retrostar.resume()');
SELECT outcome('SELECT retrostar.stats_reset()');
SELECT outcome('SELECT waiters FROM retrostar.stat_queue');
SELECT outcome('SELECT count(*) FROM retrostar.stat_server');
SELECT outcome('SELECT count(*) FROM retrostar.stat_activity');
SELECT outcome('SELECT count(*) FROM retrostar.stat_cache');
SELECT outcome('SET retrostar.request_limit = -1');
SELECT outcome($$SET retrostar.worker_idle_timeout = '1h'$$);
SELECT outcome('SET retrostar.max_requests = 100000');
SELECT outcome('SET retrostar.samples = 2');
SELECT outcome('CREATE FUNCTION retrostar.mine() RETURNS int LANGUAGE sql AS ''SELECT 1''');
SELECT outcome($$CREATE SERVER mine FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm')$$);
SELECT outcome($$ALTER SERVER gpu OPTIONS (SET url 'http://elsewhere')$$);
RESET ROLE;
RESET retrostar.samples;
GRANT EXECUTE ON FUNCTION retrostar.pause(), retrostar.resume() TO regress_retrostar_admin;
GRANT SET ON PARAMETER retrostar.request_limit TO regress_retrostar_admin;
SET ROLE regress_retrostar_admin;
SELECT outcome('SELECT retrostar.pause()');
SELECT paused FROM retrostar.stat_queue;
SELECT outcome('SELECT retrostar.resume()');
SELECT paused FROM retrostar.stat_queue;
SELECT outcome('SET retrostar.request_limit = -1');
RESET ROLE;
RESET retrostar.request_limit;
REVOKE EXECUTE ON FUNCTION retrostar.pause(), retrostar.resume() FROM regress_retrostar_admin;
REVOKE SET ON PARAMETER retrostar.request_limit FROM regress_retrostar_admin;

--
-- Keys
--
CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'sesame');
SET ROLE regress_retrostar_analyst;
SELECT umoptions FROM pg_user_mappings WHERE srvname = 'gpu';
SELECT outcome($$SELECT umoptions::text FROM pg_user_mapping$$);
SELECT outcome($$ALTER USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (SET api_key 'mine')$$);
RESET ROLE;

DROP VIEW asked;
DROP FUNCTION ask, ask_for, outcome;
DROP SERVER gpu CASCADE;
DROP SERVER other;
REVOKE CREATE ON SCHEMA public FROM regress_retrostar_analyst;
DROP ROLE regress_retrostar_admin, regress_retrostar_analyst, regress_retrostar_guest;
TRUNCATE retrostar.score_cache;
RESET retrostar.on_miss;
