#!/usr/bin/perl
# Random statements with and without retrostar.prefetch, compared.
#
#	test/prefetch_fuzz.pl [--queries N] [--seed N] [--keep-going]
#
# Connects as psql would (PGHOST, PGPORT, PGDATABASE); the database has the
# extension and a usable server, and gets the tables it lacks.  Prints each
# difference with its seed and number, and a summary; fails when there is one.

use strict;
use warnings;

use FindBin;
use Getopt::Long;
use lib "$FindBin::RealBin/t";
use File::Temp qw(tempfile);

use PrefetchFuzz qw(fuzz_statement fuzz_compare);
use PrefetchShapes qw(prefetch_schema);

my ($queries, $seed, $keep_going) = (500, time(), 0);
GetOptions('queries=i' => \$queries, 'seed=i' => \$seed, 'keep-going' => \$keep_going)
  or die "usage: $0 [--queries N] [--seed N] [--keep-going]\n";

my $batch = 50;
my %count;
my @different;

sub psql
{
	my ($sql) = @_;
	my ($handle, $file) = tempfile(UNLINK => 1);

	print $handle $sql;
	close $handle;
	my $output = qx(psql -XqAt -f '$file' 2>&1);
	$output =~ s/^psql:\S+:\d+: //mg;
	return $output;
}

psql(prefetch_schema()) if psql("SELECT to_regclass('mp') IS NULL") eq "t\n";
srand($seed);
print "seed $seed\n";
for (my $first = 0; $first < $queries; $first += $batch)
{
	my @statements = map { fuzz_statement() } 1 .. $batch;
	my $sql = '';

	# prefetching first: what it gets is in the cache for the other run
	foreach my $statement (@statements)
	{
		foreach my $prefetch ('on', 'off')
		{
			$sql .= "RESET ALL; DEALLOCATE ALL; SET statement_timeout = '10min';"
			  . " SET retrostar.prefetch = $prefetch; $statement->{before}\n"
			  . "\\echo \@\@ $prefetch\n$statement->{query};\n$statement->{after}\n\\echo \@\@ end\nROLLBACK;\n";
		}
	}
	my $output = psql($sql);
	my @results = $output =~ /^\@\@ (?:on|off)\n(.*?)^\@\@ end$/msg;

	for (my $i = 0; $i < $batch; $i++)
	{
		my ($on, $off) = @results[ 2 * $i, 2 * $i + 1 ];
		my $outcome = defined $off ? fuzz_compare($statements[$i], $off, $on) : 'LOST';

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
print join(', ', map { "$_ $count{$_}" } sort keys %count), "\n";
exit(@different ? 1 : 0);
