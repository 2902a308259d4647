#!/usr/bin/env python3
"""Draws, as SVG, what the dashboard of doc/monitoring shows of a minute: people who rank, beside a batch.

For metrics.sh.  The model is the simulator; each figure is read from the views that the exporter's queries read.
"""

import argparse
import os
import subprocess
import time

from plot import line, text
from session import Session

SIMULATOR = os.path.join(os.path.dirname(__file__), '../simulator/simulator')
IN_FLIGHT, SERVICE_MS, JITTER = 64, 400, 40
PAIRS, BATCH, EVERY = 80, 6000, 6       # of a statement, of the batch, seconds from statement to statement
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 420, 230, 52, 34, 14, 44
COLOURS = ('#1f5fa8', '#b3541e', '#4b8b3b')

FIGURES = """SELECT extract(epoch FROM clock_timestamp()), q.answered, q.waiting, q.running,
    extract(epoch FROM s.latency_p50), extract(epoch FROM s.latency_p95),
    s.prompt_tokens, s.cached_tokens, s.completion_tokens,
    coalesce((SELECT sum(samples) FROM retrostar.usage WHERE priority = 'interactive'), 0),
    coalesce((SELECT sum(samples) FROM retrostar.usage WHERE priority = 'background'), 0)
    FROM retrostar.stat_queue q CROSS JOIN retrostar.stat_server s"""
NAMES = ('at', 'answered', 'waiting', 'running', 'p50', 'p95', 'prompt', 'cached', 'completion', 'interactive', 'background')

# Title, unit of the axis, and the lines: name, what it is called, whether it counts up
PANELS = (
    ('Pairs a second', (('answered', 'answered', True), ('interactive', 'interactive', True), ('background', 'background', True))),
    ('Pairs in work', (('waiting', 'waiting', False), ('running', 'running', False))),
    ('Latency, s', (('p50', 'median', False), ('p95', '95 %', False))),
    ('Tokens a second', (('prompt', 'prompt', True), ('completion', 'generated', True))))


def simulate(work):
    path = work + '/metrics.port'
    process = subprocess.Popen([SIMULATOR, '--port', '0', '--port-file', path, '--delay-ms', str(SERVICE_MS), '--jitter',
                                str(JITTER), '--max-running', str(IN_FLIGHT), '--log', '0', '--die-with-parent'],
                               stdin=subprocess.DEVNULL)
    while not os.path.exists(path) or not os.path.getsize(path):
        time.sleep(0.01)
    with open(path) as file:
        return process, 'http://127.0.0.1:' + file.read().split()[0]


def record(options):
    """Once a second, until the batch and the last statement have ended."""
    sessions = [Session(options.socket, 5432, 'metrics', 'metrics') for _ in range(3)]
    watcher, person, batch = sessions
    process, url = simulate(options.work)
    watcher.query('CREATE EXTENSION retrostar')
    watcher.query("CREATE SERVER gpu FOREIGN DATA WRAPPER retrostar OPTIONS (url '%s', model 'm', max_in_flight '%d')" % (url, IN_FLIGHT))
    watcher.query("SELECT retro_star_score('first', 'd')")
    batch.query("SET retrostar.priority = 'background'")
    rows, began, started, waits = [], time.monotonic(), False, False
    while len(rows) < options.seconds:
        now = time.monotonic() - began
        if not started and now >= options.seconds / 6:
            batch.send("SELECT count(retro_star_score('batch', i::text)) FROM generate_series(1, %d) i" % BATCH)
            started = True
        if now >= len(rows):
            if len(rows) % EVERY == 0:
                if waits:
                    person.wait()
                person.send("SELECT count(retro_star_score('query %d', i::text)) FROM generate_series(1, %d) i" % (len(rows), PAIRS))
                waits = True
            rows.append(dict(zip(NAMES, (float(v or 0) for v in watcher.query(FIGURES)[0]))))
        time.sleep(0.02)
    process.kill()
    return rows


def values(rows, name, counts):
    """Of each second: what it has, or how fast it grew over the last three."""
    if not counts:
        return [row[name] for row in rows]
    return [0.0] + [max(0.0, (row[name] - rows[max(i - 2, 0)][name]) / (row['at'] - rows[max(i - 2, 0)]['at']))
                    for i, row in enumerate(rows[1:], 1)]


def nice(highest):
    step = 10 ** max(len(str(int(highest))) - 1, 0) if highest >= 1 else 0.1
    for factor in (0.25, 0.5, 1, 2, 5):
        if highest / (step * factor) <= 5:
            return step * factor
    return step * 10


def panel(rows, title, lines, left, top):
    series = [(label, values(rows, name, counts)) for name, label, counts in lines]
    step = nice(max(max(v) for _, v in series) or 1)
    high = step * (int(max(max(v) for _, v in series) / step) + 1)
    start, end, base = left + LEFT, left + WIDTH - RIGHT, top + HEIGHT - BOTTOM
    out = [text(start, top + 18, title, font_weight='bold')]
    for tick in range(round(high / step) + 1):
        y = base - tick * step / high * (HEIGHT - TOP - BOTTOM)
        out += [line(start, y, end, y, '#dddddd'), text(start - 6, y + 4, '%g' % (tick * step), text_anchor='end')]
    for n, (label, numbers) in enumerate(series):
        points = ' '.join('%.1f,%.1f' % (start + i / (len(rows) - 1) * (end - start), base - v / high * (HEIGHT - TOP - BOTTOM))
                          for i, v in enumerate(numbers))
        out += [f'<polyline points="{points}" fill="none" stroke="{COLOURS[n]}" stroke-width="1.5"/>',
                text(end - 84 * (len(series) - n) + 84, top + 18, label, text_anchor='end', fill=COLOURS[n])]
    for second in range(0, len(rows), 10):
        out.append(text(start + second / (len(rows) - 1) * (end - start), base + 15, '%d s' % second, text_anchor='middle', font_size='10'))
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--socket', required=True)
    parser.add_argument('--work', required=True)
    parser.add_argument('--seconds', type=int, default=60)
    rows = record(parser.parse_args())
    width, height = 2 * WIDTH, 2 * HEIGHT
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
          'font-family="sans-serif" font-size="12" fill="#222222">')
    print(f'<rect width="{width}" height="{height}" fill="white"/>')
    for n, (title, lines) in enumerate(PANELS):
        print('\n'.join(panel(rows, title, lines, n % 2 * WIDTH, n // 2 * HEIGHT)))
    print('</svg>')


main()
