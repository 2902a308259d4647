#!/usr/bin/env python3
"""Runs the statements of "With Citus" (doc/operations.md); citus.sh starts it.

Usage: citus.py DIRECTORY SIMULATOR.  In the directory are the sockets of three nodes
(5432, the coordinator, to 5434) and their logs, node1.log to node3.log.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench"))
from session import Session  # noqa: E402

PORTS = (5432, 5433, 5434)
DOCUMENTS = 2048
ROUNDS = 3
TARGET = 1.2            # times as long as over a plain table
passed = failed = 0


def main():
    work, program = sys.argv[1:]
    cluster = Cluster(work, start_simulator(work, program))
    runs_on_workers(cluster)
    not_propagated(cluster)
    changes(cluster)
    rankings(cluster)
    takes_as_long(cluster, "distributed", "docs")
    takes_as_long(cluster, "columnar", "docs_columnar")
    cache_distributed(cluster)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


def check(name, well, said=""):
    global passed, failed
    if well:
        passed += 1
    else:
        failed += 1
    print("%-6s %s%s" % ("ok" if well else "FAILED", name, "  (%s)" % said if said != "" else ""), flush=True)


class Simulator:
    def __init__(self, port):
        self.port = port
        self.url = "http://127.0.0.1:%s" % port

    def chats(self):
        with urllib.request.urlopen(self.url + "/sim/stats") as answer:
            return json.load(answer)["chat"]


def start_simulator(work, program):
    port_file = os.path.join(work, "port")
    process = subprocess.Popen([program, "--port", "0", "--port-file", port_file, "--delay-ms", "200",
                                "--max-running", "256", "--die-with-parent"], stdin=subprocess.DEVNULL)
    while not os.path.exists(port_file) or os.path.getsize(port_file) == 0:
        if process.poll() is not None:
            sys.exit("the simulator did not start")
        time.sleep(0.05)
    with open(port_file) as file:
        return Simulator(file.readline().strip())


class Cluster:
    def __init__(self, work, simulator):
        self.work, self.simulator = work, simulator
        self.nodes = [Session(work, port, "citus", "postgres") for port in PORTS]
        self.coordinator = self.nodes[0]
        self.asked = 0
        for node in self.nodes:
            node.query("CREATE EXTENSION citus")
            node.query("CREATE EXTENSION IF NOT EXISTS citus_columnar")
        on = self.coordinator.query
        on("SELECT citus_set_coordinator_host('%s', %d)" % (work, PORTS[0]))
        for port in PORTS[1:]:
            on("SELECT citus_add_node('%s', %d)" % (work, port))
        on("CREATE EXTENSION retrostar")
        on("CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'm', max_in_flight '256')" % simulator.url)
        body = "'document ' || i || repeat(' some more of its text', 20)"
        on("CREATE TABLE docs (id int PRIMARY KEY, body text, score float8)")
        on("SELECT create_distributed_table('docs', 'id', shard_count => 32)")
        on("CREATE TABLE docs_plain (id int PRIMARY KEY, body text, score float8)")
        on("CREATE TABLE docs_columnar (id int, body text) USING columnar")
        for table in ("docs", "docs_plain", "docs_columnar"):
            on("INSERT INTO %s (id, body) SELECT i, %s FROM generate_series(1, %d) i" % (table, body, DOCUMENTS))
        on("ANALYZE")

    def counts(self):
        """What each node has asked for so far."""
        return [int(node.value("SELECT asked FROM retrostar.stat_queue")) for node in self.nodes]

    def asked_by(self, sql):
        """The result, and what each node asked for."""
        before = self.counts()
        rows = self.coordinator.query(sql)
        return rows, [b - a for a, b in zip(before, self.counts())]

    def on_all(self, sql):
        for node in self.nodes:
            node.query(sql)


def error_of(session, sql):
    try:
        session.query(sql)
    except RuntimeError as error:
        return str(error)
    return ""


def runs_on_workers(cluster):
    rows, asked = cluster.asked_by("SELECT id, retro_star_score('where', body) AS score FROM docs ORDER BY score DESC, id LIMIT 10")
    check("ORDER BY score: calls run on the workers, none twice",
          asked[0] == 0 and asked[1] > 0 and asked[2] > 0 and sum(asked) == DOCUMENTS, asked)
    plain = cluster.coordinator.query("SELECT id, retro_star_score('where', body) AS score FROM docs_plain ORDER BY score DESC, id LIMIT 10")
    check("the same scores as in a plain table", rows == plain)
    _, asked = cluster.asked_by("SELECT id, retro_star_score('where', body) AS score FROM docs ORDER BY score DESC, id LIMIT 10")
    check("known where they were asked for", sum(asked) == 0, asked)
    rows, asked = cluster.asked_by("SELECT count(*) FROM docs WHERE retro_star_score('condition', body) >= 0 AND id <= 300")
    check("a condition in WHERE, on the workers", rows[0][0] == "300" and asked[0] == 0 and sum(asked) == 300, asked)
    _, asked = cluster.asked_by("SELECT max(retro_star_score('here', body)) FROM (SELECT * FROM docs ORDER BY id LIMIT 100) x")
    check("above a LIMIT, on the coordinator", asked == [100, 0, 0], asked)
    plan = "\n".join(row[0] for row in cluster.coordinator.query(
        "EXPLAIN (COSTS OFF) SELECT id, retro_star_score('plan', body) AS score FROM docs ORDER BY score DESC LIMIT 10"))
    check("the node is in the plan of a task", "Retro* Prefetch" in plan.partition("Task")[2])


def not_propagated(cluster):
    on = cluster.coordinator.query
    on("CREATE SERVER keyed FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'm')" % cluster.simulator.url)
    on("CREATE USER MAPPING FOR CURRENT_USER SERVER keyed OPTIONS (api_key 'secret')")
    mappings = [int(node.value("SELECT count(*) FROM pg_user_mappings WHERE srvname = 'keyed'")) for node in cluster.nodes]
    check("servers are propagated, user mappings are not", mappings == [1, 0, 0], mappings)
    on("SELECT run_command_on_workers($$CREATE USER MAPPING FOR CURRENT_USER SERVER keyed OPTIONS (api_key 'secret')$$)")
    mappings = [int(node.value("SELECT count(*) FROM pg_user_mappings WHERE srvname = 'keyed'")) for node in cluster.nodes]
    check("but can be sent to the workers", mappings == [1, 1, 1], mappings)
    on("DROP SERVER keyed CASCADE")
    task = "INSERT INTO retrostar.task (name, query_type, doc_type, relevance_definition) VALUES ('mine', 'query', 'document', 'A document is relevant when it is mine.')"
    on(task)
    ask = "SELECT count(retro_star_score('task', body, task => 'mine')) FROM docs WHERE id <= 10"
    check("a task of the coordinator is not known to the workers", "mine" in error_of(cluster.coordinator, ask))
    on("SELECT run_command_on_workers($sql$%s$sql$)" % task)
    check("until it is there, too", on(ask)[0][0] == "10")
    on("SET retrostar.on_miss = 'skip'")
    _, asked = cluster.asked_by("SELECT count(retro_star_score('session', body)) FROM docs WHERE id <= 20")
    on("RESET retrostar.on_miss")
    check("a setting of the session is not known to the workers", asked[0] == 0 and sum(asked) == 20, asked)
    on("ALTER ROLE citus SET retrostar.on_miss = 'skip'")
    again = Session(cluster.work, PORTS[0], "citus", "postgres")
    before = cluster.counts()
    known = again.value("SELECT count(retro_star_score('role', body)) FROM docs WHERE id <= 20")
    again.close()
    on("ALTER ROLE citus RESET retrostar.on_miss")
    check("one of the role is", known == "0" and cluster.counts() == before, known)


def changes(cluster):
    on = cluster.coordinator.query
    said = error_of(cluster.coordinator, "UPDATE docs SET score = retro_star_score('update', body) WHERE id <= 50")
    check("UPDATE with calls is refused by Citus", said != "", said[:90])
    rows, asked = cluster.asked_by("""WITH x AS MATERIALIZED (SELECT id, retro_star_score('update', body) AS score FROM docs WHERE id <= 50)
        UPDATE docs SET score = x.score FROM x WHERE docs.id = x.id RETURNING docs.id""")
    check("UPDATE from a MATERIALIZED CTE", len(rows) == 50 and asked[0] == 0 and sum(asked) == 50, asked)
    said = error_of(cluster.coordinator, """MERGE INTO docs USING docs_plain p ON docs.id = p.id AND p.id <= 50
        WHEN MATCHED THEN UPDATE SET score = retro_star_score('merge', p.body)""")
    check("so is MERGE", said != "", said[:90])
    rows, asked = cluster.asked_by("""INSERT INTO docs (id, score) SELECT id, retro_star_score('merge', body) FROM docs WHERE id <= 50
        ON CONFLICT (id) DO UPDATE SET score = excluded.score""")
    check("INSERT ... ON CONFLICT", int(on("SELECT count(score) FROM docs")[0][0]) == 50 and sum(asked) == 50, asked)


def rankings(cluster):
    rows = cluster.coordinator.query("SELECT id, retrostar.ranked(retro_star_rerank_agg('rank', id, body)) FROM docs WHERE id <= 20 GROUP BY id")
    check("rankings of groups that workers make travel as retrostar.ranked", len(rows) == 20)


def takes_as_long(cluster, name, table):
    """In turns with the plain table, each time with a query that is new."""
    ratios, times = [], []
    for turn in range(ROUNDS + 1):
        pair = []
        for one in (table, "docs_plain"):
            began = time.monotonic()
            cluster.coordinator.query("SELECT id, retro_star_score('%s %s %d', body) AS score FROM %s ORDER BY score DESC, id LIMIT 10" % (name, one, turn, one))
            pair.append(time.monotonic() - began)
        if turn > 0:
            ratios.append(pair[0] / pair[1])
            times.append(pair)
    ratio = statistics.median(ratios)
    check("%s table, %d documents: at most %.1f times as long as the plain one" % (name, DOCUMENTS, TARGET), ratio <= TARGET,
          "%.2f; %.2f s, %.2f s" % (ratio, statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)))


def cache_distributed(cluster):
    on = cluster.coordinator.query
    distribute = "SELECT create_distributed_table('retrostar.score_cache', 'key')"
    said = error_of(cluster.coordinator, distribute)
    check("Citus does not distribute the cache table, which has a trigger", "trigger" in said, said[:90])
    on("SET citus.enable_unsafe_triggers = on")
    on(distribute)
    score = on("SELECT retro_star_score('distributed', body) FROM docs_plain WHERE id = 1")[0][0]
    check("a cache table that was distributed: the score comes", score is not None, score)
    waited = time.monotonic() + 60
    said = False
    while not said and time.monotonic() < waited:
        with open(os.path.join(cluster.work, "node1.log")) as log:
            said = "has been distributed by Citus" in log.read()
        time.sleep(0.2)
    check("and the log says what is wrong", said)


if __name__ == "__main__":
    main()
