"""Parts of bench.py: scores that are known, against the join that a user would write.

By hand, scores lie in a table of one's own under a digest of query and document,
and a statement joins it.  Table "by_hand" has the columns, the index and as many
rows as the cache, in the same order.  How the join is done is the planner's
choice; "by its index" forbids the others, which is what is left of them when the
table is much greater than what is asked of it.
"""
import os
import time

from cluster import Cluster
from judge import at_most
from report import in_turns
from session import cpu_us, read_bytes

QUERY = 'cached'
BY_HAND = "h.key = sha256(convert_to('%s' || body, 'UTF8'))" % QUERY
OTHERS = 9              # queries whose scores of these documents are known, too
INDEX_ONLY = 'SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off'
REST = "1, '{%s}', 0, 'm', 600, 200, now(), now()"      # of a row of the cache
COLUMNS = '(key, version, scores, unscored, model, prompt_tokens, completion_tokens, created, updated)'
# ratios of the build of 1 December 2026, before look-ups were made in bulk: CPU to the join's; seconds to those of the join
# by its index
COMPRESSED_RECORDED = 0.7
COLD_RECORDED = 1.2


def known(session, table, server, order='id', others=OTHERS):
    """Fills cache and by_hand with the scores of a table's documents, by hand: nobody is asked."""
    session.query('CREATE TABLE IF NOT EXISTS by_hand (LIKE retrostar.score_cache INCLUDING ALL); '
                  'TRUNCATE by_hand, retrostar.score_cache')
    for target, key in (('by_hand', BY_HAND[8:]),
                        ('retrostar.score_cache', "retrostar.cache_key('%s', body, server => '%s')" % (QUERY, server))):
        # keys are digests: rows of other queries are random bytes
        session.query('INSERT INTO %s %s SELECT key, %s FROM (SELECT %s AS key, id FROM %s UNION ALL SELECT '
                      "sha256(convert_to(q || ' ' || id, 'UTF8')), id FROM %s, generate_series(1, %d) q) k ORDER BY %s" % (
                          target, COLUMNS, REST % 50, key, table, table, others, order))
    session.query('VACUUM ANALYZE by_hand')
    session.query('VACUUM ANALYZE retrostar.score_cache')


def call(server, table):
    return "SELECT sum(retro_star_score('%s', body, server => '%s')) FROM %s" % (QUERY, server, table)


def join(table):
    return 'SELECT sum(h.scores[1]) FROM %s LEFT JOIN by_hand h ON %s' % (table, BY_HAND)


def timed(session, statement, n, setting='', value=None):
    """Of n documents, in a transaction with a setting of its own; "value" is what it must return."""
    if setting:
        session.query('BEGIN; ' + setting)
    cpu, began = cpu_us(session.pid), time.monotonic()
    rows = session.query(statement)
    seconds, cpu = time.monotonic() - began, cpu_us(session.pid) - cpu
    if setting:
        session.query('COMMIT')
    if value is not None and float(rows[0][0]) != value:
        raise RuntimeError('%s returned %s, not %s' % (statement, rows[0][0], value))
    return {'per_second': n / seconds, 'seconds': seconds, 'cpu_us': cpu / n}


def cached_part(bench):
    report = bench.report
    report.section('Cached scores, one statement: CPU us of the session for each')
    server = bench.simulator(256, 0)
    bench.worker()
    tables = [('2 KB inline', 'docs', 'PLAIN', 'pglz'), ('2 KB pglz', 'docs', 'EXTENDED', 'pglz'),
              ('2 KB lz4', 'docs', 'EXTENDED', 'lz4'), ('8 KB inline', 'long_docs', 'PLAIN', 'pglz'),
              ('8 KB external', 'long_docs', 'EXTERNAL', 'pglz'), ('8 KB pglz', 'long_docs', 'EXTENDED', 'pglz'),
              ('8 KB lz4', 'long_docs', 'EXTENDED', 'lz4')]
    for name, source, storage, compression in tables:
        length = 7900 if storage == 'PLAIN' else 8192   # what a page holds
        bench.main.query('DROP TABLE IF EXISTS stored')
        try:
            bench.main.query('CREATE TABLE stored (id int, body text COMPRESSION %s)' % compression)
        except RuntimeError:
            report.left_out(name, 'a server without it')
            continue
        bench.main.query('ALTER TABLE stored ALTER body SET STORAGE ' + storage)
        # || '' so that the value is stored anew, in this table's way
        bench.main.query("INSERT INTO stored SELECT id, left(body, %d) || '' FROM %s ORDER BY id" % (length, source))
        bench.main.query('VACUUM ANALYZE stored')
        known(bench.main, 'stored', server)
        target = at_most(1 / 1.15) if name == '2 KB inline' else \
            at_most(COMPRESSED_RECORDED) if name == '8 KB pglz' else None
        cached_rows(bench, name, server, target)
    bench.main.query('DROP TABLE stored, by_hand; TRUNCATE retrostar.score_cache')


