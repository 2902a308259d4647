"""Part of bench.py: what the planner hook costs, statements with and without the function."""
import os
import re
import statistics
import subprocess

from statements import SHAPES, fill_in, make_shape_tables

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '%s'
shared_buffers = 128MB
fsync = off
jit = off
autovacuum = off
shared_preload_libraries = '%s'
"""


def overhead_part(bench):
    transactions(bench)
    planning(bench)


def transactions(bench):
    """Two clusters that differ in shared_preload_libraries, by pgbench -S, in turns."""
    turns = 8 if bench.options.quick else 20
    bench.section('Statements that do not use the function: pgbench -S, %d x 1 s of each' % turns)
    clusters = [Cluster(bench.options.work, name) for name in ('', 'retrostar')]
    try:
        found = {cluster.library: [] for cluster in clusters}
        for i in range(turns):
            for cluster in clusters if i % 2 == 0 else clusters[::-1]:
                found[cluster.library].append(cluster.pgbench('-S', '-T', '1'))
    finally:
        for cluster in clusters:
            cluster.stop()
    ours, without = (statistics.median(found[name]) for name in ('retrostar', ''))
    bench.row('tps with retrostar (floor: without)', ours, '>= 0.97 x', ours / without >= 0.97, without,
              ratio=ours / without, form='%.0f', rounds=found)


class Cluster:
    """A PostgreSQL of its own, with the tables of pgbench, and this library loaded."""

    def __init__(self, work, library):
        self.library = library
        self.directory = '%s/%s' % (work, library or 'bare')
        os.mkdir(self.directory)
        self.data = self.directory + '/data'
        run('initdb', '-D', self.data, '-U', 'bench', '--auth=trust', '--no-locale', '--no-sync')
        with open(self.data + '/postgresql.conf', 'a') as file:
            file.write(SETTINGS % (self.directory, library))
        run('pg_ctl', '-w', '-D', self.data, '-l', self.directory + '/log', 'start')
        self.pgbench('-i', '-q')
        self.pgbench('-S', '-T', '1')       # into shared buffers

    def pgbench(self, *arguments):
        """Transactions in a second, if it is told to run any."""
        output = run('pgbench', '-h', self.directory, '-U', 'bench', *arguments, 'postgres')
        found = re.search(r'^tps = ([\d.]+)', output, re.M)
        return float(found.group(1)) if found else None

    def stop(self):
        run('pg_ctl', '-D', self.data, '-m', 'immediate', 'stop')


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=True, text=True).stdout


def planning(bench):
    """Planning Time of EXPLAIN with and without prefetching, in turns; nothing is sent."""
    turns = 50 if bench.options.quick else 200
    bench.section('Planning of statements that do, median of %d: milliseconds more (floor: all, with prefetch off)' % turns)
    server = bench.simulator(256, 0)
    make_shape_tables(bench)
    for name, _, statement in SHAPES:
        if ';' in statement:
            continue
        sql = 'EXPLAIN (SUMMARY) ' + fill_in(bench, server, statement)
        times = {'on': [], 'off': []}
        for i in range(turns):
            for prefetch in ('on', 'off') if i % 2 == 0 else ('off', 'on'):
                bench.main.query('SET retrostar.prefetch = ' + prefetch)
                line = [row[0] for row in bench.main.query(sql) if 'Planning Time' in row[0]][0]
                times[prefetch].append(float(line.split()[2]))
        bench.main.query('RESET retrostar.prefetch')
        on, off = statistics.median(times['on']), statistics.median(times['off'])
        bench.row(name, on - off, '< 0.2', on - off < 0.2, off, rounds=times)
