# From version 0.1.0 to this one by ALTER EXTENSION: the catalog is that of a new
# database, scores stay known, what users have built on the old functions goes on,
# and between the restart and the update everybody is told what is missing.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('upgrade', extension => 0);
my $sim = start_simulator();
my ($latest) = slurp_file("$FindBin::RealBin/../../retrostar.control") =~ /^default_version = '(.*)'$/m;

sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql); }

# What a client sees of an error: SQLSTATE, message, hint
sub told
{
	my ($db, $sql) = @_;
	my (undef, undef, $stderr) = $node->psql($db, $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	my ($state, $message) = $stderr =~ /ERROR: +(\w+): (.*)/;
	my ($hint) = $stderr =~ /^HINT: +(.*)/m;
	return join(' | ', map { $_ // '' } $state, $message, $hint);
}

sub database
{
	my ($name, $version) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	sql($name, "CREATE EXTENSION retrostar VERSION '$version'");
	create_server($node, $name, 'gpu', $sim);
	return;
}

# The key that 0.1.0 gave a pair without a task, for a server with model m whose
# owner or scope is named so
my $key = q(CREATE FUNCTION key_0_1(scope text, query text, doc text) RETURNS bytea LANGUAGE sql AS $$
	SELECT sha256(string_agg(int4send(octet_length(part)) || convert_to(part, 'UTF8'), '' ORDER BY n))
	FROM unnest(ARRAY['1', '', scope, 'm', '0.6', '40', '1', '0', '1', '1024', '0', '',
		'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
		'query', 'document', query, doc]) WITH ORDINALITY AS p (part, n) $$);
my $seed = 'INSERT INTO retrostar.score_cache (key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)';

# All that the extension's objects are made of, one a line, without OIDs
my $catalog = <<'END';
WITH member AS (SELECT classid, objid FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar')),
	relation AS (SELECT c.* FROM pg_class c WHERE EXISTS (SELECT FROM member WHERE classid = 'pg_class'::regclass AND objid = c.oid)),
	line (line) AS (
	SELECT concat_ws(' ', 'member', pg_describe_object(classid, objid, 0)) FROM member
	UNION ALL SELECT concat_ws(' ', 'depends', pg_describe_object(d.classid, d.objid, d.objsubid), d.deptype, pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid))
		FROM pg_depend d JOIN member m USING (classid, objid)
	UNION ALL SELECT concat_ws(' ', 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), quote_literal(description))
		FROM pg_description d JOIN member m ON classid = classoid AND objid = objoid
	UNION ALL SELECT concat_ws(' ', 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), quote_literal(description))
		FROM pg_description d JOIN pg_depend p ON p.classid = classoid AND p.objid = objoid JOIN relation r ON p.refobjid = r.oid AND p.refclassid = 'pg_class'::regclass
		WHERE p.deptype IN ('a', 'i')
	UNION ALL SELECT concat_ws(' ', 'first rights', pg_describe_object(i.classoid, i.objoid, i.objsubid), i.privtype, i.initprivs)
		FROM pg_init_privs i JOIN member m ON classid = classoid AND objid = objoid
	UNION ALL SELECT concat_ws(' ', 'function', p.oid::regprocedure, to_jsonb(p) - ARRAY['oid', 'pronamespace', 'proargdefaults', 'prorettype', 'proargtypes', 'proallargtypes'],
			pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
		FROM pg_proc p JOIN member ON classid = 'pg_proc'::regclass AND objid = p.oid
	UNION ALL SELECT concat_ws(' ', 'aggregate', a.aggfnoid::regprocedure, to_jsonb(a) - 'aggfnoid') FROM pg_aggregate a JOIN member ON classid = 'pg_proc'::regclass AND objid = aggfnoid
	UNION ALL SELECT concat_ws(' ', 'relation', r.oid::regclass, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relreplident, relhastriggers, relhasindex, relacl, reloptions) FROM relation r
	UNION ALL SELECT concat_ws(' ', 'column', r.oid::regclass, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attisdropped, attstorage, attacl,
			attcollation, attislocal, attinhcount, atthasdef, atthasmissing, pg_get_expr(adbin, adrelid))
		FROM pg_attribute a JOIN relation r ON attrelid = r.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
	UNION ALL SELECT concat_ws(' ', 'constraint', conrelid::regclass, conname, contype, convalidated, condeferrable, pg_get_constraintdef(c.oid)) FROM pg_constraint c JOIN relation r ON conrelid = r.oid
	UNION ALL SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index JOIN relation r ON indrelid = r.oid
	UNION ALL SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t JOIN relation r ON tgrelid = r.oid
	UNION ALL SELECT concat_ws(' ', 'policy', polrelid::regclass, polname, polcmd, polpermissive, polroles, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) FROM pg_policy JOIN relation r ON polrelid = r.oid
	UNION ALL SELECT concat_ws(' ', 'view', r.oid::regclass, pg_get_viewdef(r.oid)) FROM relation r WHERE relkind = 'v'
	UNION ALL SELECT concat_ws(' ', 'wrapper', fdwname, fdwhandler, fdwvalidator::regprocedure, fdwacl, fdwoptions) FROM pg_foreign_data_wrapper WHERE fdwname = 'retrostar'
	UNION ALL SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE nspname = 'retrostar'
	UNION ALL SELECT concat_ws(' ', 'type', t.oid::regtype, typtype, typacl) FROM pg_type t JOIN member ON classid = 'pg_type'::regclass AND objid = t.oid
	UNION ALL SELECT concat_ws(' ', 'extension', extname, extversion, extrelocatable, extnamespace::regnamespace, extcondition, ARRAY(SELECT unnest(extconfig)::regclass::text)) FROM pg_extension WHERE extname = 'retrostar'
	UNION ALL SELECT concat_ws(' ', 'task', t.*) FROM retrostar.task t)
SELECT line FROM line ORDER BY line COLLATE "C"
END

database('fresh', $latest);
database('upgraded', '0.1.0');
database('busy', '0.1.0');
sql('upgraded', $key);

subtest 'the library is newer' => sub {
	my $message = qq(the library of retrostar is version $latest, and the SQL objects in database "upgraded" are version 0.1.0);
	my $hint = 'Run: ALTER EXTENSION retrostar UPDATE;';

	is(told('upgraded', $_), "55000 | $message | $hint", $_) foreach (
		q(SELECT retro_star_score('q', 'd')), q(SELECT retro_star_prefetch('q', 'd')), q(SELECT * FROM retro_star_rerank('q', '{1}'::int[], '{d}')),
		q(SELECT retro_star_rerank_agg('q', 1, 'd')), q(SELECT * FROM retro_star_explain('q', 'd')), q(SELECT retrostar.cache_key('q', 'd')),
		q(SELECT retro_star_prompt('q', 'd', 'biology')));
	sql('upgraded', 'CREATE MATERIALIZED VIEW one AS SELECT 1 AS id');
	is(told('upgraded', q(CALL retrostar.refresh('one'))), "55000 | $message | $hint", 'refresh');
	sql('upgraded', 'DROP MATERIALIZED VIEW one');
	is(sql('upgraded', 'SELECT endpoint, ok, detail FROM retrostar.check()'), "version|f|$message.  $hint", 'check');
	is(sqlstate($node, 'upgraded', "SELECT * FROM retrostar.$_"), '00000', $_)
	  foreach qw(stat_queue stat_server stat_activity stat_progress stat_cache task refresh_log);
	is(sql('upgraded', 'SELECT endpoint, in_flight, completion_tokens, latency_mean, stats_reset FROM retrostar.stat_server'), "$sim->{url}|0|0||", 'columns are those of 0.1.0');
	like(sql('upgraded', q(SELECT retro_star_prompt('q', 'd'))), qr/q/, 'a prompt');
	is($sim->stats->{chat}, 0, 'nothing is asked for');
};

# What people have: data, rights, and what depends on the functions of 0.1.0
sql('upgraded', q(
	CREATE TABLE doc AS SELECT i AS id, 'body ' || i AS body FROM generate_series(1, 10000) i;
	INSERT INTO retrostar.task VALUES ('mine', 'question', 'section', 'It answers the question.');
	CREATE ROLE analyst; CREATE ROLE reader;
	REVOKE EXECUTE ON FUNCTION retro_star_rerank FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION retro_star_rerank TO analyst WITH GRANT OPTION;
	REVOKE EXECUTE ON PROCEDURE retrostar.refresh FROM PUBLIC;
	GRANT EXECUTE ON PROCEDURE retrostar.refresh TO analyst;
	GRANT SELECT ON retrostar.score_cache TO reader;
	CREATE ROLE keeper;
	GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO keeper;
	CREATE SERVER hers FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm');
	ALTER SERVER hers OWNER TO keeper;
	CREATE SERVER scoped FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm', cache_scope 'team');
	ALTER DATABASE upgraded SET retrostar.server = 'gpu';
	CREATE VIEW scored AS SELECT id, retro_star_score('sky', body) AS score FROM doc;
	CREATE MATERIALIZED VIEW kept AS SELECT id, retro_star_score('sky', body) AS score FROM doc WHERE id <= 100 WITH NO DATA;
	CREATE VIEW reranked AS SELECT * FROM retro_star_rerank('sky', ARRAY[1, 2, 3], ARRAY['body 1', 'body 2', 'body 3'], top_n => 2);
	CREATE MATERIALIZED VIEW best AS SELECT r.* FROM retro_star_rerank('sky', ARRAY[1, 2, 3], ARRAY['body 1', 'body 2', 'body 3']) r WITH NO DATA;
	CREATE VIEW explained AS SELECT * FROM retro_star_explain('sky', 'body 1');
	CREATE VIEW endpoints AS SELECT * FROM retrostar.stat_server;
	CREATE VIEW requests AS SELECT * FROM retrostar.stat_activity;
	CREATE FUNCTION ids() RETURNS SETOF int LANGUAGE sql BEGIN ATOMIC SELECT r.id FROM retro_star_rerank('sky', ARRAY[1, 2], ARRAY['body 1', 'body 2']) r; END;
	CREATE FUNCTION late_ids() RETURNS SETOF int LANGUAGE sql AS $$ SELECT id FROM retro_star_rerank('sky', ARRAY[1, 2], ARRAY['body 1', 'body 2']) $$));
my %columns = map { $_ => sql('upgraded', qq(SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$_'::regclass AND attnum > 0)) }
  qw(reranked best explained endpoints requests);

subtest 'keys of 0.1.0' => sub {
	# as version 0.1.0 gave it for a server of this owner
	is(sql('upgraded', q(SELECT key_0_1('regress_retrostar_owner', 'query', 'document'))),
		'\x4648faee1c90ad8e0ca123b90cc1aa4824f022f0add992b438e58970631fc489', 'are computed here as there');
	my $owner = sql('upgraded', q(SELECT srvowner::regrole FROM pg_foreign_server WHERE srvname = 'gpu'));
	sql('upgraded', qq($seed SELECT key_0_1('$owner', 'sky', body), 1, ARRAY[id % 101]::int2[], 0, 'm', 100, 200, '2026-01-01', '2026-01-01' FROM doc;
		$seed SELECT key_0_1('keeper', 'sky', body), 1, '{7}', 0, 'm', 100, 200, '2026-01-01', '2026-01-01' FROM doc WHERE id <= 10;
		$seed SELECT key_0_1('team', 'sky', body), 1, '{8}', 0, 'm', 100, 200, '2026-01-01', '2026-01-01' FROM doc WHERE id <= 10));
};

# Sessions that want scores all the while, from before the update on
my @waiting = map { ask_background($node, 'upgraded', qq(
	PREPARE p AS SELECT count(retro_star_score('sky', body)) FROM doc WHERE id <= 200;
	DO \$\$
	BEGIN
		FOR n IN 1 .. 100000 LOOP
			BEGIN
				PERFORM count(retro_star_score('sky', body)) FROM doc WHERE id <= 200;
				RETURN;
			EXCEPTION WHEN object_not_in_prerequisite_state THEN
				PERFORM pg_sleep(0.02);
			END;
		END LOOP;
		RAISE 'it was not updated';
	END \$\$;
	EXECUTE p;
	SELECT count(retro_star_score('sky $_', body)) FROM doc WHERE id <= 50)) } 1 .. 3;
my $running;

subtest 'ALTER EXTENSION under load' => sub {
	# another database of the cluster has been updated, and is at work
	$sim->control({ hold => JSON::PP::true });
	create_server($node, 'fresh', 'wide', $sim, max_in_flight => 64);
	$running = ask_background($node, 'fresh', q(SELECT count(retro_star_score('other', i::text, server => 'wide')) FROM generate_series(1, 40) i));
	$sim->wait_for('running', 40);
	my ($ret, $out, $err) = $node->psql('upgraded', 'ALTER EXTENSION retrostar UPDATE');

	is($ret, 0, 'works');
	is(join(' ', $err =~ /^.*?WARNING: +(.*)$/mg), 'scores of server "hers" that version 0.1.0 has cached are not found any more', 'and says whose scores are of another scope');
	$sim->control({ hold => JSON::PP::false });
	$sim->release;
	is(scalar(finish_background($running)), 40, 'what others had asked for comes');
	is(scalar(finish_background($_)), "200\n50", 'a session that was there before') foreach @waiting;
	is($sim->stats->{chat}, 40 + 3 * 50, 'what was cached was not asked for');
};

subtest 'the catalog' => sub {
	# of a database in which nobody changed anything
	my ($ret, $out, $err) = $node->psql('busy', 'ALTER EXTENSION retrostar UPDATE');

	is($err, '', 'no notice');
	my %fresh = map { $_ => 1 } split(/\n/, sql('fresh', $catalog));
	my %busy = map { $_ => 1 } split(/\n/, sql('busy', $catalog));
	cmp_ok(scalar(keys %fresh), '>', 500, 'there is much to compare');
	is(join("\n", grep { !$busy{$_} } sort keys %fresh), '', 'nothing is missing');
	is(join("\n", grep { !$fresh{$_} } sort keys %busy), '', 'nothing is left over');
	is(sql($_, 'SELECT * FROM retrostar.version()'), "$latest|$latest", "version() in $_") foreach qw(fresh upgraded busy);
};

subtest 'scores' => sub {
	$sim->reset_stats;
	is(sql('upgraded', 'SELECT count(*) FROM scored JOIN doc USING (id) WHERE score = id % 101'), 10000, '10,000 of them');
	is(sql('upgraded', q(SELECT count(retro_star_score('sky', body, server => 'scoped')) FROM doc WHERE id <= 10)), 10, 'with a scope of its own');
	sql('upgraded', 'REFRESH MATERIALIZED VIEW kept');
	sql('upgraded', q(CALL retrostar.refresh('best')));
	is(sql('upgraded', 'SELECT count(score) FROM kept'), 100, 'a materialized view');
	# as doc/operations.md says
	sql('upgraded', q(ALTER SERVER hers OWNER TO CURRENT_USER; ALTER SERVER hers OPTIONS (ADD cache_scope 'keeper'); GRANT USAGE ON FOREIGN SERVER hers TO keeper));
	is(sql('upgraded', q(SELECT count(retro_star_score('sky', body, server => 'hers')) FROM doc WHERE id <= 10)), 10, 'of a server whose owner is no superuser');
	is($sim->stats->{chat}, 0, '0 requests');
	is(sql('upgraded', q(SELECT query_type FROM retrostar.task WHERE name = 'mine')), 'question', 'own tasks');
	is(sql('upgraded', q(SELECT sum(samples) FROM retrostar.usage)), 150, 'usage is counted from now on');
};

# The same in the database and in one that a dump of it made
sub dependents
{
	my ($db) = @_;

	is(sql($db, qq(SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '$_'::regclass AND attnum > 0)),
		$columns{$_}, "$_ has its columns") foreach sort keys %columns;
	is(sql($db, 'SELECT id, rank, samples FROM reranked'), "3|1|1\n2|2|1", 'a ranking');
	is(sql($db, 'SELECT id, rank, samples FROM best ORDER BY rank'), "3|1|1\n2|2|1\n1|3|1", 'one that is kept');
	is(sql($db, 'SELECT sample, score, cached FROM explained'), '1|1|t', 'samples');
	is(sql($db, 'SELECT count(*) FROM endpoints WHERE state IS NOT NULL'), 3, 'endpoints');
	is(sql($db, 'SELECT count(*) FROM requests'), 0, 'requests');
	is(sql($db, 'SELECT ids()'), "2\n1", 'a function that was parsed when it was made');
	is(sql($db, 'SELECT late_ids()'), "2\n1", 'a function that is parsed when it is called');
	is(sql($db, q(SELECT id, settled FROM retro_star_rerank('sky', ARRAY[1, 2], ARRAY['body 1', 'body 2'], prior_weight => 0))), "2|t\n1|t", 'what is new');
	return;
}

# As roles have them: without a change of rights there is none
my $rights = q(SELECT string_agg(concat_ws(' ', f, r, has_function_privilege(r, f, 'EXECUTE'), has_function_privilege(r, f, 'EXECUTE WITH GRANT OPTION')), ', ' ORDER BY proname, r)
	FROM unnest('{analyst,reader}'::name[]) r, (SELECT oid::regprocedure AS f, proname FROM pg_proc WHERE proname IN ('retro_star_rerank', 'retro_star_rerank_0_1', 'refresh')) p);

subtest 'what depends on old functions' => sub {
	dependents('upgraded');
	like(sql('upgraded', $rights), qr/^(?:[^ ]+(?: [^ ]+)* analyst t [tf], [^ ]+(?: [^ ]+)* reader f f(?:, |\z)){3}\z/, 'rights that were granted and revoked are those of the new functions');
	is($sim->stats->{chat}, 0, 'nothing is asked for');
};

subtest 'a dump of it' => sub {
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/upgraded.sql";

	command_ok([ 'pg_dump', '-d', $node->connstr('upgraded'), '-f', $dump ], 'pg_dump');
	sql('postgres', 'CREATE DATABASE restored; ALTER DATABASE restored SET retrostar.server = gpu');
	# the cache first, so that the materialized views find their scores
	sql('restored', 'CREATE EXTENSION retrostar');
	$node->safe_psql('upgraded', "\\copy retrostar.score_cache TO '$dump.cache'");
	$node->safe_psql('restored', "\\copy retrostar.score_cache FROM '$dump.cache'");
	command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'psql');
	dependents('restored');
	is(sql('restored', $rights), sql('upgraded', $rights), 'rights are there');
	is($sim->stats->{chat}, 0, 'nothing is asked for');
	wait_idle($node, $_) foreach qw(upgraded restored);
	sql($_, 'DROP OWNED BY analyst') foreach qw(upgraded restored);
	is(sqlstate($node, 'postgres', 'DROP ROLE analyst'), '00000', 'and nothing of them stays when the role goes');
};

subtest 'the SQL objects are newer' => sub {
	sql('busy', q(UPDATE pg_extension SET extversion = '100.0.0' WHERE extname = 'retrostar'));
	is(told('busy', q(SELECT retro_star_score('q', 'd'))), qq(55000 | the library of retrostar is version $latest, and the SQL objects in database "busy" are version 100.0.0 | )
		. 'Install the library of version 100.0.0, and restart PostgreSQL.', 'a score');
	is(sql('busy', 'SELECT * FROM retrostar.version()'), "$latest|100.0.0", 'version()');
	is(sql('busy', 'SELECT endpoint, ok FROM retrostar.check()'), 'version|f', 'check()');
};

$node->stop;
done_testing();
