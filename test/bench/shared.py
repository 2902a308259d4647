"""Part of bench.py: scores that another node's cache knows, beside those that the own one knows."""
import time

from cluster import Cluster
from judge import at_most
from report import in_turns

PAIRS = 2000
MICROSECONDS = 25       # that a pair of the other node's may cost more, as a share of the peer below


def shared_part(bench):
    bench.report.section('%d pairs that the hub of a node knows, in one statement: us a pair' % PAIRS)
    url = bench.url(bench.simulator(256, 0))
    clusters = {name: Cluster(bench.options.work, name, 'retrostar') for name in ('hub', 'spoke')}
    try:
        hub, spoke = (join(cluster, url, clusters['hub']) for cluster in clusters.values())
        for session in (hub, spoke):
            session.query("CREATE TABLE docs (id int, body text); COPY docs FROM '%s/docs.tsv'" % bench.options.work)
            session.query('VACUUM ANALYZE docs')
        ask(hub, 'both are warm')
        ask(spoke, 'both are warm')
        before = chats(bench)
        found = in_turns(bench.rounds, {'ours': lambda: turn(bench, hub, spoke)})
        found['local'] = [{'us': result['local']} for result in found['ours']]
        found['more'] = [{'us': result['us'] - result['local']} for result in found['ours']]
        found['bound'] = [{'us': MICROSECONDS} for _ in found['ours']]
        bench.report.row('of the hub (peer: known here)', found, 'us', peer='local', form='%.1f')
        bench.report.row('what that is more (peer: %d us)' % MICROSECONDS, found, 'us', ours='more', peer='bound',
                         target=at_most(1), form='%.1f')
        bench.report.counted('requests for them', chats(bench) - before - bench.rounds * PAIRS, 0)
    finally:
        for cluster in clusters.values():
            cluster.stop()


def join(cluster, url, hub):
    """A session of the node; all but the hub itself share its cache."""
    session = cluster.session()
    options = "url '%s', model 'bench', max_in_flight '256'" % url
    session.query('CREATE EXTENSION retrostar')
    if cluster is not hub:
        session.query("CREATE EXTENSION postgres_fdw; CREATE SERVER hub FOREIGN DATA WRAPPER postgres_fdw "
                      "OPTIONS (host '%s', port '5432', dbname 'postgres')" % hub.directory)
        session.query("CREATE USER MAPPING FOR CURRENT_USER SERVER hub OPTIONS (user 'bench')")
        options += ", shared_cache 'hub'"
    session.query('CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (%s)' % options)
    return session


def chats(bench):
    return bench.simulator_stat(bench.simulator(256, 0), 'chat')


def ask(session, query):
    """Microseconds a pair; when it returns the rows are in the table, which is not part of them."""
    began = time.monotonic()
    session.query("SELECT count(retro_star_score('%s', body)) FROM docs WHERE id < %d" % (query, PAIRS))
    seconds = time.monotonic() - began
    while int(session.value('SELECT pairs FROM retrostar.stat_queue')) > 0:
        time.sleep(0.02)
    return seconds / PAIRS * 1e6


def turn(bench, hub, spoke):
    """A query that the hub pays, then the node has from it, and then knows."""
    query = bench.fresh_query()
    ask(hub, query)
    return {'us': ask(spoke, query), 'local': ask(spoke, query)}
