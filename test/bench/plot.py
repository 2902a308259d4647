#!/usr/bin/env python3
"""Draws nDCG@10 against samples for each query, as SVG, one panel for each collection.

Lines of standard input, separated by tabs: collection, passes, samples, nDCG before, after, its standard error, fused,
its standard error.  For bright.sh, option --plot.
"""

import html
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 420, 300, 44, 34, 14, 44
PLAIN, FUSED, BEFORE = '#b3541e', '#1f5fa8', '#777777'


def text(x, y, words, **attributes):
    given = ''.join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{given}>{html.escape(words)}</text>'


def line(x1, y1, x2, y2, colour, dash=''):
    dashed = f' stroke-dasharray="{dash}"' if dash else ''
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashed}/>'


def panel(name, rows, left):
    values = [value for row in rows for value in (row['before'], row['after'], row['fused'])]
    low, high = 5 * math.floor(min(values) / 5 - 0.4), 5 * math.ceil(max(values) / 5 + 0.4)
    first = math.log(min(row['samples'] for row in rows) / 1.5)
    last = math.log(max(row['samples'] for row in rows) * 1.7)

    def at_x(samples):
        return left + LEFT + (math.log(samples) - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def at_y(ndcg):
        return TOP + (high - ndcg) / (high - low) * (HEIGHT - TOP - BOTTOM)

    start, end, base = left + LEFT, left + WIDTH - RIGHT, HEIGHT - BOTTOM
    out = [text(start, 18, name, font_weight='bold')]
    for tick in range(low, high + 1, 5):
        out += [line(start, at_y(tick), end, at_y(tick), '#dddddd'),
                text(start - 6, at_y(tick) + 4, str(tick), text_anchor='end')]
    out += [line(start, at_y(rows[0]['before']), end, at_y(rows[0]['before']), BEFORE, '5 4'),
            text(end, at_y(rows[0]['before']) - 5, 'first ranking', text_anchor='end', fill=BEFORE)]
    for row in rows:
        x = at_x(row['samples'])
        for kind, colour in (('after', PLAIN), ('fused', FUSED)):
            y, error = at_y(row[kind]), row[f'{kind}_se']
            out += [line(x, at_y(row[kind] - error), x, at_y(row[kind] + error), colour),
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>']
        out += [text(x, at_y(max(row['after'] + row['after_se'], row['fused'] + row['fused_se'])) - 7, row['passes'],
                     text_anchor='middle', font_size='10'),
                text(x, base + 15, f'{row["samples"]:.0f}', text_anchor='middle', font_size='10')]
    return out + [text((start + end) / 2, HEIGHT - 10, 'samples for each query', text_anchor='middle')]


def main():
    names = ('samples', 'before', 'after', 'after_se', 'fused', 'fused_se')
    panels = {}
    for row in sys.stdin:
        name, passes, *numbers = row.rstrip('\n').split('\t')
        panels.setdefault(name, []).append({'passes': passes, **dict(zip(names, map(float, numbers)))})
    width = WIDTH * len(panels)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" height="{HEIGHT}" '
          'font-family="sans-serif" font-size="12" fill="#222222">')
    print(f'<rect width="{width}" height="{HEIGHT}" fill="white"/>')
    for n, (name, rows) in enumerate(panels.items()):
        print('\n'.join(panel(name, rows, n * WIDTH)))
    for n, (colour, words) in enumerate(((PLAIN, 'score'), (FUSED, 'fused'))):
        print(f'<circle cx="{width - 110 + n * 52}" cy="14" r="4" fill="{colour}"/>')
        print(text(width - 102 + n * 52, 18, words))
    print('</svg>')


if __name__ == '__main__':
    main()
