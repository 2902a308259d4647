#!/usr/bin/env python3
"""Draws pairs a second over in flight, and CPU time for each, of the four clients, as SVG.

The figures of bench.py's part "curves", as run.sh --json writes them, come from standard input.
"""
import json
import math
import sys

from plot import line, text

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 440, 340, 58, 60, 16, 46
CLIENTS = (('ours', 'retrostar', '#1f5fa8', 4.5), ('floor', 'bare libcurl', '#222222', 3),
           ('threads', 'thread pool', '#b3541e', 3.5), ('asyncio', 'asyncio', '#3b8a4a', 3.5))


def panel(title, curves, series, left, low, high):
    """Both axes by powers: of two in flight, of ten upwards."""
    first, last = curves[0]['in_flight'], curves[-1]['in_flight']

    def at_x(in_flight):
        return left + LEFT + math.log(in_flight / first) / math.log(last / first) * (WIDTH - LEFT - RIGHT)

    def at_y(value):
        return TOP + math.log(high / value) / math.log(high / low) * (HEIGHT - TOP - BOTTOM)

    start, end, base = left + LEFT, left + WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [text(start, 18, title, font_weight='bold')]
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        tick = 10 ** power
        out += [line(start, at_y(tick), end, at_y(tick), '#dddddd'),
                text(start - 6, at_y(tick) + 4, f'{tick:,}', text_anchor='end')]
    for row in curves:
        out.append(text(at_x(row['in_flight']), base + 15, str(row['in_flight']), text_anchor='middle', font_size='10'))
    for key, colour, radius, dash in series:
        points = [(at_x(row['in_flight']), at_y(row[key])) for row in curves]
        for (x1, y1), (x2, y2) in zip(points, points[1:]):
            out.append(line(x1, y1, x2, y2, colour, dash))
        if radius:
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>' for x, y in points]
    return out + [text((start + end) / 2, HEIGHT - 10, 'requests in flight', text_anchor='middle')]


def bounds(curves, keys):
    """Powers of ten around all values."""
    values = [row[key] for row in curves for key in keys]
    return 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))


def draw(curves):
    width = 2 * WIDTH
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
           'font-family="sans-serif" font-size="12" fill="#222222">',
           f'<rect width="{width}" height="{HEIGHT}" fill="white"/>']
    names = [name for name, _, _, _ in CLIENTS]
    # ours lies on the floor: it is drawn first, and larger
    out += panel('pairs a second', curves, [('ideal', '#999999', 0, '5 4')] + [
        (name, colour, radius, '') for name, _, colour, radius in CLIENTS], 0, *bounds(curves, names + ['ideal']))
    cpu = [name + '_cpu_us' for name in names]
    out += panel('CPU of the client, microseconds a pair', curves, [
        (name + '_cpu_us', colour, radius, '') for name, _, colour, radius in CLIENTS], WIDTH, *bounds(curves, cpu))
    for n, (_, words, colour, _) in enumerate(CLIENTS):
        out += [f'<circle cx="{70 + n * 96}" cy="32" r="4" fill="{colour}"/>', text(78 + n * 96, 36, words)]
    out += [line(454, 32, 474, 32, '#999999', '5 4'), text(480, 36, 'ideal: in flight / service time')]
    return '\n'.join(out + ['</svg>']) + '\n'


if __name__ == '__main__':
    sys.stdout.write(draw(json.load(sys.stdin)['curves']))
