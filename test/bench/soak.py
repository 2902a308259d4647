"""The random mix of soak.sh, and what must hold at its end.

Each thread has its own dice, so the seed settles what each of them does, though
not when.
"""
import argparse
import collections
import json
import os
import random
import struct
import subprocess
import sys
import threading
import time
import urllib.request

from session import Session, rss_anon_mb

SIMULATOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'simulator', 'simulator')
FAILURES = ('status', 'queue-full', 'rate-limit', 'loading', 'bad-gateway', 'engine-dead', 'junk', 'empty', 'abort',
            'truncated', 'no-score', 'close', 'reset', 'cut', 'cut-reset', 'hang', 'validation', 'too-long', 'auth',
            'close-behind', 'last', 'drip', 'garbage', 'echo-key')
# What the server may say to a statement of ours: cancelled, terminated, or failed as the simulators do
EXPECTED = {'57014', '57P01', '08006', '38000', '54000', '55000', '22023', 'closed'}


class Simulator:
    def __init__(self, work, n):
        path = '%s/sim%d.port' % (work, n)
        self.process = subprocess.Popen(
            [SIMULATOR, '--port', '0', '--control-port', '0', '--port-file', path, '--delay-ms', '8', '--jitter', '50',
             '--max-running', '48', '--log', '0', '--disconnect-ms', '10', '--idle-close-ms', '2000', '--die-with-parent'],
            stdin=subprocess.DEVNULL)
        while not os.path.exists(path) or not os.path.getsize(path):
            time.sleep(0.01)
        with open(path) as file:
            service, control = file.read().split()
        self.url = 'http://127.0.0.1:' + service
        self.control_url = 'http://127.0.0.1:' + control

    def control(self, **settings):
        data = json.dumps(settings).encode()
        urllib.request.urlopen(urllib.request.Request(self.control_url + '/sim/control', data)).read()

    def stats(self):
        with urllib.request.urlopen(self.control_url + '/sim/stats') as reply:
            return json.load(reply)


