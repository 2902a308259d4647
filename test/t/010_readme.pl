# The SQL of all pages runs, in one database, as a reader would paste it.  Their
# tables and links are for 012_reference.pl, their commands for 014_commands.pl.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

# Each goes on from the first one
my @order = map { /\.md$/ ? $_ : "doc/$_.md" }
  qw(README.md security recipes operations planning reference troubleshooting);

# Kinds of blocks, and what becomes of each.  Another one would be of no test's
# interest: give it to a test first.
my %kinds = (
	sql => 'here',
	'sql later' => 'here, after the others of its page',
	'sql pgvector' => '042_vector.pl',
	'sql pg_cron' => '041_cron.pl',
	'sql hub' => '071_shared_nodes.pl',
	'sql node' => '071_shared_nodes.pl',
	'sql uninstall' => '069_uninstall.pl',
	'sql sizing' => '012_reference.pl',
	exporter => '070_metrics.pl',
	sh => '014_commands.pl',
	perl => '014_commands.pl',
	python => 'test/clients.sh, outside CI',
	text => 'drawings, and what something prints: those of @printed',
);
my @printed = ('doc/recipes.md: Limit', grep { /^src\/README/ } map { $_->{where} } blocks('src/README.md', 'text'));

foreach my $name (pages())
{
	my @blocks = blocks($name);

	is(() = page($name) =~ /^```/mg, 2 * @blocks, "$name: each block has an end");
	ok($kinds{ $_->{kind} }, "a known kind of block ($_->{kind}), $_->{where}") foreach @blocks;
	foreach my $block (grep { $_->{kind} eq 'text' } @blocks)
	{
		ok((grep { $_ eq $block->{where} } @printed), "nothing that could be run: $block->{where}");
	}
	ok((grep { $_ eq $name } @order), "$name is in the order") if grep { $_->{kind} =~ /^sql(?: later)?$/ } @blocks;
}

my $node = new_node('readme', extension => 0);
my $dir = PostgreSQL::Test::Utils::tempdir();
my @model = ('--model', 'ljw13/retro-star-qwen3-14b-0928');
my $sim = start_simulator(@model, '--api-key', 'a-key-of-the-readme');
my $other = start_simulator(@model);
my $erank = start_simulator('--model', 'Alibaba-NLP/ERank-4B');
append_to_file("$dir/$_.key", "a-key-of-the-readme\n") foreach qw(gpu analyst);

foreach my $name (@order)
{
	my @sql = (blocks($name, 'sql'), blocks($name, 'sql later'));

	foreach my $block (@sql)
	{
		my $sql = $block->{text};

		$sql =~ s{http://127\.0\.0\.1:30000}{$sim->{url}}g;
		$sql =~ s{http://10\.0\.0\.7:30000}{$sim->{url}}g;
		$sql =~ s{http://10\.0\.0\.8:30000}{$other->{url}}g;
		$sql =~ s{http://10\.0\.0\.9:30000}{$erank->{url}}g;
		$sql =~ s{/etc/retrostar/}{$dir/}g;
		$sql =~ s{'cache\.copy'}{'$dir/cache.copy'}g;
		my ($ret, $stdout, $stderr) = $node->psql('postgres', $sql, on_error_die => 0, on_error_stop => 1);
		is($ret, 0, $block->{where}) or diag($stderr);
		unlike($stderr, qr/WARNING/, "no warning, $block->{where}");
		unlike($stdout, qr/\|f\|/, 'each row is ok') if $sql =~ /FROM retrostar\.check/;
	}
	cmp_ok(scalar @sql, '>', $name eq 'README.md' ? 6 : 0, "$name has SQL");
}

done_testing();
