#!/usr/bin/env python3
"""Measures what scoring costs; run.sh starts it.

See README.md for what each row means.  Each figure of ours is measured in
turns with the bare libcurl client (floor) and a thread pool (threads.py)
against the same server; of several rounds the best counts, for each of them,
since whatever else the machine does only makes them slower.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.request

from failures import cancel_part, endpoints_part
from overhead import overhead_part
from priority import priority_part
from session import Session, cpu_us, rss_anon_mb, stalled_us
from statements import refresh_part, sets_part, shapes_part

HERE = os.path.dirname(os.path.abspath(__file__))
SIMULATOR = os.path.join(HERE, '..', 'simulator', 'simulator')
PATH = '/v1/chat/completions'
DOCS = 10240
LONG_DOCS = 4096
JITTER = 10


def main():
    parser = argparse.ArgumentParser(description='Measures retrostar; test/bench/run.sh starts it.')
    parser.add_argument('--socket', required=True, help='directory of the server\'s socket')
    parser.add_argument('--work', required=True, help='directory for files, which the server can read')
    parser.add_argument('--quick', action='store_true', help='fewer pairs, one round')
    parser.add_argument('--plain', action='store_true',
                        help='ORDER BY retro_star_score() alone, without retro_star_prefetch()')
    parser.add_argument('--rounds', type=int, help='of each measurement (3; quick: 1)')
    parser.add_argument('--json', metavar='FILE', help='all figures, of each round')
    parser.add_argument('--only', metavar='PART', action='append', choices=list(PARTS),
                        help='one of: ' + ', '.join(PARTS))
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    bench = Bench(options)
    try:
        for part in options.only or PARTS:
            PARTS[part](bench)
    finally:
        bench.end()
    bench.print_end()
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'quick': options.quick, 'plain': options.plain, 'cpus': os.cpu_count(),
                       'seconds': time.monotonic() - bench.began, 'rows': bench.rows}, file, indent=1)
            file.write('\n')
    sys.exit(1 if any(row['pass'] is False for row in bench.rows) else 0)


class Bench:
    """Server, simulators and the rows of the report."""

    def __init__(self, options):
        self.options = options
        self.rounds = options.rounds
        self.rows = []
        self.simulators = {}
        self.program = SIMULATOR
        self.docs = DOCS
        self.queries = 0
        self.began = time.monotonic()
        self.stalled = stalled_us()
        self.section_began = (self.began, self.stalled)
        self.sessions = []
        self.main = self.session()
        self.main.query('CREATE EXTENSION retrostar')
        self.load_docs()
        self.body_bytes = self.measure_body()
        print('%d CPUs; PostgreSQL %s; documents of %d bytes, requests of about %d; %s\n' % (
            os.cpu_count(), self.main.value('SHOW server_version').split()[0], 2048,
            self.body_bytes, 'ORDER BY alone' if options.plain else 'prefetch, then read'))
        print('%-41s %-17s %9s %9s %9s %6s  %-5s %s' % (
            '', 'target', 'measured', 'floor', 'threads', 'ratio', '', 'stalled'))

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
        return json.loads(output)

    def floor(self, server, n, in_flight):
        return self.client([HERE + '/floor'], server, n, in_flight)

    def threads(self, server, n, in_flight):
        return self.client([sys.executable, HERE + '/threads.py'], server, n, in_flight)

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
                'backend_us': backend / n, 'rss_mb': peak.end(),
                'sent': self.queue('samples_sent') - sent,
                'received': self.simulator_stat(server, 'chat') - chat}

    def section(self, title):
        print('\n' + title)
        self.section_began = (time.monotonic(), stalled_us())

    def row(self, name, measured, target='', passed=None, floor=None, threads=None, ratio=None,
            form='%.3f', rounds=None):
        """A line of the report; "passed" None: not a gate."""
        now = (time.monotonic(), stalled_us())
        seconds = now[0] - self.section_began[0]
        stalled = None          # for a second row of the same measurement
        if seconds > 0.1:
            stalled = min((now[1] - self.section_began[1]) / seconds / 1e4, 100)
            self.section_began = now
        self.rows.append({'name': name, 'target': target, 'measured': measured, 'floor': floor,
                          'threads': threads, 'ratio': ratio, 'pass': passed,
                          'stalled_percent': stalled, 'rounds': rounds})
        print('  %-39s %-17s %9s %9s %9s %6s  %-5s %s' % (
            name, target, *('' if v is None else form % v for v in (measured, floor, threads)),
            '' if ratio is None else '%.3f' % ratio,
            {None: '', True: 'pass', False: 'MISS'}[passed],
            '' if stalled is None else '%3.0f %%' % stalled), flush=True)

    def print_end(self):
        gates = [row['pass'] for row in self.rows if row['pass'] is not None]
        print('\n%d of %d gates passed, %.0f s; somebody waited for a CPU %.0f %% of the time' % (
            sum(gates), len(gates), time.monotonic() - self.began,
            (stalled_us() - self.stalled) / (time.monotonic() - self.began) / 1e4))

    def end(self):
        for session in self.sessions:
            session.close()
        for process, _ in self.simulators.values():
            process.kill()
            process.wait()


class Peak(threading.Thread):
    """Samples the worker's private memory."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            self.peak = max(self.peak, rss_anon_mb(self.pid))

    def end(self):
        self.over.set()
        self.join()
        return max(self.peak, rss_anon_mb(self.pid))


