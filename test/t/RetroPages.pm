# The pages of the documentation, for the tests that hold them to what there is.
package RetroPages;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;

our @EXPORT = qw($top pages page prose blocks);

our $top = abs_path(dirname(__FILE__) . '/../..');

# All of them, by their names below the top
sub pages
{
	return sort map { substr($_, length($top) + 1) } grep { !m{/(?:tmp_check|results|output_iso)} }
	  map { glob("$top/$_") } qw(*.md doc/*.md src/*.md src/*/*.md test/*.md test/*/*.md);
}

sub page
{
	my ($name) = @_;
	return slurp_file("$top/$name");
}

# Without its fenced blocks
sub prose
{
	my ($name) = @_;
	return page($name) =~ s/^```.*?^```$//msgr;
}

# Its fenced blocks in order, optionally of one kind: kind is what stands after
# the fence ("sql pgvector"), text is the block, where names it in a message
sub blocks
{
	my ($name, $kind) = @_;
	my $text = page($name);
	my @blocks;

	while ($text =~ /^```([^\n]*)\n(.*?)^```$/msg)
	{
		my ($info, $block) = ($1, $2);
		my ($first) = $block =~ /^\s*(?!--)(\S.*)$/m;
		push @blocks, { kind => $info, text => $block, where => "$name: $first" };
	}
	return grep { !defined $kind || $_->{kind} eq $kind } @blocks;
}

1;
