#!/bin/bash
# Checks that the simulator does what README.md says.  Needs python3 alone.
# Ends with "simulator: N passed, M failed"; exit status 0 when M is 0.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
[ -x "$here/simulator" ] || make -C "$here" simulator || exit 1
passed=0 failed=0
for file in "$here"/selftest*.py; do
	output=$(python3 "$file" "$here/simulator" "$@")
	status=$?
	grep -v '^simulator: ' <<<"$output"
	read -r _ ok _ bad _ <<<"$(grep '^simulator: ' <<<"$output")"
	passed=$((passed + ${ok:-0})) failed=$((failed + ${bad:-0}))
	# one that came to no end has failed, whatever it says
	if [ $status != 0 ] && [ "${bad:-0}" = 0 ]; then
		echo "not ok - ${file##*/} ended with status $status"
		failed=$((failed + 1))
	fi
done
echo "simulator: $passed passed, $failed failed"
[ $failed = 0 ]
