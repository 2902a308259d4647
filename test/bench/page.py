#!/usr/bin/env python3
"""Writes the figures of a run into a page: between its two marks the table, beside it the drawing.

page.py PAGE.md <FIGURES.json

The marks are lines of their own, <!-- figures --> and <!-- end of figures -->; the drawing is PAGE.svg.
"""
import json
import sys

from curves import draw
from judge import KINDS, closing, median

BUSY = ('This run shared its CPUs with other work, so times are not judged; and where the CPUs are too few for clients and '
        'simulator,\nthe drawing shows how these share them (retrostar, two processes, gets more than one would), not what '
        'each could do alone.')
BEGIN, END = '<!-- figures -->\n', '<!-- end of figures -->\n'


def cells(row):
    shown = ['' if row[name] is None else row['form'] % row[name] for name in ('measured', 'peer')]
    ratio = '' if row['ratio'] is None else '%.2f (%.2f to %.2f)' % (row['ratio'], row['low'], row['high'])
    word = row['verdict'] or ''
    if row['why']:
        word += ': ' + row['why']
    stalled = '' if row['stalled_percent'] is None else '%.0f %%' % row['stalled_percent']
    return [row['name'].strip(), *shown, ratio, row['target'], word, stalled]


def table(figures):
    out = ['%s: %s, %d rounds%s; %s.' % (figures['date'], figures['machine'], figures['rounds'],
                                         ', fewer pairs than usual' if figures['quick'] else '',
                                         closing(row['verdict'] for row in figures['rows']))]
    stalled = [row['stalled_percent'] for row in figures['rows'] if row['stalled_percent'] is not None]
    if stalled and median(stalled) > KINDS['time']:
        out += ['', BUSY]
    part = None
    for row in figures['rows']:
        if row['part'] != part:
            part = row['part']
            out += ['', '**%s**' % part, '', '| | measured | peer | ratio (spread) | target | | stalled |',
                    '|---|---|---|---|---|---|---|']
        out.append('| %s |' % ' | '.join(cells(row)))
    return '\n'.join(out) + '\n'


def main():
    path, figures = sys.argv[1], json.load(sys.stdin)
    with open(path) as file:
        before, begin, rest = file.read().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit('%s has no place for figures' % path)
    with open(path, 'w') as file:
        file.write(before + begin + '\n' + table(figures) + '\n' + end + after)
    if figures['curves']:
        with open(path.removesuffix('.md') + '.svg', 'w') as file:
            file.write(draw(figures['curves']))


if __name__ == '__main__':
    main()
