# The plans of every shape, as EXPLAIN (VERBOSE) and auto_explain print them:
# no error that is not there without prefetching, the same results, and a
# topmost node that gives what it gives without.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PrefetchPlans qw(auto_explain disabled_nodes explain_statements has_auto_explain take_plans top_outputs);
use PrefetchShapes qw(prefetch_schema prefetch_shapes without_notice);
use RetroTest;
use Test::More;

my $node = new_node('plans', conf => "autovacuum = off\njit = off\nfsync = off\n");
my $sim = start_simulator('--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim);
$node->safe_psql('postgres', 'GRANT USAGE ON FOREIGN SERVER gpu TO PUBLIC');
is(join('', psql(prefetch_schema())), '', 'tables');

my @formats = qw(text xml yaml);
my ($shapes, $explained, $logged) = (0, 0, 0);

foreach my $shape (prefetch_shapes($node->safe_psql('postgres', 'SHOW server_version_num')))
{
	subtest $shape->{name} => sub {
		explained($shape);
		SKIP: {
			skip 'no auto_explain beside this PostgreSQL', 1 unless has_auto_explain();
			auto_explained($shape);
		}
	};
}
cmp_ok($explained, '>', 240, 'plans were read');
cmp_ok($logged, '>', 280, 'and those that auto_explain printed') if has_auto_explain();

done_testing();

sub explained
{
	my ($shape) = @_;
	my @json = explain_statements($shape, 'VERBOSE, COSTS OFF, FORMAT JSON');
	my @others = (explain_statements($shape, 'VERBOSE'), explain_statements($shape, 'ANALYZE, VERBOSE, BUFFERS'));
	my (%outputs, %disabled, %errors);

	foreach my $prefetch ('on', 'off')
	{
		my ($out, $err) = psql("SET retrostar.prefetch = $prefetch;\n$shape->{before}\n",
			(map { "\\echo \@\@\n$_;\n" } @json), "\\echo \@\@\n\\o /dev/null\n", map { "$_;\n" } @others);
		my @plans = $out =~ /^\@\@\n(\[\n.*?\n\])\n/msg;

		$outputs{$prefetch} = join("\n", top_outputs(@plans));
		$disabled{$prefetch} = join("\n", disabled_nodes(@plans));
		$errors{$prefetch} = errors($err);
		is(scalar(@plans), scalar(@json), "plans of all statements, prefetch $prefetch") unless $errors{$prefetch};
		$explained += @plans if $prefetch eq 'on';
	}
	is($outputs{on}, $outputs{off}, 'EXPLAIN: what the topmost nodes give');
	is($disabled{on}, $disabled{off}, 'EXPLAIN: disabled nodes');
	is($errors{on}, $errors{off}, 'EXPLAIN: errors');
	return;
}

sub auto_explained
{
	my ($shape) = @_;
	my ($on, $on_err) = run($shape, 'on', 'json', 'notice');
	my ($off, $off_err) = run($shape, 'off', 'json', 'notice');
	my @on_plans = take_plans(\$on_err);
	my @off_plans = take_plans(\$off_err);
	my ($same, $same_err) = run($shape, 'on', $formats[ $shapes++ % @formats ], 'log');

	is($on, $off, 'auto_explain: same result');
	is($on_err, $off_err, 'auto_explain: messages');
	is(join("\n", top_outputs(@on_plans)), join("\n", top_outputs(@off_plans)), 'auto_explain: what the topmost nodes give');
	is("$same$same_err", "$off$off_err", 'auto_explain, another format');
	$logged += @on_plans;
	return;
}

# What the shape prints, on standard output and otherwise, while plans are printed
sub run
{
	my ($shape, $prefetch, $format, $level) = @_;

	# what is known already would not be asked for
	wait_until('all is stored', sub { queue($node, 'pairs = 0 AND waiters = 0') eq 't' });
	$node->safe_psql('postgres', 'TRUNCATE retrostar.score_cache');
	return psql("\\set SHOW_CONTEXT never\nSET retrostar.prefetch = $prefetch;\n", auto_explain($format, $level),
		"\n$shape->{before}\n$shape->{query};\n$shape->{after}\n");
}

sub errors { return join('', grep { /^ERROR/ } split(/^/, $_[0])); }

sub psql
{
	my $sql = join('', @_);
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-XqAt', '-d', $node->connstr('postgres') ], '<', \$sql, '>', \$out, '2>', \$err);
	$err =~ s/^psql:<stdin>:\d+: //mg;
	return ($out, without_notice($err));
}
