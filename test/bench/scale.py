#!/usr/bin/env python3
"""What a large cache costs; scale.sh starts it.

Every figure that has a target is a ratio to something measured in the same run:
the small cache (another database, another worker) for look-ups, in turns; the
same reader before for the pruning; a join by hand for REFRESH.
"""
import argparse
import copy
import os
import statistics
import sys
import threading
import time

from session import Session

SMALL = 10000
TURN = 4000             # documents of one look-up statement
VERSION = 1             # of the rows; those of another are not found
ROW = """'{' || i % 101 || '}', 0, 'm', 870, 330, now() - i * interval '1 second',
    now() - i * interval '1 second', NULL::jsonb"""
DOC = "'document ' || i || repeat(' some more of its text', 75)"


def main():
    parser = argparse.ArgumentParser(description='Measures a large cache; test/bench/scale.sh starts it.')
    parser.add_argument('--socket', required=True)
    parser.add_argument('--work', required=True, help='directory for files, which the server can read')
    parser.add_argument('--rows', type=int, default=10_000_000)
    parser.add_argument('--known', type=int, default=1_000_000)
    parser.add_argument('--rounds', type=int, default=9)
    options = parser.parse_args()
    if not SMALL <= options.known <= options.rows // 2:
        sys.exit('--known must lie between %d and half of --rows' % SMALL)
    small, large = (Cache(options, name) for name in ('small', 'large'))
    small.fill(SMALL, SMALL)
    large.fill(options.rows, options.known)
    # both have all that they read in memory, the index of the large one included
    for cache in (small, large):
        cache.warm()
    verdicts = [look_ups(small, large, options.rounds), sizes(large, options.rows)]
    refreshes(large, options.known, options.rounds)
    verdicts.append(prunes(large, options.rows))
    for cache in (small, large):
        cache.asked_nothing()
    missed = verdicts.count(False)
    print('%d passed, %d missed' % (len(verdicts) - missed, missed))
    sys.exit(1 if missed else 0)


class Cache:
    """A database with documents and their scores."""

    def __init__(self, options, name):
        self.options = options
        self.name = name
        Session(options.socket, 5432, 'scale', 'scale').query('CREATE DATABASE ' + name)
        self.session = self.connect()
        self.query = self.session.query
        self.query("""CREATE EXTENSION retrostar; CREATE EXTENSION pg_prewarm;
            CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url 'http://127.0.0.1:9', model 'm')""")

    def another(self):
        """The same, in a session of its own."""
        other = copy.copy(self)
        other.session = self.connect()
        return other

    def connect(self):
        session = Session(self.options.socket, 5432, 'scale', self.name)
        session.query("SET retrostar.server = 'gpu'; SET retrostar.on_miss = 'skip'; SET work_mem = '256MB'")
        return session

    def fill(self, rows, known):
        """The documents' scores are the newest, and lie anywhere among the others."""
        began = time.monotonic()
        path = '%s/%s.copy' % (self.options.work, self.name)
        self.query('CREATE TABLE docs AS SELECT i AS id, %s AS body FROM generate_series(1, %d) i' % (DOC, known))
        self.query('ALTER TABLE docs ADD PRIMARY KEY (id)')
        self.query("""COPY (SELECT key, %d, %s FROM (
                SELECT id AS i, retrostar.cache_key('query', body) AS key FROM docs
                UNION ALL SELECT i, sha256(i::text::bytea) FROM generate_series(%d, %d) i) AS rows
            ORDER BY hashint4(i)) TO '%s'""" % (VERSION, ROW, known + 1, rows, path))
        self.query("COPY retrostar.score_cache FROM '%s'" % path)
        os.unlink(path)
        self.query('VACUUM ANALYZE')
        print('%s cache: %d rows, %d documents, in %.0f s' % (self.name, rows, known, time.monotonic() - began), flush=True)

    def warm(self):
        self.query("SELECT pg_prewarm('retrostar.score_cache'), pg_prewarm('retrostar.score_cache_pkey'),"
                   " pg_prewarm('docs'), pg_prewarm('docs_pkey')")

    def look_up(self, first):
        """Seconds of a statement over TURN documents, all of them known."""
        began = time.monotonic()
        found = self.session.value("SELECT count(retro_star_score('query', body)) FROM docs WHERE id BETWEEN %d AND %d"
                                   % (first, first + TURN - 1))
        if int(found) != TURN:
            raise RuntimeError('%s of %d are known' % (found, TURN))
        return time.monotonic() - began

    def asked_nothing(self):
        sent = self.session.value("SELECT coalesce(sum(sent), 0) FROM retrostar.stat_server")
        if int(sent) != 0:
            raise RuntimeError('%s requests were sent' % sent)


