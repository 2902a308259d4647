# What is said of mistakes in the exact words: each names what was done, and what
# is to be done.  Where a person can read it, so can retrostar.check().

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use File::Temp qw(tempdir);
use IPC::Run ();
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('messages');
my $dir = tempdir(CLEANUP => 1);
my $pairs = 0;

# What is said to who asks for a score, but which document it was
sub said
{
	my ($server, $before) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', ($before // '') . ' SELECT retro_star_score($$q$$, $$d' . $pairs++ . "\$\$, server => '$server')");
	return $err =~ s/^psql:<stdin>:\d+: //mgr =~ s/^The document begins with .*\n?//mr =~ s/\n\z//r;
}

sub check
{
	my ($server) = @_;
	return $node->safe_psql('postgres', "SELECT ok, detail FROM retrostar.check('$server') WHERE endpoint <> 'worker'");
}

sub sql { return $node->safe_psql('postgres', @_); }

subtest 'a path that is not there' => sub {
	my $sim = start_simulator('--model', 'm');
	my $asked = qq(HTTP status 404: POST $sim->{url}/gateway/v1/chat/completions: Not Found (the path in the option "url" may be wrong));

	create_server($node, 'postgres', 'path', "$sim->{url}/gateway/v1/");
	is(said('path'), qq(ERROR:  server "path" refused the request\nDETAIL:  $asked\n)
		. 'HINT:  The option "url" of the server is what comes before "/v1/chat/completions", with or without "/v1".', 'a score');
	is(check('path'), qq(f|server "path" refused the request: $asked), 'check()');
	is(sql("SELECT last_error FROM retrostar.stat_server WHERE server = 'path'"),
		qq(server "path" refused the request: $asked), 'the view');
	$sim->control({ fail => [ { mode => 'status', status => 405, envelope => 'detail', message => 'Method Not Allowed' } ] });
	create_server($node, 'postgres', 'method', $sim);
	like(said('method'), qr{^DETAIL:  HTTP status 405: POST \Q$sim->{url}\E/v1/chat/completions: Method Not Allowed \(the path in}m, 'another method');
	my $long = join('/', ('a' x 50) x 6);
	create_server($node, 'postgres', 'long', "$sim->{url}/$long");
	like(said('long'), qr{^DETAIL:  HTTP status 404: POST \Q$sim->{url}\E/a{50}/.* \(the path in}m, 'a long one is cut');
};

subtest 'a redirect' => sub {
	my $sim = start_simulator('--model', 'm');

	$sim->control({ fail => [ { mode => 'status', status => 301, envelope => 'empty' } ] });
	create_server($node, 'postgres', 'moved', $sim);
	is(said('moved'), qq(ERROR:  server "moved" refused the request\nDETAIL:  HTTP status 301.\n)
		. 'HINT:  Redirects are not followed: set the option "url" of the server to where they lead, which often is https.', 'is not followed');
	is(check('moved'), 'f|server "moved" refused the request: HTTP status 301.', 'check(), though the list is there');
};

subtest 'a Unix socket that is not there' => sub {
	create_server($node, 'postgres', 'nowhere', "unix:$dir/none.sock");
	like(said('nowhere', "SET client_min_messages = error;"), qr{^DETAIL:  .*could not connect to Unix socket "\Q$dir\E/none\.sock": No such file or directory}m, 'is named');
	like(check('nowhere'), qr{^f\|.*could not connect to Unix socket "\Q$dir\E/none\.sock": No such file or directory}, 'check()');
};

subtest 'keys' => sub {
	my $sim = start_simulator('--model', 'm', '--api-key', 'the-right-key');
	my $hint = 'HINT:  Give the key in a file, as option "api_key_file" of a user mapping for the server; or as option "api_key", which others may read in logs and dumps.';
	my $key_file = "$dir/key";
	my @cases = (
		[ 'SELECT', 'no key was sent: there is no user mapping' ],
		[ 'CREATE USER MAPPING FOR PUBLIC SERVER keys', 'no key was sent: the user mapping for PUBLIC has none' ],
		[ q(ALTER USER MAPPING FOR PUBLIC SERVER keys OPTIONS (api_key 'wrong-key')),
			'the key that was sent is from the option "api_key" of the user mapping for PUBLIC' ],
		[ q(ALTER USER MAPPING FOR PUBLIC SERVER keys OPTIONS (SET api_key 'Bearer the-right-key')),
			'the key that was sent is from the option "api_key" of the user mapping for PUBLIC, and begins with "Bearer", which is added to it' ],
		[ 'CREATE USER MAPPING FOR CURRENT_USER SERVER keys', q(no key was sent: the role's own user mapping has none) ],
		[ qq(ALTER USER MAPPING FOR CURRENT_USER SERVER keys OPTIONS (headers '{"X-Team": "search"}')),
			q(no key was sent: the role's own user mapping has none, only the option "headers") ],
		[ qq(ALTER USER MAPPING FOR CURRENT_USER SERVER keys OPTIONS (api_key_file '$key_file')),
			q(the key that was sent is from the option "api_key_file" of the role's own user mapping) ]);

	append_to_file($key_file, "wrong-key\n");
	create_server($node, 'postgres', 'keys', $sim);
	for my $case (@cases)
	{
		my ($change, $where) = @$case;
		sql($change);
		my $err = said('keys');
		like($err, qr/^ERROR:  server "keys" does not accept the API key\nDETAIL:  HTTP status 401: .+; \Q$where\E\n\Q$hint\E$/, $where);
		like(check('keys'), qr/^f\|server "keys" does not accept the API key: HTTP status 401: .+; \Q$where\E$/, 'check()');
		unlike($err . check('keys'), qr/wrong-key|the-right-key/, 'the key is in neither');
	}
	unlink($key_file);
	append_to_file($key_file, "the-right-key\n");
	is(said('keys'), '', 'the right key');
};

subtest 'the file of a key' => sub {
	my $sim = start_simulator('--model', 'm', '--api-key', 'the-right-key');
	my $message = 'could not use the API key file of server "file"';
	my $hint = 'HINT:  It is the option "api_key_file" of the user mapping, and has the key on its only line; the operating-system user of PostgreSQL reads it.';
	my $key_file = "$dir/file";

	create_server($node, 'postgres', 'file', $sim);
	sql("CREATE USER MAPPING FOR PUBLIC SERVER file OPTIONS (api_key_file '$key_file')");
	my $check = sub {
		my ($name, $why) = @_;
		is(said('file'), "ERROR:  $message\nDETAIL:  $why\n$hint", $name);
		is(check('file'), "f|$message: $why", "$name: check()");
	};
	$check->('is not there', qq(could not open API key file "$key_file": No such file or directory));
	append_to_file($key_file, "\n");
	$check->('is empty', qq(API key file "$key_file" is empty));
	append_to_file($key_file, "one\ntwo\n");
	$check->('has two lines', qq(API key file "$key_file" contains a control character));
	unlink($key_file);
	mkdir($key_file);
	$check->('is a directory', qq(API key file "$key_file" is not a regular file));

	sql('CREATE ROLE owner; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO owner; ALTER SERVER file OWNER TO owner');
	is(said('file'), qq(ERROR:  could not use server "file"\nDETAIL:  permission denied to use option "api_key_file" with server "file".  )
		. 'The server\'s owner must be a superuser or a member of the role "pg_read_server_files".' . "\n"
		. q(HINT:  SELECT * FROM retrostar.check('file') shows the state of each endpoint.), 'a server of another');
};

subtest 'request_limit' => sub {
	my $sim = start_simulator('--model', 'm');
	my $again = 'HINT:  Run it again to go on, for what was scored stays in the cache; or score fewer rows, or have "retrostar.request_limit" raised.';
	my $not_again = 'HINT:  To run it again does not help: have "retrostar.request_limit" raised, or read what is known, with "retrostar.on_miss" set to "skip".';

	create_server($node, 'postgres', 'limited', $sim);
	is(said('limited', 'SET retrostar.request_limit = 0;'),
		"ERROR:  statement needs more samples than retrostar.request_limit allows\nDETAIL:  It has sent 0 of at most 0.\n$not_again", 'of 0');
	is(said('limited', 'SET retrostar.request_limit = 2; SET retrostar.samples = 3;'),
		"ERROR:  statement needs more samples than retrostar.request_limit allows\nDETAIL:  It has sent 0 of at most 2.\n$not_again", 'below the samples of one pair');
	my (undef, undef, $err) = $node->psql('postgres', q(SET retrostar.request_limit = 2;
		SELECT count(retro_star_score('limited', i::text, server => 'limited')) FROM generate_series(1, 5) i));
	like($err, qr/DETAIL:  It has sent 2 of at most 2\.\n\Q$again\E$/m, 'one that is reached');
	is($sim->stats->{chat}, 2, 'and held');
};

subtest 'https where nobody speaks it' => sub {
	my $sim = start_simulator('--model', 'm');
	my $log;
	my $hint = 'HINT:  Set the option "url" of the server to http, or to a port where https is spoken.';

	# a machine without certificates would stop at that
	plan skip_all => 'there is no program openssl' if !eval { IPC::Run::run([ 'openssl', 'version' ], '>', \my $version, '2>', '/dev/null') };
	IPC::Run::run([ qw(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost), '-keyout', "$dir/key.pem", '-out', "$dir/ca.pem" ],
		'>&', \$log) or die "openssl: $log";
	create_server($node, 'postgres', 'secure', $sim->{url} =~ s/http/https/r, ca_file => "$dir/ca.pem");
	for my $given ('', q(ALTER SERVER secure OPTIONS (unavailable_timeout '300ms')))
	{
		sql($given);
		my $err = said('secure');
		like($err, qr/^ERROR:  could not reach server "secure"\nDETAIL:  .*  The last failure: .*\((?:perhaps )?it does not speak TLS; the option "url" says https\)$/m, 'is said');
		like($err, qr/^\Q$hint\E$/m, 'and what to do');
		unlike($err, qr/^HINT:  .*unavailable_timeout/m, 'which is not to wait');
	}
};

subtest 'PostgreSQL is to be restarted' => sub {
	my $plain = new_node('plain', preload => 0, extension => 0);
	my (undef, undef, $err) = $plain->psql('postgres', 'CREATE EXTENSION retrostar');
	like($err, qr/HINT:  Add "retrostar" to "shared_preload_libraries" and restart PostgreSQL\.$/m, 'CREATE EXTENSION');
	create_server($plain, 'postgres', 'gpu', 'http://127.0.0.1:9');
	(undef, undef, $err) = $plain->psql('postgres', q(SELECT retro_star_score('q', 'd')));
	like($err, qr/HINT:  Add "retrostar" to "shared_preload_libraries" and restart PostgreSQL\.$/m, 'a score');
	$plain->stop;

	my $small = new_node('small', conf => "retrostar.shared_memory = '4MB'\nmax_worker_processes = 1\nmax_parallel_workers = 0\n");
	create_server($small, 'postgres', 'gpu', 'http://127.0.0.1:9');
	(undef, undef, $err) = $small->psql('postgres', q(SELECT retro_star_score('q', repeat('word ', 600000))));
	like($err, qr/HINT:  Raise "retrostar.shared_memory" and restart PostgreSQL\.$/m, 'a text without room');
	(undef, undef, $err) = $small->psql('postgres', q(SELECT retro_star_score('q', 'd')));
	like($err, qr/HINT:  Raise the setting "max_worker_processes" \(now 1\), and restart PostgreSQL\.$/m, 'a worker without a place');
	$small->stop;
};

done_testing();
