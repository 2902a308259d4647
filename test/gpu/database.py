#!/usr/bin/env python3
"""PostgreSQL on this machine: queries and documents, server objects, statements.

usage: database.py          makes the extension, queries and documents in a new database"""
import json
import os
import random
import re
import subprocess
import time

from engine import DATA, KEY, ROOT

DOCUMENTS, QUERIES = 4096, 2000
MAX_TOKENS = 1024
# Replies are random text.  A bias lets the end win once in 200 tokens, after 128, so that their lengths differ as
# real ones do.
LENGTH = {"min_tokens": 128, "logit_bias": {"151645": 0.001}}
SAMPLING = {"temperature": 0.6, "top_p": 1, "top_k": 200, "min_p": 0, "repetition_penalty": 1}


class Failed(Exception):
    """A statement that must not fail did"""


def environment():
    return {**os.environ, "LD_LIBRARY_PATH": os.environ["GPU_LIBRARIES"]}


def command(**variables):
    words = [os.environ["GPU_PSQL"], "-XAtq", "-h", f"{DATA}/socket", "-U", "postgres", "-v", "ON_ERROR_STOP=1"]
    for name, value in variables.items():
        words += ["-v", f"{name}={value}"]
    return words


def run(script, **variables):
    """What psql prints; the script has the variables as :'name'"""
    done = subprocess.run(command(**variables), input=script, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise Failed(done.stderr.strip()[:2000])
    return done.stdout.strip()


def begin(script, **variables):
    """The same in the background; its Popen"""
    process = subprocess.Popen(command(**variables), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    process.stdin.write(script)
    process.stdin.close()
    return process


def restart():
    """PostgreSQL: retrostar forgets what it has learnt of its endpoints"""
    subprocess.run([f"{ROOT}/kit/measure.sh", "restart-postgres"], check=True)


def wait_worker_gone():
    end = time.monotonic() + 60
    while run("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'retrostar worker'") != "0":
        if time.monotonic() > end:
            raise Failed("the worker stays")
        time.sleep(0.2)


def make_server(name, engines, limit=None):
    options = {"url": ",".join(engine.base for engine in engines), "model": "m", "dialect": engines[0].dialect,
               "top_k": SAMPLING["top_k"], "max_tokens": MAX_TOKENS, "extra_body": json.dumps(LENGTH), "timeout": "600s"}
    if limit:
        options["max_in_flight"] = limit
    quoted = ", ".join(f"{option} '{value}'" for option, value in options.items())
    run(f"""SET client_min_messages = error;
        DROP SERVER IF EXISTS "{name}" CASCADE;
        CREATE SERVER "{name}" FOREIGN DATA WRAPPER retrostar OPTIONS ({quoted});
        CREATE USER MAPPING FOR PUBLIC SERVER "{name}" OPTIONS (api_key '{KEY}')""")


def query():
    """One that nobody has asked yet: no score is stored, and nothing but the rubric is in the engine's cache"""
    return run("UPDATE query SET used = true WHERE id = (SELECT min(id) FROM query WHERE NOT used) RETURNING body")


def prompts(text, number):
    return json.loads(run(f"SELECT json_agg(retro_star_prompt(:'query', body)) FROM doc WHERE id <= {number}", query=text))


def ranking(server, number):
    """Of :'query'"""
    return f"""SET retrostar.server = '{server}';
        SET retrostar.unscored_reply = zero;
        SELECT id FROM (SELECT id, body FROM doc WHERE id <= {number}) d
        ORDER BY retro_star_score(:'query', body) DESC NULLS LAST LIMIT 10;\n"""


def counters(server):
    """Sums over its endpoints"""
    names = ("sent", "answered", "retries", "failed", "timed_out", "pushed_back", "completion_tokens")
    sums = ", ".join(f"'{name}', coalesce(sum({name}), 0)" for name in names)
    return json.loads(run(f"""SELECT json_build_object({sums}, 'limit', max(in_flight_limit))
        FROM retrostar.stat_server WHERE server = :'server'""", server=server))


def fill():
    """Texts of the length of encyclopedia's paragraphs and of questions with an explanation, out of the words of our
    own documentation"""
    with open(f"{ROOT}/kit/prose.txt") as file:
        words = re.findall(r"\b[A-Za-z][a-z]+\b", file.read())
    chance = random.Random(1)

    def text(length):
        parts = []
        while sum(map(len, parts)) + len(parts) < length:
            parts += chance.choices(words, k=10)
        return " ".join(parts)

    for table, number, length in (("doc", DOCUMENTS, 1680), ("query", QUERIES, 430)):
        rows = "".join(f"{n}\t{text(int(length * chance.uniform(0.6, 1.4)))}\n" for n in range(1, number + 1))
        run(f"""CREATE TABLE {table} (id int PRIMARY KEY, body text, used bool DEFAULT false);
            COPY {table} (id, body) FROM STDIN;\n{rows}\\.\nANALYZE {table};""")


if __name__ == "__main__":
    run("CREATE EXTENSION retrostar")
    fill()
