--
-- Options of servers and user mappings, and which server a call uses.
-- Nothing is sent anywhere: retrostar.on_miss is "skip".
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS retrostar;
RESET client_min_messages;
SET retrostar.on_miss = 'skip';
\pset format unaligned
\pset tuples_only on

-- The outcome of a statement on one line, without control characters
CREATE FUNCTION outcome(sql text, hints bool = true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text; message text; detail text; hint text;
BEGIN
	EXECUTE sql;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	IF NOT hints THEN hint := ''; END IF;
	RETURN regexp_replace(concat_ws(' | ', code, message, nullif(detail, ''), nullif(hint, '')),
						  '[[:cntrl:]]', '?', 'g');
END $$;

-- A server with the two required options and this one
CREATE FUNCTION try_option(name text, value text, hints bool = true) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	required text := 'url ''http://h'', model ''m''';
BEGIN
	IF name = 'url' THEN required := 'model ''m'''; END IF;
	IF name = 'model' THEN required := 'url ''http://h'''; END IF;
	RETURN outcome(format('CREATE SERVER probe FOREIGN DATA WRAPPER retrostar OPTIONS (%s, %I %L);'
						  'DROP SERVER probe', required, name, value), hints);
END $$;

-- The same for several values, without hints; long ones are not repeated in full
CREATE FUNCTION try_options(name text, VARIADIC "values" text[])
RETURNS TABLE (value text, result text) LANGUAGE sql AS $$
	SELECT CASE WHEN length(v) > 60 THEN left(v, 20) || '... (' || length(v) || ')'
				ELSE regexp_replace(v, '[[:cntrl:]]', '?', 'g') END,
		   try_option(name, v, false)
	FROM unnest("values") WITH ORDINALITY AS u(v, n) ORDER BY n
$$;

--
-- Required options and unknown names
--
SELECT outcome('CREATE SERVER probe FOREIGN DATA WRAPPER retrostar');
SELECT outcome($$CREATE SERVER probe FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h')$$);
SELECT outcome($$CREATE SERVER probe FOREIGN DATA WRAPPER retrostar OPTIONS (model 'm')$$);
SELECT try_option('modle', 'm');
SELECT try_option('Model', 'm');
SELECT try_option('api_key', 'sesame');

-- also when the option is taken away later
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h', model 'm');
SELECT outcome('ALTER SERVER gpu OPTIONS (DROP url)');
SELECT outcome('ALTER SERVER gpu OPTIONS (DROP model)');
SELECT outcome($$ALTER SERVER gpu OPTIONS (SET model '')$$);
SELECT outcome($$ALTER SERVER gpu OPTIONS (ADD retries '5', SET model 'other')$$);
SELECT outcome('ALTER SERVER gpu OPTIONS (DROP retries)');

-- nothing else takes options
SELECT outcome($$ALTER FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (a int) SERVER gpu OPTIONS (model 'm')$$);
SELECT outcome($$CREATE FOREIGN TABLE t (a int OPTIONS (api_key 'sesame')) SERVER gpu$$);
SELECT outcome($$SELECT retrostar.fdw_validator('{}', 'pg_foreign_data_wrapper'::regclass)$$);
SELECT outcome($$SELECT retrostar.fdw_validator('{url}', 'pg_foreign_server'::regclass)$$);
SELECT outcome($$SELECT retrostar.fdw_validator('{x=1}', 0)$$);
SELECT outcome($$SELECT retrostar.fdw_validator(array[null::text], 'pg_foreign_server'::regclass)$$);

--
-- url
--
SELECT try_option('url', 'h:30000');
SELECT * FROM try_options('url',
	'http://h', 'HTTP://H', 'https://h', 'http://h:1', 'http://h:65535', 'http://h/',
	'http://h/v1', 'http://h/v1/', 'http://h//', 'http://h/a/b/v1', 'http://10.0.0.7:30000',
	'http://[::1]', 'http://[fe80::1]:8080/v1', 'http://my_host-1.example.com',
	'http://h/a%20b', 'http://h/a@b;c=d', 'unix:/run/x.sock', 'unix:///run/x.sock',
	'unix:/' || repeat('s', 106), 'http://' || repeat('h', 253), 'http://h/' || repeat('p', 1014),
	'http://a,http://b', ' http://a , http://b:81 ', E'http://a,\n\thttps://a',
	'http://h,https://h,http://h:81,http://h/a,unix:/h');
SELECT * FROM try_options('url',
	'', ' ', 'h', 'h:30000', 'http:', 'http:/h', 'http://', 'http:///v1', 'http://:80',
	'ftp://h', 'file:///etc/passwd', 'gopher://h', 'javascript:1', 'httpx://h', ' unix:x',
	'http://h:0', 'http://h:65536', 'http://h:', 'http://h:080', 'http://h:8o', 'http://h:1:2',
	'http://h:+80', 'http://[::1', 'http://[::1]x', 'http://[]', 'http://[h]', 'http://[::1%25eth0]',
	'http://::1', 'http://.h', 'http://-h', 'http://a..b', 'http://h!', 'http://h/a b', 'http://h é',
	'http://hé', E'http://h\n/v1', E'http://h\x01', E'http://h\x7f', 'http://h/?a=b', 'http://h#f',
	'http://h/a%2', 'http://h/a%zz', 'http://h/"x"', 'http://h\x', 'http://h/<x>',
	'http://h/v1/chat/completions', 'http://h/v1/completions/',
	'unix:', 'unix:x', 'unix:/', 'unix://', 'unix:/dir/', 'unix:/' || repeat('s', 107),
	'http://' || repeat('h', 254), 'http://h/' || repeat('p', 1015));
-- no password in a message
SELECT * FROM try_options('url', 'http://user:sesame@h', 'https://user@h:1', 'http://h?api_key=sesame');
-- lists
SELECT * FROM try_options('url', ',', 'http://a,', ',http://a', 'http://a,,http://b',
	'http://a http://b', 'http://a;http://b',
	'http://a,http://a', 'http://a,http://A:80/v1/', 'https://a,https://a:443', 'unix:/x,unix:///x');
SELECT n, try_option('url', (SELECT string_agg('http://h:' || i, ',') FROM generate_series(1, n) i), false)
FROM (VALUES (64), (65)) AS v(n);

--
-- names
--
SELECT * FROM try_options('model', 'm', 'ljw13/retro-star-qwen3-14b-0928', 'Modèle "1" \ x',
	repeat('m', 255), repeat('m', 256), repeat('é', 127), repeat('é', 128), '', E'a\nb', E'a\x7f');
SELECT * FROM try_options('cache_scope', 'team', repeat('s', 255), repeat('s', 256), '', E'a\tb');
SELECT * FROM try_options('dialect', 'sglang', 'vllm', 'llamacpp', 'openai', '', 'SGLang', 'tgi');

--
-- numbers
--
SELECT * FROM try_options('temperature', '0', '-0', '0.6', '2', '2.0000001', '-0.1', 'NaN', 'inf',
	'-Infinity', '1e400', '', 'hot', '0.6 ', '0,6', '0.6x');
SELECT * FROM try_options('top_k', '-1', '0', '40', '1000000', '1000001', '-2', '1.5', '4e1', '0x10',
	'99999999999', '', ' ', 'x', '40 ');
SELECT * FROM try_options('top_p', '1', '0.000001', '0', '1.1', 'nan');
SELECT * FROM try_options('min_p', '0', '1', '-1e-9', '1.5');
SELECT * FROM try_options('repetition_penalty', '2', '0.1', '0', '2.1');
SELECT * FROM try_options('max_tokens', '1', '1000000', '0', '1000001', '1kB');
SELECT * FROM try_options('max_in_flight', '1', '65536', '0', '65537');
SELECT * FROM try_options('retries', '0', '100', '-1', '101');

-- context_length must leave room for a prompt
SELECT * FROM try_options('context_length', '2048', '100000000', '2047', '0', '-1', '100000001');
SELECT outcome($$ALTER SERVER gpu OPTIONS (ADD context_length '5000', ADD max_tokens '4096')$$);
SELECT outcome($$ALTER SERVER gpu OPTIONS (ADD context_length '8192', ADD max_tokens '4096')$$);
SELECT outcome($$ALTER SERVER gpu OPTIONS (DROP context_length, DROP max_tokens)$$);

--
-- times: without a unit they are seconds
--
SELECT try_option('timeout', '5 parsec');
SELECT * FROM try_options('timeout', '300', '300s', '500ms', '0.001', '1ms', '5 min', '24h', '1d', '86400',
	'2d', '86401', '0', '0.0001', '-1', '1e10', '', 's', '5 parsec', '5S', 'nan');
SELECT * FROM try_options('connect_timeout', '3', '0ms');
SELECT * FROM try_options('unavailable_timeout', '60', '0s');

--
-- extra_body
--
SELECT try_option('extra_body', '["priority", 1]');
SELECT * FROM try_options('extra_body', '{}', ' {"priority": 1} ', '{"stop": ["</score>"]}',
	'{"chat_template_kwargs": {"enable_thinking": true}}', '{"a": {"model": "nested is fine"}}',
	'{"a": "' || repeat('x', 60000) || '"}');
SELECT * FROM try_options('extra_body', '[]', '1', 'null', '"{}"');
SELECT * FROM try_options('extra_body', '{"model": "x"}', '{"\u006dodel": "x"}', '{"messages": []}',
	'{"prompt": ""}', '{"n": 2}', '{"stream": true}', '{"stream_options": {}}', '{"seed": 1}',
	'{"rid": "x"}', '{"request_id": "x"}', '{"max_tokens": 1}', '{"max_completion_tokens": 1}',
	'{"temperature": 1}', '{"top_k": 1}', '{"top_p": 1}', '{"min_p": 1}', '{"repetition_penalty": 1}',
	'{"a": 1, "repeat_penalty": 1}');
SELECT * FROM try_options('extra_body', repeat(' ', 65536) || '{}', '{"a": 1e70000}');
-- the detail of a JSON error is PostgreSQL's and differs between versions
SELECT v, left(try_option('extra_body', v), 5)
FROM (VALUES (''), ('{'), ('{"a": 1} x'), ('{a: 1}'), ('{"a": "\u0000"}'), ('{"a": NaN}'),
	  ('{"a": 1e999999}')) AS t(v);
SELECT left(try_option('extra_body', repeat('[', 30000)), 5);

--
-- headers: no value is shown, and nothing begins another header
--
SELECT * FROM try_options('headers', '{}', '{"X-Team": "search"}', '{"x_a.b!#$%&''*+^`|~": "v: w, \"x\" = (y)"}');
SELECT try_option('headers', 'X-Team: search');
SELECT try_option('headers', '{"X-Team: sesame": "sesame"}');
SELECT * FROM try_options('headers', '', '[]', '"X-Team"', '{"X-Team": 1}', '{"X-Team": null}', '{"X-Team": ["sesame"]}',
	'{"": "a"}', '{"X Team": "a"}', '{"X-Team\r\nX-Evil": "a"}', '{"X-T\u00e4m": "a"}', '{"X-Team": ""}',
	'{"X-Team": " a"}', '{"X-Team": "a "}', '{"X-Team": "sesame\r\nX-Evil: 1"}', '{"X-Team": "sesame\n"}',
	'{"X-Team": "a\tb"}', '{"X-Team": "\u007f"}', '{"X-Team": "caf\u00e9"}', '{"X-Team": "a\u0000b"}',
	'{"X-Team": "a", "x-team": "b"}');
SELECT * FROM try_options('headers', '{"host": "a"}', '{"Content-Length": "0"}', '{"CONTENT-TYPE": "text/plain"}',
	'{"Content-Encoding": "gzip"}', '{"Transfer-Encoding": "chunked"}', '{"Connection": "close"}', '{"Expect": "100-continue"}',
	'{"Accept-Encoding": "gzip"}', '{"Authorization": "Bearer sesame"}', '{"X-Request-Id": "1"}', '{"Traceparent": "00"}');
SELECT * FROM try_options('headers', '{"' || repeat('x', 64) || '": "a"}', '{"' || repeat('x', 65) || '": "a"}',
	'{"a": "' || repeat('x', 8192) || '"}', '{"a": "' || repeat('x', 8193) || '"}');
SELECT left(result, 60) FROM try_options('headers', (SELECT json_object_agg('x' || i, 'a')::text FROM generate_series(1, 33) i));
SELECT * FROM try_options('api_key_header', 'api-key', 'Authorization', '', 'api key', 'api-key:', E'api-key\r\nX-Evil: 1', 'Host', 'sk-1234 sesame');
SELECT outcome($$CREATE SERVER probe FOREIGN DATA WRAPPER retrostar
	OPTIONS (url 'http://h', model 'm', headers '{"Api-Key": "sesame"}', api_key_header 'api-key')$$);

--
-- priority_scheduling, preempt
--
SELECT * FROM try_options('priority_scheduling', 'on', 'false', '1', 'yes', '', 'vllm');
SELECT * FROM try_options('preempt', 'off', 'maybe');
SELECT outcome(format($$CREATE SERVER probe FOREIGN DATA WRAPPER retrostar
	OPTIONS (url 'http://h', model 'm', dialect %L, priority_scheduling 'on'); DROP SERVER probe$$, dialect))
FROM unnest(ARRAY['sglang', 'vllm', 'llamacpp', 'openai']) AS dialect;
SELECT outcome($$CREATE SERVER probe FOREIGN DATA WRAPPER retrostar
	OPTIONS (url 'http://h', model 'm', extra_body '{"priority": 3}', priority_scheduling 'on')$$);

--
-- shared_cache
--
SELECT * FROM try_options('shared_cache', 'hub', 'no such server', '', E'a\tb');

--
-- user mappings
--
CREATE FUNCTION try_mapping(options text) RETURNS text LANGUAGE sql AS $$
	SELECT outcome('CREATE USER MAPPING FOR PUBLIC SERVER gpu' || options ||
				   '; DROP USER MAPPING FOR PUBLIC SERVER gpu')
$$;
SELECT try_mapping('');
SELECT try_mapping($$ OPTIONS (api_key 'sk-1234')$$);
SELECT try_mapping($$ OPTIONS (api_key_file '/etc/retrostar.key')$$);
SELECT try_mapping($$ OPTIONS (api_key 'sesame', api_key_file '/etc/retrostar.key')$$);
SELECT try_mapping($$ OPTIONS (api_key '')$$);
SELECT try_mapping($$ OPTIONS (api_key E'sesame\r\nX-Evil: 1')$$);
SELECT try_mapping(format($$ OPTIONS (api_key %L)$$, repeat('k', 8192)));
SELECT try_mapping(format($$ OPTIONS (api_key %L)$$, repeat('k', 8193)));
SELECT try_mapping($$ OPTIONS (api_key_file '')$$);
SELECT try_mapping($$ OPTIONS (api_key_file 'retrostar.key')$$);
SELECT try_mapping($$ OPTIONS (api_key_file E'/etc/x\ny')$$);
SELECT try_mapping($$ OPTIONS (api_key 'sesame', api_key_header 'api-key', headers '{"Cookie": "sesame"}')$$);
SELECT try_mapping($$ OPTIONS (headers '{"Cookie": "sesame\n"}')$$);
SELECT try_mapping($$ OPTIONS (api_key_header E'sesame\n')$$);
SELECT try_mapping($$ OPTIONS (api_key_header 'cookie', headers '{"Cookie": "sesame"}')$$);
SELECT try_mapping($$ OPTIONS (user 'u', password 'sesame')$$);
SELECT try_mapping($$ OPTIONS (model 'm')$$);

--
-- File options are for roles that may read the server's files
--
CREATE ROLE regress_retrostar_owner;
CREATE ROLE regress_retrostar_user;
GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO regress_retrostar_owner;
SELECT * FROM try_options('ca_file', '/etc/ca.pem', 'ca.pem', '');
SET ROLE regress_retrostar_owner;
SELECT try_option('ca_file', '/etc/ca.pem');
SELECT outcome($$CREATE SERVER own FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h', model 'm')$$);
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER own OPTIONS (api_key_file '/etc/passwd')$$);
SELECT outcome($$CREATE USER MAPPING FOR PUBLIC SERVER own OPTIONS (api_key 'sesame')$$);
SELECT outcome($$ALTER USER MAPPING FOR PUBLIC SERVER own OPTIONS (DROP api_key, ADD api_key_file '/etc/passwd')$$);
RESET ROLE;

-- an owner without that right can only alter such a server by taking the file away
ALTER SERVER own OPTIONS (ADD ca_file '/etc/ca.pem');
SET ROLE regress_retrostar_owner;
SELECT outcome($$ALTER SERVER own OPTIONS (SET url 'http://elsewhere')$$);
SELECT outcome($$ALTER SERVER own OPTIONS (ADD timeout '10s')$$);
SELECT outcome($$ALTER SERVER own OPTIONS (DROP ca_file)$$);
SELECT outcome($$ALTER SERVER own OPTIONS (ADD timeout '10s')$$);
RESET ROLE;
GRANT pg_read_server_files TO regress_retrostar_owner;
SET ROLE regress_retrostar_owner;
SELECT outcome($$ALTER SERVER own OPTIONS (ADD ca_file '/etc/ca.pem')$$);
RESET ROLE;
REVOKE pg_read_server_files FROM regress_retrostar_owner;

--
-- Which server a call uses
--
CREATE FUNCTION use(server text) RETURNS text LANGUAGE sql AS $$
	SELECT outcome(format('SELECT retro_star_score(%L, %L, server => %L)', 'q', 'd', server))
$$;

-- by name
SELECT use('gpu');
SELECT use('nosuch');
SELECT use('');
SELECT use(repeat('x', 200));
CREATE FOREIGN DATA WRAPPER regress_retrostar_other;
CREATE SERVER foreign_gpu FOREIGN DATA WRAPPER regress_retrostar_other;
SELECT use('foreign_gpu');

-- by setting; an argument wins
SET retrostar.server = 'nosuch';
SELECT use(NULL);
SELECT use('gpu');
SET retrostar.server = 'foreign_gpu';
SELECT use(NULL);
SET retrostar.server = 'own';
SELECT use(NULL);
RESET retrostar.server;

-- the only one on which the role has USAGE
SELECT use(NULL);
SET ROLE regress_retrostar_user;
SELECT use(NULL);
SELECT use('gpu');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER gpu TO regress_retrostar_user;
SET ROLE regress_retrostar_user;
SELECT use(NULL);
SELECT use('');
SELECT use('gpu');
SELECT use('own');

-- what was found once is forgotten when it changes
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER gpu FROM regress_retrostar_user;
SET ROLE regress_retrostar_user;
SELECT use('gpu');
RESET ROLE;
CREATE ROLE regress_retrostar_group;
GRANT USAGE ON FOREIGN SERVER gpu TO regress_retrostar_group;
GRANT regress_retrostar_group TO regress_retrostar_user;
SET ROLE regress_retrostar_user;
SELECT use('gpu');
SELECT use(NULL);
RESET ROLE;
REVOKE regress_retrostar_group FROM regress_retrostar_user;
SET ROLE regress_retrostar_user;
SELECT use('gpu');
SELECT use(NULL);
RESET ROLE;
SELECT use('gpu');
-- also of the database's owner
GRANT USAGE ON FOREIGN SERVER gpu TO pg_database_owner;
CREATE FUNCTION own_database(role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER DATABASE %I OWNER TO %I', current_database(), role);
END $$;
SELECT current_user AS superuser \gset
SELECT own_database('regress_retrostar_user');
SET ROLE regress_retrostar_user;
SELECT use('gpu');
RESET ROLE;
SELECT own_database(:'superuser');
SET ROLE regress_retrostar_user;
SELECT use('gpu');
RESET ROLE;
REVOKE USAGE ON FOREIGN SERVER gpu FROM pg_database_owner;
DROP FUNCTION own_database;
ALTER SERVER gpu RENAME TO gpu2;
SELECT use('gpu');
SELECT use('gpu2');
BEGIN;
DROP SERVER gpu2;
SELECT use('gpu2');
SELECT use(NULL);
ROLLBACK;
SELECT use('gpu2');
SELECT use(NULL);

-- options that got around the validator
BEGIN;
UPDATE pg_foreign_server SET srvoptions = '{url=ftp://h,model=m}' WHERE srvname = 'gpu2';
SELECT use('gpu2');
UPDATE pg_foreign_server SET srvoptions = NULL WHERE srvname = 'gpu2';
SELECT use('gpu2');
ROLLBACK;
SELECT use('gpu2');

-- many to choose from
DO $$
BEGIN
	FOR i IN 1..12 LOOP
		EXECUTE format('CREATE SERVER s%s FOREIGN DATA WRAPPER retrostar OPTIONS (url %L, model %L)',
					   i, 'http://h', 'm');
	END LOOP;
END $$;
SELECT use(NULL);
DO $$
BEGIN
	FOR i IN 1..12 LOOP
		EXECUTE format('DROP SERVER s%s', i);
	END LOOP;
END $$;

-- none at all
DROP USER MAPPING FOR PUBLIC SERVER own;
DROP SERVER own, gpu2;
SELECT use(NULL);

DROP SERVER foreign_gpu;
DROP FOREIGN DATA WRAPPER regress_retrostar_other;
REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM regress_retrostar_owner;
DROP ROLE regress_retrostar_owner, regress_retrostar_user, regress_retrostar_group;
DROP FUNCTION use, try_mapping, try_options, try_option, outcome;
RESET retrostar.on_miss;
