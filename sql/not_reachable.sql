--
-- A server that nobody answers for: nothing listens on that port
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
\pset null '(null)'

-- SQLSTATE and message: what the network says of it differs
CREATE FUNCTION outcome(sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; value text;
BEGIN
	EXECUTE sql INTO value;
	RETURN value;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN concat_ws(' | ', code, message);
END $$;

-- Returns when nothing is in work any more
CREATE PROCEDURE wait_idle() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN (SELECT pairs = 0 FROM retrostar.stat_queue);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;

CREATE SERVER dead FOREIGN DATA WRAPPER retrostar
	OPTIONS (url 'http://127.0.0.1:9', model 'm', unavailable_timeout '200ms');
INSERT INTO retrostar.score_cache
	(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
VALUES (retrostar.cache_key('q', 'known'), 1, '{42}', 0, 'm', 1, 1, now(), now());

-- one pair, several, and what is known
SELECT outcome($$SELECT retro_star_score('q', 'one')$$);
SELECT outcome($$SELECT sum(retro_star_score('q', i::text)) FROM generate_series(1, 20) i$$);
SELECT outcome($$SELECT retro_star_score('q', 'one', samples => 8)$$);
SELECT outcome($$SELECT retro_star_score('q', 'known')$$);
SELECT outcome($$SELECT retro_star_score('q', 'known', samples => 2)$$);
\set VERBOSITY sqlstate
SELECT retro_star_score('q', 'one');

-- NULL and one warning instead
\set VERBOSITY terse
SET retrostar.on_error = 'null';
SELECT doc, retro_star_score('q', doc) FROM (VALUES ('known'), ('one'), ('two'), ('one'), ('')) v (doc);
SELECT retro_star_score('q', 'one');
SELECT count(*) FROM generate_series(1, 100) i WHERE retro_star_score('q', 'many ' || i) IS NULL;
DO $$
DECLARE s float8;
BEGIN
	FOR i IN 1 .. 3 LOOP s := retro_star_score('q', 'in a block ' || i); END LOOP;
END $$;
RESET retrostar.on_error;

-- a transaction goes on behind an error that is caught
BEGIN;
SELECT outcome($$SELECT retro_star_score('q', 'one')$$);
SELECT outcome($$SELECT retro_star_score('q', 'known')$$);
SAVEPOINT s;
SELECT retro_star_score('q', 'one') / 0;
ROLLBACK TO s;
SELECT outcome($$SELECT retro_star_score('q', 'known')$$);
COMMIT;

-- nobody waits for what is prefetched, so nobody learns of the failure
SELECT retro_star_prefetch('q', 'one'), retro_star_prefetch('q', 'known');
CALL wait_idle();
SELECT retro_star_prefetch('q', 'one');

-- what check() says
SELECT endpoint, ok FROM retrostar.check('dead');

-- a name that does not resolve, a socket that is not there
ALTER SERVER dead OPTIONS (SET url 'http://host.invalid:9');
SELECT outcome($$SELECT retro_star_score('q', 'one')$$);
ALTER SERVER dead OPTIONS (SET url 'unix:/nowhere/retrostar');
SELECT outcome($$SELECT retro_star_score('q', 'one')$$);
ALTER SERVER dead OPTIONS (SET url 'http://127.0.0.1:9,http://127.0.0.1:9/second,unix:/nowhere/retrostar');
SELECT outcome($$SELECT retro_star_score('q', 'one')$$);
SELECT endpoint, ok FROM retrostar.check('dead');
-- a certificate file that is not there
ALTER SERVER dead OPTIONS (SET url 'https://127.0.0.1:9', ADD ca_file '/nowhere/ca.pem');
SELECT outcome($$SELECT retro_star_score('q', 'one')$$) ~ '^08|^HV';

-- nothing of it is left, and nothing was stored
CALL wait_idle();
SELECT asked > 0 AS asked, asked = answered + failed + cancelled AS balanced, answered, waiters, text_bytes, unstored, lost
FROM retrostar.stat_queue;
SELECT count(*) FROM retrostar.score_cache;

DROP PROCEDURE wait_idle;
DROP FUNCTION outcome;
DROP SERVER dead;
TRUNCATE retrostar.score_cache;
