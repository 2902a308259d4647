#!/usr/bin/env python3
"""What a user would write instead: a pool of threads with kept connections.

threads.py URL IN_FLIGHT N BODY_BYTES

Prints what N requests took as JSON, as floor does.
"""
import http.client
import itertools
import json
import re
import resource
import sys
import threading
import time
from urllib.parse import urlsplit

SCORE = re.compile(r'<score>\s*(\d+)\s*</score>')


def main():
    url, in_flight, n, size = sys.argv[1], *map(int, sys.argv[2:5])
    parts = urlsplit(url)
    numbers = itertools.count()
    failed = []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(256 * 1024)

    def work():
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)
        for i in iter(lambda: next(numbers), None):
            if i >= n:
                break
            body = json.dumps({'model': 'bench', 'seed': i,
                               'messages': [{'role': 'user', 'content': 'x' * (size - 80)}]})
            try:
                connection.request('POST', parts.path, body, {'Content-Type': 'application/json'})
                reply = json.loads(connection.getresponse().read())
                int(SCORE.search(reply['choices'][0]['message']['content'])[1])
            except Exception as error:  # counted; one that is lost must not end the thread
                failed.append(error)
                connection.close()

    wall, cpu = time.monotonic(), time.process_time()
    threads = [threading.Thread(target=work) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    if failed:
        print('threads.py:', repr(failed[0]), file=sys.stderr)
    print(json.dumps({'n': n, 'in_flight': in_flight, 'failed': len(failed), 'seconds': wall,
                      'per_second': n / wall, 'cpu_us': cpu / n * 1e6}))


main()
