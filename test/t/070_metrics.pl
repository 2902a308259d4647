# What postgres_exporter makes of doc/monitoring/queries.yaml, for a role that
# has pg_monitor and nothing else, and that the dashboard beside it asks for
# nothing that is not there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split(/:/, $ENV{PATH}), '/usr/bin';
plan skip_all => 'prometheus-postgres-exporter is not installed' unless defined $exporter;

my $pages = "$FindBin::RealBin/../../doc/monitoring";
my $node = new_node('metrics', conf => "retrostar.worker_idle_timeout = '1h'\n");
my $sim = start_simulator('--dialect', 'openai', '--delay-ms', '0');

create_server($node, 'postgres', 'gpu', $sim, dialect => 'openai', retries => 0);
$node->safe_psql('postgres', q(CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE alice LOGIN; GRANT USAGE ON FOREIGN SERVER gpu TO alice;
	INSERT INTO retrostar.budget (name, role, period, samples) VALUES ('all', 'public', '1000 months', 1000000)));

# Scores, some twice, and a failure; of the last nothing is told but that it waits
$node->safe_psql('postgres', q(SELECT count(retro_star_score('metrics', i::text)) FROM generate_series(1, 30) i), extra_params => [ '-U', 'alice' ]) for 1 .. 2;
$sim->control({ fail => [ { mode => 'status', value => 400 } ] });
$node->safe_psql('postgres', q(SET retrostar.on_error = 'null'; SELECT retro_star_score('metrics', 'fails')));
$sim->control({ fail_clear => JSON::PP::true });
wait_idle($node);
ok($node->poll_query_until('postgres', 'SELECT sum(failures) = 1 FROM retrostar.usage'), 'all of it is counted');
$node->safe_psql('postgres', q(SELECT retrostar.pause()));
$node->safe_psql('postgres', q(SELECT retro_star_prefetch('metrics', 'waits')), extra_params => [ '-U', 'alice' ]);

my $port = PostgreSQL::Test::Cluster::get_free_port();
my $log = "$PostgreSQL::Test::Utils::log_path/exporter.log";
my $harness;
{
	# as the page says, but for where things are
	my ($said) = map { $_->{text} } blocks('doc/operations.md', 'exporter');
	my ($arguments) = $said =~ /^ARGS="(.*)"$/m;
	local ($ENV{DATA_SOURCE_NAME}) = $said =~ /^DATA_SOURCE_NAME='(.*)'$/m;

	$ENV{DATA_SOURCE_NAME} =~ s/user=prometheus host=\S+/'user=watcher host=' . $node->host . ' port=' . $node->port/e;
	$arguments =~ s{/etc/retrostar}{$pages};
	$arguments =~ s/:9187\b/:$port/;
	$harness = IPC::Run::start([ $exporter, split(/ /, $arguments), '--disable-default-metrics', '--disable-settings-metrics' ],
		'<', \undef, '>', $log, '2>&1');
}
my $text;
wait_until('the exporter answers', sub {
	my $response = HTTP::Tiny->new->get("http://127.0.0.1:$port/metrics");
	$text = $response->{content} if $response->{success};
	return $response->{success} || !$harness->pumpable;
});
my $prometheus = start_prometheus();
my $found = $prometheus && answers_of($prometheus);
$prometheus->{harness}->kill_kill if $prometheus;
$harness->kill_kill;
unlike(slurp_file($log), qr/retrostar.*(?:error|denied)|error.*retrostar/i, 'no query fails');

