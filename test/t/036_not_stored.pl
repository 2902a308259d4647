# Answers that the table does not have yet, of which there may be several for a
# pair: which of them count, and that what is asked for besides is new.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('not_stored', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator();

create_server($node, 'postgres', 'gpu', $sim);

# A lock that stores must wait for, and look-ups need not
my $holder = RetroSession->new($node, 'postgres');
my $session = RetroSession->new($node, 'postgres');

sub lock_table { $holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE'); return; }
sub unlock_table { $holder->query('COMMIT'); wait_idle($node); return; }

sub score
{
	my ($doc, $samples, $cache) = @_;
	$session->query("SET retrostar.cache = $cache");
	return $session->query("SELECT retro_star_score('not stored', '$doc', samples => $samples)");
}

# "answers" of a pair: all of these samples say so, after so many without a score
sub answers
{
	my ($score, $unscored) = @_;
	$sim->reset;
	$sim->control({ fail => [ ($unscored ? { mode => 'no-score', times => $unscored } : ()), { mode => 'score', value => $score } ] });
	return;
}

subtest 'with the cache off' => sub {
	lock_table();
	score('seeds', 2, 'on');
	score('seeds', 2, 'off') for 1 .. 3;
	my $stats = $sim->stats;
	is($stats->{chat}, 8, 'each time two are asked for');
	is($stats->{duplicates}, 0, 'none with a seed that was used before');
	unlock_table();
	is($node->safe_psql('postgres', q(SELECT cardinality(scores) FROM retrostar.score_cache WHERE key = retrostar.cache_key('not stored', 'seeds'))),
		8, 'all are stored');
	score('seeds', 2, 'off');
	is($sim->stats->{duplicates}, 0, 'nor is one that the table has');
	wait_idle($node);
};

# Four that say 90, and two that say 10 and were six replies
for my $order ('more scores first', 'more replies first')
{
	subtest $order => sub {
		my @ask = (sub { answers(90, 0); is(score($order, 4, 'off'), 90, 'four'); },
			sub { answers(10, 4); is(score($order, 2, 'off'), 10, 'two'); });

		lock_table();
		$_->() for $order eq 'more scores first' ? @ask : reverse @ask;
		$sim->reset;
		$sim->reset_stats;
		is(score($order, 4, 'on'), 90, 'the four count');
		is($sim->stats->{chat}, 0, 'and nothing is asked for');
		unlock_table();
	};
}

# The table has three; two that came since were five replies
subtest 'more scores in the table' => sub {
	answers(90, 0);
	is(score('table', 3, 'on'), 90, 'three');
	wait_idle($node);
	lock_table();
	answers(10, 4);
	is(score('table', 2, 'off'), 10, 'two that are new');
	$sim->reset;
	$sim->reset_stats;
	is(score('table', 3, 'on'), 90, 'the three count');
	is($sim->stats->{chat}, 0, 'and nothing is asked for');
	unlock_table();
};

# Somebody asks for it anew: who takes what is known does not wait for that, and
# who knows nothing waits with him.
subtest 'asked for with the cache off meanwhile' => sub {
	$sim->reset;
	my $known = score('meanwhile', 2, 'on');
	wait_idle($node);
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	$holder->query('SET retrostar.cache = off');
	$holder->send("SELECT retro_star_score('not stored', 'meanwhile')");
	$sim->wait_for('running', 1);
	$session->query("SET statement_timeout = '60s'");
	is(score('meanwhile', 2, 'on'), $known, 'a known score comes at once');
	$session->send("SELECT retro_star_score('not stored', 'meanwhile', samples => 3)");
	$sim->wait_for('running', 2);
	wait_until('it waits', sub { queue($node, 'waiters') == 2 });
	is(queue($node, 'samples_running'), 2, 'the third sample is asked for, not three');
	$sim->control({ hold => JSON::PP::false });
	like($_->result, qr/^\d+(\.\d+)?$/, 'a score') for $holder, $session;
	is($sim->stats->{chat}, 2, 'two were asked for');
	is($sim->stats->{duplicates}, 0, 'with seeds of their own');
	wait_idle($node);

	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	$holder->send("SELECT retro_star_score('not stored', 'unknown')");
	$sim->wait_for('running', 1);
	$session->send("SELECT retro_star_score('not stored', 'unknown')");
	wait_until('both wait', sub { queue($node, 'waiters') == 2 });
	is(queue($node, 'samples_running'), 1, 'one sample for both');
	$sim->control({ hold => JSON::PP::false });
	is($session->result, $holder->result, 'the same score');
	is($sim->stats->{chat}, 1, 'asked for once');
};

$_->quit for $holder, $session;
nothing_left($node, 'not stored');
no_crash($node);
done_testing();
