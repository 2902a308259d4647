--
-- Budgets that make no sense are refused when they are written.
--
\set VERBOSITY default
CREATE ROLE regress_budget;
CREATE SERVER budgeted FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
CREATE FUNCTION pg_temp.try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	detail text;
	hint text;
BEGIN
	EXECUTE 'INSERT INTO retrostar.budget (name, role, server, period, samples, tokens) VALUES (' || command || ')';
	RETURN 'written';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', SQLSTATE, message, nullif(detail, ''), nullif(hint, ''));
END $$;

-- Good ones
SELECT pg_temp.try($$'a', 'public', NULL, '1 hour', 0, NULL$$);
SELECT pg_temp.try($$'b', 'regress_budget', 'budgeted', '1 month', NULL, 100$$);
SELECT pg_temp.try($$'c', 'regress_budget', 'budgeted', '1 day 12:00', 9223372036854775807, 100$$);

-- Roles and servers
SELECT pg_temp.try($$'x', 'nobody', NULL, '1 hour', 1, NULL$$);
SELECT pg_temp.try($$'x', 'PUBLIC', NULL, '1 hour', 1, NULL$$);
SELECT pg_temp.try($$'x', NULL, NULL, '1 hour', 1, NULL$$) LIKE '23502 %' AS no_role;
SELECT pg_temp.try($$'x', 'public', 'nowhere', '1 hour', 1, NULL$$);

-- Windows
SELECT period, pg_temp.try(format($$'x', 'public', NULL, %L, 1, NULL$$, period)) FROM
	unnest(ARRAY['0', '-1 day', '1 minute', '90 minutes', '1 month 1 day', '1 month -1 day', '-1 month', '101 years', '1000000 days', '1 day -24:00']) period;
SELECT pg_temp.try($$'x', 'public', NULL, 'soon', 1, NULL$$);

-- Limits
SELECT pg_temp.try($$'x', 'public', NULL, '1 hour', -1, NULL$$);
SELECT pg_temp.try($$'x', 'public', NULL, '1 hour', NULL, -1$$);
SELECT pg_temp.try($$'x', 'public', NULL, '1 hour', NULL, NULL$$) LIKE '23514 %' AS no_limit;
SELECT pg_temp.try($$'a', 'public', NULL, '1 hour', 1, NULL$$) LIKE '23505 %' AS twice;
UPDATE retrostar.budget SET period = '1 second' WHERE name = 'a';
UPDATE retrostar.budget SET samples = -5 WHERE name = 'a';

-- Who may not
SET ROLE regress_budget;
INSERT INTO retrostar.budget (name, role, period, samples) VALUES ('mine', 'regress_budget', '1 hour', 1);
UPDATE retrostar.budget SET samples = 100;
DELETE FROM retrostar.budget;
TRUNCATE retrostar.budget;
SELECT count(*) FROM retrostar.budget;
RESET ROLE;

DELETE FROM retrostar.budget;
DROP SERVER budgeted;
DROP ROLE regress_budget;
