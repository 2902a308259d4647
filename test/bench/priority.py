"""Part of bench.py: a statement that is waited for, beside a refresh that nobody waits for."""
import statistics
import time

from judge import at_least, at_most
from report import in_turns

IN_FLIGHT = 128
SERVICE_MS = 200
PAIRS = 100             # of the statement
BATCH = 40000           # of the refresh
PAUSE = 1               # seconds between statements, as of a person who reads
RAMP = 2                # seconds until the refresh has all room


def priority_part(bench):
    bench.report.section('%d pairs beside a refresh of %d, %d x %d ms' % (PAIRS, BATCH, IN_FLIGHT, SERVICE_MS))
    server = bench.simulator(IN_FLIGHT, SERVICE_MS)
    bench.worker()
    statement(bench, server)        # the worker has loaded the server, and has connections
    found = in_turns(bench.rounds, {'ours': lambda: beside(bench, server)})
    found['alone'] = [{'beside': result['alone'], 'slowest': result['alone'], 'batch': result['batch_alone']}
                      for result in found['ours']]
    row = bench.report.row
    row('median of a statement, ms (peer: alone)', found, 'beside', peer='alone', target=at_most(1.4), form='%.0f', scale=1000)
    row('the slowest of them', found, 'slowest', peer='alone', form='%.0f', scale=1000)
    row('pairs/s of the refresh (peer: alone)', found, 'batch', peer='alone', target=at_least(0.5), form='%.0f')
    row('samples that gave way, of a hundred', found, 'aborted', form='%.2f', scale=100)


def statement(bench, server):
    """Seconds of one over new pairs."""
    query = bench.fresh_query()
    began = time.monotonic()
    bench.main.query("SELECT i FROM generate_series(1, %d) i ORDER BY retro_star_score('%s', 'document ' || i, "
                     "server => '%s')" % (PAIRS, query, server))
    return time.monotonic() - began


def beside(bench, server):
    """In turns: statements alone, the refresh alone, both, and statements alone again."""
    quick = bench.options.quick
    alone = [statement(bench, server) for _ in range(3 if quick else 10)]
    session = bench.session()
    session.query("CREATE MATERIALIZED VIEW batch AS SELECT g AS id, retro_star_score('%s', 'document ' || g, "
                  "server => '%s') FROM generate_series(1, %d) g WITH NO DATA" % (bench.fresh_query(), server, BATCH))
    session.query("SET client_min_messages = error; SET retrostar.on_error = 'null'")
    session.send("CALL retrostar.refresh('batch')")
    time.sleep(RAMP)
    batch_alone = rate(bench, server, 3 if quick else 8, lambda: time.sleep(0.1))[0]
    times = []

    def ask():
        times.append(statement(bench, server))
        time.sleep(PAUSE)

    batch, aborted = rate(bench, server, 8 if quick else 20, ask, times)
    bench.main.query('SELECT pg_cancel_backend(%d)' % session.pid)
    try:
        session.wait()
    except RuntimeError as error:
        if not str(error).startswith('57014'):
            raise
    session.query('DROP MATERIALIZED VIEW batch')
    session.close()
    bench.sessions.remove(session)
    bench.wait_idle()
    alone += [statement(bench, server) for _ in range(3 if quick else 10)]
    return {'alone': statistics.median(alone), 'beside': statistics.median(times), 'slowest': max(times),
            'batch_alone': batch_alone, 'batch': batch, 'aborted': aborted}


def rate(bench, server, seconds, do, times=()):
    """Pairs a second of the refresh while something is done, and the share of requests that were closed."""
    before = [bench.simulator_stat(server, name) for name in ('completed', 'aborted')]
    began, asked = time.monotonic(), len(times)
    while time.monotonic() - began < seconds:
        do()
    wall = time.monotonic() - began
    completed, aborted = (bench.simulator_stat(server, name) - n
                          for name, n in zip(('completed', 'aborted'), before))
    return (completed - PAIRS * (len(times) - asked)) / wall, aborted / completed
