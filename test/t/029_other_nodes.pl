# Calls above nodes of other extensions, TimescaleDB's, and above foreign scans:
# made ahead where the statement only reads, and never with another result.
# RETROSTAR_FUZZ is the number of random statements over each kind of tables.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP ();
use PrefetchShapes qw(prefetch_schema prefetch_tables);
use RetroTest;
use Test::More;

my $timescale = has_extension('timescaledb');
my $foreign = has_extension('postgres_fdw');
plan skip_all => 'neither timescaledb nor postgres_fdw is installed' unless $timescale || $foreign;

my $node = new_node('other_nodes', conf => "fsync = off\njit = off\n"
	  . ($timescale ? "shared_preload_libraries = 'timescaledb, retrostar'\ntimescaledb.telemetry_level = off\n" : ''));
my $queries = $ENV{RETROSTAR_FUZZ} // 150;
my $sim = start_simulator('--delay-ms', '0');

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;

SKIP: {
	skip 'the extension timescaledb is not installed (Debian 13: postgresql-17-timescaledb)', 1 unless $timescale;
	subtest 'hypertables' => \&hypertables;
}
SKIP: {
	skip 'the extension postgres_fdw is not installed', 1 unless $foreign;
	subtest 'foreign tables' => sub {
		fuzz('foreign');
		# scored where the documents are: a view of there
		is(psql(q(CREATE VIEW scored AS SELECT id, retro_star_score('q', body) AS score FROM docs_there;
			CREATE FOREIGN TABLE scored_there (id int, score float8) SERVER here OPTIONS (table_name 'scored');)), '', 'a view');
		is(psql('SELECT * FROM scored_there ORDER BY score DESC, id LIMIT 5;'),
			psql(q(SELECT id, retro_star_score('q', body) AS score FROM docs ORDER BY score DESC, id LIMIT 5;)), 'scores of another server');
		all_at_once('partitions', "SELECT id, retro_star_score('at once', body) s FROM pdocs ORDER BY s DESC LIMIT 3", 64);
	};
}
# A rule makes an INSERT with columns that are not the table's: PostgreSQL's error, as without us
$node->safe_psql('postgres', q(CREATE TABLE base (k int, a int, b float8); CREATE TABLE lg (a int, b float8);
	CREATE TABLE other (k int, v text); CREATE VIEW vw AS SELECT * FROM base; INSERT INTO base VALUES (1, 1, 1), (2, 2, 2); INSERT INTO other VALUES (1, 'one'), (2, 'two');
	CREATE RULE r AS ON UPDATE TO vw DO INSTEAD INSERT INTO lg SELECT new.a, new.b RETURNING NULL::int, lg.a, lg.b));
create_server($node, 'postgres', 'gpu', $sim);
$ENV{PGDATABASE} = 'postgres';
my ($with, $without) = map { psql("SET retrostar.prefetch = $_; UPDATE vw SET b = coalesce(retro_star_score('q', o.v), o.k) FROM other o WHERE o.k = vw.k RETURNING o.v, b;") } qw(on off);
is($with, $without, 'an INSERT that a rule has made of an UPDATE');
is(psql('SELECT 1;'), "1\n", 'the server is there');
done_testing();

