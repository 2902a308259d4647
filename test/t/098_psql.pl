# What somebody sees who looks at the extension from psql: \dx+ lists what the
# reference tells of and nothing else, by names that can be typed and completed;
# and each listing says what each object is for.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use RetroPages;
use RetroTest;
use Test::More;

my $node = new_node('psql');
my $reference = page('doc/reference.md');

create_server($node, 'postgres', 'gpu', 'http://127.0.0.1:9');

# Rows of a backslash command, by the headings of its columns
sub listing
{
	my ($command) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $command, extra_params => [ '-A', '-F', "\x1f", '-R', "\x1e", '-P', 'tuples_only=off', '-P', 'footer=off', '-P', 'format=unaligned' ]);

	is("$ret$err", '0', $command);
	my @lines = split /\x1e/, $out;
	shift @lines if @lines && $lines[0] !~ /\x1f/;		# a title
	my @headings = split /\x1f/, shift(@lines) // '';
	return map { my %row; @row{@headings} = split(/\x1f/, $_, -1); \%row } @lines;
}

# Tables and views have types of their name, which versions before 17 list, too
sub members
{
	my ($ret, $out, $err) = $node->psql('postgres', '\dx+ retrostar', extra_params => [ '-A', '-t' ]);
	my @all = grep { !/^\s*$/ && !/^Objects in extension/ && !/^\(/ } split /\n/, $out;
	my %relation = map { /^(?:table|view) (\S+)$/ ? ($1 => 1) : () } @all;

	is("$ret$err", '0', '\dx+');
	return grep { !(/^type (\S+?)(?:\[\])?$/ && ($relation{$1} || "$1" eq 'retrostar.ranked' && /\[\]/)) } @all;
}

subtest '\dx+' => sub {
	my %kinds;
	my @members = members();

	cmp_ok(scalar(@members), '>', 60, 'it lists what there is');
	foreach (@members)
	{
		my ($kind, $name) = /^(foreign-data wrapper|[a-z]+(?: view)?) ([^(]+)/ or do { fail("what is \"$_\"?"); next };

		$kinds{$kind}++;
		# a reserved word, which needs no quotes behind its schema
		$name =~ s/^retrostar\."check"$/retrostar.check/;
		like($name, qr/^(?:retrostar|retrostar\.[a-z][a-z0-9_]*|retro_star_[a-z_]+)$/, "$_: a name to be typed");
		next if $kind =~ /^(?:schema|foreign-data wrapper|sequence)$/;
		ok($reference =~ /`\Q$name\E[`( ]/, "$_: the reference tells of it");
	}
	is_deeply([ sort keys %kinds ], [ 'foreign-data wrapper', 'function', 'schema', 'sequence', 'table', 'type', 'view' ], 'of these kinds')
	  or diag(join("\n", @members));
};

# What has a column for it
subtest 'descriptions' => sub {
	my %least = ('\dx retrostar' => 1, '\dn+ retrostar' => 1, '\dew+ retrostar' => 1, '\df+ retrostar.*' => 20, '\df+ retro_star_*' => 7, '\da retro_star_*' => 3,
		'\dv+ retrostar.*' => 8, '\dt+ retrostar.*' => 5, '\ds+ retrostar.*' => 1, '\di+ retrostar.*' => 6, '\dT+ retrostar.*' => 1);

	foreach my $command (sort keys %least)
	{
		my @rows = listing($command);

		cmp_ok(scalar(@rows), '>=', $least{$command}, 'rows');
		foreach my $row (@rows)
		{
			my ($name) = map { $row->{$_} } grep { exists $row->{$_} } 'Name';

			ok(exists $row->{Description} && length $row->{Description} > 5, "$command: $name");
		}
	}
	foreach my $relation (map { $_->{Name} } listing('\dt retrostar.*'), listing('\dv retrostar.*'))
	{
		foreach my $row (listing("\\d+ retrostar.$relation"))
		{
			last unless exists $row->{Description} && defined $row->{Type};
			ok(length $row->{Description} > 2, "\\d+ retrostar.$relation: $row->{Column}");
		}
	}
	# \dd has the objects of other kinds: here it is what is missing that counts
	is($node->safe_psql('postgres', q(SELECT string_agg(i.identity, ', ') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid, pg_identify_object('pg_trigger'::regclass, t.oid, 0) i
		WHERE c.relnamespace = 'retrostar'::regnamespace AND NOT tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL)), '', 'triggers');
	is($node->safe_psql('postgres', q(SELECT string_agg(i.identity, ', ') FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid, pg_identify_object('pg_policy'::regclass, p.oid, 0) i
		WHERE c.relnamespace = 'retrostar'::regnamespace AND obj_description(p.oid, 'pg_policy') IS NULL)), '', 'policies');
	is($node->safe_psql('postgres', q(SELECT string_agg(conname, ', ') FROM pg_constraint c
		WHERE connamespace = 'retrostar'::regnamespace AND contype = 'c' AND obj_description(oid, 'pg_constraint') IS NULL)), '', 'conditions');
};

# There are none of these, and so nothing in the way in their lists
subtest 'nothing else' => sub {
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_$_ o JOIN pg_depend d ON d.classid = 'pg_$_'::regclass AND d.objid = o.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar')"), 0, $_) foreach qw(cast operator opclass collation conversion event_trigger publication ts_config language);
	# who completes "retro_star_" gets what is to be called, and nothing else
	is($node->safe_psql('postgres', q(SELECT string_agg(DISTINCT proname, ' ' ORDER BY proname) FROM pg_proc WHERE proname LIKE 'retro%' AND pg_function_is_visible(oid))),
		'retro_star_explain retro_star_passages retro_star_prefetch retro_star_prompt retro_star_rerank retro_star_rerank_agg retro_star_score', 'visible functions');
	is($node->safe_psql('postgres', q(SELECT string_agg(relname, ' ') FROM pg_class WHERE relname ~ '^(score_cache|stat_|usage|budget|task|refresh_log)' AND pg_table_is_visible(oid) AND relnamespace <> 'pg_catalog'::regnamespace)), '', 'and no relation');
	# arguments can be given by their names
	is($node->safe_psql('postgres', q(SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'retrostar') AND pronargs > 0 AND proargnames IS NULL AND proname !~ '_(?:transfn|finalfn|validator)$')), '', 'names of arguments');
};

$node->stop;
done_testing();
