# More of everything than there is room for: sessions, pairs, text, descriptors,
# disk; and changes of servers, settings and databases in the middle of it.

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

my $have_prlimit = IPC::Run::run([ 'prlimit', '--version' ], '>', \my $version, '2>', '/dev/null');

# Small segments, so that a limit on the size of files can leave WAL alone
my $node = new_node('load', initdb => ['--wal-segsize=1'], conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 512
retrostar.shared_memory = '4MB'
max_connections = 100
autovacuum = off
));
my $sim = start_simulator('--delay-ms', '2', '--log', '2000', '--disconnect-ms', '5', '--idle-close-ms', '1000');

create_server($node, 'postgres', 'gpu', $sim, unavailable_timeout => '1h');

sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }

sub prlimit
{
	my (@args) = @_;
	IPC::Run::run([ 'prlimit', @args ]) or die "prlimit @args failed";
	return;
}

# With one connection, which is in use while they are counted
hold();
my $first = ask_background($node, 'postgres', q(SELECT retro_star_score('first', 'pair')));
$sim->wait_for('running', 1);
my $sockets = descriptors(queue($node, 'worker_pid'));
let_go();
like(scalar finish_background($first), qr/^\d+$/, 'a worker is there');

# Each wants more pairs than its share, texts of several sizes, and half of
# its pairs are those of others, too.
subtest '64 sessions at once' => sub {
	my @sessions = map { RetroSession->new($node, 'postgres') } 1 .. 64;

	for my $n (0 .. 63)
	{
		my $own = $n % 8;
		$sessions[$n]->send("SELECT count(retro_star_score(CASE WHEN i % 2 = 0 THEN 'of all' ELSE 'of $own' END,
			repeat('pair ' || i || ' ', 1 + (i * 37) % 600))) FROM generate_series(1, 60) i");
	}

	# Meanwhile settings and servers change, and some give up.
	for my $round (1 .. 8)
	{
		$node->safe_psql('postgres', 'ALTER SERVER gpu OPTIONS (' . ($round == 1 ? 'ADD' : 'SET') . " max_in_flight '" . (4 * $round) . "')");
		$node->reload;
		$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $sessions[ $round * 7 ]{pid} . ')') if $round <= 4;
	}
	my (%outcomes, $wrong);
	for my $n (0 .. 63)
	{
		my $out = $sessions[$n]->result;
		my $state = $sessions[$n]->sqlstate;
		$outcomes{$state}++;
		$wrong++ if $state eq '00000' && $out ne '60';
		$wrong++ if $state ne '00000' && !grep { $n == 7 * $_ } 1 .. 4;
	}
	is($wrong // 0, 0, 'all have all their scores, but those who were cancelled') or diag(explain(\%outcomes));
	is(join(' ', sort grep { $_ ne '00000' && $_ ne '57014' } keys %outcomes), '', 'and no other error comes');
	$_->quit for @sessions;
	nothing_left($node, '64 sessions');
	descriptors_go_back($node, $sockets, '64 sessions',
		sub { $node->safe_psql('postgres', q(SET retrostar.cache = off; SELECT retro_star_score('first', 'pair'))) });
	is($node->safe_psql('postgres', 'SELECT count(*) FROM retrostar.score_cache'), 1 + 30 + 8 * 30, 'each pair is stored once');
	$node->safe_psql('postgres', 'ALTER SERVER gpu OPTIONS (DROP max_in_flight)');
};

# A client that does not read holds up itself only.
subtest 'slow clients' => sub {
	my $rows = 400;
	my @slow;

	for my $n (1 .. 3)
	{
		pipe(my $read, my $write) or die $!;
		my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
			"COPY (SELECT retro_star_score('slow $n', 'pair ' || i), repeat('x', 4000) FROM generate_series(1, $rows) i) TO STDOUT" ],
			'<', \undef, '>', $write, '2>', '/dev/null');
		close($write);
		push @slow, { psql => $psql, read => $read };
	}
	$node->poll_query_until('postgres', q(SELECT count(*) = 3 FROM pg_stat_activity WHERE query ~ '^COPY' AND wait_event = 'ClientWrite'))
	  or die 'clients are not slow';
	is($node->safe_psql('postgres', q(SELECT count(retro_star_score('quick', 'pair ' || i)) FROM generate_series(1, 300) i)), 300,
		'others are served');
	wait_until('all is answered that slow clients have asked for', sub { queue($node, 'waiting + running') == 0 });
	is(queue($node, 'text_bytes'), 0, 'what is known holds no text');

	# One goes, two begin to read.
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ '^COPY.*slow 1'));
	my $last = shift @slow;
	close($last->{read});
	eval { $last->{psql}->finish };
	for my $slow (@slow)
	{
		my $lines = 0;
		my $read = $slow->{read};
		while (my $line = <$read>) { $lines++ if $line =~ /^\d+\tx{4000}$/; }
		is($lines, $rows, 'a slow client gets all its rows');
		$slow->{psql}->finish;
	}
	nothing_left($node, 'slow clients');
};

