# Every plan shape with and without prefetching: the same rows and the same
# errors, the same pairs asked for, and a prefetch node where there should be.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PrefetchShapes qw(prefetch_schema prefetch_shapes without_notice);
use RetroTest;
use Test::More;

my $node = new_node('shapes', conf => "autovacuum = off\njit = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER gpu TO PUBLIC');
is(psql(prefetch_schema()), '', 'tables');

# Counted where they are sent: the simulator may get to know of a pair that was
# cancelled when the next statement runs
my $sent;

foreach my $shape (prefetch_shapes($node->safe_psql('postgres', 'SHOW server_version_num')))
{
	my $node_shown = defined $shape->{node} ? has_node($shape) : undef;
	$sent = all_sent();
	my ($on, $pairs_on) = run($shape, 'on');
	my ($off, $pairs_off) = run($shape, 'off');

	subtest $shape->{name} => sub {
		is($on, $off, 'same result');
		# what has not been sent when a statement fails never is
		cmp_ok($pairs_on, '>=', $pairs_off, 'no pair missed') unless $on =~ /^ERROR/m;
		cmp_ok($pairs_on, '<=', $pairs_off + $shape->{extra}, 'no pair too many');
		is($node_shown, $shape->{node}, 'node') if defined $shape->{node};
	};
}

wait_idle($node);
is(queue($node, 'asked = answered + failed + cancelled AND text_bytes = 0 AND lost = 0'),
	't', 'counters balance');

done_testing();

# What the shape prints, and the number of pairs that the model was asked
sub run
{
	my ($shape, $prefetch) = @_;

	# what is known already would not be asked for
	$node->safe_psql('postgres', 'TRUNCATE retrostar.score_cache');
	my $before = $sent;
	my $output = without_notice(psql("SET retrostar.prefetch = $prefetch;\n$shape->{before}\n$shape->{query};\n$shape->{after}\n"));
	$sent = all_sent();

	# how it is done is not what it gives
	$output =~ s/^.*(?:Retro\* Prefetch|Calls Ahead:|->  Seq Scan|Seq Scan on).*\n//mg
	  if $shape->{before} =~ /EXPLAIN/;
	return ($output, $sent - $before);
}

# The number of samples sent until now, when all are stored
sub all_sent
{
	my $sent;

	wait_until('all is stored', sub {
		(my $idle, $sent) = split(/\|/, queue($node, 'pairs = 0 AND waiters = 0, samples_sent'));
		return $idle eq 't';
	});
	return $sent;
}

sub has_node
{
	my ($shape) = @_;
	my $plan = psql("$shape->{before}\nEXPLAIN (COSTS OFF) $shape->{query};\nROLLBACK;\n");

	return $plan =~ /Retro\* Prefetch/ ? 1 : 0;
}

sub psql
{
	my ($sql) = @_;
	my $output = '';

	IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$sql, '>&', \$output);
	$output =~ s/^psql:<stdin>:\d+: //mg;
	return $output;
}
