#!/usr/bin/perl
# Random statements with and without retrostar.prefetch, compared.
#
#	test/fuzz/prefetch_fuzz.pl [--queries N] [--seed N] [--keep-going] [--explain]
#		[--changes] [--tables heap|hypertable|foreign]
#
# With --changes all of them change data; without, one in twenty does.
# With --explain also what EXPLAIN (VERBOSE) prints of each statement, and what
# auto_explain does with all its settings on.
#
# Connects as psql would (PGHOST, PGPORT, PGDATABASE); the database has the
# extension and a usable server.  One without the tables gets them, of the kind
# that --tables says; hypertables are TimescaleDB's.  Prints each difference with
# its seed and number, and a summary; fails when there is one.

use strict;
use warnings;

use FindBin;
use Getopt::Long;
use lib "$FindBin::RealBin/../t";
use File::Temp qw(tempfile);

use PrefetchFuzz qw(fuzz_statement fuzz_compare);
use PrefetchPlans qw(auto_explain disabled_nodes explain_statements has_auto_explain take_plans top_outputs);
use PrefetchShapes qw(prefetch_schema prefetch_tables without_notice);

my ($queries, $seed, $keep_going, $explain, $changes, $tables) = (500, time(), 0, 0, 0, 'heap');
GetOptions('queries=i' => \$queries, 'seed=i' => \$seed, 'keep-going' => \$keep_going, 'explain' => \$explain,
	'changes' => \$changes, 'tables=s' => \$tables) && $tables =~ /^(?:heap|hypertable|foreign)$/
  or die "usage: $0 [--queries N] [--seed N] [--keep-going] [--explain] [--changes] [--tables heap|hypertable|foreign]\n";
die "there is no auto_explain beside this PostgreSQL\n" if $explain && !has_auto_explain();

my $batch = 50;
my %count;
my $nplans = 0;
my @different;

sub psql
{
	my ($sql) = @_;
	my ($handle, $file) = tempfile(UNLINK => 1);

	print $handle $sql;
	close $handle;
	my $output = without_notice(scalar qx(psql -XqAt -f '$file' 2>&1));

	$output =~ s/^psql:\S+:\d+: //mg;
	return $output;
}

psql(prefetch_schema() . prefetch_tables($tables)) if psql("SELECT to_regclass('mp') IS NULL") eq "t\n";
srand($seed);
print "seed $seed\n";
for (my $first = 0; $first < $queries; $first += $batch)
{
	my @statements = map { statement() } 1 .. $batch;
	my $sql = '';

	# prefetching first: what it gets is in the cache for the other run
	foreach my $i (0 .. $#statements)
	{
		$sql .= script($statements[$i], $_, $first + $i) foreach ('on', 'off');
	}
	my $output = psql($sql);
	my @results = $output =~ /^\@\@ (?:on|off)\n(.*?)^\@\@ end$/msg;

	for (my $i = 0; $i < $batch; $i++)
	{
		my ($outcome, $on, $off) = compare($statements[$i], @results[ 2 * $i, 2 * $i + 1 ]);

		$count{$outcome}++;
		next unless $outcome =~ /DIFFERENT|LOST/;
		my $n = $first + $i;
		push @different, $n;
		print "$outcome: seed $seed, number $n\n$statements[$i]{before}\n$statements[$i]{query};\n$statements[$i]{after}\n";
		print "-- off\n", substr($off // $output, 0, 600), "-- on\n", substr($on // '', 0, 600), "\n";
		last if $outcome eq 'LOST';
	}
	last if @different && !$keep_going;
}
print join(', ', map { "$_ $count{$_}" } sort keys %count), $explain ? "; $nplans plans read" : '', "\n";
exit(@different ? 1 : 0);

# PostgreSQL's EXPLAIN (ANALYZE, FORMAT JSON) of a MERGE into several tables is no JSON
sub statement
{
	my $statement;

	do { $statement = fuzz_statement($changes) } while ($explain && $statement->{query} =~ /^MERGE/);
	return $statement;
}

# What one run of a statement is, and prints between marks.  Where a plan ends
# that auto_explain prints is seen in JSON; others go to the log.
sub script
{
	my ($statement, $prefetch, $n) = @_;
	my $begin = "RESET ALL; DEALLOCATE ALL; SET statement_timeout = '10min'; SET retrostar.prefetch = $prefetch;";
	my $settings = !$explain ? '' :
	  $n % 4 == 3 ? auto_explain((qw(text xml yaml))[ $n / 4 % 3 ], 'log') : auto_explain('json', 'notice');
	my @lines = ("\\echo \@\@ $prefetch");

	if ($explain)
	{
		push @lines, "$begin $statement->{before}",
		  (map { "$_;" } explain_statements($statement, 'VERBOSE, COSTS OFF, FORMAT JSON')),
		  '\echo @@ analyze', '\o /dev/null',
		  (map { "$_;" } explain_statements($statement, 'VERBOSE'), explain_statements($statement, 'ANALYZE, VERBOSE')),
		  '\o', 'ROLLBACK;';
	}
	push @lines, "$begin $settings $statement->{before}", '\echo @@ run', "$statement->{query};", $statement->{after},
	  '\echo @@ end', 'ROLLBACK;';
	return join("\n", @lines, '');
}

# As fuzz_compare(), of what has been printed between marks; also what was compared last
sub compare
{
	my ($statement, @printed) = @_;

	return 'LOST' unless defined $printed[1];
	my @run = map { (split /^\@\@ run\n/m)[1] // '' } @printed;
	my @logged = map { join("\n", top_outputs(take_plans(\$_))) } @run;
	my $outcome = fuzz_compare($statement, reverse @run);

	$nplans += grep { length } @logged;
	return ($outcome, @run) if !$explain || $outcome eq 'DIFFERENT';
	return ('DIFFERENT plans logged', @logged) if $outcome =~ /^(?:same|error)$/ && $logged[0] ne $logged[1];

	my @explained = map { (split /^\@\@ analyze\n/m)[0] } @printed;
	my @plans = map { join("\n", top_outputs(/^(\[\n.*?\n\])$/msg), disabled_nodes(/^(\[\n.*?\n\])$/msg), errors($_)) } @explained;
	$nplans += grep { length } @plans;
	my @errors = map { errors((split /^\@\@ (?:analyze|run)\n/m)[1] // '') } @printed;

	return ('DIFFERENT plans', @plans) if $plans[0] ne $plans[1];
	return ('DIFFERENT under ANALYZE', @errors) if fuzz_compare($statement, reverse @errors) eq 'DIFFERENT';
	return $outcome;
}

sub errors
{
	my ($output) = @_;
	return join('', grep { /^ERROR/ } split(/^/, $output));
}
