# A shared cache and logical replication in both directions: both nodes pay and
# tell, nothing conflicts, and both end with the same rows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroNodes;
use RetroTest;
use Test::More;

my $sim = start_simulator('--log', '0');
my %node = map { $_ => new_node($_, allows_streaming => 'logical', conf => "retrostar.worker_idle_timeout = '1h'\n") } qw(hub spoke);

plan skip_all => 'before PostgreSQL 16 what came from elsewhere cannot be left out' if $node{hub}->pg_version < 16;

sub sql { my ($side, $sql) = @_; return $node{$side}->safe_psql('postgres', $sql); }

name_hub($node{spoke}, 'postgres', $node{hub});
create_server($node{hub}, 'postgres', 'gpu', $sim, max_in_flight => 32);
create_server($node{spoke}, 'postgres', 'gpu', $sim, max_in_flight => 32, shared_cache => 'hub');
for my $pair ([ 'hub', 'spoke' ], [ 'spoke', 'hub' ])
{
	my ($to, $from) = @$pair;
	(my $connection = $node{$from}->connstr('postgres')) =~ s/'/''/g;

	sql($from, 'CREATE PUBLICATION ours FOR TABLES IN SCHEMA retrostar');
	sql($to, "CREATE SUBSCRIPTION from_$from CONNECTION '$connection' PUBLICATION ours WITH (origin = none)");
}
for my $side (sort keys %node)
{
	$node{$side}->poll_query_until('postgres', q(SELECT count(*) >= 3 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel)) or die 'no subscription';
}

my %log = map { $_ => -s $node{$_}->logfile } keys %node;
for my $round (1 .. 6)
{
	# One sample, or more; each side first for some pairs, or both at once
	my @sides = $round % 2 == 0 ? qw(spoke hub) : qw(hub spoke);
	my $sql = 'SET retrostar.samples = ' . (1 + $round % 3) . '; ' . chats_for('both', 1, 50 * $round);
	my @scores = $round <= 2 ? map { sql($_, $sql) } @sides :
	  map { scalar finish_background($_) } map { ask_background($node{$_}, 'postgres', $sql) } @sides;

	is(scalar(split(/ /, $_)), 50 * $round, "round $round: scores") for @scores;
}
wait_idle($node{$_}) for sort keys %node;
$node{spoke}->poll_query_until('postgres', q(SELECT paid >= 50 AND known + elsewhere >= 50 AND state = 'connected' FROM retrostar.stat_shared))
  or die 'the hub was not asked';
my $rows = q(SELECT key, scores, unscored, created FROM retrostar.score_cache ORDER BY key);
my ($hub, $spoke);
wait_until('both have the same rows', sub {
	$node{$_}->wait_for_catchup("from_$_") for sort keys %node;
	($hub, $spoke) = map { sql($_, $rows) } qw(hub spoke);
	return $hub eq $spoke;
});
is($spoke, $hub, 'both have the same rows');
is(sql('hub', 'SELECT count(*) FROM retrostar.score_cache'), 300, 'all of them');
is(sql('hub', 'SELECT max(cardinality(scores)) FROM retrostar.score_cache'), 3, 'no sample is there twice');
unlike(slurp_file($node{$_}->logfile, $log{$_}), qr/ERROR: /, "no error on $_") for sort keys %node;
is(sql($_, 'SELECT count(*) FROM pg_stat_subscription_stats WHERE apply_error_count > 0'), 0, "$_ applies all") for sort keys %node;
sql('hub', 'DROP SUBSCRIPTION from_spoke');
sql('spoke', 'DROP SUBSCRIPTION from_hub');

done_testing();
