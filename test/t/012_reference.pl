# The tables of doc/reference.md agree with what there is: settings, options,
# functions with their arguments, views and tables with their columns, error
# codes.  Both ways: nothing is missing and nothing is invented.  Links of all
# pages lead somewhere.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

my $reference = page('doc/reference.md');
my $node = new_node('reference');

create_server($node, 'postgres', 'gpu', 'http://127.0.0.1:1');
settings();
server_options();
mapping_options();
functions();
tables();
views();
error_codes();
sizing();
links($_) foreach pages();
ways_in();
done_testing();

# The text of a section, up to the next heading of its level or above
sub section
{
	my ($heading) = @_;
	my ($level) = $heading =~ /^(#+)/;
	my $n = length $level;
	my ($text) = $reference =~ /^\Q$heading\E\n(.*?)(?=^#{1,$n} |\z)/ms;

	die "the reference has no \"$heading\"" unless defined $text;
	return $text;
}

# The rows of the first table whose header begins like this, as lists of cells
sub table_rows
{
	my ($text, $header) = @_;
	my ($body) = $text =~ /^\| \Q$header\E[^\n]*\|\n\|[- |]+\|\n((?:\|[^\n]*\|\n)+)/m;

	die "no table \"$header\"" unless defined $body;
	return map { [ map { s/^\s+|\s+$//gr } split /(?<!\\)\|/, substr($_, 1, -1) ] } split /\n/, $body;
}

# What stands between backticks
sub quoted
{
	my ($cell) = @_;
	return $cell =~ /`([^`]*)`/g;
}

# The table of sizes is what the query above it gives
sub sizing
{
	my $text = page('doc/operations.md');
	my ($query) = $text =~ /^```sql sizing\n(.*?);\n```$/ms;

	die 'there is no query of sizes' unless defined $query;
	is_deeply([ table_rows($text, 'pairs a day') ], [ rows($query) ], 'sizes are as computed');
	return;
}

# Rows of a query
sub rows
{
	my ($sql) = @_;
	return map { [ split /\t/, $_, -1 ] } split /\n/,
	  $node->safe_psql('postgres', $sql, extra_params => [ '-F', "\t" ]);
}

# A name in each first cell, as often as it is there
sub first_names
{
	return sort map { quoted($_->[0]) } @_;
}

sub settings
{
	my @rows = table_rows(section('## Settings'), 'setting');
	my %row = map { (quoted($_->[0]))[0] => $_ } @rows;
	my %who = (user => 'any user', superuser => 'superuser, or granted',
		sighup => '`postgresql.conf`, reload', postmaster => '`postgresql.conf`, restart');
	my @settings = rows(q(SELECT name, boot_val, unit, context, array_to_string(enumvals, ' ')
		FROM pg_settings WHERE name LIKE 'retrostar.%' ORDER BY name));

	is_deeply([ first_names(@rows) ], [ map { $_->[0] } @settings ], 'the table of settings');
	foreach (@settings)
	{
		my ($name, $default, $unit, $context, $values) = @$_;
		my (undef, $said, $meaning, $said_who) = @{ $row{$name} // [] };

		next unless defined $said;
		$default = 'empty' if $default eq '';
		$default = $default / 1000 . 's' if $unit eq 'ms' && $default > 0;
		$default = $default / 1024 . 'MB' if $unit eq 'kB';
		is($said =~ tr/`//dr, $default, "$name: default");
		is($said_who, $who{$context}, "$name: who and when");
		ok(length $meaning > 10, "$name: meaning");
		like($meaning, qr/`$_`/, "$name: value $_") foreach split / /, $values;
	}
	return;
}

# The names of a hint, for an option that does not exist
sub valid_options
{
	my ($command) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', "$command OPTIONS (nonsense '1')");
	my ($names) = $stderr =~ /HINT: +Valid options in this context are: (.*)\./;

	return sort split /, /, $names;
}

# Defaults are right when giving them changes nothing that is in the key, and
# are at least valid otherwise.
sub server_options
{
	my @rows = table_rows(section('## Server options'), 'option');
	my $key = q(SELECT retrostar.cache_key('q', 'd', server => 'gpu'));
	my $before = $node->safe_psql('postgres', $key);

	is_deeply([ first_names(@rows) ],
		[ valid_options('CREATE SERVER nobody FOREIGN DATA WRAPPER retrostar') ], 'the table of server options');
	foreach (@rows)
	{
		my ($option) = quoted($_->[0]);
		my $default = $_->[1] =~ tr/`//dr;

		ok(length $_->[2] > 5, "$option: meaning");
		next if $default =~ /^(?:required|not given|found out|none|the .*)$/;
		is(sqlstate($node, 'postgres', "ALTER SERVER gpu OPTIONS (ADD $option '$default')"), '00000', "$option: default");
		is($node->safe_psql('postgres', $key), $before, "$option: the key with its default");
	}
	return;
}

sub mapping_options
{
	my ($text) = section('## Server options') =~ /(Options of `CREATE USER MAPPING`.*)/s;

	is_deeply([ first_names(table_rows($text, 'option')) ],
		[ valid_options('CREATE USER MAPPING FOR PUBLIC SERVER gpu') ], 'the table of mapping options');
	return;
}

# Input and output arguments of all that belongs to the extension, and results
sub catalog_functions
{
	return rows(q(
		SELECT p.oid, CASE WHEN n.nspname = 'retrostar' THEN 'retrostar.' ELSE '' END || p.proname, p.prokind,
			(SELECT string_agg(coalesce(p.proargnames[i], ''), ', ' ORDER BY i) FROM generate_series(1, p.pronargs) i),
			coalesce((SELECT CASE WHEN p.proretset THEN 'rows of ' ELSE '' END
					|| string_agg(p.proargnames[i] || ' ' || format_type(p.proallargtypes[i], NULL), ', ' ORDER BY i)
				FROM generate_subscripts(p.proallargtypes, 1) i WHERE p.proargmodes[i] IN ('o', 't')),
				CASE WHEN p.prorettype = 'void'::regtype OR p.prokind = 'p' THEN '' ELSE format_type(p.prorettype, NULL) END)
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar')
		ORDER BY 2, p.pronargs));
}

sub functions
{
	my $text = section('## Functions');
	my %in_table;
	my %argument;
	my (@functions, @parts);

	foreach my $row (table_rows($text, 'function'))
	{
		$in_table{$_} = $row foreach quoted($row->[0]);
	}
	foreach my $row (table_rows($text, 'argument'))
	{
		$argument{$_} = $row foreach quoted($row->[0]);
	}
	foreach (catalog_functions())
	{
		my ($oid, $name, $kind, $arguments, $returns) = @$_;

		if ($name =~ /_(?:state|transfn|finalfn|trigfn|validator)$|\.shared_(?:ask|put)$/)
		{
			push @parts, $name;
			next;
		}
		push @functions, "$name($arguments)";
		my $row = $in_table{ $functions[-1] } or next;
		is($row->[1] =~ tr/`//dr, $returns, "$name: returns");
		ok(length $row->[2] > 10, "$name: what it does");
		foreach (rows("SELECT p.proargnames[i], format_type(p.proargtypes[i - 1], NULL),
				coalesce(regexp_replace(pg_get_function_arg_default(oid, i), '::.*', ''), '')
			FROM pg_proc p, generate_series(1, p.pronargs) i WHERE oid = $oid"))
		{
			my ($argument, $type, $default) = @$_;
			my $said = delete $argument{$argument} // $argument{"used $argument"};

			ok($said, "$name: argument $argument is told of") or next;
			$argument{"used $argument"} = $said;
			is($said->[1] =~ tr/`//dr, $type, "$name: type of $argument");

			# An aggregate has two forms in the place of a default
			(my $said_default = $said->[2]) =~ s/^in a report (.*)$/$name eq 'retrostar.report' ? $1 : ''/e;
			is($said_default =~ tr/`//dr, $default, "$name: default of $argument") unless $kind eq 'a';
		}
	}
	is_deeply([ sort keys %in_table ], [ sort @functions ], 'the table of functions');
	is_deeply([ grep { !/^used / } keys %argument ], [], 'no argument that no function has');

	my %seen;
	my ($said) = $text =~ /^Parts of these, not for calls: ([^.]*(?:\.[a-z][^.]*)*)\./m;
	is_deeply([ sort(quoted($said)) ], [ grep { !$seen{$_}++ } @parts ], 'functions that are not for calls');
	return;
}

sub columns
{
	my ($relkind) = @_;
	my %columns;

	push @{ $columns{ $_->[0] } }, $_->[1] foreach rows(qq(
		SELECT n.nspname || '.' || c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		WHERE c.relkind = '$relkind' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar')
		ORDER BY 1, a.attnum));
	return %columns;
}

sub tables
{
	my %columns = columns('r');
	my %row = map { (quoted($_->[0]))[0] => $_ } table_rows(section('## Tables'), 'table');

	is_deeply([ sort keys %row ], [ sort keys %columns ], 'the table of tables');
	is_deeply([ sort(quoted($row{$_}[1])) ], [ sort @{ $columns{$_} } ], "$_: columns")
	  foreach sort grep { $row{$_} } keys %columns;
	return;
}

# A table for each view.  A column may stand in the meaning of another, where
# that is a sum.
sub views
{
	my %columns = columns('v');
	my %text = section('## Views') =~ /^`(retrostar\.[a-z_]+)`:(.*?)(?=^`retrostar\.|\z)/msg;

	is_deeply([ sort keys %text ], [ sort keys %columns ], 'the views');
	foreach my $view (sort grep { $text{$_} } keys %columns)
	{
		my @rows = table_rows($text{$view}, 'column');
		my %is_column = map { $_ => 1 } @{ $columns{$view} };
		my %told = map { $_ => 1 } map { quoted("$_->[0] $_->[1]") } @rows;

		# of all views, told of before their tables
		$told{stats_reset} = 1;
		is_deeply([ grep { !$told{$_} } @{ $columns{$view} } ], [], "$view: all columns");
		is_deeply([ grep { !$is_column{$_} } first_names(@rows) ], [], "$view: no others");
	}
	return;
}

# The codes of all errors that the sources raise.  Those for what cannot
# happen are of no use to anybody.
sub error_codes
{
	my %told = map { $_ => 1 } map { /\b([0-9A-Z]{5})\b/g } map { $_->[0] }
	  table_rows(section('## Error codes'), 'SQLSTATE');
	chomp(my $include = `pg_config --includedir-server`);
	my %code = slurp_file("$include/utils/errcodes.h") =~
	  /^#define (ERRCODE_\w+) MAKE_SQLSTATE\(([^)]*)\)/mg;
	my %raised;

	foreach my $file (glob("$top/src/*.c $top/src/*/*.c"))
	{
		my $source = slurp_file($file);

		# Comparisons
		$source =~ s/\bcase ERRCODE_\w+:|[!=]= ERRCODE_\w+//g;
		$raised{$_} = 1 foreach grep { defined $code{$_} && $_ ne 'ERRCODE_INTERNAL_ERROR' } $source =~ /\b(ERRCODE_\w+)/g;
	}
	is_deeply([ sort keys %told ], [ sort map { $code{$_} =~ tr/0-9A-Z//cdr } keys %raised ], 'the table of errors');
	return;
}

# Links inside of the project lead somewhere
sub links
{
	my ($file) = @_;
	my @broken;

	foreach my $target (targets($file))
	{
		my ($there, $anchor) = @$target;

		push @broken, join('#', grep { defined } @$target)
		  unless -e "$top/$there" && (!defined $anchor || anchors($there)->{$anchor});
	}
	is_deeply(\@broken, [], "$file: links");
	return;
}

# Where the links of a page lead: paths below the top, and anchors
sub targets
{
	my ($file) = @_;
	my ($folder) = $file =~ m{^(.*/)};
	my @targets;

	foreach (grep { !/^https?:/ } prose($file) =~ /\]\(([^)\s]+)\)/g)
	{
		my ($path, $anchor) = /^([^#]*)(?:#(.*))?$/;
		my $there = $path eq '' ? $file : ($folder // '') . $path;

		1 while $there =~ s{(?:^|(?<=/))(?!\.\./)[^/]+/\.\./}{};
		push @targets, [ $there, $anchor ];
	}
	return @targets;
}

# Every page is linked from the README, and old links into it find what they
# looked for: anchors of the README of which the pages were parts.
sub ways_in
{
	my %linked = map { $_->[0] => 1 } targets('README.md');
	my @old = qw(install getting-started how-it-works recipes rank with-pgvector ask-now-read-later
	  rank-a-set-in-one-call filter-by-a-threshold use-what-is-known-ask-for-nothing null-instead-of-an-error
	  several-samples an-answer-in-time why-this-score keep-scores-in-a-materialized-view refresh-on-a-schedule
	  scores-in-a-table-of-your-own ask-when-a-row-is-written your-own-task several-endpoints settings server-options
	  tasks monitoring-and-pausing security the-score-cache what-it-costs-and-when-not-to-use-it calls-made-ahead
	  questions-and-troubleshooting limits reference functions tables views tests-and-development);

	is_deeply([ grep { $_ ne 'README.md' && !$linked{$_} } pages() ], [], 'the README has a link to each page');
	is_deeply([ grep { !anchors('README.md')->{$_} } @old ], [], 'the README has its old anchors');

	# Elsewhere pages are named without a link
	my @named;
	foreach my $file (glob("$top/src/*/*.[ch] $top/sql/*.sql $top/test/*.sh $top/test/t/*.p[lm] $top/META.json"))
	{
		push @named, map { "$file: $_" } grep { !-e "$top/$_" } slurp_file($file) =~ m{\b(doc/\w+\.md)}g;
	}
	is_deeply(\@named, [], 'pages that are named exist');
	return;
}

# What headings of a page are called in links, and anchors of its own
sub anchors
{
	my ($file) = @_;
	my $text = prose($file);
	my %anchors = map { $_ => 1 } $text =~ /<a id="([^"]*)">/g;
	my %times;

	foreach my $heading ($text =~ /^#+ (.*)$/mg)
	{
		my $anchor = lc($heading) =~ s/[^\w\- ]//gr =~ tr/ /-/r;
		my $n = $times{$anchor}++;

		$anchors{ $n ? "$anchor-$n" : $anchor } = 1;
	}
	return \%anchors;
}
