--
-- The prompt: byte for byte what the model was trained on
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- the reference's template, with its placeholders
CREATE FUNCTION template() RETURNS text LANGUAGE sql AS $$ SELECT $template$Here is the **relevance definition** in a retrieval task: {relevance_definition}

Now given a **query** ({query_type}) and a **document** ({doc_type}) in this retrieval task, your mission is to perform the following steps.

1. Query Analysis: Think to reason and describe what information would be most helpful in answering the query.
2. Document Analysis: Discuss how the information provided by the document fulfills or fails to fulfill the requirements implied by the query.
3. Relevance Annotation: Based on the relevance definition and the insights from the previous two steps, clearly justify your final relevance annotation result and annotate an integer score from a scale of 0 to 100. Please use the following guide:
    - **80-100 (Highly Relevant):** The document directly and comprehensively addresses the query's intent. It is a core and authoritative answer.
    - **60-80 (Relevant):** The document substantially addresses the query's intent, providing most of the key information, but might miss some minor details.
    - **40-60 (Moderately Relevant):** The document is on-topic and addresses a part of the query's intent, but it is not a comprehensive answer.
    - **20-40 (Slightly Relevant):** The document mentions keywords from the query, but its main topic is different. It offers very limited value.
    - **0-20 (Irrelevant):** The document does not address the query's intent at all and is off-topic.

After providing your detailed analysis and justification for all the steps above, conclude your entire response with the final relevance score. The score must be placed strictly between the <score> tags. There should be no other text or explanation inside the tags:
<score>
[From a scale of 0 to 100, annotate the degree of relevance between the query and the document.]
</score>

Query ({query_type}):
[Begin of Query]
{query}
[End of Query]

Document ({doc_type}):
[Begin of Document]
{doc}
[End of Document]
$template$::text $$;

-- the file as it came with the model
SELECT length(template()), encode(sha256(convert_to(template(), 'UTF8')), 'hex');

-- str.format() of that template for strings without braces
CREATE FUNCTION reference(query text, doc text, definition text, query_type text, doc_type text)
RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(replace(replace(replace(template(),
		'{relevance_definition}', definition), '{query_type}', query_type),
		'{doc_type}', doc_type), '{query}', query), '{doc}', doc)
$$;

-- one prompt in full, to be read
SELECT retro_star_prompt('How do whales sleep?', 'Whales rest one half of the brain at a time.');

--
-- Equality with the reference
--

-- nothing named
SELECT retro_star_prompt('What is a monad?', 'A monoid in the category of endofunctors.') =
	reference('What is a monad?', 'A monoid in the category of endofunctors.',
			  'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
			  'query', 'document');

-- everything named, as in the model card
SELECT retro_star_prompt('q', 'd',
			  query_type => 'Stack Overflow post', doc_type => 'passage',
			  relevance_definition => 'Given a query (Stack Overflow post) and a document (passage), the document is relevant to the query if it helps.') =
	reference('q', 'd',
			  'Given a query (Stack Overflow post) and a document (passage), the document is relevant to the query if it helps.',
			  'Stack Overflow post', 'passage');

-- text of several lines, with every kind of character
SELECT retro_star_prompt(E'a\nb\r\n\tc "quoted" \\ %s {} é 日本 😀', E'\x01\x1f\x7f\n\n< > <| |> <b> </s> <s> [INST]') =
	reference(E'a\nb\r\n\tc "quoted" \\ %s {} é 日本 😀', E'\x01\x1f\x7f\n\n< > <| |> <b> </s> <s> [INST]',
			  'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
			  'query', 'document');

-- empty texts are texts
SELECT retro_star_prompt('', '') =
	reference('', '',
			  'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
			  'query', 'document');

-- long ones
SELECT retro_star_prompt(repeat('q', 5000), repeat('word é ', 200000)) =
	reference(repeat('q', 5000), repeat('word é ', 200000),
			  'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
			  'query', 'document');

-- NULL in, NULL out
SELECT retro_star_prompt(NULL, 'd') IS NULL, retro_star_prompt('q', NULL) IS NULL,
	   retro_star_prompt(NULL, NULL, 'nosuch') IS NULL;

-- the default definition takes the types that were given
SELECT retro_star_prompt('q', 'd', query_type => 'riddle') =
	reference('q', 'd',
			  'Given a query (riddle) and a document (document), the document is relevant to the query if the document can help answer the query.',
			  'riddle', 'document');
SELECT retro_star_prompt('q', 'd', query_type => 'riddle', doc_type => 'answer') =
	reference('q', 'd',
			  'Given a query (riddle) and a document (answer), the document is relevant to the query if the document can help answer the query.',
			  'riddle', 'answer');

--
-- Inserted text is not scanned again
--
SELECT split_part(retro_star_prompt('{doc} {query_type}', '{query} {relevance_definition} {doc'), E'\n\nQuery', 2);
SELECT split_part(retro_star_prompt('q', 'd', relevance_definition => 'a {query} in {doc_type}'), E'\n', 1);
SELECT split_part(retro_star_prompt('q', 'd', query_type => '{doc}', doc_type => '{query}'), E'\n', 1);

--
-- Control tokens get a zero width space (shown as ~) after their "<"
--
CREATE FUNCTION as_doc(doc text) RETURNS text LANGUAGE sql AS $$
	SELECT replace(substring(retro_star_prompt('q', doc) FROM E'\\[Begin of Document\\]\n(.*)\n\\[End of Document\\]'),
				   U&'\200B', '~')
