# What moves from one cluster to another: dumps by a database owner, the cache
# by COPY, the extension in a schema of its own, later versions.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $sim = start_simulator();
my $old = new_node('old', extension => 0);
my $new = new_node('new', extension => 0);

sub q_old { my ($sql) = @_; return $old->safe_psql('shop', $sql); }
sub q_new { my ($sql) = @_; return $new->safe_psql('shop', $sql); }

# Owned by a role that is no superuser and owns nothing of the extension, and
# that has another OID in the new cluster
$new->safe_psql('postgres', 'CREATE ROLE earlier');
for my $node ($old, $new)
{
	$node->safe_psql('postgres', 'CREATE ROLE keeper LOGIN; CREATE ROLE analyst');
	$node->safe_psql('postgres', 'CREATE DATABASE shop OWNER keeper');
	$node->safe_psql('shop', q(CREATE EXTENSION retrostar; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO keeper;
		GRANT INSERT, UPDATE, DELETE ON retrostar.task TO keeper));
}
q_old(qq(
	SET ROLE keeper;
	CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '$sim->{url}', model 'm', temperature '0.5', extra_body '{"priority": 1}');
	CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'sesame');
	GRANT USAGE ON FOREIGN SERVER gpu TO analyst;
	INSERT INTO retrostar.task VALUES ('support', 'question', 'section', 'It answers the question.');
	CREATE SCHEMA app;
	CREATE TABLE app.doc (id int PRIMARY KEY, body text);
	INSERT INTO app.doc SELECT i, 'body ' || i FROM generate_series(1, 20) i;
	ALTER DATABASE shop SET retrostar.task = 'support';
	CREATE VIEW app.ranked AS SELECT id, public.retro_star_score('why', body, task => 'support') AS score FROM app.doc;
	CREATE MATERIALIZED VIEW app.kept AS SELECT id, public.retro_star_score('why', body, task => 'support') AS score FROM app.doc;
	ANALYZE app.doc));
q_old(q(SET ROLE keeper; CALL retrostar.refresh('app.kept')));
wait_idle($old, 'shop');
is(q_old('SELECT count(*) FROM retrostar.score_cache'), 20, 'scores are cached');
my $key = q(SELECT retrostar.cache_key('why', 'body 1', task => 'support'));
my $scores = q_old('SELECT * FROM app.ranked ORDER BY id');

