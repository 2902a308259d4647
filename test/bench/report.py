"""Part of bench.py: rounds taken in turns, and the rows that are made of them."""
import time

import judge
from session import stalled_us


class Found(dict):
    """What each of several measures found in each round, and how loaded the machine was meanwhile."""

    stalled = None          # percent of the time of these rounds, or None

    def values(self, name, key):
        return [result[key] for result in self[name]]

    def median(self, name, key):
        return judge.median(self.values(name, key))


def alone(result):
    """Of a client that is one process, where ours are a worker and a session."""
    return {**result, 'backend_us': result['cpu_us'], 'both_us': result['cpu_us']}


def in_turns(rounds, measures):
    """
    Rounds of each measure, a function that returns figures by name; A B A B
    would favour one of two when the load rises, so each round turns the order
    round.  The kernel brings its account of the load up to date every two
    seconds: of less than some seconds it is a rough one.
    """
    found = Found({name: [] for name in measures})
    began, stalled = time.monotonic(), stalled_us()
    for i in range(rounds):
        for name in list(measures)[::1 if i % 2 == 0 else -1]:
            found[name].append(measures[name]())
    if stalled is not None and time.monotonic() - began > 0.1:
        found.stalled = min((stalled_us() - stalled) / (time.monotonic() - began) / 1e4, 100)
    return found


class Report:
    """The rows, printed as they come."""

    HEAD = '%-46s %9s %9s %9s  %6s %-12s  %-9s %-18s %s'

    def __init__(self, limit=None):
        self.limit = limit          # of the stall, for all kinds, or None
        self.rows = []
        self.title = ''
        self.began, self.stalled = time.monotonic(), stalled_us()

    def head(self, first):
        print(first + '\n')
        print((self.HEAD % ('', 'measured', 'peer', 'threads', 'ratio', 'spread', 'target', '', 'stalled')).rstrip())

    def section(self, title):
        self.title = title
        print('\n' + title)

    def row(self, name, found, key, ours='ours', peer=None, target=None, kind='time', form='%.3f', scale=1, threads=None):
        """
        "key" of "ours", beside that of "peer" and the ratio of the two, round
        by round; with a target this is a gate.  Measured, peer and threads are
        medians, multiplied by "scale".
        """
        row = {'part': self.title, 'name': name, 'measured': found.median(ours, key) * scale, 'form': form,
               'peer': None, 'ratio': None, 'low': None, 'high': None, 'kind': kind,
               'target': judge.words(target), 'verdict': None, 'why': '', 'stalled_percent': found.stalled,
               'threads': found.median(threads, key) * scale if threads else None,
               'rounds': {mine: found.values(mine, key) for mine in (ours, peer) if mine}}
        if peer:
            row['peer'] = found.median(peer, key) * scale
            ratios = judge.ratios(found.values(ours, key), found.values(peer, key))
            row['ratio'], (row['low'], row['high']) = judge.median(ratios), judge.interval(ratios)
            if target:
                row['verdict'], row['why'] = judge.verdict(ratios, target, kind, found.stalled, self.limit)
        self.add(row)

    def counted(self, name, measured, expected):
        """A gate that is exact."""
        self.add({'part': self.title, 'name': name, 'measured': measured, 'form': '%d', 'peer': expected,
                  'ratio': None, 'low': None, 'high': None, 'kind': 'count', 'target': 'equal',
                  'verdict': judge.PASS if measured == expected else judge.MISSED, 'why': '',
                  'stalled_percent': None, 'threads': None, 'rounds': None})

    def left_out(self, name, why):
        """A gate that this machine cannot show."""
        self.add({'part': self.title, 'name': name, 'measured': None, 'form': '', 'peer': None, 'ratio': None,
                  'low': None, 'high': None, 'kind': 'count', 'target': '', 'verdict': judge.NOT_JUDGED, 'why': why,
                  'stalled_percent': None, 'threads': None, 'rounds': None})

    def add(self, row):
        self.rows.append(row)
        shown = ['' if row[name] is None else row['form'] % row[name] for name in ('measured', 'peer', 'threads')]
        ratio, spread = '', ''
        if row['ratio'] is not None:
            ratio, spread = '%.3f' % row['ratio'], '%.2f to %.2f' % (row['low'], row['high'])
        word = '%s: %s' % (row['verdict'], row['why']) if row['why'] else row['verdict'] or ''
        stalled = '' if row['stalled_percent'] is None else '%3.0f %%' % row['stalled_percent']
        print(('  ' + self.HEAD[:1] + '-44s' + self.HEAD[5:]) % (
            row['name'], *shown, ratio, spread, row['target'], word, stalled), flush=True)

    def end(self):
        """The closing line."""
        seconds = time.monotonic() - self.began
        print('\n%.0f s' % seconds, end='')
        if self.stalled is not None:
            print('; somebody waited for a CPU %.0f %% of the time' % (
                (stalled_us() - self.stalled) / seconds / 1e4), end='')
        print('\n' + judge.closing(row['verdict'] for row in self.rows))

    def missed(self):
        return any(row['verdict'] == judge.MISSED for row in self.rows)
