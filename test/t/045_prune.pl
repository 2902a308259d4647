# retrostar.cache_prune() beside a worker that stores; what it removes by
# itself is in sql/cache.sql.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('prune');
my $sim = start_simulator();

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
my $rows = 'SELECT count(*) FROM retrostar.score_cache';

create_server($node, 'postgres', 'gpu', $sim);
is(sql(q(SELECT count(retro_star_score('prune', i::text)) FROM generate_series(1, 50) i)), 50, 'scores');
wait_idle($node);

# Another sample makes a row young again
sql(q(UPDATE retrostar.score_cache SET created = now() - interval '2 days', updated = now() - interval '2 days'));
sql(q(SELECT count(retro_star_score('prune', i::text, samples => 2)) FROM generate_series(1, 10) i));
wait_idle($node);
is(sql(q(SELECT retrostar.cache_prune(older_than => '1 day'))), 40, 'rows without a new sample go');
is(sql(q(SELECT count(*) FROM retrostar.score_cache WHERE cardinality(scores) = 2)), 10, 'the others stay, with all samples');

# Rows of the same age: so many, whichever
sql(q(UPDATE retrostar.score_cache SET updated = now()));
is(sql('SELECT retrostar.cache_prune(keep_rows => 7)') . ' ' . sql($rows), '3 7', 'rows of one age');
is(sql('SELECT retrostar.cache_prune(keep_rows => 7)'), 0, 'again: nothing to do');
is(sql('BEGIN; SELECT retrostar.cache_prune(keep_rows => 0); ROLLBACK') . ' ' . sql($rows), '7 7', 'rolled back');
is(sql(q(BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT retrostar.cache_prune('1 century', 7); COMMIT)), 0, 'in a serializable transaction');

# A prune that has not committed yet holds up neither scores nor the store of other rows
my ($kept) = sql(q(SELECT i FROM generate_series(1, 10) i JOIN retrostar.score_cache ON key = retrostar.cache_key('prune', i::text) LIMIT 1));
my $session = RetroSession->new($node, 'postgres');
is($session->query('BEGIN; SELECT retrostar.cache_prune(keep_rows => 0)'), 7, 'not committed');
$sim->reset_stats;
like(sql("SELECT retro_star_score('prune', '$kept', samples => 3)"), qr/^\d/, 'a score of a row that goes');
like(sql(q(SELECT retro_star_score('prune', 'other'))), qr/^\d/, 'and of another');
is($sim->stats->{chat}, 2, 'known samples count until then');
$session->query('COMMIT');
$session->quit;
wait_idle($node);
is(sql("SELECT cardinality(scores) FROM retrostar.score_cache WHERE key = retrostar.cache_key('prune', '$kept')"), 1,
	'the new sample is stored after the prune');
is(sql($rows), 2, 'as is the other');
is(sql('SELECT lost FROM retrostar.stat_queue'), 0, 'none is lost');

# A statement under way does not fail when its rows go
is(sql(q(SELECT retro_star_score('prune', 'other') = s FROM (SELECT retro_star_score('prune', 'other') AS s, retrostar.cache_prune(keep_rows => 0) OFFSET 0) x)), 't',
	'a statement has one score for a pair');
like(sql(q(SELECT retro_star_score('prune', 'other'))), qr/^\d/, 'the next one');
is($sim->stats->{chat}, 3, 'asks again');

$node->stop;
done_testing();
