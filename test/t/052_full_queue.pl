# A queue that is full, and who is served then.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use RetroQueue;
use Test::More;

start_all('full_queue');

# Answers without a place in the table have one in the map only as long as
# nobody needs it.
subtest 'a queue full of answers that cannot be stored' => sub {
	my $holder = new_session();
	my $last = new_session();

	$sim->reset_stats;
	$last->query(q(SET statement_timeout = '60s'));
	$holder->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE');
	pause();
	$node->safe_psql('postgres', "SELECT retro_star_prefetch('no table $_', i::text) FROM generate_series(1, 16) i") for 1 .. 4;
	$last->send(q(SELECT retro_star_score('no table', 'last')));
	wait_asleep($last);
	is(queue($node, 'waiters'), 0, 'no room');
	resume();
	like($last->result . $last->{err}, qr/^\d+$/, 'who waits for room takes the place of one that is answered');
	$holder->query('COMMIT');
	wait_idle($node);
	is($sim->stats->{chat}, 65, 'each was sent once');
	$_->quit for $holder, $last;
	all_free('not stored');
};

# While the worker writes them they are on their way: nobody takes their place,
# and nothing is counted twice.
subtest 'a queue full of answers that are just stored' => sub {
	my $holder = new_session();
	my $last = new_session();

	$node->safe_psql('postgres', q(TRUNCATE retrostar.usage;
		CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NOT pg_try_advisory_xact_lock_shared(1) THEN RAISE 'not now'; END IF;
			WHILE NOT pg_try_advisory_xact_lock_shared(2) LOOP PERFORM pg_sleep(0.01); END LOOP;
			RETURN NULL;
		END $$;
		CREATE TRIGGER stall BEFORE INSERT ON retrostar.score_cache FOR EACH STATEMENT EXECUTE FUNCTION stall()));
	$last->query(q(SET statement_timeout = '60s'));
	$holder->query('SELECT pg_advisory_lock(1), pg_advisory_lock(2)');
	my $lost = queue($node, 'lost');
	my $failures = $node->safe_psql('postgres', 'SELECT store_failures FROM retrostar.stat_cache');
	pause();
	$node->safe_psql('postgres', "SELECT retro_star_prefetch('stored $_', i::text) FROM generate_series(1, 16) i") for 1 .. 4;
	resume();
	$node->poll_query_until('postgres', "SELECT unstored = 64 AND store_failures > $failures FROM retrostar.stat_cache") or die 'they are stored';
	$holder->query('SELECT pg_advisory_unlock(1)');
	$node->poll_query_until('postgres', q(SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE backend_type = 'retrostar worker')) or die 'they are not stored';
	$last->send(q(SELECT retro_star_score('stored', 'last')));
	wait_asleep($last);
	is(queue($node, 'waiters || \' \' || lost'), "0 $lost", 'who waits for room does not take their places');
	$holder->query('SELECT pg_advisory_unlock(2)');
	like($last->result . $last->{err}, qr/^\d+$/, 'but gets one');
	$node->safe_psql('postgres', 'DROP FUNCTION stall() CASCADE');
	wait_idle($node);
	is(queue($node, 'lost'), $lost, 'none is lost');
	is($node->safe_psql('postgres', 'SELECT sum(samples) FROM retrostar.usage'), 65, 'none is counted twice');
	$_->quit for $holder, $last;
	all_free('stored');
};

