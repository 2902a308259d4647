# Endpoints that fall silent, go, or are about to; and /health that means
# something else.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my $node = new_node('silent');

# The number of scores of $n pairs, in the background; an error if one fails
sub ask_pairs
{
	my ($server, $n, $query) = @_;

	return ask_background($node, 'postgres', "SELECT count(retro_star_score('$query', i::text, server => '$server'))
		FROM generate_series(1, $n) i");
}

# A column of an endpoint's row
sub endpoint
{
	my ($server, $sim, $column) = @_;

	return $node->safe_psql('postgres',
		"SELECT $column FROM retrostar.stat_server WHERE server = '$server' AND endpoint = '$sim->{url}'");
}

sub wait_state
{
	my ($server, $sim, $state) = @_;

	wait_until("the endpoint is $state", sub { endpoint($server, $sim, 'state') eq $state });
	return;
}

# vLLM and llama-server after SIGTERM: the listening socket is closed, what is
# in flight is never answered.  The next one listens after a while.
subtest 'a server that goes with what it has' => sub {
	my $sim = start_simulator('--model', 'm', '--control-port', '0', '--delay-ms', '200', '--max-running', '8');

	create_server($node, 'postgres', 'husk', $sim, max_in_flight => 16, retries => 0, unavailable_timeout => '1h');
	my $asked = ask_pairs('husk', 200, 'husk');
	$sim->wait_for('completed', 40);
	$sim->wait_for('running', 8);
	$sim->control({ husk => $true });
	wait_state('husk', $sim, 'down');
	cmp_ok(endpoint('husk', $sim, 'failed'), '>=', 8, 'it had some');
	is(endpoint('husk', $sim, 'in_flight'), 0, 'they are given up');
	$sim->control({ listen => $true });
	is(finish_background($asked), '200', 'no pair fails');
	like(slurp_file($node->logfile), qr/LOG:  endpoint "\Q$sim->{url}\E" of server "husk" has gone with \d+ samples in work/,
		'the log says so');
};

# The same, and the next one is there before the silence is too long
subtest 'a server that is replaced' => sub {
	my $sim = start_simulator('--model', 'm', '--control-port', '0', '--delay-ms', '4000', '--log', '1000');

	create_server($node, 'postgres', 'replaced', $sim, retries => 0, unavailable_timeout => '1h');
	is(finish_background(ask_pairs('replaced', 1, 'first')), '1', 'it is slow');
	my $asked = ask_pairs('replaced', 5, 'second');
	$sim->wait_for('running', 5);
	$sim->control({ husk => $true });
	wait_until('a probe was refused', sub { endpoint('replaced', $sim, 'state') =~ /doubted|down/ });
	$sim->control({ listen => $true });
	is(finish_background($asked), '5', 'no pair fails');
};

# One of two; the other has to do all
subtest 'one of two goes' => sub {
	my @sims = map { start_simulator('--model', 'm', '--control-port', '0', '--delay-ms', '50') } 1 .. 2;

	create_server($node, 'postgres', 'two', join(',', map { $_->{url} } @sims), max_in_flight => 8, retries => 0);
	my $asked = ask_background($node, 'postgres', q(SELECT count(retro_star_score('two' || i % 20, i::text, server => 'two'))
		FROM generate_series(1, 400) i));
	$_->wait_for('completed', 20) for @sims;
	$sims[0]->wait_for('running', 1);
	$sims[0]->control({ husk => $true });
	is(finish_background($asked), '400', 'no pair fails');
};

# A process that is stopped accepts connections, as the kernel does it
subtest 'a process that is stopped' => sub {
	my @sims = map { start_simulator('--model', 'm', '--delay-ms', '50') } 1 .. 2;
	my $pid = $sims[0]->{harness}->{KIDS}[0]{PID};

	create_server($node, 'postgres', 'stopped', join(',', map { $_->{url} } @sims), max_in_flight => 8, retries => 0);
	my $asked = ask_background($node, 'postgres', q(SELECT count(retro_star_score('stopped' || i % 20, i::text, server => 'stopped'))
		FROM generate_series(1, 400) i));
	$_->wait_for('completed', 10) for @sims;
	kill 'STOP', $pid;
	wait_state('stopped', $sims[0], 'doubted');
	wait_until('the other one has done what there is',
		sub { $node->safe_psql('postgres', q(SELECT sum(in_flight) FROM retrostar.stat_server WHERE server = 'stopped'))
			== endpoint('stopped', $sims[0], 'in_flight') });
	cmp_ok(endpoint('stopped', $sims[0], 'in_flight'), '>', 0, 'what it has is not given up');
	is(endpoint('stopped', $sims[0], 'failed'), 0, 'nor failed');
	my $sent = endpoint('stopped', $sims[0], 'sent');
	is(finish_background(ask_pairs('stopped', 40, 'elsewhere')), '40', 'others go elsewhere');
	is(endpoint('stopped', $sims[0], 'sent'), $sent, 'all of them');
	kill 'CONT', $pid;
	is(finish_background($asked), '400', 'no pair fails');
	is(endpoint('stopped', $sims[0], 'sent'), $sent, 'and none was sent again');
};

# Long silence of a server that is well: a grammar is compiled, a long prompt read
subtest 'a server that is slow' => sub {
	my $sim = start_simulator('--model', 'm', '--delay-ms', '10', '--log', '1000');

	create_server($node, 'postgres', 'slow', $sim, retries => 0);
	is(finish_background(ask_pairs('slow', 1, 'slow first')), '1', 'it is fast');
	$sim->control({ freeze_ms => 20000 });
	is(finish_background(ask_pairs('slow', 10, 'slow second')), '10', 'then it is not');
	is($sim->stats->{chat}, 11, 'nothing is sent twice');
	cmp_ok($sim->stats->{requests} - $sim->stats->{chat}, '>=', 2, 'though it was asked');
	is(endpoint('slow', $sim, 'state'), 'up', 'it is in use');
};

# Who closes the listening socket and answers what he has
subtest 'a server that goes in order' => sub {
	my $sim = start_simulator('--model', 'm', '--control-port', '0', '--hold', '--log', '1000');

	create_server($node, 'postgres', 'orderly', $sim, retries => 0, unavailable_timeout => '1h');
	my $asked = ask_pairs('orderly', 10, 'orderly');
	$sim->wait_for('held', 10);
	$sim->control({ listen => $false });
	wait_state('orderly', $sim, 'doubted');
	$sim->control({ hold => $false });
	is(finish_background($asked), '10', 'all are scored');
	is($sim->stats->{chat}, 10, 'none is sent again');
};

# SGLang after SIGTERM: its /health is 503, and it answers whatever comes
subtest 'one of two is draining' => sub {
	my @sims = map { start_simulator('--model', 'm', '--control-port', '0', '--delay-ms', '100', '--max-running', '4') } 1 .. 2;

	create_server($node, 'postgres', 'drain', join(',', map { $_->{url} } @sims), max_in_flight => 4, retries => 0);
	my $asked = ask_background($node, 'postgres', q(SELECT count(retro_star_score('drain' || i % 20, i::text, server => 'drain'))
		FROM generate_series(1, 1200) i));
	$_->wait_for('completed', 10) for @sims;
	$sims[0]->control({ health => 503 });
	wait_state('drain', $sims[0], 'doubted');
	$sims[0]->wait_for('running', 0);
	my $sent = endpoint('drain', $sims[0], 'sent');
	my $other = $sims[1]->stats->{completed};
	$sims[1]->wait_for('completed', $other + 40);
	is(endpoint('drain', $sims[0], 'sent'), $sent, 'it gets nothing new');
	$sims[0]->control({ listen => $false });
	$sims[1]->wait_for('completed', $other + 80);
	is(finish_background($asked), '1200', 'no pair fails');
	is(endpoint('drain', $sims[0], 'failed'), 0, 'nor any attempt');
};

# It says so within a reply that began well
subtest 'shutting down, under status 200' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');

	create_server($node, 'postgres', 'in_band', $sim, dialect => 'vllm', retries => 0);
	$sim->control({ fail => [ { mode => 'error-200', message => 'cannot schedule new futures after shutdown', times => 3 } ] });
	is(finish_background(ask_pairs('in_band', 1, 'in band')), '1', 'it is asked again');
};

