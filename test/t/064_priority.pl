# Who waits comes before who does not: claims, joined pairs, the floor of the
# background, giving way, and what engines are told.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my ($true, $false) = (JSON::PP::true, JSON::PP::false);
my $node = new_node('priority');
my $sim = start_simulator('--model', 'm', '--log', '100000');

create_server($node, 'postgres', 'gpu', $sim, max_in_flight => 4, preempt => 'false');
$node->safe_psql('postgres', q(
	CREATE TABLE doc AS SELECT i AS id, 'document ' || i AS body FROM generate_series(1, 20) i;
	CREATE MATERIALIZED VIEW best AS SELECT id, retro_star_score('refreshed', body, server => 'gpu') FROM doc WITH NO DATA));

sub hold { $sim->wait_for('running', 0); $sim->control({ hold => $true }); return; }
sub let_go { $sim->control({ hold => $false }); wait_idle($node); return; }

# A session that asks for so many documents of a query; of which priority
sub asks
{
	my ($query, $n, $priority, $server) = @_;
	my $session = RetroSession->new($node, 'postgres');

	$server //= 'gpu';
	$session->query("SET retrostar.priority = '$priority'");
	$session->send("SELECT count(retro_star_score('$query', 'document ' || i, server => '$server')) FROM generate_series(1, $n) i");
	return $session;
}

# What stat_activity says, by priority and state
sub activity
{
	return $node->safe_psql('postgres', q(SELECT string_agg(concat_ws(' ', n, priority, state), ', ' ORDER BY priority, state)
		FROM (SELECT priority, state, count(*) AS n FROM retrostar.stat_activity GROUP BY 1, 2) a));
}

sub wait_activity
{
	my ($expected) = @_;
	my $seen = '';

	wait_until("'$expected' are in work", sub { ($seen = activity()) eq $expected });
	is($seen, $expected, $expected);
	return;
}

# Queries of the chat requests that the simulator has had, in their order
sub queries
{
	return join(' ', map { $_->{body} =~ /(person|batch) asks/ ? $1 : '?' } @{ $sim->log(100000) });
}

subtest 'by default' => sub {
	is($node->safe_psql('postgres', 'SHOW retrostar.priority'), 'auto', 'the setting');
	hold();
	my $person = asks('by default', 2, 'auto');
	wait_activity('2 interactive running');
	my $refresh = ask_background($node, 'postgres', q(CALL retrostar.refresh('best')));
	wait_activity('18 background queued, 2 background running, 2 interactive running');
	$node->safe_psql('postgres', q(SELECT retro_star_prefetch('ahead', 'document', server => 'gpu')));
	wait_activity('19 background queued, 2 background running, 2 interactive running');
	$node->safe_psql('postgres', q(SET retrostar.priority = interactive; SELECT retro_star_prefetch('now', 'document', server => 'gpu')));
	wait_activity('19 background queued, 2 background running, 1 interactive queued, 2 interactive running');
	let_go();
	$person->result;
	$person->quit;
	is((finish_background($refresh))[1], '', 'the refresh ends well');
};

subtest 'interactive first, and a floor' => sub {
	$sim->reset;
	hold();
	my $batch = asks('batch asks', 20, 'background');
	wait_activity('16 background queued, 4 background running');
	my $person = asks('person asks', 8, 'interactive');
	wait_activity('16 background queued, 4 background running, 8 interactive queued');
	# One by one, the oldest first: an eighth of four is one
	for my $n (5 .. 12)
	{
		$sim->release(1);
		$sim->wait_for('chat', $n);
	}
	is(queries(), join(' ', ('batch') x 4, ('person') x 3, 'batch', ('person') x 3, 'batch'), 'who was sent');
	let_go();
	is($person->result, 8, 'the person has all');
	is($batch->result, 20, 'the batch, too');
	$_->quit for $person, $batch;
};

subtest 'one request for both' => sub {
	my $before = $node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache');

	$sim->reset;
	hold();
	my $batch = asks('both ask', 6, 'background');
	wait_activity('2 background queued, 4 background running');
	my $person = asks('both ask', 6, 'interactive');
	wait_activity('2 interactive queued, 4 interactive running');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($person->{pid})");
	$person->result;
	is($person->sqlstate, '57014', 'the person goes');
	wait_activity('2 background queued, 4 background running');
	$person->send(q(SELECT count(retro_star_score('both ask', 'document ' || i, server => 'gpu')) FROM generate_series(1, 6) i));
	wait_activity('2 interactive queued, 4 interactive running');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($batch->{pid})");
	$batch->result;
	wait_activity('2 interactive queued, 4 interactive running');
	let_go();
	is($person->result, 6, 'the person has all');
	is($sim->stats->{chat}, 6, 'asked for once');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache') - $before, 6, 'one row for each');
	is($node->safe_psql('postgres', q(SET retrostar.priority = background; SET retrostar.on_miss = skip;
		SELECT count(retro_star_score('both ask', 'document ' || i, server => 'gpu')) FROM generate_series(1, 6) i)), 6, 'known to both');
	$_->quit for $person, $batch;
};

