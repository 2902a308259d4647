--
-- Arguments and settings of the calls
-- Nothing is sent anywhere: retrostar.on_miss is "skip", and scores are put
-- into the cache by hand.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
SET retrostar.on_miss = 'skip';
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

-- The outcome of a call on one line
CREATE FUNCTION outcome(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text; value text;
BEGIN
	EXECUTE 'SELECT ' || expression INTO value;
	RETURN value;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	-- what PostgreSQL says of functions that do not exist differs between versions
	IF code = '42883' THEN RETURN concat_ws(' | ', code, message); END IF;
	RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

CREATE FUNCTION seed(key bytea, VARIADIC scores int[]) RETURNS void LANGUAGE sql AS $$
	INSERT INTO retrostar.score_cache
		(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
	VALUES (key, 1, scores::smallint[], 0, 'm', 1, 1, now(), now())
$$;

CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
SELECT seed(retrostar.cache_key('q', 'd'), 40, 50);
SELECT seed(retrostar.cache_key('q', 'd', 'biology'), 60);
SELECT seed(retrostar.cache_key('q', 'd', NULL, 'My definition.', 'my query', 'my document'), 70);

--
-- NULL
--
SELECT retro_star_score('q', 'd');
SELECT retro_star_score(NULL, 'd'), retro_star_score('q', NULL), retro_star_score(NULL, NULL);
SELECT retro_star_prefetch(NULL, 'd'), retro_star_prompt(NULL, 'd'), retro_star_prompt('q', NULL), retrostar.cache_key(NULL, 'd');
-- the others' NULL is their default
SELECT retro_star_score('q', 'd', NULL, NULL, NULL, NULL, NULL, NULL);
SELECT retro_star_score('q', 'd', task => NULL, samples => NULL, server => NULL);
-- a NULL pair is NULL whatever the rest
SELECT retro_star_score(NULL, 'd', task => 'no such task', samples => -1, server => 'nowhere');

--
-- By position and by name
--
SELECT retro_star_score('q', 'd', 'biology');
SELECT retro_star_score('q', 'd', 'biology', NULL, NULL, NULL, 1, 'gpu');
SELECT retro_star_score(doc => 'd', query => 'q', task => 'biology');
SELECT retro_star_score('q', 'd', relevance_definition => 'My definition.', query_type => 'my query', doc_type => 'my document');
SELECT retro_star_score('q', 'd', 'biology', 'My definition.', 'my query', 'my document');
SELECT retro_star_score('q', 'd', query_type => 'my query');

--
-- Empty texts
--
SELECT outcome($$retro_star_score('', 'd')$$);
SELECT outcome($$retro_star_score('q', '')$$);
SELECT outcome($$retro_star_prefetch('q', '')$$);
SELECT outcome($$retro_star_score('q', 'd', query_type => '')$$);
SELECT outcome($$retro_star_score('q', 'd', doc_type => '')$$);
SELECT outcome($$retro_star_score('q', 'd', relevance_definition => '')$$);
-- nor are blanks text
SELECT outcome($$retro_star_score(' ', E'\n')$$);
-- or no error but a warning, one a statement
SET retrostar.on_error = 'null';
SELECT i, retro_star_score('q', doc) FROM (VALUES (1, 'd'), (2, ''), (3, ''), (4, NULL)) v (i, doc) ORDER BY i;
SELECT retro_star_score('q', '') IS NULL, retro_star_prefetch('', 'd') IS NULL;
RESET retrostar.on_error;

--
-- samples
--
SELECT s, outcome(format($$retro_star_score('q', 'd', samples => %s)$$, s))
FROM (VALUES ('1'), ('2'), ('3'), ('64'), ('65'), ('0'), ('-1'), ('2147483647'), ('''2'''), ('''two'''), ('1.5')) v (s);
SET retrostar.samples = 2;
SELECT retro_star_score('q', 'd'), retro_star_score('q', 'd', samples => 1), retro_star_score('q', 'd', 'biology');
RESET retrostar.samples;
SET retrostar.samples = 0;
SET retrostar.samples = 65;

--
-- task
--
SELECT outcome($$retro_star_score('q', 'd', task => 'no such task')$$);
SELECT outcome($$retro_star_score('q', 'd', task => 'Biology')$$);
SELECT outcome($$retro_star_score('q', 'd', task => '')$$);
SET retrostar.task = 'biology';
SELECT retro_star_score('q', 'd');
-- the argument comes first
INSERT INTO retrostar.task VALUES ('mine', 'my query', 'my document', 'My definition.');
SELECT retro_star_score('q', 'd', task => 'mine');
SET retrostar.task = 'no such task';
SELECT outcome($$retro_star_score('q', 'd')$$);
SELECT outcome($$retro_star_score('q', 'd', task => 'mine')$$);
RESET retrostar.task;
-- a task is looked up in each statement, also within a transaction
BEGIN;
SELECT retro_star_score('q', 'd', task => 'mine');
UPDATE retrostar.task SET doc_type = 'document' WHERE name = 'mine';
SELECT retro_star_score('q', 'd', task => 'mine');
ROLLBACK;
SELECT retro_star_score('q', 'd', task => 'mine');
DELETE FROM retrostar.task WHERE name = 'mine';
SELECT outcome($$retro_star_score('q', 'd', task => 'mine')$$);

--
-- server
--
SELECT outcome($$retro_star_score('q', 'd', server => 'nowhere')$$);
SELECT outcome($$retro_star_score('q', 'd', server => '')$$);
SELECT outcome($$retro_star_score('q', 'd', server => 'http://127.0.0.1:9')$$);
SET retrostar.server = 'nowhere';
SELECT outcome($$retro_star_score('q', 'd')$$);
SELECT outcome($$retro_star_score('q', 'd', server => 'gpu')$$);
RESET retrostar.server;

--
-- Types
--
SELECT outcome($$retro_star_score('q')$$);
SELECT outcome($$retro_star_score(1, 2)$$);
SELECT outcome($$retro_star_score('q'::bytea, 'd')$$);
SELECT outcome($$retro_star_score('q', 'd', tsak => 'biology')$$);
SELECT retro_star_score('q'::varchar, 'd'::name), retro_star_score('q'::char(3), 'd'::text), pg_typeof(retro_star_score('q', 'd'));
CREATE DOMAIN regress_doc AS text;
SELECT retro_star_score('q', 'd'::regress_doc);
DROP DOMAIN regress_doc;

--
-- Where a call may stand
--
CREATE TABLE docs (id int, body text);
INSERT INTO docs VALUES (1, 'd'), (2, 'not known'), (3, NULL);
SELECT id FROM docs ORDER BY retro_star_score('q', body) DESC NULLS LAST, id;
SELECT id FROM docs WHERE retro_star_score('q', body) > 40;
SELECT max(retro_star_score('q', body)), count(retro_star_score('q', body)) FROM docs;
SELECT id, rank() OVER (ORDER BY retro_star_score('q', body) DESC NULLS LAST) FROM docs ORDER BY id;
CREATE VIEW ranked AS SELECT id, retro_star_score('q', body) AS score FROM docs;
SELECT * FROM ranked WHERE score IS NOT NULL;
CREATE FUNCTION ask(d text) RETURNS float8 LANGUAGE sql STABLE AS $$ SELECT retro_star_score('q', d) $$;
SELECT id, ask(body) FROM docs ORDER BY id;
CREATE FUNCTION ask_plpgsql(d text) RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN retro_star_score('q', d); END $$;
SELECT id, ask_plpgsql(body) FROM docs ORDER BY id;
PREPARE p(text) AS SELECT retro_star_score('q', $1);
EXECUTE p('d');
EXECUTE p(NULL);
DEALLOCATE p;
UPDATE docs SET body = retro_star_score('q', body)::text WHERE id < 3 RETURNING id, body;
-- not where the value must never change
\set VERBOSITY sqlstate
CREATE INDEX ON docs (retro_star_score('q', body));
\set VERBOSITY default
ALTER TABLE docs ADD score float8 GENERATED ALWAYS AS (retro_star_score('q', body)) STORED;
DROP VIEW ranked;
DROP FUNCTION ask, ask_plpgsql;
DROP TABLE docs;

DROP FUNCTION outcome, seed;
DROP SERVER gpu;
TRUNCATE retrostar.score_cache;
RESET retrostar.on_miss;
