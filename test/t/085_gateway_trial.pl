# A gateway is back before its servers are: it is tried with one pair at a time,
# which is not to blame for what the gateway says, each in its own words.  One
# whose servers answer others is.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $node = new_node('gateway_trial');

sub endpoint
{
	my ($server, $column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM retrostar.stat_server WHERE server = '$server'");
}

# Three pairs, for that many open a breaker, of which no attempt may be used
sub test_trial
{
	my ($server, $failing, $well) = @_;
	my $sim = start_simulator('--model', 'm');

	create_server($node, 'postgres', $server, $sim, retries => 0, unavailable_timeout => '1h');
	is($node->safe_psql('postgres', "SELECT retro_star_score('$server', 'first', server => '$server') IS NOT NULL"), 't',
		'answered');
	$sim->control({ health => 500, fail => [ { mode => 'close' } ] });
	my $asked = ask_background($node, 'postgres', "SET client_min_messages = error;
		SELECT count(retro_star_score('$server', i::text, server => '$server')) FROM generate_series(1, 3) i");
	wait_until('it is out of use', sub { endpoint($server, 'state') eq 'down' });
	$sim->control({ fail_clear => $true, %$failing });
	$sim->reset_stats;
	$sim->wait_for('chat', 2);
	$sim->control($well);
	my ($out, $err) = finish_background($asked);
	is("$out$err", '3', 'scored');
	return;
}

for my $router ('none', 'sglang-router', 'smg', 'vllm-router', 'litellm')
{
	subtest "$router: no server is there" => sub {
		test_trial($router =~ tr/-/_/r, { workers => 'down', router => $router, router_attempts => 1, router_breaker => 0 },
			{ workers => 'up', health => 200 });
	};
}

subtest 'none answers in time' => sub {
	test_trial('patience', { fail => [ { mode => 'gateway-timeout' } ] },
		{ health => 200, fail_clear => $true });
};

# Poison: others are answered all the time
subtest 'what the servers are late with while others are answered' => sub {
	for my $mode ('gateway-timeout', 'bad-gateway')
	{
		my $server = $mode =~ tr/-/_/r;
		my $sim = start_simulator('--model', 'm');
		my $i = 0;

		create_server($node, 'postgres', $server, $sim, retries => 1, unavailable_timeout => '1h');
		$sim->control({ fail => [ { mode => $mode, match => 'poison' } ] });
		my $asked = ask_background($node, 'postgres', "SELECT retro_star_score('$server', 'poison', server => '$server')");
		wait_until('it has failed twice', sub {
			$node->safe_psql('postgres',
				"SET client_min_messages = error; SELECT retro_star_score('$server', 'other ' || @{[ $i++ ]}, server => '$server')");
			return $sim->stats->{errors} >= 2;
		});
		my ($out, $err) = finish_background($asked);
		like($err, qr/ERROR:  38000: server "$server" failed/, "$mode: the pair fails");
		is(scalar(grep { $_->{body} =~ /poison/ } @{ $sim->log }), 2, '... after its attempts');
	}
};

done_testing();