sub hypertables
{
	fuzz('hypertable');
	# chunks that have grown meanwhile are read in order all the same
	psql('ALTER DATABASE hypertable SET enable_seqscan = off;');

	my $ahead = sub {
		my ($name, $query, $node_shown) = @_;
		my ($on, $off) = map { psql("SET retrostar.prefetch = $_; BEGIN; $query; ROLLBACK;") } qw(on off);

		# without an order; and what was rolled back may change the plan
		($on, $off) = map { join('', sort split(/^/, $_)) } $on, $off if $query =~ /RETURNING/;
		is($on, $off, "$name: same result");
		is(psql("EXPLAIN $query;") =~ /Retro\* Prefetch/ ? 1 : 0, $node_shown, "$name: node") if defined $node_shown;
	};
	my $latest = 'SELECT * FROM docs ORDER BY id DESC LIMIT 40';

	$ahead->('the newest', "SELECT id, retro_star_score('q', body) s FROM ($latest) x ORDER BY s DESC, id LIMIT 3", 1);
	like(psql("EXPLAIN SELECT id, retro_star_score('q', body) s FROM ($latest) x ORDER BY s DESC, id LIMIT 3;"),
		qr/Custom Scan \(\w*ChunkAppend\)/, 'there is a node of TimescaleDB');
	$ahead->('buckets', "SELECT time_bucket(20, id), max(retro_star_score('q', body)) FROM docs WHERE id <= 60 GROUP BY 1 ORDER BY 1", 1);

	# what does more than read, or may
	psql('CREATE SEQUENCE numbers;');
	$ahead->('volatile below', "SELECT id, n, retro_star_score('q', body) FROM (SELECT id, body, nextval('numbers') - lastval() n FROM ($latest) x OFFSET 0) y LIMIT 5", 0);
	$ahead->('row locks', "SELECT x.id, qid, retro_star_score(q, body) FROM qs JOIN ($latest) x ON qid = id % 10 LIMIT 9 FOR UPDATE OF qs", 0);
	$ahead->('INSERT', "INSERT INTO docs (id, s) SELECT id + 1000, retro_star_score('q', body) FROM docs WHERE id <= 20 RETURNING id, s", 1);
	$ahead->('UPDATE', "UPDATE docs SET s = retro_star_score('q', body) WHERE id <= 50 RETURNING id, s", 1);
	$ahead->('DELETE', "DELETE FROM docs USING (SELECT id AS at, retro_star_score('q', body) s FROM docs WHERE id <= 60 OFFSET 0) x WHERE id = at AND x.s > 50 RETURNING id", 1);
	$ahead->('UPDATE by the newest', "UPDATE docs SET s = x.s FROM (SELECT id, retro_star_score('q', body) s FROM ($latest) y ORDER BY 2, 1 LIMIT 9) x WHERE docs.id = x.id RETURNING docs.id, docs.s", 1);
	$ahead->('INSERT of the newest', "INSERT INTO docs (id, s) SELECT id + 1000, retro_star_score('q', body) FROM ($latest) x RETURNING id, s", 1);
	$ahead->('INSERT twice', "WITH i AS (INSERT INTO docs (id, s) SELECT id + 1000, retro_star_score('q', body) FROM docs WHERE id <= 20 RETURNING id, s) SELECT * FROM i ORDER BY id", 1);
	$ahead->('INSERT into another table', "INSERT INTO qs (qid, q) SELECT id + 1000, retro_star_score('q', body)::text FROM ($latest) x RETURNING qid, q", 1);
	$ahead->('INSERT of nothing', "INSERT INTO docs (id, s) SELECT id, s FROM docs WHERE false AND retro_star_score('q', body) > 50", 0);

	# where the rows that change are found, a node of TimescaleDB may have effects
	$ahead->('INSERT, volatile', "INSERT INTO qs (qid, q) SELECT nextval('numbers') - lastval() + id, retro_star_score('q', body)::text FROM ($latest) x RETURNING qid, q", 0);
	$ahead->('DELETE by a condition', "DELETE FROM docs WHERE id <= 20 AND retro_star_score('q', body) > 50 RETURNING id", 0);
	# and it may go by the conditions of their scan, which stay there
	chomp(my $chunk = psql("SELECT show_chunks('docs') ORDER BY 1 LIMIT 1;"));
	foreach my $change ("DELETE FROM $chunk WHERE id <= 20 AND retro_star_score('q', body) > 50 RETURNING id",
		"UPDATE $chunk SET s = 1 WHERE id <= 20 AND retro_star_score('q', body) > 50 RETURNING id")
	{
		$ahead->('a chunk by a condition', $change, undef);
		# 2.19 leaves chunks to PostgreSQL
		unlike(psql("EXPLAIN $change;"), qr/Custom Scan \(\w*Modify.*Retro\* Prefetch/s, 'a chunk by a condition: no node below that of TimescaleDB');
	}
	psql('ALTER DATABASE hypertable SET timescaledb.enable_chunk_append = off;');
	$ahead->("DELETE by a condition, without ChunkAppend", "DELETE FROM docs WHERE id <= 20 AND retro_star_score('q', body) > 50 RETURNING id", 0);
	$ahead->("UPDATE, without ChunkAppend", "UPDATE docs SET s = retro_star_score('q', body) WHERE id <= 50 RETURNING id, s", 1);
	psql('ALTER DATABASE hypertable RESET timescaledb.enable_chunk_append;');
	my $merge = "MERGE INTO docs d USING (SELECT id, retro_star_score('q', body) sc FROM pdocs WHERE id <= 20 OFFSET 0) x ON d.id = x.id";
	$ahead->('MERGE', "$merge WHEN MATCHED THEN UPDATE SET s = sc", 1);
	$ahead->('MERGE that inserts', "$merge WHEN MATCHED THEN UPDATE SET s = sc WHEN NOT MATCHED THEN INSERT (id, s) VALUES (x.id, sc)", undef);	# 2.19 has a node of its own there, 2.31 does not

	# the ways out that doc/planning.md names
	$ahead->('condition', "SELECT id FROM (SELECT id, retro_star_score('q', body) AS score FROM docs ORDER BY id DESC OFFSET 0) x WHERE score > 50", 1);
	$ahead->('INSERT from a CTE', "WITH x AS MATERIALIZED (SELECT id, retro_star_score('q', body) s FROM pdocs WHERE id <= 20) INSERT INTO docs (id, s) SELECT id + 1000, s FROM x RETURNING id, s", 1);
	all_at_once('the newest', "SELECT id, retro_star_score('at once', body) s FROM ($latest) x ORDER BY s DESC LIMIT 3", 40);
	all_at_once('all', "SELECT id, retro_star_score('all', body) s FROM docs WHERE id <= 200 ORDER BY s DESC LIMIT 3", 64);
	all_at_once('INSERT', "INSERT INTO docs (id, s) SELECT id + 1000, retro_star_score('at once, inserted', body) FROM docs WHERE id <= 50 RETURNING id, s", 50);
	all_at_once('UPDATE', "UPDATE docs SET s = retro_star_score('at once, updated', body) WHERE id <= 50 RETURNING id, s", 50);
	return;
}

# So many requests of the statement are in work together
sub all_at_once
{
	my ($name, $query, $n) = @_;

	$sim->control({ hold => JSON::PP::true });
	my $statement = ask_background($node, $ENV{PGDATABASE}, $query);
	$sim->wait_for('running', $n);
	$sim->control({ hold => JSON::PP::false });
	my @found = finish_background($statement);
	like($found[0], qr/\d\|\d/, "$name: $n at once");
	return;
}

# Random statements in a database of their own, which the caller finds then
sub fuzz
{
	my ($tables) = @_;
	my $output = '';

	$node->safe_psql('postgres', qq(CREATE DATABASE "$tables"));
	$node->safe_psql($tables, 'CREATE EXTENSION retrostar');
	create_server($node, $tables, 'gpu', $sim, max_in_flight => 64);
	$ENV{PGDATABASE} = $tables;
	$sim->reset_stats;
	ok(IPC::Run::run([ $^X, "$FindBin::RealBin/../fuzz/prefetch_fuzz.pl", '--tables', $tables,
			'--seed', '20261201', '--queries', $queries ], '>&', \$output), "$tables: no difference")
	  or diag($output);
	note($output);
	my ($same) = $output =~ /same (\d+)/;
	cmp_ok($same // 0, '>', $queries / 2, "$tables: most statements work");
	cmp_ok($sim->stats->{chat}, '>', $queries, "$tables: and ask the model");
	return;
}

sub psql
{
	my ($sql) = @_;
	my $output = '';

	IPC::Run::run([ 'psql', '-XqAt' ], '<', \$sql, '>&', \$output);
	$output =~ s/^psql:<stdin>:\d+: //mg;
	return $output;
}
