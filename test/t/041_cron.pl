# Materialized scores refreshed by pg_cron: overlapping runs, a server that
# fails in between, and only what has changed is asked for.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RetroPages;
use RetroTest;
use Test::More;

plan skip_all => 'the extension pg_cron is not installed (Debian: postgresql-NN-cron)'
  unless has_extension('pg_cron');

my $node = new_node('cron', extension => 0, conf => q(
shared_preload_libraries = 'retrostar, pg_cron'
cron.database_name = 'postgres'
max_worker_processes = 16
));
my $sim = start_simulator('--disconnect-ms', '10');

sub hold { $sim->control({ hold => JSON::PP::true }); return; }
sub let_go { $sim->control({ hold => JSON::PP::false }); return; }
sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

sub wait_sql
{
	my ($what, $sql) = @_;
	$node->poll_query_until('postgres', $sql)
	  or die "waited in vain until $what:\n" . sql(q(TABLE retrostar.refresh_log)) . "\n" . sql('TABLE cron.job_run_details');
	pass($what);
	return;
}

$node->append_conf('postgresql.conf', "cron.host = '" . $node->host . "'\n");
$node->restart;
sql('CREATE EXTENSION retrostar; CREATE EXTENSION pg_cron');
create_server($node, 'postgres', 'gpu', $sim, retries => 0, max_in_flight => 64, unavailable_timeout => '200ms');
sql(q(
	CREATE TABLE doc (id int PRIMARY KEY, body text NOT NULL);
	INSERT INTO doc SELECT i, 'document ' || i FROM generate_series(1, 20) i;
	CREATE MATERIALIZED VIEW sky AS SELECT id, body, retro_star_score('sky', body) AS score FROM doc WITH NO DATA;
	CREATE UNIQUE INDEX ON sky (id)));

# Before 1.5 a job ran once a minute at most
my $seconds = sql(q(SELECT extversion ~ '^(1\.[5-9]|[2-9])' FROM pg_extension WHERE extname = 'pg_cron')) eq 't';
my $schedule = $seconds ? '1 seconds' : '* * * * *';

# As in doc/operations.md; it comes round too seldom to be waited for
my ($recipe) = blocks('doc/operations.md', 'sql pg_cron');
like(sql($recipe->{text}), qr/^\d+$/, 'the recipe');
is(sql(q(SELECT command FROM cron.job)), q(CALL retrostar.refresh('public.sky')), 'schedules a refresh');
sql('SELECT cron.unschedule(jobid) FROM cron.job');

# pg_cron itself does not run a job twice at once, so there are two
subtest 'overlapping runs' => sub {
	hold();
	sql("SELECT cron.schedule('$_', '$schedule', \$\$CALL retrostar.refresh('public.sky')\$\$)") for qw(one two);
	$sim->wait_for('running', 20);
	wait_sql('a run is skipped', q(SELECT skipped > 0 FROM retrostar.refresh_log WHERE status = 'running'));
	# its requests are on the way, but its pass may still end
	wait_sql('the other waits', q(SELECT wait_event_type = 'Extension' FROM pg_stat_activity JOIN retrostar.refresh_log l USING (pid)
		WHERE l.status = 'running' AND sent = 20));
	is(sql(q(SELECT count(*) FROM pg_stat_activity a JOIN retrostar.refresh_log l USING (pid)
		WHERE status = 'running' AND backend_xmin IS NULL AND backend_xid IS NULL)), 1, 'and holds no snapshot');
	let_go();
	wait_sql('it ends', q(SELECT status = 'done' AND sent = 20 FROM retrostar.refresh_log WHERE run = 1));
	is(sql('SELECT count(score) FROM sky'), 20, 'the view is refreshed');
	is($sim->stats->{chat}, 20, 'each was asked for once');
	# but its own: it waits 10 s for a job to start
	wait_sql('pg_cron sees no failure', q(SELECT count(*) >= 2 AND bool_and(status = 'succeeded') FROM cron.job_run_details
		WHERE status IN ('succeeded', 'failed') AND return_message IS DISTINCT FROM 'job startup timeout'));
};

if ($seconds)
{
	subtest 'only what has changed' => sub {
		$sim->reset_stats;
		sql(q(UPDATE doc SET body = 'edited' WHERE id = 7; INSERT INTO doc VALUES (21, 'new'); DELETE FROM doc WHERE id = 1));
		wait_sql('the view follows', q(SELECT count(score) = 20 AND bool_or(body = 'edited') AND bool_or(body = 'new') AND min(id) = 2 FROM sky));
		my $run = sql('SELECT max(run) FROM retrostar.refresh_log');
		wait_sql('two more runs', "SELECT count(*) >= 2 FROM retrostar.refresh_log WHERE run > $run AND status = 'done'");
		is($sim->stats->{chat}, 2, 'two requests');
	};

	subtest 'a server that fails in between' => sub {
		$sim->reset_stats;
		$sim->control({ fail => [ { mode => 'loading', after => 10 } ] });
		sql(q(INSERT INTO doc SELECT i, 'more ' || i FROM generate_series(101, 130) i));
		wait_sql('a run fails', q(SELECT count(*) > 0 FROM retrostar.refresh_log WHERE status = 'failed'));
		wait_sql('and pg_cron knows', q(SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'failed' AND return_message ~ 'could not reach'));
		is(sql('SELECT count(*) FROM sky'), 20, 'the view is as it was');
		$sim->control({ fail_clear => JSON::PP::true });
		wait_sql('a later one goes on', q(SELECT count(score) = 50 FROM sky));
		is($sim->stats->{completed}, 30, 'each was answered once');
		my $later = q(FROM retrostar.refresh_log WHERE status = 'done' AND run > (SELECT max(run) FROM retrostar.refresh_log WHERE status = 'failed'));
		wait_sql('the log', "SELECT sum(sent) > 0 $later");
		cmp_ok(sql("SELECT sum(sent) $later"), '<=', 20, 'what had been answered was not asked for again');
		# a run takes it before its entry in the log is there
		wait_sql('no lock is left', q(SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'
			AND NOT EXISTS (SELECT FROM retrostar.refresh_log WHERE status = 'running')));
	};

	# The other way in which pg_cron runs jobs
	subtest 'in background workers' => sub {
		my $run = sql('SELECT max(run) FROM retrostar.refresh_log');
		$node->append_conf('postgresql.conf', "cron.use_background_workers = on\n");
		$node->restart;
		sql(q(INSERT INTO doc VALUES (201, 'background')));
		wait_sql('the view is refreshed', q(SELECT count(score) = 51 FROM sky));
		wait_sql('the log', "SELECT count(*) > 0 FROM retrostar.refresh_log WHERE run > $run AND status = 'done' AND sent = 1");
	};
}

sql(q(SELECT cron.unschedule(jobid) FROM cron.job));
# pg_cron ends those that run; the next run says so
wait_until('no run is left', sub {
	sql(q(CALL retrostar.refresh('public.sky')));
	return sql(q(SELECT count(*) FROM retrostar.refresh_log WHERE status = 'running')) == 0;
});
pass('no run is left');
$node->stop;
done_testing();
