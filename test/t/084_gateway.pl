# A gateway whose servers are away says 502 to all at once, and again after it
# has answered some: nginx leaves a server alone for a while that was late once.
# Whom it says that to together with others loses no attempt.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('gateway');
my $sim = start_simulator('--model', 'm');
my ($n, $outages, $failed) = (8, 3, 0);

sub ask
{
	my ($documents) = @_;
	return ask_background($node, 'postgres', "SET client_min_messages = error; SELECT count(retro_star_score('gateway', d,
		server => 'gateway')) FROM (SELECT $documents AS d OFFSET 0) t");
}

# Until the worker has seen so many more 502
sub wait_failed
{
	my ($more) = @_;

	$failed += $more;
	$node->poll_query_until('postgres', "SELECT sum(failed) >= $failed FROM retrostar.stat_server") or die 'they do not fail';
	return;
}

# What a server refuses is an answer of its own, and not held
sub refused
{
	my ($round) = @_;

	is($node->safe_psql('postgres', "SET retrostar.on_error = 'null'; SET client_min_messages = error;
		SELECT retro_star_score('gateway', 'refused $round', server => 'gateway')"), '', 'one is answered');
	$failed++;
	return;
}

# As many attempts as there are outages
create_server($node, 'postgres', 'gateway', $sim, retries => $outages - 1, max_in_flight => 20, unavailable_timeout => '180s');
$sim->control({ hold => JSON::PP::true, fail => [ { mode => 'validation', match => 'refused' },
	{ mode => 'bad-gateway', match => 'loyal', late => JSON::PP::true } ] });
refused(0);
my $loyal = ask("'loyal ' || generate_series(1, $n)");
for my $outage (1 .. $outages)
{
	# The first two, of whom it is not known yet that all fail
	$sim->wait_for('held', $n);
	$sim->control({ fail => [ map { { mode => 'bad-gateway', match => "first $_ of $outage", times => 1 } } 1, 2 ] });
	my $first = ask("'first ' || generate_series(1, 2) || ' of $outage'");
	$sim->wait_for('held', $n + 2);
	wait_failed(2);

	# All that have been there longer than these
	$sim->release($n);
	wait_failed($n);
	$sim->release(2);
	is(finish_background($first), '2', 'these are scored');
	refused($outage);
}
$sim->wait_for('held', $n);
$sim->control({ hold => JSON::PP::false, fail_clear => JSON::PP::true });
$sim->release;
my ($out, $err) = finish_background($loyal);
is("$out$err", $n, 'all are scored, after one more');
is($node->safe_psql('postgres', 'SELECT sum(failed) FROM retrostar.stat_server'), $failed + $n, 'and nothing else has failed');

done_testing();
