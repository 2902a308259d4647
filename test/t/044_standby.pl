# A hot standby: scores come from the replicated cache, others are computed and
# kept in memory, and stored after the promotion.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $sim = start_simulator('--disconnect-ms', '10');

sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }

my $primary = new_node('primary', allows_streaming => 1, conf => "retrostar.max_requests = 64\n");
create_server($primary, 'postgres', 'gpu', $sim);
$primary->safe_psql('postgres', 'CREATE DATABASE gone');
$primary->safe_psql('gone', 'CREATE EXTENSION retrostar');
create_server($primary, 'gone', 'gpu', $sim);
$primary->safe_psql('postgres', q(CREATE MATERIALIZED VIEW view AS SELECT retro_star_score('standby', '150') AS score WITH NO DATA));
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $score = $primary->safe_psql('postgres', q(SELECT retro_star_score('standby', 'cached')));
wait_idle($primary);
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$sim->reset_stats;
is($standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'cached'))), $score, 'a replicated score');
is($sim->stats->{chat}, 0, 'costs nothing');
my $missing = $standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'missing')));
like($missing, qr/^\d+$/, 'a missing one is computed');
is($standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'missing'))), $missing, 'and kept');
is($sim->stats->{chat}, 1, 'for one request');

is($standby->safe_psql('postgres', q(SELECT count(score) FROM retro_star_rerank('standby', ARRAY[1, 2], ARRAY['cached', 'missing']))), 2, 'a set');
is($sim->stats->{chat}, 1, 'of known scores');
is(sqlstate($standby, 'postgres', q(SELECT retrostar.cache_prune(keep_rows => 0))), '25006', 'nothing is pruned');
is(sqlstate($standby, 'postgres', q(CALL retrostar.refresh('view'))), '25006', 'nothing is refreshed');

# More than fit: old ones give way.
is($standby->safe_psql('postgres', q(SELECT count(retro_star_score('standby', i::text)) FROM generate_series(1, 150) i)), 150,
	'more than the map holds');
cmp_ok($standby->safe_psql('postgres', 'SELECT lost FROM retrostar.stat_queue'), '>', 0, 'the oldest are given up');
my $last = $standby->safe_psql('postgres', q(SELECT retro_star_score('standby', '150')));
is($sim->stats->{chat}, 151, 'the newest is kept');

# The primary drops the database: the worker there must not hold up the replay.
$sim->reset_stats;
hold();
$standby->safe_psql('gone', q(SELECT retro_star_prefetch('standby', 'dropped')));
$sim->wait_for('running', 1);
$primary->safe_psql('postgres', 'DROP DATABASE gone');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_database WHERE datname = 'gone')), 0, 'a database is dropped');
let_go();

$primary->stop;
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT unstored = 0 FROM retrostar.stat_queue')
  or die 'nothing is stored';
is($standby->safe_psql('postgres', q(SELECT count(*) > 0 FROM retrostar.score_cache WHERE key = retrostar.cache_key('standby', '150'))), 't',
	'stored after the promotion');
$sim->reset_stats;
$standby->safe_psql('postgres', q(CALL retrostar.refresh('view')));
is($standby->safe_psql('postgres', 'SELECT score FROM view'), $last, 'and used there');
is($sim->stats->{chat}, 0, 'without a request');
like($standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'promoted'))), qr/^\d+$/, 'a new one');
wait_idle($standby);
is($standby->safe_psql('postgres', q(SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('standby', 'promoted'))), 1, 'is stored at once');
$standby->stop;

done_testing();
