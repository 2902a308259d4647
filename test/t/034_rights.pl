# Who may do what, as the table in doc/security.md says; that nobody can plant scores for
# others; and that no name of the caller's takes the place of a built-in one.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('rights', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--model', 'm', '--log', '1000');

create_server($node, 'postgres', 'gpu', $sim);

# As this role: SQLSTATE
sub outcome
{
	my ($role, $sql, $db) = @_;
	return sqlstate($node, $db // 'postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose', '-U', $role ]);
}

#
# The table of privileges.  For each row: what a role without the
# privilege is refused, how it is granted, and that it works then.
#
my $create = "CREATE SERVER mine FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm')";
my $mapping = "CREATE USER MAPPING FOR CURRENT_USER SERVER gpu OPTIONS";
my %rows = (
	'`CREATE SERVER`' => {
		sql => [ "$create; DROP SERVER mine" ],
		grant => 'GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO role', revoke => 'REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM role' },
	'`ALTER SERVER`, `DROP SERVER`' => {
		sql => [ "ALTER SERVER owned OPTIONS (ADD retries '1'); ALTER SERVER owned OPTIONS (DROP retries)", 'BEGIN; DROP SERVER owned; ROLLBACK' ],
		setup => 'GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO role',
		grant => 'ALTER SERVER owned OWNER TO role', revoke => 'ALTER SERVER owned OWNER TO postgres',
		cleanup => 'REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM role' },
	'`CREATE USER MAPPING` for oneself' => {
		sql => [ "$mapping (api_key 'mine'); DROP USER MAPPING FOR CURRENT_USER SERVER gpu" ],
		grant => 'GRANT USAGE ON FOREIGN SERVER gpu TO role', revoke => 'REVOKE USAGE ON FOREIGN SERVER gpu FROM role' },
	'`CREATE USER MAPPING` for `PUBLIC` and others' => {
		sql => [ map { "CREATE USER MAPPING FOR $_ SERVER owned OPTIONS (api_key 'ours'); DROP USER MAPPING FOR $_ SERVER owned" } 'PUBLIC', 'other' ],
		setup => 'GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO role',
		grant => 'ALTER SERVER owned OWNER TO role', revoke => 'ALTER SERVER owned OWNER TO postgres',
		cleanup => 'REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM role' },
	'options `api_key_file`, `ca_file`' => {
		sql => [ "$mapping (api_key_file '/nowhere'); DROP USER MAPPING FOR CURRENT_USER SERVER gpu",
			"CREATE SERVER mine FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', ca_file '/nowhere'); DROP SERVER mine" ],
		setup => 'GRANT USAGE ON FOREIGN SERVER gpu TO role; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO role',
		grant => 'GRANT pg_read_server_files TO role', revoke => 'REVOKE pg_read_server_files FROM role',
		cleanup => 'REVOKE USAGE ON FOREIGN SERVER gpu FROM role; REVOKE USAGE ON FOREIGN DATA WRAPPER retrostar FROM role' },
	'`retro_star_score`, `retro_star_prefetch`, `retro_star_rerank`, `retro_star_rerank_agg`, `retro_star_explain`' => {
		sql => [ "SELECT retro_star_score('q', 'd', server => 'gpu')", "SELECT retro_star_prefetch('q', 'd', server => 'gpu')",
			"SELECT retro_star_rerank('q', '{1}'::int[], '{d}', server => 'gpu')",
			"SET retrostar.server = 'gpu'; SELECT retro_star_rerank_agg('q', 1, 'd')", "SET retrostar.server = 'gpu'; SELECT retro_star_rerank_agg('q', 1, 'd', 1)",
			"SET retrostar.server = 'gpu'; SELECT retro_star_rerank_agg('q', 1, 'd', 1, 1)",
			"SELECT retro_star_explain('q', 'd', server => 'gpu')" ],
		grant => 'GRANT USAGE ON FOREIGN SERVER gpu TO role', revoke => 'REVOKE USAGE ON FOREIGN SERVER gpu FROM role' },
	'`retrostar.check`, `retrostar.cache_key`, `retrostar.cache_scope`' => {
		sql => [ "SELECT retrostar.check('gpu')", "SELECT retrostar.cache_key('q', 'd', server => 'gpu')", "SELECT retrostar.cache_scope('gpu')" ],
		grant => 'GRANT USAGE ON FOREIGN SERVER gpu TO role', revoke => 'REVOKE USAGE ON FOREIGN SERVER gpu FROM role' },
	'`retro_star_prompt`, `retro_star_passages`, `retrostar.ranked`, `retrostar.ndcg`, `retrostar.recall`, `retrostar.parse_reply`, `retrostar.version`' => {
		everybody => 1, sql => [ "SELECT retro_star_prompt('q', 'd')", "SELECT retro_star_passages('d')",
			"SELECT retrostar.ranked('{}'::retrostar.ranked[]::record[])", "SELECT retrostar.ndcg('{1}'::int[], '{1}', '{1}', 1)", "SELECT retrostar.recall('{1}'::int[], '{1}', 1)",
			"SELECT retrostar.parse_reply('{}')", 'SELECT retrostar.version()' ] },
	'`retrostar.report`, which shows [what one may see](operations.md#a-report)' => { everybody => 1, sql => [ 'SELECT retrostar.report()' ] },
	'`retrostar.report`, of a query' => {
		sql => [ "SELECT retrostar.report('q', '{d}', server => 'gpu')" ],
		grant => 'GRANT USAGE ON FOREIGN SERVER gpu TO role', revoke => 'REVOKE USAGE ON FOREIGN SERVER gpu FROM role' },
	'`retrostar.stat_queue`, `stat_server`, `stat_activity`, `stat_progress`, `stat_cache`, `stat_shared`, `stat_budget`, `usage_by_day`' => {
		everybody => 1, sql => [ 'SELECT retrostar.queue_state()', map { "SELECT * FROM retrostar.stat_$_" } qw(queue server activity progress cache shared budget) ] },
	'`retrostar.stats_reset`' => {
		sql => [ 'SELECT retrostar.stats_reset()' ],
		grant => 'GRANT EXECUTE ON FUNCTION retrostar.stats_reset() TO role', revoke => 'REVOKE EXECUTE ON FUNCTION retrostar.stats_reset() FROM role' },
	'`retrostar.shared_ask`, `retrostar.shared_put`' => {
		sql => [ "SELECT retrostar.shared_ask(1::int2, '{}', '{}', '{}')", "SELECT retrostar.shared_put(1::int2, '{}', '{}', '{}', '{}', '{}', '{}', '{}')" ],
		grant => 'GRANT EXECUTE ON FUNCTION retrostar.shared_ask, retrostar.shared_put TO role',
		revoke => 'REVOKE EXECUTE ON FUNCTION retrostar.shared_ask, retrostar.shared_put FROM role' },
	'`retrostar.task`, to read' => { everybody => 1, sql => [ 'SELECT * FROM retrostar.task' ] },
	'`retrostar.task`, to write' => {
		sql => [ "INSERT INTO retrostar.task VALUES ('mine', 'q', 'd', 'r')", "UPDATE retrostar.task SET doc_type = 'x' WHERE name = 'mine'",
			"DELETE FROM retrostar.task WHERE name = 'mine'" ],
		grant => 'GRANT INSERT, UPDATE, DELETE ON retrostar.task TO role', revoke => 'REVOKE INSERT, UPDATE, DELETE ON retrostar.task FROM role' },
	# the table is everybody's to read, its rows are not
	'`retrostar.usage`, to read' => {
		sql => [ "DO \$\$ BEGIN IF NOT EXISTS (SELECT FROM retrostar.usage WHERE rolname = 'other') THEN RAISE insufficient_privilege; END IF; END \$\$" ],
		setup => q(INSERT INTO retrostar.usage SELECT now(), oid, rolname, 'gpu', 'interactive', 1, 0, 1, 1, 0, 1, 1 FROM pg_roles WHERE rolname = 'other'),
		grant => 'GRANT pg_read_all_stats TO role', revoke => 'REVOKE pg_read_all_stats FROM role' },
	'`retrostar.usage`, to write' => {
		sql => [ 'DELETE FROM retrostar.usage', 'TRUNCATE retrostar.usage', "UPDATE retrostar.usage SET samples = 0",
			"INSERT INTO retrostar.usage SELECT now(), oid, rolname, 'gpu', 'interactive', 1, 0, 1, 1, 0, 1, 1 FROM pg_roles WHERE rolname = current_user; DELETE FROM retrostar.usage" ],
		grant => 'GRANT INSERT, UPDATE, DELETE, TRUNCATE ON retrostar.usage TO role',
		revoke => 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON retrostar.usage FROM role' },
	'`retrostar.budget`, to read' => { everybody => 1, sql => [ 'SELECT * FROM retrostar.budget' ] },
	'`retrostar.budget`, to write' => {
		sql => [ "INSERT INTO retrostar.budget VALUES ('mine', 'role', NULL, '1 day', 1)", "UPDATE retrostar.budget SET samples = 2 WHERE name = 'mine'",
			"DELETE FROM retrostar.budget WHERE name = 'mine'", 'TRUNCATE retrostar.budget' ],
		grant => 'GRANT INSERT, UPDATE, DELETE, TRUNCATE ON retrostar.budget TO role',
		revoke => 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON retrostar.budget FROM role' },
	'`retrostar.score_cache`' => {
		sql => [ 'SELECT * FROM retrostar.score_cache' ],
		grant => 'GRANT SELECT ON retrostar.score_cache TO role', revoke => 'REVOKE SELECT ON retrostar.score_cache FROM role' },
	'`retrostar.cache_prune`' => {
		sql => [ 'SELECT retrostar.cache_prune(keep_rows => 1000000)', q(SELECT retrostar.cache_prune('1 year')) ],
		grant => 'GRANT SELECT, DELETE ON retrostar.score_cache TO role', revoke => 'REVOKE SELECT, DELETE ON retrostar.score_cache FROM role' },
	'`retrostar.refresh`' => {
		sql => [ "CALL retrostar.refresh('sky')" ],
		grant => 'ALTER MATERIALIZED VIEW sky OWNER TO role', revoke => 'ALTER MATERIALIZED VIEW sky OWNER TO postgres' },
	# the table is everybody's to read, its rows are not
	'`retrostar.refresh_log`, to read' => {
		sql => [ "DO \$\$ BEGIN IF NOT EXISTS (SELECT FROM retrostar.refresh_log WHERE matview = 'sky'::regclass) THEN RAISE insufficient_privilege; END IF; END \$\$" ],
		setup => "CALL retrostar.refresh('sky')",
		grant => 'ALTER MATERIALIZED VIEW sky OWNER TO role', revoke => 'ALTER MATERIALIZED VIEW sky OWNER TO postgres' },
	'`retrostar.pause`, `retrostar.resume`' => {
		sql => [ 'SELECT retrostar.pause()', 'SELECT retrostar.resume()' ],
		grant => 'GRANT EXECUTE ON FUNCTION retrostar.pause(), retrostar.resume() TO role',
		revoke => 'REVOKE EXECUTE ON FUNCTION retrostar.pause(), retrostar.resume() FROM role' },
	'`retrostar.request_limit`' => {
		sql => [ 'SET retrostar.request_limit = -1' ],
		grant => 'GRANT SET ON PARAMETER retrostar.request_limit TO role', revoke => 'REVOKE SET ON PARAMETER retrostar.request_limit FROM role' },
	'the other settings of a session' => {
		everybody => 1, sql => [ map { "SET retrostar.$_" } q(server = 'gpu'), q(task = ''), 'samples = 2', q(on_error = 'null'), q(on_miss = 'skip'),
			q(unscored_reply = 'zero'), q(passes = '1'), q(prior_weight = 0.3), q(deadline = '1s'), 'cache = off', 'prefetch = off', 'prefetch_window = 10', 'store_reasoning = on', q(priority = 'interactive'),
			q(traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') ] },
);

subtest 'privileges' => sub {
	my $page = slurp_file("$FindBin::RealBin/../../doc/security.md");
	my ($table) = $page =~ /^\| to \| who may \| how to grant it \|\n\|[- |]+\|\n((?:\|.*\n)+)/m;
	my %said = map { /^\| (.*?) \| (.*?) \| ?(.*?) ?\|$/ ? ($1 => [ $2, $3 ]) : () } split(/\n/, $table // '');

	is(join("\n", sort keys %said), join("\n", sort keys %rows), 'each row of the page has a test');
	$node->safe_psql('postgres', "CREATE ROLE role LOGIN; CREATE ROLE other; CREATE SERVER owned FOREIGN DATA WRAPPER retrostar
		OPTIONS (url 'http://127.0.0.1:9', model 'm'); CREATE MATERIALIZED VIEW sky AS SELECT 1 AS id");
	for my $name (sort keys %rows)
	{
		my $row = $rows{$name};
		my ($who, $how) = @{ $said{$name} // [ '', '' ] };

		if ($row->{everybody})
		{
			is($who, 'everybody', "$name: the page says so");
			is(outcome('role', $_), '00000', "$name: $_") for @{ $row->{sql} };
			next;
		}
		# what the page says, for the objects of this test
		(my $expected = $row->{grant}) =~ s/\bowned\b/gpu/;
		is($how, "`$expected`", "$name: the page says how");
		$node->safe_psql('postgres', $row->{setup}) if $row->{setup};
		is(outcome('role', $_), '42501', "$name, refused: $_") for @{ $row->{sql} };
		$node->psql('postgres', $row->{after}) if $row->{after};
		$node->safe_psql('postgres', $row->{grant});
		is(outcome('role', $_), '00000', "$name, granted: $_") for @{ $row->{sql} };
		$node->psql('postgres', $row->{after}) if $row->{after};
		$node->safe_psql('postgres', $row->{revoke});
		is(outcome('role', $row->{sql}[0]), '42501', "$name, revoked");
		$node->psql('postgres', $row->{after}) if $row->{after};
		$node->safe_psql('postgres', $row->{cleanup}) if $row->{cleanup};
	}
	nothing_left($node, 'privileges');
};

# Each function of the extension, whether the page names it or not
subtest 'who may execute' => sub {
	my @nobody = (qw(budget_changed_trigfn() budget_check_trigfn() replicated_refresh_trigfn() replicated_score_trigfn() replicated_task_trigfn()
		pause() resume() stats_reset()), 'shared_ask(smallint,bytea[],integer[],bytea[])',
		'shared_put(smallint,bytea[],text[],integer[],text[],bigint[],bigint[],timestamp with time zone[])');
	my $functions = q(FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON d.refobjid = e.oid AND e.extname = 'retrostar');

	is($node->safe_psql('postgres', qq(SELECT string_agg(p.oid::regprocedure::text, ' ' ORDER BY p.oid::regprocedure::text COLLATE "C") $functions
		WHERE NOT EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) WHERE grantee = 0))),
		join(' ', map { "retrostar.$_" } sort @nobody), 'not everybody');
	is($node->safe_psql('postgres', "SELECT count(*) $functions WHERE prosecdef"), 0, 'none runs with the rights of its owner');
	is($node->safe_psql('postgres', "SELECT count(*) $functions WHERE prorettype = 'trigger'::regtype AND has_function_privilege('role', p.oid, 'EXECUTE')"), 0,
		'nobody puts a trigger on a table of his own');
};

# The same model, URL and pair: what one owner's server says is not what
# another's gets, neither stored nor in flight.
subtest 'no scores for others' => sub {
	my $liar = start_simulator('--model', 'm', '--log', '100');
	my $pair = "retro_star_score('poison', 'the pair'";

	$liar->control({ fail => [ { mode => 'score', value => '100' } ] });
	$node->safe_psql('postgres', q(CREATE ROLE mallory LOGIN; CREATE ROLE victim LOGIN;
		GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO mallory, victim));
	is(outcome('mallory', "CREATE SERVER lies FOREIGN DATA WRAPPER retrostar OPTIONS (url '$liar->{url}', model 'm')"), '00000', 'one owner');
	is(outcome('victim', "CREATE SERVER honest FOREIGN DATA WRAPPER retrostar OPTIONS (url '$sim->{url}', model 'm')"), '00000', 'another');
	my $as = sub { my ($role, $sql) = @_; my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]); return $out . $err; };

	# In flight: it is not joined.
	$liar->control({ hold => JSON::PP::true });
	my $session = RetroSession->new($node, 'postgres', user => 'mallory');
	$session->send("SELECT $pair, server => 'lies')");
	$liar->wait_for('running', 1);
	my $honest = $as->('victim', "SELECT $pair, server => 'honest')");
	like($honest, qr/^\d+$/, 'a score while the other is in flight');
	isnt($honest, 100, 'the right one');
	$liar->control({ hold => JSON::PP::false });
	is($session->result, 100, 'the lie comes');
	$session->quit;
	wait_idle($node);
	is($as->('victim', "SELECT $pair, server => 'honest')"), $honest, 'stored, it is still the right one');
	my $key = sub { $node->safe_psql('postgres', "SELECT retrostar.cache_key('poison', 'the pair', server => '$_[0]')") };
	isnt($key->('lies'), $key->('honest'), 'keys differ');

	# The same URL changes nothing; neither does the name of a scope.
	is(outcome('mallory', "ALTER SERVER lies OPTIONS (SET url '$sim->{url}')"), '00000', 'with the same URL');
	isnt($key->('lies'), $key->('honest'), 'keys differ');
	is(outcome('mallory', "ALTER SERVER lies OPTIONS (SET url '$liar->{url}', ADD cache_scope 'victim')"), '00000', 'the scope of another');
	isnt($key->('lies'), $key->('honest'), 'is not shared');
	is($as->('mallory', "SELECT $pair, server => 'lies')"), 100, 'scores in it are those of its server');
	$node->safe_psql('postgres', 'GRANT victim TO mallory');
	is($key->('lies'), $key->('honest'), 'but with the privileges of that role');
	$node->safe_psql('postgres', 'REVOKE victim FROM mallory');
	isnt($key->('lies'), $key->('honest'), 'for as long as they last');
	is(outcome('mallory', 'ALTER SERVER lies OPTIONS (DROP cache_scope)'), '00000', 'without');

	# Nor does a name that is taken over.
	$node->safe_psql('postgres', 'ALTER SERVER honest RENAME TO moved; ALTER SERVER lies RENAME TO honest');
	is($as->('mallory', "SELECT $pair, server => 'honest')"), 100, 'a name is taken over');
	is($as->('victim', "SELECT $pair, server => 'moved')"), $honest, 'and its scores are not');
	nothing_left($node, 'poison');
};

# A schema in front that has operators, functions and types with the names of
# built-in ones; whoever calls them is told.
subtest 'hostile search_path' => sub {
	$node->safe_psql('postgres', 'CREATE DATABASE hostile');
	$node->safe_psql('hostile', q(
		CREATE SCHEMA evil;
		DO $$
		DECLARE o record; n int := 0;
		BEGIN
			FOR o IN SELECT oprname, oprleft::regtype::text AS l, oprright::regtype::text AS r, oprresult::regtype::text AS result
				FROM pg_operator WHERE oprkind = 'b' AND oprresult <> 0 AND
				oprleft::regtype::text IN ('text', 'integer', 'bigint', 'smallint', 'bytea', 'boolean', 'jsonb', 'name', 'oid', 'double precision', 'timestamp with time zone', 'anycompatiblearray', 'anyarray') AND
				oprright::regtype::text IN ('text', 'integer', 'bigint', 'smallint', 'bytea', 'boolean', 'jsonb', 'name', 'oid', 'double precision', 'timestamp with time zone', 'anycompatiblearray', 'anyarray', 'interval', 'anycompatible')
			LOOP
				n := n + 1;
				EXECUTE format('CREATE FUNCTION evil.trap%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', n, o.l, o.r, o.result,
					'BEGIN RAISE EXCEPTION ''trapped by an operator''; END');
				EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.trap%s)', o.oprname, o.l, o.r, n);
			END LOOP;
			FOR o IN SELECT proname, pg_get_function_identity_arguments(oid) AS args, prorettype::regtype::text AS result FROM pg_proc
				WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0 AND NOT proretset AND
				pronargs <= 3 AND prorettype::regtype::text IN ('text', 'integer', 'bigint', 'bytea', 'boolean', 'jsonb', 'timestamp with time zone', 'void') AND
				proargtypes::regtype[]::text[] <@ '{text,integer,bigint,bytea,boolean,jsonb,oid,regclass,double precision,anyelement,interval}'::text[]
			LOOP
				EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', o.proname,
					o.args, o.result, 'BEGIN RAISE EXCEPTION ''trapped by a function''; END');
			END LOOP;
			EXECUTE 'CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF anyelement LANGUAGE plpgsql AS ''BEGIN RAISE EXCEPTION $e$trapped by unnest$e$; END''';
			FOR o IN SELECT unnest('{text,int4,int8,int2,bytea,jsonb,bool,timestamptz,float8,interval,regclass,oid,name}'::text[]) AS t LOOP
				EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.bit(3)', o.t);
			END LOOP;
		END $$;
		CREATE TABLE evil.score_cache (LIKE pg_catalog.pg_class);
		CREATE TABLE evil.task (name pg_catalog.text);
		ALTER DATABASE hostile SET search_path = evil, pg_catalog, public;
		SELECT count(*) FROM pg_proc WHERE pronamespace = 'evil'::regnamespace));
	is(sqlstate($node, 'hostile', q(SELECT 1 + 1)), 'P0001', 'the trap works');
	is(sqlstate($node, 'hostile', q(SELECT 'q'::text)), '22P02', 'for types, too');
	is(sqlstate($node, 'hostile', 'CREATE EXTENSION retrostar SCHEMA public'), '00000', 'the extension is created');
	create_server($node, 'hostile', 'gpu', $sim);
	is(sqlstate($node, 'hostile', $_), '00000', $_) for
		q(SELECT public.retro_star_score('q', 'd', samples => 2)), q(SELECT public.retro_star_score('q', 'd', task => 'biology')),
		q(SELECT public.retro_star_prefetch('q', 'e')), q(SELECT public.retro_star_prompt('q', 'd', 'pony')),
		q(SELECT public.retro_star_explain('q', 'd', samples => 3)),
		q(SET retrostar.store_reasoning = on; SELECT public.retro_star_explain('q', 'f', samples => 2)),
		q(SET retrostar.store_reasoning = on; SELECT public.retro_star_explain('q', 'f', samples => 4)),
		q(SELECT public.retro_star_rerank('q', '{1,2}'::pg_catalog.int4[], '{d,e}', passes => 'adaptive')),
		q(SELECT public.retro_star_rerank_agg('q', 1, 'd')), q(SELECT public.retro_star_rerank_agg('q', 1, 'd', 1)),
		q(SELECT public.retro_star_rerank_agg('q', 1, 'd', 1, 1)), q(SELECT public.retro_star_rerank('q', '{1,2}'::pg_catalog.int4[], '{d,e}', priors => '{1,2}')),
		q(SELECT public.retro_star_score('q', body) FROM (VALUES ('g'), ('h')) d (body) ORDER BY 1 DESC NULLS LAST LIMIT 1),
		q(EXPLAIN (ANALYZE) SELECT public.retro_star_score('q', body) FROM (VALUES ('g'), ('i')) d (body)),
		q(SELECT retrostar.check('gpu')), q(SELECT retrostar.cache_key('q', 'd')), q(SELECT retrostar.parse_reply('{}')), q(SELECT retrostar.report('q', '{d,e}')),
		q(SELECT public.retro_star_passages('d e', 2, 0)), q(SELECT retrostar.recall('{1,2}'::pg_catalog.int4[], '{2,1}', 1)),
		(map { "SELECT * FROM retrostar.stat_$_" } qw(queue server activity progress cache)), q(SELECT retrostar.pause()), q(SELECT retrostar.resume()),
		q(SELECT * FROM retrostar.task), q(ALTER SERVER gpu OPTIONS (ADD retries '1'));
	is($node->psql('hostile', q(SELECT public.retro_star_score('q', 'nothing', task => 'nosuch'))), 3, 'a task that is not there');
	my $free = "SET search_path = pg_catalog;";
	ok($node->poll_query_until('hostile', q(SELECT unstored OPERATOR(pg_catalog.=) 0
		AND pairs OPERATOR(pg_catalog.=) 0 FROM retrostar.stat_queue)), 'scores are stored');
	is($node->safe_psql('hostile', "$free SELECT count(*) >= 7 FROM retrostar.score_cache"), 't', 'in the right table');
	cmp_ok($node->safe_psql('hostile', q(SELECT retrostar.cache_prune(older_than => '1 year', keep_rows => 2))), '>=', 5, 'and pruned');
	is($node->safe_psql('hostile', "$free SELECT lost FROM retrostar.stat_queue"), 0, 'none is lost');
	is(sqlstate($node, 'hostile', 'DROP EXTENSION retrostar CASCADE'), '00000', 'dropped');
	# whoever may create functions there has exact matches for polymorphic ones of pg_catalog
	$node->safe_psql('hostile', q(CREATE FUNCTION evil.cardinality(pg_catalog.int2[]) RETURNS pg_catalog.int4 LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $e$trapped$e$; END'));
	foreach my $version ('', q(VERSION '0.1.0'))
	{
		is(sqlstate($node, 'hostile', 'DROP EXTENSION IF EXISTS retrostar CASCADE'), '00000', 'not there');
		is(sqlstate($node, 'hostile', "CREATE EXTENSION retrostar SCHEMA evil $version"), '00000', "created in the hostile schema itself $version");
		is(sqlstate($node, 'hostile', 'ALTER EXTENSION retrostar UPDATE'), '00000', 'and up to date');
		is($node->safe_psql('hostile', q(SET search_path = pg_catalog; SELECT string_agg(DISTINCT p.oid::regprocedure::text, ' ')
			FROM pg_depend d JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
			WHERE p.pronamespace = 'evil'::regnamespace AND d.classid <> 'pg_operator'::regclass AND NOT EXISTS
				(SELECT FROM pg_depend m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid AND m.deptype = 'e'))), '', 'nothing of it uses a trap');
	}
	unlike(slurp_file($node->logfile), qr/could not store scores/, 'the worker was not trapped');
};

# The worker is a superuser, and the owner of the cache need not be one, or not
# any more: what he has put on the table runs with his rights.
subtest 'the owner of the cache' => sub {
	$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE SCHEMA keeper AUTHORIZATION keeper;
		ALTER TABLE retrostar.score_cache OWNER TO keeper');
	is(outcome('keeper', q(
		CREATE TABLE keeper.seen (who name, path text);
		CREATE FUNCTION keeper.spy() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			INSERT INTO keeper.seen VALUES (current_user, current_setting('search_path'));
			BEGIN ALTER ROLE keeper SUPERUSER; EXCEPTION WHEN insufficient_privilege THEN NULL; END;
			PERFORM set_config('search_path', 'keeper', false);
			RETURN NEW;
		END $$;
		CREATE TRIGGER spy BEFORE INSERT ON retrostar.score_cache FOR EACH ROW EXECUTE FUNCTION keeper.spy())), '00000', 'a trigger');
	my $stored = $node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache');
	for my $pair (1 .. 2)
	{
		like($node->safe_psql('postgres', "SELECT retro_star_score('kept by', 'keeper $pair', server => 'gpu')"), qr/^\d+$/, 'a score');
		wait_idle($node);
	}
	is($node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache'), $stored + 2, 'scores are stored');
	is($node->safe_psql('postgres', 'SELECT DISTINCT who, path FROM keeper.seen'), 'keeper|pg_catalog, pg_temp', 'by its owner, with a safe search_path each time');
	is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'keeper')), 'f', 'who is no superuser by that');

	# one that would run later, when the worker is itself again
	is(outcome('keeper', q(DROP TRIGGER spy ON retrostar.score_cache;
		CREATE CONSTRAINT TRIGGER late AFTER INSERT ON retrostar.score_cache INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION keeper.spy())),
		'00000', 'a deferred trigger');
	$node->safe_psql('postgres', "SELECT retro_star_score('kept by', 'keeper 3', server => 'gpu')");
	wait_until('it is not stored', sub { $node->safe_psql('postgres', 'SELECT store_failures > 0 FROM retrostar.stat_cache') eq 't' });
	is($node->safe_psql('postgres', q(SELECT rolsuper FROM pg_roles WHERE rolname = 'keeper')), 'f', 'is not run');
	is(outcome('keeper', 'DROP TRIGGER late ON retrostar.score_cache'), '00000', 'without it');
	wait_idle($node);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache'), $stored + 3, 'what waited is stored');
	$node->safe_psql('postgres', 'ALTER TABLE retrostar.score_cache OWNER TO postgres');
};

no_crash($node);
done_testing();
