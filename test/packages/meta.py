#!/usr/bin/env python3
"""Does META.json of a distribution hold to PGXN's Meta Spec 1.0.0?

Usage: meta.py DISTRIBUTION.zip.  The rules are those of pgxn.org/spec: what is
required, the forms of names, versions and licences, and that the files it
names are in the zip, below one folder of the distribution's name.
"""

import json
import re
import sys
import zipfile

SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-a-zA-Z][-0-9A-Za-z]*)?")
RANGE = re.compile(r"\s*(==|!=|<=|<|>=|>)?\s*" + SEMVER.pattern + r"\s*")
TERM = re.compile(r"[^\s/\\\x00-\x1f\x7f]{2,}")
LICENSES = {"agpl_3", "apache_1_1", "apache_2_0", "artistic_1", "artistic_2", "bsd", "freebsd",
            "gfdl_1_2", "gfdl_1_3", "gpl_1", "gpl_2", "gpl_3", "lgpl_2_1", "lgpl_3_0", "mit",
            "mozilla_1_0", "mozilla_1_1", "openssl", "perl_5", "postgresql", "qpl_1_0", "ssleay",
            "sun", "zlib", "open_source", "restricted", "unrestricted", "unknown"}
PHASES = {"configure", "build", "test", "runtime", "develop"}
RELATIONS = {"requires", "recommends", "suggests", "conflicts"}
KEYS = {"abstract", "description", "generated_by", "license", "maintainer", "meta-spec", "name", "no_index",
        "prereqs", "provides", "release_status", "resources", "tags", "version"}

failures = 0


def check(ok, words):
    global failures
    if not ok:
        failures += 1
        print(f"META.json: {words}")


def text(value):
    return isinstance(value, str) and value.strip() != ""


def version_range(value):
    return value == 0 or all(RANGE.fullmatch(part) for part in str(value).split(","))


def check_provides(meta, names, folder):
    provides = meta.get("provides")
    check(isinstance(provides, dict) and provides, "provides: names no extension")
    for name, extension in (provides or {}).items():
        check(TERM.fullmatch(name), f"provides: {name!r} is no name")
        check(SEMVER.fullmatch(str(extension.get("version"))), f"{name}: no semantic version")
        for key in ("file", "docfile"):
            file = extension.get(key)
            if key == "file" or file is not None:
                check(text(file) and folder + file in names, f"{name}: its {key} is not in the distribution")
        check("abstract" not in extension or text(extension["abstract"]), f"{name}: an empty abstract")


def check_prereqs(meta):
    for phase, relations in meta.get("prereqs", {}).items():
        check(phase in PHASES or phase.lower().startswith("x_"), f"prereqs: no phase {phase!r}")
        for relation, needs in relations.items():
            check(relation in RELATIONS or relation.lower().startswith("x_"), f"prereqs: no relation {relation!r}")
            for name, versions in needs.items():
                check(TERM.fullmatch(name) and version_range(versions), f"prereqs: {name} {versions!r}")


def main(path):
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        folder = path.rsplit("/", 1)[-1].removesuffix(".zip") + "/"
        check(all(name.startswith(folder) for name in names), f"not all files are below {folder}")
        meta = json.loads(archive.read(folder + "META.json"))
        control = archive.read(folder + "retrostar.control").decode()
    for key in ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"):
        check(key in meta, f"{key} is required")
    for key in meta:
        check(key in KEYS or key.lower().startswith("x_"), f"{key} is no key of the specification")
    check(TERM.fullmatch(meta.get("name", "")), "name: not a name")
    check(SEMVER.fullmatch(meta.get("version", "")), "version: not a semantic version")
    check(folder == f"{meta.get('name')}-{meta.get('version')}/", "name and version are not the folder's")
    check(text(meta.get("abstract")), "abstract: empty")
    maintainers = meta.get("maintainer")
    maintainers = maintainers if isinstance(maintainers, list) else [maintainers]
    check(maintainers and all(text(one) for one in maintainers), "maintainer: empty")
    licences = meta.get("license")
    licences = licences if isinstance(licences, list) else [licences]
    check(all(one in LICENSES for one in licences), f"license: {licences} is not in the list")
    check(meta.get("release_status", "stable") in ("stable", "testing", "unstable"), "release_status")
    check(all(text(tag) and len(tag) <= 255 for tag in meta.get("tags", [])), "tags")
    check(meta.get("meta-spec", {}).get("version") == "1.0.0", "meta-spec: not 1.0.0")
    check_provides(meta, names, folder)
    check_prereqs(meta)
    default = re.search(r"^default_version = '(.*)'$", control, re.M)
    check(default and default.group(1) == meta["provides"]["retrostar"]["version"],
          "the version is not that of retrostar.control")
    return failures != 0


sys.exit(main(sys.argv[1]))
