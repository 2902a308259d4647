#!/usr/bin/env python3
"""What a user would write instead: coroutines with kept connections.

coroutines.py URL IN_FLIGHT N BODY_BYTES

Prints what N requests took as JSON, as floor does.  It speaks HTTP by itself, by
asyncio's streams: a client library on top of them does more for each request.
"""
import asyncio
import itertools
import json
import re
import resource
import sys
import time
from urllib.parse import urlsplit

SCORE = re.compile(r'<score>\s*(\d+)\s*</score>')


async def score(reader, writer, parts, body):
    writer.write(b'POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n' % (
        parts.path.encode(), parts.netloc.encode(), len(body)) + body)
    await writer.drain()
    head = await reader.readuntil(b'\r\n\r\n')
    length = int(re.search(rb'content-length: *(\d+)', head, re.I)[1])
    reply = json.loads(await reader.readexactly(length))
    return int(SCORE.search(reply['choices'][0]['message']['content'])[1])


async def run(url, in_flight, n, size):
    parts, numbers, failed = urlsplit(url), itertools.count(), []

    async def work():
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for i in iter(lambda: next(numbers), None):
            if i >= n:
                break
            body = json.dumps({'model': 'bench', 'seed': i,
                               'messages': [{'role': 'user', 'content': 'x' * (size - 80)}]}).encode()
            try:
                await score(reader, writer, parts, body)
            except Exception as error:  # counted; one that is lost must not end the coroutine
                failed.append(error)
                writer.close()
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.close()

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return failed


def main():
    url, in_flight, n, size = sys.argv[1], *map(int, sys.argv[2:5])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wall, cpu = time.monotonic(), time.process_time()
    failed = asyncio.run(run(url, in_flight, n, size))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    if failed:
        print('coroutines.py:', repr(failed[0]), file=sys.stderr)
    print(json.dumps({'n': n, 'in_flight': in_flight, 'failed': len(failed), 'seconds': wall,
                      'per_second': n / wall, 'cpu_us': cpu / n * 1e6}))


main()
