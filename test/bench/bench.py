#!/usr/bin/env python3
"""Measures what scoring costs; run.sh starts it.

See README.md for what each row means.  Each figure of ours is measured in turns
with that of a peer, against the same server: the bare libcurl client (floor),
statements that do the same by hand, or the same server without us.  What gates
is the ratio of the two (judge.py).
"""
import argparse
import json
import os
import random
import subprocess
import sys
import time
import urllib.request

from cached import bulk_part, cached_part, cold_part, refresh_part
from capacity import many_part, memory_part
from failures import cancel_part, endpoints_part
from overhead import overhead_part
from priority import priority_part
from rates import cpu_part, curves_part, instant_part, rate_part, sessions_part
from report import Report, alone, in_turns
from session import Peak, Session, cpu_us
from shared import shared_part
from statements import sets_part, shapes_part

HERE = os.path.dirname(os.path.abspath(__file__))
SIMULATOR = os.path.join(HERE, '..', 'simulator', 'simulator')
PATH = '/v1/chat/completions'
DOCS = 10240
LONG_DOCS = 4096
JITTER = 10
PARTS = {'rate': rate_part, 'cpu': cpu_part, 'instant': instant_part, 'cached': cached_part,
         'sessions': sessions_part, 'sets': sets_part, 'shapes': shapes_part, 'refresh': refresh_part,
         'bulk': bulk_part, 'cold': cold_part, 'memory': memory_part, 'many': many_part,
         'priority': priority_part, 'cancel': cancel_part, 'endpoints': endpoints_part,
         'overhead': overhead_part, 'shared': shared_part, 'curves': curves_part}


def main():
    parser = argparse.ArgumentParser(description='Measures retrostar; test/bench/run.sh starts it.')
    parser.add_argument('--socket', required=True, help='directory of the server\'s socket')
    parser.add_argument('--work', required=True, help='directory for files, which the server can read')
    parser.add_argument('--quick', action='store_true', help='fewer pairs, three rounds')
    parser.add_argument('--plain', action='store_true',
                        help='ORDER BY retro_star_score() alone, without retro_star_prefetch()')
    parser.add_argument('--rounds', type=int, help='of each measurement (5; quick: 3)')
    parser.add_argument('--stalled', type=float, metavar='PERCENT',
                        help='judge up to this load, instead of 50 (times of a clock) and 80 (of a CPU)')
    parser.add_argument('--json', metavar='FILE', help='all figures, of each round')
    parser.add_argument('--only', metavar='PART', action='append', choices=list(PARTS),
                        help='one of: ' + ', '.join(PARTS))
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.quick else 5)
    bench = Bench(options)
    try:
        for part in dict.fromkeys(options.only or PARTS):
            PARTS[part](bench)
    finally:
        bench.end()
    bench.report.end()
    if options.json:
        write_figures(bench, options)
    sys.exit(1 if bench.report.missed() else 0)


def write_figures(bench, options):
    with open(options.json, 'w') as file:
        json.dump({'date': time.strftime('%Y-%m-%d'), 'machine': bench.machine, 'quick': options.quick,
                   'plain': options.plain, 'rounds': options.rounds, 'curves': bench.curves,
                   'rows': bench.report.rows}, file, indent=1)
        file.write('\n')


