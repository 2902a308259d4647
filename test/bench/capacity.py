"""Parts of bench.py: what a great set takes of memory, and many requests at once."""
import json
import os
import resource
import subprocess
import time

from cluster import Cluster
from judge import at_least, at_most
from report import alone, in_turns
from session import Peak, cpu_us, rss_anon_mb

HERE = os.path.dirname(os.path.abspath(__file__))
SIMULATOR = os.path.join(HERE, '..', 'simulator', 'simulator')
RERANK_RECORDED = 14.4      # 281 MB at the peak for 19.5 MB of ids and documents, in the build of 1 December 2026
ENDPOINTS = 4
SERVICE_MS = 2000           # per 8,192 in flight: 4,096 requests in a second


def memory_part(bench):
    """Peak private memory of a session, less what it had before."""
    n = 30000 if bench.options.quick else 300000
    report = bench.report
    report.section('Memory of a session, MB at its peak, for %d documents' % n)
    server = bench.simulator(256, 0)
    bench.worker()
    bench.main.query("CREATE TABLE set AS SELECT i AS id, md5(i::text) || md5((-i)::text) AS body "
                     'FROM generate_series(1, %d) i' % n)
    size = float(bench.main.value("SELECT sum(4 + length(body)) FROM set")) / 2 ** 20
    collect = 'SELECT array_agg(id) AS ids, array_agg(body) AS docs FROM set'
    query = bench.fresh_query()
    rerank = ("SELECT count(r.score) FROM (%s) x, retro_star_rerank('%s', ids, docs, server => '%s', passes => '1') r"
              % (collect, query, server))
    new = peak(bench, rerank, n)
    bench.wait_idle()
    found = in_turns(1 if bench.options.quick else 3, {
        'ours': lambda: peak(bench, rerank, n),
        'arrays': lambda: peak(bench, 'SELECT cardinality(ids) + cardinality(docs) FROM (%s) x' % collect, 2 * n)})
    # scored once: a figure without a spread
    found['new'] = [new] * len(found['arrays'])
    found['bytes'] = [{'mb': size}] * len(found['arrays'])
    report.row('rerank, new (peer: ids and documents)', found, 'mb', 'new', 'bytes', None if bench.options.quick else at_most(RERANK_RECORDED / 2),
               'count', '%.1f')
    report.row('rerank, known (peer: ids and documents)', found, 'mb', 'ours', 'bytes', kind='count', form='%.1f')
    report.row('rerank, new (peer: array_agg of the two)', found, 'mb', 'new', 'arrays', kind='count', form='%.1f')
    report.row('array_agg (peer: ids and documents)', found, 'mb', 'arrays', 'bytes', kind='count', form='%.1f')
    bench.main.query('DROP TABLE set')


def peak(bench, sql, expected):
    session = bench.session()
    session.query('SET work_mem = \'1GB\'')
    before, looking = rss_anon_mb(session.pid), Peak(session.pid)
    value = int(session.value(sql))
    result = {'mb': looking.end() - before}
    session.close()
    bench.sessions.remove(session)
    if value != expected:
        raise RuntimeError('%d of %d are scored' % (value, expected))
    return result


def many_part(bench):
    """More in flight than one server takes, over several, by a server with room for it."""
    report, rounds = bench.report, 3
    cases = (8192,) if bench.options.quick else (8192, 16384)
    report.section('Many in flight, over %d endpoints' % ENDPOINTS)
    cluster = Cluster(bench.options.work, 'many', 'retrostar', 'shared_buffers = 256MB\n'
                      'retrostar.max_requests = 131072\nretrostar.shared_memory = 2GB')
    try:
        session = cluster.session()
        session.query('CREATE EXTENSION retrostar; CREATE TABLE docs AS SELECT i AS id, %s AS body '
                      'FROM generate_series(1, %d) i' % ("repeat(md5(i::text), 64)", 4 * max(cases)))
        session.query('VACUUM ANALYZE docs')
        for in_flight in cases:
            hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            if hard != resource.RLIM_INFINITY and hard < in_flight + 1024:
                report.left_out('%d in flight' % in_flight, 'a process may open %d files' % hard)
                continue
            many(bench, report, session, in_flight, rounds)
        session.close()
    finally:
        cluster.stop()


