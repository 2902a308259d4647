/* sql/retrostar--0.2.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION retrostar" to load this file. \quit

-- Plain CREATE: an object that somebody planted here first makes this fail.
CREATE SCHEMA retrostar;
COMMENT ON SCHEMA retrostar IS 'retrostar: tasks, score cache, views and helpers';
GRANT USAGE ON SCHEMA retrostar TO PUBLIC;

CREATE FUNCTION retrostar.version(OUT library text, OUT sql text) RETURNS record
	AS 'MODULE_PATHNAME', 'retrostar_version'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.version() IS
	'versions of the library that is loaded and of the SQL objects; where they differ, ALTER EXTENSION retrostar UPDATE';

--
-- Servers
--
CREATE FUNCTION retrostar.fdw_validator(options text[], catalog oid) RETURNS void
	AS 'MODULE_PATHNAME', 'retrostar_fdw_validator'
	LANGUAGE C STRICT VOLATILE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.fdw_validator(text[], oid) IS
	'checks the options of servers and user mappings';

CREATE FOREIGN DATA WRAPPER retrostar VALIDATOR retrostar.fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER retrostar IS
	'servers of a reasoning reranker (SGLang, vLLM, llama.cpp, or compatible)';

--
-- Tasks
--
CREATE FUNCTION retrostar.task_validator(name text, template text, scale text, answer text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'retrostar_task_validator'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.task_validator(text, text, text, text) IS
	'raises an error when template, scale and answer of a task cannot be used, else true';

-- A constraint, not a trigger: it holds for what a subscription brings, too.
CREATE TABLE retrostar.task (
	name text NOT NULL,
	query_type text,
	doc_type text,
	relevance_definition text,
	builtin boolean NOT NULL DEFAULT false,
	template text,
	scale text,
	answer text,
	CONSTRAINT task_pkey PRIMARY KEY (name),
	CONSTRAINT task_template CHECK (retrostar.task_validator(name, template, scale, answer))
);
COMMENT ON TABLE retrostar.task IS 'what relevance means in a retrieval task; add your own rows';
COMMENT ON CONSTRAINT task_template ON retrostar.task IS 'each template has its places';
COMMENT ON INDEX retrostar.task_pkey IS 'the task of a name';
COMMENT ON COLUMN retrostar.task.name IS 'the name to give as argument "task" or setting "retrostar.task"';
COMMENT ON COLUMN retrostar.task.query_type IS 'what a query is, for the prompt; NULL: query';
COMMENT ON COLUMN retrostar.task.doc_type IS 'what a document is, for the prompt; NULL: document';
COMMENT ON COLUMN retrostar.task.relevance_definition IS 'when a document counts as relevant; NULL: when it can help answer the query';
COMMENT ON COLUMN retrostar.task.template IS 'the prompt of another model than Retro*, with the places {query} and {document}';
COMMENT ON COLUMN retrostar.task.scale IS 'lowest and highest answer to that, such as 0..10; NULL: 0..100';
COMMENT ON COLUMN retrostar.task.answer IS 'where in the answer to that the number is, such as <answer>{score}</answer>; NULL: <score>{score}</score>';
COMMENT ON COLUMN retrostar.task.builtin IS 'part of the extension, so not in dumps';
GRANT SELECT ON retrostar.task TO PUBLIC;

-- The tasks of the BRIGHT benchmark, as the model was trained with them
INSERT INTO retrostar.task (name, query_type, doc_type, relevance_definition, builtin) VALUES
	('biology', 'biology post', 'passage',
	 'Given a query (biology post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('earth_science', 'earth science post', 'passage',
	 'Given a query (earth science post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('economics', 'economics post', 'passage',
	 'Given a query (economics post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('psychology', 'psychology post', 'passage',
	 'Given a query (psychology post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('robotics', 'robotics post', 'passage',
	 'Given a query (robotics post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('stackoverflow', 'Stack Overflow post', 'passage',
	 'Given a query (Stack Overflow post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('sustainable_living', 'sustainable living post', 'passage',
	 'Given a query (sustainable living post) and a document (passage), the document is relevant to the query if the critical concepts or theories discussed in the document can provide references for domain experts to draft an answer to the query.', true),
	('leetcode', 'LeetCode problem', 'coding problem solution',
	 'Given a query (LeetCode problem) and a document (coding problem solution), the document is relevant to the query if the underlying algorithms or data structures used in the document can provide helpful insights for solving the problem in the query.', true),
	('pony', 'Pony coding instruction', 'Pony documentation passage',
	 'Given a query (Pony coding instruction) and a document (Pony documentation passage), the document is relevant to the query if the Pony syntax described in the document is necessary for beginners with no prior knowledge of Pony to complete the coding instruction in the query.', true),
	('aops', 'math problem', 'math problem solution',
	 'Given a query (math problem) and a document (math problem solution), the document is relevant to the query if the theorems used in the document can provide helpful insights for solving the problem in the query.', true),
	('theoremqa_questions', 'math problem', 'math problem solution',
	 'Given a query (math problem) and a document (math problem solution), the document is relevant to the query if the theorems used in the document can provide helpful insights for solving the problem in the query.', true),
	('theoremqa_theorems', 'math problem', 'math-related passage',
	 'Given a query (math problem) and a document (math-related passage), the document is relevant to the query if the theorem described in the document can help solve the problem in the query.', true);

-- A publication of all tables has the rows of both sides.
CREATE FUNCTION retrostar.replicated_task_trigfn() RETURNS trigger
	AS 'MODULE_PATHNAME', 'retrostar_replicated_task'
	LANGUAGE C;
COMMENT ON FUNCTION retrostar.replicated_task_trigfn() IS 'keeps the tasks that are there, of those that a subscription brings';
-- They are for these triggers, and nobody else's.
REVOKE ALL ON FUNCTION retrostar.replicated_task_trigfn() FROM PUBLIC;
CREATE TRIGGER replicated_task BEFORE INSERT OR UPDATE OR DELETE ON retrostar.task
	FOR EACH ROW EXECUTE FUNCTION retrostar.replicated_task_trigfn();
ALTER TABLE retrostar.task ENABLE REPLICA TRIGGER replicated_task;
COMMENT ON TRIGGER replicated_task ON retrostar.task IS 'for what a subscription brings';

-- Users' own tasks belong into a dump.
SELECT pg_catalog.pg_extension_config_dump('retrostar.task', 'WHERE NOT builtin');

--
-- Score cache
--
CREATE TABLE retrostar.score_cache (
	key bytea NOT NULL,
	version smallint NOT NULL,
	scores smallint[] NOT NULL,
	unscored integer NOT NULL,
	model text NOT NULL,
	prompt_tokens bigint NOT NULL,
	completion_tokens bigint NOT NULL,
	created timestamptz NOT NULL,
	updated timestamptz NOT NULL,
	reasoning jsonb,
	CONSTRAINT score_cache_pkey PRIMARY KEY (key)
);
COMMENT ON TABLE retrostar.score_cache IS 'samples of pairs, written by the retrostar worker';
COMMENT ON COLUMN retrostar.score_cache.key IS 'SHA-256 of model, sampling parameters, task, query and document; see retrostar.cache_key()';
COMMENT ON COLUMN retrostar.score_cache.version IS 'format of key and row';
COMMENT ON COLUMN retrostar.score_cache.scores IS 'scores of the samples, 0 to 100, in order of arrival';
COMMENT ON COLUMN retrostar.score_cache.unscored IS 'replies that came without a score';
COMMENT ON COLUMN retrostar.score_cache.model IS 'name of the model, as the server option gave it';
COMMENT ON COLUMN retrostar.score_cache.prompt_tokens IS 'prompt tokens of all replies, as the server counted them';
COMMENT ON COLUMN retrostar.score_cache.completion_tokens IS 'generated tokens of all replies, as the server counted them';
COMMENT ON COLUMN retrostar.score_cache.created IS 'when the first sample came';
COMMENT ON COLUMN retrostar.score_cache.updated IS 'when the last sample came';
COMMENT ON COLUMN retrostar.score_cache.reasoning IS 'the samples with the replies themselves, where these were kept; see retro_star_explain()';
CREATE FUNCTION retrostar.replicated_score_trigfn() RETURNS trigger
	AS 'MODULE_PATHNAME', 'retrostar_replicated_score'
	LANGUAGE C;
COMMENT ON FUNCTION retrostar.replicated_score_trigfn() IS 'keeps the better row of a key, of those that a subscription brings';
REVOKE ALL ON FUNCTION retrostar.replicated_score_trigfn() FROM PUBLIC;
CREATE TRIGGER replicated_score BEFORE INSERT ON retrostar.score_cache
	FOR EACH ROW EXECUTE FUNCTION retrostar.replicated_score_trigfn();
ALTER TABLE retrostar.score_cache ENABLE REPLICA TRIGGER replicated_score;
COMMENT ON TRIGGER replicated_score ON retrostar.score_cache IS 'for what a subscription brings';
CREATE TRIGGER replicated_fewer BEFORE UPDATE ON retrostar.score_cache
	FOR EACH ROW WHEN (NEW.version OPERATOR(pg_catalog.<>) OLD.version
		OR pg_catalog.cardinality(NEW.scores) OPERATOR(pg_catalog.<) pg_catalog.cardinality(OLD.scores)
		OR pg_catalog.cardinality(NEW.scores) OPERATOR(pg_catalog.=) pg_catalog.cardinality(OLD.scores)
			AND NEW.created OPERATOR(pg_catalog.>) OLD.created)
	EXECUTE FUNCTION retrostar.replicated_score_trigfn();
ALTER TABLE retrostar.score_cache ENABLE REPLICA TRIGGER replicated_fewer;
COMMENT ON TRIGGER replicated_fewer ON retrostar.score_cache IS 'for what a subscription brings';
COMMENT ON INDEX retrostar.score_cache_pkey IS 'the row of a key';

-- Who may read it learns which documents were scored how, for all servers.
REVOKE ALL ON retrostar.score_cache FROM PUBLIC;

--
-- User functions, in the schema of the extension
--
CREATE FUNCTION @extschema@.retro_star_score(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	samples integer DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_score'
	LANGUAGE C STABLE PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION @extschema@.retro_star_score(text, text, text, text, text, text, integer, text) IS
	'relevance of a document to a query, 0 to 100, as a reasoning model judges it';

CREATE FUNCTION @extschema@.retro_star_prompt(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_prompt'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.retro_star_prompt(text, text, text, text, text, text) IS
	'the prompt that retro_star_score() sends for a query and a document';

CREATE FUNCTION @extschema@.retro_star_prefetch(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	samples integer DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS boolean
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_prefetch'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000;
COMMENT ON FUNCTION @extschema@.retro_star_prefetch(text, text, text, text, text, text, integer, text) IS
	'asks for a score without waiting for it; true when it is known already';

CREATE FUNCTION @extschema@.retro_star_explain(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	samples integer DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS TABLE (
		sample integer,
		score integer,
		reasoning text,
		finish_reason text,
		prompt_tokens integer,
		completion_tokens integer,
		endpoint text,
		elapsed interval,
		cached boolean,
		mean double precision,
		spread double precision)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_explain'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 4;
COMMENT ON FUNCTION @extschema@.retro_star_explain(text, text, text, text, text, text, integer, text) IS
	'the samples behind the score of a document: what the model wrote, what it cost, and how far they lie apart';

CREATE FUNCTION @extschema@.retro_star_rerank(
	query text,
	ids anyarray,
	docs text[],
	top_n integer DEFAULT NULL,
	passes text DEFAULT NULL,
	deadline interval DEFAULT NULL,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	server text DEFAULT NULL,
	priors double precision[] DEFAULT NULL,
	prior_weight double precision DEFAULT NULL)
	RETURNS TABLE (
		id anyelement,
		score double precision,
		rank integer,
		samples integer,
		fused double precision,
		error double precision,
		settled boolean)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_rerank'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 100;
COMMENT ON FUNCTION @extschema@.retro_star_rerank(text, anyarray, text[], integer, text, interval, text, text, text, text, text, double precision[], double precision) IS
	'a set of documents in the order of their relevance to a query, scored in passes, with what a retriever knows of them';

CREATE FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'retrostar_rerank_agg_transfn'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text) IS
	'transition function of retro_star_rerank_agg()';

CREATE FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text, integer) RETURNS internal
	AS 'MODULE_PATHNAME', 'retrostar_rerank_agg_transfn'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text, integer) IS
	'transition function of retro_star_rerank_agg() with top_n';

CREATE FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text, integer, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'retrostar_rerank_agg_transfn'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.rerank_agg_transfn(internal, text, anyelement, text, integer, double precision) IS
	'transition function of retro_star_rerank_agg() with top_n and prior';

CREATE FUNCTION retrostar.rerank_agg_finalfn(internal) RETURNS record[]
	AS 'MODULE_PATHNAME', 'retrostar_rerank_agg_finalfn'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000;
COMMENT ON FUNCTION retrostar.rerank_agg_finalfn(internal) IS
	'final function of retro_star_rerank_agg()';

CREATE AGGREGATE @extschema@.retro_star_rerank_agg(query text, id anyelement, doc text) (
	SFUNC = retrostar.rerank_agg_transfn,
	STYPE = internal,
	FINALFUNC = retrostar.rerank_agg_finalfn,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE @extschema@.retro_star_rerank_agg(text, anyelement, text) IS
	'the documents of a group in the order of their relevance: records of id, score and rank';

CREATE AGGREGATE @extschema@.retro_star_rerank_agg(query text, id anyelement, doc text, top_n integer) (
	SFUNC = retrostar.rerank_agg_transfn,
	STYPE = internal,
	FINALFUNC = retrostar.rerank_agg_finalfn,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE @extschema@.retro_star_rerank_agg(text, anyelement, text, integer) IS
	'the best top_n documents of a group: records of id, score and rank';

CREATE AGGREGATE @extschema@.retro_star_rerank_agg(query text, id anyelement, doc text, top_n integer, prior double precision) (
	SFUNC = retrostar.rerank_agg_transfn,
	STYPE = internal,
	FINALFUNC = retrostar.rerank_agg_finalfn,
	FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = RESTRICTED
);
COMMENT ON AGGREGATE @extschema@.retro_star_rerank_agg(text, anyelement, text, integer, double precision) IS
	'the best top_n documents of a group, with what a retriever knows of them: records of id, score and rank';

CREATE TYPE retrostar.ranked AS (id text, score double precision, rank integer);
COMMENT ON TYPE retrostar.ranked IS
	'a document of a ranking: its id as text, its score, and its place';
COMMENT ON COLUMN retrostar.ranked.id IS 'the id, as its own type prints it';
COMMENT ON COLUMN retrostar.ranked.score IS 'NULL: it has none';
COMMENT ON COLUMN retrostar.ranked.rank IS 'from 1';

CREATE FUNCTION retrostar.ranked(records record[]) RETURNS retrostar.ranked[]
	AS 'MODULE_PATHNAME', 'retrostar_ranked'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.ranked(record[]) IS
	'what retro_star_rerank_agg() returns, in a type that can be stored, sent and read back';

CREATE FUNCTION @extschema@.retro_star_passages(
	doc text,
	size integer DEFAULT 4000,
	overlap integer DEFAULT 400,
	at_most integer DEFAULT 100)
	RETURNS TABLE (no integer, passage text, start integer)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_passages'
	LANGUAGE C IMMUTABLE PARALLEL SAFE COST 1000 ROWS 10;
COMMENT ON FUNCTION @extschema@.retro_star_passages(text, integer, integer, integer) IS
	'a long document in passages, cut by its content, so that an edit changes few of them';

--
-- How good a ranking is
--
CREATE FUNCTION retrostar.ndcg(ranking anyarray, judged anyarray, grades double precision[], k integer)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'retrostar_ndcg'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.ndcg(anyarray, anyarray, double precision[], integer) IS
	'nDCG of the first k documents of a ranking, as trec_eval computes it';

CREATE FUNCTION retrostar.recall(ranking anyarray, judged anyarray, k integer)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'retrostar_recall'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.recall(anyarray, anyarray, integer) IS
	'share of the relevant documents that are among the first k of a ranking';

CREATE FUNCTION retrostar.recall(ranking anyarray, judged anyarray, grades double precision[], k integer)
	RETURNS double precision
	AS 'MODULE_PATHNAME', 'retrostar_recall_graded'
	LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.recall(anyarray, anyarray, double precision[], integer) IS
	'the same, where documents with a grade above 0 are the relevant ones';

--
-- For operators
--
CREATE FUNCTION retrostar.check(
	server text DEFAULT NULL,
	OUT endpoint text,
	OUT ok boolean,
	OUT detail text,
	OUT latency interval)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_check'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.check(text) IS
	'says what works, what is wrong and what is in doubt: worker, network, API key, model name';

CREATE FUNCTION retrostar.cache_key(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	samples integer DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS bytea
	AS 'MODULE_PATHNAME', 'retrostar_cache_key'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.cache_key(text, text, text, text, text, text, integer, text) IS
	'the key of a pair in retrostar.score_cache';

CREATE FUNCTION retrostar.cache_scope(server text DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME', 'retrostar_cache_scope'
	LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.cache_scope(text) IS
	'whose scores a server shares: the part of its keys that the option cache_scope is about';

CREATE FUNCTION retrostar.cache_prune(
	older_than interval DEFAULT NULL,
	keep_rows bigint DEFAULT NULL)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'retrostar_cache_prune'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION retrostar.cache_prune(interval, bigint) IS
	'removes old rows of retrostar.score_cache and returns their number';
-- It needs DELETE on the table, which the caller's role must have; no more.

--
-- Scheduled refreshes
--
CREATE TABLE retrostar.refresh_log (
	run bigint GENERATED ALWAYS AS IDENTITY,
	matview regclass NOT NULL,
	pid integer NOT NULL,
	started timestamptz NOT NULL,
	finished timestamptz,
	status text NOT NULL,
	sent bigint NOT NULL DEFAULT 0,
	failed bigint NOT NULL DEFAULT 0,
	skipped integer NOT NULL DEFAULT 0,
	message text,
	warmed boolean,
	failed_keys bytea[],
	CONSTRAINT refresh_log_pkey PRIMARY KEY (run),
	CONSTRAINT refresh_log_status_check CHECK (status IN ('running', 'done', 'failed', 'interrupted'))
);
CREATE INDEX refresh_log_matview_idx ON retrostar.refresh_log (matview, run);
COMMENT ON SEQUENCE retrostar.refresh_log_run_seq IS 'numbers of the runs';
COMMENT ON TABLE retrostar.refresh_log IS 'runs of retrostar.refresh(), the last 1000 of each view';
COMMENT ON COLUMN retrostar.refresh_log.run IS 'number of the run';
COMMENT ON COLUMN retrostar.refresh_log.matview IS 'the materialized view';
COMMENT ON COLUMN retrostar.refresh_log.pid IS 'process of the session that ran it';
COMMENT ON COLUMN retrostar.refresh_log.started IS 'when it began';
COMMENT ON COLUMN retrostar.refresh_log.finished IS 'when it ended, or when the next run found that it had been killed';
COMMENT ON COLUMN retrostar.refresh_log.status IS 'running, done, failed, or interrupted (killed)';
COMMENT ON COLUMN retrostar.refresh_log.sent IS 'pairs that the model was asked for, until now';
COMMENT ON COLUMN retrostar.refresh_log.failed IS 'pairs that could not be scored';
COMMENT ON COLUMN retrostar.refresh_log.skipped IS 'runs that were skipped because this one was still going on';
COMMENT ON COLUMN retrostar.refresh_log.warmed IS 'whether all was known before the view itself was refreshed; false: its snapshot was held while the model worked';
COMMENT ON COLUMN retrostar.refresh_log.message IS 'the error, or why the first pair could not be scored, or why the run is not warmed';
COMMENT ON COLUMN retrostar.refresh_log.failed_keys IS 'retrostar.cache_key() of up to ten pairs that could not be scored';
COMMENT ON INDEX retrostar.refresh_log_pkey IS 'the entry of a run';
COMMENT ON INDEX retrostar.refresh_log_matview_idx IS 'the last runs of a view';
COMMENT ON CONSTRAINT refresh_log_status_check ON retrostar.refresh_log IS 'what a run can be';
CREATE FUNCTION retrostar.replicated_refresh_trigfn() RETURNS trigger
	AS 'MODULE_PATHNAME', 'retrostar_replicated_refresh'
	LANGUAGE C;
COMMENT ON FUNCTION retrostar.replicated_refresh_trigfn() IS 'drops what a subscription brings';
REVOKE ALL ON FUNCTION retrostar.replicated_refresh_trigfn() FROM PUBLIC;
CREATE TRIGGER replicated_refresh BEFORE INSERT OR UPDATE OR DELETE ON retrostar.refresh_log
	FOR EACH ROW EXECUTE FUNCTION retrostar.replicated_refresh_trigfn();
ALTER TABLE retrostar.refresh_log ENABLE REPLICA TRIGGER replicated_refresh;
COMMENT ON TRIGGER replicated_refresh ON retrostar.refresh_log IS 'for what a subscription brings';

-- A message may quote what the view's query has read.
ALTER TABLE retrostar.refresh_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY refresh_log_policy ON retrostar.refresh_log FOR SELECT
	USING (EXISTS (SELECT FROM pg_catalog.pg_class c
		WHERE c.oid OPERATOR(pg_catalog.=) matview AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
COMMENT ON POLICY refresh_log_policy ON retrostar.refresh_log IS 'the owner of a view reads its entries';
GRANT SELECT ON retrostar.refresh_log TO PUBLIC;

-- It commits, so it has no SET clause; it runs as the caller, who must be
-- allowed to refresh the view.
CREATE PROCEDURE retrostar.refresh(matview regclass, on_error text DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'retrostar_refresh'
	LANGUAGE C;
COMMENT ON PROCEDURE retrostar.refresh(regclass, text) IS
	'refreshes a materialized view of scores without a snapshot while the model works; for scheduled jobs';

--
-- Usage and budgets
--
CREATE TABLE retrostar.usage (
	hour timestamptz NOT NULL,
	role oid NOT NULL,
	rolname name NOT NULL,
	server text NOT NULL,
	priority text NOT NULL,
	pairs bigint NOT NULL,
	failures bigint NOT NULL,
	samples bigint NOT NULL,
	prompt_tokens bigint NOT NULL,
	cached_tokens bigint NOT NULL,
	completion_tokens bigint NOT NULL,
	seconds double precision NOT NULL,
	CONSTRAINT usage_pkey PRIMARY KEY (hour, role, server, priority)
) WITH (fillfactor = 50);
COMMENT ON TABLE retrostar.usage IS 'what pairs have cost whom, by the hour; written by the retrostar worker with their scores';
COMMENT ON COLUMN retrostar.usage.hour IS 'in which the pairs ended: its start';
COMMENT ON COLUMN retrostar.usage.role IS 'OID of the user whose session made the requests';
COMMENT ON COLUMN retrostar.usage.rolname IS 'its name then, for when it is dropped';
COMMENT ON COLUMN retrostar.usage.server IS 'name of the server then';
COMMENT ON COLUMN retrostar.usage.priority IS 'priority of the requests';
COMMENT ON COLUMN retrostar.usage.pairs IS 'pairs with a reply, or that failed';
COMMENT ON COLUMN retrostar.usage.failures IS 'of these, those that failed';
COMMENT ON COLUMN retrostar.usage.samples IS 'replies, with and without a score';
COMMENT ON COLUMN retrostar.usage.prompt_tokens IS 'prompt tokens of all replies, as the server counted them';
COMMENT ON COLUMN retrostar.usage.cached_tokens IS 'of these, those from the prefix cache of the server, where it tells';
COMMENT ON COLUMN retrostar.usage.completion_tokens IS 'generated tokens of all replies, as the server counted them';
COMMENT ON COLUMN retrostar.usage.seconds IS 'between request and reply, all replies together';
COMMENT ON INDEX retrostar.usage_pkey IS 'the row of an hour, role, server and priority';
CREATE TRIGGER replicated_usage BEFORE INSERT OR UPDATE OR DELETE ON retrostar.usage
	FOR EACH ROW EXECUTE FUNCTION retrostar.replicated_refresh_trigfn();
ALTER TABLE retrostar.usage ENABLE REPLICA TRIGGER replicated_usage;
COMMENT ON TRIGGER replicated_usage ON retrostar.usage IS 'for what a subscription brings';

-- The view of a role that may be dropped: pg_has_role() knows its OID only
ALTER TABLE retrostar.usage ENABLE ROW LEVEL SECURITY;
CREATE POLICY usage_policy ON retrostar.usage
	USING (pg_catalog.pg_has_role(role, 'USAGE') OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE'));
COMMENT ON POLICY usage_policy ON retrostar.usage IS 'a role reads its own rows, and those of roles whose rights it has';
GRANT SELECT ON retrostar.usage TO PUBLIC;

CREATE VIEW retrostar.usage_by_day WITH (security_invoker = true) AS
	SELECT u.hour::pg_catalog.date AS day, COALESCE(r.rolname, pg_catalog.max(u.rolname::pg_catalog.text)::pg_catalog.name) AS role,
		u.server, pg_catalog.sum(u.pairs)::pg_catalog.int8 AS pairs,
		pg_catalog.sum(u.failures)::pg_catalog.int8 AS failures,
		pg_catalog.sum(u.samples)::pg_catalog.int8 AS samples,
		pg_catalog.sum(u.prompt_tokens)::pg_catalog.int8 AS prompt_tokens,
		pg_catalog.sum(u.cached_tokens)::pg_catalog.int8 AS cached_tokens,
		pg_catalog.sum(u.completion_tokens)::pg_catalog.int8 AS completion_tokens,
		pg_catalog.sum(u.seconds) AS seconds
	FROM retrostar.usage u LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) u.role
	GROUP BY u.hour::pg_catalog.date, u.role, r.rolname, u.server;
COMMENT ON VIEW retrostar.usage_by_day IS 'usage by day, role and server';
GRANT SELECT ON retrostar.usage_by_day TO PUBLIC;

CREATE TABLE retrostar.budget (
	name text NOT NULL,
	role name NOT NULL,
	server text,
	period interval NOT NULL,
	samples bigint,
	tokens bigint,
	CONSTRAINT budget_pkey PRIMARY KEY (name),
	CONSTRAINT budget_samples_check CHECK (samples >= 0),
	CONSTRAINT budget_tokens_check CHECK (tokens >= 0),
	CONSTRAINT budget_limit_check CHECK (pg_catalog.num_nonnulls(samples, tokens) > 0)
);
COMMENT ON TABLE retrostar.budget IS 'what roles may spend; add rows';
COMMENT ON COLUMN retrostar.budget.name IS 'what messages call it';
COMMENT ON COLUMN retrostar.budget.role IS 'whose sessions it bounds, all together: a role with all its members, or public';
COMMENT ON COLUMN retrostar.budget.server IS 'name of the server; null: all servers together';
COMMENT ON COLUMN retrostar.budget.period IS 'how long a window is: whole hours, or months of the calendar (UTC)';
COMMENT ON COLUMN retrostar.budget.samples IS 'replies in a window';
COMMENT ON COLUMN retrostar.budget.tokens IS 'tokens of prompts and replies in a window';
COMMENT ON INDEX retrostar.budget_pkey IS 'the budget of a name';
COMMENT ON CONSTRAINT budget_samples_check ON retrostar.budget IS 'none below 0';
COMMENT ON CONSTRAINT budget_tokens_check ON retrostar.budget IS 'none below 0';
COMMENT ON CONSTRAINT budget_limit_check ON retrostar.budget IS 'it bounds something';
CREATE FUNCTION retrostar.budget_check_trigfn() RETURNS trigger
	AS 'MODULE_PATHNAME', 'retrostar_budget_check'
	LANGUAGE C;
COMMENT ON FUNCTION retrostar.budget_check_trigfn() IS 'refuses budgets that make no sense';
REVOKE ALL ON FUNCTION retrostar.budget_check_trigfn() FROM PUBLIC;
CREATE TRIGGER budget_check BEFORE INSERT OR UPDATE ON retrostar.budget
	FOR EACH ROW EXECUTE FUNCTION retrostar.budget_check_trigfn();
COMMENT ON TRIGGER budget_check ON retrostar.budget IS 'refuses what makes no sense';
CREATE FUNCTION retrostar.budget_changed_trigfn() RETURNS trigger
	AS 'MODULE_PATHNAME', 'retrostar_budget_changed'
	LANGUAGE C;
COMMENT ON FUNCTION retrostar.budget_changed_trigfn() IS 'tells sessions that budgets have changed';
REVOKE ALL ON FUNCTION retrostar.budget_changed_trigfn() FROM PUBLIC;
CREATE TRIGGER budget_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON retrostar.budget
	FOR EACH STATEMENT EXECUTE FUNCTION retrostar.budget_changed_trigfn();
ALTER TABLE retrostar.budget ENABLE ALWAYS TRIGGER budget_changed;
COMMENT ON TRIGGER budget_changed ON retrostar.budget IS 'tells sessions';
CREATE TRIGGER replicated_budget BEFORE INSERT OR UPDATE OR DELETE ON retrostar.budget
	FOR EACH ROW EXECUTE FUNCTION retrostar.replicated_refresh_trigfn();
ALTER TABLE retrostar.budget ENABLE REPLICA TRIGGER replicated_budget;
COMMENT ON TRIGGER replicated_budget ON retrostar.budget IS 'for what a subscription brings';
GRANT SELECT ON retrostar.budget TO PUBLIC;
-- Not in dumps, as only who may write it could restore them.

-- What is used, and of whom it counts: memberships alone, as superusers are
-- bound by the budgets of others no more than anybody else
CREATE FUNCTION retrostar.budget_window_state(
	period interval,
	OUT starts timestamptz,
	OUT ends timestamptz)
	RETURNS record
	AS 'MODULE_PATHNAME', 'retrostar_budget_window_state'
	LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.budget_window_state(interval) IS
	'the present window of a budget; see the view retrostar.stat_budget';

CREATE FUNCTION retrostar.budget_member_state(member oid, role name) RETURNS boolean
	AS 'MODULE_PATHNAME', 'retrostar_budget_member_state'
	LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.budget_member_state(oid, name) IS
	'whether a budget for the second role counts for the first; see the view retrostar.stat_budget';

CREATE VIEW retrostar.stat_budget WITH (security_barrier = true) AS
	SELECT b.name, b.role, b.server, w.starts, w.ends,
		b.samples AS samples_limit, u.samples AS samples_used, b.tokens AS tokens_limit, u.tokens AS tokens_used
	FROM retrostar.budget b CROSS JOIN LATERAL retrostar.budget_window_state(b.period) w
		CROSS JOIN LATERAL (
			SELECT COALESCE(pg_catalog.sum(samples), 0::pg_catalog.numeric)::pg_catalog.int8 AS samples,
				COALESCE(pg_catalog.sum(prompt_tokens OPERATOR(pg_catalog.+) completion_tokens), 0::pg_catalog.numeric)::pg_catalog.int8 AS tokens
			FROM retrostar.usage
			WHERE hour OPERATOR(pg_catalog.>=) w.starts AND hour OPERATOR(pg_catalog.<) w.ends
				AND (b.server IS NULL OR server OPERATOR(pg_catalog.=) b.server)
				AND retrostar.budget_member_state(usage.role, b.role)) u
	WHERE pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') OR retrostar.budget_member_state(
		(SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) SESSION_USER), b.role);
COMMENT ON VIEW retrostar.stat_budget IS
	'budgets of the session''s user, and what is used of them in their present windows; of all for pg_read_all_stats';
GRANT SELECT ON retrostar.stat_budget TO PUBLIC;

CREATE FUNCTION retrostar.report(
	query text DEFAULT NULL,
	docs text[] DEFAULT NULL,
	period interval DEFAULT '7 days',
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'retrostar_report'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 100000;
COMMENT ON FUNCTION retrostar.report(text, text[], interval, text, text, text, text, text) IS
	'an HTML page of what the cache holds, what it cost, and who answered, and of the documents of a query';

CREATE FUNCTION retrostar.parse_reply(
	body text,
	status integer DEFAULT 200,
	OUT outcome text,
	OUT score integer,
	OUT finish_reason text,
	OUT prompt_tokens integer,
	OUT completion_tokens integer,
	OUT message text)
	RETURNS record
	AS 'MODULE_PATHNAME', 'retrostar_parse_reply'
	LANGUAGE C STRICT IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION retrostar.parse_reply(text, integer) IS
	'what retrostar makes of the body of a reply with this HTTP status';

CREATE FUNCTION retrostar.pause() RETURNS void
	AS 'MODULE_PATHNAME', 'retrostar_pause'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.pause() IS
	'keeps the requests of this database queued: nothing is sent until retrostar.resume()';
-- It holds up everybody.
REVOKE ALL ON FUNCTION retrostar.pause() FROM PUBLIC;

CREATE FUNCTION retrostar.resume() RETURNS void
	AS 'MODULE_PATHNAME', 'retrostar_resume'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.resume() IS 'ends retrostar.pause()';
REVOKE ALL ON FUNCTION retrostar.resume() FROM PUBLIC;

--
-- Views of what goes on.  Everybody may read them; the functions mask what
-- belongs to others.
--
CREATE FUNCTION retrostar.queue_state(
	OUT worker_pid integer,
	OUT paused boolean,
	OUT pairs integer,
	OUT waiting integer,
	OUT running integer,
	OUT unstored integer,
	OUT asked bigint,
	OUT answered bigint,
	OUT failed bigint,
	OUT cancelled bigint,
	OUT joined bigint,
	OUT samples_sent bigint,
	OUT samples_scored bigint,
	OUT samples_unscored bigint,
	OUT samples_failed bigint,
	OUT samples_cancelled bigint,
	OUT samples_running integer,
	OUT lost bigint,
	OUT waiters integer,
	OUT free_requests integer,
	OUT free_waiters integer,
	OUT text_bytes bigint,
	OUT stats_reset timestamptz)
	RETURNS record
	AS 'MODULE_PATHNAME', 'retrostar_queue_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.queue_state() IS
	'state and counters of the queue; see the view retrostar.stat_queue';

CREATE VIEW retrostar.stat_queue AS SELECT * FROM retrostar.queue_state();
COMMENT ON VIEW retrostar.stat_queue IS
	'pairs and samples of this database in work and counted, and the shared memory of all databases';
GRANT SELECT ON retrostar.stat_queue TO PUBLIC;

CREATE FUNCTION retrostar.server_state(
	server oid,
	OUT endpoint text,
	OUT state text,
	OUT in_flight integer,
	OUT in_flight_limit integer,
	OUT sent bigint,
	OUT retries bigint,
	OUT answered bigint,
	OUT unscored bigint,
	OUT failed bigint,
	OUT unreachable bigint,
	OUT timed_out bigint,
	OUT pushed_back bigint,
	OUT refused bigint,
	OUT server_errors bigint,
	OUT bad_replies bigint,
	OUT not_sent bigint,
	OUT cancelled bigint,
	OUT prompt_tokens bigint,
	OUT completion_tokens bigint,
	OUT latency_mean interval,
	OUT latency_p50 interval,
	OUT latency_p95 interval,
	OUT latency_p99 interval,
	OUT last_error text,
	OUT last_error_at timestamptz,
	OUT stats_reset timestamptz,
	OUT cached_tokens bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_server_state'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 4;
COMMENT ON FUNCTION retrostar.server_state(oid) IS
	'state and counters of the endpoints of a server; see the view retrostar.stat_server';

CREATE VIEW retrostar.stat_server AS
	SELECT s.srvname AS server, e.*
	FROM pg_catalog.pg_foreign_server s
		JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw
		CROSS JOIN LATERAL retrostar.server_state(s.oid) e
	WHERE w.fdwname OPERATOR(pg_catalog.=) 'retrostar'::pg_catalog.name;
COMMENT ON VIEW retrostar.stat_server IS
	'the endpoints of the servers of this database: state, attempts and how they ended, tokens, latency, last error';
GRANT SELECT ON retrostar.stat_server TO PUBLIC;

CREATE FUNCTION retrostar.activity_state(
	OUT pid integer,
	OUT usesysid oid,
	OUT server oid,
	OUT state text,
	OUT asked_at timestamptz,
	OUT samples integer,
	OUT in_flight integer,
	OUT attempts integer,
	OUT endpoint text,
	OUT waiters integer,
	OUT detached boolean,
	OUT priority text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_activity_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION retrostar.activity_state() IS
	'the requests in work; see the view retrostar.stat_activity';

CREATE VIEW retrostar.stat_activity AS
	SELECT a.pid, a.usesysid, r.rolname AS usename, s.srvname AS server, a.state,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.asked_at AS age,
		a.samples, a.in_flight, a.attempts, a.endpoint, a.waiters, a.detached,
		a.priority
	FROM retrostar.activity_state() a
		LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.usesysid
		LEFT JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) a.server;
COMMENT ON VIEW retrostar.stat_activity IS
	'the requests of this database that are queued or in flight, a row for each pair';
GRANT SELECT ON retrostar.stat_activity TO PUBLIC;

CREATE FUNCTION retrostar.progress_state(
	OUT pid integer,
	OUT datid oid,
	OUT usesysid oid,
	OUT wanted bigint,
	OUT known bigint,
	OUT joined bigint,
	OUT sent bigint,
	OUT pending bigint,
	OUT done bigint,
	OUT failed bigint,
	OUT not_awaited bigint,
	OUT started timestamptz,
	OUT rows_estimated bigint,
	OUT end_estimated timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_progress_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION retrostar.progress_state() IS
	'how far the statements with pairs are; see the view retrostar.stat_progress';

CREATE VIEW retrostar.stat_progress AS
	SELECT p.pid, p.datid, d.datname, p.usesysid, r.rolname AS usename,
		p.wanted, p.known, p.joined, p.sent, p.pending, p.done, p.failed, p.not_awaited, p.started, p.rows_estimated, p.end_estimated
	FROM retrostar.progress_state() p
		LEFT JOIN pg_catalog.pg_database d ON d.oid OPERATOR(pg_catalog.=) p.datid
		LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) p.usesysid;
COMMENT ON VIEW retrostar.stat_progress IS
	'how far the statements with pairs are, of all databases, a row for each session';
GRANT SELECT ON retrostar.stat_progress TO PUBLIC;

CREATE FUNCTION retrostar.cache_state(
	OUT hits bigint,
	OUT misses bigint,
	OUT stored bigint,
	OUT store_failures bigint,
	OUT unstored integer,
	OUT stats_reset timestamptz)
	RETURNS record
	AS 'MODULE_PATHNAME', 'retrostar_cache_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.cache_state() IS
	'look-ups and stores; see the view retrostar.stat_cache';

-- Cheap whatever the size of the table: an estimate of the rows, and the
-- oldest of the first pages.  Reasons lie in the TOAST table, and little else.
CREATE VIEW retrostar.stat_cache AS
	SELECT GREATEST(pg_catalog.pg_stat_get_live_tuples(t.oid), t.reltuples::pg_catalog.int8, 0::pg_catalog.int8)
			AS rows_estimated,
		pg_catalog.pg_table_size(t.oid) OPERATOR(pg_catalog.-)
			pg_catalog.pg_total_relation_size(t.reltoastrelid) AS table_bytes,
		pg_catalog.pg_indexes_size(t.oid) AS index_bytes,
		pg_catalog.pg_total_relation_size(t.reltoastrelid) AS reasoning_bytes,
		(SELECT pg_catalog.min(c.updated) FROM retrostar.score_cache c
			WHERE c.ctid OPERATOR(pg_catalog.<) '(16,0)'::pg_catalog.tid) AS oldest_estimated,
		s.*
	FROM pg_catalog.pg_class t CROSS JOIN retrostar.cache_state() s
	WHERE t.oid OPERATOR(pg_catalog.=) 'retrostar.score_cache'::pg_catalog.regclass;
COMMENT ON VIEW retrostar.stat_cache IS
	'size of the score cache, look-ups and stores';
GRANT SELECT ON retrostar.stat_cache TO PUBLIC;

--
-- One cache for many nodes: what a hub does for others.  Who may call these
-- reads and writes scores of any key.
--
CREATE FUNCTION retrostar.shared_ask(
	version smallint,
	keys bytea[],
	have integer[],
	done bytea[],
	OUT n integer,
	OUT state text,
	OUT scores smallint[],
	OUT unscored integer,
	OUT model text,
	OUT prompt_tokens bigint,
	OUT completion_tokens bigint,
	OUT created timestamptz,
	OUT updated timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_shared_ask'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION retrostar.shared_ask(smallint, bytea[], integer[], bytea[]) IS
	'for the workers of other nodes: what is known of these keys, and who pays for the others';
REVOKE ALL ON FUNCTION retrostar.shared_ask(smallint, bytea[], integer[], bytea[]) FROM PUBLIC;

CREATE FUNCTION retrostar.shared_put(
	version smallint,
	keys bytea[],
	scores text[],
	unscored integer[],
	models text[],
	prompt_tokens bigint[],
	completion_tokens bigint[],
	answered timestamptz[])
	RETURNS integer
	AS 'MODULE_PATHNAME', 'retrostar_shared_put'
	LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION retrostar.shared_put(smallint, bytea[], text[], integer[], text[], bigint[], bigint[], timestamptz[]) IS
	'for the workers of other nodes: stores what they paid, and returns how many rows have changed';
REVOKE ALL ON FUNCTION retrostar.shared_put(smallint, bytea[], text[], integer[], text[], bigint[], bigint[], timestamptz[]) FROM PUBLIC;

CREATE FUNCTION retrostar.shared_state(
	server oid,
	OUT hub text,
	OUT state text,
	OUT asked bigint,
	OUT known bigint,
	OUT elsewhere bigint,
	OUT paid bigint,
	OUT told bigint,
	OUT untold bigint,
	OUT last_error text,
	OUT last_error_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_shared_state'
	LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION retrostar.shared_state(oid) IS
	'state and counters of the hub of a server; see the view retrostar.stat_shared';

CREATE VIEW retrostar.stat_shared AS
	SELECT s.srvname AS server, h.*
	FROM pg_catalog.pg_foreign_server s
		JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw
		CROSS JOIN LATERAL retrostar.shared_state(s.oid) h
	WHERE w.fdwname OPERATOR(pg_catalog.=) 'retrostar'::pg_catalog.name;
COMMENT ON VIEW retrostar.stat_shared IS
	'servers that share the cache of a hub: whether it is there, what it was asked and told';
GRANT SELECT ON retrostar.stat_shared TO PUBLIC;

--
-- Functions of 0.1.0 that have more arguments or columns since.  Views that were
-- made with them keep them, by these names, and so do dumps of such views.
--
CREATE FUNCTION retrostar.retro_star_explain_0_1(
	query text,
	doc text,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	samples integer DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS TABLE (
		sample integer,
		score integer,
		reasoning text,
		finish_reason text,
		prompt_tokens integer,
		completion_tokens integer,
		endpoint text,
		elapsed interval,
		cached boolean)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_explain'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 4;
COMMENT ON FUNCTION retrostar.retro_star_explain_0_1(text, text, text, text, text, text, integer, text) IS
	'retro_star_explain() of version 0.1.0, for views that were made with it';

CREATE FUNCTION retrostar.retro_star_rerank_0_1(
	query text,
	ids anyarray,
	docs text[],
	top_n integer DEFAULT NULL,
	passes text DEFAULT NULL,
	deadline interval DEFAULT NULL,
	task text DEFAULT NULL,
	relevance_definition text DEFAULT NULL,
	query_type text DEFAULT NULL,
	doc_type text DEFAULT NULL,
	server text DEFAULT NULL)
	RETURNS TABLE (id anyelement, score double precision, rank integer, samples integer)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_rerank'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 100;
COMMENT ON FUNCTION retrostar.retro_star_rerank_0_1(text, anyarray, text[], integer, text, interval, text, text, text, text, text) IS
	'retro_star_rerank() of version 0.1.0, for views that were made with it';

CREATE FUNCTION retrostar.stats_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'retrostar_stats_reset'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.stats_reset() IS
	'starts the counters of this database anew; what is in work counts as asked for since';
-- Others may be watching them.
REVOKE ALL ON FUNCTION retrostar.stats_reset() FROM PUBLIC;

--
-- What the columns of the views are
--
COMMENT ON COLUMN retrostar.stat_queue.worker_pid IS 'process of the worker of this database; null: there is none';
COMMENT ON COLUMN retrostar.stat_queue.paused IS 'whether nothing is sent until retrostar.resume()';
COMMENT ON COLUMN retrostar.stat_queue.pairs IS 'pairs of this database in memory';
COMMENT ON COLUMN retrostar.stat_queue.waiting IS 'of these, queued';
COMMENT ON COLUMN retrostar.stat_queue.running IS 'of these, in the hands of the worker';
COMMENT ON COLUMN retrostar.stat_queue.unstored IS 'of these, answered and not yet in the cache table';
COMMENT ON COLUMN retrostar.stat_queue.asked IS 'pairs for which a request was made';
COMMENT ON COLUMN retrostar.stat_queue.answered IS 'of these, ended with a score';
COMMENT ON COLUMN retrostar.stat_queue.failed IS 'of these, ended without a score';
COMMENT ON COLUMN retrostar.stat_queue.cancelled IS 'of these, dropped because nobody wanted them any more';
COMMENT ON COLUMN retrostar.stat_queue.joined IS 'calls that took part in a request which was there already; not in asked';
COMMENT ON COLUMN retrostar.stat_queue.samples_sent IS 'samples that the worker took from the queue';
COMMENT ON COLUMN retrostar.stat_queue.samples_scored IS 'of these, replies with a score';
COMMENT ON COLUMN retrostar.stat_queue.samples_unscored IS 'of these, replies without a score';
COMMENT ON COLUMN retrostar.stat_queue.samples_failed IS 'of these, ended without a reply, with an error';
COMMENT ON COLUMN retrostar.stat_queue.samples_cancelled IS 'of these, given up';
COMMENT ON COLUMN retrostar.stat_queue.samples_running IS 'of these, not ended';
COMMENT ON COLUMN retrostar.stat_queue.lost IS 'answers given up before they could be stored';
COMMENT ON COLUMN retrostar.stat_queue.waiters IS 'calls that wait, of all databases';
COMMENT ON COLUMN retrostar.stat_queue.free_requests IS 'places for requests that are free, of all databases';
COMMENT ON COLUMN retrostar.stat_queue.free_waiters IS 'places for waiting calls that are free, of all databases';
COMMENT ON COLUMN retrostar.stat_queue.text_bytes IS 'shared memory that texts take, of all databases';
COMMENT ON COLUMN retrostar.stat_queue.stats_reset IS 'when the counters began anew; null: when PostgreSQL started';
COMMENT ON COLUMN retrostar.stat_server.server IS 'name of the server';
COMMENT ON COLUMN retrostar.stat_server.endpoint IS 'URL';
COMMENT ON COLUMN retrostar.stat_server.state IS 'up, down (left out after failures), trying (it is asked whether it is well), doubted (nothing new while another is in use), misconfigured (refuses a key or the model), unknown';
COMMENT ON COLUMN retrostar.stat_server.in_flight IS 'attempts in flight';
COMMENT ON COLUMN retrostar.stat_server.in_flight_limit IS 'how many may be; without a worker as last learnt';
COMMENT ON COLUMN retrostar.stat_server.sent IS 'attempts: HTTP exchanges for samples';
COMMENT ON COLUMN retrostar.stat_server.retries IS 'of these, not the first of their sample';
COMMENT ON COLUMN retrostar.stat_server.answered IS 'of these, with an understood reply';
COMMENT ON COLUMN retrostar.stat_server.unscored IS 'of the answered, without a score';
COMMENT ON COLUMN retrostar.stat_server.failed IS 'of the sent: the sum of the seven that follow';
COMMENT ON COLUMN retrostar.stat_server.unreachable IS 'not connected, or a broken connection';
COMMENT ON COLUMN retrostar.stat_server.timed_out IS 'no reply within the option timeout';
COMMENT ON COLUMN retrostar.stat_server.pushed_back IS 'too busy: 408, 429, 503';
COMMENT ON COLUMN retrostar.stat_server.refused IS 'refused: the key, the model, the request';
COMMENT ON COLUMN retrostar.stat_server.server_errors IS 'other status of 500 and above';
COMMENT ON COLUMN retrostar.stat_server.bad_replies IS 'a success without a completion';
COMMENT ON COLUMN retrostar.stat_server.not_sent IS 'not sent, for want of memory or a bad ca_file';
COMMENT ON COLUMN retrostar.stat_server.cancelled IS 'closed before the reply';
COMMENT ON COLUMN retrostar.stat_server.prompt_tokens IS 'prompt tokens of the answers, as the endpoint counted them';
COMMENT ON COLUMN retrostar.stat_server.completion_tokens IS 'generated tokens of the answers, as the endpoint counted them';
COMMENT ON COLUMN retrostar.stat_server.cached_tokens IS 'of the prompt tokens, those from its prefix cache, where it tells';
COMMENT ON COLUMN retrostar.stat_server.latency_mean IS 'from sending to the whole reply, of the answers';
COMMENT ON COLUMN retrostar.stat_server.latency_p50 IS 'half of the answers took less';
COMMENT ON COLUMN retrostar.stat_server.latency_p95 IS '95 % of the answers took less';
COMMENT ON COLUMN retrostar.stat_server.latency_p99 IS '99 % of the answers took less';
COMMENT ON COLUMN retrostar.stat_server.last_error IS 'of the last failed attempt; the words of the server itself for pg_read_all_stats alone';
COMMENT ON COLUMN retrostar.stat_server.last_error_at IS 'when that was';
COMMENT ON COLUMN retrostar.stat_server.stats_reset IS 'when the counters began anew; null: when PostgreSQL started';
COMMENT ON COLUMN retrostar.stat_activity.pid IS 'process of the session that asked first; null: it has ended';
COMMENT ON COLUMN retrostar.stat_activity.usesysid IS 'OID of its user';
COMMENT ON COLUMN retrostar.stat_activity.usename IS 'name of its user';
COMMENT ON COLUMN retrostar.stat_activity.server IS 'name of the server';
COMMENT ON COLUMN retrostar.stat_activity.state IS 'queued, running, closing (nobody wants it any more), looked up (the hub is asked), elsewhere (another node pays)';
COMMENT ON COLUMN retrostar.stat_activity.age IS 'since it was asked for';
COMMENT ON COLUMN retrostar.stat_activity.samples IS 'samples that are wanted';
COMMENT ON COLUMN retrostar.stat_activity.in_flight IS 'of these, in the hands of the worker';
COMMENT ON COLUMN retrostar.stat_activity.attempts IS 'HTTP exchanges until now';
COMMENT ON COLUMN retrostar.stat_activity.endpoint IS 'URL where the last of them went';
COMMENT ON COLUMN retrostar.stat_activity.waiters IS 'calls that wait for it';
COMMENT ON COLUMN retrostar.stat_activity.detached IS 'whether it goes on although nobody waits';
COMMENT ON COLUMN retrostar.stat_activity.priority IS 'interactive or background: the highest of those who want it';
COMMENT ON COLUMN retrostar.stat_progress.pid IS 'process of the session';
COMMENT ON COLUMN retrostar.stat_progress.datid IS 'OID of its database';
COMMENT ON COLUMN retrostar.stat_progress.datname IS 'name of its database';
COMMENT ON COLUMN retrostar.stat_progress.usesysid IS 'OID of its user';
COMMENT ON COLUMN retrostar.stat_progress.usename IS 'name of its user';
COMMENT ON COLUMN retrostar.stat_progress.wanted IS 'pairs until now: done, failed, pending and not_awaited';
COMMENT ON COLUMN retrostar.stat_progress.known IS 'of these, found in the cache or in memory';
COMMENT ON COLUMN retrostar.stat_progress.joined IS 'of these, by the request of another';
COMMENT ON COLUMN retrostar.stat_progress.sent IS 'of these, asked for';
COMMENT ON COLUMN retrostar.stat_progress.pending IS 'without an answer yet';
COMMENT ON COLUMN retrostar.stat_progress.done IS 'with a score';
COMMENT ON COLUMN retrostar.stat_progress.failed IS 'without a score in the end';
COMMENT ON COLUMN retrostar.stat_progress.not_awaited IS 'prefetched, skipped, or not needed in the end';
COMMENT ON COLUMN retrostar.stat_progress.started IS 'when the first pair was wanted';
COMMENT ON COLUMN retrostar.stat_progress.rows_estimated IS 'pairs that the planner expects, or that the set has; null: not known';
COMMENT ON COLUMN retrostar.stat_progress.end_estimated IS 'when these come to an end at the pace until now; null: not known';
COMMENT ON COLUMN retrostar.stat_cache.rows_estimated IS 'rows of the cache table, by the statistics of PostgreSQL';
COMMENT ON COLUMN retrostar.stat_cache.table_bytes IS 'size of the table itself';
COMMENT ON COLUMN retrostar.stat_cache.index_bytes IS 'size of its index';
COMMENT ON COLUMN retrostar.stat_cache.reasoning_bytes IS 'size of its TOAST table: replies that were kept';
COMMENT ON COLUMN retrostar.stat_cache.oldest_estimated IS 'when the oldest of the first rows last got a sample';
COMMENT ON COLUMN retrostar.stat_cache.hits IS 'pairs whose samples were all known when they were looked for';
COMMENT ON COLUMN retrostar.stat_cache.misses IS 'the others';
COMMENT ON COLUMN retrostar.stat_cache.stored IS 'answers written';
COMMENT ON COLUMN retrostar.stat_cache.store_failures IS 'batches of answers that could not be written, or not all of them';
COMMENT ON COLUMN retrostar.stat_cache.unstored IS 'answers that are not written yet';
COMMENT ON COLUMN retrostar.stat_cache.stats_reset IS 'when the counters began anew; null: when PostgreSQL started';
COMMENT ON COLUMN retrostar.stat_shared.server IS 'name of the server';
COMMENT ON COLUMN retrostar.stat_shared.hub IS 'name of the foreign server of the hub';
COMMENT ON COLUMN retrostar.stat_shared.state IS 'connected, connecting, away (cannot be used, and is tried again), not connected (nothing was asked yet)';
COMMENT ON COLUMN retrostar.stat_shared.asked IS 'pairs for which the hub was asked';
COMMENT ON COLUMN retrostar.stat_shared.known IS 'of these, known to it';
COMMENT ON COLUMN retrostar.stat_shared.elsewhere IS 'of these, paid for by another node';
COMMENT ON COLUMN retrostar.stat_shared.paid IS 'of these, sent from here';
COMMENT ON COLUMN retrostar.stat_shared.told IS 'answers that it was told';
COMMENT ON COLUMN retrostar.stat_shared.untold IS 'answers that it was not told, and will not be';
COMMENT ON COLUMN retrostar.stat_shared.last_error IS 'why it was away last; in words for pg_read_all_stats alone';
COMMENT ON COLUMN retrostar.stat_shared.last_error_at IS 'when that was';
COMMENT ON COLUMN retrostar.usage_by_day.day IS 'day, of the time zone of the session';
COMMENT ON COLUMN retrostar.usage_by_day.role IS 'name of the role; of a dropped one its last';
COMMENT ON COLUMN retrostar.usage_by_day.server IS 'name of the server then';
COMMENT ON COLUMN retrostar.usage_by_day.pairs IS 'pairs with a reply, or that failed';
COMMENT ON COLUMN retrostar.usage_by_day.failures IS 'of these, those that failed';
COMMENT ON COLUMN retrostar.usage_by_day.samples IS 'replies, with and without a score';
COMMENT ON COLUMN retrostar.usage_by_day.prompt_tokens IS 'prompt tokens of all replies';
COMMENT ON COLUMN retrostar.usage_by_day.cached_tokens IS 'of these, those from the prefix cache of the server, where it tells';
COMMENT ON COLUMN retrostar.usage_by_day.completion_tokens IS 'generated tokens of all replies';
COMMENT ON COLUMN retrostar.usage_by_day.seconds IS 'between request and reply, all replies together';
COMMENT ON COLUMN retrostar.stat_budget.name IS 'name of the budget';
COMMENT ON COLUMN retrostar.stat_budget.role IS 'whose sessions it bounds';
COMMENT ON COLUMN retrostar.stat_budget.server IS 'name of the server; null: all servers together';
COMMENT ON COLUMN retrostar.stat_budget.starts IS 'when the present window began';
COMMENT ON COLUMN retrostar.stat_budget.ends IS 'when it ends';
COMMENT ON COLUMN retrostar.stat_budget.samples_limit IS 'replies that it allows in a window';
COMMENT ON COLUMN retrostar.stat_budget.samples_used IS 'of these, used';
COMMENT ON COLUMN retrostar.stat_budget.tokens_limit IS 'tokens that it allows in a window';
COMMENT ON COLUMN retrostar.stat_budget.tokens_used IS 'of these, used';
