# The commands of all pages: scripts are there and know the options that they
# are given, make can make what it is told to, statements run; the demo runs,
# and so does the test that test/README.md shows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

my $node = new_node('commands');
my $dir = PostgreSQL::Test::Utils::tempdir();
my %help;

# What make tells those whom it starts is not for those below
delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES)};

# What a command looks like, and what is asked of it: a problem, or nothing.
# The last are programs of others, which do more than a test may.
my @commands = (
	[ qr{^(?:sudo )?(make\b.*)$}, \&make_can ],
	[ qr{^(?:PG_CONFIG=\S+ )?(test/\S+\.sh|\.ci/run)((?: .*)?)$}, \&script_knows ],
	[ qr{^sudo -u postgres psql -c "(.*)"$}, \&statement_runs ],
	[ qr{^psql -AtXc "(.*)" mydb > report\.html$}, \&statement_runs ],
	[ qr{^sudo apt-get install ([^./].*)$}, \&packages_are_ours ],
	[ qr{^(?:sudo )?((?:cp debian/|pg_buildext |dpkg-buildpackage|apt-get install \./|pgxn install).*)$}, \&packages_test_runs ],
	[ qr{^(?:\w+=\w+ )+docker compose -f (\S+) --profile (\w+) up$}, \&compose_has ],
	[ qr{^(?:sudo (?:systemctl restart|install) |python -m sglang\.launch_server |vllm serve ).*$}, sub { return } ],
);

# The result of a program, with all that it says
sub run_program
{
	my (@command) = @_;
	my $output = '';
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \$output, '2>&1');

	return ($ok, $output);
}

sub problem
{
	my ($command) = @_;

	foreach (@commands)
	{
		my ($pattern, $check) = @$_;
		my @parts = $command =~ $pattern or next;
		return $check->(@parts);
	}
	return 'no test knows what it is';
}

sub make_can
{
	my ($command) = @_;
	my ($make, @arguments) = split / /, $command;
	my @targets = grep { !/^PG_CONFIG=/ } @arguments;
	my ($ok, $output) = run_program('make', '-n', '-s', '-C', $top, @targets);

	return $ok ? undef : $output;
}

sub script_knows
{
	my ($script, $arguments) = @_;
	my ($name) = $arguments =~ /--test (\S+)/;

	return "$script cannot be executed" unless -x "$top/$script";
	return "there is no test $name" if defined $name && !grep { -e "$top/$_" }
		"test/t/$name.pl", "sql/$name.sql", "test/specs/$name.spec", "test/unit/$name.c";
	return unless $arguments =~ /--/;
	$help{$script} //= (run_program("$top/$script", '--help'))[1];
	my @unknown = grep { $_ ne '--help' && $help{$script} !~ /\Q$_\E\b/ } $arguments =~ /(--[a-z-]+)/g;

	# of a kind of which the help lists all there are
	push @unknown, $1 if $arguments =~ /--only (\S+)/ && $help{$script} !~ /\b\Q$1\E\b/;
	return @unknown || $help{$script} eq '' ? "unknown: @unknown" : undef;
}

sub statement_runs
{
	my ($sql) = @_;
	my ($ret, $stdout, $stderr) = $node->psql('postgres', $sql);

	return $ret == 0 ? undef : $stderr;
}

sub packages_are_ours
{
	my ($packages) = @_;
	my $setup = page('test/setup.sh') . page('test/packages.sh');
	my @others = grep { my $name = s/-\d+$/-/r; $setup !~ /\b\Q$name\E/ } split / /, $packages;

	return @others ? "installed neither by test/setup.sh nor by test/packages.sh: @others" : undef;
}

# With the same words, but for versions and folders
sub packages_test_runs
{
	my ($command) = @_;
	my ($word) = $command =~ /^(\S+ ?[\w-]*)/;

	return page('test/packages.sh') =~ /\Q$word\E/ ? undef : "test/packages.sh does not run $word";
}

sub compose_has
{
	my ($file, $profile) = @_;

	return page($file) =~ /profiles: \[$profile\]/ ? undef : "$file has no profile $profile";
}

subtest 'commands' => sub {
	foreach my $name (pages())
	{
		my @commands = map { split /\n/, $_->{text} } blocks($name, 'sh');
		push @commands, grep { m{^(?:sudo )?make\b|^test/\S+\.sh\b|^\.ci/} } prose($name) =~ /`([^`\n]+)`/g;

		foreach my $command (map { s/\s+#.*//r } grep { /\S/ && !/^#/ } @commands)
		{
			is(problem($command), undef, "$name: $command");
		}
	}
};

# Files and folders that are named between backticks
subtest 'paths' => sub {
	foreach my $name (pages())
	{
		my @paths = grep { m{^(?:src|doc|sql|test|expected|\.ci)(?:/[\w.-]+)+/?$} } prose($name) =~ /`([^`\n]+)`/g;
		is_deeply([ grep { !-e "$top/$_" } @paths ], [], "paths in $name");
	}
};

subtest 'the test that test/README.md shows' => sub {
	my @tests = blocks('test/README.md', 'perl');

	is(scalar @tests, 1, 'it shows one');
	append_to_file("$dir/once.pl", $tests[0]{text});
	my ($ok, $output) = run_program($^X, (map { "-I$_" } @INC), "$dir/once.pl");
	ok($ok, 'it passes') or diag($output);
};

subtest 'the demo' => sub {
	my ($ok, $output) = run_program("$top/test/demo.sh");

	ok($ok, 'it ends well') or diag($output);
	my $steps = () = page('test/demo.sh') =~ /^\theading "/mg;
	like($output, qr/^$_\. /m, "step $_") foreach 1 .. $steps;
	like($output, qr/Measured: \d+ scores one after another.*times as fast/s, 'it says what it has measured');
};

done_testing();