# Some answers at a time: how many come before the server has all requests of a small statement?
subtest 'a big statement beside interactive ones' => sub {
	my ($pairs, $few, $in_flight) = (20_000, 20, 16);
	my ($big, $small) = map { RetroSession->new($node, 'postgres') } 1 .. 2;
	my $answer = sub {
		my ($n) = @_;
		my $until = $sim->stats->{completed} + $n;

		$sim->release($n);
		$sim->wait_for('completed', $until);
		$sim->wait_for('running', $in_flight);
	};

	$node->safe_psql('postgres', "ALTER SERVER gpu OPTIONS (ADD max_in_flight '$in_flight')");
	# a connection that breaks would change the order
	$sim->control({ delay_ms => 0, idle_close_ms => 0 });
	$sim->reset_stats;
	hold();
	$big->send("SELECT count(retro_star_score('big', 'pair ' || i)) FROM generate_series(1, $pairs) i");
	$sim->wait_for('running', $in_flight);
	for my $round (1 .. 3)
	{
		my $released = 0;

		$small->send("SELECT count(retro_star_score('small_$round', 'pair ' || i)) FROM generate_series(1, $few) i");
		wait_until('it has asked', sub {
			$node->safe_psql('postgres', "SELECT pending FROM retrostar.stat_progress WHERE pid = $small->{pid}") eq $few;
		});
		while (@{ $sim->log($few, "small_$round") } < $few && $released < $pairs / 10)
		{
			$answer->(4);
			$released += 4;
		}
		cmp_ok($released, '<=', 4 * $few + 2 * $in_flight,
			"a small statement is sent after $released answers, with some $pairs waiting");
		# the last of it may be the last that is held
		$answer->($in_flight);
		is($small->result, $few, 'and served');
		$answer->($in_flight) for 1 .. 100;
	}
	let_go();
	is($big->result, $pairs, 'the big one is served, too');
	$_->quit for $big, $small;
	is($sim->stats->{completed}, $pairs + 3 * $few, 'each pair was sent once');
	$node->safe_psql('postgres', 'ALTER SERVER gpu OPTIONS (DROP max_in_flight)');
	$sim->control({ delay_ms => 2, idle_close_ms => 1000 });
	nothing_left($node, 'big');
};

# A database goes with all its sessions; those of another one notice nothing.
subtest 'DROP DATABASE, EXTENSION and SERVER under load' => sub {
	my @names = qw(going extension server);
	my $pairs = 25;			# there is room for those of all sessions

	for my $db (@names)
	{
		$node->safe_psql('postgres', "CREATE DATABASE $db");
		$node->safe_psql($db, 'CREATE EXTENSION retrostar');
		create_server($node, $db, 'gpu', $sim, max_in_flight => 4, unavailable_timeout => '1h');
	}
	# In each ten pairs are answered, and no more before they are let go.
	$sim->control({ fail => [ map { { mode => 'hold', match => "under load, $_", after => 10 } } @names, 'postgres' ] });
	my %sessions = map {
		my $db = $_;
		$db => [ map { ask_background($node, $db, "SELECT count(retro_star_score('under load, $db $_', 'pair ' || i)) FROM generate_series(1, $pairs) i") } 1 .. 4 ]
	} @names, 'postgres';
	for my $db (@names)
	{
		wait_until("there are answers in $db", sub { queue($node, 'answered', $db) == 10 });
	}
	is(sqlstate($node, 'postgres', 'DROP DATABASE going'), '55006', 'DROP DATABASE fails while sessions are there');
	is(sqlstate($node, 'postgres', 'DROP DATABASE going WITH (FORCE)'), '00000', 'DROP DATABASE WITH (FORCE)');
	is(sqlstate($node, 'extension', 'DROP EXTENSION retrostar CASCADE'), '00000', 'DROP EXTENSION');
	is(sqlstate($node, 'server', 'DROP SERVER gpu CASCADE'), '00000', 'DROP SERVER');
	is(finish_background($_), '', 'a session of a dropped database ends') for @{ $sessions{going} };
	$sim->control({ fail_clear => JSON::PP::true });
	$sim->release;
	for my $db (qw(extension server))
	{
		for (@{ $sessions{$db} })
		{
			my ($out, $err) = finish_background($_);
			like($out . $err, qr/^$pairs$|ERROR: +(42704|42883|42P01|XX000|3F000)/, "$db: a session ends");
			unlike($err, qr/XX000/, 'not by an internal error');
		}
	}
	is(finish_background($_), $pairs, 'another database goes on') for @{ $sessions{postgres} };
	$node->safe_psql('extension', 'CREATE EXTENSION retrostar');
	create_server($node, $_, 'gpu', $sim) for qw(extension server);
	for my $db (qw(extension server))
	{
		is($node->safe_psql($db, qq(SELECT count(retro_star_score('$db 1', 'pair ' || i)) FROM generate_series(1, $pairs) i)), $pairs, "$db works again");
		nothing_left($node, $db, db => $db, lost => 1);
		# it waits for sessions that end, but not for long
		$node->poll_query_until('postgres',
			"SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = '$db' AND backend_type = 'client backend'");
		is(sqlstate($node, 'postgres', "DROP DATABASE $db"), '00000', "DROP DATABASE $db");
	}
	nothing_left($node, 'dropped');
};

