# Random statements with and without prefetching, from a fixed seed.  More and
# others: test/prefetch_fuzz.pl.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use RetroTest;
use Test::More;

my $node = new_node('fuzz', conf => "autovacuum = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);

local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
local $ENV{PGDATABASE} = 'postgres';
my $output = '';
ok( IPC::Run::run(
		[ $^X, "$FindBin::RealBin/../prefetch_fuzz.pl", '--seed', '20260101', '--queries', '400' ],
		'>&', \$output),
	'no difference') or diag($output);
note($output);

# Counting only what finds an answer keeps this honest: most statements do.
my ($same) = $output =~ /same (\d+)/;
cmp_ok($same // 0, '>', 300, 'most statements work');
cmp_ok($sim->stats->{chat}, '>', 1000, 'and ask the model');

done_testing();
