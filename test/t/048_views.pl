# What the views of requests take: a server is read once, however many requests
# it has, and nothing is kept for each row.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('views', conf => "retrostar.max_requests = 16384\nretrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator();

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

create_server($node, 'postgres', $_, $sim) for qw(one two three);
sql('SELECT retrostar.pause()');

# So many more requests, of each server in turn
my $asked = 0;
sub ask
{
	my ($n) = @_;
	my $from = $asked + 1;

	$asked += $n;
	sql("SELECT retro_star_prefetch('views', 'document ' || i, server => (ARRAY['one', 'two', 'three'])[i % 3 + 1]) FROM generate_series($from, $asked) i");
	is(queue($node, 'waiting'), $asked, "$asked requests");
	return;
}

# What lies in the function's memory when its first row is evaluated; its
# result is in a context of another name
sub bytes_used
{
	my ($function) = @_;
	return sql("SELECT (SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name IN ('ExprContext', 'retrostar row', 'retrostar servers shown'))
		FROM $function LIMIT 1");
}

subtest 'memory of retrostar.stat_activity' => sub {
	ask(300);
	my $few = bytes_used('retrostar.activity_state()');
	ask(3000);
	my $many = bytes_used('retrostar.activity_state()');

	cmp_ok($few, '>', 10_000, 'it is seen');
	# the copy of the requests alone
	cmp_ok(($many - $few) / 3000, '<', 200, 'bytes for each row');
	diag(sprintf('%d bytes with 300 rows, %d with 3300', $few, $many)) if $ENV{RETROSTAR_VERBOSE};
};

# A server that cannot be read is told each time that it is tried
subtest 'how often a server is read' => sub {
	my $from = -s $node->logfile;

	sql(q(UPDATE pg_foreign_server SET srvoptions = '{url=http://h,model=m,timeout=nonsense}' WHERE srvname = 'two'));
	is(sql(q(SELECT count(*) FROM retrostar.stat_activity WHERE server = 'two')), $asked / 3, 'its requests are shown');
	is(() = slurp_file($node->logfile, $from) =~ /LOG: +could not use server "two"/g, 1, 'it was read once');
};

$node->stop('immediate');
done_testing();