subtest 'a dump by the owner of the database' => sub {
	my $dump = "$PostgreSQL::Test::Utils::tmp_check/shop.dump";
	my @keeper = ('-U', 'keeper');
	# PUBLIC's right to public, as before PostgreSQL 15, is not needed
	$old->command_ok([ 'pg_dump', @keeper, '--create', '-Fc', '-f', $dump, '-d', $old->connstr('shop') ], 'pg_dump without superuser rights');
	my ($list) = run_command([ 'pg_restore', '-l', $dump ]);
	like($list, qr/TABLE DATA retrostar task/, 'it has tasks');
	unlike($list, qr/score_cache|refresh_log/, 'but no scores');
	$old->command_ok([ 'pg_dump', @keeper, '-Fp', '-f', "$dump.sql", '-d', $old->connstr('shop') ], 'as plain text');
	my $sql = slurp_file("$dump.sql");
	like($sql, qr/^COPY retrostar\.task .*\nsupport\tquestion\tsection\tIt answers the question\.\tf\t\\N\t\\N\t\\N\n\\\.$/m, 'own tasks only');
	like($sql, qr/CREATE SERVER gpu .*temperature '0\.5'/s, 'the server with its options');
	like($sql, qr/CREATE USER MAPPING FOR public SERVER gpu OPTIONS \(\s*api_key 'sesame'/i, 'the user mapping');

	# Into a cluster that knows nothing, by the same kind of role
	$sim->reset_stats;
	my ($out, $err) = run_command([ 'pg_restore', @keeper, '--exit-on-error', '--no-comments', '-d', $new->connstr('shop'), $dump ]);
	is($err, '', 'pg_restore without superuser rights');
	is($sim->stats->{chat}, 20, 'materialized views are computed anew');
	is(q_new(q(SELECT count(*) FROM retrostar.task)), 13, 'the tasks are there');
	my $options = q(SELECT string_agg(o, ' ' ORDER BY o) FROM pg_foreign_server, unnest(srvoptions) o);
	is(q_new($options), q_old($options), 'the server has its options');
	is(q_new(q(SELECT umoptions::text FROM pg_user_mappings)), '{api_key=sesame}', 'the mapping has its key');
	is(q_new(q(SELECT has_server_privilege('analyst', 'gpu', 'USAGE'))), 't', 'privileges are there');
	isnt(q_new($key), q_old($key), 'keys are those of a role of this cluster');
	is(q_new('SELECT count(score) FROM app.ranked'), 20, 'so are scores');
	wait_idle($new, 'shop');

	# Again, and the GPU is left alone
	$new->safe_psql('postgres', 'CREATE DATABASE again OWNER keeper');
	$new->safe_psql('again', 'CREATE EXTENSION retrostar; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO keeper; GRANT INSERT, UPDATE, DELETE ON retrostar.task TO keeper');
	$sim->reset_stats;
	local $ENV{PGOPTIONS} = '-c retrostar.on_miss=skip';
	($out, $err) = run_command([ 'pg_restore', @keeper, '--exit-on-error', '--no-comments', '-d', $new->connstr('again'), $dump ]);
	is($err, '', 'pg_restore with on_miss = skip');
	delete $ENV{PGOPTIONS};
	is($sim->stats->{chat}, 0, 'asks for nothing');
	is($new->safe_psql('again', 'SELECT count(*), count(score) FROM app.kept'), '20|0', 'and scores are NULL');
	$new->safe_psql('again', q(SET ROLE keeper; CALL retrostar.refresh('app.kept')));
	is($new->safe_psql('again', 'SELECT count(score) FROM app.kept'), 20, 'until a refresh');
	wait_idle($new, 'again');
};

subtest 'the settings of a database' => sub {
	# --create brings them; they are the database's, not the dump's
	my ($sql) = run_command([ 'pg_dumpall', '-d', $old->connstr('postgres'), '--no-sync' ]);
	like($sql, qr/ALTER DATABASE shop SET "?retrostar\.task"? TO 'support'/, 'pg_dumpall');
	$new->safe_psql('postgres', $_) for $sql =~ /^(ALTER DATABASE shop SET "?retrostar.*)$/mg;
	is(q_new('SHOW retrostar.task'), 'support', 'restored');
};

# As in doc/operations.md, between two clusters
subtest 'the cache by COPY' => sub {
	my $file = "$PostgreSQL::Test::Utils::tmp_check/cache.copy";
	my $scope = q_old(q(SELECT retrostar.cache_scope('gpu')));

	q_new("ALTER SERVER gpu OWNER TO postgres; ALTER SERVER gpu OPTIONS (ADD cache_scope '$scope'); GRANT USAGE ON FOREIGN SERVER gpu TO keeper");
	is(q_new($key), q_old($key), 'keys are those of the role of the old cluster');
	q_new('TRUNCATE retrostar.score_cache');
	q_old("\\copy retrostar.score_cache TO '$file' (FORMAT binary)");
	# once more is no error, and what is there already is kept
	q_new(q(INSERT INTO retrostar.score_cache SELECT retrostar.cache_key('why', 'body 1', task => 'support'), 1, '{7}', 0, 'm', 1, 1, now(), now()));
	my $copy = qq(
		BEGIN;
		CREATE TEMPORARY TABLE moved (LIKE retrostar.score_cache) ON COMMIT DROP;
		\\copy moved FROM '$file' (FORMAT binary)
		INSERT INTO retrostar.score_cache SELECT * FROM moved ON CONFLICT (key) DO NOTHING;
		COMMIT);
	q_new($copy) for 1 .. 2;
	$sim->reset_stats;
	is(q_new('SELECT * FROM app.ranked WHERE id > 1 ORDER BY id'), $scores =~ s/^1\|.*\n//r, 'scores are there');
	is(q_new('SELECT score FROM app.ranked WHERE id = 1'), 7, 'what was there stays');
	is($sim->stats->{chat}, 0, 'nothing is asked for');
};

subtest 'another schema' => sub {
	$new->safe_psql('postgres', 'CREATE DATABASE elsewhere');
	my $do = sub { return $new->safe_psql('elsewhere', $_[0]) };
	$do->('CREATE SCHEMA "Rank It"; CREATE EXTENSION retrostar SCHEMA "Rank It"');
	create_server($new, 'elsewhere', 'gpu', $sim);
	$do->(q(CREATE TABLE doc AS SELECT i AS id, 'body ' || i AS body FROM generate_series(1, 20) i; ANALYZE doc));
	is(sqlstate($new, 'elsewhere', q(SELECT retro_star_score('a', 'b'))), '42883', 'it is not in public');
	like($do->(q(EXPLAIN (COSTS OFF) SELECT id FROM doc ORDER BY "Rank It".retro_star_score('q', body) DESC LIMIT 3)),
		qr/Retro\* Prefetch/, 'the prefetch node');
	is($do->(q(SELECT count("Rank It".retro_star_score('q', body)) FROM doc)), 20, 'scores');
	is($do->(q(SET search_path = "Rank It", public; SELECT count(*) FROM doc WHERE retro_star_prefetch('q', body))), 20, 'prefetch');
	is($do->(q(SELECT count(*) FROM unnest((SELECT "Rank It".retro_star_rerank_agg('q', id, body, 3) FROM doc)) AS r (id int, score float8, rank int))), 3, 'aggregate');
	is($do->(q(SELECT count(*) FROM "Rank It".retro_star_rerank('q', ARRAY[1, 2], ARRAY['a', 'b']))), 2, 'set');
	is($do->(q(SELECT count(*) FROM "Rank It".retro_star_explain('q', 'a'))), 1, 'explain');
	like($do->(q(SELECT "Rank It".retro_star_prompt('q', 'a'))), qr/q/, 'prompt');
	$do->(q(CREATE MATERIALIZED VIEW sky AS SELECT id, "Rank It".retro_star_score('sky', body) AS score FROM doc WITH NO DATA; CALL retrostar.refresh('sky')));
	is($do->('SELECT count(score) FROM sky'), 20, 'refresh');
	is(sqlstate($new, 'elsewhere', 'ALTER EXTENSION retrostar SET SCHEMA public'), '0A000', 'it stays where it is');
	is(sqlstate($new, 'elsewhere', 'DROP EXTENSION retrostar CASCADE; DROP SCHEMA "Rank It"; CREATE EXTENSION retrostar'), '00000', 'dropped and created again');
};

# A released script is never edited: every later version is reached by its
# upgrade scripts, from each earlier one, and from nothing.
subtest 'upgrade scripts' => sub {
	chomp(my $dir = `pg_config --sharedir`);
	my @upgrades = map { /--([\d.]+)--([\d.]+)\.sql$/ ? [ $1, $2 ] : () } glob "$dir/extension/retrostar--*--*.sql";
	plan skip_all => 'there is no later version than the first, so no upgrade script' unless @upgrades;

	my $latest = $new->safe_psql('postgres', q(SELECT default_version FROM pg_available_extensions WHERE name = 'retrostar'));
	my $objects = q(SELECT pg_describe_object(classid, objid, 0) FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar') ORDER BY 1);
	$new->safe_psql('postgres', 'CREATE DATABASE fresh');
	$new->safe_psql('fresh', 'CREATE EXTENSION retrostar');
	my $expected = $new->safe_psql('fresh', $objects);
	foreach my $from (sort map { $_->[0] } @upgrades)
	{
		$new->safe_psql('postgres', 'DROP DATABASE IF EXISTS upgraded');
		$new->safe_psql('postgres', 'CREATE DATABASE upgraded');
		$new->safe_psql('upgraded', "CREATE EXTENSION retrostar VERSION '$from'; ALTER EXTENSION retrostar UPDATE");
		is($new->safe_psql('upgraded', q(SELECT extversion FROM pg_extension WHERE extname = 'retrostar')), $latest, "$from to $latest");
		is($new->safe_psql('upgraded', $objects), $expected, 'has the objects of a new one');
	}
};

$old->stop;
$new->stop;
done_testing();
