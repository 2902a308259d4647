# What real servers, routers and proxies do besides: each is asked again, waited
# for, or told apart, as its words mean it.

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
my $node = new_node('real_servers');

# Numbers of scores and of NULLs of $n pairs
sub scores
{
	my ($server, $n, $query) = @_;

	return $node->safe_psql('postgres', "SET retrostar.on_error = 'null'; SET client_min_messages = error;
		SELECT count(s) || ' ' || count(*) - count(s) FROM (SELECT retro_star_score('$query', i::text,
		server => '$server') s FROM generate_series(1, $n) i OFFSET 0) t");
}

subtest 'ids are UUIDs' => sub {
	my $sim = start_simulator('--uuid-ids', '--model', 'm', '--log', '1000');

	create_server($node, 'postgres', 'uuid', $sim);
	is(scores('uuid', 20, 'uuid'), '20 0', 'all are scored');
	my %ids = map { $_->{headers}{'x-request-id'} => 1 } @{ $sim->log };
	is(keys %ids, 20, 'each has its own');
	is(scalar(grep { !/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/ } keys %ids), 0,
		'in the form of version 8');
	is($node->safe_psql('postgres', q(SELECT bool_and(ok) FROM retrostar.check('uuid'))), 't', 'check() is answered');
};

# A vLLM that goes, until the next one is there; "retries" 0: each attempt that
# were used up would be the last
subtest 'shutting down' => sub {
	my $sim = start_simulator('--dialect', 'vllm', '--model', 'm');

	create_server($node, 'postgres', 'draining', $sim, dialect => 'vllm', retries => 0, unavailable_timeout => '180s');
	$sim->control({ fail => [ { mode => 'draining' } ] });
	my $asked = ask_background($node, 'postgres', q(SELECT count(retro_star_score('draining', i::text, server => 'draining'))
		FROM generate_series(1, 60) i));
	$sim->wait_for('failures', 10);
	$sim->reset;
	is(finish_background($asked), '60', 'all are scored by the next one');
};

subtest 'an outage of 500' => sub {
	my $sim = start_simulator('--model', 'm');

	create_server($node, 'postgres', 'outage', $sim, retries => 1, max_in_flight => 20, unavailable_timeout => '180s');
	is(scores('outage', 1, 'before'), '1 0', 'it was well');
	$sim->control({ fail => [ { mode => 'status', status => 500 } ] });
	my $asked = ask_background($node, 'postgres', q(SELECT count(retro_star_score('outage', i::text, server => 'outage'))
		FROM generate_series(1, 20) i));
	$sim->wait_for('failures', 60);
	$sim->reset;
	is(finish_background($asked), '20', 'is outlived');

	$node->safe_psql('postgres', q(ALTER SERVER outage OPTIONS (SET unavailable_timeout '300ms')));
	$sim->control({ fail => [ { mode => 'status', status => 500 } ] });
	my ($out, $err) = finish_background(ask_background($node, 'postgres',
		q(SELECT count(retro_star_score('for ever', i::text, server => 'outage')) FROM generate_series(1, 20) i)));
	like($err, qr/(could not reach server|server) "outage"( failed)?/, 'and has an end');
};

subtest 'a poison among others' => sub {
	my $sim = start_simulator('--model', 'm', '--log', '1000');

	create_server($node, 'postgres', 'poison', $sim, max_in_flight => 4, unavailable_timeout => '1h');
	is(scores('poison', 60, 'poison'), '60 0', 'without it');
	is($node->safe_psql('postgres', q(SET retrostar.on_error = 'null'; SET client_min_messages = error;
		SELECT count(retro_star_score('poison', i || CASE i WHEN 5 THEN ' venom [[sim:status=500]]' ELSE ' other' END,
		server => 'poison')) FROM generate_series(1, 60) i)), '59', 'only it fails');
	is(scalar(@{ $sim->log(1000, 'venom') }), 3, 'after "retries" further attempts');
};

subtest 'the patience of a proxy' => sub {
	for my $status (504, 524)
	{
		my $sim = start_simulator('--model', 'm');

		create_server($node, 'postgres', "proxy$status", $sim);
		$sim->control({ fail => [ { mode => 'gateway-timeout', status => $status, times => 1 } ] });
		is(scores("proxy$status", 1, 'proxy'), '1 0', 'a score');
		cmp_ok($node->safe_psql('postgres', "SELECT in_flight_limit FROM retrostar.stat_server WHERE server = 'proxy$status'"),
			'<', 32, "$status: the limit has shrunk");
	}
};

# Of 120 the server answers some 30 while the proxy waits; those that waited in
# vain have used up nothing, and the second wave is one that is answered in time
subtest 'a proxy before a queue' => sub {
	my $sim = start_simulator('--model', 'm', '--max-running', '4', '--delay-ms', '500', '--proxy-timeout-ms', '4000');

	create_server($node, 'postgres', 'impatient', $sim);
	is(scores('impatient', 120, 'impatient'), '120 0', 'all are scored');
	cmp_ok($sim->stats->{proxy_timeouts}, '>', 0, 'after time-outs');
	cmp_ok($node->safe_psql('postgres', "SELECT in_flight_limit FROM retrostar.stat_server WHERE server = 'impatient'"),
		'<', 60, 'which have shown how much is answered in time');

	$sim->control({ hold => $true });
	$node->safe_psql('postgres', q(ALTER SERVER impatient OPTIONS (ADD max_in_flight '3', ADD retries '1', ADD unavailable_timeout '10s')));
	my ($out, $err) = finish_background(ask_background($node, 'postgres',
		q(SELECT count(retro_star_score('never', i::text, server => 'impatient')) FROM generate_series(1, 3) i)));
	like($err, qr/ERROR:  .*could not reach server "impatient".*No endpoint has answered.*504 Gateway Time-out/s, 'who answers nobody is said to be out of reach');
};

subtest 'a body that a proxy finds too large' => sub {
	my $sim = start_simulator('--model', 'm', '--proxy-max-body', '50000', '--log', '1000');

	create_server($node, 'postgres', 'small', $sim);
	my ($out, $err) = finish_background(ask_background($node, 'postgres',
		q(SELECT retro_star_score('query', repeat('too large ', 30000), server => 'small'))));
	like($out, qr/^\d+$/, 'a score');
	like($err, qr/WARNING:  01004: 1 document was too long for the model and was shortened/, 'of a shorter document');
	$sim->control({ proxy_max_body => 100 });
	($out, $err) = finish_background(ask_background($node, 'postgres',
		q(SELECT retro_star_score('query', 'never', server => 'small'))));
	like($err, qr/ERROR:  54000: .*HTTP status 413/s, 'where nothing helps, an error');
};

subtest 'a router without workers' => sub {
	for my $router (qw(smg sglang-router))
	{
		(my $server = $router) =~ tr/-/_/;
		my $sim = start_simulator('--model', 'm', '--router', $router, '--workers', 'none');

		create_server($node, 'postgres', $server, $sim, retries => 0, unavailable_timeout => '180s');
		my $asked = ask_background($node, 'postgres', "SELECT count(retro_star_score('$router', i::text, server => '$server'))
			FROM generate_series(1, 5) i");
		$sim->wait_for('posts', 6);
		$sim->control({ workers => 'up' });
		is(finish_background($asked), '5', "$router is waited for");
		$node->safe_psql('postgres', "ALTER SERVER $server OPTIONS (SET unavailable_timeout '300ms')");
		$sim->control({ workers => 'none' });
		my ($out, $err) = finish_background(ask_background($node, 'postgres',
			"SELECT retro_star_score('$router', 'never', server => '$server')"));
		like($err, qr/ERROR:  08006: could not reach server "$server".*The last failure: No (worker available for model 'm' \(so far, or the server does not know the model\)|available workers)/s,
			'as long as unavailable_timeout says, then its words');
	}
};

# The words are those of a router whose servers are still starting; its list tells
# the two apart
subtest 'a router that does not know the model' => sub {
	my $sim = start_simulator('--model', 'm', '--router', 'smg');

	create_server($node, 'postgres', 'unknown', $sim, model => 'nosuch', dialect => 'sglang', unavailable_timeout => '1h');
	my ($out, $err) = finish_background(ask_background($node, 'postgres',
		q(SELECT retro_star_score('unknown', 'd', server => 'unknown'))));
	like($err, qr/ERROR:  38000: server "unknown" does not serve the model.*it serves "m"/s, 'the model is refused');
	is($sim->stats->{chat}, 0, 'before it is asked');
	like($node->safe_psql('postgres', q(SELECT ok, detail FROM retrostar.check('unknown') WHERE endpoint <> 'worker')),
		qr/^f\|.*does not serve the model/, 'and check() says so');
};

subtest 'no room beside max_tokens' => sub {
	for my $dialect (qw(vllm sglang))
	{
		my $sim = start_simulator('--dialect', $dialect, '--context', '2000', '--model', 'm');

		for my $max (2000, 4000)
		{
			create_server($node, 'postgres', "$dialect$max", $sim, dialect => $dialect, max_tokens => $max);
			$sim->reset_stats;
			my ($out, $err) = finish_background(ask_background($node, 'postgres',
				"SELECT retro_star_score('query', 'a short document', server => '$dialect$max')"));
			like($err, qr/ERROR:  54000: .*HINT: .*lower the option "max_tokens" of the server, or serve the model with a longer context/s,
				"$dialect, $max: said");
			is($sim->stats->{chat}, 1, 'at once');
		}
	}
};

# A first wave is more than the server takes, which makes the router refuse all
# for some time.  It does not do so again, with each wave that follows.
subtest 'the breaker of a router' => sub {
	for my $router (qw(smg sglang-router))
	{
		(my $server = "breaker_$router") =~ tr/-/_/;
		my $sim = start_simulator('--model', 'm', '--router', $router, '--max-running', '4', '--max-queue', '4',
			'--delay-ms', '300', '--router-breaker-ms', '7000');

		create_server($node, 'postgres', $server, $sim, unavailable_timeout => '180s');
		is(scores($server, 200, $router), '200 0', "$router: all are scored");
		is($sim->stats->{breaker_opened}, 1, 'and its breaker opened once');
	}
};

# Cancelled or too slow, the samples are told to SGLang, but not to a router
sub abort_two
{
	my ($server, $sim) = @_;
	my $session = RetroSession->new($node, 'postgres');

	$sim->control({ hold => $true });
	$session->send("SELECT retro_star_score('abort $_[2]', i::text, server => '$server') FROM generate_series(1, 2) i");
	$sim->wait_for('running', 2);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$session->quit;
	wait_idle($node);
	$sim->control({ hold => JSON::PP::false });
	is(scores($server, 1, "after $_[2]"), '1 0', 'the server is used as before');
	return;
}

subtest 'who does not know /abort_request' => sub {
	my $sim = start_simulator('--disconnect-ms', '0', '--model', 'm', '--router', 'smg');
	my @posts;

	create_server($node, 'postgres', 'no_abort', $sim);
	# One that comes late counts for the next round, and the second may be sent
	# when it is known that it is of no use
	for my $round (1 .. 4)
	{
		$sim->reset_stats;
		abort_two('no_abort', $sim, $round);
		push @posts, $sim->stats->{posts};
	}
	cmp_ok($posts[0] + $posts[1], '>', 2 * 3, "is told: @posts");
	is("@posts[2, 3]", '3 3', 'but not again');
};

# A sample of a stalled machine may be over before the server has it, and it is
# told of one that it does not know: of five, one at least is there in time
subtest 'time-outs are told' => sub {
	my $sim = start_simulator('--disconnect-ms', '-1', '--model', 'm', '--hold');
	my $stats;

	create_server($node, 'postgres', 'slow', $sim, timeout => '1s', retries => 4, connect_timeout => '180s');
	is(scores('slow', 1, 'slow'), '0 1', 'no score');
	$sim->wait_for('aborted_rid', 1);
	$stats = $sim->stats;
	is($stats->{running} + $stats->{aborted_rid}, $stats->{chat}, 'they are ended there');
};

done_testing();
