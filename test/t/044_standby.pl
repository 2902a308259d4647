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

# What is used on the primary is seen here, though what was read is kept a while.
$primary->safe_psql('postgres', q(INSERT INTO retrostar.budget VALUES ('both', 'public', NULL, '1000 months', 100000)));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
like($standby->safe_psql('postgres', q(SELECT retro_star_score('budget', 'allowed'))), qr/^\d+$/, 'within a budget');
$primary->safe_psql('postgres', q(INSERT INTO retrostar.usage SELECT date_trunc('hour', now()), oid, rolname, 'gpu', 'background', 1, 0, 100000, 1, 0, 1, 1
	FROM pg_roles WHERE rolname = current_user));
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
is($standby->safe_psql('postgres', 'SELECT samples_used >= samples_limit FROM retrostar.stat_budget'), 't', 'the primary uses it up');
my $more = 0;
wait_until('so nothing is sent here', sub { $more++; return sqlstate($standby, 'postgres', "SELECT retro_star_score('budget', 'more $more')") eq '53400'; });
$primary->safe_psql('postgres', 'DELETE FROM retrostar.budget');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
like($standby->safe_psql('postgres', q(SELECT retro_star_score('budget', 'none'))), qr/^\d+$/, 'without a budget');
# those were many: it is the newest again
$last = $standby->safe_psql('postgres', q(SELECT retro_star_score('standby', '150')));

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

# Nothing of a table without WAL is there
my $unlogged = new_node('unlogged', allows_streaming => 1);
create_server($unlogged, 'postgres', 'gpu', $sim);
$unlogged->safe_psql('postgres', 'ALTER TABLE retrostar.score_cache SET UNLOGGED');
$unlogged->backup('base');
$standby = PostgreSQL::Test::Cluster->new('standby_unlogged');
$standby->init_from_backup($unlogged, 'base', has_streaming => 1);
$standby->start;
$sim->reset_stats;
$score = $standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'unlogged')));
like($score, qr/^\d+$/, 'a score without a cache table');
is($standby->safe_psql('postgres', q(SELECT retro_star_score('standby', 'unlogged'))), $score, 'is known');
is($standby->safe_psql('postgres', q(SELECT score FROM retro_star_explain('standby', 'unlogged'))), $score, 'explained');
is($sim->stats->{chat}, 1, 'asked for once');
$standby->stop;
$unlogged->stop;

done_testing();
