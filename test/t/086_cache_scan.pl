# The cache table stays open from one look-up to the next: nobody notices,
# neither who wants the table for himself nor whoever fails in between.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('cache_scan');
my $sim = start_simulator();

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 64);
sql(q(CREATE TABLE doc AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 3000) i));
my $score = q(retro_star_score('known', body));
is(sql("SELECT count($score) FROM doc"), 3000, 'scores');
wait_idle($node);
$sim->reset_stats;

my $locks = q(SELECT count(*) FROM pg_locks WHERE pid = %s
	AND relation IN ('retrostar.score_cache'::regclass, 'retrostar.score_cache_pkey'::regclass));
my $session = RetroSession->new($node, 'postgres');

# More look-ups than the table stays open for, with and without the node
for my $prefetch (qw(on off))
{
	$session->query("SET retrostar.prefetch = $prefetch; BEGIN");
	is($session->query("SELECT count($score) FROM doc"), 3000, "known, prefetch $prefetch");
	is(sql(sprintf $locks, $session->{pid}), 0, 'no lock outlasts the statement');
	$session->query(q(SELECT retro_star_score('known', 'document 1')));
	is(sql(sprintf $locks, $session->{pid}), 0, 'nor one without a table');
	$session->query('COMMIT');
}

# A cursor in the middle of its rows
$session->query("BEGIN; DECLARE c CURSOR FOR SELECT $score FROM doc");
$session->query('FETCH 10 FROM c');
is(sql(sprintf $locks, $session->{pid}), 0, 'nor a fetch');
is($session->outcome('TRUNCATE retrostar.score_cache'), '00000', 'the cursor does not keep the table from its own session');
$session->query('ROLLBACK');

# While a model is waited for the table is free for others
$sim->control({ hold => JSON::PP::true });
$session->query('SET retrostar.prefetch = on');
$session->send("SELECT count($score), count(retro_star_score('new', body)) FROM (SELECT * FROM doc LIMIT 5) x");
$sim->wait_for('running', 5);
$node->poll_query_until('postgres', sprintf "SELECT (%s) = 0", sprintf $locks, $session->{pid});
is(sql('BEGIN; LOCK TABLE retrostar.score_cache IN ACCESS EXCLUSIVE MODE NOWAIT; ROLLBACK; SELECT 1'), 1,
	'whoever wants the table gets it while a session waits');
$sim->control({ hold => JSON::PP::false });
is($session->result, '5|5', 'and the session its scores');
wait_idle($node);

# Errors, subtransactions and commands on the table within one statement
sql(q(
	CREATE FUNCTION fails(body text) RETURNS float8 LANGUAGE plpgsql AS $$
	DECLARE s float8;
	BEGIN
		BEGIN
			s := retro_star_score('known', body);
			PERFORM 1 / (s - s);
		EXCEPTION WHEN division_by_zero THEN
			s := retro_star_score('known', body);
		END;
		BEGIN
			s := s + 0 * retro_star_score('known', body, samples => 65);
		EXCEPTION WHEN invalid_parameter_value THEN
			NULL;
		END;
		RETURN s;
	END $$;
	CREATE FUNCTION renames(other text) RETURNS float8 LANGUAGE plpgsql AS $$
	BEGIN
		BEGIN
			ALTER TABLE retrostar.score_cache RENAME TO other;
			RETURN retro_star_score('known', other);
		EXCEPTION WHEN undefined_table THEN
			RETURN retro_star_score('known', other);
		END;
	END $$;
	CREATE FUNCTION alters(n int) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		ALTER TABLE retrostar.score_cache SET (fillfactor = 90);
		RETURN n;
	END $$));
for my $prefetch (qw(on off))
{
	my ($rc, $out, $err) = $node->psql('postgres', "SET retrostar.prefetch = $prefetch;
		SELECT count(*), bool_and(fails(body) = $score AND renames('document ' || id + 1000) >= 0) FROM doc WHERE id <= 20;
		SELECT count($score) FROM doc WHERE id <= 20 AND alters(id) = id");
	is("$rc $out $err", "0 20|t\n20 ", "errors and commands in between, prefetch $prefetch");
}
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/leak|still referenced|being used by active queries/, 'nothing leaks');

# A query that is an expression belongs to its row
$sim->reset_stats;
is(sql(q(SELECT count(*), count(DISTINCT key) FROM (
	SELECT retro_star_score('query ' || q, body) AS s, retrostar.cache_key('query ' || q, body) AS key
	FROM doc, generate_series(1, 3) q WHERE id <= 20 OFFSET 0) x WHERE s >= 0)), '60|60', 'queries that are computed');
is($sim->stats->{chat}, 60, 'each pair is asked for once');
wait_idle($node);
is(sql(q(SELECT count(*) FROM doc, generate_series(1, 3) q JOIN LATERAL (SELECT 1) l ON true
	JOIN retrostar.score_cache c ON true WHERE id <= 20 AND c.key = retrostar.cache_key('query ' || q, body)
	AND retro_star_score('query ' || q, body) = c.scores[1])), 60, 'and has its own score');

$session->quit;
$node->stop;
done_testing();
