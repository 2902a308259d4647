# All failures of the simulator at once, endpoints that go and come back, and
# crashes of our own: under load, in statements of a few hundred pairs.  No
# pair is lost, every statement ends, and who can be scored is.

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
use Time::HiRes ();

my $true = JSON::PP::true;
my $false = JSON::PP::false;

my $node = new_node('faults', conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 2048
max_connections = 100
log_lock_waits = on
deadlock_timeout = '10ms'
));

# Scores of pairs ('QUERY', 'pair 1') .. from a server that does not fail, at
# temperature 0: what every other server has to say, too.
my $well = start_simulator('--log', '0');
create_server($node, 'postgres', 'well', $well, temperature => 0, cache_scope => 'well');

sub pairs_of
{
	my ($query, $server, $n) = @_;

	return "SELECT coalesce(retro_star_score('$query', 'pair ' || i, server => '$server')::text, 'NULL')
		FROM generate_series(1, $n) i ORDER BY i";
}

# Rows that are neither NULL nor what a well server says
sub wrong_scores
{
	my ($query, $out, $n) = @_;
	my @rows = split(/\n/, $out);
	my @right = split(/\n/, $node->safe_psql('postgres', pairs_of($query, 'well', $n)));

	return grep { $rows[$_] ne 'NULL' && $rows[$_] ne $right[$_] } 0 .. $#right;
}

subtest 'a reply with bare control characters' => sub {
	my $sim = start_simulator('--log', '0');

	create_server($node, 'postgres', 'bare', $sim, temperature => 0);
	$sim->control({ fail => [ { mode => 'raw-control', times => 1 } ] });
	my $out = $node->safe_psql('postgres', pairs_of('bare', 'bare', 1));
	is(scalar wrong_scores('bare', $out, 1), 0, 'the right score');
	like($out, qr/^\d+$/, 'a score');
	nothing_left($node, 'bare');
};

# Somebody is there, and says nothing that can be understood: that is no outage.
subtest 'pages of HTML in the place of answers, for longer than unavailable_timeout' => sub {
	my $sim = start_simulator('--log', '0', '--delay-ms', '50');
	my $many = "SELECT count(retro_star_score('html', 'pair ' || i, server => 'html')) FROM generate_series(1, 40) i";
	my $end = Time::HiRes::time() + 1;
	my %states;

	create_server($node, 'postgres', 'html', $sim, retries => 1, max_in_flight => 4, unavailable_timeout => '300ms');
	$sim->control({ fail => [ { mode => 'body', value => '<html><body>please log in</body></html>' } ] });
	do { $states{ sqlstate($node, 'postgres', $many) }++ } while (Time::HiRes::time() < $end);
	is(join(' ', keys %states), '38000', 'not understood, all the time');
	my ($ret, $out, $err) = $node->psql('postgres', "SET retrostar.on_error = 'null'; $many");
	is($out, 0, 'nobody has a score');
	like($err, qr/40 pairs could not be scored.*reply of server "html" is not understood/s, 'for the same reason');
	$sim->control({ fail_clear => $true });
	is($node->safe_psql('postgres', $many), 40, 'the first statement afterwards has all, though most have to wait for room');
	nothing_left($node, 'html');
};

# Nor is it one when an endpoint is busy for long.
subtest 'a connection that breaks after longer than unavailable_timeout' => sub {
	my $sim = start_simulator('--log', '1000');

	create_server($node, 'postgres', 'busy', $sim, max_in_flight => 1, unavailable_timeout => '300ms');
	my $out = $node->safe_psql('postgres', q(SELECT retro_star_score('busy', body, server => 'busy')
		FROM (VALUES ('first [[sim:close,delay=1000,times=1]]'), ('second'), ('third')) d (body)));
	is((outcome_counts($out))[0], 3, 'it is sent again, and who waited meanwhile is scored');
	is($sim->stats->{chat}, 4, 'once');
	nothing_left($node, 'busy');
};

# ... but it ends when nothing else happens, though each time another sample takes
# the place of the one that failed, and no breaker opens for one pair.
subtest 'connections that break for longer than unavailable_timeout' => sub {
	my $sim = start_simulator('--log', '0');

	create_server($node, 'postgres', 'broken', $sim, max_in_flight => 1, unavailable_timeout => '300ms');
	$sim->control({ fail => [ { mode => 'close', delay => 100 } ] });
	is(sqlstate($node, 'postgres', "SET retrostar.samples = 16; SET statement_timeout = '60s'; SELECT retro_star_score('broken', 'd', server => 'broken')"),
		'08006', 'the server is not reached');
	cmp_ok($sim->stats->{chat}, '>', 2, 'after some tries');
	$sim->control({ fail_clear => $true });
	wait_until('it is used again', sub {
		return sqlstate($node, 'postgres', "SET retrostar.samples = 16; SELECT retro_star_score('broken', 'd', server => 'broken')") eq '00000'; });
	nothing_left($node, 'broken');
};

