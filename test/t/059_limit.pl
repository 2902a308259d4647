# The limit of samples in flight is found out where it is not given: the first
# wave, servers of any size, what would wait too long; and what was learnt
# outlives the worker, but not the server's options.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;

my $node = new_node('limit', conf => "retrostar.worker_idle_timeout = '1s'\n");

sub sql { return $node->safe_psql('postgres', @_); }

sub endpoint
{
	my ($server, $columns) = @_;
	return sql("SELECT $columns FROM retrostar.stat_server WHERE server = '$server'");
}

# Asks for pairs that nobody has to wait for
sub prefetch
{
	my ($server, $what, $n) = @_;
	sql("SELECT count(retro_star_prefetch('$what', i::text, server => '$server')) FROM generate_series(1, $n) i");
	return;
}

# Scores them, in one set
sub rank
{
	my ($server, $what, $n) = @_;
	my $ids = "(SELECT array_agg(i) FROM generate_series(1, $n) i)";
	return sql("SELECT count(score) FROM retro_star_rerank('$what', $ids, (SELECT array_agg(i::text) FROM generate_series(1, $n) i),
		passes => '$n\@1', server => '$server')");
}

sub let_go
{
	my ($sim) = @_;
	$sim->control({ hold => $false });
	$sim->release;
	wait_idle($node);
	return;
}

sub wait_left
{
	wait_until('the worker has left', sub { queue($node, 'worker_pid IS NULL') eq 't' });
	return;
}

subtest 'the first wave, and what is learnt' => sub {
	my $sim = start_simulator('--model', 'm', '--hold');

	create_server($node, 'postgres', 'wave', $sim);
	prefetch('wave', 'cold', 100);
	$sim->wait_for('held', 100);
	pass('100 pairs go out at once');
	prefetch('wave', 'more', 300);
	$sim->wait_for('held', 256);
	is(endpoint('wave', 'in_flight, in_flight_limit'), '256|256', 'of an unknown server 256 at most');
	let_go($sim);
	cmp_ok(endpoint('wave', 'in_flight_limit'), '>', 256, 'answers let the limit grow');

	wait_left();
	my ($state, $limit) = split(/\|/, endpoint('wave', 'state, in_flight_limit'));
	is($state, 'unknown', 'without a worker');
	cmp_ok($limit, '>', 256, 'the limit is shown');
	$sim->control({ hold => $true });
	prefetch('wave', 'warm', 400);
	$sim->wait_for('held', $limit < 400 ? $limit : 400);
	is(endpoint('wave', 'in_flight_limit'), $limit, 'the next worker goes on with it');
	let_go($sim);

	wait_left();
	sql(q(ALTER SERVER wave OPTIONS (ADD temperature '0.5')));
	is(endpoint('wave', 'in_flight_limit IS NULL'), 't', 'under other options it is not known');
	$sim->control({ hold => $true });
	prefetch('wave', 'altered', 400);
	$sim->wait_for('held', 256);
	is(endpoint('wave', 'in_flight, in_flight_limit'), '256|256', 'and is found out anew');
	sql(q(ALTER SERVER wave OPTIONS (SET temperature '0.4')));
	prefetch('wave', 'a worker that is there', 1);
	wait_until('also by a worker that is there', sub { endpoint('wave', 'in_flight_limit') < 256 });
	let_go($sim);
	sql(q(ALTER SERVER wave OPTIONS (ADD max_in_flight '7')));
	is(rank('wave', 'given', 20), 20, 'where it is given');
	is(endpoint('wave', 'in_flight_limit'), 7, 'it is that');
};

subtest 'servers of all sizes' => sub {
	for my $slots (1, 4, 64, 256, 1024)
	{
		for my $queue (-1, $slots + 3)
		{
			my $name = "s${slots}_" . ($queue < 0 ? 'any' : $queue);
			my @queue = $queue < 0 ? () : ('--max-queue', $queue);
			my $sim = start_simulator('--model', 'm', '--max-running', $slots, @queue, '--delay-ms', $slots < 64 ? 5 : 100,
				'--jitter', 50);

			create_server($node, 'postgres', $name, $sim);
			is(rank($name, $name, 600), 600, "$name: all are scored");
			is(endpoint($name, 'failed - pushed_back'), 0, "$name: none is late");
			my $stats = $sim->stats;
			cmp_ok($stats->{refused}, '<=', 300, "$name: $stats->{refused} of 600 are refused");
			is($stats->{refused}, 0, "$name: none is") if $queue < 0 || $slots > 256;
			wait_idle($node);
			$sim->stop;
		}
	}
};

subtest 'what would wait too long is taken back' => sub {
	my $sim = start_simulator('--model', 'm', '--max-running', 1, '--delay-ms', 200);

	# 24 s for all of it
	create_server($node, 'postgres', 'queue', $sim, timeout => '12s', retries => 0);
	is(rank('queue', 'small', 120), 120, 'all are scored');
	is(endpoint('queue', 'answered, failed, cancelled > 0'), '120|0|t', 'and some were sent again');
	cmp_ok($sim->stats->{aborted}, '>', 0, 'as the server knows');
	cmp_ok(endpoint('queue', 'in_flight_limit'), '<', 100, 'the limit is another');
};

$node->stop;
done_testing();