class Bench:
    """Server, simulators and the rows of the report."""

    def __init__(self, options):
        self.options = options
        self.rounds = options.rounds
        self.report = Report(options.stalled)
        self.simulators = {}
        self.program = SIMULATOR
        self.docs = DOCS
        self.queries = 0
        self.curves = []        # what curves_part found
        self.sessions = []
        self.main = self.session()
        self.main.query('CREATE EXTENSION retrostar')
        self.load_docs()
        self.body_bytes = self.measure_body()
        self.machine = '%d CPUs; PostgreSQL %s; %s' % (
            os.cpu_count(), self.main.value('SHOW server_version').split()[0], self.libcurl())
        self.report.head('%s; documents of %d bytes, requests of about %d; %s' % (
            self.machine, 2048, self.body_bytes, 'ORDER BY alone' if options.plain else 'prefetch, then read'))

    def libcurl(self):
        """Its version, as its own program of the same library tells."""
        return 'libcurl ' + subprocess.run([HERE + '/floor', '--version'], stdout=subprocess.PIPE,
                                           check=True, text=True).stdout.strip()

    def session(self):
        session = Session(self.options.socket, 5432, 'bench', 'bench')
        session.query('SET retrostar.request_limit = -1')
        self.sessions.append(session)
        return session

    def load_docs(self):
        """English-like: words of a few letters, common ones often."""
        dice = random.Random(1)
        letters = dict(zip('etaoinshrdlucmfwypvbgk', range(22, 0, -1)))
        words = [''.join(dice.choices(list(letters), letters.values(), k=dice.choice(
            (2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 11)))) for _ in range(4000)]
        weights = [1 / (i + 3) for i in range(len(words))]
        for table, n, size in (('docs', DOCS, 2048), ('long_docs', LONG_DOCS, 8192)):
            path = '%s/%s.tsv' % (self.options.work, table)
            with open(path, 'w') as file:
                for i in range(n):
                    text = ' '.join(dice.choices(words, weights, k=size // 3))[:size]
                    file.write('%d\t%s\n' % (i, text))
            self.main.query('CREATE TABLE %s (id int, body text)' % table)
            self.main.query("COPY %s FROM '%s'" % (table, path))
            self.main.query('VACUUM ANALYZE ' + table)

    def measure_body(self):
        """Of the requests that we send, for the others to send as much."""
        self.server('sizing', 'http://127.0.0.1:9', 1)
        self.main.query('SELECT retrostar.pause()')
        self.main.query("SELECT retro_star_prefetch('query 100', body, server => 'sizing') "
                        'FROM docs WHERE id = 0')
        size = int(self.main.value('SELECT text_bytes FROM retrostar.stat_queue')) + 80
        self.main.query('DROP SERVER sizing; SELECT retrostar.resume()')
        return size

    def server(self, name, url, in_flight):
        self.main.query("CREATE SERVER %s FOREIGN DATA WRAPPER retrostar OPTIONS "
                        "(url '%s', model 'bench', max_in_flight '%d')" % (name, url, in_flight))

    def simulator(self, in_flight, delay_ms):
        """Name of the SQL server, which is made when it is first asked for."""
        name = 'sim_%d_%d' % (in_flight, delay_ms)
        if name not in self.simulators:
            path = '%s/%s.port' % (self.options.work, name)
            process = subprocess.Popen(
                [SIMULATOR, '--port', '0', '--port-file', path, '--fixed', '73', '--delay-ms',
                 str(delay_ms), '--jitter', str(JITTER), '--max-running', str(in_flight),
                 '--die-with-parent'], stdin=subprocess.DEVNULL)
            while not os.path.exists(path) or not os.path.getsize(path):
                time.sleep(0.01)
            with open(path) as file:
                url = 'http://127.0.0.1:' + file.read().split()[0]
            self.simulators[name] = (process, url)
            self.server(name, url, in_flight)
        return name

    def url(self, server):
        return self.simulators[server][1]

    def simulator_stat(self, server, name):
        with urllib.request.urlopen(self.url(server) + '/sim/stats') as reply:
            return json.load(reply)[name]

    def fresh_query(self):
        self.queries += 1
        return 'query %d' % (100 + self.queries)

    def queue(self, column):
        return int(self.main.value('SELECT %s FROM retrostar.stat_queue' % column) or 0)

    def wait_idle(self):
        while self.queue('pairs') > 0:
            time.sleep(0.02)

    def worker(self):
        """Its pid; it stays for the whole run."""
        while not self.queue('worker_pid'):
            server = self.simulator(256, 0)
            self.main.query("SELECT retro_star_score('%s', 'x', server => '%s')" % (
                self.fresh_query(), server))
        return self.queue('worker_pid')

    def client(self, program, server, n, in_flight):
        output = subprocess.run([*program, self.url(server) + PATH, str(in_flight), str(n),
                                 str(self.body_bytes)], stdout=subprocess.PIPE, check=True).stdout
        return alone(json.loads(output))

    def floor(self, server, n, in_flight):
        return self.client([HERE + '/floor'], server, n, in_flight)

    def start_floor(self, server, n, in_flight):
        """For who does not want to wait for its end."""
        return subprocess.Popen([HERE + '/floor', self.url(server) + PATH, str(in_flight), str(n), str(self.body_bytes)],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def threads(self, server, n, in_flight):
        return self.client([sys.executable, HERE + '/threads.py'], server, n, in_flight)

    def coroutines(self, server, n, in_flight):
        return self.client([sys.executable, HERE + '/coroutines.py'], server, n, in_flight)

    def statement(self, server, n, query, part=0, parts=1):
        """Scores n new pairs (less than DOCS, or a multiple), or one "part" of several."""
        copies = max(n // DOCS, 1)
        source = 'FROM generate_series(1, %d) g, docs WHERE id < %d AND id %% %d = %d' % (
            copies, n // copies, parts, part)
        arguments = "('%s ' || g, body, server => '%s')" % (query, server)
        plain = 'SELECT id %s ORDER BY retro_star_score%s DESC NULLS LAST LIMIT 10' % (source, arguments)
        if self.options.plain:
            return plain
        return 'SELECT count(retro_star_prefetch%s) %s; %s' % (arguments, source, plain)

    def ours(self, server, n, sessions=1, same=False, store=True):
        """Scores n new pairs; all sessions share them, or all want them all."""
        used = [self.main] if sessions == 1 else [self.session() for _ in range(sessions)]
        worker, query = self.worker(), self.fresh_query()
        parts = 1 if same else sessions
        if same:
            # else what one prefetches, in the background, gives way to what another reads, and is sent again
            for session in used:
                session.query("SET retrostar.priority = 'interactive'")
        peak = Peak(worker)
        sent, chat = self.queue('samples_sent'), self.simulator_stat(server, 'chat')
        cpu = cpu_us(worker)
        backend = sum(cpu_us(s.pid) for s in used)
        wall = time.monotonic()
        for i, session in enumerate(used):
            session.send(self.statement(server, n, query, i % parts, parts))
        for session in used:
            session.wait()
        wall = time.monotonic() - wall
        backend = sum(cpu_us(s.pid) for s in used) - backend
        if store:
            self.wait_idle()
        cpu = cpu_us(worker) - cpu
        for session in used:
            if session is not self.main:
                session.close()
                self.sessions.remove(session)
        return {'n': n, 'seconds': wall, 'per_second': n / wall, 'cpu_us': cpu / n,
                'backend_us': backend / n, 'both_us': (cpu + backend) / n, 'rss_mb': peak.end(),
                'sent': self.queue('samples_sent') - sent,
                'received': self.simulator_stat(server, 'chat') - chat}

    def in_turns(self, **measures):
        return in_turns(self.rounds, measures)

    def end(self):
        for session in self.sessions:
            session.close()
        for process, _ in self.simulators.values():
            process.kill()
            process.wait()


if __name__ == '__main__':
    main()
