# Plans as EXPLAIN (VERBOSE) and auto_explain print them: the statements that
# print them, and what of it does not depend on prefetching.  Used by
# 025_prefetch_plans.pl and by test/fuzz/prefetch_fuzz.pl.

package PrefetchPlans;

use strict;
use warnings;

use Exporter 'import';
use JSON::PP ();
our @EXPORT_OK = qw(auto_explain explain_statements has_auto_explain take_plans top_outputs disabled_nodes);

# Is the library installed beside this PostgreSQL?
sub has_auto_explain
{
	chomp(my $dir = `pg_config --pkglibdir`);
	return -e "$dir/auto_explain.so";
}

# Settings of a session that has the plans of all statements printed, as
# notices of this format, or where others do not see them.
sub auto_explain
{
	my ($format, $level) = @_;

	return "LOAD 'auto_explain';"
	  . join('', map { "SET auto_explain.log_$_ = on;" } qw(analyze verbose buffers wal timing triggers settings nested_statements))
	  . "SET auto_explain.log_format = $format; SET auto_explain.log_level = $level; SET auto_explain.log_min_duration = 0;";
}

# EXPLAIN, with these options, of what a statement (a hash, as a shape or what
# fuzz_statement() makes) and its cursors have as plans.
sub explain_statements
{
	my ($statement, $options) = @_;
	my @explained;

	push @explained, $1 while $statement->{before} =~ /(?<![\$\w ])\s*(DECLARE \w+ (?:[A-Z]+ )*CURSOR [^;]*)/g;
	push @explained, $statement->{query}
	  if $statement->{query} =~ /^(?:SELECT|WITH|INSERT|UPDATE|DELETE|MERGE|EXECUTE|CREATE)\b/;
	return map { "EXPLAIN ($options) $_" } @explained;
}

# Takes the plans that auto_explain printed, in JSON, out of an output
sub take_plans
{
	my ($output) = @_;
	my @plans;

	push @plans, $1 while $$output =~ s/^NOTICE:  duration: [\d.]+ ms  plan:\n(\{\n.*?\n\})\n//ms;
	return @plans;
}

# What the topmost node of each plan in JSON gives, a line for each.  Not told
# apart is whether the node computes it or the one below (then it is in
# parentheses), and a table from its partitions (an Append shows nothing
# itself, so that its first child is looked at).
sub top_outputs
{
	my (@plans) = @_;
	my @lines;

	foreach my $text (@plans)
	{
		my $decoded = JSON::PP::decode_json($text);
		my $node = (ref $decoded eq 'ARRAY' ? $decoded->[0] : $decoded)->{Plan};

		while ($node->{'Node Type'} =~ /Append/ && !$node->{Output})
		{
			($node) = grep { $_->{'Parent Relationship'} eq 'Member' } @{ $node->{Plans} // [] } or last;
		}
		my $line = join(', ', @{ $node->{Output} // [] });
		$line =~ s/[()]//g;
		$line =~ s/\b(\w+?)\d*(?:_\d+)?\./$1./g;
		push @lines, $line;
	}
	return @lines;
}

# The types of nodes that plans in JSON call disabled (PostgreSQL 18)
sub disabled_nodes
{
	my (@plans) = @_;
	my @todo = map { my $plan = JSON::PP::decode_json($_); (ref $plan eq 'ARRAY' ? $plan->[0] : $plan)->{Plan} } @plans;
	my @disabled;

	while (my $node = shift @todo)
	{
		push @disabled, $node->{'Node Type'} if $node->{Disabled};
		push @todo, @{ $node->{Plans} // [] };
	}
	return sort @disabled;
}

1;