# Each metric: its samples, by their labels
my %metrics;
while ($text =~ /^(retrostar_\w+)(?:\{(.*)\})? (\S+)$/mg)
{
	my ($name, $labels, $value) = ($1, $2, $3);
	push @{ $metrics{$name} }, { ($labels // '') =~ /(\w+)="((?:[^"\\]|\\.)*)"/g, value => $value };
}
sub metric { my ($name, %labels) = @_; my @found = grep { my $s = $_; !grep { $s->{$_} ne $labels{$_} } keys %labels } @{ $metrics{"retrostar_$name"} // [] };
	return @found == 1 ? $found[0]{value} + 0 : 'found ' . @found; }

my $yaml = slurp_file("$pages/queries.yaml");
my (@named, $block);
foreach (split /\n/, $yaml)
{
	$block = $1 if /^(retrostar_\w+):$/;
	push @named, "${block}_$1" if /^    - (\w+):$/;
	pop @named if /usage: "LABEL"/;
}
cmp_ok(scalar @named, '>', 40, 'the page has metrics');
is(join("\n", sort keys %metrics), join("\n", sort @named), 'each is in the scrape, and nothing else');

is(metric('queue_answered'), 30, 'pairs with a score');
is(metric('queue_failed'), 1, 'and without');
is(metric('queue_waiting'), 1, 'what waits');
is(metric('queue_paused'), 1, 'and why');
cmp_ok(metric('queue_oldest_seconds'), '>', 0, 'since when');
is(metric('endpoint_answered', foreign_server => 'gpu', endpoint => $sim->{url}), 30, 'of an endpoint');
is(metric('endpoint_up', foreign_server => 'gpu'), 1, 'which is in use');
cmp_ok(metric('endpoint_latency_p95_seconds', foreign_server => 'gpu'), '>', 0, 'and how long it takes');
cmp_ok(metric('cache_hits'), '>=', 30, 'what was known');
is(metric('usage_samples', role => 'alice', foreign_server => 'gpu', priority => 'interactive'), 30, 'what others have used');
is(metric('usage_failures', role => $node->safe_psql('postgres', 'SELECT current_user'), foreign_server => 'gpu'), 1, 'and failures');
is(metric('budget_samples_used', budget => 'all'), 30, 'what is used of a budget');
is(metric('budget_samples_limit', budget => 'all'), 1_000_000, 'of how much');

# The dashboard
my $dashboard = decode_json(slurp_file("$pages/dashboard.json"));
my %ids;
my @places;
foreach my $panel (@{ $dashboard->{panels} })
{
	my $at = $panel->{gridPos};

	ok(!$ids{ $panel->{id} }++, "panel $panel->{title}: its number is its own");
	is((grep { $at->{x} < $_->{x} + $_->{w} && $_->{x} < $at->{x} + $at->{w} && $at->{y} < $_->{y} + $_->{h} && $_->{y} < $at->{y} + $at->{h} } @places), 0, 'and its place');
	push @places, $at;
	ok(@{ $panel->{targets} // [] } > 0, 'it shows something') unless $panel->{type} eq 'row';
	foreach my $target (@{ $panel->{targets} // [] })
	{
		my @names = $target->{expr} =~ /\b(retrostar_\w+)/g;

		ok(@names > 0 && !(grep { !$metrics{$_} } @names), "$target->{expr}: it is in the scrape");
		is(($target->{expr} =~ tr/(//), ($target->{expr} =~ tr/)//), 'its brackets match');
		foreach my $name (@names)
		{
			my ($by) = $target->{expr} =~ /by \(([\w, ]*)\)/;
			my @labels = (split(/, /, $by // ''), $target->{legendFormat} =~ /\{\{(\w+)\}\}/g);

			is(join(' ', grep { !exists $metrics{$name}[0]{$_} } @labels), '', "$name has its labels");
			# what grows is shown by how fast, and nothing else is
			my ($type) = $text =~ /^# TYPE \Q$name\E (\w+)$/m;
			is($target->{expr} =~ /(?:rate|increase)\(\Q$name\E\{/ ? 'counter' : 'gauge', $type, "$name is shown for what it is");
		}
	}
}

# And a Prometheus that has scraped this exporter understands each query, and
# finds what its panel draws
SKIP:
{
	skip 'prometheus is not installed', 1 unless $prometheus;
	cmp_ok(scalar keys %$found, '>', 20, 'queries that Prometheus was asked');
	foreach my $query (sort keys %$found)
	{
		is($found->{$query}{status}, 'success', "Prometheus understands $query") or diag($found->{$query}{error});
		cmp_ok(scalar @{ $found->{$query}{data}{result} // [] }, '>=', 1, 'and finds something');
	}
}

$node->stop;
done_testing();

# Its port and folder are its own.  Nothing, where it is not installed.
sub start_prometheus
{
	my ($program) = grep { -x } map { "$_/prometheus" } split(/:/, $ENV{PATH}), '/usr/bin';
	return unless defined $program;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $at = '127.0.0.1:' . PostgreSQL::Test::Cluster::get_free_port();

	append_to_file("$dir/prometheus.yml", <<"END");
global: {scrape_interval: 3s, scrape_timeout: 3s}
scrape_configs: [{job_name: retrostar, static_configs: [{targets: ['127.0.0.1:$port']}]}]
END
	return { at => $at, harness => IPC::Run::start([ $program, "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/data", "--web.listen-address=$at" ],
		'<', \undef, '>', "$PostgreSQL::Test::Utils::log_path/prometheus.log", '2>&1') };
}

sub ask_prometheus
{
	my ($self, $query) = @_;
	my $response = HTTP::Tiny->new->post_form("http://$self->{at}/api/v1/query", { query => $query });

	return $response->{content} =~ /^\{/ ? decode_json($response->{content}) : { status => $response->{status} };
}

# To the dashboard's queries, by query.  A rate takes two scrapes.
sub answers_of
{
	my ($self) = @_;
	my %answers;

	wait_until('Prometheus has scraped', sub {
		my $counted = ask_prometheus($self, 'count_over_time(retrostar_queue_answered[1h])');

		return !$self->{harness}->pumpable || (($counted->{data}{result}[0]{value}[1] // 0) >= 2);
	});
	foreach my $expr (map { $_->{expr} } map { @{ $_->{targets} // [] } } @{ decode_json(slurp_file("$pages/dashboard.json"))->{panels} })
	{
		(my $query = $expr) =~ s/\$__rate_interval/1h/g;
		$query =~ s/\$instance/.+/g;
		# a scrape that comes late hides what is there, until the next one
		wait_until("Prometheus answers $expr", sub {
			$answers{$expr} = ask_prometheus($self, $query);
			return !$self->{harness}->pumpable || $answers{$expr}{status} ne 'success' || @{ $answers{$expr}{data}{result} } > 0;
		});
	}
	return \%answers;
}
