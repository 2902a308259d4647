# What the model wrote: retro_star_explain and the setting store_reasoning.

use strict;
use warnings;

use FindBin;
use IO::Socket::INET;
use POSIX ();
use lib $FindBin::RealBin;
use JSON::PP;
use RetroSession;
use RetroTest;
use Test::More;

# What memory has of replies is in 088
my $node = new_node('explain', conf => "retrostar.reply_memory = 0\n");
my $sim = start_simulator('--delay-ms', '20');

create_server($node, 'postgres', 'gpu', $sim);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A server that gives the same reply to all, of any size.  It ends with the test.
my @canned;
END { local $?; kill 'KILL', @canned; waitpid $_, 0 for @canned; }

sub start_canned
{
	my ($body) = @_;
	my $listen = IO::Socket::INET->new(Listen => 128, LocalAddr => '127.0.0.1') or die "listen: $!";
	my $pid = fork // die "fork: $!";

	if ($pid == 0)
	{
		local $SIG{PIPE} = 'IGNORE';
		while (my $client = $listen->accept)
		{
			my $left = 0;
			while (defined(my $line = <$client>))
			{
				$left = $1 if $line =~ /^content-length: *(\d+)/i;
				last if $line =~ /^\r?\n/;
			}
			read($client, my $request, $left) if $left > 0;
			print $client "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ",
			  length $body, "\r\n\r\n", $body;
			close $client;
		}
		POSIX::_exit(0);
	}
	push @canned, $pid;
	return { url => 'http://127.0.0.1:' . $listen->sockport };
}

