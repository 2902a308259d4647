--
-- Tasks with a prompt of their own: templates, scales and answers
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on
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
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', cache_scope 'templates');

--
-- The prompt
--
INSERT INTO retrostar.task (name, template, scale, answer) VALUES
	('plain', 'Q: {query} D: {document}', NULL, NULL),
	('document first', E'<doc>{document}</doc>\n<query>{query}</query> Answer in JSON: {{"score": N}}', '0..1', '{{"score": {score}}}');
INSERT INTO retrostar.task (name, query_type, doc_type, relevance_definition, template, scale) VALUES
	('all', 'question', 'page', 'It {query}s.', '{relevance_definition}|{query_type}|{doc_type}|{query}|{document}|{query_type}', '0..10');
SELECT retro_star_prompt('why', 'because', 'plain');
SELECT retro_star_prompt('why', 'because', 'document first');
-- what is inserted is not looked at again
SELECT retro_star_prompt('{document} {{ }', '{query} }} {', 'all');
SELECT retro_star_prompt('why', 'because', 'all', relevance_definition => 'r', query_type => 'a', doc_type => 'b');
-- control tokens lose their meaning in query and document, and keep it in the template
UPDATE retrostar.task SET template = '<think>{query}|{document}</think>' WHERE name = 'plain';
SELECT replace(retro_star_prompt('</think>', '<|im_end|>', 'plain'), U&'\200B', '-');
-- the general texts, where a row has none
UPDATE retrostar.task SET template = '{query_type}|{doc_type}|{relevance_definition}|{query}|{document}' WHERE name = 'plain';
SELECT retro_star_prompt('q', 'd', 'plain');
SELECT retro_star_prompt('q', 'd', 'plain', query_type => 'post');
INSERT INTO retrostar.task (name, query_type) VALUES ('sparse', 'post');
SELECT retro_star_prompt('q', 'd', 'sparse') = retro_star_prompt('q', 'd', query_type => 'post');
-- a text that has no place
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'document first', query_type => 'x')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'document first', doc_type => 'x')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'document first', relevance_definition => 'x')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'all', relevance_definition => '')$$);
SET retrostar.task = 'document first';
SELECT outcome($$SELECT retrostar.cache_key('q', 'd', query_type => 'x')$$);
RESET retrostar.task;
-- many small places make a text that is too long
UPDATE retrostar.task SET template = '{query}{document}' || repeat('{doc_type}', 6000), doc_type = repeat('x', 12000) WHERE name = 'all';
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'all')$$);
UPDATE retrostar.task SET template = '{query}{document}{doc_type}', doc_type = 'page' WHERE name = 'all';

--
-- The key
--
CREATE FUNCTION key(task text DEFAULT 'all') RETURNS bytea LANGUAGE sql AS $$ SELECT retrostar.cache_key('q', 'd', task) $$;
CREATE FUNCTION compare(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before bytea := key();
	later bytea;
BEGIN
	BEGIN
		EXECUTE 'UPDATE retrostar.task SET ' || change || ' WHERE name = ''all''';
		later := key();
		RAISE EXCEPTION SQLSTATE 'ZZ001';
	EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
	END;
	RETURN CASE WHEN before = later THEN 'same' ELSE 'other' END;
END $$;
SELECT key();
SELECT rpad(compare(change), 6) || change FROM (VALUES
	($$template = '{query}{document}{doc_type} '$$),
	($$template = '{document}{query}{doc_type}'$$),
	($$template = NULL, scale = NULL$$),
	($$scale = '0..11'$$),
	($$scale = '1..10'$$),
	($$scale = '0.0..10'$$),
	($$scale = NULL$$),
	($$answer = '<a>{score}</a>'$$),
	($$doc_type = 'x'$$),
	-- what is so anyhow, and what is not in the prompt
	($$answer = '<score>{score}</score>'$$),
	($$query_type = 'x'$$),
	($$relevance_definition = 'x'$$)) v (change);
-- by no texts of its own can a pair without a template have the key of one with
SELECT count(DISTINCT k) FROM (VALUES (key()), (key('plain')), (key('document first')),
	(retrostar.cache_key('q', 'd')), (retrostar.cache_key('{query}{document}{doc_type}', '0..10', doc_type => 'page')),
	(retrostar.cache_key('q', 'd', query_type => '{query}{document}{doc_type}', doc_type => 'page'))) v (k);

--
-- Bad input: rows are refused when they are written
--
CREATE FUNCTION insert(template text, scale text DEFAULT NULL, answer text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT outcome(format('INSERT INTO retrostar.task (name, template, scale, answer) VALUES (''bad'', %L, %L, %L)', template, scale, answer)) $$;
SELECT insert(t) FROM (VALUES (''), ('{query}'), ('{document}'), ('{query}{document}{document}'), ('{query}{query}{document}'),
	('{query} {doc}'), ('{query}{document} {'), ('{query}{document} }'), ('{query}{document}{score}'), ('{query}{document} {"score": 1}'),
	('{query} {document ' || repeat(U&'\20AC', 40)), ('{Query}{document}'), ('{{query}}{document}'), ('{query}{document}' || repeat('x', 65536))) v (t);
SELECT insert('{query}{document}', s) FROM (VALUES (''), ('10'), ('0-10'), ('0,10'), ('[0,10]'), ('0 .. 10'), ('0..ten'), ('-1..1'), ('0..10000'),
	('0..0.0001'), ('5..5'), ('10..0'), ('0.5..0.50'), (repeat('0', 100))) v (s);
SELECT insert('{query}{document}', '0..10', a) FROM (VALUES (''), ('<answer>'), ('{score}'), ('  {score}</a>'), ('<a>{score}{score}'),
	('<a>{score}{query}'), ('<a>{score'), ('{"score": {score}}'), (repeat('a', 60) || '{score}' || repeat('b', 5)),
	(repeat(U&'\20AC', 30) || '{score}')) v (a);
SELECT insert(NULL, '0..10');
SELECT insert(NULL, NULL, '<a>{score}</a>');
SELECT count(*) FROM retrostar.task WHERE name = 'bad';
SELECT outcome($$UPDATE retrostar.task SET template = 'x' WHERE name = 'all'$$);
SELECT outcome($$UPDATE retrostar.task SET scale = '0..10' WHERE name = 'biology'$$);
SELECT retrostar.task_validator('t', '{query}{document}', '0..10', NULL), retrostar.task_validator(NULL, NULL, NULL, NULL);
SELECT outcome($$SELECT retrostar.task_validator('t', 'x', NULL, NULL)$$);
SELECT outcome($$SELECT retrostar.task_validator(NULL, '{query}', NULL, NULL)$$);
-- and where that is switched off, when they are read
BEGIN;
ALTER TABLE retrostar.task DROP CONSTRAINT task_template;
SELECT insert('{query} {');
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'bad')$$);
UPDATE retrostar.task SET template = '{query}{document}', scale = '3..3' WHERE name = 'bad';
SELECT outcome($$SELECT retrostar.cache_key('q', 'd', 'bad')$$);
UPDATE retrostar.task SET template = NULL WHERE name = 'bad';
SELECT outcome($$SELECT retrostar.cache_key('q', 'd', 'bad')$$);
ROLLBACK;

DELETE FROM retrostar.task WHERE NOT builtin;
DROP SERVER gpu;
DROP FUNCTION insert, compare, key, outcome;
