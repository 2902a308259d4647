# retrostar.budget: what roles may spend, for all their sessions together.  What
# makes no sense is refused in sql/budget.sql.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RetroSession;
use RetroTest;
use Test::More;

my $node = new_node('budget', conf => "retrostar.worker_idle_timeout = '1h'\nmax_connections = 120\n");
my $sim = start_simulator('--delay-ms', '0');
my $true = JSON::PP::true;
my $false = JSON::PP::false;

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub as { my ($role, $sql) = @_; return $node->safe_psql('postgres', $sql, extra_params => [ '-U', $role ]); }
sub fails { my ($role, $sql) = @_; return sqlstate($node, 'postgres', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]); }
sub scores { my ($what, $n, $more) = @_; return "SELECT count(retro_star_score('$what', i::text" . ($more // '') . ")) FROM generate_series(1, $n) i"; }

# A window of a thousand months does not end while the test runs
my $forever = "'1000 months'";
sub budget { my ($name, $role, $columns, $values) = @_; sql("INSERT INTO retrostar.budget (name, role, period, $columns) VALUES ('$name', '$role', $forever, $values)"); return; }
sub clear { wait_idle($node); sql('DELETE FROM retrostar.budget'); return; }

create_server($node, 'postgres', $_, $sim, retries => 0) for qw(gpu other);
sql('CREATE ROLE team; CREATE ROLE alice LOGIN IN ROLE team; CREATE ROLE bob LOGIN IN ROLE team; CREATE ROLE carol LOGIN;
	GRANT USAGE ON FOREIGN SERVER gpu, other TO PUBLIC; ALTER DATABASE postgres SET retrostar.server = gpu');

subtest 'a role' => sub {
	budget('small', 'alice', 'samples', 10);
	is(as('alice', scores('role', 10)), 10, 'as many as it may');
	is(fails('alice', q(SELECT retro_star_score('role', 'more'))), '53400', 'one more');
	my ($ret, $out, $err) = $node->psql('postgres', q(SELECT retro_star_score('role', 'more')), extra_params => [ '-U', 'alice' ]);
	like($err, qr/ERROR: +budget for server "gpu" is used up/, 'the message');
	like($err, qr/DETAIL: +Budget "small" allows 10 samples until \d{4}-\d\d-\d\d [^:]*:.*: (\d+) are used, and (\d+) more may be by what is in work/, 'what is used, and when it frees');
	like($err, qr/HINT: +Wait until then/, 'a hint');
	is(as('alice', scores('role', 10)), 10, 'what is known is free');
	is(as('alice', q(SET retrostar.on_error = 'null'; ) . scores('role', 12)), 10, 'on_error = null');
	is(as('alice', q(SET retrostar.deadline = '1min'; SET retrostar.on_error = 'null'; ) . scores('role', 12)), 10, 'with a deadline');
	is(fails('alice', q(SELECT retro_star_prefetch('role', 'more'))), '53400', 'a prefetch');
	is(fails('alice', q(SELECT * FROM retro_star_rerank('role', ARRAY[1], ARRAY['more']))), '53400', 'a set');
	is(as('bob', scores('another', 11)), 11, 'another role');
	is(sql(scores('yet another', 11)), 11, 'a superuser');
	wait_idle($node);
	is(sql(q(SELECT samples_limit, samples_used, tokens_limit IS NULL, server IS NULL FROM retrostar.stat_budget)), '10|10|t|t', 'retrostar.stat_budget');
	is(as('bob', 'SELECT count(*) FROM retrostar.stat_budget'), 0, 'which others do not see');
	is(as('alice', 'SELECT count(*) FROM retrostar.stat_budget'), 1, 'but the role');
};

subtest 'it is not lifted' => sub {
	sql('CREATE ROLE free; GRANT free TO alice');
	is(fails('alice', q(SET ROLE free; SELECT retro_star_score('role', 'more'))), '53400', 'by another role');
	sql(q(CREATE FUNCTION lift(text) RETURNS float8 SECURITY DEFINER LANGUAGE sql AS $$ SELECT retro_star_score('role', $1) $$));
	is(fails('alice', q(SELECT lift('more'))), '53400', 'by a function of another');
	is(fails('alice', 'DELETE FROM retrostar.budget'), '42501', 'by who may not write the table');
	is(fails('alice', q(SET retrostar.cache = off; SELECT retro_star_score('role', '1'))), '53400', 'by leaving out the cache');
	$node->restart;
	is(fails('alice', q(SELECT retro_star_score('role', 'more'))), '53400', 'by a restart');
	sql(q(UPDATE retrostar.budget SET samples = 11));
	is(as('alice', q(SELECT count(retro_star_score('role', 'more')))), 1, 'more is allowed');
	is(fails('alice', q(SELECT retro_star_score('role', 'yet more'))), '53400', 'and used');
};

# Sessions that are there hear of it
subtest 'changes' => sub {
	clear();
	my $session = RetroSession->new($node, 'postgres');
	is($session->query(scores('changes', 3)), 3, 'no budget');
	budget('all', 'public', 'samples', 0);
	like($session->query(q(SET retrostar.on_error = 'null'; SELECT coalesce(retro_star_score('changes', 'more')::text, 'none'))), qr/none$/, 'a new one');
	$session->query('BEGIN');
	$session->query('DELETE FROM retrostar.budget');
	like($session->query(q(SELECT retro_star_score('changes', 'mine'))), qr/^\d/, 'gone in a transaction');
	$session->query('ROLLBACK');
	is($session->query(q(SELECT coalesce(retro_star_score('changes', 'more')::text, 'none'))), 'none', 'and back');
	sql('TRUNCATE retrostar.budget');
	like($session->query(q(SELECT retro_star_score('changes', 'more'))), qr/^\d/, 'truncated');
	$session->quit;
};

subtest 'groups, servers, tokens' => sub {
	clear();
	# what was used before counts: usage is known for all roles
	my $used = sql(q(SELECT coalesce(sum(samples), 0) FROM retrostar.usage WHERE rolname IN ('alice', 'bob')));
	budget('team', 'team', 'samples', $used + 5);
	is(as('alice', scores('team a', 3)), 3, 'a member');
	is(as('bob', scores('team b', 2)), 2, 'another one');
	is(fails('bob', q(SELECT retro_star_score('team', 'more'))), '53400', 'all together');
	is(fails('alice', q(SELECT retro_star_score('team', 'more'))), '53400', 'of both');
	is(as('carol', scores('team', 2)), 2, 'who is no member');
	sql('GRANT team TO carol');
	is(fails('carol', q(SELECT retro_star_score('team', 'more'))), '53400', 'who becomes one');
	sql('REVOKE team FROM carol');
	is(as('carol', scores('team', 3)), 3, 'and who no more is');

	clear();
	$used = sql(q(SELECT coalesce(sum(samples), 0) FROM retrostar.usage WHERE server = 'other'));
	sql("INSERT INTO retrostar.budget VALUES ('one', 'public', 'other', $forever, $used + 2)");
	is(as('carol', scores('server', 2, q(, server => 'other'))), 2, 'a server');
	is(fails('carol', q(SELECT retro_star_score('server', 'more', server => 'other'))), '53400', 'is used up');
	is(as('carol', q(SELECT count(retro_star_score('server', 'more', server => 'gpu')))), 1, 'the other is not');

	clear();
	my $tokens = sql(q(SELECT sum(prompt_tokens + completion_tokens) FROM retrostar.usage));
	budget('tokens', 'public', 'tokens', $tokens + 3000);
	as('carol', q(SET retrostar.on_error = 'null'; ) . scores('tokens', 200));
	wait_idle($node);
	my ($now) = (sql(q(SELECT sum(prompt_tokens + completion_tokens) FROM retrostar.usage)));
	cmp_ok($now, '>', $tokens, 'tokens are used');
	cmp_ok($now, '<', $tokens + 8000, 'but not for 200 pairs');
	is(fails('carol', scores('more tokens', 200)), '53400', 'used up');
};

# Held, not sent: the simulator answers when it is told to
subtest 'what is in work' => sub {
	clear();
	my $used = sql(q(SELECT coalesce(sum(samples), 0) FROM retrostar.usage WHERE rolname = 'carol'));
	budget('held', 'carol', 'samples', $used + 4);
	$sim->control({ hold => $true });
	my $session = ask_background($node, 'postgres', q(SET SESSION AUTHORIZATION carol; ) . scores('held', 3));
	wait_until('all are in flight', sub { queue($node, 'samples_running') == 3 });
	is(fails('carol', q(SELECT retro_star_score('held', 'a', samples => 2))), '53400', 'what is in flight counts');
	is(as('carol', q(SELECT retro_star_prefetch('held', 'a'))), 'f', 'what is left');
	is(fails('carol', q(SELECT retro_star_prefetch('held', 'b'))), '53400', 'is no more');
	sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%held%' AND pid <> pg_backend_pid()));
	$sim->control({ hold => $false });
	finish_background($session);
	wait_idle($node);
	my $free = $used + 4 - sql(q(SELECT coalesce(sum(samples), 0) FROM retrostar.usage WHERE rolname = 'carol'));
	is(as('carol', q(SET retrostar.on_error = 'null'; ) . scores('after', 10)), $free, 'what was cancelled is given back');
};

# One pair of two roles is one request, and who made it pays
subtest 'who pays' => sub {
	clear();
	my $alice = sql(q(SELECT sum(samples) FROM retrostar.usage WHERE rolname = 'alice'));
	my $bob = sql(q(SELECT sum(samples) FROM retrostar.usage WHERE rolname = 'bob'));
	budget('bob', 'bob', 'samples', $bob + 1);
	$sim->control({ hold => $true });
	my $first = ask_background($node, 'postgres', q(SET SESSION AUTHORIZATION alice; SELECT retro_star_score('pays', 'd')));
	wait_until('it is in flight', sub { queue($node, 'samples_running') == 1 });
	my $joins = ask_background($node, 'postgres', q(SET SESSION AUTHORIZATION bob; SELECT retro_star_score('pays', 'd')));
	wait_until('it is joined', sub { queue($node, 'waiters') == 2 });
	is(fails('bob', q(SELECT retro_star_score('pays', 'd', samples => 2))), '53400', 'for more he would pay himself');
	$sim->control({ hold => $false });
	finish_background($_) for $first, $joins;
	wait_idle($node);
	is(sql(q(SELECT sum(samples) FROM retrostar.usage WHERE rolname = 'alice')), $alice + 1, 'who was first');
	is(sql(q(SELECT sum(samples) FROM retrostar.usage WHERE rolname = 'bob')), $bob, 'and nobody else');
};

# Sessions stop at the limit; a crash in between loses no count but of what it lost
subtest 'many sessions, and a crash' => sub {
	clear();
	sql('TRUNCATE retrostar.score_cache, retrostar.usage');
	budget('thousand', 'public', 'samples', 1000);
	$sim->control({ hold => $true });
	my $rush = sub {
		my ($round) = @_;
		return map { ask_background($node, 'postgres', "SET retrostar.on_error = 'null'; SELECT count(retro_star_score('rush $_', i::text)) FROM generate_series(1, 100) i") } 1 .. 64;
	};
	my @sessions = $rush->();
	wait_until('some are stored', sub { $sim->release(20); return sql('SELECT coalesce(sum(samples), 0) FROM retrostar.usage') > 100 });
	# what the store has committed need not be on disk: synchronous_commit is off
	sql('CHECKPOINT');
	$sim->release(20);
	$node->stop('immediate');
	finish_background($_) for @sessions;
	$node->start;
	my $counted = 'SELECT (SELECT sum(samples) FROM retrostar.usage) - (SELECT sum(cardinality(scores) + unscored) FROM retrostar.score_cache)';
	is(sql($counted), 0, 'after the crash as many as there are scores');
	my $kept = sql('SELECT sum(samples) FROM retrostar.usage');
	cmp_ok($kept, '>', 100, "$kept are kept");
	cmp_ok($kept, '<', 1000, 'of those that were allowed');
	$sim->reset_stats;
	$sim->control({ hold => $false });
	@sessions = $rush->();
	finish_background($_) for @sessions;
	wait_idle($node);
	is(sql('SELECT sum(samples) FROM retrostar.usage'), 1000, 'all together stop at the limit');
	is(sql($counted), 0, 'and no count is lost');
	is($sim->stats->{chat}, 1000 - $kept, 'nor was more sent');
	is(sql('SELECT samples_used FROM retrostar.stat_budget'), 1000, 'the view');
};

# Replies without a score are asked for again
subtest 'unscored replies' => sub {
	clear();
	create_server($node, 'postgres', 'again', $sim, retries => 2);
	sql(q(INSERT INTO retrostar.budget VALUES ('again', 'public', 'again', '1 hour', 1)));
	$sim->control({ fail => [ { mode => 'no-score', times => 1 } ] });
	like(sql(q(SELECT retro_star_score('unscored', 'd', server => 'again'))), qr/^\d/, 'a sample is asked for again');
	wait_idle($node);
	is(sql(q(SELECT sum(samples) FROM retrostar.usage WHERE server = 'again')), 2, 'which is one too many, no more');
	is(sqlstate($node, 'postgres', q(SELECT retro_star_score('unscored', 'e', server => 'again'))), '53400', 'then it is used up');
	$sim->control({ fail_clear => $true });
};

# Whoever has a table may put the trigger on it, whatever its columns are
subtest 'the trigger on another table' => sub {
	foreach my $columns ('role bigint, server text, period interval, samples bigint, tokens bigint',
		'role name, server bigint, period interval, samples bigint, tokens bigint', 'role name, server text, period bigint, samples bigint, tokens bigint')
	{
		is(sqlstate($node, 'postgres', "CREATE TEMP TABLE t ($columns);
			CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION retrostar.budget_check_trigfn();
			INSERT INTO t VALUES (" . join(', ', map { /bigint/ ? 1 : /name/ ? "'public'" : 'NULL' } split(', ', $columns)) . ')'), '42809', $columns);
	}
};

# More than there are slots in shared memory, one after another
subtest 'many budgets' => sub {
	clear();
	sql(q(INSERT INTO retrostar.budget SELECT 'b' || i, 'public', NULL, '1000 months', 1000000 FROM generate_series(1, 9) i));
	is(sqlstate($node, 'postgres', q(SELECT retro_star_score('many', 'd'))), '54000', 'too many for a request');
	foreach my $round (1 .. 130)
	{
		sql(qq(SET client_min_messages = warning; UPDATE retrostar.budget SET name = 'r$round ' || name; DELETE FROM retrostar.budget WHERE name LIKE '%b9';
			SELECT retro_star_score('many', 'round $round')));
	}
	wait_idle($node);
	is(sql(q(SELECT count(*) FROM retrostar.stat_budget WHERE samples_used > 1000)), 8, 'all count');
};

subtest 'usage that cannot be read' => sub {
	clear();
	budget('blind', 'public', 'samples', 1_000_000);
	sql('ALTER TABLE retrostar.usage RENAME samples TO replies');
	my $log = -s $node->logfile;
	is(sqlstate($node, 'postgres', q(SELECT retro_star_score('blind', 'd'))), '55000', 'nothing is sent');
	ok($node->wait_for_log(qr/could not read usage: column "samples" does not exist/, $log), 'and the log says why');
	sql('ALTER TABLE retrostar.usage RENAME replies TO samples');
	wait_until('it can', sub { sql(q(SET retrostar.on_error = 'null'; SELECT retro_star_score('blind', 'd') IS NOT NULL)) eq 't' });
};

# No deadlock check sees that the worker waits for who waits for it
subtest 'usage that its own session has locked' => sub {
	clear();
	my $session = RetroSession->new($node, 'postgres');
	my $log = -s $node->logfile;
	$session->query(q(SET statement_timeout = '180s'));
	$session->query('BEGIN; TRUNCATE retrostar.usage');
	$node->safe_psql('postgres', q(INSERT INTO retrostar.budget VALUES ('locked', 'public', NULL, '1000 months', 1000000)));
	is($session->outcome(q(SELECT retro_star_score('locked', 'd'))), '55000', 'it does not wait for ever');
	like($session->{err}, qr/HINT:  .*If this transaction has locked the table, end it first/, 'and is told');
	ok($node->wait_for_log(qr/could not read usage: table "retrostar.usage" is locked/, $log), 'so is the log');
	$session->query('ROLLBACK');
	wait_until('then it goes on', sub { $session->query(q(SET retrostar.on_error = 'null'; SELECT retro_star_score('locked', 'd') IS NOT NULL)) =~ /t$/ });
	$session->quit;
};

$node->stop;
done_testing();
