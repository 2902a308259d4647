--
-- Priors of a set: what they add, ties, bad ones; how sure the order is
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

-- documents '80' and the like have that score, '20 30 40' these samples
CREATE FUNCTION seed(doc text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO retrostar.score_cache
		(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)
	VALUES (retrostar.cache_key('q', doc), 1, string_to_array(doc, ' ')::smallint[], 0, 'm', 1, 1, now(), now())
$$;

-- A set as "id:score:fused ..." in its order; ids are a, b, ...
CREATE FUNCTION ranked(docs text[], priors float8[] DEFAULT NULL, prior_weight float8 DEFAULT NULL,
	passes text DEFAULT '1', top_n int DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(':', id, coalesce(score::numeric(5, 1)::text, '-'), coalesce(fused::numeric(5, 1)::text, '-')), ' ' ORDER BY rank)
	FROM retro_star_rerank('q', (SELECT array_agg(chr(96 + i)) FROM generate_series(1, cardinality(docs)) i), docs,
		top_n, passes, priors => priors, prior_weight => prior_weight)
$$;

CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
SELECT count(seed(doc)) FROM unnest('{100,90,80,75,60,50,40,30,0,20 30 40,10 10,70 72}'::text[]) doc;

--
-- (1 - w) * score + w * 100 * place
--
SELECT ranked('{80,80,80}', '{0.9,0.5,0.1}', 0.2);
SELECT ranked('{100,0}', '{2,1}', 0.2), ranked('{100,0}', '{1,2}', 0.2);
SELECT ranked('{80,60,90}'), ranked('{80,60,90}', '{0.9,0.5,0.1}', 0.2);
-- negative distances, huge ones, log ranks
SELECT ranked('{80,80,80}', '{-0.1,-0.5,-0.9}', 0.2), ranked('{80,80,80}', '{1e308,-1e308,0}', 0.2);
SELECT ranked('{80,80,80}', (SELECT array_agg(-ln(i)) FROM unnest('{1,2,4}'::float8[]) i), 0.2);
-- equal ones, one document, no document
SELECT ranked('{80,60,90}', '{7,7,7}', 0.2), ranked('{80}', '{7}', 0.2), ranked('{}', '{}', 0.2);
-- NULL and NaN are the lowest, and leave the others' scale alone
SELECT ranked('{80,80,80}', '{0.9,NULL,0.1}', 0.2), ranked('{80,80,80}', '{NULL,NaN,NULL}', 0.2), ranked('{80,80}', '{NULL,1}', 0.2);
-- weight 0 is today's order, also of ties
SELECT ranked('{80,60,80,90}', '{1,2,3,0}', 0), ranked('{80,60,80,90}');
SELECT ranked('{unknown,80,unknown too}', '{1,2,3}', 0), ranked('{unknown,80,unknown too}', '{1,2,3}', 0.2);
-- ties: equal fused values by prior, equal priors in the order of the arrays
SELECT ranked('{75,50}', '{0,1}', 0.2), ranked('{60,60,60}', '{1,2,2}', 0.2);
-- those without a score last, among themselves by prior; they count for the scale
SELECT ranked('{unknown,unknown too,80,80,NULL}', '{5,6,2,4,10}', 0.2);
-- the same text twice: one score, two fused values
SELECT ranked('{50,80,80}', '{0.5,0,1}', 0.2);
-- only so many of the best by prior; the rest by prior, without a score
SELECT ranked('{100,90,80,75,60}', '{1,2,3,4,5}', 0.2, '2@1'), ranked('{100,90,80,75,60}', NULL, NULL, '2@1');
SELECT ranked('{100,90,80,75,60}', '{1,2,3,4,5}', 0, '2@1');
SELECT ranked('{100,90,80,75,60}', '{1,2,3,4,5}', 0.2, '2@1', 3);

--
-- The default weight is multiplied by the trust of the first round
--
-- correlation 1: all of it; -1: nothing; of two documents nothing is known: half
SELECT ranked('{90,80,60}', '{3,2,0}'), ranked('{90,80,60}', '{0,1,3}'), ranked('{90,80}', '{2,1}');
-- a written weight is obeyed
SELECT ranked('{90,80,60}', '{0,1,3}', 0.2);
SET retrostar.prior_weight = 0.5;
SELECT ranked('{90,80,60}', '{3,2,0}');
SET retrostar.prior_weight = 0;
SELECT ranked('{90,80,60}', '{3,2,0}');
RESET retrostar.prior_weight;
-- which weight it was
SET client_min_messages = debug1;
SELECT ranked('{90,80,60}', '{3,2,0}');
RESET client_min_messages;

--
-- Wrong sign
--
SELECT count(seed(i::text)) FROM generate_series(1, 29) i;
CREATE VIEW many AS SELECT array_agg(i) AS ids, array_agg(i::text) AS docs, array_agg((-i)::float8) AS reversed,
	array_agg(i::float8) AS priors FROM generate_series(1, 20) i;
SELECT count(r.score) FROM many, retro_star_rerank('q', ids, docs, priors => priors) r;
SELECT count(r.score), max(abs(fused - r.score)) FROM many, retro_star_rerank('q', ids, docs, priors => reversed) r;
SELECT count(r.score) FROM many, retro_star_rerank('q', ids, docs, priors => reversed, prior_weight => 0.1) r;
SELECT count(r.score) FROM many, retro_star_rerank('q', ids, docs, priors => reversed, prior_weight => 0) r;
SELECT count(r.score) FROM many, retro_star_rerank('q', ids[2:], docs[2:], priors => reversed[2:]) r;
-- one warning for all sets of a statement
SELECT count(r.score) FROM many, generate_series(1, 3) i, retro_star_rerank('q', ids, docs, i, priors => reversed) r;

--
-- The aggregate: its groups have scales of their own
--
SET retrostar.prior_weight = 0.6;
SELECT g, string_agg(id || ':' || score::numeric(5, 1), ' ' ORDER BY rank)
FROM (SELECT g, retro_star_rerank_agg('q', doc, doc, NULL, prior) AS best
	FROM (VALUES (1, '90', 2), (1, '80', 3), (1, '60', 0), (2, '90', 0.02), (2, '80', 0.03), (2, '60', 0), (3, '80', NULL), (3, '90', NULL))
		v (g, doc, prior) GROUP BY g) s, unnest(best) AS r (id text, score float8, rank int)
GROUP BY g ORDER BY g;
SELECT string_agg(id, ' ' ORDER BY rank)
FROM unnest((SELECT retro_star_rerank_agg('q', doc, doc, 2, prior) FROM (VALUES ('90', 2), ('80', 3), ('60', 0)) v (doc, prior)))
	AS r (id text, score float8, rank int);
-- the other forms have none
SELECT string_agg(id, ' ' ORDER BY rank)
FROM unnest((SELECT retro_star_rerank_agg('q', doc, doc, 2) FROM (VALUES ('90', 2), ('80', 3), ('60', 0)) v (doc, prior)))
	AS r (id text, score float8, rank int);
RESET retrostar.prior_weight;

--
-- How sure: the error is pooled, and needs two samples of one document
--
SELECT id, score, samples, round(error::numeric, 4), settled
FROM retro_star_rerank('q', '{1,2,3}'::int[], '{90,50,40}'::text[], passes => '1', top_n => 2);
SELECT id, score, samples, round(error::numeric, 4) AS error, round(sqrt((20 * 64 + 200 + 0 + 2) / 24.0 / samples), 4) AS expected, settled
FROM retro_star_rerank('q', '{1,2,3,4,5}'::int[], '{20 30 40,10 10,70 72,90,unknown}'::text[], passes => '1', top_n => 4);
SELECT id, settled FROM retro_star_rerank('q', '{1,2,3,4}'::int[], '{90,70 72,60,30}'::text[], passes => 'adaptive:1,3') ORDER BY rank;
SELECT id, settled FROM retro_star_rerank('q', (SELECT array_agg(i) FROM generate_series(10, 29) i), (SELECT array_agg(i::text) FROM generate_series(10, 29) i)) ORDER BY rank;
-- what the samples of a pair are like
SELECT sample, score, mean, spread FROM retro_star_explain('q', '20 30 40') ORDER BY 1;
SELECT sample, score, mean, spread FROM retro_star_explain('q', '90');

--
-- Bad input
--
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', priors => '{1}')$$);
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', priors => '{}')$$);
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', priors => '{1,Infinity}')$$);
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', priors => '{-Infinity,1}', prior_weight => 0)$$);
SELECT outcome(format($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', priors => '{1,2}', prior_weight => %L)$$, w))
FROM unnest('{-0.1,1,1.5,NaN,Infinity,-0}'::float8[]) w;
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1,2}'::int[], '{80,60}', prior_weight => 2)$$);
SELECT outcome($$retro_star_rerank_agg('q', 1, '80', NULL, 'Infinity')$$);
SELECT outcome($$retro_star_rerank_agg('q', i, '80', i, 1) FROM generate_series(1, 2) i$$);
SELECT outcome($$count(*) FROM retro_star_rerank('q', '{1}'::int[], '{80}', passes => 'lean:1,2')$$);
SELECT outcome($$set_config('retrostar.prior_weight', '1', false)$$);
SELECT w, left(outcome(format($$set_config('retrostar.prior_weight', %L, false)$$, w)), 5) FROM unnest('{-0.1,2,NaN,much,0.99}'::text[]) w;
SHOW retrostar.prior_weight;
RESET retrostar.prior_weight;
SHOW retrostar.prior_weight;

DROP VIEW many;
DROP FUNCTION outcome, seed, ranked;
DROP SERVER gpu;
TRUNCATE retrostar.score_cache;
RESET retrostar.on_miss;
