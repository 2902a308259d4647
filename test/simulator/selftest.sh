#!/bin/bash
# Checks that the simulator does what README.md says.  Needs python3 alone.
# Ends with "simulator: N passed, M failed"; exit status 0 when M is 0.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
[ -x "$here/simulator" ] || make -C "$here" simulator || exit 1
exec python3 "$here/selftest.py" "$here/simulator" "$@"
