/* sql/retrostar--0.1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION retrostar" to load this file. \quit

-- Plain CREATE: an object that somebody planted here first makes this fail.
CREATE SCHEMA retrostar;
COMMENT ON SCHEMA retrostar IS 'retrostar: tasks, score cache, views and helpers';
GRANT USAGE ON SCHEMA retrostar TO PUBLIC;

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
CREATE TABLE retrostar.task (
	name text NOT NULL,
	query_type text NOT NULL,
	doc_type text NOT NULL,
	relevance_definition text NOT NULL,
	builtin boolean NOT NULL DEFAULT false,
	CONSTRAINT task_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE retrostar.task IS 'what relevance means in a retrieval task; add your own rows';
COMMENT ON COLUMN retrostar.task.name IS 'the name to give as argument "task" or setting "retrostar.task"';
COMMENT ON COLUMN retrostar.task.query_type IS 'what a query is, for the prompt';
COMMENT ON COLUMN retrostar.task.doc_type IS 'what a document is, for the prompt';
COMMENT ON COLUMN retrostar.task.relevance_definition IS 'when a document counts as relevant';
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
		cached boolean)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_explain'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 4;
COMMENT ON FUNCTION @extschema@.retro_star_explain(text, text, text, text, text, text, integer, text) IS
	'the samples behind the score of a document: what the model wrote, and what it cost';

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
	server text DEFAULT NULL)
	RETURNS TABLE (id anyelement, score double precision, rank integer, samples integer)
	AS 'MODULE_PATHNAME', 'retrostar_retro_star_rerank'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED COST 1000000 ROWS 100;
COMMENT ON FUNCTION @extschema@.retro_star_rerank(text, anyarray, text[], integer, text, interval, text, text, text, text, text) IS
	'a set of documents in the order of their relevance to a query, scored in passes';

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
	'says what works and what is wrong: worker, network, API key, model name';

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
COMMENT ON COLUMN retrostar.refresh_log.message IS 'the error, or why the first pair could not be scored';
-- A message may quote what the view's query has read.
ALTER TABLE retrostar.refresh_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY refresh_log_policy ON retrostar.refresh_log FOR SELECT
	USING (EXISTS (SELECT FROM pg_catalog.pg_class c
		WHERE c.oid OPERATOR(pg_catalog.=) matview AND pg_catalog.pg_has_role(c.relowner, 'USAGE')));
COMMENT ON POLICY refresh_log_policy ON retrostar.refresh_log IS 'the owner of a view reads its entries';
GRANT SELECT ON retrostar.refresh_log TO PUBLIC;

-- It commits, so it has no SET clause; it runs as the caller, who must be
-- allowed to refresh the view.
CREATE PROCEDURE retrostar.refresh(matview regclass)
	AS 'MODULE_PATHNAME', 'retrostar_refresh'
	LANGUAGE C;
COMMENT ON PROCEDURE retrostar.refresh(regclass) IS
	'refreshes a materialized view of scores without a snapshot while the model works; for scheduled jobs';

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
	OUT stats_reset timestamptz)
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
	OUT detached boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_activity_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000;
COMMENT ON FUNCTION retrostar.activity_state() IS
	'the requests in work; see the view retrostar.stat_activity';

CREATE VIEW retrostar.stat_activity AS
	SELECT a.pid, a.usesysid, r.rolname AS usename, s.srvname AS server, a.state,
		pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.asked_at AS age,
		a.samples, a.in_flight, a.attempts, a.endpoint, a.waiters, a.detached
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
	OUT started timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'retrostar_progress_state'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10;
COMMENT ON FUNCTION retrostar.progress_state() IS
	'how far the statements with pairs are; see the view retrostar.stat_progress';

CREATE VIEW retrostar.stat_progress AS
	SELECT p.pid, p.datid, d.datname, p.usesysid, r.rolname AS usename,
		p.wanted, p.known, p.joined, p.sent, p.pending, p.done, p.failed, p.not_awaited, p.started
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

CREATE FUNCTION retrostar.stats_reset() RETURNS void
	AS 'MODULE_PATHNAME', 'retrostar_stats_reset'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION retrostar.stats_reset() IS
	'starts the counters of this database anew; what is in work counts as asked for since';
-- Others may be watching them.
REVOKE ALL ON FUNCTION retrostar.stats_reset() FROM PUBLIC;
