"""What the parts of selftest.py share: checks, and their count."""
import json
import time

from simclient import LONG, Conn

passed = failed = 0


def check(what, ok, *detail):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("not ok -", what, *(str(d)[:600] for d in detail), flush=True)


def is_json(data):
    try:
        json.loads(data)
        return True
    except ValueError:
        return False


def refused(s):
    try:
        Conn(s).close()
        return False
    except ConnectionRefusedError:
        return True


def until(what):
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return False
