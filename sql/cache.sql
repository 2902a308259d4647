--
-- The score cache: what a key is made of, what a row means, pruning
-- Nothing is sent anywhere: retrostar.on_miss is "skip", and rows are put into
-- the cache by hand.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
SET retrostar.on_miss = 'skip';
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

CREATE FUNCTION outcome(expression text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text; value text;
BEGIN
	EXECUTE 'SELECT ' || expression INTO value;
	RETURN value;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, ''));
END $$;

CREATE FUNCTION seed(key bytea, scores smallint[], unscored int = 0, age interval = '0') RETURNS void LANGUAGE sql AS $$
	INSERT INTO retrostar.score_cache
		(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
	VALUES (key, 1, scores, unscored, 'm', 1, 1, now() - age, now() - age)
$$;

-- belongs to a role of its own, whose OID is in the key
CREATE ROLE regress_retrostar_owner;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO regress_retrostar_owner;
ALTER SERVER gpu OWNER TO regress_retrostar_owner;

--
-- What a key is made of
--
-- format of version 1: it must not change without a new version
CREATE SERVER super FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', cache_scope 'regress_retrostar_owner');
SELECT retrostar.cache_key('query', 'document', server => 'super');
SELECT retrostar.cache_key('query', 'document', 'biology', server => 'super');
DROP SERVER super;

-- The key after a change, against the one before
CREATE FUNCTION compare(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before bytea := retrostar.cache_key('q', 'd', server => 'gpu');
	later bytea;
BEGIN
	BEGIN
		EXECUTE change;
		later := retrostar.cache_key('q', 'd', server => 'gpu');
		RAISE EXCEPTION 'undo';
	EXCEPTION WHEN raise_exception THEN
		RETURN CASE WHEN later = before THEN 'same' ELSE 'different' END;
	END;
END $$;
SELECT rpad(compare(change), 10) || change FROM (VALUES
	-- where and how it is asked
	($$ALTER SERVER gpu OPTIONS (SET url 'https://elsewhere')$$),
	($$ALTER SERVER gpu OPTIONS (ADD dialect 'vllm')$$),
	($$ALTER SERVER gpu OPTIONS (ADD timeout '5s')$$),
	($$ALTER SERVER gpu OPTIONS (ADD max_in_flight '5')$$),
	($$ALTER SERVER gpu OPTIONS (ADD retries '5')$$),
	($$SET LOCAL retrostar.samples = 5$$),
	($$SET LOCAL retrostar.cache = off$$),
	($$SET LOCAL retrostar.unscored_reply = 'zero'$$),
	($$CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'sesame')$$),
	-- what changes the answer
	($$ALTER SERVER gpu OPTIONS (SET model 'n')$$),
	($$ALTER SERVER gpu OPTIONS (ADD temperature '0')$$),
	($$ALTER SERVER gpu OPTIONS (ADD top_k '1')$$),
	($$ALTER SERVER gpu OPTIONS (ADD top_p '0.5')$$),
	($$ALTER SERVER gpu OPTIONS (ADD min_p '0.5')$$),
	($$ALTER SERVER gpu OPTIONS (ADD repetition_penalty '1.1')$$),
	($$ALTER SERVER gpu OPTIONS (ADD max_tokens '77')$$),
	($$ALTER SERVER gpu OPTIONS (ADD context_length '8192')$$),
	($$ALTER SERVER gpu OPTIONS (ADD extra_body '{"a": 1}')$$),
	($$SET LOCAL retrostar.task = 'biology'$$),
	-- what is the default anyhow
	($$ALTER SERVER gpu OPTIONS (ADD temperature '0.60')$$),
	($$ALTER SERVER gpu OPTIONS (ADD top_k '40')$$),
	-- who answers for it
	($$ALTER SERVER gpu OWNER TO CURRENT_USER$$),
	($$ALTER SERVER gpu OPTIONS (ADD cache_scope 'shared')$$),
	($$ALTER SERVER gpu OPTIONS (ADD cache_scope 'regress_retrostar_owner')$$),
	($$ALTER ROLE regress_retrostar_owner RENAME TO regress_retrostar_other$$),
	($$ALTER ROLE regress_retrostar_owner SUPERUSER$$)) v (change);
-- a role's scope is shared by who has its privileges, and by superusers who say so
ALTER SERVER gpu OPTIONS (ADD cache_scope 'pg_monitor');
SELECT rpad(compare(change), 10) || change FROM (VALUES
	($$ALTER ROLE regress_retrostar_owner CREATEDB$$),
	($$ALTER ROLE regress_retrostar_owner SUPERUSER$$),
	($$GRANT pg_monitor TO regress_retrostar_owner$$)) v (change);
CREATE SERVER theirs FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', cache_scope 'role 3373');
SELECT 'pg_monitor'::regrole::oid, retrostar.cache_scope('theirs');
SELECT retrostar.cache_key('q', 'd', server => 'gpu') = retrostar.cache_key('q', 'd', server => 'theirs');
GRANT pg_monitor TO regress_retrostar_owner;
SELECT retrostar.cache_key('q', 'd', server => 'gpu') = retrostar.cache_key('q', 'd', server => 'theirs');
REVOKE pg_monitor FROM regress_retrostar_owner;
SELECT retrostar.cache_key('q', 'd', server => 'gpu') = retrostar.cache_key('q', 'd', server => 'theirs');
DROP SERVER theirs;
ALTER SERVER gpu OPTIONS (DROP cache_scope);

-- all lengths are in it: no two pairs run into each other
SELECT count(DISTINCT k) FROM (VALUES
	(retrostar.cache_key('ab', 'c')), (retrostar.cache_key('a', 'bc')), (retrostar.cache_key('abc', ' ')),
	(retrostar.cache_key('c', 'ab')), (retrostar.cache_key('AB', 'c')), (retrostar.cache_key('ab', 'c ')),
	(retrostar.cache_key('ab', 'c', query_type => 'x', doc_type => 'y', relevance_definition => 'z')),
	(retrostar.cache_key('ab', 'c', query_type => 'y', doc_type => 'x', relevance_definition => 'z')),
	(retrostar.cache_key('ab', 'c', query_type => 'xy', doc_type => 'z', relevance_definition => 'z'))) v (k);
-- a task is its texts
SELECT retrostar.cache_key('q', 'd', 'biology') =
	retrostar.cache_key('q', 'd', NULL, relevance_definition, query_type, doc_type) FROM retrostar.task WHERE name = 'biology';
-- another server of the same owner and model
CREATE SERVER gpu2 FOREIGN DATA WRAPPER retrostar OPTIONS (url 'https://elsewhere', model 'm', dialect 'vllm');
ALTER SERVER gpu2 OWNER TO regress_retrostar_owner;
SELECT retrostar.cache_key('q', 'd', server => 'gpu') = retrostar.cache_key('q', 'd', server => 'gpu2');
DROP SERVER gpu2;

--
-- What a row means
--
-- a mean, of all samples that are there, at least as many as were asked for
SELECT seed(retrostar.cache_key('q', 'one'), '{7}');
SELECT seed(retrostar.cache_key('q', 'four'), '{0,100,50,51}');
SELECT n, retro_star_score('q', 'one', samples => n), retro_star_score('q', 'four', samples => n) FROM generate_series(1, 5) n;

-- replies without a score do not count, unless they are to count as 0
SELECT seed(retrostar.cache_key('q', 'some'), '{80,90}', 2);
SELECT seed(retrostar.cache_key('q', 'none'), '{}', 3);
SELECT n, retro_star_score('q', 'some', samples => n), retro_star_score('q', 'none', samples => n) FROM generate_series(1, 5) n;
SET retrostar.unscored_reply = 'zero';
SELECT n, retro_star_score('q', 'some', samples => n), retro_star_score('q', 'none', samples => n) FROM generate_series(1, 5) n;
RESET retrostar.unscored_reply;

-- prefetch says whether it is known, and asks for nothing here
SELECT retro_star_prefetch('q', 'one'), retro_star_prefetch('q', 'one', samples => 2), retro_star_prefetch('q', 'unknown');

-- the cache can be left aside
SET retrostar.cache = off;
SELECT retro_star_score('q', 'one');
RESET retrostar.cache;
SELECT retro_star_score('q', 'one');

-- a statement has one score for a pair, whatever is stored meanwhile
WITH a AS MATERIALIZED (SELECT retro_star_score('q', 'one') AS score),
	b AS (UPDATE retrostar.score_cache SET scores = '{99}' WHERE key = retrostar.cache_key('q', 'one') AND (SELECT score FROM a) = 7 RETURNING scores)
SELECT (SELECT score FROM a), b.scores, retro_star_score('q', 'one') FROM b;
SELECT retro_star_score('q', 'one');

-- each statement looks again, in any transaction
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT retro_star_score('q', 'one'), retro_star_score('q', 'later');
SELECT seed(retrostar.cache_key('q', 'later'), '{33}');
SELECT retro_star_score('q', 'later');
ROLLBACK;
SELECT retro_star_score('q', 'later');
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT retro_star_score('q', 'four');
COMMIT;

-- in a loop of one block too; a block is one statement
DO $$
DECLARE s float8;
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			s := retro_star_score('q', 'four');
			IF i = 2 THEN RAISE EXCEPTION 'back'; END IF;
		EXCEPTION WHEN raise_exception THEN
			RAISE NOTICE 'back with %', s;
		END;
	END LOOP;
	RAISE NOTICE 'at the end %', retro_star_score('q', 'four');
END $$;

-- a document out of line
CREATE TABLE docs (body text);
ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
INSERT INTO docs SELECT repeat('out of line ', 10000);
SELECT seed(retrostar.cache_key('q', body), '{12}') FROM docs;
SELECT retro_star_score('q', body), retro_star_score('q', repeat('out of line ', 10000)) FROM docs;
DROP TABLE docs;

-- rows that are not the worker's
BEGIN;
ALTER TABLE retrostar.score_cache ALTER scores DROP NOT NULL;
SELECT seed(retrostar.cache_key('q', 'broken 1'), '{{1,2},{3,4}}');
SELECT seed(retrostar.cache_key('q', 'broken 2'), '{1,NULL}');
SELECT seed(retrostar.cache_key('q', 'broken 3'), NULL);
SELECT outcome($$retro_star_score('q', 'broken 1')$$);
SELECT outcome($$retro_star_score('q', 'broken 2')$$);
SELECT outcome($$retro_star_score('q', 'broken 3')$$);
SELECT seed(retrostar.cache_key('q', 'broken 4'), '{50,101}'), seed(retrostar.cache_key('q', 'broken 5'), '{-1}'),
	seed(retrostar.cache_key('q', 'not broken'), '{0,100}');
SELECT outcome($$retro_star_score('q', 'broken 4')$$), outcome($$retro_star_score('q', 'broken 5')$$),
	outcome($$retro_star_score('q', 'not broken')$$);
ROLLBACK;
-- no table
BEGIN;
ALTER TABLE retrostar.score_cache RENAME TO away;
SELECT outcome($$retro_star_score('q', 'four')$$);
ROLLBACK;
SELECT retro_star_score('q', 'four');

-- EXPLAIN uses what is known for its estimates, and asks for nothing
EXPLAIN (COSTS OFF) SELECT 1 FROM generate_series(1, 3) WHERE retro_star_score('q', 'four') > 50;

--
-- Moving scores
--
CREATE TABLE moved AS SELECT * FROM retrostar.score_cache;
TRUNCATE retrostar.score_cache;
SELECT retro_star_score('q', 'four');
INSERT INTO retrostar.score_cache SELECT * FROM moved;
SELECT retro_star_score('q', 'four');
DROP TABLE moved;

--
-- Pruning
--
TRUNCATE retrostar.score_cache;
INSERT INTO retrostar.score_cache (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
	SELECT retrostar.cache_key('prune', i::text), 1, '{1}', 0, 'm', 1, 1, now(), now() - i * interval '1 day' FROM generate_series(1, 10) i;
CREATE FUNCTION days() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(((EXTRACT(epoch FROM now() - updated) / 86400)::int)::text, ' ' ORDER BY updated DESC) FROM retrostar.score_cache
$$;
SELECT retrostar.cache_prune(), retrostar.cache_prune(NULL, NULL), days();
SELECT retrostar.cache_prune(interval '8 days 12 hours'), days();
SELECT retrostar.cache_prune(keep_rows => 6), days();
SELECT retrostar.cache_prune(interval '4 days 12 hours', 5), days();
SELECT retrostar.cache_prune(interval '100 years', 100), days();
SELECT retrostar.cache_prune(keep_rows => 0), days();
SELECT outcome('retrostar.cache_prune(keep_rows => -1)');
SELECT retrostar.cache_prune(interval '-1 day');

DROP FUNCTION days, compare, seed, outcome;
DROP SERVER gpu;
REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM regress_retrostar_owner;
DROP ROLE regress_retrostar_owner;
TRUNCATE retrostar.score_cache;
RESET retrostar.on_miss;