# What the worker cannot read now, it reads later, and nobody fails meanwhile.
for my $catalog ('pg_foreign_server', 'pg_user_mapping')
{
	subtest "$catalog is locked" => sub {
		my $sim = start_simulator('--log', '0', '--api-key', 'sk-catalog-0123');
		my $name = "behind_$catalog";

		create_server($node, 'postgres', $name, $sim);
		$node->safe_psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER $name OPTIONS (api_key 'sk-catalog-0123')");
		my ($asks, $holder) = map { RetroSession->new($node, 'postgres') } 1 .. 2;
		# the session knows the server, a new worker does not
		$asks->query("SELECT retro_star_score('$catalog', 'known', server => '$name')");
		wait_idle($node);
		$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
		$node->poll_query_until('postgres', 'SELECT worker_pid IS NULL FROM retrostar.stat_queue') or die 'the worker does not leave';
		my $from = -s $node->logfile;
		$holder->query("BEGIN; LOCK TABLE $catalog IN ACCESS EXCLUSIVE MODE");
		$asks->send("SELECT count(retro_star_score('$catalog', 'pair ' || i, server => '$name')) FROM generate_series(1, 40) i");
		wait_until('the worker has waited for the lock twice', sub {
			my $log = slurp_file($node->logfile, $from);
			my $times = () = $log =~ /still waiting for AccessShareLock on relation/g;
			return $times >= 2 || $asks->done;
		});
		$holder->query('COMMIT');
		is($asks->result, 40, 'all are scored') or diag($asks->{err});
		is($sim->stats->{errors}, 0, 'and nothing was sent without its key');
		is(() = slurp_file($node->logfile, $from) =~ /ERROR: .*canceling statement due to lock timeout/g, 1, 'the log says so once');
		$_->quit for $asks, $holder;
		nothing_left($node, $catalog);
	};
}

# Each failure that the simulator knows, with a value for those that need one.
# Those without an end wait for the server's timeout: short, but so long that
# an answer which is merely late does not miss it time and again.
subtest 'all failures mixed' => sub {
	my $pairs = 400;
	my $sim = start_simulator('--seed', '7', '--log', '100000');
	my %value = (score => '150', finish => 'stop', body => '{}', redirect => 'http://127.0.0.1:9/',
		huge => 9_000_000, 'huge-chunked' => 9_000_000, drip => 1, 'content-type' => 'text/plain', usage => 'null',
		choices => 'empty', json => 'array', deep => 1000);
	# too long, also for a proxy: a part of the document is scored, which has another score
	my @modes = grep { !/^(?:none|hold|too-long|body-too-large)$/ } sort keys %{ $sim->_json('/sim/modes') };

	cmp_ok(scalar @modes, '>', 60, 'the simulator says how it can fail');
	create_server($node, 'postgres', 'mixed', $sim, temperature => 0, timeout => '5s', retries => 2);
	$sim->control({ fail => [ map { { mode => $_, p => 0.006, defined $value{$_} ? (value => "$value{$_}") : () } } @modes ] });
	my ($ret, $out, $err) = $node->psql('postgres',
		"SET retrostar.on_error = 'null'; " . pairs_of('mixed', 'mixed', $pairs));
	my ($scores, $nulls) = outcome_counts($out);
	my %met = map { $_->{failure} => 1 } grep { $_->{failure} } @{ $sim->log(100_000) };

	is($ret, 0, 'the statement ends');
	is($scores + $nulls, $pairs, 'with a row for each pair');
	is(scalar wrong_scores('mixed', $out, $pairs), 0, 'each score is the right one');
	cmp_ok($scores, '>', $pairs / 2, "most pairs are scored ($scores)");
	like($err, qr/WARNING: +$nulls pairs? could not be scored and (?:is|are) NULL/, 'one warning counts the others')
	  if $nulls > 0;
	cmp_ok(scalar keys %met, '>', @modes / 3, 'of many failures: ' . scalar keys %met);

	# Who met no failure of his own has a score: the log knows each prompt.
	my %failed;
	for my $entry (@{ $sim->log(100_000) })
	{
		my ($i) = $entry->{body} =~ /pair (\d+)/ or next;
		$failed{$i}++ if $entry->{failure};
	}
	my @rows = split(/\n/, $out);
	is(scalar(grep { $rows[ $_ - 1 ] eq 'NULL' && !$failed{$_} } 1 .. $pairs), 0, 'no pair pays for its neighbours');

	# What failed is asked again, and now has its score.
	$sim->control({ fail_clear => $true });
	$out = $node->safe_psql('postgres', pairs_of('mixed', 'mixed', $pairs));
	is((outcome_counts($out))[0], $pairs, 'afterwards all are scored');
	is(scalar wrong_scores('mixed', $out, $pairs), 0, 'rightly');
	nothing_left($node, 'mixed');
	$sim->wait_for('running', 0);
	is($sim->stats->{hung}, 0, 'no request is left at the server');
};