subtest 'whose session has gone' => sub {
	hold();
	$node->safe_psql('postgres', q(SELECT retro_star_prefetch('gone', body, server => 'gpu') FROM doc));
	wait_activity('16 background queued, 4 background running');
	my $person = asks('gone', 20, 'interactive');
	wait_activity('16 interactive queued, 4 interactive running');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($person->{pid})");
	wait_activity('16 background queued, 4 background running');
	my $late = RetroSession->new($node, 'postgres');
	$late->query(q(SET retrostar.deadline = '100ms'; SET retrostar.on_error = 'null'));
	is($late->query(q(SELECT count(retro_star_score('late', body, server => 'gpu')) FROM doc)), 0, 'after the deadline ...');
	wait_activity('36 background queued, 4 background running');
	$late->quit;
	let_go();
	is($node->safe_psql('postgres', q(SET retrostar.on_miss = skip;
		SELECT count(retro_star_score('late', body, server => 'gpu')) FROM doc)), 20, '... it went on, in the background');
};

# An answer that takes ten seconds says how long they take; so the background
# has hardly begun for the five seconds that follow.
subtest 'giving way' => sub {
	my $slow = start_simulator('--model', 'm', '--delay-ms', '10000', '--disconnect-ms', '0');

	create_server($node, 'postgres', 'slow', $slow, max_in_flight => 8);
	$node->safe_psql('postgres', q(SELECT retro_star_score('first', 'document', server => 'slow')));
	$slow->control({ hold => $true });
	my $batch = asks('slow batch', 8, 'background', 'slow');
	$slow->wait_for('running', 8);
	my $person = asks('slow person', 20, 'interactive', 'slow');
	$slow->wait_for('aborted', 7);
	wait_until('7 of the person run', sub { activity() =~ /13 interactive queued, 7 interactive running/ });
	$slow->wait_for('running', 8);
	is($slow->stats->{aborted}, 7, 'all but the floor gave way');
	$slow->control({ hold => $false, delay_ms => 0 });
	is($person->result, 20, 'the person has all');
	is($batch->result, 8, 'the batch, too');
	wait_idle($node);
	is($slow->stats->{aborted}, 7, 'once each');
	is($node->safe_psql('postgres', q(SELECT cancelled || ' ' || failed FROM retrostar.stat_server WHERE server = 'slow')), '7 0', 'counted');
	$_->quit for $person, $batch;
};

subtest 'engines that are told' => sub {
	for my $case ([ 'sglang', 1, 0 ], [ 'vllm', undef, 1 ])
	{
		my ($dialect, $high, $low) = @$case;
		my $engine = start_simulator('--model', 'm', '--dialect', $dialect, '--log', '1000');
		my $told = sub { join(',', map { decode_json($_->{body})->{priority} // 'none' } @{ $engine->log($_[0]) }) };
		my $scores = sub {
			my ($query, $priority) = @_;
			return $node->safe_psql('postgres', "SET retrostar.priority = $priority;
				SELECT count(retro_star_score('$query', body, server => '$dialect')) FROM doc WHERE id <= 2");
		};

		create_server($node, 'postgres', $dialect, $engine, dialect => $dialect, max_in_flight => 8);
		$scores->("$dialect told", 'background');
		is($told->(2), 'none,none', "$dialect: nothing, by default");
		$node->safe_psql('postgres', "ALTER SERVER $dialect OPTIONS (ADD priority_scheduling 'on')");
		$scores->("$dialect told", 'background');
		is($engine->stats->{chat}, 2, 'the option is not in the key');
		$scores->("$dialect low", 'background');
		is($told->(2), "$low,$low", 'background');
		$scores->("$dialect high", 'interactive');
		is($told->(2), join(',', ($high // 'none') x 2), 'interactive');
		is($scores->("$dialect high", 'background'), 2, 'known to both');
		is($engine->stats->{chat}, 6, 'the priority neither');

		my $log = -s $node->logfile;
		$engine->control({ refuse_priority => $true });
		is($scores->("$dialect refused", 'background'), 2, 'refused, and scored all the same');
		is($told->(2), 'none,none', 'without');
		is($scores->("$dialect refused again", 'background'), 2, 'again');
		is($told->(2), 'none,none', 'it is remembered');
		my @said = slurp_file($node->logfile, $log) =~ /refuses priorities/g;
		is(scalar(@said), 1, 'said once in the log');
		like($node->safe_psql('postgres', "SELECT ok, detail FROM retrostar.check('$dialect') WHERE endpoint <> 'worker'"),
			qr/^t\|.*refuses priorities/, 'and by retrostar.check()');
		is($node->safe_psql('postgres', "SELECT failed, state FROM retrostar.stat_server WHERE server = '$dialect'") =~ s/^\d+//r,
			'|up', 'the endpoint is well');
		$engine->control({ refuse_priority => $false });
		$node->safe_psql('postgres', "ALTER SERVER $dialect OPTIONS (SET priority_scheduling 'true')");
		$scores->("$dialect altered", 'background');
		is($told->(2), "$low,$low", 'told again when the server was altered');
	}
};

$node->stop;
done_testing();
