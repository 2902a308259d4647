#!/usr/bin/env python3
"""Runs the examples of doc/clients.md; clients.sh starts it.

Usage: clients.py PAGE SIMULATOR, with PGHOST and the like; or, to print what is to be
installed, clients.py --packages PAGE.
"""

import os
import re
import subprocess
import sys
import tempfile
import time

NAMES = {"psycopg": "psycopg[binary]", "SQLAlchemy": "sqlalchemy", "Django": "django"}
SET_UP = """
CREATE EXTENSION retrostar;
CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'retro-star');
CREATE TABLE doc (id integer PRIMARY KEY, body text NOT NULL);
INSERT INTO doc VALUES
  (1, 'Air scatters blue light more than red light, which makes the sky blue.'),
  (2, 'The sea looks blue because water absorbs red light.'),
  (3, 'At sunset the sky is red: the light has come a long way through the air.'),
  (4, 'Leaves are green because of chlorophyll.');
"""


def packages(page):
    """As the page's first paragraphs say: "name version" or "name N version"."""
    said = re.search(r"against\s(.*?)\.\n\n", page, re.S)[1]
    for name, version in re.findall(r"([A-Za-z][\w-]*)(?: \d)? (\d+\.\d+[.\d]*\d)", said):
        yield f"{NAMES.get(name, name)}=={version}"


def examples(page):
    """(title, text): the heading that an example stands under, and its number there."""
    title, number = "", 0
    for heading, text in re.findall(r"^## ([^\n]*)$|^```python\n(.*?)^```$", page, re.M | re.S):
        if heading:
            title, number = heading, 0
        else:
            number += 1
            yield f"{title}, example {number}", text


def run(text):
    return subprocess.run([sys.executable, "-W", "error::SyntaxWarning", "-c", text], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def start_simulator(program, folder):
    port_file = os.path.join(folder, "port")
    process = subprocess.Popen([program, "--port", "0", "--port-file", port_file, "--model", "retro-star",
                                "--delay-ms", "20", "--max-running", "64", "--die-with-parent"],
                               stdin=subprocess.DEVNULL)
    while not os.path.exists(port_file):
        if process.poll() is not None:
            sys.exit("the simulator did not start")
        time.sleep(0.05)
    with open(port_file) as file:
        return process, "http://127.0.0.1:" + file.read().split()[0]


def main(page, program):
    import psycopg
    with open(page) as file:
        page = file.read()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        simulator, url = start_simulator(program, folder)
        try:
            with psycopg.connect(autocommit=True) as connection:
                connection.execute(SET_UP % url)
                vector = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").fetchone()
            for title, text in examples(page):
                if "register_vector" in text and vector is None:
                    print(f"skipped {title}: PostgreSQL does not have the extension vector")
                    continue
                ended = run(text)
                good = ended.returncode == 0
                passed, failed = passed + good, failed + (not good)
                print(("ok      " if good else "FAILED  ") + title, flush=True)
                if not good:
                    print(re.sub("(?m)^", "        ", ended.stdout))
        finally:
            simulator.kill()
            simulator.wait()
    print(f"{passed} passed, {failed} failed")
    return failed > 0 or passed == 0


if sys.argv[1] == "--packages":
    with open(sys.argv[2]) as source:
        print("\n".join(packages(source.read())))
else:
    sys.exit(main(*sys.argv[1:]))
