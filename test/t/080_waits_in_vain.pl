# A session that waits for a server that does not answer is told so, and why:
# the session, the server's log and retrostar.stat_server agree.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('vain', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $documents = 0;

sub document { return 'document ' . ++$documents; }

sub score
{
	my ($server, $settings) = @_;

	return ask_background($node, 'postgres', ($settings // '') .
		"SELECT retro_star_score('query', '" . document() . "', server => '$server')");
}

# As a machine that fails
sub kill_simulator
{
	my ($sim) = @_;

	$sim->{harness}->signal('KILL');
	$sim->stop;
	return;
}

# Waits until a session has said this, and returns all that it has said
sub wait_said
{
	my ($session, $pattern) = @_;

	wait_until("the session says $pattern", sub { RetroSession::read_some($session->{harness}); return ${ $session->{err} } =~ $pattern });
	return ${ $session->{err} };
}

sub state_of
{
	my ($server) = @_;

	return $node->safe_psql('postgres', "SELECT state FROM retrostar.stat_server WHERE server = '$server'");
}

sub log_has
{
	my ($offset, $pattern) = @_;

	return slurp_file($node->logfile, $offset) =~ $pattern;
}

subtest 'a port where nobody listens' => sub {
	my $offset = -s $node->logfile;

	create_server($node, 'postgres', 'port', 'http://127.0.0.1:9');
	my (undef, $err) = finish_background(score('port'));
	like($err, qr/ERROR: +08006: could not reach server "port"/, 'an error');
	like($err, qr/DETAIL: +No endpoint has ever answered since the server was created or altered\. +The last failure: .*127\.0\.0\.1/,
		'that says what was tried');
	like($err, qr/HINT: +Check the option "url".*retrostar\.check\('port'\)/, 'and what to do');
	like($err, qr/NOTICE: .*no endpoint of server "port" answers\nDETAIL: +The last failure: .*127\.0\.0\.1.*waited for until 20/,
		'before it a notice says until when');
	is(() = $err =~ /NOTICE:/g, 1, 'once');
	ok(log_has($offset, qr/LOG: +endpoint "http:\/\/127\.0\.0\.1:9" of server "port" fails and is not used for now/),
		'the log has it, for one pair');
	like(state_of('port'), qr/^(down|trying)$/, 'and the view');
};

subtest 'a name that nobody knows' => sub {
	my $offset = -s $node->logfile;

	create_server($node, 'postgres', 'name', 'http://nobody.invalid:30000');
	my (undef, $err) = finish_background(score('name'));
	like($err, qr/ERROR: +08006: could not reach server "name"\nDETAIL: +No endpoint has ever answered.*nobody\.invalid/, 'an error');
	ok(log_has($offset, qr/of server "name" fails and is not used/), 'the log has it');
};

subtest 'who sets unavailable_timeout has the patience' => sub {
	create_server($node, 'postgres', 'patient', 'http://127.0.0.1:9', unavailable_timeout => '1h');
	my $session = score('patient');
	like(wait_said($session, qr/HINT/), qr/NOTICE: .*no endpoint of server "patient" answers/, 'a notice');
	unlike(${ $session->{err} }, qr/ERROR/, 'and it waits');
	$node->safe_psql('postgres', 'ALTER SERVER patient OPTIONS (DROP unavailable_timeout)');
	like((finish_background($session))[1], qr/ERROR: +08006: .*"patient"\nDETAIL: +No endpoint has ever answered/, 'without, it ends');
};

subtest 'a server that has answered is waited for' => sub {
	my $sim = start_simulator();

	create_server($node, 'postgres', 'gpu', $sim);
	like(scalar finish_background(score('gpu')), qr/^\d+$/, 'a score');
	$sim->control({ hold => JSON::PP::true });
	my $session = score('gpu');
	$sim->wait_for('running', 1);
	my $offset = -s $node->logfile;
	kill_simulator($sim);
	like(wait_said($session, qr/HINT/), qr/NOTICE: .*no endpoint of server "gpu" answers\nDETAIL: +The last failure: /, 'a notice');
	like(state_of('gpu'), qr/^(down|trying)$/, 'the view agrees');
	ok(log_has($offset, qr/of server "gpu" fails and is not used for now/), 'and the log');

	# Another worker knows that it was there once
	my $pid = queue($node, 'worker_pid');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	wait_until('another worker is there', sub {
		my $now = queue($node, 'worker_pid');
		return $now ne '' && $now ne $pid;
	});
	my $next = score('gpu');
	like(wait_said($next, qr/HINT/), qr/NOTICE: .*no endpoint of server "gpu" answers/, 'a notice with another worker');
	$sim = start_simulator('--port', $sim->{port});
	like(scalar finish_background($session), qr/^\d+$/, 'they wait until it is back');
	like(scalar finish_background($next), qr/^\d+$/, 'both');
};

subtest 'in a statement of many' => sub {
	my $sim = start_simulator();

	create_server($node, 'postgres', 'many', $sim, max_in_flight => 8);
	like(scalar finish_background(score('many')), qr/^\d+$/, 'a score');
	kill_simulator($sim);
	my $session = ask_background($node, 'postgres', q(SET retrostar.on_error = 'null';
		SELECT count(*) FROM (SELECT retro_star_score('query', 'of many ' || i, server => 'many') AS s
		FROM generate_series(1, 100) i ORDER BY s) t));
	my $err = wait_said($session, qr/HINT/);
	$sim = start_simulator('--port', $sim->{port});
	is(scalar finish_background($session), '100', 'all of them, once it is back');
	is(() = ${ $session->{err} } =~ /NOTICE:/g, 1, 'and one notice');
};

subtest 'a deadline says what it knows' => sub {
	create_server($node, 'postgres', 'late', 'http://127.0.0.1:9', unavailable_timeout => '1h');
	my (undef, $err) = finish_background(score('late', "SET retrostar.deadline = '1s'; "));
	like($err, qr/ERROR: .*server "late" did not answer before the deadline\nDETAIL: +The last failure: .*127\.0\.0\.1/, 'the last failure');

	$node->safe_psql('postgres', 'SELECT retrostar.pause()');
	(undef, $err) = finish_background(score('late', "SET retrostar.deadline = '1s'; "));
	like($err, qr/DETAIL: +The queue of this database is paused\./, 'or that the queue is paused');
	my $session = score('port');
	like(wait_said($session, qr/HINT/), qr/NOTICE: .*the queue of this database is paused\n.*\nHINT: .*retrostar\.resume\(\)/,
		'which a session is told that has no deadline');
	$node->safe_psql('postgres', 'SELECT retrostar.resume()');
	like((finish_background($session))[1], qr/ERROR: +08006/, 'and it goes on');
};

done_testing();
