--
-- retrostar.ranked: a ranking that is sent, stored and read back
-- Nothing is sent anywhere: retrostar.on_miss is "skip", and scores are put
-- into the cache by hand.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
SET retrostar.on_miss = 'skip';
\pset format unaligned
\pset null '(null)'

CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
CREATE TABLE doc (id int, key uuid, body text);
INSERT INTO doc SELECT i, md5(i::text)::uuid, CASE i WHEN 4 THEN 'not known' ELSE i * 10 || '' END FROM generate_series(1, 4) i;
INSERT INTO retrostar.score_cache
	(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
	SELECT retrostar.cache_key('q', body), 1, ARRAY[body::smallint], 0, 'm', 1, 1, now(), now() FROM doc WHERE id < 4;
SET client_min_messages = error;

-- columns have names and types
SELECT r.* FROM unnest((SELECT retrostar.ranked(retro_star_rerank_agg('q', id, body)) FROM doc)) r;
SELECT doc.id, r.score FROM unnest((SELECT retrostar.ranked(retro_star_rerank_agg('q', key, body, 2)) FROM doc)) r
	JOIN doc ON key = r.id::uuid ORDER BY r.rank;
SELECT (retrostar.ranked(retro_star_rerank_agg('q', id, body)))[1].id FROM doc;

-- stored, as text and in binary, and read back
CREATE TABLE best (query text, ranking retrostar.ranked[]);
INSERT INTO best SELECT 'q', retrostar.ranked(retro_star_rerank_agg('q', 'a "b", ' || id, body)) FROM doc;
SELECT ranking FROM best;
SELECT ranking = ranking::text::retrostar.ranked[] AS read_back FROM best;
SELECT r.id, r.score, r.rank FROM best, unnest(ranking) r WHERE score > 10;
-- and through its functions for sending and receiving
CREATE TABLE copied (LIKE best);
\set file `mktemp`
\set command '\\copy best TO ' :'file' ' (FORMAT binary)'
:command
\set command '\\copy copied FROM ' :'file' ' (FORMAT binary)'
:command
\setenv FILE :file
\! rm -f "$FILE"
SELECT count(*) FROM best JOIN copied USING (query, ranking);

-- none, an empty group, NULL for an id
SELECT retrostar.ranked(NULL) IS NULL AS null, retrostar.ranked('{}'::retrostar.ranked[]::record[]) AS empty;
SELECT retrostar.ranked(retro_star_rerank_agg('q', id, body)) FROM doc WHERE false;
SELECT retrostar.ranked(retro_star_rerank_agg('q', NULL::int, body)) FROM doc WHERE id = 1;
SELECT retrostar.ranked(ARRAY[ROW(1, 2.5::float8, 1), NULL, ROW('x'::text, NULL::float8, 2)]);

-- somebody has altered it
BEGIN;
ALTER TYPE retrostar.ranked ADD ATTRIBUTE note text CASCADE;
DO $$ BEGIN PERFORM retrostar.ranked(retro_star_rerank_agg('q', id, body)) FROM doc;
EXCEPTION WHEN wrong_object_type THEN RAISE INFO '% %', SQLSTATE, SQLERRM; END $$;
ROLLBACK;

-- records of something else
DO $$ BEGIN PERFORM retrostar.ranked(ARRAY[ROW(1, 2, 3)]);
EXCEPTION WHEN datatype_mismatch THEN RAISE INFO '% %', SQLSTATE, SQLERRM; END $$;
DO $$ BEGIN PERFORM retrostar.ranked(ARRAY[ROW(1, 2.5::float8)]);
EXCEPTION WHEN datatype_mismatch THEN RAISE INFO '% %', SQLSTATE, SQLERRM; END $$;

DROP TABLE doc, best, copied;
DROP SERVER gpu;
