# A shared cache when something fails: sessions, workers and nodes that die or
# are silent, a table that is locked; and a standby whose hub is its primary.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroNodes;
use RetroSession;
use RetroTest;
use Test::More;

my $sim = start_simulator('--log', '0', '--disconnect-ms', '10');
my $hub = new_node('hub', allows_streaming => 1, conf => "retrostar.worker_idle_timeout = '1h'\n");
my $spoke = new_node('spoke', conf => "retrostar.worker_idle_timeout = '1h'\nrestart_after_crash = on\n");

sub on { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql); }
sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub chats { return $sim->stats->{chat}; }
sub worker { my ($node) = @_; return on($node, 'SELECT worker_pid FROM retrostar.stat_queue'); }
sub wait_sql { my ($node, $sql) = @_; $node->poll_query_until('postgres', $sql) or die "waited in vain for $sql"; return; }

# The hub's own session waits for what the spoke pays for; both have begun
sub held
{
	my ($doc) = @_;
	hold();
	$sim->reset_stats;
	my $here = ask_background($spoke, 'postgres', "SELECT retro_star_score('fault', '$doc')");
	$sim->wait_for('running', 1);
	my $there = ask_background($hub, 'postgres', "SELECT retro_star_score('fault', '$doc')");
	wait_sql($hub, q(SELECT count(*) = 1 AND bool_and(state = 'elsewhere') FROM retrostar.stat_activity));
	return ($here, $there);
}

sub adds_up
{
	foreach my $node (@_)
	{
		wait_idle($node);
		is(on($node, 'SELECT asked = answered + failed + cancelled AND waiting = 0 AND running = 0 FROM retrostar.stat_queue'), 't', 'counts add up');
	}
	return;
}

name_hub($spoke, 'postgres', $hub);
create_server($hub, 'postgres', 'gpu', $sim, max_in_flight => 32);
create_server($spoke, 'postgres', 'gpu', $sim, max_in_flight => 32, shared_cache => 'hub');

subtest 'the session at the hub ends' => sub {
	my ($here, $there) = held('terminated');

	on($hub, q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'retrostar'));
	wait_sql($hub, q(SELECT count(*) = 1 AND bool_and(state = 'running') FROM retrostar.stat_activity));
	let_go();
	like(scalar finish_background($_), qr/^\d+$/, 'a score') for $here, $there;
	is(chats(), 2, 'paid twice, and nobody waits');
	wait_sql($spoke, q(SELECT retro_star_score('fault', 'next ' || clock_timestamp()) IS NOT NULL AND (SELECT state = 'connected' FROM retrostar.stat_shared)));
	adds_up($hub, $spoke);
};

# The connection stays, but nothing comes from it
subtest 'a node is silent' => sub {
	my ($here, $there) = held('silent');
	my $pid = worker($spoke);

	kill('STOP', $pid);
	wait_sql($hub, q(SELECT count(*) = 1 AND bool_and(state = 'running') FROM retrostar.stat_activity));
	pass('its lease is void after a while');
	kill('CONT', $pid);
	let_go();
	like(scalar finish_background($_), qr/^\d+$/, 'a score') for $here, $there;
	wait_sql($spoke, 'SELECT untold = 0 FROM retrostar.stat_shared');
	adds_up($hub, $spoke);
};

subtest 'a node crashes' => sub {
	my ($here, $there) = held('crash');

	kill('KILL', worker($spoke));
	finish_background($here);
	wait_sql($hub, q(SELECT count(*) = 1 AND bool_and(state = 'running') FROM retrostar.stat_activity));
	let_go();
	like(scalar finish_background($there), qr/^\d+$/, 'the hub pays');
	wait_accepts($spoke);
	like(on($spoke, q(SELECT retro_star_score('fault', 'crash'))), qr/^\d+$/, 'and the node has it');
	is(chats(), 2, 'for nothing');
	adds_up($hub, $spoke);
};

subtest 'the table of a node is locked' => sub {
	is(scalar(split(/ /, on($hub, chats_for('locked', 1, 100)))), 100, 'known to the hub');
	wait_idle($hub);
	my $lock = RetroSession->new($spoke, 'postgres');
	$lock->query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE');
	$sim->reset_stats;
	is(scalar(split(/ /, on($spoke, chats_for('locked', 1, 100)))), 100, 'answers come');
	is(chats(), 0, 'from the hub');
	is(scalar(split(/ /, on($spoke, chats_for('locked', 1, 100)))), 100, 'again');
	is(on($spoke, q(SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('locked', 'document 1'))), 0, 'not from its table');
	$lock->query('COMMIT');
	$lock->quit;
	wait_sql($spoke, q(SELECT count(*) = 100 FROM retrostar.score_cache WHERE key IN (SELECT retrostar.cache_key('locked', 'document ' || i) FROM generate_series(1, 100) i)));
	pass('which has them later');
	adds_up($spoke);
};

# It cannot be told, and yet it knows
subtest 'the hub cannot store' => sub {
	my $log = -s $spoke->logfile;

	on($hub, 'ALTER TABLE retrostar.score_cache ADD CONSTRAINT no CHECK (false) NOT VALID');
	my $untold = on($spoke, 'SELECT untold FROM retrostar.stat_shared');
	on($spoke, chats_for('refused', 1, 20));
	wait_sql($spoke, "SELECT untold = $untold + 20 AND state = 'connected' AND last_error ~ 'violates' FROM retrostar.stat_shared");
	my @said = slurp_file($spoke->logfile, $log) =~ /does not take what it is told/g;
	is(scalar @said, 1, 'said once');
	on($hub, 'ALTER TABLE retrostar.score_cache DROP CONSTRAINT no');
	on($spoke, q(SELECT retro_star_score('refused', 'again')));
	wait_until('it works again', sub { slurp_file($spoke->logfile, $log) =~ /takes again what it is told/ });
	adds_up($spoke);
};

# The servers of a standby are those of its primary: one of them has the option
subtest 'a standby' => sub {
	name_hub($hub, 'postgres', $hub);
	create_server($hub, 'postgres', 'replica', $sim, shared_cache => 'hub');
	$hub->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($hub, 'base', has_streaming => 1);
	$standby->start;
	my $call = sub { my ($server, $doc) = @_; return "SELECT retro_star_score('standby', '$doc', server => '$server')" };

	$sim->reset_stats;
	my $score = on($standby, $call->('replica', 'a'));
	wait_sql($standby, q(SELECT told = 1 FROM retrostar.stat_shared WHERE server = 'replica'));
	is(on($hub, $call->('gpu', 'a')), $score, 'its primary is told');
	is(chats(), 1, 'and does not pay again');
	$hub->wait_for_catchup($standby, 'replay', $hub->lsn('insert'));
	is(on($standby, q(SELECT count(*) FROM retrostar.score_cache WHERE key = retrostar.cache_key('standby', 'a', server => 'gpu'))), 1, 'the row comes by replication');
	$standby->stop;
};

done_testing();
