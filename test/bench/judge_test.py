#!/usr/bin/env python3
"""Tests of judge.py; check_source.sh runs them."""
import random
import statistics
import unittest

from judge import (MISSED, NOT_JUDGED, PASS, at_least, at_most, closing, interval, ratios, verdict, words)


class Ratios(unittest.TestCase):
    def test_each_round_is_compared_with_its_own_peer(self):
        # the machine was half as fast in the second round, for both
        self.assertEqual(ratios([90, 45, 99], [100, 50, 110]), [0.9, 0.9, 0.9])

    def test_rounds_must_be_of_both(self):
        with self.assertRaises(ValueError):
            ratios([1, 2], [1])


class Interval(unittest.TestCase):
    def test_few_rounds_from_least_to_greatest(self):
        self.assertEqual(interval([3]), (3, 3))
        self.assertEqual(interval([3, 1, 2]), (1, 3))
        self.assertEqual(interval([5, 1, 4, 2, 3]), (1, 5))
        self.assertEqual(interval(list(range(7))), (0, 6))

    def test_of_eight_the_outermost_may_go(self):
        # 1 - 2 * (1 + 8) / 256 = 0.93
        self.assertEqual(interval(list(range(8))), (1, 6))
        self.assertEqual(interval([-1000, 1, 2, 3, 4, 5, 6, 1000]), (1, 6))

    def test_covers_the_median_as_often_as_it_says(self):
        dice = random.Random(1)
        for n in (8, 20, 51):
            found = 0
            for _ in range(2000):
                low, high = interval([dice.expovariate(1) for _ in range(n)])
                found += low <= 0.6931 <= high
            self.assertGreater(found / 2000, 0.88, n)

    def test_narrows_with_rounds_and_holds_their_median(self):
        dice = random.Random(2)
        values = [dice.gauss(1, 0.1) for _ in range(200)]
        low, high = interval(values)
        self.assertLess(high - low, 0.05)
        self.assertTrue(low <= statistics.median(values) <= high)


class Verdict(unittest.TestCase):
    def test_all_on_one_side(self):
        self.assertEqual(verdict([0.96, 0.97, 0.99], at_least(0.95)), (PASS, ''))
        self.assertEqual(verdict([0.91, 0.94, 0.93], at_least(0.95)), (MISSED, ''))
        self.assertEqual(verdict([1.5, 1.6, 1.69], at_most(1.7)), (PASS, ''))
        self.assertEqual(verdict([1.71, 2.5, 3], at_most(1.7)), (MISSED, ''))

    def test_the_target_itself_is_good(self):
        self.assertEqual(verdict([0.95, 0.95, 0.95], at_least(0.95)), (PASS, ''))
        self.assertEqual(verdict([1.7, 1.7, 1.7], at_most(1.7)), (PASS, ''))

    def test_target_within_the_spread(self):
        # the median passes, one round does not: neither word would be true
        self.assertEqual(verdict([0.94, 0.97, 0.98], at_least(0.95)), (NOT_JUDGED, 'spread'))
        self.assertEqual(verdict([1.6, 1.8, 1.9], at_most(1.7)), (NOT_JUDGED, 'spread'))

    def test_load(self):
        good = [1, 1, 1]
        self.assertEqual(verdict(good, at_least(0.9), stalled=50), (PASS, ''))
        self.assertEqual(verdict(good, at_least(0.9), stalled=51), (NOT_JUDGED, 'load'))
        self.assertEqual(verdict([0.1] * 3, at_least(0.9), stalled=51), (NOT_JUDGED, 'load'))
        self.assertEqual(verdict(good, at_least(0.9), 'cpu', 80), (PASS, ''))
        self.assertEqual(verdict(good, at_least(0.9), 'cpu', 81), (NOT_JUDGED, 'load'))
        self.assertEqual(verdict(good, at_least(0.9), stalled=99, limit=99), (PASS, ''))
        self.assertEqual(verdict(good, at_least(0.9), stalled=None), (PASS, ''))

    def test_two_rounds_say_nothing_of_a_time(self):
        self.assertEqual(verdict([1, 1], at_least(0.5)), (NOT_JUDGED, 'rounds'))
        self.assertEqual(verdict([1, 1], at_least(0.5), 'cpu'), (NOT_JUDGED, 'rounds'))

    def test_what_is_counted_needs_one_and_no_quiet(self):
        self.assertEqual(verdict([1], at_most(1), 'count', 100), (PASS, ''))
        self.assertEqual(verdict([1.1], at_most(1), 'count', 100), (MISSED, ''))


class Words(unittest.TestCase):
    def test_target(self):
        self.assertEqual(words(at_least(0.95)), '>= 0.95 x')
        self.assertEqual(words(at_most(1.7)), '<= 1.7 x')
        self.assertEqual(words(None), '')

    def test_closing_counts_three_kinds(self):
        words = [PASS, NOT_JUDGED, PASS, MISSED, None]
        self.assertEqual(closing(words), '2 passed, 1 missed, 1 not judged')
        self.assertEqual(closing(word for word in words), '2 passed, 1 missed, 1 not judged')


if __name__ == '__main__':
    unittest.main()
