# The last replies, which are there without store_reasoning: in memory, and only there.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('recent', conf => "retrostar.reply_memory = '64kB'\n");
my $sim = start_simulator('--model', 'm');

create_server($node, 'postgres', 'gpu', $sim);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What is shown of a pair, and what is said
sub explained
{
	my ($arguments, $settings) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', ($settings // '') .
		"SELECT sample, score, reasoning LIKE '%<score>%' || score || '%', finish_reason, prompt_tokens > 0, completion_tokens > 0, endpoint = '$sim->{url}', elapsed >= '0', cached
		FROM retro_star_explain($arguments) ORDER BY sample");

	is($ret, 0, 'it can be explained') or diag($err);
	return ($out, $err);
}

# Right after ranking
my $score = sql(q(SELECT retro_star_score('why', 'this')));
my ($out, $err) = explained(q('why', 'this'));
is($out, "1|$score|t|stop|t|t|t|t|t", 'the reply is there');
is($err, '', 'and nothing is said');
is($sim->stats->{chat}, 1, 'without another request');
wait_idle($node);
($out, $err) = explained(q('why', 'this'));
is($out, "1|$score|t|stop|t|t|t|t|t", 'once it is stored, too');
is(sql('SELECT count(reasoning) FROM retrostar.score_cache'), 0, 'but nothing of it is in the table');
is(queue($node, 'text_bytes'), 0, 'nor in the memory of what is in work');

# Why is not a question that changes the answer
($out, $err) = explained(q('why', 'this'), 'SET retrostar.samples = 8; ');
is($out, "1|$score|t|stop|t|t|t|t|t", 'whatever retrostar.samples is');
($out, $err) = explained(q('why', 'this'), 'SET retrostar.cache = off; ');
is($out, "1|$score|t|stop|t|t|t|t|t", 'and retrostar.cache');
is($sim->stats->{chat}, 1, 'nothing is asked for');
is(sql(q(SELECT retro_star_score('why', 'this'))), $score, 'so the score is what it was');
($out, $err) = explained(q('why', 'this', samples => 2));
is(scalar(() = $out =~ /\|t\|stop\|/g), 2, 'who says how many gets so many');
is($sim->stats->{chat}, 2, 'and asks for what is missing');
wait_idle($node);
is(sql('SELECT jsonb_typeof(reasoning -> 0) FROM retrostar.score_cache'), 'number', 'with what is asked for by it kept, and the first as it was');

# Each reply with its own sample: of one score the newest belongs to the newest
sql(q(SELECT retro_star_score('several', 'samples', samples => 8)));
wait_idle($node);
is(sql(q(SELECT count(*) FILTER (WHERE reasoning LIKE '%<score>%' || score || '%'), count(DISTINCT reasoning) > 1, count(*) FROM retro_star_explain('several', 'samples'))),
	'8|t|8', 'each has its own');

# In sets as well
sql(q(SELECT retro_star_rerank('set', '{1,2}'::int[], '{first,second}')));
($out, $err) = explained(q('set', 'second'));
like($out, qr/^1\|\d+\|t\|stop/, 'of a set');

# Other databases, other roles
sql('CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION retrostar');
create_server($node, 'other', 'gpu', $sim) if !$node->safe_psql('other', q(SELECT count(*) FROM pg_foreign_server));
my $chats = $sim->stats->{chat};
$node->safe_psql('other', q(SELECT retro_star_explain('set', 'second')));
is($sim->stats->{chat}, $chats + 1, 'what another database was told is not there');
sql('CREATE ROLE stranger');
is(sqlstate($node, 'postgres', q(SET ROLE stranger; SELECT retro_star_explain('why', 'this'))), '42501', 'nor for who may not use the server');

# Newer ones drive them out, which is said
sql(q(SELECT count(retro_star_score('many', 'document ' || i)) FROM generate_series(1, 200) i));
wait_idle($node);
my $left = sql(q(SELECT count(reasoning) FROM generate_series(1, 200) i, retro_star_explain('many', 'document ' || i)));
cmp_ok($left, '>', 0, 'of many, some are there');
cmp_ok($left, '<', 200, 'not all of them: they have 64 kB');
($out, $err) = explained(q('set', 'second'));
like($out, qr/^1\|\d+\|\|\|\|\|\|\|t$/, 'of the others the score is left');
like($err, qr/NOTICE: +the reply of 1 sample of 1 is not there any more/, 'which is said');
like($err, qr/until newer ones or a restart/, 'and why');
like($err, qr/samples => 2\b/, 'and what helps');

# In the table they stay
sql(q(SET retrostar.store_reasoning = on; SELECT retro_star_score('kept', 'this')));
wait_idle($node);
sql(q(SELECT retro_star_score('lost', 'this')));
($out, $err) = explained(q('lost', 'this'));
like($out, qr/^1\|\d+\|t\|/, 'the last one is there');
$node->restart;
($out, $err) = explained(q('kept', 'this'));
like($out, qr/^1\|\d+\|t\|/, 'after a restart: what the table has');
is($err, '', 'all of it');
($out, $err) = explained(q('lost', 'this'));
like($out, qr/^1\|\d+\|\|/, 'not what memory had');
like($err, qr/not there any more/, 'which is said');

# A reply of an endpoint that has gone since it was asked
create_server($node, 'postgres', 'going', $sim);
$sim->control({ fail => [ { mode => 'hold', match => 'going' } ] });
my $asked = ask_background($node, 'postgres', q(SELECT retro_star_score('going', 'this', server => 'going')));
$sim->wait_for('running', 1);
my $worker = queue($node, 'worker_pid');
sql('DROP SERVER going');
# when it is to send something it looks which servers there are
sql("SELECT retro_star_score('after', 'this', server => 'gpu')");
$sim->control({ fail_clear => JSON::PP::true });
$sim->release;
finish_background($asked);
wait_idle($node);
is(queue($node, 'worker_pid'), $worker, 'its server was dropped: the worker goes on');

# Round the ring again and again: what is shown is always a sample's own
for my $round (1 .. 3)
{
	sql("SELECT count(retro_star_score('round $round', 'document ' || i)) FROM generate_series(1, 100) i");
	my $shown = sql("SELECT count(reasoning) > 0, count(reasoning) = count(*) FILTER (WHERE reasoning LIKE '%document ' || i || '%<score>%' || score || '%')
		FROM generate_series(1, 100) i, retro_star_explain('round $round', 'document ' || i)");
	like($shown, qr/^t\|/, "round $round");
	is($shown, 't|t', '... each its own') or diag(sql("SELECT reasoning FROM retro_star_explain('round $round', 'document 100')"));
}

# One that takes more than a quarter would leave nothing beside it
$node->append_conf('postgresql.conf', "retrostar.reply_memory = '2kB'");
$node->restart;
sql(q(SELECT retro_star_score('long', 'this')));
($out, $err) = explained(q('long', 'this'));
like($out, qr/^1\|\d+\|\|/, 'too long for the memory');
like($err, qr/not there any more/, 'which is said');

# None
$node->append_conf('postgresql.conf', 'retrostar.reply_memory = 0');
$node->restart;
sql(q(SELECT retro_star_score('none', 'this')));
($out, $err) = explained(q('none', 'this'));
like($out, qr/^1\|\d+\|\|/, 'who wants none has none');
like($err, qr/not there any more/, 'which is said');

done_testing();
