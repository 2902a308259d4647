# META.json, retrostar.control, changelogs, library and scripts speak of the same version, and
# META.json is what the PGXN specification 1.0.0 wants.

use strict;
use warnings;

use FindBin;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $top = "$FindBin::RealBin/../..";
my $meta = JSON::PP->new->utf8->decode(slurp_file("$top/META.json"));
my %control = slurp_file("$top/retrostar.control") =~ /^(\w+) = '?(.*?)'?$/mg;

is($meta->{version}, $control{default_version}, 'the version');
is($meta->{abstract}, $control{comment}, 'the abstract');

# What the specification knows; members that it wants
my @wanted = qw(name version abstract maintainer license provides meta-spec);
my %known = map { $_ => 1 } @wanted, qw(description generated_by no_index prereqs release_status resources tags);
is_deeply([ grep { !exists $meta->{$_} } @wanted ], [], 'no member is missing');
is_deeply([ grep { !$known{$_} } keys %$meta ], [], 'no member is unknown');
is($meta->{'meta-spec'}{version}, '1.0.0', 'the specification');
like($meta->{version}, qr/^\d+\.\d+\.\d+$/, 'a semantic version');
is($meta->{license}, 'postgresql', 'the licence');
like($meta->{release_status}, qr/^(?:stable|testing|unstable)$/, 'a known status');
is_deeply([ grep { m{[/\\[:cntrl:]]} || length > 256 } @{ $meta->{tags} } ], [], 'tags');

is_deeply([ keys %{ $meta->{provides} } ], ['retrostar'], 'one extension');
my $extension = $meta->{provides}{retrostar};
is($extension->{version}, $control{default_version}, 'its version');
ok(-f "$top/$extension->{$_}", "its $_") foreach qw(file docfile);
like($extension->{file}, qr{^sql/retrostar--[\d.]+\.sql$}, 'its install script');

# The README says the same
my $readme = slurp_file("$top/README.md");
my ($first, $last) = $readme =~ /^PostgreSQL (\d+) to (\d+) on Linux/m;
is($meta->{prereqs}{runtime}{requires}{PostgreSQL}, ">= $first.0.0, < " . ($last + 1) . '.0.0', 'versions of PostgreSQL');

my ($newest) = slurp_file("$top/CHANGELOG.md") =~ /^## (\S+)/m;
is($newest, $control{default_version}, 'the newest changes are those of this version');
my ($package) = slurp_file("$top/debian/changelog") =~ /^retrostar \(([\d.]+)-\d+\)/;
is($package, $control{default_version}, 'so is the Debian package');
my ($library) = slurp_file("$top/src/base/version.h") =~ /^#define RSTAR_VERSION\s+"(.*)"$/m;
is($library, $control{default_version}, 'so is the library');
my @scripts = glob("$top/sql/retrostar--*.sql");
ok(-f "$top/sql/retrostar--$control{default_version}.sql", 'there is an install script');
is_deeply([ grep { m{--([\d.]+)\.sql$} && $1 ne $control{default_version} && !-f "$top/sql/retrostar--$1--$control{default_version}.sql" } @scripts ],
	[], 'and an upgrade script from each version before');

done_testing();
