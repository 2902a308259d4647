"""Parts of bench.py: whole statements, with the prefetch node and in sets."""
import threading
import time

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
    """Each row's ideal is its pairs in windows, one after another."""
    bench.section('Shapes of statements, %d ms a call, window %d: milliseconds on (floor: off)' % (
        DELAY * 1000, WINDOW))
    server = bench.simulator(256, int(DELAY * 1000))
    make_shape_tables(bench)
    bench.worker()
    serial = serially(bench, server)
    bench.main.query('SET retrostar.prefetch_window = %d' % WINDOW)
    for name, pairs, statement in SHAPES:
        on = min(timed(bench, fill_in(bench, server, statement)) for _ in range(bench.rounds))
        ideal = -(-pairs // WINDOW) * DELAY
        limit = 1.15 * ideal + 0.05
        bench.row(name, on * 1000, '<= %d ms' % (limit * 1000), on <= limit, serial[name] * 1000,
                  ratio=on / ideal, form='%.0f')
    bench.main.query('RESET retrostar.prefetch_window')


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
    bench.section('One statement, 256 x 200 ms')
    server = bench.simulator(256, 200)
    bench.worker()
    bench.main.query("SET retrostar.server = '%s'" % server)

    n = 1024
    rates = []
    for _ in range(bench.rounds):
        seconds = timed(bench, "SELECT id FROM docs WHERE id < %d ORDER BY retro_star_score('%s', body) "
                        'DESC NULLS LAST LIMIT 10' % (n, bench.fresh_query()))
        rates.append(n / 1280 / seconds)
    bench.row('ORDER BY over 1024 pairs, of ideal', max(rates), '>= 0.85', max(rates) >= 0.85)

    # all documents, or the best by prior: these are asked for when the groups are complete
    for name, arguments, passes, asked in (('', '', '', 5000), (', priors', ', NULL, id', '', 5000),
                                           (', 80 by prior', ', NULL, id', '80@1', 4000)):
        bench.main.query("SET retrostar.passes = '%s'" % passes)
        rates = []
        for _ in range(bench.rounds):
            seconds = timed(bench, 'SELECT sum(array_length(best, 1)) FROM (SELECT q, retro_star_rerank_agg(q, id, '
                            "body%s) AS best FROM docs, (SELECT '%s ' || i AS q FROM generate_series(1, 50) i) v "
                            'WHERE id < 100 GROUP BY q) x' % (arguments, bench.fresh_query()))
            rates.append(asked / 1280 / seconds)
        bench.row('50 queries x 100 documents%s, of ideal' % name, max(rates), '>= 0.95', max(rates) >= 0.95)
    bench.main.query('RESET retrostar.passes')

    # The deadline is the function's: its arrays are made before
    bench.main.query('CREATE TEMP TABLE sets AS SELECT array_agg(id) AS ids, array_agg(body) AS docs FROM docs')
    late = min(timed(bench, "SELECT count(r.score) FROM sets, retro_star_rerank('%s', ids, docs, deadline => '2 s') r"
                     % bench.fresh_query()) - 2 for _ in range(bench.rounds))
    bench.main.query('DROP TABLE sets')
    bench.row('deadline of 2 s: ms late', late * 1000, '<= 100', late <= 0.1, form='%.0f')
    bench.main.query('RESET retrostar.server')
    bench.wait_idle()


def timed(bench, sql):
    began = time.monotonic()
    bench.main.query(sql)
    return time.monotonic() - began


def refresh_part(bench):
    """The cache is filled by hand: what is measured never asks the model."""
    n = 10000 if bench.options.quick else 100000
    bench.section('Refresh of %d cached scores, documents of 2 KB: seconds' % n)
    server = bench.simulator(256, 0)
    bench.main.query(
        "CREATE TABLE many AS SELECT i AS id, left(i || ' ' || body, 2048) AS body FROM generate_series(0, %d) i "
        'JOIN docs ON docs.id = i %% (SELECT count(*) FROM docs); '
        'INSERT INTO retrostar.score_cache (key, version, scores, unscored, model, prompt_tokens, completion_tokens, '
        "created, updated) SELECT retrostar.cache_key('refresh', body, server => '%s'), 1, '{50}', 0, 'm', 600, 200, "
        "now(), now() FROM many; CREATE MATERIALIZED VIEW kept AS SELECT id, retro_star_score('refresh', body, "
        "server => '%s') AS score FROM many; CREATE UNIQUE INDEX ON kept (id)" % (n - 1, server, server))
    bench.main.query('VACUUM ANALYZE many')
    bench.main.query('VACUUM ANALYZE retrostar.score_cache')
    bench.main.query('VACUUM ANALYZE kept')
    bench.wait_idle()
    sent = bench.queue('samples_sent')
    limit = 3 * n / 100000
    for name, statement, gate in (('REFRESH', 'REFRESH MATERIALIZED VIEW kept', True),
                                  ('REFRESH CONCURRENTLY', 'REFRESH MATERIALIZED VIEW CONCURRENTLY kept', False),
                                  ('retrostar.refresh()', "CALL retrostar.refresh('kept')", False)):
        seconds = min(timed(bench, statement) for _ in range(bench.rounds))
        bench.row(name, seconds, '<= %g s' % limit if gate else '', seconds <= limit if gate else None)
    if bench.queue('samples_sent') != sent:
        raise RuntimeError('a refresh asked the model')
    bench.main.query('DROP MATERIALIZED VIEW kept; DROP TABLE many; TRUNCATE retrostar.score_cache')