SKIP:
{
	skip 'there is no program prlimit', 2 unless $have_prlimit;

	# The worker cannot open another socket: what it has must do.
	subtest 'no descriptors' => sub {
		$node->safe_psql('postgres', q(SELECT retro_star_score('descriptors', 'before')));
		my $pid = queue($node, 'worker_pid');
		prlimit('--pid', $pid, '--nofile=' . ((descriptors($pid))[1] + 4) . ':');
		my @sessions = map { ask_background($node, 'postgres',
			"SELECT count(retro_star_score('descriptors $_', 'pair ' || i)) FROM generate_series(1, 50) i") } 1 .. 6;
		for (@sessions)
		{
			my ($out, $err) = finish_background($_);
			is($out, 50, 'a session has all its scores') or diag($err);
		}
		is(queue($node, 'worker_pid'), $pid, 'from the same worker');
		prlimit('--pid', $pid, '--nofile=1024:');
		nothing_left($node, 'descriptors');
	};

	# A file that cannot grow is what a full disk is to the worker.
	subtest 'disk full' => sub {
		my $from = -s $node->logfile;

		# without room in its pages, so that it must grow; larger than the log, which can
		$node->safe_psql('postgres', q(TRUNCATE retrostar.score_cache; INSERT INTO retrostar.score_cache
			SELECT sha256(i::text::bytea), 1, '{1}', 0, 'filler', 0, 0, now(), now() FROM generate_series(1, 60000) i));
		my $limit = 4 * 1024 * 1024;
		cmp_ok($node->safe_psql('postgres', q(SELECT pg_relation_size('retrostar.score_cache'))), '>', $limit, 'a table');
		$node->safe_psql('postgres', q(SELECT retro_star_score('disk', 'before')));
		wait_idle($node);
		my $pid = queue($node, 'worker_pid');
		prlimit('--pid', $pid, "--fsize=$limit:");
		my @sessions = map { ask_background($node, 'postgres',
			"SELECT count(retro_star_score('disk $_', 'pair ' || i)) FROM generate_series(1, 60) i") } 1 .. 4;
		is(finish_background($_), 60, 'a session has all its scores') for @sessions;
		wait_until('storing has failed', sub { slurp_file($node->logfile, $from) =~ /LOG: .*could not store scores/ });
		cmp_ok(queue($node, 'unstored'), '>', 0, 'which cannot be stored');
		is(queue($node, 'worker_pid'), $pid, 'the worker goes on');
		prlimit('--pid', $pid, '--fsize=unlimited:');
		nothing_left($node, 'disk full');
		is($node->safe_psql('postgres', q(SELECT count(*) FROM generate_series(1, 4) s, generate_series(1, 60) i, retrostar.score_cache
			WHERE key = retrostar.cache_key('disk ' || s, 'pair ' || i))), 240, 'stored when there is room');
		wait_until('the log says that it is over',
			sub { slurp_file($node->logfile, $from) =~ /LOG: .*storing scores works again/ });
		my $log = slurp_file($node->logfile, $from);
		is(() = $log =~ /LOG: .*could not store scores: could not (?:extend|write)/g, 1, 'one line in the log says so');
		is(() = $log =~ /LOG: .*storing scores works again/g, 1, 'and one that it is over');
	};
}

# A worker that came for a database just dropped may find it gone.
my $log = slurp_file($node->logfile);
for my $pid ($log =~ /\[(\d+)\] FATAL:  database .* does not exist$/mg)
{
	$log =~ s/.*"retrostar worker" \(PID $pid\) exited with exit code 1\n//;
}
unlike($log, qr/TRAP|PANIC|was terminated|"retrostar worker" \(PID \d+\) exited|leaked/, 'nothing crashed');
done_testing();
