# What other modules and PostgreSQL itself would log: the replies that the worker
# stores are in none of it, and the keys of commands that our validator refuses.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroTest;
use Test::More;

chomp(my $dir = `pg_config --pkglibdir`);
my @modules = grep { -e "$dir/$_.so" } qw(auto_explain pgaudit pg_stat_statements);
my $node = new_node('other_logs', conf => q(
log_statement = all
log_min_duration_statement = 0
log_parameter_max_length = -1
log_parameter_max_length_on_error = -1
log_min_error_statement = debug5
log_error_verbosity = verbose
log_min_messages = debug5
debug_print_parse = on
debug_print_plan = on
retrostar.store_reasoning = on
retrostar.worker_idle_timeout = '1h'
shared_preload_libraries = ') . join(',', @modules, 'retrostar') . qq('\n) . ((grep { $_ eq 'auto_explain' } @modules) ? q(
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_verbose = on
auto_explain.log_nested_statements = on
) : '') . ((grep { $_ eq 'pgaudit' } @modules) ? q(
pgaudit.log = 'all'
pgaudit.log_parameter = on
) : ''));
my $sim = start_simulator('--model', 'm');
my $secret = 'Zitat aus dem Dokument';

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }

create_server($node, 'postgres', 'gpu', $sim);
# Nor does it help to insist
sql("ALTER DATABASE postgres SET $_; ALTER ROLE CURRENT_USER SET $_") foreach 'debug_print_plan = on', "plan_cache_mode = 'force_custom_plan'",
	(grep { $_ eq 'auto_explain' } @modules) ? 'auto_explain.log_min_duration = 0' : (), (grep { $_ eq 'pgaudit' } @modules) ? 'pgaudit.log_parameter = on' : ();

# One reply in each way that it can come: as text, and quoted as bytes by plans
sub reply
{
	my ($score) = @_;
	my $body = encode_json({ choices => [ { index => 0, finish_reason => 'stop',
		message => { role => 'assistant', content => "$secret <score> $score </score>" } } ] });

	$sim->control({ fail_clear => JSON::PP::true, fail => [ { mode => 'body', value => $body } ] });
	return;
}

sub shown
{
	my ($what) = @_;
	my $log = slurp_file($node->logfile);
	my $bytes = join(' ', map { ord } split //, substr($secret, 0, 12));

	is(index($log, $secret), -1, "$what: no reply in the log");
	is(index($log, $bytes), -1, "$what: nor its bytes");
	return $log;
}

subtest 'stored' => sub {
	note('modules: ' . join(' ', @modules));
	for my $n (1 .. 8)
	{
		reply($n);
		is(sql("SELECT retro_star_score('logs', 'document $n')"), $n, "a score, $n");
		wait_idle($node);
		if ($n == 6)
		{
			$node->append_conf('postgresql.conf', "log_duration = on\n");
			$node->reload;
		}
	}
	is(sql("SELECT count(*) FROM retrostar.score_cache WHERE reasoning::text LIKE '%Zitat' || ' aus dem%'"), 8, 'the replies are stored') or return;
	shown('stores');
	like(slurp_file($node->logfile), qr/LOG: .*duration: .* plan:\n/, 'plans of others are logged') if grep { $_ eq 'auto_explain' } @modules;
	like(slurp_file($node->logfile), qr/AUDIT: .*INSERT INTO retrostar\.score_cache/s, 'the statement is audited') if grep { $_ eq 'pgaudit' } @modules;
};

# The detail of such an error quotes the row
subtest 'not stored' => sub {
	sql(q(ALTER TABLE retrostar.score_cache ADD CONSTRAINT meddle CHECK (scores <> '{77}')));
	reply(77);
	is(sql(q(SELECT retro_star_score('logs', 'refused'))), 77, 'a score');
	$node->poll_query_until('postgres', 'SELECT store_failures > 0 FROM retrostar.stat_cache') or die 'it was stored';
	like(shown('failed stores'), qr/could not store scores: .*violates check constraint "meddle"/, 'the cause');
	sql('ALTER TABLE retrostar.score_cache DROP CONSTRAINT meddle');
	wait_idle($node);
};

# What our validator refuses is not logged with the command
subtest 'keys in commands that are refused' => sub {
	my $log = $node->logfile;
	my %command = (
		'a name that is misspelt' => q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_kee '%s')),
		'the wrong object' => q(CREATE SERVER other FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h', model 'm', api_key '%s')),
		'a key in the place of its file' => q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key_file '%s')),
		'two keys' => q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key '%s', api_key_file '/x')),
		'a control character' => q(CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key E'%s\n')),
	);

	# What is logged of commands at all is not ours
	$node->append_conf('postgresql.conf', "log_statement = none\nlog_min_duration_statement = -1\nlog_duration = off\nlog_min_messages = warning
debug_print_parse = off\ndebug_print_plan = off\nlog_min_error_statement = error\n"
		. ((grep { $_ eq 'pgaudit' } @modules) ? "pgaudit.log = 'none'\n" : ''));
	$node->restart;
	for my $name (sort keys %command)
	{
		my $from = -s $log;
		my ($ret, $out, $err) = $node->psql('postgres', sprintf($command{$name}, 'sk-of-commands-123456'));

		isnt($ret, 0, "$name is refused");
		like(slurp_file($log, $from), qr/ERROR: /, 'which is logged');
		unlike(slurp_file($log, $from), qr/sk-of-commands/, 'without the command');
		unlike($err =~ s/^LINE .*$//mr, qr/ERROR: .*sk-of-commands/, 'and said without the key');
	}
};

no_crash($node);
done_testing();
