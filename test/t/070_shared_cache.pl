# One cache for many nodes: what a hub knows costs the others nothing, and what
# two of them want at once is paid once.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $sim = start_simulator('--log', '0', '--disconnect-ms', '10');
my $hub = new_node('hub', conf => "retrostar.worker_idle_timeout = '1h'\n");
create_server($hub, 'postgres', 'gpu', $sim, max_in_flight => 16);

sub on { my ($node, $sql) = @_; return $node->safe_psql('postgres', $sql); }
sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub key { my ($doc) = @_; return "retrostar.cache_key('q', '$doc')"; }

# One key is asked for: its state, scores and unscored replies
sub ask
{
	my ($session, $doc, $have) = @_;
	$have //= 0;
	return $session->query("SELECT state, scores, unscored FROM retrostar.shared_ask(1::int2, ARRAY[${\key($doc)}], ARRAY[$have], '{}')");
}

sub done { my ($session, $doc) = @_; return $session->query("SELECT count(*) FROM retrostar.shared_ask(1::int2, '{}', '{}', ARRAY[${\key($doc)}])"); }

sub put_sql
{
	my ($doc, $scores, $unscored) = @_;
	$unscored //= 0;
	return "SELECT retrostar.shared_put(1::int2, ARRAY[${\key($doc)}], ARRAY['$scores'], ARRAY[$unscored], ARRAY['m'], ARRAY[10::int8], ARRAY[5::int8], ARRAY[now()])";
}

sub cached { my ($node, $doc) = @_; return on($node, "SELECT scores, unscored, prompt_tokens FROM retrostar.score_cache WHERE key = ${\key($doc)}"); }

subtest 'what a hub is asked and told' => sub {
	my ($a, $b) = map { RetroSession->new($hub, 'postgres') } 1 .. 2;

	is(ask($a, 'one'), 'yours||', 'nobody knows it, nobody pays: a lease');
	is(ask($a, 'one'), 'yours||', 'which the same node has already');
	is(ask($b, 'one'), 'elsewhere||', 'and no other');
	is($a->query(put_sql('one', '{60,70}', 1)), 1, 'told');
	is(ask($b, 'one'), 'known|{60,70}|1', 'known');
	is(ask($b, 'one', 3), 'elsewhere||', 'who wants more waits for who has the lease');
	is(done($a, 'one'), 0, 'given back');
	is(ask($b, 'one', 3), 'yours||', 'now it is the other one\'s');
	is(ask($a, 'one', 2), 'known|{60,70}|1', 'what is known is so for everybody');
	is(ask($a, 'two'), 'yours||', 'another');
	is(ask($b, 'two'), 'elsewhere||', 'leased');
	$a->quit;
	wait_until('a session that ends gives back what it has', sub { ask($b, 'two') eq 'yours||' });
	$b->quit;
};

subtest 'which row stays' => sub {
	is(on($hub, put_sql('rows', '{10}')), 1, 'a row');
	is(on($hub, put_sql('rows', '{20}')), 0, 'as many scores, and younger: no');
	is(cached($hub, 'rows'), '{10}|0|10', 'unchanged');
	is(on($hub, put_sql('rows', '{10,20}')), 1, 'more');
	is(cached($hub, 'rows'), '{10,20}|0|20', 'and tokens add up');
	is(on($hub, put_sql('rows', '{}', 4)), 0, 'fewer: no');
	on($hub, "UPDATE retrostar.score_cache SET version = 7 WHERE key = ${\key('rows')}");
	is(on($hub, put_sql('rows', '{1,2,3}')), 0, 'a row of another version stays');
	on($hub, "DELETE FROM retrostar.score_cache WHERE key = ${\key('rows')}");
	is(on($hub, "SELECT retrostar.shared_put(1::int2, ARRAY[k, k], ARRAY['{1}', '{1,2}'], '{0,0}', '{m,m}', '{1,1}', '{1,1}', ARRAY[now(), now()]) FROM (SELECT ${\key('rows')} k) x"),
		1, 'of two for one key');
	is(cached($hub, 'rows'), '{1,2}|0|1', 'the longer');
};