# One column or expression over the rows of one pair's explanation
sub explained
{
	my ($expressions, $arguments, $settings) = @_;
	return sql(($settings // '') . "SELECT $expressions FROM retro_star_explain($arguments) e");
}

sub reasoning
{
	my ($query, $doc) = @_;
	return sql("SELECT reasoning FROM retrostar.score_cache WHERE key = retrostar.cache_key('$query', '$doc')");
}

# A pair that is new: one row, with everything.
my $all = q(sample, score IS NOT NULL, reasoning LIKE '%<score>%' || score || '%</score>%', finish_reason,
	prompt_tokens > 100, completion_tokens > 100, endpoint, elapsed BETWEEN '10 ms' AND '1 hour', cached);
is(explained($all, q('cats', 'all about cats')), "1|t|t|stop|t|t|$sim->{url}|t|f", 'a fresh pair');
is($sim->stats->{chat}, 1, 'costs one request');
is(explained('score', q('cats', 'all about cats')), sql(q(SELECT retro_star_score('cats', 'all about cats'))),
	'with the score that retro_star_score gives');
is(explained($all, q('cats', 'all about cats')), "1|t|t|stop|t|t|$sim->{url}|t|t", 'and is cached the next time');
is($sim->stats->{chat}, 1, 'which costs nothing');
wait_idle($node);
is(explained($all, q('cats', 'all about cats')), "1|t|t|stop|t|t|$sim->{url}|t|t", 'from the table, too');
is(queue($node, 'text_bytes'), 0, 'nothing stays in shared memory');

# Several samples, of which one is known.
is(explained(q(string_agg(concat_ws(':', sample, cached::text, (reasoning IS NOT NULL)::text), ' ' ORDER BY sample)),
	q('cats', 'all about cats', samples => 3)), '1:true:true 2:false:true 3:false:true', 'two more samples');
is($sim->stats->{chat}, 3, 'for two more requests');
wait_idle($node);
is(explained('avg(score) = min(retro_star_score(\'cats\', \'all about cats\'))', q('cats', 'all about cats')), 't',
	'their mean is the score');
is(sql(q(SELECT array_agg((e ->> 'score')::int2 ORDER BY n) = min(scores)
	FROM retrostar.score_cache, jsonb_array_elements(reasoning) WITH ORDINALITY j (e, n))), 't',
	'the table has them in order');

# Without being asked for, nothing is kept; later samples are, beside those.
sql(q(SELECT retro_star_score('dogs', 'all about dogs', samples => 2)));
wait_idle($node);
is(reasoning('dogs', 'all about dogs'), '', 'nothing is kept by default');
my $bare = q(string_agg(concat_ws(':', sample, (score IS NOT NULL)::text, (reasoning IS NULL AND finish_reason IS NULL
	AND prompt_tokens IS NULL AND completion_tokens IS NULL AND endpoint IS NULL AND elapsed IS NULL)::text,
	cached::text), ' ' ORDER BY sample));
is(explained($bare, q('dogs', 'all about dogs')), '1:true:true:true 2:true:true:true', 'scores are shown alone');
is(explained($bare, q('dogs', 'all about dogs', samples => 3)),
	'1:true:true:true 2:true:true:true 3:true:false:false', 'a third, with its reasoning');
wait_idle($node);
is(explained($bare, q('dogs', 'all about dogs')), '1:true:true:true 2:true:true:true 3:true:false:true',
	'the same from the table');
sql(q(SELECT retro_star_score('dogs', 'all about dogs', samples => 4)));
wait_idle($node);
is(explained($bare, q('dogs', 'all about dogs')),
	'1:true:true:true 2:true:true:true 3:true:false:true 4:true:true:true', 'a fourth without');

# retrostar.store_reasoning
my $on = 'SET retrostar.store_reasoning = on; ';
sql("$on SELECT retro_star_score('birds', i::text) FROM generate_series(1, 3) i");
sql("$on SELECT retro_star_rerank('birds', ARRAY[4, 5], ARRAY['4', '5'])");
sql("$on SELECT retro_star_prefetch('birds', '6')");
wait_idle($node);
$sim->reset_stats;
is(explained('count(reasoning), bool_and(cached)', q('birds', '1')), '1|t', 'store_reasoning keeps it');
is(sql(q(SELECT count(reasoning) FROM generate_series(1, 6) i, retro_star_explain('birds', i::text))), '6',
	'of rerank and prefetch, too');
is($sim->stats->{chat}, 0, 'so that explaining costs nothing');
is(sql(q(SHOW retrostar.store_reasoning)), 'off', 'it is off by default');

# Who joins a request has its replies kept.
$sim->control({ hold => JSON::PP::true });
my $plain = ask_background($node, 'postgres', q(SELECT retro_star_score('join', 'me')));
$sim->wait_for('running', 1);
my $joins = ask_background($node, 'postgres', q(SELECT count(reasoning), bool_or(cached) FROM retro_star_explain('join', 'me')));
wait_until('both wait', sub { queue($node, 'waiters') == 2 });
$sim->release;
$sim->control({ hold => JSON::PP::false });
is(finish_background($joins), '1|f', 'joined in flight');
finish_background($plain);
is($sim->stats->{chat}, 1, 'one request for both');
wait_idle($node);

# Cancelled in the middle: what was paid for is kept, the rest is gone.
sql(q(SELECT retro_star_explain('cancel', 'me')));
my $before = queue($node, 'samples_scored');
$sim->control({ hold => JSON::PP::true });
my $cancelled = ask_background($node, 'postgres', q(SELECT count(*) FROM retro_star_explain('cancel', 'me', samples => 4)));
$sim->wait_for('running', 3);
$sim->release(1);
wait_until('one has come', sub { queue($node, 'samples_scored') == $before + 1 });
sql(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%samples => 4%' AND pid <> pg_backend_pid()));
like((finish_background($cancelled))[1], qr/57014/, 'cancelled');
wait_idle($node);
$sim->reset;
is(queue($node, 'text_bytes'), 0, 'nothing stays');
is(explained('count(*), count(reasoning), bool_and(cached)', q('cancel', 'me')), '2|2|t', 'what had come is kept');

# Replies without a score
is(explained(q(string_agg(concat_ws(':', coalesce(score::text, '-'), finish_reason, (reasoning IS NOT NULL)::text), ' ' ORDER BY sample)),
	q('unscored', '[[sim:no-score,times=1]]')) =~ s/\d+/N/r, '-:stop:true N:stop:true',
	'asked again, both are shown');
is(sqlstate($node, 'postgres', q(SELECT * FROM retro_star_explain('cut', '[[sim:length]]'))), '38000',
	'a pair without a score fails');
my $null = 'SET retrostar.on_error = "null"; ';
is(explained('count(*), count(score), min(finish_reason), count(reasoning), bool_and(cached)',
	q('cut', '[[sim:length]] more'), $null), '3|0|length|3|f', 'with on_error = null its replies are shown');
wait_idle($node);
is(explained('count(*), count(reasoning), bool_and(cached)', q('cut', '[[sim:length]] more'),
	"$null SET retrostar.on_miss = skip; "), '3|3|t', 'also from the table');
is(explained('count(*)', q(NULL, 'x')) . explained('count(*)', q('x', NULL)), '00', 'NULL gives no row');
is(explained('count(*)', q('skip', 'x'), 'SET retrostar.on_miss = skip; '), 0, 'on_miss = skip gives what is known');

# A long text is cut at a character, and text is what the model wrote.
my $filler = "\x{e4}\x{20ac}\x{1f600}" x 24000;
utf8::encode($filler);
my $long = start_canned('{"choices":[{"message":{"content":"x' . $filler . '<score> 61 </score>"},"finish_reason":"stop"}]}');
create_server($node, 'postgres', 'canned', $long->{url});
my ($length, $rest) = split /\|/, explained('octet_length(reasoning), score, prompt_tokens IS NULL', q('long', 'one', server => 'canned')), 2;
cmp_ok($length, '<=', 65536, 'a reasoning of 216 kB is cut');
cmp_ok($length, '>', 65532, 'at a character boundary');
is($rest, '61|t', 'its score counts');
wait_idle($node);
is(explained('octet_length(reasoning)', q('long', 'one', server => 'canned')), $length, 'stored so');
sql('DROP SERVER canned');
# Longer than 8 MB is no reply of a model.
for my $more (0, 1)
{
	my ($head, $tail) = ('{"choices":[{"message":{"content":"', '<score> 62 </score>"},"finish_reason":"stop"}]}');
	my $longest = start_canned($head . 'x' x (8 * 1024 * 1024 + $more - length($head . $tail)) . $tail);

	create_server($node, 'postgres', 'longest', $longest->{url}, retries => 0);
	my $sql = "SELECT retro_star_score('longest', 'and $more', server => 'longest')";
	is(sql($sql), 62, '8 MB are read') if !$more;
	like(($node->psql('postgres', $sql))[2], qr/reply is too large/, 'a byte more is not') if $more;
	sql('DROP SERVER longest');
}
wait_idle($node);
is(explained(q(reasoning ~ '\x01' OR reasoning LIKE '%' || chr(1) || '%', reasoning ~ 'score'), q('nul', '[[sim:control]]')),
	't|t', 'control characters');
is(explained('count(reasoning)', q('nul', '[[sim:nul]]')), 1, 'NUL');
is(explained('count(reasoning)', q('nul', '[[sim:bad-utf8]]')), 1, 'bytes that are no UTF-8');
is(explained('reasoning LIKE E\'<think>%</think>%\'', q('split', '[[sim:split]]')), 't', 'reasoning that the server split off');
wait_idle($node);
is(queue($node, 'unstored || \' \' || text_bytes'), '0 0', 'all of it could be stored');

# Only who has USAGE may see it, and only through the function.
sql(q(CREATE ROLE nobody_yet LOGIN));
my @as = (extra_params => [ '-U', 'nobody_yet', '-v', 'VERBOSITY=verbose' ]);
sub sqlstate_as_nobody
{
	my ($ret, $out, $err) = $node->psql('postgres', $_[0], @as);
	return $ret == 0 ? $out : $err =~ /ERROR: +([0-9A-Z]{5}):/ ? $1 : $err;
}
is(sqlstate_as_nobody(q(SELECT * FROM retro_star_explain('cats', 'all about cats'))), '42501', 'no USAGE, no reasoning');
is(sqlstate_as_nobody(q(SELECT reasoning FROM retrostar.score_cache)), '42501', 'nor from the table');
sql(q(GRANT USAGE ON FOREIGN SERVER gpu TO nobody_yet));
is(sqlstate_as_nobody(q(SELECT count(reasoning) FROM retro_star_explain('cats', 'all about cats'))), '3', 'with USAGE');

# It is there after a restart.
$node->restart;
is(explained('count(reasoning), bool_and(cached)', q('cats', 'all about cats')), '3|t', 'after a restart');
is(sql(q(SELECT count(*) FROM retro_star_explain('cats', 'all about cats') WHERE endpoint IS NOT NULL)), 3, 'all of it');

# More than shared memory has room for: scores come, details are left out.
{
	my $small = new_node('small', conf => "retrostar.shared_memory = '4MB'\nfsync = off\n");

	create_server($small, 'postgres', 'gpu', $long->{url});
	my $lock = RetroSession->new($small, 'postgres');
	$lock->query('BEGIN; LOCK retrostar.score_cache IN SHARE MODE');
	is($small->safe_psql('postgres', "$on SELECT count(retro_star_score('q', 'document ' || i)) FROM generate_series(1, 60) i"),
		60, 'more text than fits: all scores come');
	my $bytes = queue($small, 'text_bytes');
	cmp_ok($bytes, '>', 500_000, 'some text is kept');
	cmp_ok($bytes, '<=', 1024 * 1024, 'a quarter of the area at most');
	is($small->safe_psql('postgres', q(SELECT count(retro_star_score('q', repeat('word ', 300000) || i)) FROM generate_series(1, 2) i)),
		2, 'large documents find room beside it');
	is($small->safe_psql('postgres', q(SELECT count(*), bool_and(cached) FROM retro_star_explain('q', 'document 1'))), '1|t',
		'read from the map');
	$lock->quit;
	wait_idle($small);
	is(queue($small, 'text_bytes'), 0, 'stored, nothing stays');
	is($small->safe_psql('postgres', q(SELECT count(*) > 7 AND count(*) < 60 FROM retrostar.score_cache WHERE reasoning IS NOT NULL)),
		't', 'what was kept is stored');
}

# A standby shows what came to it, and what it asked for itself and cannot store.
{
	my $primary = new_node('primary', allows_streaming => 1);
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	my $gpu = start_simulator('--delay-ms', '5');
	my $counts = 'SELECT count(*), count(reasoning), bool_and(cached)';

	create_server($primary, 'postgres', 'gpu', $gpu);
	$primary->safe_psql('postgres', q(SELECT retro_star_explain('q', 'known')));
	wait_idle($primary);
	$primary->backup('backup');
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;
	is($standby->safe_psql('postgres', "$counts FROM retro_star_explain('q', 'known')"), '1|1|t', 'replicated');
	is($standby->safe_psql('postgres', "$counts FROM retro_star_explain('q', 'known', samples => 2)"), '2|2|f',
		'one more on the standby');
	is($standby->safe_psql('postgres', "$counts FROM retro_star_explain('q', 'known', samples => 2)"), '2|2|t',
		'which stays in the map');
	is($gpu->stats->{chat}, 2, 'for two requests in all');
}

# Latin 1: what it does not have becomes "?".
{
	my $latin = new_node('latin', encoding => 'LATIN1');
	my $gpu = start_simulator('--delay-ms', '5');

	create_server($latin, 'postgres', 'gpu', $gpu);
	$gpu->control({ fail => [ { mode => 'body', match => 'document', value =>
		'{"choices":[{"message":{"content":"gr\u00fcn \u20ac \"q\" <score> 7 </score>"},"finish_reason":"stop"}]}' } ] });
	for my $when ('fresh', 'cached')
	{
		is($latin->safe_psql('postgres', q(SELECT reasoning = 'gr' || chr(252) || 'n ? "q" <score> 7 </score>'
			FROM retro_star_explain('q', 'document'))), 't', "Latin 1, $when");
		wait_idle($latin);
	}
}

# All counters balance.
is(sql(q(SELECT asked = answered + failed + cancelled AND pairs = 0 AND waiters = 0 AND text_bytes = 0 AND lost = 0
	FROM retrostar.stat_queue)), 't', 'counters balance');

done_testing();
