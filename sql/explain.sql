-- Where prefetch nodes go.  Only plans are shown: nothing is asked.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
CREATE TABLE docs (id int PRIMARY KEY, lang text, body text);
CREATE TABLE queries (id int, q text);
CREATE TABLE parts (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
CREATE TABLE parts2 (body text, id int);
ALTER TABLE parts ATTACH PARTITION parts2 FOR VALUES FROM (100) TO (200);
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;

-- target list: the scan gives the columns, the node the scores
EXPLAIN (COSTS OFF, VERBOSE)
SELECT id FROM docs ORDER BY retro_star_score('q', body) DESC NULLS LAST LIMIT 10;

-- filter: what comes before the call stays below
EXPLAIN (COSTS OFF)
SELECT id FROM docs WHERE retro_star_score('q', body) > 60 AND lang = 'en';

-- one node for each filter with a call, in their order, then the target list
EXPLAIN (COSTS OFF)
SELECT retro_star_score('r', body) FROM docs
WHERE retro_star_score('q', body, samples => 1) > 60 AND retro_star_score('q', body, samples => 4) > 60;

-- conditions under which a call is made
EXPLAIN (COSTS OFF)
SELECT CASE WHEN lang = 'en' THEN retro_star_score('q', body)
            WHEN lang = 'de' THEN retro_star_score('f', body) END,
       CASE lang WHEN 'fr' THEN retro_star_score('q', 'fr: ' || body) END,
       coalesce(nullif(id, 7), retro_star_score('c', body)),
       lang = 'es' OR retro_star_score('o', body) > 50
FROM docs;

-- a call that depends on another
EXPLAIN (COSTS OFF)
SELECT id FROM docs
WHERE CASE WHEN retro_star_score('cheap', body) > 60 THEN retro_star_score('dear', body, samples => 16) END > 80;

-- below an aggregate, above it
EXPLAIN (COSTS OFF)
SELECT max(retro_star_score('q', body)) FILTER (WHERE lang = 'en') FROM docs;
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', string_agg(body, ' ')) FROM docs;

-- joins
EXPLAIN (COSTS OFF)
SELECT queries.id, docs.id FROM queries, docs WHERE retro_star_score(q, body) > 50;
EXPLAIN (COSTS OFF)
SELECT queries.id, docs.id FROM queries LEFT JOIN docs ON retro_star_score(q, body) > 50;

-- partitions: one node above all of them
EXPLAIN (COSTS OFF)
SELECT id FROM parts WHERE retro_star_score('q', body) > 60;
EXPLAIN (COSTS OFF)
UPDATE parts SET body = 'good' WHERE retro_star_score('q', body) > 60;

-- changes of data, row locks
EXPLAIN (COSTS OFF)
UPDATE docs SET id = retro_star_score('q', body);
EXPLAIN (COSTS OFF)
SELECT id FROM docs WHERE retro_star_score('q', body) > 60 FOR UPDATE;

-- a cursor that can scroll goes on doing so
BEGIN;
EXPLAIN (COSTS OFF)
DECLARE c SCROLL CURSOR FOR SELECT id, retro_star_score('q', body) FROM docs;
EXPLAIN (COSTS OFF)
DECLARE c NO SCROLL CURSOR FOR SELECT id, retro_star_score('q', body) FROM docs;
ROLLBACK;

-- left alone: volatile functions in the arguments or below, one pair for all
-- rows, one row, row locks below
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', body || random()) FROM docs;
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', body) FROM (SELECT body, random() FROM docs OFFSET 0) d;
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', 'd') FROM docs;
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', 'd');
EXPLAIN (COSTS OFF)
SELECT retro_star_score('q', body) FROM (SELECT body FROM docs FOR UPDATE) d;

-- off
SET retrostar.prefetch = off;
EXPLAIN (COSTS OFF)
SELECT id FROM docs WHERE retro_star_score('q', body) > 60;
RESET retrostar.prefetch;

DROP SERVER gpu;
DROP TABLE docs, queries, parts;
DROP EXTENSION retrostar;