def best(rounds, name='per_second'):
    """The fastest round, or the one that took the least CPU."""
    return (min if name.endswith('_us') else max)(r[name] for r in rounds)


def in_turns(bench, server, n, in_flight, threads_n=0):
    """Rounds of each; the order changes, so that nobody is always the first."""
    found = {'ours': [], 'floor': [], 'threads': []}
    for i in range(bench.rounds):
        turns = [('floor', lambda: bench.floor(server, n, in_flight)),
                 ('ours', lambda: bench.ours(server, n))]
        if threads_n and i == 0:
            turns.append(('threads', lambda: bench.threads(server, threads_n, in_flight)))
        for name, measure in turns if i % 2 == 0 else turns[::-1]:
            found[name].append(measure())
    return found


def rate_part(bench):
    bench.section('Rate / ideal (in flight / service time)')
    cases = [(256, 50, 2048, None, None), (256, 50, 10240, None, None),
             (256, 200, 2048, None, None), (256, 200, 10240, 0.96, 0.97),
             (2048, 200, 20480 if bench.options.quick else 81920, None, 0.9)]
    for in_flight, delay, n, least, least_ratio in cases:
        server = bench.simulator(in_flight, delay)
        found = in_turns(bench, server, n, in_flight, min(n, 4 * in_flight))
        ideal = in_flight * 1000 / delay
        rate, floor = best(found['ours']), best(found['floor'])
        targets = ['>= %.2f' % least] if least else []
        targets += ['>= %.2f x floor' % least_ratio] if least_ratio else []
        passed = (not least or rate / ideal >= least) and rate / floor >= least_ratio \
            if least_ratio else None
        bench.row('%d x %d ms, %d pairs' % (in_flight, delay, n), rate / ideal,
                  ', '.join(targets).replace(' floor', '') if len(targets) > 1 else ''.join(targets),
                  passed, floor / ideal, best(found['threads']) / ideal, rate / floor, rounds=found)
        lost = [r for r in found['ours'] if r['sent'] != n or r['received'] != n]
        if lost:
            bench.row('  requests for %d pairs' % n, lost[0]['received'], '= pairs', False, form='%d')
        if in_flight == 2048:
            mb = max(r['rss_mb'] for r in found['ours'])
            bench.row('  worker private memory, MB', mb, '<= 100', mb <= 100, form='%.1f')
        bench.row('  CPU us/request: worker', best(found['ours'], 'cpu_us'), form='%.1f',
                  floor=best(found['floor'], 'cpu_us'), threads=best(found['threads'], 'cpu_us'),
                  ratio=best(found['ours'], 'cpu_us') / best(found['floor'], 'cpu_us'))


def cpu_part(bench):
    bench.section('CPU, us a request, 256 x 200 ms')
    server, n = bench.simulator(256, 200), 2048 if bench.options.quick else 10240
    found = {'floor': [], 'stored': [], 'not stored': []}
    for _ in range(bench.rounds):
        found['floor'].append(bench.floor(server, n, 256))
        found['stored'].append(bench.ours(server, n))
        # Readers are let in, the worker's store is not: it is put off
        locker = bench.session()
        locker.query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE')
        found['not stored'].append(bench.ours(server, n, store=False))
        locker.query('COMMIT')
        bench.wait_idle()
    floor = best(found['floor'], 'cpu_us')
    for name, target in (('not stored', 60), ('stored', 75)):
        used = best(found[name], 'cpu_us')
        bench.row('worker, ' + name, used, '<= %d' % target, used <= target, floor,
                  ratio=used / floor, form='%.1f', rounds=found)
    used = best(found['stored'], 'backend_us')
    bench.row('session', used, form='%.1f')
    bench.row('worker and session', used + best(found['stored'], 'cpu_us'), form='%.1f')


def instant_part(bench):
    bench.section('Instant server, 256 in flight')
    server, n = bench.simulator(256, 0), 20480 if bench.options.quick else 102400
    found = in_turns(bench, server, n, 256, 4096)
    rate = best(found['ours'])
    floor = best(found['floor'])
    bench.row('requests/s', rate, '>= 15000', rate >= 15000, floor,
              best(found['threads']), rate / floor, '%.0f', rounds=found)
    bench.row('  CPU us/request: worker', best(found['ours'], 'cpu_us'), '', None,
              best(found['floor'], 'cpu_us'), best(found['threads'], 'cpu_us'),
              best(found['ours'], 'cpu_us') / best(found['floor'], 'cpu_us'), '%.1f')
    bench.row('  CPU us/request: session', best(found['ours'], 'backend_us'), form='%.1f')
    worker = bench.worker()
    before = rss_anon_mb(worker)
    bench.ours(server, n)
    grown = rss_anon_mb(worker) - before
    bench.row('worker memory, MB more after %d' % n, grown, '<= 1', grown <= 1, form='%.2f')


