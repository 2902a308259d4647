# Calls that are evaluated while a statement is planned: a score that is not
# known never becomes a NULL that stays, and an estimate never fails a
# statement.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $sim = start_simulator();
my $node = new_node('planning');
create_server($node, 'postgres', 'gpu', $sim);

my $folded = '42P13';
my %body = (
	sql => 'SELECT retro_star_score(q, d)',
	plpgsql => 'BEGIN RETURN retro_star_score(q, d); END');
foreach my $language (sort keys %body)
{
	foreach my $volatility (qw(immutable stable volatile))
	{
		$node->safe_psql('postgres', "CREATE FUNCTION ${language}_$volatility(q text, d text) RETURNS float8
			LANGUAGE $language $volatility AS \$\$$body{$language}\$\$");
	}
}
$node->safe_psql('postgres', 'CREATE TABLE one (id int); INSERT INTO one VALUES (1); ANALYZE one');

# The last value that statements give, or the error
sub outcome
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 1);

	return $err =~ /ERROR:  (\w+)/ ? $1 : (split(/\n/, $out))[-1];
}

# The score itself, which is then known
sub score { my ($doc) = @_; return $node->safe_psql('postgres', "SELECT retro_star_score('q', '$doc')"); }

# Estimated number of rows
sub rows
{
	my ($limit) = @_;
	my ($rows) = $node->safe_psql('postgres', "EXPLAIN SELECT 1 FROM num WHERE x <= $limit") =~ /rows=(\d+)/;
	return $rows;
}

# In these places the planner folds an IMMUTABLE function of constants.  %s is
# the call.
my %planned = (
	'SELECT' => 'SELECT %s',
	'WHERE' => 'SELECT %1$s FROM one WHERE %1$s >= 0',
	'DEFAULT' => 'BEGIN; CREATE TABLE t (a int, s float8 DEFAULT %s); INSERT INTO t(a) VALUES (1); SELECT s FROM t; ROLLBACK',
	'a prepared statement' => 'PREPARE p AS SELECT %s; EXECUTE p',
	'a generic plan' => 'SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT %s; EXECUTE p',
	'a view' => 'BEGIN; CREATE VIEW v AS SELECT %s AS s; SELECT s FROM v; ROLLBACK',
	'a CTE' => 'WITH c AS MATERIALIZED (SELECT %s AS s FROM one) SELECT s FROM c',
	'FROM' => 'SELECT s FROM one, CAST(%s AS float8) AS s',
	'LIMIT' => 'SELECT g FROM (SELECT %1$s AS g FROM one LIMIT %1$s + 1) x',
	'a cursor' => 'BEGIN; DECLARE c CURSOR FOR SELECT %s; FETCH c; ROLLBACK',
	'the body of a function' => 'BEGIN; CREATE FUNCTION f() RETURNS float8 LANGUAGE plpgsql AS $$BEGIN RETURN %s; END$$;
		SELECT f(); ROLLBACK',
	'a function in SQL' => 'BEGIN; CREATE FUNCTION f() RETURNS float8 LANGUAGE sql STABLE AS $$SELECT %s FROM one$$;
		SELECT f(); ROLLBACK',
	'a domain' => 'BEGIN; CREATE DOMAIN d AS int CHECK (VALUE > 0 AND %s IS NULL); SELECT 1::d; ROLLBACK',
	'COPY of a query' => 'COPY (SELECT %s) TO STDOUT',
);