def many(bench, report, session, in_flight, rounds):
    delay, n, name = SERVICE_MS * in_flight // 8192, 4 * in_flight, 'many_%d' % in_flight
    endpoints = [Serving(bench, '%s_%d' % (name, i), in_flight // ENDPOINTS, delay) for i in range(ENDPOINTS)]
    urls = ','.join(endpoint.url for endpoint in endpoints)
    try:
        session.query("CREATE SERVER %s FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'bench', "
                      "max_in_flight '%d')" % (name, urls, in_flight // ENDPOINTS))
        session.query("SELECT retro_star_score('%s', 'first', server => '%s')" % (bench.fresh_query(), name))
        found = in_turns(rounds, {'ours': lambda: ours(bench, session, name, n),
                                  'floor': lambda: floor(bench, urls, in_flight, n)})
    finally:
        for endpoint in endpoints:
            endpoint.end()
    title = '%d x %d ms, %d pairs' % (in_flight, delay, n)
    report.row(title + ': of ideal', found, 'per_second', peer='floor', target=at_least(0.9),
               scale=delay / in_flight / 1000)
    report.row('  CPU us a request: worker', found, 'cpu_us', peer='floor', kind='cpu', form='%.1f')
    report.row('  worker and session', found, 'both_us', peer='floor', kind='cpu', form='%.1f')
    report.row('  private memory, MB: worker', found, 'rss_mb', peer='floor', target=at_most(2), kind='count', form='%.1f')
    report.row('  session', found, 'session_mb', form='%.1f')


class Serving:
    """A simulator for as many requests at once."""

    def __init__(self, bench, name, in_flight, delay_ms):
        path = '%s/%s.port' % (bench.options.work, name)
        self.process = subprocess.Popen(
            [SIMULATOR, '--port', '0', '--port-file', path, '--fixed', '73', '--delay-ms', str(delay_ms),
             '--jitter', '10', '--max-running', str(in_flight), '--die-with-parent'], stdin=subprocess.DEVNULL)
        while not os.path.exists(path) or not os.path.getsize(path):
            time.sleep(0.01)
        with open(path) as file:
            self.url = 'http://127.0.0.1:' + file.read().split()[0]

    def end(self):
        self.process.kill()
        self.process.wait()


def floor(bench, urls, in_flight, n):
    urls = ','.join(url + '/v1/chat/completions' for url in urls.split(','))
    output = subprocess.run([HERE + '/floor', urls, str(in_flight), str(n), str(bench.body_bytes)],
                            stdout=subprocess.PIPE, check=True).stdout
    return alone(json.loads(output))


def ours(bench, session, server, n):
    """New pairs: submitted by one command, read by a second."""
    query = bench.fresh_query()
    worker = int(session.value('SELECT worker_pid FROM retrostar.stat_queue'))
    peak_worker, peak_session, before = Peak(worker), Peak(session.pid), rss_anon_mb(session.pid)
    cpu, backend, began = cpu_us(worker), cpu_us(session.pid), time.monotonic()
    for function in 'retro_star_prefetch', 'retro_star_score':
        found = int(session.value("SELECT count(%s('%s', body, server => '%s')) FROM docs WHERE id <= %d" % (
            function, query, server, n)))
    if found != n:
        raise RuntimeError('%d of %d are scored' % (found, n))
    seconds = time.monotonic() - began
    backend = cpu_us(session.pid) - backend
    while session.value('SELECT pairs FROM retrostar.stat_queue') != '0':
        time.sleep(0.02)
    cpu = cpu_us(worker) - cpu
    return {'per_second': n / seconds, 'seconds': seconds, 'cpu_us': cpu / n, 'both_us': (cpu + backend) / n,
            'rss_mb': peak_worker.end(), 'session_mb': peak_session.end() - before}
