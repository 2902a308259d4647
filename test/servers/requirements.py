#!/usr/bin/env python3
"""Prints what a wheel of vLLM for CPUs needs, without what only other places have; usage: requirements.py WHEEL"""
import re
import sys
import zipfile

with zipfile.ZipFile(sys.argv[1]) as wheel:
    name = next(n for n in wheel.namelist() if n.endswith(".dist-info/METADATA"))
    for line in wheel.read(name).decode().splitlines():
        need = line.removeprefix("Requires-Dist: ")
        if need != line and "extra ==" not in need and not re.match(r"(torch|torch\w+|intel-openmp|numba)\b", need):
            print(need)
