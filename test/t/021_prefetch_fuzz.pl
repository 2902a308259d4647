# Random statements with and without prefetching, from a fixed seed; their number
# is RETROSTAR_FUZZ.  Others: test/fuzz/prefetch_fuzz.pl.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PrefetchPlans qw(has_auto_explain);
use RetroTest;
use Test::More;

my $node = new_node('fuzz', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGDATABASE} = 'postgres';
my $queries = $ENV{RETROSTAR_FUZZ} // 400;
my $output = fuzz('--seed', '20260101', '--queries', $queries);

# Counting only what finds an answer keeps this honest: most statements do.
my ($same) = $output =~ /same (\d+)/;
cmp_ok($same // 0, '>', 0.75 * $queries, 'most statements work');
cmp_ok($sim->stats->{chat}, '>', $queries, 'and ask the model');

SKIP: {
	skip 'no auto_explain beside this PostgreSQL', 2 unless has_auto_explain();
	my ($plans) = fuzz('--seed', '20261130', '--queries', '100', '--explain') =~ /(\d+) plans read/;
	cmp_ok($plans // 0, '>', 200, 'plans were read');
}

done_testing();

sub fuzz
{
	my (@options) = @_;
	my $output = '';

	ok(IPC::Run::run([ $^X, "$FindBin::RealBin/../fuzz/prefetch_fuzz.pl", @options ], '>&', \$output), "no difference: @options")
	  or diag($output);
	note($output);
	return $output;
}