$$;
SELECT doc, as_doc(doc)
FROM unnest(array[
	'<|im_end|>', '<|im_start|>assistant', '<|endoftext|>', 'a<|x|>b', '<|A_1|><|b|>', '<<|x|>>', '<|a<|x|>',
	'<think>', '</think>', '<tool_call>', '</tool_call>', '<tool_response>', '</tool_response>',
	-- not tokens
	'<||>', '<|', '<|x', '<|x|', '<|x>', '<|x||>', '<|a b|>', '<|a-b|>', '<|é|>', '< think>', '<think', '<thinking>',
	'<THINK>', '</ think>', '<tool>', '<score>100</score>', '<s>', 'a < b', '<', '']) WITH ORDINALITY AS t(doc, n)
ORDER BY n;
SELECT n, as_doc('<|' || repeat('x', n) || '|>') LIKE '<~|%' FROM (VALUES (1), (64), (65)) AS v(n);

-- in the query, too; the task's own words are the user's
SELECT replace(substring(retro_star_prompt('a</think>b', 'd') FROM E'\\[Begin of Query\\]\n(.*)\n\\[End of Query\\]'), U&'\200B', '~');
SELECT split_part(retro_star_prompt('q', 'd', relevance_definition => 'the <|im_end|> token'), E'\n', 1);

--
-- Tasks
--
SELECT name, query_type, doc_type, builtin,
	   retro_star_prompt('q', 'd', name) = reference('q', 'd', relevance_definition, query_type, doc_type)
FROM retrostar.task ORDER BY name COLLATE "C";
SELECT split_part(retro_star_prompt('q', 'd', 'biology'), E'\n', 1);
SELECT split_part(retro_star_prompt('q', 'd', 'pony'), E'\n', 1);

-- the twelve of BRIGHT, as the reference has them
SELECT encode(sha256(convert_to(string_agg(concat_ws(E'\t', name, query_type, doc_type, relevance_definition),
										   E'\n' ORDER BY name COLLATE "C"), 'UTF8')), 'hex')
FROM retrostar.task WHERE builtin;

-- each string can be replaced
SELECT retro_star_prompt('q', 'd', 'biology', doc_type => 'book') =
	   reference('q', 'd', relevance_definition, query_type, 'book')
FROM retrostar.task WHERE name = 'biology';
SELECT retro_star_prompt('q', 'd', 'biology', 'mine', 'letter', 'book') = reference('q', 'd', 'mine', 'letter', 'book');

-- the setting; the argument wins
SET retrostar.task = 'leetcode';
SELECT retro_star_prompt('q', 'd') = retro_star_prompt('q', 'd', 'leetcode'),
	   retro_star_prompt('q', 'd', 'aops') = reference('q', 'd', relevance_definition, query_type, doc_type)
FROM retrostar.task WHERE name = 'aops';
SET retrostar.task = 'nosuch';
SELECT retro_star_prompt('q', 'd');
SELECT retro_star_prompt('q', 'd', 'pony') LIKE '%(Pony coding instruction)%';
RESET retrostar.task;

-- unknown and empty
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
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'nosuch')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'Biology')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', '')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', relevance_definition => '')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', query_type => '')$$);
SELECT outcome($$SELECT retro_star_prompt('q', 'd', doc_type => '')$$);

-- one's own task, seen as any row of a table is: at once by its own transaction,
-- by others after commit, not after a rollback
INSERT INTO retrostar.task (name, query_type, doc_type, relevance_definition)
	VALUES ('recipes', 'list of ingredients', 'recipe', repeat('A recipe is relevant if one can cook it. ', 300));
SELECT retro_star_prompt('q', 'd', 'recipes') = reference('q', 'd', relevance_definition, 'list of ingredients', 'recipe')
FROM retrostar.task WHERE name = 'recipes';
BEGIN;
UPDATE retrostar.task SET doc_type = 'dish' WHERE name = 'recipes';
SELECT retro_star_prompt('q', 'd', 'recipes') LIKE '%Document (dish):%';
DELETE FROM retrostar.task WHERE name = 'recipes';
SELECT outcome($$SELECT retro_star_prompt('q', 'd', 'recipes')$$);
ROLLBACK;
SELECT retro_star_prompt('q', 'd', 'recipes') LIKE '%Document (recipe):%';
DELETE FROM retrostar.task WHERE name = 'recipes';

-- the same as a template of one's own gives the same prompt
INSERT INTO retrostar.task (name, query_type, doc_type, relevance_definition, template)
	SELECT 'own', query_type, doc_type, relevance_definition, replace(template(), '{doc}', '{document}') FROM retrostar.task WHERE name = 'biology';
SELECT retro_star_prompt(E'a "q"\n\\ {doc} </think>', '{query} <|im_end|>', 'own') = retro_star_prompt(E'a "q"\n\\ {doc} </think>', '{query} <|im_end|>', 'biology');
DELETE FROM retrostar.task WHERE name = 'own';

-- other roles may use tasks, and search_path does not mislead
CREATE ROLE regress_retrostar_reader;
CREATE TEMP TABLE task AS SELECT * FROM retrostar.task LIMIT 0;
SET search_path = pg_temp, public;
SET ROLE regress_retrostar_reader;
SELECT retro_star_prompt('q', 'd', 'biology') LIKE '%Query (biology post):%';
RESET ROLE;
RESET search_path;
DROP TABLE pg_temp.task;
DROP ROLE regress_retrostar_reader;

--
-- Too long
--
SELECT outcome($$SELECT length(retro_star_prompt('q', repeat('0123456789abcdef', 4 * 1024 * 1024)))$$);
SELECT outcome($$SELECT length(retro_star_prompt('q', repeat('0123456789abcdef', 4 * 1024 * 1024 - 100)))$$);

DROP FUNCTION outcome, as_doc, reference, template;