def cached_part(bench):
    bench.section('Cached scores, 1000/s, one statement')
    server = bench.simulator(256, 0)
    tables = [('2 KB inline', 'docs', 'PLAIN', 'pglz', 125), ('2 KB pglz', 'docs', 'EXTENDED', 'pglz', None),
              ('2 KB lz4', 'docs', 'EXTENDED', 'lz4', None),
              ('8 KB inline', 'long_docs', 'PLAIN', 'pglz', None),
              ('8 KB external', 'long_docs', 'EXTERNAL', 'pglz', None),
              ('8 KB pglz', 'long_docs', 'EXTENDED', 'pglz', None),
              ('8 KB lz4', 'long_docs', 'EXTENDED', 'lz4', None)]
    for i, (name, source, storage, compression, target) in enumerate(tables):
        table = 'stored_%d' % i
        length = 7900 if storage == 'PLAIN' else 8192   # what a page holds
        try:
            bench.main.query('CREATE TABLE %s (id int, body text COMPRESSION %s)' % (table, compression))
        except RuntimeError:
            continue            # a server without lz4
        bench.main.query('ALTER TABLE %s ALTER body SET STORAGE %s' % (table, storage))
        # || '' so that the value is stored anew, in this table's way
        bench.main.query("INSERT INTO %s SELECT id, left(body, %d) || '' FROM %s ORDER BY id" % (
            table, length, source))
        bench.main.query('VACUUM ANALYZE ' + table)
        n = int(bench.main.value('SELECT count(*) FROM ' + table))
        call = "retro_star_score('cached', body, server => '%s')" % server
        bench.main.query('SELECT count(retro_star_prefetch%s) FROM %s' % (call[16:], table))
        bench.main.query('SELECT sum(%s) FROM %s' % (call, table))
        bench.wait_idle()
        cached_row(bench, name, 'SELECT sum(%s) FROM %s' % (call, table), table, n, target)
        bench.main.query('DROP TABLE ' + table)


def cached_row(bench, name, statement, table, n, target):
    """The floor: what SQL can do, a join to the table by a digest of the text."""
    by_hand = ("SELECT count(c.scores) FROM %s LEFT JOIN retrostar.score_cache c "
               "ON c.key = sha256(convert_to('prefix' || body, 'UTF8'))" % table)
    switches = bench.main.query(
        "SELECT name FROM pg_settings WHERE name = 'retrostar.prefetch'") and [True, False] or [None]
    setting = 'SET enable_hashjoin = off; SET enable_mergejoin = off'
    found = {'by hand': []}
    sent = bench.queue('samples_sent')
    for _ in range(3 if bench.options.quick else 7):
        found['by hand'].append(timed(bench, by_hand, n, setting))
        for on in switches:
            if on is not None:
                setting = 'SET retrostar.prefetch = %s' % ('on' if on else 'off')
            found.setdefault(on, []).append(timed(bench, statement, n, setting))
    if switches != [None]:
        bench.main.query('RESET retrostar.prefetch')
    if bench.queue('samples_sent') != sent:
        raise RuntimeError('the scores of %s were not cached' % table)
    floor = best(found['by hand']) / 1000
    for on in switches:
        rate = best(found[on]) / 1000
        bench.row(name + ('' if on is None else ', prefetch ' + ('on' if on else 'off')), rate,
                  '>= %d' % target if target else '', rate >= target if target else None, floor,
                  ratio=rate / floor, form='%.0f', rounds={'ours': found[on], 'floor': found['by hand']})


def timed(bench, statement, n, setting):
    bench.main.query(setting)
    cpu, wall = cpu_us(bench.main.pid), time.monotonic()
    bench.main.query(statement)
    wall, cpu = time.monotonic() - wall, cpu_us(bench.main.pid) - cpu
    bench.main.query('RESET enable_hashjoin; RESET enable_mergejoin')
    return {'per_second': n / wall, 'cpu_us': cpu / n}


def sessions_part(bench):
    n = 2560 if bench.options.quick else 10240
    bench.section('Sessions that share %d pairs, rate / ideal, 256 x 200 ms' % n)
    server = bench.simulator(256, 200)
    rates = {}
    for sessions in (1, 8, 32):
        found = [bench.ours(server, n, sessions) for _ in range(max(bench.rounds - 1, 1))]
        rates[sessions] = best(found) / 1280
        bench.row('%d' % sessions, rates[sessions], ratio=rates[sessions] / rates[1],
                  rounds={'ours': found})
    found = bench.ours(server, 2048, 8, same=True)
    bench.row('8 that want the same 2048: requests', found['received'], '= 2048',
              found['received'] == 2048, form='%d', rounds={'ours': [found]})


PARTS = {'rate': rate_part, 'cpu': cpu_part, 'instant': instant_part, 'cached': cached_part,
         'sessions': sessions_part, 'sets': sets_part, 'shapes': shapes_part, 'refresh': refresh_part,
         'priority': priority_part, 'cancel': cancel_part, 'endpoints': endpoints_part,
         'overhead': overhead_part}

if __name__ == '__main__':
    main()