subtest 'what is refused' => sub {
	on($hub, 'CREATE ROLE spoke LOGIN');
	for my $call ("SELECT * FROM retrostar.shared_ask(1::int2, '{}', '{}', '{}')", put_sql('x', '{1}'))
	{
		is(sqlstate($hub, 'postgres', "SET ROLE spoke; $call"), '42501', 'who was not granted it');
	}
	my @bad = (
		[ '55000', "SELECT * FROM retrostar.shared_ask(2::int2, '{}', '{}', '{}')", 'another version' ],
		[ '22023', "SELECT * FROM retrostar.shared_ask(1::int2, ARRAY['\\x00'::bytea], '{0}', '{}')", 'no key' ],
		[ '22023', "SELECT * FROM retrostar.shared_ask(1::int2, ARRAY[${\key('x')}], '{0,0}', '{}')", 'different lengths' ],
		[ '22023', "SELECT * FROM retrostar.shared_ask(1::int2, ARRAY[NULL::bytea], '{0}', '{}')", 'a null' ],
		map { [ '22023', put_sql('x', $_), "scores $_" ] } '{101}', '{-1}', '{1,}', '{1', '', '{1}x', '{{1}}', '{,1}', '{00000}');
	is(sqlstate($hub, 'postgres', $_->[1]), $_->[0], $_->[2]) for @bad;
	is(sqlstate($hub, 'postgres', put_sql('x', '{1}', -1)), '22023', 'unscored -1');
	is(cached($hub, 'x'), '', 'nothing is stored');
	on($hub, 'CREATE RULE r AS ON INSERT TO retrostar.score_cache DO INSTEAD NOTHING');
	is(sqlstate($hub, 'postgres', put_sql('x', '{1}')), '42809', 'a table with rules');
	on($hub, 'DROP RULE r ON retrostar.score_cache');
};

# The hub's own sessions hold back what another node pays for
subtest 'the hub waits, too' => sub {
	my $peer = RetroSession->new($hub, 'postgres');

	$sim->reset_stats;
	is(ask($peer, 'held'), 'yours||', 'leased');
	my @waits = map { ask_background($hub, 'postgres', q(SELECT retro_star_score('q', 'held'))) } 1 .. 2;
	$hub->poll_query_until('postgres', q(SELECT state = 'elsewhere' AND waiters = 2 FROM retrostar.stat_activity)) or die 'it is not held';
	is(ask($peer, 'held'), 'yours||', 'the lease is the same');
	on($hub, put_sql('held', '{42}'));
	done($peer, 'held');
	is(scalar finish_background($_), 42, 'the score of the other node') for @waits;
	is($sim->stats->{chat}, 0, 'costs nothing');

	is(ask($peer, 'failed'), 'yours||', 'another lease');
	my $wait = ask_background($hub, 'postgres', q(SELECT retro_star_score('q', 'failed')));
	$hub->poll_query_until('postgres', q(SELECT state = 'elsewhere' FROM retrostar.stat_activity)) or die 'it is not held';
	$peer->quit;
	like(scalar finish_background($wait), qr/^\d+$/, 'that ends without a score: it is asked for here');
	is($sim->stats->{chat}, 1, 'once');

	$peer = RetroSession->new($hub, 'postgres');
	is(ask($peer, 'cancelled'), 'yours||', 'another lease');
	my $session = RetroSession->new($hub, 'postgres');
	$session->send(q(SELECT retro_star_score('q', 'cancelled')));
	$hub->poll_query_until('postgres', q(SELECT state = 'elsewhere' FROM retrostar.stat_activity)) or die 'it is not held';
	on($hub, "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	$hub->poll_query_until('postgres', q(SELECT pairs = 0 AND waiters = 0 FROM retrostar.stat_queue)) or die 'it does not end';
	is(on($hub, 'SELECT asked = answered + failed + cancelled FROM retrostar.stat_queue'), 't', 'counts add up');
	$_->quit for $peer, $session;
	wait_idle($hub);
};

# What is in work here is somebody's; what is paused is nobody's
subtest 'pairs of the hub in work' => sub {
	my $peer = RetroSession->new($hub, 'postgres');

	hold();
	on($hub, q(SELECT retro_star_prefetch('q', 'in work')));
	$sim->wait_for('running', 1);
	is(ask($peer, 'in work'), 'elsewhere||', 'in flight');
	let_go();
	wait_until('it is stored', sub { ask($peer, 'in work') =~ /^known/ });
	on($hub, 'SELECT retrostar.pause()');
	on($hub, q(SELECT retro_star_prefetch('q', 'paused')));
	is(ask($peer, 'paused'), 'yours||', 'paused');
	$peer->quit;
	on($hub, 'SELECT retrostar.resume()');
	wait_idle($hub);
};

done_testing();
