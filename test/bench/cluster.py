"""A PostgreSQL of its own, for parts of bench.py that need other settings than the rest."""
import os
import re
import subprocess

from session import Session

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '%s'
fsync = off
jit = off
autovacuum = off
max_wal_size = 4GB
max_parallel_workers_per_gather = 0
shared_preload_libraries = '%s'
retrostar.worker_idle_timeout = 1h
%s
"""


class Cluster:
    """Made, started, and ended by stop(); "library" is loaded, or nothing."""

    def __init__(self, work, name, library, settings=''):
        self.library = library
        self.directory = '%s/%s' % (work, name)
        os.mkdir(self.directory)
        self.data = self.directory + '/data'
        run('initdb', '-D', self.data, '-U', 'bench', '--auth=trust', '--no-locale', '--encoding=UTF8', '--no-sync')
        with open(self.data + '/postgresql.conf', 'a') as file:
            file.write(SETTINGS % (self.directory, library, settings))
        self.start()

    def start(self):
        run('pg_ctl', '-w', '-D', self.data, '-l', self.directory + '/log', 'start')

    def restart(self):
        run('pg_ctl', '-w', '-D', self.data, '-l', self.directory + '/log', '-m', 'fast', 'restart')

    def session(self):
        session = Session(self.directory, 5432, 'bench', 'postgres')
        if self.library:
            session.query("LOAD 'retrostar'; SET retrostar.request_limit = -1")
        return session

    def pgbench(self, *arguments):
        """Transactions in a second, if it is told to run any."""
        output = run('pgbench', '-h', self.directory, '-U', 'bench', *arguments, 'postgres')
        found = re.search(r'^tps = ([\d.]+)', output, re.M)
        return float(found.group(1)) if found else None

    def stop(self):
        run('pg_ctl', '-D', self.data, '-m', 'immediate', 'stop')


def run(*command):
    """Its output; a server that it starts must not hold the pipe."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError('%s failed: %s' % (' '.join(command), done.stdout))
    return done.stdout
