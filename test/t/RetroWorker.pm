# What the tests of the worker share: a node with a simulator, and how to tell
# where its workers are.
package RetroWorker;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();
use RetroTest;

our @EXPORT = qw($node $sim $balanced $far start_all hold let_go worker_pid activity wait_for_activity wait_no_worker
  worker_in_place end_worker wait_no_worker_of set_idle_timeout wait_nobody_in new_database prefetch_held all_free);

our ($node, $sim);
our $balanced = q(SELECT asked = answered + failed + cancelled AND pairs = 0 AND waiting = 0 AND
	running = 0 AND unstored = 0 AND waiters = 0 AND text_bytes = 0 FROM retrostar.stat_queue);

# The node and the simulator
sub start_all
{
	my ($name) = @_;

	$node = new_node($name, conf => q(
retrostar.worker_idle_timeout = '1h'
retrostar.max_requests = 256
restart_after_crash = on
max_worker_processes = 8
));
	$sim = start_simulator('--disconnect-ms', '10');
	create_server($node, 'postgres', 'gpu', $sim);
	return;
}

# What was cut off before is not taken for what is held
sub hold { $sim->wait_for('running', 0); $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub worker_pid { return queue($node, 'worker_pid', @_); }

# In pg_stat_activity of database $db
sub activity
{
	my ($columns, $db) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM pg_stat_activity
		WHERE backend_type = 'retrostar worker' AND datname = '" . ($db // 'postgres') . "'");
}

sub wait_for_activity
{
	my ($condition, $db) = @_;
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'retrostar worker' AND datname = '" . ($db // 'postgres') . "' AND $condition")
	  or die "no worker with $condition";
	return;
}

sub wait_no_worker
{
	$node->poll_query_until('postgres',
		q(SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'retrostar worker'))
	  or die 'the worker does not leave';
	return;
}

# Waits for the worker, and its pid
sub worker_in_place
{
	my $pid;

	wait_until('there is a worker', sub { ($pid = worker_pid()) ne '' });
	return $pid;
}

# Sends it a signal, and waits until it is gone.  An error may not come at any
# moment, but while it sleeps.
sub end_worker
{
	my ($signal) = @_;
	my $pid = worker_pid() || die 'there is no worker';

	wait_for_activity(q(wait_event_type = 'Extension')) if $signal eq 'FPE';
	kill $signal, $pid;
	wait_until("worker $pid has left", sub { worker_pid() ne $pid });
	return;
}

sub wait_no_worker_of
{
	my ($db) = @_;
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'retrostar worker' AND datname = '$db'")
	  or die 'the worker does not leave';
	return;
}

sub set_idle_timeout
{
	my ($value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET retrostar.worker_idle_timeout = '$value'");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	$node->poll_query_until('postgres', "SELECT current_setting('retrostar.worker_idle_timeout') = '$value'")
	  or die 'the setting does not change';
	return;
}

# Sessions that were closed may still be there, and a command that needs the
# database for itself waits for five seconds only.
sub wait_nobody_in
{
	my ($db, $of) = @_;
	($of // $node)->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = '$db'")
	  or die "sessions in $db do not end";
	return;
}

# A database with the extension and a server
sub new_database
{
	my ($name) = @_;
	wait_nobody_in('template1');
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION retrostar');
	create_server($node, $name, 'gpu', $sim);
	return;
}

# $n pairs ($far, '1') and so on in flight in a database that nobody waits for
our $far = 'far 0';

sub prefetch_held
{
	my ($db, $n) = @_;
	$far++ if $far =~ s/^far //;
	$far = "far $far";
	hold();
	$sim->reset_stats;
	$node->safe_psql($db, "SELECT retro_star_prefetch('$far', i::text) FROM generate_series(1, $n) i");
	$sim->wait_for('running', $n);
	return;
}

# Nothing of any database is left in shared memory
sub all_free
{
	return $node->safe_psql('postgres', q(SELECT free_requests = 256 AND free_waiters = 1024
		AND text_bytes = 0 FROM retrostar.stat_queue)) eq 't';
}

1;