# LiteLLM's /health is 500 without a key, and calls all models with one
subtest 'a /health that means something else' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm', '--router', 'litellm', '--api-key', 'k3y', '--router-attempts', '1');

	create_server($node, 'postgres', 'litellm', $sim, dialect => 'vllm', max_in_flight => 20, unavailable_timeout => '1h');
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER litellm OPTIONS (api_key 'k3y')));
	is(finish_background(ask_pairs('litellm', 1, 'litellm before')), '1', 'it is well');
	$sim->control({ workers => 'down' });
	my $asked = ask_pairs('litellm', 20, 'litellm outage');
	wait_state('litellm', $sim, 'down');
	my $attempts = $sim->stats->{attempts};
	$sim->wait_for('attempts', $attempts + 2);
	cmp_ok($sim->stats->{attempts} - $attempts, '<=', 4, 'one is tried now and then');
	$sim->control({ workers => 'up' });
	is(finish_background($asked), '20', 'it comes back');

	$sim = start_simulator('--model', 'm', '--health', '503');
	create_server($node, 'postgres', 'unwell', $sim, max_in_flight => 20, unavailable_timeout => '1h');
	is(finish_background(ask_pairs('unwell', 1, 'unwell before')), '1', 'it is well');
	$sim->control({ fail => [ { mode => 'status', status => 500 } ] });
	$asked = ask_pairs('unwell', 20, 'unwell outage');
	wait_state('unwell', $sim, 'down');
	$sim->control({ fail_clear => $true });
	is(finish_background($asked), '20', 'who says 503 for ever comes back, too');
};

done_testing();
