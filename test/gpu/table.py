#!/usr/bin/env python3
"""Prints what was measured as a table; usage: table.py FIGURES.JSONL..."""
import json
import sys

# Of a case's name its beginning, and what the ratio has to be; rates: at least, times: at most
TARGETS = (("limit found", 0.97), ("limit 256", 1.0), ("limit 512", 1.0), ("cold", 1.15))
HEAD = "engine", "shape", "case", "direct", "ORDER BY", "ratio", "tokens", "target", "missing", "notes"


def read(paths):
    """Lines of the same engine, shape and case together, in their order"""
    groups = {}
    for path in paths:
        with open(path) as file:
            for line in map(json.loads, file):
                groups.setdefault((line["engine"], line["shape"], line["case"]), []).append(line)
    return groups


def total(lines, side, name):
    return sum(line[name] for line in lines if line["side"] == side)


def notes(lines):
    ours = [line for line in lines if line["side"] == "sql"]
    said = []
    for line in ours:
        if line.get("limits"):
            said.append("limit " + ", ".join(f"{limit} at {at} s" for at, limit in line["limits"]))
        if line.get("gpu_percent"):
            said.append(f"GPU {line['gpu_percent']} %")
        for name, words in (("returned", "psql back after {} s"), ("idle", "engine idle after {} s"),
                            ("after_signal", "done {} s after the signal"), ("longest_pause", "longest pause {} s"),
                            ("retries", "{} retries")):
            if line.get(name):
                said.append(words.format(line[name]))
    said += [line["problem"] for line in lines if line.get("problem")]
    return "; ".join(said)


def compared(case, lines):
    """Cells from direct to target, and whether the target is held"""
    seconds, direct_seconds = total(lines, "sql", "seconds"), total(lines, "direct", "seconds")
    if not seconds or not direct_seconds:
        return ["", "", "", "", ""], True
    rates = [total(lines, side, "pairs") / total(lines, side, "seconds") for side in ("direct", "sql")]
    tokens = [total(lines, side, "tokens") / total(lines, side, "seconds") for side in ("direct", "sql")]
    target = next((target for beginning, target in TARGETS if case.startswith(beginning)), None)
    if case.startswith("cold"):
        ratio = seconds / direct_seconds
        cells, held = [f"{direct_seconds:.1f} s", f"{seconds:.1f} s"], ratio <= target
    else:
        ratio = rates[1] / rates[0] if rates[0] else 0
        cells, held = [f"{rate:.2f}/s" for rate in rates], target is None or ratio >= target
    cells += [f"{ratio:.3f}", f"{tokens[1] / tokens[0]:.3f}" if tokens[0] else ""]
    return cells + ["" if target is None else f"{target} {'held' if held else 'MISSED'}"], held


def show(paths):
    """0 when no pair is missing and all targets are held"""
    rows, good = [HEAD], True
    for (engine, shape, case), lines in read(paths).items():
        if case.startswith(("cancel", "SIG")):
            cells, held = ["", "", "", "", ""], not any(line["problem"] for line in lines)
        else:
            cells, held = compared(case, lines)
        missing = sum(line.get("missing", 0) for line in lines)
        good = good and held and not missing
        rows.append((engine, shape, case, *cells, str(missing), notes(lines)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEAD) - 1)] + [0]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(show(sys.argv[1:]))
