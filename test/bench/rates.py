"""Parts of bench.py: pairs a second, and what they cost, against the bare libcurl client."""
from judge import at_least, at_most
from report import in_turns
from session import rss_anon_mb

CURVE = (1, 4, 16, 64, 256, 512, 1024, 2048)    # in flight
CURVE_MS = 200


def against_floor(bench, server, n, in_flight, threads_n=0):
    """Ours and the floor in turns; the thread pool once, for comparison."""
    found = bench.in_turns(ours=lambda: bench.ours(server, n), floor=lambda: bench.floor(server, n, in_flight))
    if threads_n:
        found['threads'] = [bench.threads(server, threads_n, in_flight)]
    return found


def rate_part(bench):
    report = bench.report
    report.section('Pairs a second')
    cases = [(256, 50, 2048, None), (256, 50, 10240, None), (256, 200, 2048, None), (256, 200, 10240, 0.97),
             (2048, 200, 20480 if bench.options.quick else 81920, 0.95)]
    for in_flight, delay, n, least in [case for case in cases if case[3] or not bench.options.quick]:
        server = bench.simulator(in_flight, delay)
        bench.worker()
        found = against_floor(bench, server, n, in_flight, min(n, 4 * in_flight))
        report.row('%d x %d ms, %d pairs: of ideal' % (in_flight, delay, n), found, 'per_second', peer='floor',
                   target=least and at_least(least), scale=delay / in_flight / 1000, threads='threads')
        report.row('  CPU us a request: worker', found, 'cpu_us', peer='floor', kind='cpu', form='%.1f',
                   threads='threads')
        requests = found.values('ours', 'sent') + found.values('ours', 'received')
        report.counted('  requests sent, and received', max(requests, key=lambda got: abs(got - n)), n)
        if in_flight == 2048:
            report.row('  private memory, MB: worker', found, 'rss_mb', peer='floor', target=at_most(2), kind='count',
                       form='%.1f')


def cpu_part(bench):
    bench.report.section('CPU, us a request, 256 x 200 ms')
    server, n = bench.simulator(256, 200), 2048 if bench.options.quick else 10240
    bench.worker()
    found = bench.in_turns(stored=lambda: bench.ours(server, n), floor=lambda: bench.floor(server, n, 256),
                           put_off=lambda: not_stored(bench, server, n))
    for name, ours, key, target in (('worker, not stored', 'put_off', 'cpu_us', at_most(1.3)),
                                    ('worker, stored', 'stored', 'cpu_us', at_most(1.6)),
                                    ('session', 'stored', 'backend_us', None),
                                    ('worker and session, stored', 'stored', 'both_us', at_most(1.7))):
        bench.report.row(name, found, key, ours, 'floor', target, 'cpu', '%.1f')


def not_stored(bench, server, n):
    """Readers are let in, the worker's store is not: it is put off."""
    locker = bench.session()
    locker.query('BEGIN; LOCK TABLE retrostar.score_cache IN SHARE MODE')
    result = bench.ours(server, n, store=False)
    locker.query('COMMIT')
    bench.wait_idle()
    locker.close()
    bench.sessions.remove(locker)
    return result


def instant_part(bench):
    report = bench.report
    report.section('Instant server, 256 in flight')
    server, n = bench.simulator(256, 0), 20480 if bench.options.quick else 102400
    worker = bench.worker()
    found = against_floor(bench, server, n, 256, 4096)
    report.row('requests/s', found, 'per_second', peer='floor', target=at_least(0.75), form='%.0f', threads='threads')
    report.row('  CPU us a request: worker', found, 'cpu_us', peer='floor', kind='cpu', form='%.1f', threads='threads')
    report.row('  worker and session', found, 'both_us', peer='floor', kind='cpu', form='%.1f')
    before = rss_anon_mb(worker)
    bench.ours(server, n)
    found = in_turns(1, {'ours': lambda: {'mb': rss_anon_mb(worker)}, 'before': lambda: {'mb': before}})
    report.row('worker memory after %d more, MB' % n, found, 'mb', peer='before', target=at_most(1.03), kind='count',
               form='%.1f')


def sessions_part(bench):
    n = 2560 if bench.options.quick else 10240
    bench.report.section('Sessions that share %d pairs, 256 x 200 ms' % n)
    server = bench.simulator(256, 200)
    bench.worker()
    found = bench.in_turns(**{'of_%d' % sessions: lambda sessions=sessions: bench.ours(server, n, sessions)
                              for sessions in (1, 8, 32)})
    for sessions in (1, 8, 32):
        bench.report.row('%d, of ideal (peer: one)' % sessions, found, 'per_second', 'of_%d' % sessions,
                         'of_1' if sessions > 1 else None, scale=1 / 1280)
    bench.report.counted('8 that want the same 2048: requests', bench.ours(server, 2048, 8, same=True)['received'], 2048)


def curves_part(bench):
    """Rate over in-flight of all four clients, for the drawing; nothing is judged."""
    report, rounds = bench.report, 1 if bench.options.quick else 3
    report.section('Pairs a second by in flight, %d ms (threads and asyncio: of the same rounds)' % CURVE_MS)
    for in_flight in CURVE:
        server, n = bench.simulator(in_flight, CURVE_MS), in_flight * (8 if bench.options.quick else 20)
        bench.worker()
        found = in_turns(rounds, {'ours': lambda: bench.ours(server, n),
                                  'floor': lambda: bench.floor(server, n, in_flight),
                                  'threads': lambda: bench.threads(server, n, in_flight),
                                  'asyncio': lambda: bench.coroutines(server, n, in_flight)})
        report.row('%d in flight' % in_flight, found, 'per_second', peer='floor', threads='threads', form='%.1f')
        report.row('  asyncio', found, 'per_second', 'asyncio', 'floor', form='%.1f')
        bench.curves.append({'in_flight': in_flight, 'ideal': in_flight * 1000 / CURVE_MS,
                             'stalled_percent': found.stalled,
                             **{name: found.median(name, 'per_second') for name in found},
                             **{name + '_cpu_us': found.median(name, 'both_us' if name == 'ours' else 'cpu_us')
                                for name in found}})
