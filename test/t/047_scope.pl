# Whose scores a server shares: roles, whatever they are called, and what a
# superuser says.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Utils;
use RetroTest;
use Test::More;

my $node = new_node('scope');
my $sim = start_simulator();

sub sql { my ($sql) = @_; return $node->safe_psql('postgres', $sql); }
sub oid { my ($role) = @_; return sql("SELECT '$role'::regrole::oid"); }
sub scope { my ($server) = @_; return sql("SELECT retrostar.cache_scope('$server')"); }
sub key { my ($server) = @_; return sql("SELECT retrostar.cache_key('q', 'd', server => '$server')"); }

sub server_of
{
	my ($role, $name, $scope) = @_;
	my $option = defined $scope ? ", cache_scope '$scope'" : '';

	sql("SET SESSION AUTHORIZATION $role;
		CREATE SERVER $name FOREIGN DATA WRAPPER retrostar OPTIONS (url '$sim->{url}', model 'm'$option)");
	return;
}

# Scores the pair; how many requests that took
sub asked
{
	my ($server, $doc) = @_;

	$sim->reset_stats;
	sql("SELECT retro_star_score('q', '$doc', server => '$server')");
	wait_idle($node);
	return $sim->stats->{chat};
}

sql('CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE team; GRANT team TO alice, bob;
	GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO alice, bob, team');
my $alice = oid('alice');
my $bob = oid('bob');
my $team = oid('team');

subtest 'what is said of it' => sub {
	server_of('alice', 'own');
	is(scope('own'), "role $alice", 'the owner');
	server_of('postgres', 'super');
	is(scope('super'), 'role 10', 'a superuser is an owner, too');
	server_of('alice', 'a_team', 'team');
	is(scope('a_team'), "role $team", 'a role of which the owner is a member');
	server_of('bob', 'b_team', "role $team");
	is(scope('b_team'), "role $team", 'the same by its OID');
	is(key('b_team'), key('a_team'), 'members share');
	server_of('bob', 'b_self', 'bob');
	is(scope('b_self'), "role $bob", 'the owner by name');
	server_of('bob', 'b_text', 'experiment');
	is(scope('b_text'), "role $bob: experiment", 'any other text is the owner\'s own');
	server_of('postgres', 'p_text', 'experiment');
	is(scope('p_text'), 'experiment', 'and of a superuser as it is');
	isnt(key('p_text'), key('b_text'), 'another scope');
	is(sqlstate($node, 'postgres', q(SET SESSION AUTHORIZATION bob; SELECT retrostar.cache_scope('own'))), '42501', 'it needs USAGE');
};

subtest "another's scope" => sub {
	for my $text ("role 10", "role $alice", "role $alice: experiment", "role 0$team", "role  $team", "role $team ", 'alice', 'postgres')
	{
		sql("ALTER SERVER b_text OPTIONS (SET cache_scope '$text')");
		is(scope('b_text'), "role $bob: $text", "\"$text\" is not had");
	}
	# A role that is called as another's scope
	sql(qq(CREATE ROLE "role $alice"; GRANT "role $alice" TO bob));
	my $named = oid(qq("role $alice"));
	sql("ALTER SERVER b_text OPTIONS (SET cache_scope 'role $alice')");
	is(scope('b_text'), "role $named", 'nor by a role of that name');
	sql("ALTER SERVER b_text OPTIONS (SET cache_scope 'experiment')");
	my $before = key('b_text');
	sql('ALTER ROLE bob SUPERUSER');
	is(scope('b_text'), 'experiment', 'who becomes a superuser');
	sql("ALTER SERVER b_text OPTIONS (SET cache_scope 'role $alice')");
	is(key('b_text'), key('own'), 'may have any');
	sql("ALTER SERVER b_text OPTIONS (SET cache_scope 'experiment')");
	sql('ALTER ROLE bob NOSUPERUSER');
	is(key('b_text'), $before, 'while he is one');
	is(scope('b_self'), "role $bob", 'his own stays');
	sql('REVOKE team FROM bob');
	is(scope('b_team'), "role $bob: role $team", 'a member no more');
	sql('GRANT team TO bob');
};

subtest 'names' => sub {
	is(asked('own', 'renamed'), 1, 'a score');
	is(asked('a_team', 'of the team'), 1, 'and another');
	sql('ALTER ROLE alice RENAME TO alicia');
	is(asked('own', 'renamed'), 0, 'its owner is renamed');
	sql('ALTER ROLE alicia RENAME TO alice; ALTER SERVER own OWNER TO postgres; ALTER SERVER a_team OWNER TO postgres;
		DROP OWNED BY alice; DROP ROLE alice; CREATE ROLE alice; GRANT USAGE ON FOREIGN DATA WRAPPER retrostar TO alice');
	server_of('alice', 'new');
	is(asked('new', 'renamed'), 1, 'a new role of the same name does not have it');
	sql(q(ALTER SERVER new OPTIONS (ADD cache_scope 'alice')));
	is(asked('new', 'renamed'), 0, 'its own it has');
	server_of('bob', 'b_alice', 'alice');
	sql('GRANT alice TO bob');
	is(asked('b_alice', 'renamed'), 0, 'which a member shares');
	is(asked('b_team', 'of the team'), 0, 'the score of one who has gone is there for the others');
};

# As in the documentation: what a role's servers have paid for goes on, on a
# superuser's server, under any name and in any cluster
subtest 'carried on' => sub {
	sql(qq(ALTER SERVER own OPTIONS (ADD cache_scope 'role $alice')));
	is(scope('own'), "role $alice", 'the scope of a role that has gone');
	is(asked('own', 'renamed'), 0, 'has its scores');

	# A row of before: the scope was the name of the owner
	my $old = sql(q(SELECT sha256(string_agg(int4send(octet_length(convert_to(part, 'UTF8'))) || convert_to(part, 'UTF8'), ''::bytea ORDER BY n))
		FROM unnest(ARRAY['1', '', 'keeper', 'm', '0.6', '40', '1', '0', '1', '1024', '0', '',
			'Given a query (query) and a document (document), the document is relevant to the query if the document can help answer the query.',
			'query', 'document', 'q', 'of before']) WITH ORDINALITY p (part, n)));
	sql("INSERT INTO retrostar.score_cache VALUES ('$old', 1, '{7}', 0, 'm', 1, 1, now(), now())");
	server_of('postgres', 'before', 'keeper');
	is(sql(q(SELECT retro_star_score('q', 'of before', server => 'before'))), 7, 'a scope that was a name');
};

done_testing();