# Several sessions, each with all the failures that say "not now" or break the
# connection: none of them may fail a pair where others are answered.
subtest 'failures that pass, under load' => sub {
	my $sim = start_simulator('--seed', '11', '--log', '0', '--delay-ms', '2');
	my @sessions;

	create_server($node, 'postgres', 'passing', $sim, temperature => 0, retries => 100);
	$sim->control({ fail => [ map { { mode => $_, p => 0.02 } }
		qw(status queue-full overloaded preempted loading no-worker bad-gateway gateway-timeout engine-dead junk empty abort sse-error truncated no-score) ] });
	push @sessions, ask_background($node, 'postgres', pairs_of("passing $_", 'passing', 60)) for 1 .. 6;
	for my $i (1 .. 6)
	{
		my ($out, $err) = finish_background($sessions[ $i - 1 ]);
		is((outcome_counts($out))[0], 60, 'a session has all its scores') or diag($err);
		is(scalar wrong_scores("passing $i", $out, 60), 0, 'the right ones');
	}
	nothing_left($node, 'passing');
};

# Sessions that score pairs, all of them until the end
sub load
{
	my ($server, $sessions, $pairs) = @_;

	return map { ask_background($node, 'postgres',
			"SELECT count(retro_star_score('load $server $_', 'pair ' || i, server => '$server')) FROM generate_series(1, $pairs) i") }
	  1 .. $sessions;
}

sub kill_simulator
{
	my ($sim) = @_;
	$sim->{harness}->signal('KILL');
	$sim->{harness}->finish;
	$sim->{harness} = undef;
	return;
}

# Nothing is answered but what is released, so none is through too early.
subtest 'the only endpoint is killed and comes back' => sub {
	my @options = ('--hold', '--log', '0');
	my $in_flight = 32;
	my $sim = start_simulator(@options);

	# it may be the same pair that is in flight each time
	create_server($node, 'postgres', 'single', $sim, unavailable_timeout => '1h', max_in_flight => $in_flight, retries => 3);
	my @sessions = load('single', 4, 150);
	for my $round (1 .. 3)
	{
		$sim->wait_for('running', $in_flight);
		$sim->release(20);
		$sim->wait_for('completed', 20);
		kill_simulator($sim);
		# Nobody is told: they wait.
		is(queue($node, 'waiters > 0'), 't', 'the sessions wait');
		$sim = start_simulator(@options, '--port', $sim->{port});
	}
	$sim->wait_for('running', $in_flight);
	is($sim->stats->{running}, $in_flight, 'as many are in flight as before');
	$sim->control({ hold => $false });
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		is($out, 150, 'a statement has all its scores') or diag($err);
	}
	nothing_left($node, 'single');
};

subtest 'one of three endpoints is killed and comes back' => sub {
	my @options = ('--hold', '--log', '0');
	my $in_flight = 8;
	my @sims = map { start_simulator(@options) } 1 .. 3;
	# These endpoints answer all that they have, so many times, and get as many again
	my $answer = sub {
		my ($times, @which) = @_;

		for (1 .. $times)
		{
			$_->release($in_flight) for @which;
			$_->wait_for('running', $in_flight) for @which;
		}
	};

	create_server($node, 'postgres', 'three', join(',', map { $_->{url} } @sims), unavailable_timeout => '1h', max_in_flight => $in_flight);
	my @sessions = load('three', 6, 300);
	$_->wait_for('running', $in_flight) for @sims;
	$answer->(2, @sims);
	kill_simulator($sims[1]);
	$answer->(20, @sims[ 0, 2 ]);
	pass('the two others go on');
	$sims[1] = start_simulator(@options, '--port', $sims[1]{port});
	$sims[1]->wait_for('running', $in_flight);
	$answer->(20, @sims);
	is(join(' ', map { $_->stats->{running} } @sims), "$in_flight $in_flight $in_flight", 'it has its part again');
	$_->control({ hold => $false }) for @sims;
	for (@sessions)
	{
		my ($out, $err) = finish_background($_);
		is($out, 300, 'no statement fails') or diag($err);
	}
	nothing_left($node, 'three');
};

no_crash($node);
done_testing();