def cached_rows(bench, name, server, target):
    n = int(bench.main.value('SELECT count(*) FROM stored'))
    ours, by_hand = call(server, 'stored'), join('stored')
    sent = bench.queue('samples_sent')
    found = in_turns(max(bench.rounds, 7), {
        'ours': lambda: timed(bench.main, ours, n, value=50 * n),
        'by hand': lambda: timed(bench.main, by_hand, n, value=50 * n),
        'by index': lambda: timed(bench.main, by_hand, n, INDEX_ONLY, 50 * n),
        'off': lambda: timed(bench.main, ours, n, 'SET LOCAL retrostar.prefetch = off', 50 * n)})
    if bench.queue('samples_sent') != sent:
        raise RuntimeError('the scores of %s were not cached' % name)
    bench.report.row(name, found, 'cpu_us', peer='by hand', target=target, kind='cpu', form='%.2f')
    bench.report.row('  thousands a second', found, 'per_second', peer='by hand', form='%.0f', scale=1e-3)
    bench.report.row('  peer: by its index', found, 'cpu_us', peer='by index', kind='cpu', form='%.2f')
    bench.report.row('  prefetch off', found, 'cpu_us', 'off', 'by hand', kind='cpu', form='%.2f')


def refresh_part(bench):
    n = 10000 if bench.options.quick else 100000
    report, session = bench.report, bench.main
    report.section('Refresh of %d cached scores, documents of 2 KB: seconds (peer: the join)' % n)
    server = bench.simulator(256, 0)
    bench.worker()
    session.query("CREATE TABLE many AS SELECT i AS id, left(i || ' ' || body, 2048) AS body "
                  'FROM generate_series(0, %d) i JOIN docs ON docs.id = i %% (SELECT count(*) FROM docs)' % (n - 1))
    session.query('VACUUM ANALYZE many')
    known(session, 'many', server, others=1)
    make_views(session, 'many', server)
    bench.wait_idle()
    sent = bench.queue('samples_sent')
    for name, statement, target in (('REFRESH', 'REFRESH MATERIALIZED VIEW %s', at_most(1.0)),
                                    ('REFRESH CONCURRENTLY', 'REFRESH MATERIALIZED VIEW CONCURRENTLY %s', None)):
        found = bench.in_turns(ours=lambda: timed(session, statement % 'kept', n),
                               floor=lambda: timed(session, statement % 'kept_by_hand', n))
        report.row(name, found, 'seconds', peer='floor', target=target, form='%.2f')
    found = bench.in_turns(ours=lambda: timed(session, "CALL retrostar.refresh('kept')", n),
                           floor=lambda: timed(session, 'REFRESH MATERIALIZED VIEW kept_by_hand', n))
    report.row('retrostar.refresh(), which runs it twice', found, 'seconds', peer='floor', form='%.2f')
    if bench.queue('samples_sent') != sent:
        raise RuntimeError('a refresh asked the model')
    session.query('DROP MATERIALIZED VIEW kept, kept_by_hand; DROP TABLE many, by_hand; TRUNCATE retrostar.score_cache')


def make_views(session, table, server):
    session.query(
        "CREATE MATERIALIZED VIEW kept AS SELECT id, retro_star_score('%s', body, server => '%s') AS score FROM %s; "
        'CREATE MATERIALIZED VIEW kept_by_hand AS SELECT id, h.scores[1]::float8 AS score FROM %s LEFT JOIN by_hand h '
        'ON %s; CREATE UNIQUE INDEX ON kept (id); CREATE UNIQUE INDEX ON kept_by_hand (id)' % (
            QUERY, server, table, table, BY_HAND))
    session.query('VACUUM ANALYZE kept')
    session.query('VACUUM ANALYZE kept_by_hand')


