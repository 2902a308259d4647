#!/usr/bin/env python3
"""The cases of measure.sh, which says how it is called."""
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import database
import direct
import engine as engines
import table
from engine import DATA, ROOT, Engine

PORTS = {"large": [8101], "small": [8101], "pair": [8102, 8103]}
MOST_SECONDS = 120              # of a statement with one of two engines


class Watch(threading.Thread):
    """Looks at the engine's gauges, the GPU and the limit of a server object while something runs"""

    def __init__(self, engine, server=None):
        super().__init__(daemon=True)
        self.engine, self.server = engine, server
        self.running, self.limits, self.over = [], [], threading.Event()
        self.gpu = None
        if engine.name != "simulator":
            self.gpu = subprocess.Popen(["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits",
                                         "-lms", "500"], stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        self.begun = time.monotonic()
        self.start()
        return self

    def run(self):
        while not self.over.wait(0.5):
            try:
                self.running.append(int(self.engine.gauges()["running"]))
            except OSError:
                pass                    # busy, or gone: the case itself sees that
            if self.server:
                self.note_limit()

    def note_limit(self):
        limit = database.counters(self.server)["limit"]
        if limit and (not self.limits or self.limits[-1][1] != limit):
            self.limits.append((round(time.monotonic() - self.begun, 1), limit))

    def __exit__(self, *_):
        self.over.set()
        self.join()
        self.figures = {"running_most": max(self.running, default=0), "limits": self.limits}
        if self.gpu:
            self.gpu.terminate()
            used = [int(line) for line in self.gpu.stdout.read().split()]
            self.figures["gpu_percent"] = round(sum(used) / max(1, len(used)))


def note(engine, case, side, **figures):
    """A line for the table"""
    line = json.dumps({"when": time.strftime("%Y-%m-%d %H:%M"), "engine": f"{engine.name} {engine.version()}".strip(),
                       "shape": engine.shape, "case": case, "side": side, **figures})
    print(line, flush=True)
    for folder in {DATA, os.environ.get("OUT", DATA)}:
        with open(f"{folder}/figures.jsonl", "a") as file:
            file.write(line + "\n")


def ask_directly(engine, cases, pairs, limit):
    """One measurement, which each of these cases is compared with"""
    prompts = database.prompts(database.query(), pairs)
    with Watch(engine) as watch:
        seconds, done, tokens, failures = direct.run(engine, prompts, limit)
    for case in cases:
        note(engine, case, "direct", limit=limit, seconds=round(seconds, 2), pairs=done, tokens=tokens,
             missing=pairs - done, problem=" ".join(failures[:1]), **watch.figures)


def ask_in_sql(engine, case, pairs, server):
    """The same as ORDER BY retro_star_score()"""
    query, before = database.query(), database.counters(server)
    with Watch(engine, server) as watch:
        begun, problem = time.monotonic(), ""
        try:
            database.run(database.ranking(server, pairs), query=query)
        except database.Failed as error:
            problem = str(error)
        seconds = time.monotonic() - begun
    after = database.counters(server)
    gained = {name: after[name] - before[name] for name in after if name != "limit"}
    note(engine, case, "sql", seconds=round(seconds, 2), pairs=gained["answered"], tokens=gained["completion_tokens"],
         missing=pairs - gained["answered"], problem=problem, retries=gained["retries"], **watch.figures)


def in_turns(rounds, one, other):
    """one, other, other, one, ...: what changes with the time does so for both"""
    for n in range(rounds):
        for ask in (one, other) if n % 2 == 0 else (other, one):
            ask()


#
# Cases
#

def case_warm(engine):
    direct.run(engine, database.prompts(database.query(), 256), 256)


def case_turns(engine, limit, pairs, rounds=1):
    database.make_server("given", [engine], limit)
    case = f"limit {limit}, {pairs} pairs"
    in_turns(rounds, lambda: ask_directly(engine, [case], pairs, limit),
             lambda: ask_in_sql(engine, case, pairs, "given"))


def case_found(engine, limit, pairs, rounds=1):
    """Without a limit: first of an endpoint that nobody knows, then after a pause"""
    database.make_server("found", [engine])
    cases = [f"limit found, {pairs} pairs", f"limit found, {pairs} pairs, again"]

    def ask():
        database.restart()
        for case in cases:
            database.wait_worker_gone()
            ask_in_sql(engine, case, pairs, "found")

    in_turns(rounds, lambda: ask_directly(engine, cases, pairs, limit), ask)


def case_cold(engine, documents=100, rounds=2):
    """A small set: first of an endpoint that nobody knows, then after a pause.  Directly all are sent at once."""
    database.make_server("cold", [engine])
    for n in range(rounds):
        if n == 0:
            database.restart()
            case = f"cold, {documents} documents"
        else:
            database.wait_worker_gone()
            case = f"cold, {documents} documents, again"
        ask_directly(engine, [case], documents, documents)
        ask_in_sql(engine, case, documents, "cold")


def case_cancel(engine, limit):
    """Ctrl-C with so many in flight: when is psql back, when is the engine idle?"""
    database.make_server("cancelled", [engine], limit)
    psql = database.begin(database.ranking("cancelled", min(4 * limit, database.DOCUMENTS)), query=database.query())
    end = time.monotonic() + 60
    while engine.gauges()["running"] < 0.9 * limit and time.monotonic() < end:
        time.sleep(0.1)
    before = engine.gauges()
    begun, returned, idle = time.monotonic(), None, None
    psql.send_signal(signal.SIGINT)
    while time.monotonic() - begun < 30 and (returned is None or idle is None):
        now = engine.gauges()
        if returned is None and psql.poll() is not None:
            returned = round(time.monotonic() - begun, 3)
        if idle is None and now["running"] + now["waiting"] == 0:
            idle = round(time.monotonic() - begun, 3)
        time.sleep(0.01)
    said = psql.stdout.read()
    note(engine, f"cancel, {limit} in flight", "sql", in_flight=before["running"], returned=returned, idle=idle,
         tokens_after=now["tokens"] - before["tokens"],
         problem="" if "canceling statement" in said and idle is not None else f"not released; {said[:300]}")


def one_of_two(both, case, number, pairs=800):
    """What becomes of a statement when one of two engines gets a signal after a quarter of it"""
    first, second = both
    make_ready(both)
    database.make_server("two", both, 128)
    before = database.counters("two")
    psql = database.begin("""SET retrostar.server = 'two'; SET retrostar.unscored_reply = zero;
        SELECT count(retro_star_score(:'query', body)) FROM doc WHERE id <= %d;\n""" % pairs, query=database.query())
    begun, seen, signalled = time.monotonic(), [(0.0, 0)], None
    while psql.poll() is None:
        now = time.monotonic() - begun
        if now > MOST_SECONDS:
            psql.send_signal(signal.SIGINT)
            psql.wait()
            break
        answered = database.counters("two")["answered"] - before["answered"]
        if answered != seen[-1][1]:
            seen.append((now, answered))
        if signalled is None and answered >= pairs / 4:
            first.signal(number)
            signalled = now
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    said, after = psql.stdout.read().strip(), database.counters("two")
    late = [signalled or seconds] + [at for at, _ in seen if signalled and at > signalled] + [seconds]
    note(second, case, "sql", seconds=round(seconds, 2), pairs=pairs,
         missing=pairs - int(said) if said.isdigit() else pairs, problem="" if said.isdigit() else said[:500],
         after_signal=round(seconds - (signalled or seconds), 2), retries=after["retries"] - before["retries"],
         longest_pause=round(max((b - a for a, b in zip(late, late[1:])), default=0), 2))
    engines.end(first.file)


def case_drain(both):
    one_of_two(both, "SIGTERM to one of two", signal.SIGTERM)


def case_kill(both):
    one_of_two(both, "SIGKILL to one of two", signal.SIGKILL)


#
# Command line
#

def start(wanted):
    for engine in wanted:
        engine.start()


def make_ready(wanted):
    start(wanted)
    for engine in wanted:
        engine.wait_ready()


def call(word, wanted):
    name, *numbers = word.split(":")
    case = globals().get(f"case_{name}")
    pair = name in ("drain", "kill")
    if case is None or not all(re.fullmatch(r"[1-9][0-9]*", number) for number in numbers) or pair != (len(wanted) == 2):
        sys.exit(f'no case "{word}" here; see measure.sh')
    return lambda: case(wanted if pair else wanted[0], *map(int, numbers))


def main():
    name, shape, *words = sys.argv[1:]
    if shape not in PORTS:
        sys.exit(f'no shape "{shape}"; see measure.sh')
    wanted = [Engine(name, shape, port) for port in PORTS[shape]]
    calls = [call(word, wanted) for word in words if word != "start"]
    engines.make_room(wanted)
    if words == ["start"]:
        start(wanted)
        return 0
    status = 0
    try:
        make_ready(wanted)
        if shape != "pair":             # what is compared has the card for itself
            engines.end_all(but=wanted)
        for case in calls:
            try:
                case()
            except (database.Failed, OSError) as error:     # the others can be measured all the same
                print(f"not measured: {error!r}", file=sys.stderr)
                status = 1
    except engines.Gone as error:
        print(error, file=sys.stderr)
        return 1
    return table.show([f"{DATA}/figures.jsonl"]) or status


if __name__ == "__main__":
    sys.exit(main())
