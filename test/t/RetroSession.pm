# A session that stays: psql in the background, fed statement by statement.
package RetroSession;

use strict;
use warnings;

use IPC::Run ();

# What is there to read.  A process may end between IPC::Run's look and its
# reading, which is an error there; what it said is read all the same.
sub read_some
{
	my ($harness) = @_;

	eval { $harness->pump_nb; 1 } or $@ =~ /process ended prematurely/ or die $@;
	return;
}

# Connects and waits until the session is there; its process is $session->{pid}
sub new
{
	my ($class, $node, $db, %params) = @_;
	my $self = bless { in => '', out => '', err => '', marks => 0,
		timer => IPC::Run::timeout(180) }, $class;
	my $connstr = $node->connstr($db) . (defined $params{user} ? " user=$params{user}" : '');

	$self->{harness} = IPC::Run::start(
		[ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $connstr ],
		'<', \$self->{in}, '>', \$self->{out}, '2>', \$self->{err}, $self->{timer});
	# see without_clock()
	$self->{pid} = $self->query('SELECT pg_backend_pid() FROM pg_stat_force_next_flush()');
	return $self;
}

# Sends statements and does not wait
sub send
{
	my ($self, $sql) = @_;

	$self->{err} = '';
	$self->{mark} = 'mark ' . ++$self->{marks};
	$self->{in} .= "$sql;\n\\echo $self->{mark}\n";
	$self->{harness}->pump_nb;
	return;
}

# Is what was sent done?
sub done
{
	my ($self) = @_;

	read_some($self->{harness});
	return $self->{out} =~ /^\Q$self->{mark}\E$/m;
}

# Waits until what was sent is done; its output.  SQLSTATE: see sqlstate().
sub result
{
	my ($self) = @_;
	my $mark = $self->{mark};

	# The harness knows it, so that pump() ends, too
	$self->{timer}->start;
	until ($self->{out} =~ /^\Q$mark\E$/m)
	{
		die "session ended: $self->{err}" unless $self->{harness}->pumpable;
		$self->{harness}->pump;
	}
	$self->{timer}->reset;
	(my $out = $self->{out}) =~ s/^\Q$mark\E\n//m;
	$self->{out} = '';
	# what went to the other pipe may be behind
	read_some($self->{harness}) for 1 .. 2;
	$out =~ s/\s+\z//;
	return $out;
}

sub query { my ($self, $sql) = @_; $self->send($sql); return $self->result; }

# Of the last error since send(), '00000' without one
sub sqlstate
{
	my ($self) = @_;
	return $self->{err} =~ /(?:ERROR|FATAL): +([0-9A-Z]{5}):/ ? $1 : '00000';
}

# What a statement ends with, in one call
sub outcome { my ($self, $sql) = @_; $self->query($sql); return $self->sqlstate; }

# Of a new session: no clock of PostgreSQL's wakes it while it waits, neither the
# one that looks after its client nor the one for its statistics.  What has been
# set rings once, though nobody wants it any more; so it must not be set at all.
sub without_clock
{
	my ($self) = @_;
	$self->query(q(SELECT set_config('client_connection_check_interval', '0', false) FROM pg_stat_force_next_flush()));
	return;
}

# The client dies without a word
sub kill_client
{
	my ($self) = @_;
	$self->{harness}->signal('KILL');
	eval { $self->{harness}->finish };
	$self->{harness} = undef;
	return;
}

# Waits for the end of a session that was terminated; the SQLSTATE
sub ended
{
	my ($self) = @_;
	eval { $self->{harness}->finish };
	$self->{harness} = undef;
	return $self->sqlstate;
}

sub quit
{
	my ($self) = @_;
	return unless $self->{harness};
	$self->{in} .= "\\q\n";
	eval { $self->{harness}->finish };
	$self->{harness} = undef;
	return;
}

sub DESTROY { my ($self) = @_; local ($?, $@); eval { $self->{harness}->kill_kill if $self->{harness} }; return; }

1;