def bulk_part(bench):
    n = 100000 if bench.options.quick else 1000000
    report, session = bench.report, bench.main
    report.section('%d cached scores at once, documents of 200 bytes: seconds (peer: the join)' % n)
    server = bench.simulator(256, 0)
    bench.worker()
    session.query("CREATE TABLE bulk AS SELECT i AS id, i %% 100 AS kind, left(i || ' ' || body, 200) AS body "
                  'FROM generate_series(0, %d) i JOIN docs ON docs.id = i %% (SELECT count(*) FROM docs)' % (n - 1))
    session.query('VACUUM ANALYZE bulk')
    known(session, 'bulk', server, others=0)
    ours, by_hand = call(server, 'bulk'), join('bulk')
    jit = 'SET LOCAL jit = on; SET LOCAL jit_above_cost = 0; SET LOCAL jit_optimize_above_cost = 0'
    parallel = ('SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; '
                'SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0')
    session.query('SET jit = on')
    has_jit = session.value('SELECT pg_jit_available()') == 't'     # false where the setting is off
    session.query('RESET jit')
    sent = bench.queue('samples_sent')
    for name, setting in (('one statement', ''), ('with jit', jit), ('with parallel workers', parallel)):
        if setting == jit and not has_jit:
            report.left_out(name, 'a server without it')
            continue
        found = in_turns(3, {'ours': lambda: timed(session, ours, n, setting, 50 * n),
                             'floor': lambda: timed(session, by_hand, n, setting, 50 * n),
                             'by index': lambda: timed(session, by_hand, n, '; '.join(filter(None, (setting, INDEX_ONLY))),
                                                       50 * n)})
        report.row(name, found, 'seconds', peer='floor', form='%.2f')
        report.row('  peer: by its index', found, 'seconds', peer='by index', form='%.2f')
    make_views(session, 'bulk', server)
    found = in_turns(3, {'ours': lambda: timed(session, 'REFRESH MATERIALIZED VIEW kept', n),
                         'floor': lambda: timed(session, 'REFRESH MATERIALIZED VIEW kept_by_hand', n)})
    report.row('REFRESH', found, 'seconds', peer='floor', form='%.2f')
    if bench.queue('samples_sent') != sent:
        raise RuntimeError('the scores of bulk were not cached')
    session.query('DROP MATERIALIZED VIEW kept, kept_by_hand; DROP TABLE bulk, by_hand; TRUNCATE retrostar.score_cache')


def cold_part(bench):
    """A server with buffers for a quarter of the cache, started anew, none of its pages in the system's memory."""
    quick = bench.options.quick
    buffers, rows, asked = (8, 200000, 5000) if quick else (32, 800000, 20000)
    report = bench.report
    report.section('%d cached scores of %d, shared_buffers %d MB, nothing in memory: seconds' % (asked, rows, buffers))
    cluster = Cluster(bench.options.work, 'cold', 'retrostar', 'shared_buffers = %dMB' % buffers)
    try:
        session = cluster.session()
        session.query("CREATE EXTENSION retrostar; CREATE SERVER gone FOREIGN DATA WRAPPER retrostar OPTIONS "
                      "(url 'http://127.0.0.1:9', model 'bench')")
        session.query("CREATE TABLE asked AS SELECT i AS id, md5(i::text) AS body FROM generate_series(1, %d) i" % asked)
        session.query('VACUUM ANALYZE asked')
        # of all queries, in no order that has to do with the table's
        known(session, 'asked', 'gone', "sha256(key)", rows // asked - 1)
        size = int(session.value("SELECT pg_table_size('retrostar.score_cache') + pg_indexes_size('retrostar.score_cache')"))
        session.close()
        if size < 4 * buffers * 1024 * 1024:
            raise RuntimeError('the cache has %d bytes only' % size)
        found = in_turns(3, {
            'ours': lambda: cold(cluster, call('gone', 'asked'), asked),
            'floor': lambda: cold(cluster, join('asked'), asked),
            'by index': lambda: cold(cluster, join('asked'), asked, INDEX_ONLY)})
    finally:
        cluster.stop()
    least = min(result['read'] or 0 for result in found['ours'] + found['by index'])
    if least < asked * 1024:
        report.left_out('pages that were read: %.1f MB' % (least / 1e6), 'pages stayed in memory')
        return
    report.row('one statement (peer: join by its index)', found, 'seconds', peer='by index',
               target=at_most(COLD_RECORDED / 1.5), form='%.2f')
    report.row('  read from storage, MB', found, 'read', peer='by index', kind='count', form='%.0f', scale=1e-6)
    report.row('  peer: any join', found, 'seconds', peer='floor', form='%.2f')


def cold(cluster, statement, n, setting=''):
    """With the catalogs and the table of documents in memory, and nothing of cache and by_hand."""
    session = cluster.session()
    paths = session.query("SELECT pg_relation_filepath(c.oid) FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid "
                          "WHERE coalesce(i.indrelid, c.oid) IN ('by_hand'::regclass, 'retrostar.score_cache'::regclass)")
    session.close()
    cluster.restart()
    for path, in paths:
        drop(os.path.join(cluster.data, path))
    session = cluster.session()
    session.query('SELECT sum(length(body)) FROM asked')
    before = read_bytes(session.pid)
    result = timed(session, statement, n, setting, 50 * n)
    after = read_bytes(session.pid)
    result['read'] = None if after is None else after - before
    session.close()
    return result


def drop(path):
    """Out of the system's memory, all parts of a relation's file; the server has been stopped, so all is written."""
    part, number = path, 0
    while os.path.exists(part):
        file = os.open(part, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
        number += 1
        part = '%s.%d' % (path, number)
