# SGLang is told of requests that are cancelled: by their id, with the key of
# the user mapping, at the endpoint that has them, and nothing else comes of it.

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
my $node = new_node('abort');
my $pairs = 0;

# How long it is tried to abort something, also where the simulator has to wait
# for a processor
my @patient = (connect_timeout => '180s');

# A server that does not notice by itself that a client has gone
sub start_blind
{
	return start_simulator('--disconnect-ms', '-1', '--model', 'm', '--log', '100000', @_);
}

# $n pairs in flight, which are cancelled then
sub cancel_in_flight
{
	my ($server, $n, @sims) = @_;
	my $session = RetroSession->new($node, 'postgres');

	$_->control({ hold => $true }) for @sims;
	$pairs++;
	$session->send("SELECT retro_star_score('query $pairs', i::text, server => '$server') FROM generate_series(1, $n) i");
	wait_until("$n are in flight", sub { my $sum = 0; $sum += $_->stats->{running} for @sims; $sum == $n });
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$session->quit;
	wait_idle($node);
	return;
}

sub scores
{
	my ($server, $n) = @_;
	$pairs++;
	return $node->safe_psql('postgres', "SELECT count(retro_star_score('query $pairs', i::text, server => '$server'))
		FROM generate_series(1, $n) i");
}

subtest 'by its id' => sub {
	my $sim = start_blind('--api-key', 'secret-1234');

	create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 500, @patient);
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'secret-1234')));
	cancel_in_flight('gpu', 3, $sim);
	$sim->wait_for('aborted_rid', 3);
	is($sim->stats->{running}, 0, 'all are ended, with the key');

	# More than are told at once
	$sim->reset_stats;
	cancel_in_flight('gpu', 300, $sim);
	$sim->wait_for('aborted_rid', 300);
	is($sim->stats->{running}, 0, 'many, too');
	$sim->control({ hold => JSON::PP::false });
	is(scores('gpu', 20), 20, 'the server is used as before');
};

subtest 'few at a time' => sub {
	my $sim = start_blind();

	create_server($node, 'postgres', 'few', $sim, max_in_flight => 300, @patient);
	$sim->control({ fail => [ { mode => 'silent', path => '/abort_request' } ] });
	cancel_in_flight('few', 300, $sim);
	$sim->wait_for('posts', 300 + 64);
	# What went out with them would have come before this one
	$sim->control({ hold => JSON::PP::false });
	is(scores('few', 1), 1, 'the server is used as before');
	is($sim->stats->{posts}, 300 + 64 + 1, 'no more are told while they are not answered');
};

subtest 'where it is' => sub {
	my @sims = map { start_blind() } 1 .. 2;

	create_server($node, 'postgres', 'pair', join(',', map { $_->{url} } @sims), max_in_flight => 10, @patient);
	cancel_in_flight('pair', 20, @sims);
	$_->wait_for('aborted_rid', 10) for @sims;
	is($_->stats->{posts}, 20, 'each was told of its own') for @sims;
};

subtest 'where it is, after ALTER SERVER' => sub {
	my @sims = map { start_blind('--hold') } 1 .. 2;
	my $session = RetroSession->new($node, 'postgres');

	create_server($node, 'postgres', 'moved', join(',', map { $_->{url} } @sims), max_in_flight => 10, @patient);
	$session->send(q(SELECT retro_star_score('moved', i::text, server => 'moved') FROM generate_series(1, 20) i));
	$_->wait_for('running', 10) for @sims;
	$node->safe_psql('postgres', "ALTER SERVER moved OPTIONS (SET url '$sims[1]{url}')");
	# the worker has seen it when it has asked what is there now
	is($node->safe_psql('postgres', q(SELECT bool_and(ok) FROM retrostar.check('moved'))), 't', 'the server is altered');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$session->quit;
	wait_idle($node);
	$sims[1]->wait_for('aborted_rid', 10);
	is($sims[1]->stats->{running}, 0, 'the endpoint that stays is told of its own');
	is($sims[1]->stats->{posts}, 10 + 1 + 10, 'and of no others');
	is($sims[0]->stats->{posts}, 10, 'the one that has gone is not told');
	$sims[1]->control({ hold => JSON::PP::false });
	is(scores('moved', 5), 5, 'the server is used as before');
};

subtest 'not what others wait for' => sub {
	my $sim = start_blind();
	my @sessions = map { RetroSession->new($node, 'postgres') } 1 .. 2;

	create_server($node, 'postgres', 'shared', $sim);
	$sim->control({ hold => $true });
	$_->send(q(SELECT retro_star_score('shared', 'pair', server => 'shared'))) for @sessions;
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	$sim->wait_for('running', 1);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($sessions[0]{pid})");
	$sessions[0]->result;
	$sim->control({ hold => JSON::PP::false });
	like($sessions[1]->result, qr/^\d+$/, 'the other has its score');
	is($sim->stats->{aborted_rid}, 0, 'nothing was aborted');
	$_->quit for @sessions;
};

subtest 'other dialects' => sub {
	for my $dialect (qw(vllm llamacpp openai))
	{
		my $sim = start_simulator('--disconnect-ms', '0', '--dialect', $dialect, '--model', 'm');

		create_server($node, 'postgres', $dialect, $sim, dialect => $dialect);
		cancel_in_flight($dialect, 2, $sim);
		$sim->wait_for('aborted', 2);
		is($sim->stats->{posts}, 2, "$dialect: the connection is closed, and nothing else");
	}
};

subtest 'failures are ignored' => sub {
	my $sim = start_simulator('--disconnect-ms', '0', '--model', 'm', '--control-port', '0');

	create_server($node, 'postgres', 'fails', $sim, @patient);
	for my $mode (qw(status close garbage))
	{
		$sim->reset;
		$sim->control({ fail => [ { mode => $mode, path => '/abort_request' } ] });
		cancel_in_flight('fails', 20, $sim);
		$sim->control({ hold => JSON::PP::false });
		is(scores('fails', 20), 20, "$mode: the endpoint is used as before");
	}
	unlike(slurp_file($node->logfile), qr/of server "fails"/, 'and not taken for ill');

	$node->safe_psql('postgres', q(ALTER SERVER fails OPTIONS (SET connect_timeout '1s')));
	$sim->reset;
	$sim->control({ fail => [ { mode => 'silent', path => '/abort_request' } ] });
	cancel_in_flight('fails', 20, $sim);
	$sim->wait_for('connections', 0);
	pass('who does not answer is given up');
	$sim->control({ hold => JSON::PP::false });
	is(scores('fails', 20), 20, 'and used as before');
};

wait_idle($node);
is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND pairs = 0
	AND waiters = 0 AND text_bytes = 0 AND lost = 0 FROM retrostar.stat_queue)), 't', 'counters balance');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');

done_testing();
