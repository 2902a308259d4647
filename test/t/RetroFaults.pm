# What the tests of faults share: what a load leaves behind, and scores to
# compare with.
package RetroFaults;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

our @EXPORT = qw(nothing_left descriptors descriptors_go_back outcome_counts stop_asleep no_crash);

# Everything is idle: no pair, text, waiter or place is kept, in any database,
# and all that was asked has ended one way.  %params: db, requests => of
# retrostar.max_requests, lost => 1 when answers may have been given up.
sub nothing_left
{
	my ($node, $name, %params) = @_;
	my $db = $params{db} // 'postgres';
	my $lost = $params{lost} ? 'true' : 'lost = 0';
	my $places = 'free_requests = current_setting(\'retrostar.max_requests\')::int
		AND free_waiters = 4 * current_setting(\'retrostar.max_requests\')::int';
	my $all = "pairs = 0 AND waiting = 0 AND running = 0 AND unstored = 0 AND waiters = 0
		AND text_bytes = 0 AND $places AND asked = answered + failed + cancelled AND $lost";

	ok($node->poll_query_until($db, "SELECT $all FROM retrostar.stat_queue"), "$name: nothing is left")
	  or diag($node->safe_psql($db, 'SELECT * FROM retrostar.stat_queue', extra_params => ['-x']));
	return;
}

# Sockets that a process has open; in a list also all its descriptors, of which
# files of relations remain as long as PostgreSQL finds them useful
sub descriptors
{
	my ($pid) = @_;
	my @open = glob("/proc/$pid/fd/*");
	my $sockets = grep { (readlink($_) // '') =~ /^socket:/ } @open;

	return wantarray ? ($sockets, scalar @open) : $sockets;
}

# The worker comes back to so many sockets while it is given little to do:
# it looks after idle connections when it opens or uses one.
sub descriptors_go_back
{
	my ($node, $most, $name, $ask) = @_;

	wait_until("descriptors are closed ($name)", sub {
		$ask->();
		my $pid = queue($node, 'worker_pid');
		return $pid ne '' && scalar(descriptors($pid)) <= $most;
	});
	pass("$name: descriptors are closed");
	return;
}

# Numbers of scores and NULLs in the output of psql -At, where NULL is shown as ""
sub outcome_counts
{
	my ($out) = @_;
	my $scores = () = $out =~ /^\d+(?:\.\d+)?$/mg;
	my $nulls = () = $out =~ /^NULL$/mg;

	return ($scores, $nulls);
}

# Stops the worker of database postgres where it sleeps, and holds no lock; its pid
sub stop_asleep
{
	my ($node) = @_;
	my $asleep = q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'retrostar worker'
		AND datname = 'postgres' AND wait_event_type = 'Extension');

	for (;;)
	{
		$node->poll_query_until('postgres', $asleep) or die 'the worker does not sleep';
		my $pid = queue($node, 'worker_pid');

		kill 'STOP', $pid;
		wait_until('it is stopped', sub { slurp_file("/proc/$pid/stat") =~ /\) T/ });
		return $pid if $node->safe_psql('postgres', $asleep) eq 't';
		kill 'CONT', $pid;
	}
}

# The server's log has no crash, apart from what the test did itself
sub no_crash
{
	my ($node, $from) = @_;
	my $log = slurp_file($node->logfile, $from // 0);

	my ($bad) = $log =~ /^(.*(?:TRAP:|PANIC:|was terminated|"retrostar worker" \(PID \d+\) exited with exit code [1-9]|leaked).*)$/m;

	is($bad, undef, 'nothing crashed');
	return;
}

1;