def judged(name, ratios, target, at_least):
    """Prints the median of the turns with what lies between its quartiles."""
    median = statistics.median(ratios)
    spread = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [median] * 3
    well = median >= target if at_least else median <= target
    print('%-52s %6.2f x  (%.2f to %.2f)  %s %.2f  %s' % (
        name, median, spread[0], spread[2], '>=' if at_least else '<=', target, 'passed' if well else 'MISSED'), flush=True)
    return well


def look_ups(small, large, rounds):
    """In turns; the documents of a turn lie far from those of the one before."""
    pairs = []
    for turn in range(rounds + 1):
        first = 1 + turn * TURN % (SMALL - TURN)
        far = 1 + (turn * 7919 * TURN) % (large.options.known - TURN)
        pairs.append((small.look_up(first), large.look_up(far)))
    pairs = pairs[1:]
    print('a look-up: %.1f us in the small cache, %.1f us in the large one' % tuple(
        statistics.median(column) * 1e6 / TURN for column in zip(*pairs)))
    return judged('look-ups, large over small', [a / b for a, b in pairs], 0.6, True)


def sizes(large, rows):
    table, index = (int(x) for x in large.query(
        "SELECT pg_table_size('retrostar.score_cache'), pg_indexes_size('retrostar.score_cache')")[0])
    print('on disk: %.1f GB, %.0f bytes a row, of which %.0f the index' % (
        (table + index) / 1e9, (table + index) / rows, index / rows))
    # doc/operations.md: about 220 bytes a row
    return judged('bytes a row, over those in the documentation', [(table + index) / rows / 220], 1.1, False)


def refreshes(large, known, rounds):
    """Of a materialized view over all documents, beside one of the join by hand."""
    query = large.query
    query("CREATE MATERIALIZED VIEW ours AS SELECT id, retro_star_score('query', body) AS score FROM docs WITH NO DATA")
    query("""CREATE TABLE by_hand AS SELECT sha256(convert_to(body, 'UTF8')) AS digest, id % 101 AS score FROM docs;
        ALTER TABLE by_hand ADD PRIMARY KEY (digest); ANALYZE by_hand""")
    query("""CREATE MATERIALIZED VIEW joined AS SELECT id, score
        FROM docs LEFT JOIN by_hand ON digest = sha256(convert_to(body, 'UTF8')) WITH NO DATA""")
    ratios = []
    for _ in range(max(3, rounds // 3)):
        ours, by_hand = (refreshed(query, name) for name in ('ours', 'joined'))
        ratios.append(ours / by_hand)
    if int(large.session.value('SELECT count(score) FROM ours')) != known:
        raise RuntimeError('not all scores are known')
    print('REFRESH of %d known scores: %.1f s, the join by hand %.1f s, %.2f times as long (median of %d)' % (
        known, ours, by_hand, statistics.median(ratios), len(ratios)))


def refreshed(query, name):
    began = time.monotonic()
    query('REFRESH MATERIALIZED VIEW ' + name)
    return time.monotonic() - began


def prunes(large, rows):
    """Half of the rows go; a reader goes on meanwhile, and never waits for a lock."""
    reader = large.another()
    watcher = large.connect()
    before = [reader.look_up(1) for _ in range(10)]
    during, ended = [], threading.Event()

    def read():
        while not ended.is_set():
            during.append(reader.look_up(1))

    reading = threading.Thread(target=read)
    pruner = threading.Thread(target=large.query, args=(
        'SELECT retrostar.cache_prune(keep_rows => %d)' % (rows // 2),))
    began = time.monotonic()
    pruner.start()
    reading.start()
    waits = 0
    while pruner.is_alive():
        waits += int(watcher.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
    pruner.join()
    took = time.monotonic() - began
    ended.set()
    reading.join()
    left = int(large.session.value('SELECT count(*) FROM retrostar.score_cache'))
    if left != rows // 2:
        raise RuntimeError('%d rows are left' % left)
    print('cache_prune() of %d rows: %.1f s; %d statements of a reader meanwhile, %.2f times as long as before' % (
        rows - left, took, len(during), statistics.median(during) / statistics.median(before)))
    print('%-52s %6.2f s of %.1f s' % ('the longest of them', max(during), took))
    well = waits == 0
    print('%-52s %6d     %-18s == 0     %s' % ('who waited for a lock meanwhile', waits, '', 'passed' if well else 'MISSED'))
    return well


if __name__ == '__main__':
    main()
