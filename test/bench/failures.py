"""Parts of bench.py: what cancelling costs, and an endpoint that dies and comes back."""
import json
import os
import subprocess
import time
import urllib.request

from judge import at_least, at_most
from report import in_turns

IN_FLIGHT = 2048        # when the statement is cancelled
ENDPOINTS = 3
PER_ENDPOINT = 64       # in flight
SERVICE = 0.2           # seconds
PAIRS = 5760            # of a statement on three endpoints: 6 s at full rate


def cancel_part(bench):
    report = bench.report
    report.section('Cancel with %d samples in flight: milliseconds' % IN_FLIGHT)
    server = bench.simulator(IN_FLIGHT, 0)
    bench.worker()
    found = bench.in_turns(ours=lambda: cancelled(bench, server), sleep=lambda: sleep_cancelled(bench),
                           floor=lambda: floor_killed(bench, server))
    # the floor, killed, is rid of as many requests when its connections are closed
    for result in found['floor']:
        result['returned'] = result['closed']
    report.row('to the error (peer: the floor, killed)', found, 'returned', peer='floor', target=at_most(0.25),
               form='%.1f', scale=1000)
    report.row('  (peer: pg_sleep, which holds nothing)', found, 'returned', peer='sleep', form='%.1f', scale=1000)
    report.row('to the end of the connections (peer: killed)', found, 'closed', peer='floor', target=at_most(2),
               form='%.0f', scale=1000)


def held(bench, server, start, end):
    """Starts what sends, and ends it when all requests are under way: seconds until no connection is left."""
    url = bench.url(server)
    bench.wait_idle()
    control(url, {'hold': True})
    try:
        start()
        wait(url, 'running=%d' % IN_FLIGHT)
        began = time.monotonic()
        returned = end()
        # one connection is the one that asks
        wait(url, 'running=0&connections=le1')
        return {'returned': returned, 'closed': time.monotonic() - began}
    finally:
        control(url, {'hold': False})
        urllib.request.urlopen(urllib.request.Request(url + '/sim/release', method='POST')).close()


def cancelled(bench, server):
    session = bench.session()
    sql = 'SELECT id FROM docs WHERE id < %d ORDER BY %s' % (2 * IN_FLIGHT, score(bench.fresh_query(), server))
    result = held(bench, server, lambda: session.send(sql), lambda: cancel(bench, session))
    session.close()
    bench.sessions.remove(session)
    return result


def cancel(bench, session):
    """Seconds until the client has its error."""
    began = time.monotonic()
    bench.main.send('SELECT pg_cancel_backend(%d)' % session.pid)
    try:
        session.wait()
        raise RuntimeError('the statement was not cancelled')
    except RuntimeError as error:
        if not str(error).startswith('57014'):
            raise
    returned = time.monotonic() - began
    bench.main.wait()
    return returned


def sleep_cancelled(bench):
    session = bench.session()
    session.send('SELECT pg_sleep(600)')
    while bench.main.value("SELECT coalesce(max(wait_event), '') FROM pg_stat_activity WHERE pid = %d" % session.pid) != 'PgSleep':
        time.sleep(0.01)
    result = {'returned': cancel(bench, session)}
    session.close()
    bench.sessions.remove(session)
    return result


def floor_killed(bench, server):
    process = None

    def start():
        nonlocal process
        process = bench.start_floor(server, 2 * IN_FLIGHT, IN_FLIGHT)

    def end():
        process.kill()
        process.wait()

    return held(bench, server, start, end)


def endpoints_part(bench):
    """The rate with one of three endpoints dead, and after it is back."""
    report = bench.report
    report.section('One of %d endpoints dies, %d x %d ms each' % (ENDPOINTS, PER_ENDPOINT, SERVICE * 1000))
    simulators = [Endpoint(bench, i) for i in range(ENDPOINTS)]
    try:
        found = in_turns(bench.rounds, {'ours': lambda: one_dies(bench, simulators)})
    finally:
        for simulator in simulators:
            simulator.kill()
    found['full'] = [{'rate': result['full'], 'recovered': result['begun']} for result in found['ours']]
    report.row('pairs/s with one dead (peer: with all)', found, 'rate', peer='full', target=at_least(0.63), form='%.0f')
    report.row('s to the full rate after (peer: at first)', found, 'recovered', peer='full', target=at_most(5), form='%.1f')


def one_dies(bench, simulators):
    """With a server that the worker does not know yet, so that it begins from nothing."""
    bench.server('three', ','.join(s.url for s in simulators), PER_ENDPOINT)
    full = rate(bench)
    bench.main.query('DROP SERVER three')
    bench.server('three', ','.join(s.url for s in simulators), PER_ENDPOINT)
    begun = until_full(bench, simulators, full, lambda: None)
    simulators[0].kill()
    dead = rate(bench)

    def start():
        time.sleep(1)           # under load, and the endpoint is known to be dead
        simulators[0].start()

    recovered = until_full(bench, simulators, full, start)
    bench.main.query('DROP SERVER three')
    return {'full': full, 'rate': dead, 'begun': begun, 'recovered': recovered}


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


def rate(bench):
    """Pairs a second of a statement that begins as it is, without an error."""
    began = time.monotonic()
    bench.main.query(statement(bench, PAIRS))
    return PAIRS / (time.monotonic() - began)


def until_full(bench, simulators, full, start):
    """Seconds from start() until half a second, beside a statement, in which all answer at 0.9 of the full rate."""
    session = bench.session()
    session.send(statement(bench, bench.docs))
    start()
    began = time.monotonic()
    before, reached = answered(simulators), 0
    while reached < 0.9 * full:
        if time.monotonic() - began > 60:
            raise RuntimeError('the rate is %.0f of %.0f a second after a minute' % (reached, full))
        at = time.monotonic()
        time.sleep(0.5)
        now = answered(simulators)
        reached = (now - before) / (time.monotonic() - at)
        before = now
    seconds = time.monotonic() - began
    session.wait()
    session.close()
    bench.sessions.remove(session)
    return seconds


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
    urllib.request.urlopen(url + '/sim/wait?timeout_ms=120000&' + conditions).close()
