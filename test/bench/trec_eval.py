#!/usr/bin/env python3
"""The figures in sql/evaluation.sql: nDCG and recall of random rankings, as trec_eval computes them.

    python3 -m venv /tmp/trec && /tmp/trec/bin/pip install pytrec-eval-terrier==0.5.11
    /tmp/trec/bin/python test/bench/trec_eval.py

prints the rows of the table "figure" there.  No test runs this.  trec_eval puts documents of equal scores into the
falling order of their names; the rankings that are printed are in the order that it takes.
"""

import random

import pytrec_eval

CUTS = (1, 3, 10, 20)
MEASURES = {f'{measure}.{",".join(map(str, CUTS))}' for measure in ('ndcg_cut', 'recall')} | {'ndcg'}


def one(rng):
    """A run with ties, and judgements of which some are of documents that it does not have"""
    names = [f'd{i:02}' for i in range(30)]
    ranked = rng.sample(names, rng.choice((1, 4, 9, 15, 30)))
    run = {name: float(rng.choice((rng.randrange(4), rng.randrange(100)))) for name in ranked}
    judged = rng.sample(names, rng.randint(1, 20))
    grades = rng.choice(((0, 1), (1,), (0, 1, 2, 3), (-2, 0, 1, 2)))
    return run, {name: rng.choice(grades) for name in judged}


def main():
    rng = random.Random(1)
    rows = 0
    while rows < 24:
        run, qrel = one(rng)
        if max(qrel.values()) <= 0:
            continue
        found = pytrec_eval.RelevanceEvaluator({'q': qrel}, MEASURES).evaluate({'q': run})['q']
        ranking = sorted(run, key=lambda name: (run[name], name), reverse=True)
        figures = [found[f'{measure}_{k}'] for measure in ('ndcg_cut', 'recall') for k in CUTS] + [found['ndcg']]
        rows += 1
        print(f"({rows}, '{{{','.join(ranking)}}}', '{{{','.join(qrel)}}}', '{{{','.join(map(str, qrel.values()))}}}',\n"
              f"\t'{{{','.join(f'{figure:.17g}' for figure in figures)}}}'){',' if rows < 24 else ';'}")


main()