subtest 'more pairs than the queue holds' => sub {
	$sim->reset_stats;
	my @sessions = map { new_session() } 1 .. 5;
	my $query = q(SELECT count(retro_star_score('full', i::text)) FROM generate_series(1, 500) i);
	$_->send($query) for @sessions[0 .. 2];
	$sessions[$_]->send(qq(SELECT count(retro_star_score('full $_', i::text)) FROM generate_series(1, 300) i)) for 3, 4;
	is($_->result . $_->{err}, '500', 'all come') for @sessions[0 .. 2];
	is($_->result . $_->{err}, '300', 'of others too') for @sessions[3, 4];
	is($sim->stats->{chat}, 1100, 'each was sent once');
	wait_idle($node);
	all_free('full');

	# A session has a share, and can be cancelled while it waits for room.
	pause();
	my ($full, $other) = @sessions;
	$full->send(q(SELECT count(retro_star_prefetch('share', i::text)) FROM generate_series(1, 100) i));
	wait_queue('pairs = 16');
	wait_asleep($full);
	$other->send(q(SELECT retro_star_score('share', 'other')));
	wait_queue('waiters = 1 AND pairs = 17');
	cancel($full);
	$full->result;
	is($full->sqlstate, '57014', 'cancelled while it waits for room');
	is(queue($node, 'pairs'), 17, 'what it had asked for remains');
	resume();
	like($other->result, qr/^\d+$/, 'another is not held up');
	wait_idle($node);
	all_free('share');

	# Terminated while it waits for room; what it waits for goes, the rest too.
	pause();
	$full->send(q(SELECT count(retro_star_score('share again', i::text)) FROM generate_series(1, 100) i));
	wait_queue('pairs = 16');
	wait_asleep($full);
	$ways{'pg_terminate_backend'}($full);
	all_free('terminated');
	resume();
	$_->quit for @sessions;
};

