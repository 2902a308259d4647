# Nodes that share the cache of a hub: what it knows is not asked for, what two
# want at once is paid once, and without it everything goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroNodes;
use RetroPages;
use RetroSession;
use RetroTest;
use Test::More;

my $sim = start_simulator('--log', '0', '--disconnect-ms', '10');
my %node = map { $_ => new_node($_, conf => "retrostar.worker_idle_timeout = '1h'\n") } qw(hub spoke);
my ($hub, $spoke) = @node{qw(hub spoke)};

sub on { my ($node, $sql, $db) = @_; return $node->safe_psql($db // 'postgres', $sql); }
sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub chats { return $sim->stats->{chat}; }
sub row { my ($node, $query, $doc) = @_; return on($node, "SELECT scores FROM retrostar.score_cache WHERE key = retrostar.cache_key('$query', '$doc')"); }

sub wait_activity
{
	my ($node, $condition) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) > 0 AND bool_and($condition) FROM retrostar.stat_activity")
	  or die "waited in vain for $condition";
	return;
}

sub adds_up
{
	my ($node, $db) = @_;
	wait_idle($node, $db);
	is($node->safe_psql($db // 'postgres', 'SELECT asked = answered + failed + cancelled AND waiting = 0 AND running = 0 AND free_requests = (SELECT setting::int FROM pg_settings WHERE name = \'retrostar.max_requests\') FROM retrostar.stat_queue'),
		't', 'counts add up, and all places are free');
	return;
}

name_hub($spoke, 'postgres', $hub);
create_server($hub, 'postgres', 'gpu', $sim, max_in_flight => 32);
create_server($spoke, 'postgres', 'gpu', $sim, max_in_flight => 32, shared_cache => 'hub');

subtest 'known to the hub' => sub {
	my $scores = on($hub, chats_for('known', 1, 200));

	wait_idle($hub);
	$sim->reset_stats;
	is(on($spoke, chats_for('known', 1, 200)), $scores, 'the same scores');
	is(chats(), 0, 'for nothing');
	is(shared($spoke, q(state || ' ' || asked || ' ' || known || ' ' || paid)), 'connected 200 200 0', 'counted');
	$spoke->poll_query_until('postgres', 'SELECT count(*) = 200 FROM retrostar.score_cache') or die 'rows do not come';
	is(on($spoke, q(SELECT count(*) FROM retrostar.score_cache WHERE prompt_tokens > 0 AND model = 'm' AND updated <= now())), 200, 'and kept here');
	is(on($spoke, chats_for('known', 1, 200)), $scores, 'next time');
	is(shared($spoke, 'asked'), 200, 'the hub is not asked');
	adds_up($spoke);
	is(on($spoke, q(SELECT ok FROM retrostar.check('gpu') WHERE endpoint = 'shared cache hub')), 't', 'checked');
	is(on($spoke, 'SELECT sum(samples) FROM retrostar.usage'), '', 'and no usage');
};

subtest 'what is paid is told' => sub {
	$sim->reset_stats;
	my $scores = on($spoke, chats_for('told', 1, 50));
	is(chats(), 50, 'paid here');
	$spoke->poll_query_until('postgres', 'SELECT told = 50 FROM retrostar.stat_shared') or die 'the hub is not told';
	is(on($hub, chats_for('told', 1, 50)), $scores, 'the hub has the same');
	is(chats(), 50, 'for nothing');
	is(shared($spoke, 'untold'), 0, 'nothing is left');
};

subtest 'known in part' => sub {
	on($hub, q(SELECT retro_star_score('part', 'a')));
	wait_idle($hub);
	$sim->reset_stats;
	like(on($spoke, q(SELECT retro_star_score('part', 'a', samples => 3))), qr/^\d/, 'three samples');
	is(chats(), 2, 'two of them are new');
	wait_idle($spoke);
	is(row($spoke, 'part', 'a') =~ tr/,//, 2, 'three here');
	wait_until('the hub has all three', sub { row($hub, 'part', 'a') =~ tr/,// == 2 });
	is(row($hub, 'part', 'a'), row($spoke, 'part', 'a'), 'the same');
	is(on($hub, q(SELECT completion_tokens FROM retrostar.score_cache WHERE key = retrostar.cache_key('part', 'a'))),
		on($spoke, q(SELECT completion_tokens FROM retrostar.score_cache WHERE key = retrostar.cache_key('part', 'a'))), 'with the same tokens');
};

subtest 'fresh answers' => sub {
	on($hub, q(SELECT retro_star_score('fresh', 'a')));
	wait_idle($hub);
	$sim->reset_stats;
	on($spoke, q(SET retrostar.cache = off; SELECT retro_star_score('fresh', 'a')));
	is(chats(), 1, 'are asked for');
	adds_up($spoke);
};

subtest 'both at once' => sub {
	$sim->reset_stats;
	my %session = map { $_ => ask_background($node{$_}, 'postgres', chats_for('both', 1, 300)) } sort keys %node;
	my %scores = map { $_ => scalar finish_background($session{$_}) } sort keys %session;
	is($scores{hub}, $scores{spoke}, 'the same scores');
	is(scalar(split(/ /, $scores{hub})), 300, 'of all');
	my $paid = chats();
	cmp_ok($paid, '<=', 310, "300 pairs for two nodes cost $paid requests");
	adds_up($_) for $hub, $spoke;
};

# The hub pays, and the spoke waits for it
subtest 'in work at the hub' => sub {
	$sim->reset_stats;
	hold();
	on($hub, q(SELECT retro_star_prefetch('elsewhere', 'a')));
	$sim->wait_for('running', 1);
	my @waits = map { ask_background($spoke, 'postgres', q(SELECT retro_star_score('elsewhere', 'a'))) } 1 .. 2;
	wait_activity($spoke, q(state = 'elsewhere' AND waiters = 2));
	let_go();
	my @scores = map { scalar finish_background($_) } @waits;
	is($scores[0], on($hub, q(SELECT retro_star_score('elsewhere', 'a'))), 'its score');
	is($scores[1], $scores[0], 'for all');
	is(chats(), 1, 'one request');
};

# The spoke pays, and the hub waits for it, but not when it fails
subtest 'in work at the spoke' => sub {
	$sim->reset_stats;
	hold();
	my $first = ask_background($spoke, 'postgres', q(SELECT retro_star_score('leased', 'a')));
	$sim->wait_for('running', 1);
	my $second = ask_background($hub, 'postgres', q(SELECT retro_star_score('leased', 'a')));
	wait_activity($hub, q(state = 'elsewhere'));
	let_go();
	is(scalar finish_background($second), scalar finish_background($first), 'the same score');
	is(chats(), 1, 'one request');

	hold();
	my $session = RetroSession->new($spoke, 'postgres');
	$session->send(q(SELECT retro_star_score('leased', 'b')));
	$sim->wait_for('running', 1);
	$second = ask_background($hub, 'postgres', q(SELECT retro_star_score('leased', 'b')));
	wait_activity($hub, q(state = 'elsewhere'));
	on($spoke, "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'a session is cancelled');
	wait_activity($hub, q(state = 'running'));
	let_go();
	like(scalar finish_background($second), qr/^\d+$/, 'and the hub pays');
	$session->quit;
	adds_up($_) for $hub, $spoke;
};

# What a pair costs that the hub knows, above one that is known here: the same
# statements, first and second time, in turns
subtest 'what it costs' => sub {
	my (@first, @second);

	on($hub, chats_for("cost $_", 1, 2000)) for 1 .. 5;
	wait_idle($hub);
	$sim->reset_stats;
	for my $round (1 .. 5)
	{
		my $time = "SELECT clock_timestamp() AS t \\gset\n" . chats_for("cost $round", 1, 2000) . " \\g /dev/null\nSELECT extract(epoch FROM clock_timestamp() - :'t') * 1000";

		push @first, on($spoke, $time);
		$spoke->poll_query_until('postgres', "SELECT count(*) = 2000 FROM retrostar.score_cache WHERE key IN (SELECT retrostar.cache_key('cost $round', 'document ' || i) FROM generate_series(1, 2000) i)")
		  or die 'they do not come';
		push @second, on($spoke, $time);
	}
	is(chats(), 0, '10,000 pairs that the hub knows cost nothing');
	my ($hub_ms, $own_ms) = map { (sort { $a <=> $b } @$_)[2] } \@first, \@second;
	note(sprintf('2,000 pairs: %.1f ms from the hub, %.1f ms from here, %.1f us a pair more', $hub_ms, $own_ms, ($hub_ms - $own_ms) / 2));
};

# While the hub's table is locked its answer does not come
subtest 'while it is asked' => sub {
	my $lock = RetroSession->new($hub, 'postgres');

	$lock->query('BEGIN; LOCK TABLE retrostar.score_cache');
	$sim->reset_stats;
	my $session = RetroSession->new($spoke, 'postgres');
	$session->send(q(SELECT retro_star_score('asked', 'cancelled')));
	wait_activity($spoke, q(state = 'looked up'));
	on($spoke, "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'a cancel');
	$session->send(q(SELECT retro_star_score('asked', 'terminated')));
	wait_activity($spoke, q(state = 'looked up'));
	on($spoke, "SELECT pg_terminate_backend($session->{pid})");
	is($session->ended, '57P01', 'the end of a session');
	on($spoke, q(SELECT retro_star_prefetch('asked', 'detached')));
	my $waits = ask_background($spoke, 'postgres', q(SELECT retro_star_score('asked', 'worker')));
	$spoke->poll_query_until('postgres', q(SELECT count(*) = 2 FROM retrostar.stat_activity)) or die;
	on($spoke, 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	$lock->query('COMMIT');
	like(scalar finish_background($waits), qr/^\d+$/, 'another worker');
	adds_up($spoke);
	is(chats(), 2, 'pays what is wanted');
	$lock->quit;

	# Also with nobody who waits for them: time is up
	$lock = RetroSession->new($hub, 'postgres');
	$lock->query('BEGIN; LOCK TABLE retrostar.score_cache');
	like(on($spoke, q(SELECT retro_star_score('asked', 'late'))), qr/^\d+$/, 'a hub that does not answer is passed over');
	is(shared($spoke, 'state'), 'away', 'it is away');
	like(shared($spoke, 'last_error'), qr/no answer in time/, 'and why');
	$lock->query('COMMIT');
	$lock->quit;
};

subtest 'hub gone, and back' => sub {
	my $log = -s $spoke->logfile;

	$spoke->poll_query_until('postgres', q(SELECT retro_star_score('gone', 'back ' || now()) IS NOT NULL AND (SELECT state = 'connected' FROM retrostar.stat_shared)))
	  or die 'it is not used again';
	$sim->reset_stats;
	hold();
	my $waits = ask_background($spoke, 'postgres', chats_for('gone', 1, 100));
	$sim->wait_for('running', 16);
	$hub->stop('immediate');
	let_go();
	is(scalar(split(/ /, scalar finish_background($waits))), 100, 'nothing fails');
	is(chats(), 100, 'all are paid here');
	is(scalar(split(/ /, on($spoke, chats_for('gone', 101, 200)))), 100, 'more');
	is(shared($spoke, 'state'), 'away', 'it is away');
	is(on($spoke, q(SELECT ok FROM retrostar.check('gpu') WHERE endpoint = 'shared cache hub')), 'f', 'checked');
	$hub->start;
	$spoke->poll_query_until('postgres', q(SELECT retro_star_score('gone', 'again ' || now()) IS NOT NULL AND (SELECT state = 'connected' FROM retrostar.stat_shared)))
	  or die 'it is not used again';
	$spoke->poll_query_until('postgres', q(SELECT untold = 0 AND told >= 250 FROM retrostar.stat_shared)) or die 'what was paid meanwhile is not told';
	is(on($hub, q(SELECT count(*) FROM retrostar.score_cache WHERE key IN (SELECT retrostar.cache_key('gone', 'document ' || i) FROM generate_series(1, 200) i))), 200,
		'the hub knows what was paid meanwhile');
	my @said = slurp_file($spoke->logfile, $log) =~ /is not used for now/g;
	cmp_ok(scalar @said, '<=', 3, 'said once');
	adds_up($spoke);
};

# Two nodes that name each other do not wait for each other
subtest 'both name the other' => sub {
	name_hub($hub, 'postgres', $spoke);
	on($hub, q(ALTER SERVER gpu OPTIONS (ADD shared_cache 'hub')));
	$sim->reset_stats;
	my %session = map { $_ => ask_background($node{$_}, 'postgres', chats_for('mutual', 1, 100)) } sort keys %node;
	is(scalar(split(/ /, scalar finish_background($session{$_}))), 100, "scores of $_") for sort keys %session;
	my $paid = chats();
	cmp_ok($paid, '<=', 200, "paid twice at worst ($paid)");
	on($hub, 'ALTER SERVER gpu OPTIONS (DROP shared_cache)');
	adds_up($_) for $hub, $spoke;
};

subtest 'whose right it is' => sub {
	on($spoke, q(CREATE ROLE owner; CREATE DATABASE other));
	on($spoke, 'CREATE EXTENSION retrostar; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO owner', 'other');
	name_hub($spoke, 'other', $hub);
	on($spoke, "SET ROLE owner; CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '$sim->{url}', model 'm', shared_cache 'hub')", 'other');
	for my $step (
		[ 'SELECT 1', 'permission denied for foreign server hub', 'USAGE is needed' ],
		[ 'GRANT USAGE ON FOREIGN SERVER hub TO owner', 'user mapping not found', 'a mapping of his' ],
		[ 'CREATE USER MAPPING FOR owner SERVER hub', 'password is required', 'a password' ],
		[ q(ALTER USER MAPPING FOR owner SERVER hub OPTIONS (ADD password 'x')), 'did not ask for the password', 'that is asked for' ])
	{
		my ($sql, $error, $what) = @$step;
		on($spoke, $sql, 'other');
		ok($spoke->poll_query_until('other', "SELECT retro_star_score('right', clock_timestamp()::text) IS NOT NULL AND last_error ~ '$error' FROM retrostar.stat_shared"), $what);
	}
	adds_up($spoke, 'other');
	on($spoke, q(ALTER SERVER gpu OPTIONS (SET shared_cache 'nowhere')), 'other');
	$spoke->poll_query_until('other', q(SELECT retro_star_score('right', clock_timestamp()::text) IS NOT NULL AND last_error ~ 'nowhere' FROM retrostar.stat_shared)) or die;
	is(shared($spoke, 'state', 'other'), 'away', 'a hub that is not there');
};

# As the page says, in databases of their own
subtest 'the page' => sub {
	plan skip_all => 'postgres_fdw is not installed' unless has_extension('postgres_fdw');
	my ($host, $port) = ($hub->host, $hub->port);
	my ($there) = blocks('doc/operations.md', 'sql hub');
	my ($here) = blocks('doc/operations.md', 'sql node');

	for my $node ($hub, $spoke)
	{
		on($node, 'CREATE DATABASE app');
		on($node, 'CREATE EXTENSION retrostar', 'app');
		create_server($node, 'app', 'gpu', $sim, cache_scope => 'ours');
	}
	on($hub, $there->{text}, 'app');
	(my $sql = $here->{text}) =~ s/host '10\.0\.0\.5'/host '$host', port '$port'/;
	on($spoke, $sql, 'app');
	my $score = on($hub, q(SELECT retro_star_score('page', 'a')), 'app');
	wait_idle($hub, 'app');
	$sim->reset_stats;
	is(on($spoke, q(SELECT retro_star_score('page', 'a')), 'app'), $score, 'what the hub knows');
	is(chats(), 0, 'is for nothing, with the rights of the role');
	on($spoke, q(SELECT retro_star_score('page', 'b')), 'app');
	$spoke->poll_query_until('app', 'SELECT told = 1 FROM retrostar.stat_shared') or die 'the hub is not told';
	is(on($hub, 'SELECT count(*) FROM retrostar.score_cache', 'app'), 2, 'and it is told');
};

done_testing();