class Soak:
    def __init__(self, options):
        self.options = options
        self.done = collections.Counter()
        self.wrong = []
        self.pids = {}
        self.simulators = [Simulator(options.work, n) for n in range(3)]
        self.main = self.session()
        self.main.query("CREATE EXTENSION retrostar; CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS "
                        "(url '%s', model 'm', timeout '2s', unavailable_timeout '20s', max_in_flight '64')" % self.urls(3))
        self.main.query("CREATE USER MAPPING FOR PUBLIC SERVER gpu OPTIONS (api_key 'sk-soak-0123456789')")
        self.chaos = self.session()
        self.end = time.monotonic() + 60 * options.minutes
        self.quiet = time.monotonic() + 30 * options.minutes

    def session(self):
        return Session(self.options.socket, 5432, 'soak', 'soak')

    def urls(self, n):
        return ','.join(simulator.url for simulator in self.simulators[:n])

    def statement(self, dice):
        """Name and text of a statement; pairs come back, so some are known or asked for by others."""
        query = 'query %d' % dice.randrange(40)
        n = dice.choice((1, 5, 20, 60, 200))
        first = dice.randrange(0, 4000)
        docs = "'document ' || i || repeat(' word', (i * 7) %% %d) FROM generate_series(%d, %d) i" % (
            dice.choice((10, 100, 2000)), first, first + n)
        settings = ''.join("SET LOCAL retrostar.%s; " % setting for setting in (
            "on_error = 'null'", 'store_reasoning = on', 'cache = off', "deadline = '200ms'", "on_miss = 'skip'",
            'samples = 3', 'prefetch = off', "unscored_reply = 'zero'") if dice.random() < 0.12)
        kind = dice.choice(('score', 'score', 'sort', 'rerank', 'aggregate', 'prefetch', 'explain', 'cursor', 'check'))
        sets = '(SELECT array_agg(i) FROM generate_series(%d, %d) i), (SELECT array_agg(d) FROM (SELECT %s) x (d))' % (
            first, first + n, docs)
        body = {
            'score': "SELECT count(retro_star_score('%s', d)) FROM (SELECT %s) x (d)" % (query, docs),
            'sort': "SELECT d, retro_star_score('%s', d) s FROM (SELECT %s) x (d) ORDER BY s DESC NULLS LAST LIMIT 3" % (query, docs),
            'rerank': "SELECT * FROM retro_star_rerank('%s', %s, top_n => 5, passes => '%s')" % (
                query, sets, dice.choice(('1', '2', '100@1,5@3', 'adaptive', 'adaptive:1,2'))),
            'aggregate': "SELECT retro_star_rerank_agg('%s', 1, d) FROM (SELECT %s) x (d)" % (query, docs),
            'prefetch': "SELECT count(retro_star_prefetch('%s', d)) FROM (SELECT %s) x (d)" % (query, docs),
            'explain': "SELECT count(*) FROM retro_star_explain('%s', 'document %d', samples => %d)" % (
                query, first, dice.randint(1, 4)),
            'cursor': "DECLARE c CURSOR FOR SELECT retro_star_score('%s', d) FROM (SELECT %s) x (d); FETCH 3 FROM c" % (query, docs),
            'check': "SELECT count(*) FROM retrostar.check('gpu')"}[kind]
        ending = 'ROLLBACK' if dice.random() < 0.2 else 'COMMIT'
        return kind, 'BEGIN; %s%s; %s' % (settings, body, ending)

    def client(self, n):
        dice = random.Random(self.options.seed * 1000 + n)
        session = None
        while time.monotonic() < self.end:
            if session is None:
                session = self.session()
                self.pids[n] = session.pid
            kind, sql = self.statement(dice)
            try:
                session.query(sql)
                self.done[kind] += 1
            except (RuntimeError, OSError, struct.error) as error:
                code = str(error).split(' ', 1)[0] if isinstance(error, RuntimeError) else 'closed'
                self.done['ended by ' + code] += 1
                if code not in EXPECTED:
                    self.wrong.append('%s: %s' % (kind, error))
                if code in ('57P01', 'closed'):
                    session = None
                else:
                    session.query('ROLLBACK')
        if session is not None:
            session.close()

    def trouble(self):
        """Something bad, now and then; nothing ends the worker in the second half."""
        dice = random.Random(self.options.seed)
        while time.monotonic() < self.end:
            time.sleep(dice.uniform(0.02, 0.3))
            what = dice.choice(('cancel', 'cancel', 'cancel', 'kill', 'worker', 'fail', 'fail', 'heal', 'alter', 'deaf', 'pause'))
            simulator = dice.choice(self.simulators)
            pid = self.pids.get(dice.randrange(self.options.sessions), 0)
            value = dice.random()
            if what == 'worker' and time.monotonic() > self.quiet:
                continue
            if what == 'cancel':
                self.chaos.query('SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = %d' % pid)
            elif what == 'kill':
                self.chaos.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %d' % pid)
            elif what == 'worker':
                self.chaos.query('SELECT pg_terminate_backend(worker_pid) FROM retrostar.stat_queue')
            elif what == 'fail':
                simulator.control(fail_clear=True, fail=[{'mode': mode, 'p': 0.03} for mode in dice.sample(FAILURES, 4)])
            elif what == 'heal':
                simulator.control(fail_clear=True)
            elif what == 'alter':
                self.chaos.query("ALTER SERVER gpu OPTIONS (SET url '%s', SET max_in_flight '%d')" % (
                    self.urls(2 if value < 0.5 else 3), dice.choice((8, 64, 256))))
            elif what == 'deaf':
                simulator.control(refuse_ms=200)
            elif what == 'pause':
                self.chaos.query('SELECT retrostar.pause()')
                time.sleep(0.05)
                self.chaos.query('SELECT retrostar.resume()')
            self.done['trouble: ' + what] += 1

    def run(self):
        threads = [threading.Thread(target=self.guarded, args=(self.client, n)) for n in range(self.options.sessions)]
        threads.append(threading.Thread(target=self.guarded, args=(self.trouble,)))
        for thread in threads:
            thread.start()
        # The same worker from here to the end; it has a while to fill its buffers
        time.sleep(max(0, self.quiet - time.monotonic()))
        time.sleep(3 * self.options.minutes)
        self.worker = self.worker_pid()
        self.memory = [rss_anon_mb(self.worker)]
        for _ in range(8):
            time.sleep(3 * self.options.minutes)
            self.memory.append(rss_anon_mb(self.worker))
        for thread in threads:
            thread.join()
        for simulator in self.simulators:
            simulator.control(fail_clear=True)
        self.main.query('SELECT retrostar.resume()')

    def guarded(self, function, *args):
        try:
            function(*args)
        except Exception as error:      # a thread that ends early is a failure of the soak
            self.wrong.append('%s ended: %r' % (function.__name__, error))

    def settle(self):
        """Detached requests go on by themselves; a statement brings a worker if there is none."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.main.query("SET retrostar.on_error = 'null'; SET retrostar.cache = off; SELECT retro_star_score('settle', 'down')")
            time.sleep(0.3)             # it is stored
            if self.main.value('SELECT pairs + waiters FROM retrostar.stat_queue') == '0' and \
                    all(sum(simulator.stats()[name] for name in ('running', 'queued', 'hung')) == 0 for simulator in self.simulators) and \
                    sockets(self.worker_pid()) <= 8:
                return

    def worker_pid(self):
        return int(self.main.value('SELECT coalesce(worker_pid, 0) FROM retrostar.stat_queue'))

    def report(self):
        names = ('asked answered failed cancelled joined samples_sent samples_scored samples_unscored samples_failed '
                 'samples_cancelled lost pairs waiting '
                 'running unstored waiters text_bytes free_requests free_waiters').split()
        q = dict(zip(names, map(int, self.main.query('SELECT %s FROM retrostar.stat_queue' % ', '.join(names))[0])))
        sims = collections.Counter()
        for simulator in self.simulators:
            sims.update({k: v for k, v in simulator.stats().items() if isinstance(v, int)})
        scored, unscored = map(int, self.main.query('SELECT coalesce(sum(cardinality(scores)), 0), coalesce(sum(unscored), 0) '
                                                    'FROM retrostar.score_cache')[0])
        attempts = self.main.query('SELECT endpoint, sent, answered, failed, cancelled FROM retrostar.stat_server '
                                   "WHERE server = 'gpu' AND sent > 0")
        worker = self.worker_pid()
        checks = (
            ('statements that were done', sum(v for k, v in self.done.items() if ' ' not in k) > 0),
            ('only errors that are expected: %d others' % len(self.wrong), not self.wrong),
            ('asked %(asked)d = answered %(answered)d + failed %(failed)d + cancelled %(cancelled)d' % q,
             q['asked'] == q['answered'] + q['failed'] + q['cancelled']),
            ('samples scored %d = in the cache %d' % (q['samples_scored'], scored), q['samples_scored'] == scored),
            ('samples unscored %d = in the cache %d' % (q['samples_unscored'], unscored), q['samples_unscored'] == unscored),
            ('samples sent %(samples_sent)d = scored + unscored + failed %(samples_failed)d + cancelled %(samples_cancelled)d' % q,
             q['samples_sent'] == q['samples_scored'] + q['samples_unscored'] + q['samples_failed'] + q['samples_cancelled']),
            ('attempts: ' + ', '.join('%s = %s + %s + %s' % tuple(row[1:]) for row in attempts),
             attempts and all(int(row[1]) == sum(map(int, row[2:])) for row in attempts)),
            ('samples answered <= replies that the simulators sent %d' % sims['completed'],
             q['samples_scored'] + q['samples_unscored'] <= sims['completed']),
            ('simulators: chat %(chat)d = completed %(completed)d + errors %(errors)d + aborted %(aborted)d + broken off %(broken_off)d' %
             sims, sims['chat'] <= sims['completed'] + sims['errors'] + sims['aborted'] + sims['broken_off']),
            ('nothing runs at the simulators', sims['running'] + sims['queued'] + sims['hung'] == 0),
            ('lost %(lost)d' % q, q['lost'] == 0),
            ('map: pairs %(pairs)d, free places %(free_requests)d' % q, q['pairs'] == 0 and q['free_requests'] == 1024),
            ('waiters %(waiters)d, free %(free_waiters)d' % q, q['waiters'] == 0 and q['free_waiters'] == 4096),
            ('text %(text_bytes)d bytes' % q, q['text_bytes'] == 0),
            ('the worker of the second half is still there', worker == self.worker != 0),
            ('its sockets %d' % sockets(worker), sockets(worker) <= 8),
            ('its memory %.1f MB, in the second half %s MB' % (
                rss_anon_mb(worker), ', '.join('%.1f' % memory for memory in self.memory)),
             rss_anon_mb(worker) <= self.memory[4] + 8))
        for wrong in self.wrong[:20]:
            print('unexpected: ' + wrong)
        print('done: ' + ', '.join('%s %d' % item for item in sorted(self.done.items())))
        for name, holds in checks:
            print('%s: %s' % ('ok' if holds else 'not ok', name))
        failed = sum(not holds for _, holds in checks)
        print('soak, %g minutes, seed %d: %d statements, %d checks, %d failed' % (
            self.options.minutes, self.options.seed, sum(v for k, v in self.done.items() if 'trouble' not in k), len(checks), failed))
        return 1 if failed else 0


def sockets(pid):
    """Open sockets of a process"""
    n = 0
    try:
        for fd in os.listdir('/proc/%d/fd' % pid):
            try:
                n += os.readlink('/proc/%d/fd/%s' % (pid, fd)).startswith('socket:')
            except OSError:
                pass
    except OSError:
        pass
    return n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--socket', required=True)
    parser.add_argument('--work', required=True)
    parser.add_argument('--minutes', type=float, default=2)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--sessions', type=int, default=12)
    soak = Soak(parser.parse_args())
    soak.run()
    soak.settle()
    sys.exit(soak.report())


if __name__ == '__main__':
    main()
