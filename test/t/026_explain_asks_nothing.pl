# EXPLAIN without ANALYZE asks the model for nothing and does not wait, also
# where PostgreSQL evaluates calls when an executor starts or for parameters.
# Otherwise calls made there belong to the statement whose executor starts.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('explain', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', <<'EOS');
CREATE TABLE byscore (k float8, body text) PARTITION BY RANGE (k);
CREATE TABLE low PARTITION OF byscore FOR VALUES FROM (0) TO (50);
CREATE TABLE high PARTITION OF byscore FOR VALUES FROM (50) TO (101);
INSERT INTO byscore SELECT i, 'document ' || i FROM generate_series(0, 100) i;
CREATE TABLE docs AS SELECT k, body FROM byscore;
CREATE INDEX ON docs(k);
ANALYZE;
CREATE FUNCTION best(q text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
DECLARE s float8; r float8; BEGIN
  SELECT max(retro_star_score(q, body)) INTO s FROM docs WHERE k < 10;
  SELECT max(score) INTO r FROM retro_star_rerank(q, ARRAY[1, 2], ARRAY['one', 'two']);
  PERFORM * FROM retro_star_explain(q, 'document');
  RETURN greatest(s, r);
END $$;
EOS
my $score = "retro_star_score('q', 'unknown')";
my $where = "FROM byscore WHERE k > $score";
my $unknowns = 0;
my @explained = (
	"SELECT * $where",
	"SELECT * $where AND k < retro_star_score('r', 'unknown') ORDER BY k LIMIT 3",
	"SELECT * FROM byscore WHERE k > best('nothing')",
	"SELECT (SELECT count(*) $where), * FROM docs",
	"WITH c AS MATERIALIZED (SELECT * $where) SELECT * FROM c",
	"INSERT INTO docs SELECT * $where",
	"UPDATE byscore SET body = '' WHERE k > $score",
	"DELETE $where",
	"MERGE INTO byscore b USING docs d ON b.k = d.k AND b.k > $score WHEN MATCHED THEN DELETE",
	"CREATE TABLE t AS SELECT * $where",
	"CREATE MATERIALIZED VIEW t AS SELECT * $where",
	"DECLARE c SCROLL CURSOR FOR SELECT * $where",
	# none of these is evaluated, but by executors that run
	"SELECT * FROM docs WHERE k = $score",
	"SELECT * FROM docs TABLESAMPLE bernoulli ($score) REPEATABLE ($score)",
	"SELECT * FROM docs LIMIT $score OFFSET $score",
	"SELECT * FROM generate_series(1, $score\::int)",
	"VALUES ($score), ($score)",
	"SELECT * FROM docs a, LATERAL (SELECT * FROM docs b WHERE b.k = a.k + $score OFFSET 0) x",
	"SELECT sum(k) OVER (ORDER BY k ROWS BETWEEN $score\::int PRECEDING AND CURRENT ROW) FROM docs",
	"SELECT percentile_disc($score / 100) WITHIN GROUP (ORDER BY k) FROM docs");

foreach my $statement (@explained)
{
	is(asked("EXPLAIN (VERBOSE) $statement"), '0 asked', "EXPLAIN $statement");
}
is(asked("EXPLAIN (VERBOSE, GENERIC_PLAN) SELECT * $where AND k < \$1"), '0 asked', 'generic plan of an unprepared statement')
  if $node->safe_psql('postgres', 'SHOW server_version_num') >= 160000;

# Prepared statements: the plan, and parameters, which are evaluated first
foreach my $mode ('force_generic_plan', 'force_custom_plan')
{
	my $prepare = "SET plan_cache_mode = $mode; PREPARE p(float8) AS SELECT * $where AND k >= \$1;";

	is(asked("$prepare EXPLAIN EXECUTE p(1)"), '0 asked', "EXECUTE, $mode");
	is(asked("$prepare EXPLAIN EXECUTE p($score)"), '0 asked', "EXECUTE with a call as a parameter, $mode");
	is(asked("$prepare EXPLAIN EXECUTE p(best('nothing'))"), '0 asked', "EXECUTE with a function as a parameter, $mode");
	is(asked("$prepare EXPLAIN CREATE TABLE t AS EXECUTE p($score)"), '0 asked', "CREATE TABLE AS EXECUTE, $mode");
}

# A function that does not expect NULL, and where it takes what is known
$node->safe_psql('postgres', <<'EOS');
CREATE FUNCTION no_null(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
DECLARE s float8 := retro_star_score('q', d); BEGIN IF s IS NULL THEN RAISE EXCEPTION 'no score'; END IF; RETURN s; END $$;
CREATE FUNCTION divides(k float8) RETURNS float8 LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1 / k; END';
EOS
is(asked($_), '0 asked', "a function that raises an error for NULL: $_")
  foreach "EXPLAIN SELECT * FROM byscore WHERE k > no_null('unknown')",
  "PREPARE p(float8) AS SELECT * $where AND k >= \$1; EXPLAIN EXECUTE p(no_null('nothing'))",
  "DO \$\$BEGIN EXECUTE \$e\$EXPLAIN SELECT * FROM byscore WHERE k > no_null('unknown')\$e\$; END\$\$";
like(asked('EXPLAIN SELECT * FROM byscore WHERE k > divides(0)'), qr/\A0 asked, .*division by zero/, 'an error of its own is one');

# ANALYZE runs it, and the last word counts
is(asked("EXPLAIN (ANALYZE off, VERBOSE) SELECT * $where"), '0 asked', 'ANALYZE off');
is(asked("EXPLAIN (ANALYZE, ANALYZE false) SELECT * $where"), '0 asked', 'ANALYZE, and then off');
is(asked("EXPLAIN (ANALYZE) SELECT * FROM byscore WHERE k > retro_star_score('analyze', 'one')"), '1 asked', 'ANALYZE asks');
is(asked("PREPARE p(float8) AS SELECT \$1; EXPLAIN (ANALYZE) EXECUTE p(retro_star_score('analyze', 'two'))"), '1 asked',
	'ANALYZE asks for parameters, too');

# Once it is over calls ask again: in the same command, and after an error
is(asked("DO \$\$ BEGIN EXECUTE \$e\$ EXPLAIN SELECT * $where \$e\$; PERFORM retro_star_score('again', 'one'); END \$\$"),
	'1 asked', 'EXPLAIN inside of a command');
my $session = RetroSession->new($node, 'postgres');
is($session->outcome("EXPLAIN SELECT * FROM byscore WHERE k > retro_star_score('q', 'd', 'no task')"), '42704',
	'a wrong task is an error');
my $before = $sim->stats->{chat};
isnt($session->query("SELECT retro_star_score('again', 'two')"), '', 'and after it');
is($sim->stats->{chat} - $before, 1, 'the model is asked');

# A known score is used
$node->safe_psql('postgres', "SELECT retro_star_score('q', 'known')");
wait_idle($node);
my $known = $node->safe_psql('postgres', "SELECT retro_star_score('q', 'known')");
my $partition = $known < 50 ? 'low' : 'high';
like($node->safe_psql('postgres', "EXPLAIN (COSTS OFF) SELECT * FROM byscore WHERE k = retro_star_score('q', 'known')"),
	qr/Subplans Removed: 1\n.*Seq Scan on $partition/s, 'a known score prunes');
like($node->safe_psql('postgres', "PREPARE p(float8) AS SELECT 1 FROM byscore WHERE k = \$1; EXPLAIN (COSTS OFF) EXECUTE p(retro_star_score('q', 'known'))"),
	qr/on $partition.*k = '$known'/s, 'and is a parameter');

# The same calls in a statement that runs: the memo, the limit and the warning
# are the statement's
is(asked("SELECT count(*) FROM byscore WHERE k > retro_star_score('start', 'memo')"), '1 asked', 'evaluated at start and then for rows');
is($session->outcome("SET retrostar.request_limit = 1; SELECT count(*) FROM byscore WHERE k > retro_star_score('start', 'one') AND retro_star_score('start', 'two') >= 0"),
	'54000', 'the limit counts what is asked for at the start');
$session->query('RESET retrostar.request_limit');

create_server($node, 'postgres', 'dead', 'http://127.0.0.1:9', unavailable_timeout => '100ms');
$session->query("SET retrostar.server = 'gpu'");
my $dead = "FROM byscore WHERE k > retro_star_score('start', 'dead', server => 'dead')";
is($session->query("EXPLAIN (COSTS OFF) SELECT * $dead"), "Append\n  Subplans Removed: 2", 'EXPLAIN does not need the server');
$session->query("SET retrostar.on_error = 'null'");
foreach my $run ("SELECT count(*) $dead", "BEGIN; DECLARE c CURSOR FOR SELECT k $dead; FETCH ALL FROM c; CLOSE c; COMMIT",
	"DO \$\$ BEGIN PERFORM k $dead; END \$\$")
{
	$session->query("$run; \\echo done");
	like($session->{err}, qr/^WARNING:  01000: 1 pair could not be scored/m, "its warning: $run");
	$session->query('SELECT 1; BEGIN; COMMIT');
	is($session->{err}, '', 'and not after another statement');
}
$session->query('RESET retrostar.on_error');

# Errors at the start, also caught ones, and cancelling
is($session->outcome("SELECT count(*) $dead"), '08006', 'an error at the start');
is($session->outcome("DO \$\$ BEGIN PERFORM k $dead; EXCEPTION WHEN connection_failure THEN PERFORM retro_star_score('start', 'after'); END \$\$"),
	'00000', 'a caught one');
$sim->control({ hold => JSON::PP::true });
$session->send("SELECT count(*) FROM byscore WHERE k > retro_star_score('start', 'cancel')");
$sim->wait_for('running', 1);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
$session->result;
is($session->sqlstate, '57014', 'cancelled at the start');
wait_until('it is given up', sub { queue($node, 'pairs = 0 AND waiters = 0') eq 't' });
$sim->control({ hold => JSON::PP::false });
$sim->release;
isnt($session->query("SELECT retro_star_score('start', 'last')"), '', 'the session goes on');
is(queue($node, 'asked = answered + failed + cancelled AND lost = 0'), 't', 'counters balance');

done_testing();

# How many pairs are asked for while this runs without an error.  What an
# earlier one asked for is not known.
sub asked
{
	my ($sql) = @_;
	my $before = $sim->stats->{chat};

	$sql =~ s/'(?:unknown|nothing)/$& $before $unknowns/g;
	$unknowns++;
	my ($ret, $out, $err) = $node->psql('postgres', $sql);

	wait_idle($node);
	return ($sim->stats->{chat} - $before) . ' asked' . ($ret ? ", $err" : '');
}