# What these evaluate the session asks for
my %asks = (
	'COPY with a default' => 'BEGIN; CREATE TABLE t (a int, s float8 DEFAULT %s); COPY t(a) FROM PROGRAM \'echo 1\';
		SELECT s FROM t; ROLLBACK',
	'ALTER TABLE ADD COLUMN' => 'BEGIN; ALTER TABLE one ADD COLUMN s float8 DEFAULT %s; SELECT s FROM one; ROLLBACK',
	'ALTER TABLE USING' => 'BEGIN; ALTER TABLE one ALTER COLUMN id TYPE float8 USING %s; SELECT id FROM one; ROLLBACK',
	'CHECK' => 'BEGIN; CREATE TABLE t (a int CHECK (%1$s >= 0)); INSERT INTO t VALUES (1); ALTER TABLE t ADD CHECK (%1$s < 0);
		SELECT -1; ROLLBACK',
	'a partition bound' => 'BEGIN; CREATE TABLE t (a float8) PARTITION BY LIST (a); CREATE TABLE u PARTITION OF t FOR VALUES IN (%s);
		SELECT (regexp_match(pg_get_expr(relpartbound, oid), \'([0-9.]+)\'))[1] FROM pg_class WHERE relname = \'u\'; ROLLBACK',
);
# There only IMMUTABLE functions may be
my %immutable = (
	'a generated column' => 'BEGIN; CREATE TABLE t (a int, s float8 GENERATED ALWAYS AS (%s) STORED); INSERT INTO t VALUES (1);
		SELECT s FROM t; ROLLBACK',
	'a generated column of a column' => 'BEGIN; CREATE TABLE t (a text, s float8 GENERATED ALWAYS AS (%s) STORED);
		INSERT INTO t VALUES (\'%d\'); SELECT s FROM t; ROLLBACK',
);
# The error that comes where the score is right
my %right = ('CHECK' => '23514', 'a domain' => '23514');

my $docs = 0;
foreach my $function (map { my $l = $_; map { "${l}_$_" } qw(immutable stable volatile) } sort keys %body)
{
	my $immutable = $function =~ /immutable/;
	my %all = (%planned, %asks, $immutable ? %immutable : ());

	foreach my $place (sort keys %all)
	{
		foreach my $known (0, 1)
		{
			my $doc = 'doc ' . ++$docs;
			my $call = $place =~ /of a column/ ? "$function('q', a)" : "$function('q', '$doc')";
			my $sql = sprintf($all{$place} =~ s/%d/$doc/r, $call);

			score($doc) if $known;
			wait_idle($node);
			my $asked = $sim->stats->{chat};
			my $outcome = outcome($sql);
			my $errs = $immutable && !$known && exists $planned{$place};
			my $sent = $sim->stats->{chat} - $asked;
			my $expected = $errs ? $folded : $right{$place} // score($doc);
			is("$outcome, $sent sent", "$expected, " . ($known || $errs ? 0 : 1) . ' sent',
				"$function in $place, " . ($known ? 'known' : 'unknown'));
		}
	}
}

# The error says what to do, and that helps.
my ($rc, $out, $err) = $node->psql('postgres', "SELECT plpgsql_immutable('q', 'advice')");
like($err, qr/HINT: .* (ALTER FUNCTION plpgsql_immutable\(text,text\) STABLE)\./, 'a hint');
is(outcome("BEGIN; $1; SELECT plpgsql_immutable('q', 'advice') IS NOT NULL"), 't', 'which helps') if $err =~ /(ALTER FUNCTION.*STABLE)\./;
# what is declared wrongly is ours
my $ours = 'retro_star_score(text, text, text, text, text, text, int, text)';
is(outcome("BEGIN; ALTER FUNCTION $ours IMMUTABLE; SELECT retro_star_score('q', 'ours')"), $folded, 'our own function as IMMUTABLE');

# Wrappers that do not expect NULL.  Planned they are for an estimate.
$node->safe_psql('postgres', <<'EOS');
CREATE TABLE num (x float8);
INSERT INTO num SELECT g FROM generate_series(0, 100) g;
ANALYZE num;
CREATE FUNCTION not_null(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
DECLARE s float8 := retro_star_score('q', d);
BEGIN IF s IS NULL THEN RAISE EXCEPTION 'no score'; END IF; RETURN s; END $$;
CREATE FUNCTION good(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
DECLARE s float8 := coalesce(retro_star_score('q', d), -1);
BEGIN IF s < 0 THEN RAISE EXCEPTION 'too bad' USING ERRCODE = 'P0099'; END IF; RETURN s; END $$;
CREATE FUNCTION catches(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN not_null(d); EXCEPTION WHEN OTHERS THEN RAISE EXCEPTION 'failed: %', SQLERRM; END $$;
CREATE FUNCTION nested(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT max(not_null(d)) FROM num WHERE x <= not_null(d)); END $$;
CREATE FUNCTION in_sql(d text) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT max(not_null(d)) FROM one';
CREATE FUNCTION inlined(d text) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT not_null(d)';
CREATE FUNCTION other_error(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
BEGIN IF d = 'bad' THEN RAISE EXCEPTION 'bad' USING ERRCODE = 'P0098'; END IF; RETURN retro_star_score('q', d); END $$;
CREATE FUNCTION swallows(d text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN retro_star_score('q', d); EXCEPTION WHEN OTHERS THEN RETURN -1; END $$;
CREATE FUNCTION ranked(d text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN (SELECT score FROM retro_star_rerank('q', ARRAY[1], ARRAY[d])); END $$;
CREATE FUNCTION in_place(d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN plpgsql_immutable('q', 'in place'); END $$;
EOS
foreach my $function (qw(not_null good catches nested in_sql inlined))
{
	my $doc = "for $function";
	my $where = "FROM num WHERE x <= $function('$doc')";

	my $asked = $sim->stats->{chat};
	is(outcome("EXPLAIN SELECT 1 $where") =~ /^\w{5}$/, '', "$function: planned");
	is($sim->stats->{chat}, $asked, 'nothing is asked for');
	is(outcome("BEGIN; SAVEPOINT s; SELECT count(*) $where; RELEASE s; COMMIT"), 1 + int(score($doc)), 'and run');
	is(outcome("BEGIN; PREPARE p(text) AS SELECT count(*) FROM num WHERE x <= $function(\$1);
		EXECUTE p('$doc prepared'); COMMIT"), 1 + int(score("$doc prepared")), 'and prepared');
}
is(outcome("SELECT count(*) FROM num WHERE x <= other_error('bad')"), 'P0098', "a function's own error is its own");
is(outcome("DO \$\$BEGIN PERFORM 1 FROM num WHERE x <= other_error('bad'); EXCEPTION WHEN SQLSTATE 'P0098' THEN NULL; END\$\$; SELECT 1"),
	1, 'and can be caught');
is(outcome("SELECT count(*) FROM num WHERE x < 0 AND x <= in_place('d')"), 0, 'an error in folding does not fail an estimate');
is(outcome("SELECT $_('$_')"), $folded, "$_: no value comes of an error that is caught, or of a set") foreach qw(swallows ranked);
score('for good');
is(outcome("SELECT swallows('for good')"), score('for good'), 'of a score that is known it does');
is(outcome("SELECT count(*) FROM num WHERE x < 0 AND x <= not_null('never called')"), 0, 'what is estimated only is not asked for');

# In parallel mode PostgreSQL 15 and 16 have no subtransactions.
$node->safe_psql('postgres', <<'EOS');
CREATE FUNCTION counts(d text) RETURNS bigint LANGUAGE plpgsql STABLE PARALLEL RESTRICTED AS $$
BEGIN RETURN (SELECT count(*) FROM num WHERE x <= plpgsql_stable('q', d)); END $$;
EOS
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
like($node->safe_psql('postgres', "$parallel EXPLAIN SELECT counts('parallel ' || x) FROM num WHERE x = 1"), qr/Gather/, 'in parallel mode');
is(outcome("$parallel SELECT counts('parallel ' || x) FROM num WHERE x = 1"), 1 + int(score('parallel 1')), 'a function is planned and run');

# A score that has come, and is not stored yet, is known.
my $session = RetroSession->new($node);
$session->query('BEGIN; LOCK retrostar.score_cache IN SHARE MODE');
my $score = score('in the map');
is(outcome("SELECT plpgsql_immutable('q', 'in the map')"), $score, 'an answer in the map is known');
is(rows("retro_star_score('q', 'in the map')"), rows($score), 'and estimated with');
isnt(rows($score), rows('NULL'), 'which differs from that of NULL');
is($node->safe_psql('postgres', q(SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('q', 'in the map'))),
	0, 'which was not stored');
$session->query('COMMIT');
$session->quit;

# An error leaves nothing behind.
like($node->safe_psql('postgres', <<'EOS'), qr/\A1\n\d/, 'the session goes on');
DO $$BEGIN PERFORM plpgsql_immutable('q', 'behind'); EXCEPTION WHEN invalid_function_definition THEN NULL; END$$;
SELECT count(*) FROM num WHERE x < 1 AND x <= not_null('behind') + 1000;
SELECT plpgsql_stable('q', 'behind');
EOS
is(outcome("SELECT plpgsql_immutable('q', CASE WHEN id > 0 THEN 'of a row' END) FROM one"), score('of a row'), 'of rows scores are asked for');

# Functions that have nothing to do with us are inlined as ever.
$node->safe_psql('postgres', "CREATE FUNCTION $_ AS 'SELECT \$1 * 2'")
  foreach 'double(int) RETURNS int LANGUAGE sql IMMUTABLE', 'twice(int) RETURNS int LANGUAGE sql STABLE';
like(outcome("EXPLAIN (VERBOSE) SELECT $_(id) FROM one") . $node->safe_psql('postgres', "EXPLAIN (VERBOSE) SELECT $_(id), $_(2) FROM one"),
	qr/Output: \(id \* 2\), /, "$_ is inlined")
  foreach qw(double twice);

wait_idle($node);
done_testing();
