"""Part of bench.py: what the planner hook costs, statements with and without the function."""
from cluster import Cluster
from judge import at_least, at_most
from report import in_turns
from statements import SHAPES, fill_in, make_shape_tables


def overhead_part(bench):
    transactions(bench)
    planning(bench)


def transactions(bench):
    """Two clusters that differ in shared_preload_libraries, by pgbench -S, in turns."""
    turns = 8 if bench.options.quick else 20
    bench.report.section('Statements that do not use the function: pgbench -S, %d x 1 s of each' % turns)
    clusters = {}
    try:
        for name, library in (('ours', 'retrostar'), ('without', '')):
            clusters[name] = Cluster(bench.options.work, name, library)
            clusters[name].pgbench('-i', '-q')
            clusters[name].pgbench('-S', '-T', '1')     # into shared buffers
        found = in_turns(turns, {name: lambda cluster=cluster: {'tps': cluster.pgbench('-S', '-T', '1')}
                                 for name, cluster in clusters.items()})
    finally:
        for cluster in clusters.values():
            cluster.stop()
    bench.report.row('transactions/s', found, 'tps', peer='without', target=at_least(0.97), form='%.0f')


def planning(bench):
    """Planning Time of EXPLAIN with and without prefetching, in turns; nothing is sent."""
    turns = 50 if bench.options.quick else 200
    bench.report.section('Planning of statements that do, %d times: ms (peer: with prefetch off)' % turns)
    server = bench.simulator(256, 0)
    make_shape_tables(bench)
    for name, _, statement in SHAPES:
        if ';' in statement:
            continue
        sql = 'EXPLAIN (SUMMARY) ' + fill_in(bench, server, statement)
        found = in_turns(turns, {'ours': lambda: planned(bench, sql, 'on'), 'off': lambda: planned(bench, sql, 'off')})
        bench.report.row(name, found, 'ms', peer='off', target=at_most(2), form='%.3f')
    bench.main.query('RESET retrostar.prefetch')


def planned(bench, sql, prefetch):
    bench.main.query('SET retrostar.prefetch = ' + prefetch)
    line = [row[0] for row in bench.main.query(sql) if 'Planning Time' in row[0]][0]
    return {'ms': float(line.split()[2])}
