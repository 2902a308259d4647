# Processes that end in the middle of work: the worker by request, by want of
# memory, and killed; sessions killed; the postmaster stopped at once.  What was
# stored remains, what was not is asked again, and the next statement works.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('crashes', conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 1024
restart_after_crash = on
max_connections = 60
));
my $sim = start_simulator('--delay-ms', '20', '--max-running', '32', '--log', '0', '--disconnect-ms', '5');

create_server($node, 'postgres', 'gpu', $sim, unavailable_timeout => '1h');

# In the middle of a load: so many answers more have come, and no others do
sub in_the_middle
{
	my ($answers) = @_;
	my $until = $sim->stats->{completed} + $answers;

	# Some that are let go may be of a worker that has left
	wait_until('answers come', sub {
		$sim->release(4);
		return $sim->stats->{completed} >= $until;
	});
	$sim->wait_for('held', 8);
	return;
}

sub let_go { $sim->control({ hold => JSON::PP::false }); return; }

# Sessions that score $pairs pairs ('NAME 1', 'pair 1') .. ('NAME N', 'pair P').
# Nothing is answered before in_the_middle() or let_go(), so that none is through
# before the last has begun; those that may fail can be through at once.
sub load
{
	my ($name, $sessions, $pairs, $more) = @_;

	$sim->control({ hold => defined $more ? JSON::PP::false : JSON::PP::true });
	my @loads = map { ask_background($node, 'postgres', ($more // '')
			. "SELECT count(retro_star_score('$name $_', 'pair ' || i)) FROM generate_series(1, $pairs) i") } 1 .. $sessions;
	defined $more || $node->poll_query_until('postgres', "SELECT count(*) = $sessions FROM pg_stat_activity
		WHERE query ~ 'SELECT count.retro.*$name' AND state = 'active' AND pid <> pg_backend_pid()")
	  or die 'sessions do not begin';
	return @loads;
}

# All of it, in one session
sub score_all
{
	my ($name, $sessions, $pairs) = @_;

	return $node->safe_psql('postgres', "SELECT count(retro_star_score('$name ' || s, 'pair ' || i))
		FROM generate_series(1, $sessions) s, generate_series(1, $pairs) i");
}

# Limits that a database sets are for its sessions, not for the worker.
SKIP:
{
	skip 'there is no transaction_timeout', 1
	  if $node->safe_psql('postgres', q(SELECT count(*) FROM pg_settings WHERE name = 'transaction_timeout')) == 0;
	my $from = -s $node->logfile;

	$node->safe_psql('postgres', q(ALTER DATABASE postgres SET transaction_timeout = '50ms'));
	{
		local $ENV{PGOPTIONS} = '-c transaction_timeout=0';
		my $locks = RetroSession->new($node, 'postgres');

		# A store waits for a row longer than that, as long as the worker's lock_timeout is
		$locks->query(q(BEGIN; INSERT INTO retrostar.score_cache
			SELECT retrostar.cache_key('timeout', '1'), 1, '{1}', 0, 'other', 0, 0, now(), now()));
		is($node->safe_psql('postgres', q(SELECT count(retro_star_score('timeout', i::text)) FROM generate_series(1, 100) i)),
			100, 'transaction_timeout');
		wait_until('a store has waited', sub { slurp_file($node->logfile, $from) =~ /could not store scores: .*lock timeout/ });
		$locks->query('ROLLBACK');
		$locks->quit;
		$node->safe_psql('postgres', q(ALTER DATABASE postgres RESET transaction_timeout));
	}
	wait_idle($node);
	$node->safe_psql('postgres', 'TRUNCATE retrostar.score_cache');
	unlike(slurp_file($node->logfile, $from), qr/transaction timeout/, 'does not end the worker');
}

subtest 'the worker ends by SIGTERM under load' => sub {
	my @sessions = load('term', 8, 200);

	for my $round (1 .. 4)
	{
		in_the_middle(40);
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	}
	let_go();
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		is($out, 200, 'a session has all its scores') or diag($err);
	}
	nothing_left($node, 'SIGTERM');
	is($node->safe_psql('postgres', q(SELECT count(*) FROM retrostar.score_cache)), 1600, 'all are stored');
};

# An allocation that fails ends the worker: what it had in flight is asked again
# by the next one, what was answered is not.
SKIP:
{
	skip 'there is no program prlimit', 1 if !IPC::Run::run([ 'prlimit', '--version' ], '>', \my $version, '2>', '/dev/null');

	subtest 'the worker ends by an error' => sub {
		my ($ended, $failed) = (0, 0);

		# What the heap has left by chance may be enough: then once more, with
		# another number of requests.
		for (my $pairs = 4; $pairs > 0 && !$ended; $pairs--)
		{
			my $from = -s $node->logfile;
			my $count = 'SELECT count(*) FROM retrostar.score_cache';
			my $stored = $node->safe_psql('postgres', $count);

			# one that has never stored anything, so that it needs memory for that
			$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
			$node->poll_query_until('postgres', 'SELECT worker_pid IS NULL FROM retrostar.stat_queue');
			$sim->reset_stats;
			my @sessions = load("memory $pairs", 8, $pairs);
			$sim->wait_for('running', 8 * $pairs);
			my $pid = queue($node, 'worker_pid');
			my ($pages) = slurp_file("/proc/$pid/statm") =~ /^(\d+)/;
			# enough for curl to read four replies, but not for a first store
			my $limit = $pages * 4096 + 200_000;
			IPC::Run::run([ 'prlimit', '--pid', $pid, "--as=$limit:" ]) or die 'prlimit failed';
			$sim->release(4);
			wait_until('it has ended, or stored what came', sub {
				$ended = slurp_file($node->logfile, $from) =~ /"retrostar worker" \(PID $pid\) exited with exit code 1/;
				$failed = slurp_file($node->logfile, $from) =~ /could not store scores: out of memory/;
				$ended || $failed || $node->safe_psql('postgres', $count) >= $stored + 4;
			});
			# A worker that goes on may need memory for the replies that follow,
			# and have none: how much curl takes for one depends on its version.
			$ended || IPC::Run::run([ 'prlimit', '--pid', $pid, '--as=unlimited:' ]) or die 'prlimit failed';
			let_go();
			for (@sessions)
			{
				my ($out, $err) = finish_background($_);
				is($out, $pairs, 'a session has all its scores') or diag($err);
			}
			is($sim->stats->{completed}, 8 * $pairs, 'each pair was answered once');
			# a worker that leaves before all is stored has a successor at once
			wait_idle($node);
		}
		ok($ended || $failed, $ended ? 'a worker ended by an error' : 'a store failed, and was tried again');
		nothing_left($node, 'error');
	};

	# Without any memory all pairs may fail, but nobody is left waiting.
	subtest 'the worker has no memory' => sub {
		my $pid = queue($node, 'worker_pid');
		my ($pages) = slurp_file("/proc/$pid/statm") =~ /^(\d+)/;

		IPC::Run::run([ 'prlimit', '--pid', $pid, '--as=' . $pages * 4096 ]) or die 'prlimit failed';
		my @sessions = load('no memory', 8, 100, "SET retrostar.on_error = 'null'; ");
		for (@sessions)
		{
			my ($out, $err) = finish_background($_);
			like($out, qr/^\d+$/, 'a statement ends') or diag($err);
		}
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
		wait_until('it has gone', sub { queue($node, 'worker_pid') ne $pid });
		is(score_all('no memory', 8, 100), 800, 'another worker has memory');
		nothing_left($node, 'no memory');
	};
}

# Every session ends with it: so does PostgreSQL after each crash.
subtest 'the worker is killed under load' => sub {
	is(score_all('kept', 2, 50), 100, 'scores');
	wait_idle($node);
	# what the store has committed must be on disk: synchronous_commit is off
	$node->safe_psql('postgres', 'CHECKPOINT');
	for my $round (1 .. 2)
	{
		my @sessions = load("kill $round", 8, 200);

		in_the_middle(50);
		kill 'KILL', queue($node, 'worker_pid');
		is(finish_background($_), '', 'a session is ended') for @sessions;
		let_go();
		wait_accepts($node);
		is($node->safe_psql('postgres', 'SELECT pairs + waiters + waiting + running FROM retrostar.stat_queue'), 0, 'the queue is empty');
	}
	$sim->reset_stats;
	is(score_all('kept', 2, 50), 100, 'what was stored');
	is($sim->stats->{chat}, 0, 'remains');
	is(score_all('kill 1', 8, 200), 1600, 'the next statement works');
	nothing_left($node, 'SIGKILL');
};

subtest 'a session is killed under load' => sub {
	my @sessions = load('session', 4, 200);

	in_the_middle(50);
	my $pid = $node->safe_psql('postgres', q(SELECT min(pid) FROM pg_stat_activity WHERE query ~ '^SELECT count.retro'));
	kill 'KILL', $pid;
	is(finish_background($_), '', 'a session is ended') for @sessions;
	let_go();
	wait_accepts($node);
	is(score_all('session', 4, 200), 800, 'the next statement works');
	nothing_left($node, 'session');
};

subtest 'the postmaster is stopped at once under load' => sub {
	my @sessions = load('immediate', 8, 200);

	in_the_middle(50);
	my $worker = queue($node, 'worker_pid');
	$node->stop('immediate');
	is(finish_background($_), '', 'a session is ended') for @sessions;
	let_go();
	wait_until('the worker has gone', sub { !kill(0, $worker) });
	$sim->wait_for('running', 0);
	is($sim->stats->{running}, 0, 'nothing is in flight any more');
	$node->start;
	is($node->safe_psql('postgres', 'SELECT pairs + waiters FROM retrostar.stat_queue'), 0, 'the queue is empty');
	is(score_all('immediate', 8, 200), 1600, 'the next statement works');
	$sim->reset_stats;
	is(score_all('kept', 2, 50), 100, 'what was stored');
	is($sim->stats->{chat}, 0, 'remains');
	nothing_left($node, 'immediate');
};

# The postmaster dies: its children notice, and go.
subtest 'the postmaster is killed under load' => sub {
	my @sessions = load('postmaster', 4, 200);

	in_the_middle(50);
	my @children = split(/\n/, $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()'));
	$node->kill9;
	is(finish_background($_), '', 'a session is ended') for @sessions;
	let_go();
	wait_until('the worker and all others have gone', sub { !grep { kill(0, $_) } @children });
	wait_until('it starts', sub { $node->start(fail_ok => 1) });
	is(score_all('postmaster', 4, 200), 800, 'the next statement works');
	nothing_left($node, 'postmaster');
};

unlike(slurp_file($node->logfile), qr/TRAP|PANIC|leaked|signal 11|signal 6/, 'nothing crashed by itself');
done_testing();
