"""Parts of bench.py: whole statements, with the prefetch node and in sets."""
import threading
import time

from judge import at_least, at_most
from report import in_turns

DELAY = 0.020           # of the simulator for the shapes, in seconds
ROWS = 200
WINDOW = 64
SERIAL = 6              # statements that run without prefetching at a time
SCORE = "retro_star_score(%(q)s, body, server => '%(server)s')"

# name, pairs of the statement, statement; S is a score of the row's body for the query of this run,
# C and R are two more queries.  All of them are concurrent by customscan.md, section 3.
SHAPES = (
    ('order by', ROWS, 'SELECT id FROM d ORDER BY S DESC NULLS LAST LIMIT 10'),
    ('two scores a row', 2 * ROWS, 'SELECT id FROM d ORDER BY S + C DESC LIMIT 10'),
    ('subquery of 100, then rerank', 100,
     'SELECT id FROM (SELECT * FROM d ORDER BY id LIMIT 100) x ORDER BY S DESC'),
    ('where', ROWS // 2, "SELECT id FROM d WHERE lang = 'en' AND S > 60"),
    ('where and target list', ROWS, 'SELECT id, S FROM d WHERE S >= 0'),
    ('two conditions in turn', 2 * ROWS, 'SELECT id FROM d WHERE S >= 0 AND C >= 0'),
    ('case', ROWS // 2, "SELECT CASE WHEN lang = 'en' THEN S END FROM d"),
    ('nested loop', ROWS, 'SELECT d.id FROM d, one WHERE d.k = one.k ORDER BY S'),
    ('left join', ROWS, 'SELECT d.id FROM d LEFT JOIN one USING (k) WHERE S >= 0'),
    ('aggregate', ROWS, 'SELECT max(S) FROM d'),
    ('group by', ROWS, 'SELECT lang, avg(S) FROM d GROUP BY lang'),
    ('score of a group', 20, "SELECT retro_star_score(%(q)s, string_agg(body, ' '), server => '%(server)s') "
     'FROM d GROUP BY id %% 20'),
    ('window function', ROWS, 'SELECT rank() OVER (ORDER BY S) FROM d'),
    ('distinct', ROWS, 'SELECT DISTINCT S FROM d'),
    ('with', ROWS, 'WITH s AS MATERIALIZED (SELECT id, S AS s FROM d) SELECT id FROM s ORDER BY s'),
    ('union all', ROWS, "SELECT S FROM d WHERE lang = 'en' UNION ALL SELECT S FROM d WHERE lang = 'de'"),
    ('partitions', ROWS, 'SELECT id FROM parted ORDER BY S DESC LIMIT 10'),
    ('create table as', ROWS, 'CREATE TEMP TABLE made AS SELECT id, S AS s FROM d; DROP TABLE made'),
    ('update', ROWS, 'BEGIN; UPDATE d SET s = S; ROLLBACK'),
    ('insert', ROWS, 'BEGIN; INSERT INTO d (id, body, s) SELECT id, body, S FROM d; ROLLBACK'),
    ('cursor', ROWS, 'BEGIN; DECLARE c CURSOR FOR SELECT id, S FROM d; FETCH ALL FROM c; ROLLBACK'),
    ('generic plan', ROWS, "SET plan_cache_mode = force_generic_plan; PREPARE p(text) AS "
     "SELECT id FROM d ORDER BY retro_star_score($1, body, server => '%(server)s'); "
     'EXECUTE p(%(q)s); DEALLOCATE p; RESET plan_cache_mode'),
)


def shapes_part(bench):
    """The peer sends as many requests as the statement has pairs, a window at a time."""
    report = bench.report
    report.section('Shapes of statements, %d ms a call, window %d: milliseconds (peer: as many by the floor)' % (
        DELAY * 1000, WINDOW))
    server = bench.simulator(256, int(DELAY * 1000))
    make_shape_tables(bench)
    bench.worker()
    serial = serially(bench, server)
    bench.main.query('SET retrostar.prefetch_window = %d' % WINDOW)
    # all in each round, for all to share one account of the load
    measures = {}
    for name, pairs, statement in SHAPES:
        measures[name] = lambda statement=statement: timed(bench, fill_in(bench, server, statement))
        measures[name, pairs] = lambda pairs=pairs: bench.floor(server, pairs, WINDOW)
    found = in_turns(max(bench.rounds, 5), measures)
    bench.main.query('RESET retrostar.prefetch_window')
    for name, pairs, _ in SHAPES:
        report.row(name, found, 'seconds', name, (name, pairs), at_most(2), form='%.0f', scale=1000)
    report.section('The same one call after another, as with retrostar.prefetch = off: ratio to that')
    for name, _, _ in SHAPES:
        found[name, 'serial'] = [{'seconds': serial[name]}] * len(found[name])
        report.row(name, found, 'seconds', name, (name, 'serial'), form='%.0f', scale=1000)


def serially(bench, server):
    """
    Seconds of each shape without prefetching.  All that they do is wait, so
    some run at a time, in sessions of their own: it is half a minute, not two.
    """
    waiting = [(name, fill_in(bench, server, statement)) for name, _, statement in SHAPES]
    found = {}

    def some():
        session = bench.session()
        session.query('SET retrostar.prefetch = off')
        while waiting:
            name, sql = waiting.pop()
            began = time.monotonic()
            session.query(sql)
            found[name] = time.monotonic() - began

    threads = [threading.Thread(target=some) for _ in range(SERIAL)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def make_shape_tables(bench):
    if bench.main.value("SELECT to_regclass('parted') IS NOT NULL") == 't':
        return
    bench.main.query(
        "CREATE TABLE d AS SELECT id, id %% 1 AS k, CASE WHEN id %% 2 = 0 THEN 'en' ELSE 'de' END AS lang, "
        "NULL::float8 AS s, left(body, 500) AS body FROM docs WHERE id < %d; ANALYZE d; "
        'CREATE TABLE one AS SELECT 0 AS k; '
        'CREATE TABLE parted (LIKE d) PARTITION BY HASH (id)' % ROWS)
    for i in range(4):
        bench.main.query('CREATE TABLE parted%d PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER %d)' % (i, i))
    bench.main.query('INSERT INTO parted SELECT * FROM d; ANALYZE parted')


def fill_in(bench, server, statement):
    """The SQL of a shape, with new queries."""
    names = {}
    for mark in 'SC':
        names[mark] = SCORE % {'q': "'%s'" % bench.fresh_query(), 'server': server}
    query = "'%s'" % bench.fresh_query()
    sql = statement.replace('%(q)s', query).replace('%(server)s', server).replace('%%', '%')
    for mark, score in names.items():
        sql = ''.join(score if word == mark else word for word in split(sql))
    return sql


def split(sql):
    """Words and what lies between them."""
    word = ''
    for char in sql:
        if char.isalnum() or char in '_\'':
            word += char
            continue
        yield word
        yield char
        word = ''
    yield word


def sets_part(bench):
    report = bench.report
    report.section('One statement, 256 x 200 ms: of ideal')
    server = bench.simulator(256, 200)
    bench.worker()
    bench.main.query("SET retrostar.server = '%s'" % server)

    n = 1024
    order = ('SELECT id FROM docs WHERE id < %d ' % n + "ORDER BY retro_star_score('%s', body) DESC NULLS LAST LIMIT 10")
    found = bench.in_turns(ours=lambda: timed(bench, order % bench.fresh_query(), n),
                           floor=lambda: bench.floor(server, n, 256))
    report.row('ORDER BY over %d pairs' % n, found, 'per_second', peer='floor', target=at_least(0.9), scale=1 / 1280)

    # all documents, or the best by prior: these are asked for when the groups are complete
    for name, arguments, passes, asked in (('', '', '', 5000), (', priors', ', NULL, id', '', 5000),
                                           (', 80 by prior', ', NULL, id', '80@1', 4000)):
        bench.main.query("SET retrostar.passes = '%s'" % passes)
        sets = ('SELECT sum(array_length(best, 1)) FROM (SELECT q, retro_star_rerank_agg(q, id, body' + arguments +
                ") AS best FROM docs, (SELECT '%s ' || i AS q FROM generate_series(1, 50) i) v "
                'WHERE id < 100 GROUP BY q) x')
        found = bench.in_turns(ours=lambda: timed(bench, sets % bench.fresh_query(), asked),
                               floor=lambda: bench.floor(server, asked, 256))
        report.row('50 queries x 100 documents' + name, found, 'per_second', peer='floor', target=at_least(0.95),
                   scale=1 / 1280)
    bench.main.query('RESET retrostar.passes')
    deadline(bench, server)
    bench.main.query('RESET retrostar.server')


def deadline(bench, server):
    """The peer is a statement that the server's own timeout ends, beside as much traffic of the floor."""
    # the deadline is the function's: its arrays are made before
    bench.main.query('CREATE TEMP TABLE sets AS SELECT array_agg(id) AS ids, array_agg(body) AS docs FROM docs')
    sql = "SELECT count(r.score) FROM sets, retro_star_rerank('%s', ids, docs, deadline => '2 s') r"

    def timeout():
        other = threading.Thread(target=lambda: bench.floor(server, 10 * 256 + 512, 256))
        other.start()
        bench.main.query("SET statement_timeout = '2 s'")
        began = time.monotonic()
        try:
            bench.main.query('SELECT pg_sleep(10)')
        except RuntimeError as error:
            if not str(error).startswith('57014'):
                raise
        seconds = time.monotonic() - began
        bench.main.query('RESET statement_timeout')
        other.join()
        return {'seconds': seconds}

    def ours():
        bench.wait_idle()
        return timed(bench, sql % bench.fresh_query())

    found = bench.in_turns(ours=ours, timeout=timeout)
    bench.main.query('DROP TABLE sets')
    bench.wait_idle()
    bench.report.row('deadline of 2 s, in s (peer: statement_timeout)', found, 'seconds', peer='timeout',
                     target=at_most(1.05))


def timed(bench, sql, n=0):
    began = time.monotonic()
    bench.main.query(sql)
    seconds = time.monotonic() - began
    return {'seconds': seconds, 'per_second': n / seconds}
