# Keys: they are sent where they belong, and are to be read nowhere else, not
# even where the server repeats them and everything is logged.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RetroFaults;
use RetroSession;
use RetroTest;
use Test::More;

my $true = JSON::PP::true;
my $false = JSON::PP::false;

# What PostgreSQL itself logs of DDL is not ours, and off here: see doc/security.md
my $node = new_node('keys', conf => q(
log_min_messages = debug5
log_statement = none
log_min_error_statement = panic
log_min_duration_statement = -1
log_duration = off
retrostar.worker_idle_timeout = '1h'
retrostar.store_reasoning = on
));
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my %key = (
	option => 'sk-option-4f9a8b7c6d5e',
	file => 'sk-file/1a2b"3c\\4d5e6f',
	wrong => 'sk-wrong-0f1e2d3c4b5a',
	role => 'sk-role-99887766554433',
	long => 'sk-long-' . 'abcdefghij' x 100);
my $seen = '';
my $documents = 0;

append_to_file("$dir/key", "$key{file}\r\n");

# Runs SQL and remembers all that the client was shown
sub run_sql
{
	my ($sql, @options) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-v', 'VERBOSITY=verbose', @options ]);

	$seen .= "$out\n$err\n";
	return $ret == 0 ? $out : $err;
}

sub score
{
	my ($server, $settings, @options) = @_;
	$documents++;
	return run_sql(($settings // '') . "SELECT retro_star_score('query', 'document $documents', server => '$server')", @options);
}

my $guarded = start_simulator('--model', 'm', '--api-key', $key{option}, '--log', '1000');
my $open = start_simulator('--model', 'm', '--log', '1000', '--disconnect-ms', '5');

create_server($node, 'postgres', 'guarded', $guarded);
create_server($node, 'postgres', 'with_file', $open);
create_server($node, 'postgres', 'with_option', $open);
create_server($node, 'postgres', 'with_long', $open);
$node->safe_psql('postgres', qq(CREATE ROLE reader LOGIN;
	GRANT USAGE ON FOREIGN SERVER guarded, with_file, with_option TO reader;
	CREATE USER MAPPING FOR PUBLIC SERVER guarded OPTIONS (api_key '$key{wrong}');
	CREATE USER MAPPING FOR PUBLIC SERVER with_file OPTIONS (api_key_file '$dir/key');
	CREATE USER MAPPING FOR PUBLIC SERVER with_option OPTIONS (api_key '$key{option}');
	CREATE USER MAPPING FOR PUBLIC SERVER with_long OPTIONS (api_key '$key{long}')));

# Also where the old one would still do
subtest 'a mapping that gets another key' => sub {
	my $sim = start_simulator('--log', '10');
	my $sent = sub { $node->safe_psql('postgres', "SELECT retro_star_score('another key', '$_[0]', server => 'other_key')");
		return $sim->log(1)->[0]{headers}{authorization} };

	create_server($node, 'postgres', 'other_key', $sim);
	$node->safe_psql('postgres', q(CREATE USER MAPPING FOR PUBLIC SERVER other_key OPTIONS (api_key 'one-1234')));
	is($sent->('first'), 'Bearer one-1234', 'is sent');
	$node->safe_psql('postgres', q(ALTER USER MAPPING FOR PUBLIC SERVER other_key OPTIONS (SET api_key 'two-5678')));
	is($sent->('second'), 'Bearer two-5678', 'the next request has it');
};

subtest 'sent as they are' => sub {
	my %expected = (with_file => $key{file}, with_option => $key{option}, with_long => $key{long});

	for my $server (sort keys %expected)
	{
		like(score($server), qr/^\d+$/, "a score of $server");
		is($open->log(1)->[-1]{headers}{authorization}, "Bearer $expected{$server}", 'with its key');
	}
	like(score('guarded'), qr/38000: .*does not accept the API key/, 'a wrong key');
	run_sql("ALTER USER MAPPING FOR PUBLIC SERVER guarded OPTIONS (SET api_key '$key{option}')");
	like(score('guarded'), qr/^\d+$/, 'the right one');
	run_sql("ALTER SERVER guarded OPTIONS (ADD retries '1')");
	like(score('guarded'), qr/^\d+$/, 'after ALTER SERVER');
};

# Scores of a pair are shared, but not a request that is under way: it has
# another's key, or goes to another's server.
subtest 'a pair that several ask for at once' => sub {
	$node->safe_psql('postgres', qq(CREATE ROLE another LOGIN; GRANT USAGE ON FOREIGN SERVER with_option TO another;
		CREATE USER MAPPING FOR another SERVER with_option OPTIONS (api_key '$key{role}')));
	create_server($node, 'postgres', $_, $open) for qw(bare naked);
	my @asks = ([ undef, 'with_option', $key{option} ], [ 'another', 'with_option', $key{role} ], [ undef, 'bare' ], [ undef, 'naked' ]);
	my @sessions = map { RetroSession->new($node, 'postgres', defined $_->[0] ? (user => $_->[0]) : ()) } @asks;

	$open->control({ hold => $true });
	for my $i (0 .. $#asks)
	{
		$sessions[$i]->send("SELECT retro_star_score('several', 'at once', server => '$asks[$i][1]')");
		$open->wait_for('running', $i + 1);
		is($open->log(1)->[-1]{headers}{authorization}, defined $asks[$i][2] ? "Bearer $asks[$i][2]" : undef,
			"$asks[$i][1]: with the key of who asks");
	}
	$open->control({ hold => $false });
	like($_->result, qr/^\d+$/, 'a score') for @sessions;
	$_->quit for @sessions;
	$node->safe_psql('postgres', 'DROP OWNED BY another; DROP ROLE another; DROP SERVER bare; DROP SERVER naked');
};

# The same key in words of every shape, as an error and as an answer
subtest 'repeated by the server' => sub {
	for my $server (qw(with_file with_option with_long))
	{
		for my $envelope (qw(flat wrapped string detail details text raw html))
		{
			$open->control({ fail_clear => $true, fail => [ { mode => 'echo-key', envelope => $envelope } ] });
			like(score($server), qr/38000: .*does not accept the API key/, "$server: 401, $envelope");
		}
		for my $status (400, 403, 404, 422, 500)
		{
			$open->control({ fail_clear => $true, fail => [ { mode => 'echo-key', status => $status } ] });
			like(score($server, "SET retrostar.on_error = 'null';"), qr/\A\s*(?:psql:.*WARNING.*)?\z/s, "$server: $status as a warning");
			like(score($server), qr/38000: /, "$server: $status as an error");
		}
	}
	$open->control({ fail_clear => $true, fail => [ { mode => 'echo-key' } ] });
	like(score('with_option'), qr/DETAIL: .*API key provided: Bearer \*+; the key that was sent is from/m, 'there are asterisks in its place');

	my $text = "Your key is $key{option}.\n<score> 40 </score>";
	my $body = encode_json({ choices => [ { index => 0, finish_reason => 'stop', message => { role => 'assistant', content => $text } } ] });
	$open->control({ fail_clear => $true, fail => [ { mode => 'body', value => $body } ] });
	is(score('with_option'), 40, 'in an answer');
	like(run_sql("SELECT reasoning FROM retro_star_explain('query', 'document $documents', server => 'with_option')"),
		qr/Your key is \*+\./, 'of which the text is kept without it');
	$open->control({ fail_clear => $true, fail => [ { mode => 'body', path => '/v1/models',
		value => encode_json({ data => [ { id => $key{option} } ] }) } ] });
	like(run_sql(q(SELECT ok, detail FROM retrostar.check('with_option') WHERE endpoint <> 'worker')), qr/^\|.*it serves "\*+"/, 'retrostar.check');
	$open->control({ fail_clear => $true });
};

# The worker has the new key, and no more use for the old one, before the reply comes
subtest 'repeated by the server when the mapping has another one' => sub {
	my @sessions = map { RetroSession->new($node, 'postgres') } 1 .. 2;
	my $text = "Your key is $key{option}.\n<score> 40 </score>";
	my $body = encode_json({ choices => [ { index => 0, finish_reason => 'stop', message => { role => 'assistant', content => $text } } ] });
	my $reasoning;

	create_server($node, 'postgres', 'late_key', $open);
	run_sql("CREATE USER MAPPING FOR PUBLIC SERVER late_key OPTIONS (api_key '$key{option}')");
	$open->control({ hold => $true, fail => [ { mode => 'body', value => $body, times => 1 } ] });
	$sessions[0]->send("SELECT reasoning FROM retro_star_explain('late', 'first', server => 'late_key')");
	$open->wait_for('running', 1);
	run_sql("ALTER USER MAPPING FOR PUBLIC SERVER late_key OPTIONS (SET api_key '$key{role}')");
	$sessions[1]->send("SELECT retro_star_score('late', 'second', server => 'late_key')");
	$open->wait_for('running', 2);
	$open->control({ hold => $false });
	$reasoning = $sessions[0]->result;
	$seen .= $reasoning;
	like($reasoning, qr/Your key is \*+\./, 'is hidden');
	like($sessions[1]->result, qr/^\d+$/, 'and the next one has its answer');
	$_->quit for @sessions;
	$open->control({ fail_clear => $true });
};

subtest 'refused' => sub {
	for my $bad ("$key{wrong}\r\nX-Evil: 1", "$key{wrong}\n", "\t$key{wrong}", "$key{wrong}\x7f", $key{wrong} x 4000)
	{
		(my $literal = $bad) =~ s/([\x00-\x1f\x7f])/sprintf('\\x%02x', ord $1)/ge;
		like(run_sql("ALTER USER MAPPING FOR PUBLIC SERVER guarded OPTIONS (SET api_key E'$literal')"), qr/22023: /, 'as an option');
		unlink("$dir/bad");
		append_to_file("$dir/bad", $bad . "x\n");
		run_sql("DROP USER MAPPING IF EXISTS FOR reader SERVER guarded;
			CREATE USER MAPPING FOR reader SERVER guarded OPTIONS (api_key_file '$dir/bad')");
		like(score('guarded', '', '-U', 'reader'), qr/HV00N: /, 'in a file') or diag($literal);
	}
	like(run_sql("CREATE USER MAPPING FOR PUBLIC SERVER with_long OPTIONS (api_key '$key{wrong}', api_key_file '/x')"),
		qr/22023: |42710: /, 'two keys');
	like(run_sql("CREATE SERVER bad FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://user:$key{wrong}\@h', model 'm')"), qr/22023: /, 'in a URL');
	like(run_sql("CREATE SERVER bad FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h/?key=$key{wrong}', model 'm')"), qr/22023: /, 'behind one');
	is($guarded->stats->{chat}, scalar(grep { $_->{headers}{authorization} =~ /^Bearer sk-(option|wrong)-\w+$/ } @{ $guarded->log }),
		'and nothing of it is sent');
};

# Whoever owns a server can point its URL at himself: a file of the machine's
# is read for his server only when he may read it.
subtest 'a key file and the owner of the server' => sub {
	my $sent = $open->stats->{chat};
	my $refused = qr/HV00N: .*DETAIL: +permission denied to use option "api_key_file" with server "lent"/s;

	create_server($node, 'postgres', 'lent', $open);
	run_sql("CREATE ROLE lender; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO lender; ALTER SERVER lent OWNER TO lender;
		CREATE USER MAPPING FOR PUBLIC SERVER lent OPTIONS (api_key_file '$dir/key')");
	like(score('lent'), $refused, 'who may not read files does not get the key');
	is($open->stats->{chat}, $sent, 'nothing is sent');
	run_sql('GRANT pg_read_server_files TO lender');
	like(score('lent'), qr/^\d+$/, 'who may does');
	is($open->log(1)->[-1]{headers}{authorization}, "Bearer $key{file}", 'from the file');
	run_sql('REVOKE pg_read_server_files FROM lender');
	like(score('lent'), $refused, 'for as long as he may');
	is($open->stats->{chat}, $sent + 1, 'again nothing is sent');
};

subtest 'files that hold no key' => sub {
	my $long = 'k' x 65537;

	mkdir("$dir/directory") && system('mkfifo', "$dir/fifo") == 0 or die $!;
	append_to_file("$dir/$_->[0]", $_->[1]) for [ empty => '' ], [ blank => " \t\r\n\n" ], [ nul => "$key{file}\0\n" ], [ 'long' => $long ];
	my %said = (directory => qr/is not a regular file/, fifo => qr/is not a regular file/, empty => qr/is empty/, blank => qr/is empty/,
		nul => qr/contains a control character/, 'long' => qr/is longer than 65536 bytes/, missing => qr/could not open API key file/);
	my $sent = $open->stats->{chat};

	for my $file (sort keys %said)
	{
		run_sql("ALTER USER MAPPING FOR PUBLIC SERVER with_file OPTIONS (SET api_key_file '$dir/$file')");
		my $session = RetroSession->new($node, 'postgres');
		$session->send("SELECT retro_star_score('no key', '$file', server => 'with_file')");
		$session->result;
		is($session->sqlstate, 'HV00N', "$file: no score");
		like($session->{err}, $said{$file}, 'the reason');
		$seen .= $session->{err};
		$session->quit;
	}
	is($open->stats->{chat}, $sent, 'nothing is sent');
	run_sql("ALTER USER MAPPING FOR PUBLIC SERVER with_file OPTIONS (SET api_key_file '$dir/key')");
	like(score('with_file'), qr/^\d+$/, 'a file with a key');
};

# A name that has quotes is a name, and not more of the request.
subtest 'a model that is no plain name' => sub {
	my $model = q(m", "temperature": 9, "x": "\\);
	my $any = start_simulator('--log', '10');

	create_server($node, 'postgres', 'odd', $any, model => $model);
	like(score('odd'), qr/^\d+$/, 'a score');
	my $request = decode_json($any->log(1)->[-1]{body});
	is($request->{model}, $model, 'the name as it is');
	is($request->{temperature}, 0.6, 'and nothing beside it');
	like(run_sql(qq(CREATE SERVER bad FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://h', model E'm\\r\\nX-Evil: 1'))), qr/22023: /, 'no line ends');
};

subtest 'cancelled, terminated, worker gone' => sub {
	my $session = RetroSession->new($node, 'postgres');

	$open->reset_stats;
	$open->control({ hold => $true });
	$session->send(q(SELECT retro_star_score('query', 'cancelled', server => 'with_file')));
	$open->wait_for('running', 1);
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session->{pid})");
	$session->result;
	is($session->sqlstate, '57014', 'cancelled');
	$seen .= $session->{err};
	$session->send(q(SELECT retro_star_score('query', 'terminated', server => 'with_option')));
	$open->wait_for('chat', 2);
	$node->safe_psql('postgres', 'SELECT pg_log_backend_memory_contexts(worker_pid) FROM retrostar.stat_queue');
	$seen .= $node->safe_psql('postgres', 'SELECT to_jsonb(a) FROM pg_stat_activity a');
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue');
	$open->wait_for('chat', 3);
	$open->control({ hold => $false });
	like($session->result, qr/^\d+$/, 'another worker has the key, too');
	$session->quit;
	nothing_left($node, 'keys');
};

# A role's mapping is its own affair.
subtest 'a bad mapping hurts nobody else' => sub {
	my $sim = start_simulator('--model', 'm', '--api-key', $key{role}, '--delay-ms', '5', '--log', '0');

	create_server($node, 'postgres', 'shared', $sim);
	run_sql("CREATE ROLE bad LOGIN; CREATE ROLE good LOGIN; CREATE ROLE missing LOGIN;
		GRANT USAGE ON FOREIGN SERVER shared TO bad, good, missing;
		CREATE USER MAPPING FOR PUBLIC SERVER shared OPTIONS (api_key '$key{role}');
		CREATE USER MAPPING FOR missing SERVER shared OPTIONS (api_key_file '$dir/none')");
	is(run_sql("CREATE USER MAPPING FOR bad SERVER shared OPTIONS (api_key '$key{wrong}')", '-U', 'bad'), '', 'a role maps itself');
	my $connect = $node->connstr('postgres');
	my %pairs = (good => 200, bad => 50, missing => 50);
	my %sessions = map { my $role = $_; $role => RetroSession->new($node, 'postgres', user => $role) } sort keys %pairs;
	$sessions{$_}->query("SET retrostar.on_error = 'null'") for qw(bad missing);
	$sessions{$_}->send("SELECT count(retro_star_score('by $_', i::text, server => 'shared')) FROM generate_series(1, $pairs{$_}) i") for keys %pairs;
	is($sessions{good}->result, 200, 'who has a good key has all scores');
	is($sessions{$_}->result, 0, "$_ has none") for qw(bad missing);
	$seen .= $sessions{$_}{err} for keys %pairs;
	$sessions{$_}->quit for keys %pairs;
	like(score('shared', '', '-U', 'bad'), qr/38000: .*does not accept/, 'an error of its own');
	like(score('shared', '', '-U', 'missing'), qr/HV00N: /, 'and another');
	like(score('shared', '', '-U', 'good'), qr/^\d+$/, 'the others go on');
	like(run_sql(q(SELECT umoptions FROM pg_user_mappings WHERE srvname = 'shared'), '-U', 'good'), qr/\A\s*\z/, 'nobody sees the mapping of another');
	is(run_sql("ALTER USER MAPPING FOR bad SERVER shared OPTIONS (SET api_key '$key{role}')", '-U', 'bad'), '', 'it is mended');
	like(score('shared', '', '-U', 'bad'), qr/^\d+$/, 'and works');
	nothing_left($node, 'mappings');
};

# A role chooses its own key, and scores are everybody's: a key that is a piece
# of the answer is hidden in what is shown of it, and changes nothing else.
subtest 'a key that is a piece of the answer' => sub {
	my $text = 'Not <score> 90 </score>, but <score> 40 </score>';
	my $body = encode_json({ choices => [ { index => 0, finish_reason => 'stop', message => { role => 'assistant', content => $text } } ] });
	my %shown = ('<score> 40 </score>' => 'Not <score> 90 </score>, but *******************', '</score>' => 'Not <score> 90 ********, but <score> 40 ********',
		'"choices"' => '', 'content":' => '', '"finish_reason":' => '');

	run_sql('CREATE ROLE chooser LOGIN; GRANT USAGE ON FOREIGN SERVER with_option TO chooser');
	$open->control({ fail => [ { mode => 'body', value => $body } ] });
	for my $piece (sort keys %shown)
	{
		is(run_sql("DROP USER MAPPING IF EXISTS FOR chooser SERVER with_option;
			CREATE USER MAPPING FOR chooser SERVER with_option OPTIONS (api_key '$piece')", '-U', 'chooser') =~ s/psql:.*NOTICE.*\n?//r, '', "$piece is a key");
		my $sent = $open->stats->{chat};
		is(score('with_option', '', '-U', 'chooser'), 40, 'the score is the last one');
		is($open->stats->{chat}, $sent + 1, 'at once');
		is(run_sql("SELECT score, reasoning FROM retro_star_explain('query', 'document $documents', server => 'with_option')"), "40|$shown{$piece}",
			'for everybody, and its text is shown without the key');
		is($open->stats->{chat}, $sent + 1, 'nobody asks again');
	}
	$open->control({ fail_clear => $true });
};

# Where they could be read: what clients were shown, the log, the objects
subtest 'to be read nowhere' => sub {
	my $log = slurp_file($node->logfile);
	my $objects = join("\n", map { $node->safe_psql('postgres', "SELECT to_jsonb(t) FROM $_ t") }
		split(/\n/, $node->safe_psql('postgres', q(SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname = 'retrostar' AND relkind IN ('r', 'v', 'm')))));

	cmp_ok(length($log), '>', 100_000, 'there is a log of everything');
	like($objects, qr/Your key is/, 'and there are objects');
	for my $name (sort keys %key)
	{
		# also the beginning of it, and as JSON has it
		(my $json = encode_json([ $key{$name} ])) =~ s/^\["|"\]$//g;
		for my $part ($key{$name}, substr($key{$name}, 0, 12), $json)
		{
			ok(index($log, $part) < 0, "$name: not in the log");
			ok(index($seen, $part) < 0, "$name: in no message");
			ok(index($objects, $part) < 0, "$name: in no object");
		}
	}
};

no_crash($node);
done_testing();
