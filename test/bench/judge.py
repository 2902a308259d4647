"""How bench.py judges a figure.  Pure: no clock, no server, no file.

A gate is a ratio of ours to a peer, one for each round in which both were
measured one after the other; what else the machine does then touches both.
What can be said of it is "pass", "MISSED" or "not judged".
"""
import collections
import math
import statistics

PASS, MISSED, NOT_JUDGED = 'pass', 'MISSED', 'not judged'
COVERAGE = 0.9          # of the interval, at least
FEWEST = 3              # rounds that a time is judged by
# Share of the time in which somebody waited for a CPU, in percent, up to which
# a figure of this kind is judged: the time of a clock, the time of a CPU, and
# what is counted (requests, bytes), which no load changes
KINDS = {'time': 50, 'cpu': 80, 'count': 100}

Target = collections.namedtuple('Target', 'value most')


def at_least(value):
    return Target(value, False)


def at_most(value):
    return Target(value, True)


def words(target):
    return '' if target is None else '%s %.3g x' % ('<=' if target.most else '>=', target.value)


def ratios(ours, peer):
    """Of each round."""
    if len(ours) != len(peer):
        raise ValueError('%d rounds of ours, %d of the peer' % (len(ours), len(peer)))
    return [mine / other for mine, other in zip(ours, peer)]


def interval(values):
    """
    Least and greatest, or, of many values, the narrowest two of them in order
    between which the median of what they are drawn from lies with at least
    COVERAGE, whatever its distribution: that of the sign test.
    """
    ordered, n = sorted(values), len(values)
    outside, cut = 0, 0
    while 2 * (cut + 1) < n:
        outside += 2 * math.comb(n, cut) / 2 ** n
        if outside + 2 * math.comb(n, cut + 1) / 2 ** n > 1 - COVERAGE:
            break
        cut += 1
    return ordered[cut], ordered[n - 1 - cut]


def verdict(values, target, kind='time', stalled=None, limit=None):
    """
    The word, and why it is "not judged": the load ("stalled", in percent; None
    where the system does not tell), too few rounds, or the target within the
    spread, so that one more round could say the opposite.  "limit" replaces
    that of the kind.
    """
    if kind != 'count':
        if stalled is not None and stalled > (KINDS[kind] if limit is None else limit):
            return NOT_JUDGED, 'load'
        if len(values) < FEWEST:
            return NOT_JUDGED, 'rounds'
    low, high = interval(values)
    good = [value <= target.value if target.most else value >= target.value for value in (low, high)]
    if good[0] != good[1]:
        return NOT_JUDGED, 'spread'
    return (PASS if good[0] else MISSED), ''


def closing(verdicts):
    """The last line counts the three kinds; None is no gate."""
    verdicts = list(verdicts)
    return '%d passed, %d missed, %d not judged' % tuple(
        sum(word == kind for word in verdicts) for kind in (PASS, MISSED, NOT_JUDGED))


def median(values):
    return statistics.median(values)
