#!/usr/bin/env python3
"""A Dockerfile as the commands of a shell that has functions for its instructions.

Usage: plan.py DOCKERFILE.  Prints, for each instruction that makes something,

    image_stage NAME BASE           FROM BASE AS NAME
    image_run NAME FOLDER COMMAND   RUN, with ARG written out
    image_copy NAME SOURCE TARGET   COPY from the context
    image_copy_from NAME STAGE SOURCE TARGET
    image_command NAME WORDS...     ENTRYPOINT and CMD together

and ends with an error for an instruction that it does not know.
"""

import json
import re
import shlex
import sys

SILENT = {"USER", "EXPOSE", "HEALTHCHECK", "LABEL"}


def instructions(path):
    text = re.sub(r"(?m)^\s*#.*\n", "", open(path).read())
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def expand(text, values):
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], match[0]), text)


def emit(*words):
    print(" ".join(shlex.quote(word) for word in words))


def main(path):
    defaults, values = {}, {}
    stage, folder, entry, command = None, "/", [], []

    def end():
        if entry or command:
            emit("image_command", stage, *entry, *command)

    for word, rest in instructions(path):
        rest = expand(rest, defaults if word == "FROM" or not stage else values)
        if word == "FROM":
            end()
            base, _, stage = re.fullmatch(r"(\S+)( AS (\S+))", rest, re.I).groups()
            values, folder, entry, command = {}, "/", [], []
            emit("image_stage", stage, base)
        elif word == "ARG":
            name, _, value = rest.partition("=")
            (values if stage else defaults)[name] = value or defaults.get(name, "")
        elif word == "WORKDIR":
            folder = rest
        elif word == "RUN":
            emit("image_run", stage, folder, rest)
        elif word == "COPY":
            words = rest.split()
            if words[0].startswith("--from="):
                emit("image_copy_from", stage, words[0].removeprefix("--from="), words[1], words[2])
            else:
                emit("image_copy", stage, words[0], words[1] if words[1].startswith("/") else folder)
        elif word == "ENTRYPOINT":
            entry = json.loads(rest)
        elif word == "CMD":
            command = json.loads(rest)
        elif word not in SILENT:
            sys.exit(f"{path}: no {word} is known here")
    end()


main(sys.argv[1])