# Cursors that are left open hold the answers to rows that were read ahead.
subtest 'sessions that do not take their answers' => sub {
	my @idle = map { new_session() } 1 .. 16;
	my $last = new_session();

	$sim->reset_stats;
	like($last->query(q(SELECT retro_star_score('idle', 'known'))), qr/^\d+$/, 'a pair that is known');
	wait_idle($node);
	for my $n (0 .. $#idle)
	{
		$idle[$n]->query("BEGIN; SET LOCAL statement_timeout = '60s'; DECLARE c CURSOR FOR SELECT retro_star_score('idle',
			CASE WHEN i <= 12 THEN 'known' ELSE '$n ' || i END) FROM generate_series(1, 16) i");
		is(() = $idle[$n]->query('FETCH 12 FROM c') =~ /^\d+$/mg, 12, 'rows of a cursor');
	}
	wait_queue('waiting + running + unstored = 0');
	is(queue($node, 'waiters'), 48, 'three quarters of the places are taken');
	$last->query(q(SET statement_timeout = '60s'));
	is($last->query(q(SELECT count(retro_star_score('idle', 'last ' || i)) FROM generate_series(1, 100) i)), 100, 'others are served');
	is(() = $_->query('FETCH ALL FROM c') =~ /^\d+$/mg, 4, 'and the cursors go on') for @idle;
	is($sim->stats->{chat}, 1 + 100 + 64, 'each pair was sent once');
	$_->query('COMMIT') for @idle;
	$_->quit for @idle, $last;
	all_free('cursors left open');
};

subtest 'large documents' => sub {
	my $big = q(repeat(md5(i::text), 32 * 1024));	# 1 MB
	my @sessions = map { new_session() } 1 .. 3;
	$sim->reset_stats;
	$sessions[$_]->send(qq(SELECT count(retro_star_score('big $_', $big)) FROM generate_series(1, 12) i)) for 0 .. 2;
	is($_->result . $_->{err}, '12', 'documents of 1 MB') for @sessions;
	is($sim->stats->{chat}, 36, 'each was sent once');
	wait_idle($node);
	all_free('big');
	is($sessions[0]->outcome(q(SELECT retro_star_score('big', repeat('too large ', 300000)))), '54000', 'too large for the shared memory');
	like($sessions[0]->{err}, qr/DETAIL:  .*2048 kB.*HINT:  .*retrostar\.shared_memory/s, 'with a hint');
	all_free('too large');

	# Room that a statement leaves is taken at once, though nothing else
	# happens: not only when all or a certain number of places are free.
	$_->quit for @sessions;
	for my $way ('pg_cancel_backend', 'pg_terminate_backend')
	{
		my ($first, $second, $third, $small) = map { new_session() } 1 .. 4;
		pause();
		$third->without_clock;
		$small->send("SELECT retro_star_score('room $way', 'small')");
		wait_queue('waiters = 1');
		$first->send("SELECT retro_star_score('room $way', repeat('first ', 300000))");
		wait_queue('waiters = 2');
		$second->send("SELECT retro_star_score('room $way', repeat('second ', 250000))");
		wait_queue('waiters = 3');
		$third->send("SELECT retro_star_score('room $way', repeat('third ', 300000))");
		wait_asleep($third);
		is(queue($node, 'waiters'), 3, 'no room for a third');
		my $worker = stop_asleep($node);
		$ways{$way}($first);
		wait_queue('waiters = 3');
		pass('another takes its place');
		kill 'CONT', $worker;
		resume();
		like($_->result, qr/^\d+$/, 'scores come') for $small, $second, $third;
		$_->quit for $first, $second, $third, $small;
		wait_idle($node);
		all_free("room, $way");
	}
};

# Many sessions that want the same pairs: then there may be places, but no way
# to wait for them.
subtest 'more interests than there are' => sub {
	my $set = q(SELECT count(score) FROM retro_star_rerank('interests', (SELECT array_agg(i) FROM generate_series(1, 16) i),
		(SELECT array_agg(i::text) FROM generate_series(1, 16) i), passes => '1'%s));
	my @sessions = map { new_session() } 1 .. 15;
	my ($hasty, $last) = map { new_session() } 1 .. 2;
	my $deadline = 1;

	pause();
	$sim->reset_stats;
	$last->without_clock;
	$_->send(sprintf($set, '')) for @sessions;
	wait_queue('waiters = 240');
	# it is not the worker that tells who waits for room
	my $worker = stop_asleep($node);
	# with more time, if that was over before we saw it
	for (;;)
	{
		my $all;
		$hasty->send(sprintf($set, ", deadline => '$deadline s'"));
		wait_until('all are taken', sub { $all = queue($node, 'free_waiters = 0') eq 't'; return $all || $hasty->done; });
		last if $all;
		is($hasty->result, 0, 'no scores in time');
		$deadline *= 2;
	}
	$last->send(q(SELECT retro_star_score('interests', 'another')));
	is($hasty->result, 0, 'one gives up');
	wait_queue('waiters = 241 AND waiting = 17');
	pass('and another has its place');
	kill 'CONT', $worker;
	resume();
	is($_->result, 16, 'all scores') for @sessions;
	like($last->result, qr/^\d+$/, 'of the last, too');
	is($sim->stats->{chat}, 17, 'each pair was sent once');
	$_->quit for @sessions, $hasty, $last;
	wait_idle($node);
	all_free('interests');
};

subtest 'a big statement and a small one' => sub {
	$node->safe_psql('postgres', q(ALTER SERVER gpu OPTIONS (ADD max_in_flight '4')));
	my ($big, $small) = (new_session(), new_session());
	hold();
	$big->send(q(SELECT count(retro_star_score('much', i::text)) FROM generate_series(1, 100) i));
	$sim->wait_for('running', 4);
	wait_queue('pairs = 16');
	$small->send(q(SELECT count(retro_star_score('little', i::text)) FROM generate_series(1, 2) i));
	wait_queue('pairs = 18');
	my $released = 0;
	# until its pairs are answered; who reads the answers may be slower
	while (queue($node, "(SELECT count(*) FROM retrostar.stat_activity WHERE pid = $small->{pid})") > 0)
	{
		$sim->release(1);
		$released++;
		$sim->wait_for('completed', $released);
		$sim->wait_for('running', 4);
	}
	is($small->result, 2, 'the small one is served');
	cmp_ok($released, '<=', 24, "after $released answers, long before the big one");
	let_go();
	is($big->result, 100, 'the big one too');
	$_->quit for $big, $small;
	$node->safe_psql('postgres', 'ALTER SERVER gpu OPTIONS (DROP max_in_flight)');
	wait_idle($node);
	all_free('big and small');
};

subtest 'a set whose next samples find no room in time' => sub {
	my $session = new_session();
	my $set = q(SELECT count(score), sum(samples) FROM retro_star_rerank('room', (SELECT array_agg(i) FROM generate_series(1, 20) i),
		(SELECT array_agg(i::text) FROM generate_series(1, 20) i), passes => '%s', deadline => '%s'));
	is($session->query(sprintf($set, 1, '1 h')), '20|20', 'the first ones are known');
	wait_idle($node);
	hold();
	is($session->query(sprintf($set, '20@1,20@3', '1 s')), '20|20', 'and stay known');
	let_go();
	$sim->release;
	wait_idle($node);
	$session->quit;
};

done_testing();
