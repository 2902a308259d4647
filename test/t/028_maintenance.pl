# Calls in maintenance commands: ANALYZE asks for nothing, whoever runs it; a
# value that is stored is right, or there is an error.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $sim = start_simulator();
my $node = new_node('maintenance', conf => "autovacuum = on\nautovacuum_naptime = 1s\nlog_autovacuum_min_duration = 0\n");
create_server($node, 'postgres', 'gpu', $sim);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub forget { wait_idle($node); sql('DELETE FROM retrostar.score_cache'); return; }

# What a command sends, and what it says
sub sent
{
	my ($sql) = @_;
	my $asked = $sim->stats->{chat};
	# an index with a function in PL/pgSQL is built one call after another, and the session is told
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = warning; $sql");

	wait_idle($node);
	return $sim->stats->{chat} - $asked . ($err ? ": $err" : '');
}

sql(<<'EOS');
CREATE FUNCTION imm(q text, d text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN (SELECT public.retro_star_score(q, d)); END $$;
CREATE FUNCTION stab(q text, d text) RETURNS float8 LANGUAGE plpgsql STABLE AS $$
BEGIN RETURN (SELECT public.retro_star_score(q, x) FROM unnest(ARRAY[d]) x); END $$;
CREATE TABLE doc (id int, body text) WITH (autovacuum_enabled = off);
INSERT INTO doc SELECT g, 'document ' || g FROM generate_series(1, 20) g;
CREATE STATISTICS direct ON (retro_star_score('q', body)), id FROM doc;
CREATE STATISTICS wrapped ON (stab('q', body)), id FROM doc;
SELECT retro_star_score('q', body) FROM doc WHERE id <= 10;
EOS
wait_idle($node);

my $nulls = q(SELECT DISTINCT null_frac FROM pg_stats_ext_exprs WHERE tablename = 'doc');
foreach my $command ('ANALYZE doc', 'ANALYZE (VERBOSE) doc', 'VACUUM ANALYZE doc', 'VACUUM (FULL, ANALYZE) doc',
	'BEGIN; ANALYZE doc; COMMIT', 'SET track_activities = off; ANALYZE doc',
	q(SET retrostar.on_error = 'null'; ANALYZE doc), q(DO $$BEGIN ANALYZE doc; END$$))
{
	like(sent($command), $command =~ /VERBOSE/ ? qr/\A0: \S+ INFO/ : qr/\A0\z/, "$command sends nothing");
	is(sql($nulls), 0.5, 'and takes what is known');
}
is(sent("ANALYZE doc; SELECT retro_star_score('q', 'asked after')"), 1, 'what comes after asks');

# A pair that another session waits for is not waited for.
$sim->control({ hold => JSON::PP::true });
sql(q(SELECT retro_star_prefetch('q', 'document 20')));
is($node->psql('postgres', 'SET statement_timeout = 60000; ANALYZE doc'), 0, 'nothing is waited for');
$sim->control({ hold => JSON::PP::false });
$sim->release;
wait_idle($node);
is(sent('ANALYZE doc'), 0, 'nothing is sent');
is(sql($nulls), 0.45, 'an answer is known');

# A function that does not expect NULL fails no ANALYZE.
sql(<<'EOS');
CREATE FUNCTION no_null(q text, d text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE s float8 := public.retro_star_score(q, d); BEGIN IF s IS NULL THEN RAISE EXCEPTION 'no score'; END IF; RETURN s; END $$;
CREATE FUNCTION around(q text, d text) RETURNS float8 LANGUAGE sql IMMUTABLE AS 'SELECT max(public.no_null(q, d)) WHERE true';
CREATE TABLE raises AS SELECT id, body FROM doc;
CREATE STATISTICS of_raises ON (no_null('q', body)), (around('q', body)), id FROM raises;
EOS
foreach my $command ('ANALYZE raises', 'VACUUM ANALYZE raises', 'BEGIN; ANALYZE raises; COMMIT', q(DO $$BEGIN ANALYZE raises; END$$))
{
	is(sent($command), 0, "$command with a function that raises an error for NULL");
	is(sql(q(SELECT DISTINCT null_frac FROM pg_stats_ext_exprs WHERE tablename = 'raises')), 0.45, 'takes what is known');
}
# nor the index's expression, which has been asked for
is(sent(q(CREATE INDEX raising ON raises (no_null('r', body)))), 20, 'CREATE INDEX asks');
forget();
is(sent('ANALYZE raises'), 0, 'ANALYZE of the index does not');
is(sql(q(SELECT null_frac FROM pg_stats WHERE tablename = 'raising')), 1, 'all of it is unknown');
sql('DROP TABLE raises; SELECT retro_star_score(\'q\', body) FROM doc WHERE id IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20)');
wait_idle($node);

# The same in an autovacuum worker
$sim->reset_stats;
sql(<<'EOS');
ALTER TABLE doc SET (autovacuum_enabled = on, autovacuum_analyze_threshold = 0, autovacuum_analyze_scale_factor = 0);
INSERT INTO doc SELECT g, 'document ' || g FROM generate_series(21, 22) g;
EOS
$node->poll_query_until('postgres', q(SELECT last_autoanalyze IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'doc'));
is(sql($nulls), 0.5, 'autovacuum takes what is known');
wait_idle($node);
is($sim->stats->{chat}, 0, 'and asks for nothing');
unlike(slurp_file($node->logfile), qr/WARNING|ERROR/, 'nor does it say anything');
sql('ALTER TABLE doc SET (autovacuum_enabled = off)');

# An error that does not come of it is one.
sql(<<'EOS');
CREATE FUNCTION fails(id int) RETURNS float8 LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1 / (id - 5); END';
CREATE STATISTICS fails ON (fails(id)), body FROM doc;
EOS
like(sent('ANALYZE doc'), qr/\A0: .*division by zero/, 'ANALYZE with a function that fails');
sql('DROP STATISTICS fails');

# Values that are stored are asked for.
sql('DROP STATISTICS direct, wrapped');
my $order = q(SELECT string_agg(id::text, ' ' ORDER BY %s('q', body) DESC, id) FROM doc);
forget();
is(sent(q(CREATE INDEX scored ON doc (imm('q', body), id))), 22, 'CREATE INDEX asks');
is(sql(q(SET enable_seqscan = off; SET enable_sort = off;
	SELECT string_agg(id::text, ' ') FROM (SELECT id FROM doc ORDER BY imm('q', body), id) x)),
	sql(sprintf($order =~ s/DESC, id/, id/r, 'retro_star_score')), 'and is right');
foreach my $command ('REINDEX INDEX scored', 'CLUSTER doc USING scored', 'VACUUM FULL doc', 'VACUUM (FULL, ANALYZE) doc',
	'ALTER TABLE doc ALTER id TYPE bigint')
{
	forget();
	is(sent($command), 22, "$command asks");
	is(sql(q(SET enable_seqscan = off; SELECT count(*) FROM doc WHERE imm('q', body) >= 0)), 22, 'and is right');
}
forget();
is(sent('ANALYZE doc'), 0, 'ANALYZE of an index on an expression does not');
# what is folded into an index's predicate stays
is(sent(q(SELECT retro_star_score('q', 'p'); CREATE INDEX part ON doc (id) WHERE imm('q', 'p') >= 0)), 1, 'a predicate');
forget();
is(sent('ANALYZE doc; INSERT INTO doc SELECT 23, body FROM doc WHERE id = 1; SET enable_seqscan = off; SET enable_indexonlyscan = off;'),
	2, 'is asked for by ANALYZE, and then the row');
is(sql(q(SELECT pg_relation_size('part') > 8192)), 't', 'and holds');
sql('DROP INDEX part');

# A summary that autovacuum would store
sql(<<'EOS');
CREATE TABLE summed (body text) WITH (fillfactor = 10, autovacuum_enabled = off);
CREATE INDEX summary ON summed USING brin (imm('q', body)) WITH (pages_per_range = 1);
INSERT INTO summed SELECT 'summed ' || g FROM generate_series(1, 40) g;
EOS
forget();
$sim->reset_stats;
sql('ALTER TABLE summed SET (autovacuum_enabled = on, autovacuum_vacuum_insert_threshold = 0, autovacuum_vacuum_insert_scale_factor = 0)');
wait_until('autovacuum fails', sub { slurp_file($node->logfile) =~ /ERROR:  (?:\w+: )?score is not known, and autovacuum does not ask/ });
is($sim->stats->{chat}, 0, 'autovacuum does not ask for a summary');
sql('ALTER TABLE summed SET (autovacuum_enabled = off)');
like(sent('VACUUM summed'), qr/\A[1-9]\d*\z/, 'VACUUM does');
is(sql(q(SET enable_seqscan = off; SELECT count(*) FROM summed WHERE imm('q', body) BETWEEN 0 AND 100)), 40, 'and is right');

done_testing();
