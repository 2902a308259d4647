# What the tests of statements that end, and of a full queue, share: a small
# queue, and ways to end a statement.
package RetroQueue;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();
use RetroSession;
use RetroTest;
use Test::More;

our @EXPORT = qw($node $sim $pairs %ways start_all hold let_go pause resume new_session cancel new_pair wait_queue
  wait_asleep all_free);

our ($node, $sim);
our $pairs = 0;

# The node and the simulator
sub start_all
{
	my ($name) = @_;

	$node = new_node($name, conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 64
retrostar.shared_memory = '4MB'
));
	$sim = start_simulator('--disconnect-ms', '5', '--log', '0');
	create_server($node, 'postgres', 'gpu', $sim);
	return;
}

# What was cut off before is neither counted nor taken for what is held
sub hold
{
	$sim->wait_for('running', 0);
	$sim->reset_stats;
	$sim->control({ hold => JSON::PP::true });
	return;
}

sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub pause { $node->safe_psql('postgres', 'SELECT retrostar.pause()'); return; }
sub resume { $node->safe_psql('postgres', 'SELECT retrostar.resume()'); return; }
sub new_session { return RetroSession->new($node, 'postgres', @_); }
sub cancel { my ($s) = @_; $node->safe_psql('postgres', "SELECT pg_cancel_backend($s->{pid})"); return; }

# A call for a pair that is new
sub new_pair
{
	my ($more) = @_;
	$pairs++;
	return "retro_star_score('cancel', 'document $pairs'" . ($more // '') . ')';
}

sub wait_queue
{
	my ($condition) = @_;
	$node->poll_query_until('postgres', "SELECT $condition FROM retrostar.stat_queue")
	  or die "waited in vain for $condition: " . queue($node, 'stat_queue');
	return;
}

# The session waits for an answer, or for room
sub wait_asleep
{
	my ($session) = @_;
	$node->poll_query_until('postgres', "SELECT wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $session->{pid}")
	  or die 'it does not wait';
	return;
}

# Nothing is in work, and nothing is kept for it
sub all_free
{
	my ($name) = @_;
	wait_queue('pairs = 0');
	is($node->safe_psql('postgres', q(SELECT asked = answered + failed + cancelled AND waiting = 0 AND running = 0
		AND unstored = 0 AND waiters = 0 AND free_requests = 64 AND free_waiters = 256 AND text_bytes = 0
		FROM retrostar.stat_queue)), 't', "$name: nothing is left");
	return;
}

# Ways to end a statement, and the SQLSTATE that the client sees
our %ways = (
	'pg_cancel_backend' => sub {
		my ($session) = @_;
		cancel($session);
		$session->result;
		is($session->sqlstate, '57014', 'query_canceled');
	},
	'statement_timeout' => sub {
		my ($session) = @_;
		$session->result;
		is($session->sqlstate, '57014', 'query_canceled');
	},
	'pg_terminate_backend' => sub {
		my ($session) = @_;
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($session->{pid})");
		is($session->ended, '57P01', 'admin_shutdown');
	},
	'killed client' => sub {
		my ($session) = @_;
		$session->kill_client;
		$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $session->{pid}")
		  or die 'the session does not end';
	});

1;
