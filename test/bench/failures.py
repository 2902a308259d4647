"""Parts of bench.py: what cancelling costs, and an endpoint that dies and comes back."""
import json
import os
import subprocess
import time
import urllib.request

IN_FLIGHT = 2048        # when the statement is cancelled
ENDPOINTS = 3
PER_ENDPOINT = 64       # in flight
SERVICE = 0.2           # seconds
PAIRS = 5760            # of a statement on three endpoints: 6 s at full rate


def cancel_part(bench):
    bench.section('Cancel with %d samples in flight' % IN_FLIGHT)
    rounds = [cancelled(bench) for _ in range(bench.rounds)]
    for name, key, limit in (('pg_cancel_backend to the error, ms', 'returned', 50),
                             ('to the end of the connections, ms', 'closed', 1000)):
        took = max(r[key] for r in rounds) * 1000
        bench.row(name, took, '<= %d' % limit, took <= limit, form='%.0f', rounds={'ours': rounds})


def cancelled(bench):
    """Of the worst round counts each figure: this is a promise, not a speed."""
    server = bench.simulator(IN_FLIGHT, 0)
    url = bench.url(server)
    session = bench.session()
    bench.wait_idle()
    control(url, {'hold': True})
    try:
        session.send('SELECT id FROM docs WHERE id < %d ORDER BY %s' % (
            2 * IN_FLIGHT, score(bench.fresh_query(), server)))
        wait(url, 'running=%d' % IN_FLIGHT)
        began = time.monotonic()
        bench.main.send('SELECT pg_cancel_backend(%d)' % session.pid)
        try:
            session.wait()
            raise RuntimeError('the statement was not cancelled')
        except RuntimeError as error:
            if not str(error).startswith('57014'):
                raise
        returned = time.monotonic() - began
        # one connection is the one that asks
        wait(url, 'running=0&connections=le1')
        closed = time.monotonic() - began
        bench.main.wait()
    finally:
        control(url, {'hold': False})
        urllib.request.urlopen(urllib.request.Request(url + '/sim/release', method='POST')).close()
    session.close()
    bench.sessions.remove(session)
    return {'returned': returned, 'closed': closed}


def endpoints_part(bench):
    """The rate with one of three endpoints dead, and after it is back."""
    bench.section('One of %d endpoints dies, %d x %d ms each' % (ENDPOINTS, PER_ENDPOINT, SERVICE * 1000))
    simulators = [Endpoint(bench, i) for i in range(ENDPOINTS)]
    try:
        bench.server('three', ','.join(s.url for s in simulators), PER_ENDPOINT)
        full = rate(bench, simulators)
        simulators[0].kill()
        dead = rate(bench, simulators)
        bench.row('rate with one dead / full rate', dead / full, '>= 0.63', dead / full >= 0.63,
                  rounds={'ours': [{'full': full, 'dead': dead}]})
        seconds, back = recovery(bench, simulators, full)
        bench.row('full rate again after, s', seconds, '<= 10', seconds <= 10, form='%.1f',
                  ratio=back / full)
        bench.main.query('DROP SERVER three')
    finally:
        for simulator in simulators:
            simulator.kill()


class Endpoint:
    """A simulator that can be killed and started again on its port."""

    def __init__(self, bench, number):
        self.bench = bench
        self.path = '%s/endpoint_%d.port' % (bench.options.work, number)
        self.process = None
        self.port = 0
        self.start()
        self.url = 'http://127.0.0.1:%d' % self.port

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.process = subprocess.Popen(
            [self.bench.program, '--port', str(self.port), '--port-file', self.path, '--fixed', '73',
             '--delay-ms', str(int(SERVICE * 1000)), '--jitter', '10', '--max-running', str(PER_ENDPOINT),
             '--die-with-parent'], stdin=subprocess.DEVNULL)
        while not os.path.exists(self.path) or not os.path.getsize(self.path):
            time.sleep(0.01)
        with open(self.path) as file:
            self.port = int(file.read().split()[0])

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


def rate(bench, simulators):
    """Pairs a second of a statement that begins as it is, without an error."""
    began = time.monotonic()
    bench.main.query(statement(bench, PAIRS))
    return PAIRS / (time.monotonic() - began)


def recovery(bench, simulators, full):
    """Seconds from the endpoint's start until half a second in which all answer at the full rate."""
    session = bench.session()
    session.send(statement(bench, bench.docs))
    time.sleep(1)               # under load, and the endpoint is known to be dead
    simulators[0].start()
    began = time.monotonic()
    before = answered(simulators)
    while True:
        start = time.monotonic()
        time.sleep(0.5)
        now = answered(simulators)
        back = (now - before) / (time.monotonic() - start)
        before = now
        if back >= 0.9 * full or time.monotonic() - began > 15:
            break
    seconds = time.monotonic() - began
    session.wait()
    session.close()
    bench.sessions.remove(session)
    return seconds, back


def answered(simulators):
    total = 0
    for simulator in simulators:
        with urllib.request.urlopen(simulator.url + '/sim/stats') as reply:
            total += json.load(reply)['completed']
    return total


def statement(bench, n):
    return 'SELECT count(%s) FROM docs WHERE id < %d' % (score(bench.fresh_query(), 'three'), n)


def score(query, server):
    return "retro_star_score('%s', body, server => '%s')" % (query, server)


def control(url, settings):
    urllib.request.urlopen(url + '/sim/control', json.dumps(settings).encode()).close()


def wait(url, conditions):
    urllib.request.urlopen(url + '/sim/wait?' + conditions).close()
