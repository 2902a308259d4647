#!/bin/bash
# check_source.sh: the rules of the source that a program can see.
# Prints each violation, and as last line "source: N passed, M failed".
set -u
cd "$(dirname "$0")/.." || exit 2

passed=0 failed=0

# ok WHAT OUTPUT: passes when there is no output
ok() {
	if [ -z "$2" ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'not ok - %s\n%s\n' "$1" "$2"
	fi
}

# only PATTERN FILES...: lines of src/ with the pattern outside of these files
only() {
	local pattern=$1 file
	shift
	for file in src/*.c src/*.h; do
		case " $* " in *" $(basename "$file") "*) continue ;; esac
		grep -nHE "$pattern" "$file"
	done
}

ok 'curl is included in http.c only' "$(only '#include <curl/' http.c http_socket.c http_socket.h http_transfer.c http_transfer.h)"
ok 'json-c is included where replies are read only' \
	"$(only '#include <json-c/' reply.c reply_error.c reply_models.c reply_details.c)"
# cache.c stores in the worker; refresh.c commits and is run by sessions
ok 'SPI is used in cache.c and refresh.c only' "$(only '#include "executor/spi.h"' cache.c refresh.c)"
ok 'version conditions stand in compat.h only' "$(only 'PG_VERSION_NUM' compat.h)"
ok 'the lock is taken where shared memory is known only' \
	"$(only 'rstar_shared->lock' shmem.c shmem.h request.c queue.c dispatch.c details.c launch.c counters.c)"
ok 'the lock of counters is taken in counters.c only' "$(only 'rstar_shared->counters_lock' shmem.c counters.c)"
ok 'pure files know nothing of PostgreSQL' \
	"$(grep -nHE '#include "postgres.h"' src/reply*.[ch] src/route.[ch] src/verdict.[ch] src/endpoint.[ch] src/passes.[ch] src/shorten.[ch] src/histogram.[ch] 2>/dev/null)"

ok 'every error has a code' "$(for file in src/*.c; do
	awk -v file="$file" '
		/ereport\((ERROR|FATAL|elevel)/ { start = NR; text = ""; depth = 1 }
		depth { text = text $0; if ($0 ~ /;[ \t]*$/) {
			if (text !~ /errcode/) print file ":" start ": no errcode"; depth = 0 } }
	' "$file"
done)"
# 600 is the aim
ok 'no file is longer than 650 lines' "$(wc -l src/*.c | awk '$2 != "total" && $1 > 650 {print $2 ": " $1 " lines"}')"
ok 'no function is longer than 80 lines' "$(for file in src/*.c; do
	awk -v file="$file" '/^{/ { start = NR } /^}/ && start {
		if (NR - start > 80) print file ":" start ": " NR - start " lines"; start = 0 }' "$file"
done)"
ok 'no C++ comments, no leftovers' "$(grep -nHE '(^|[\t;{}] *)//|TO''DO|FIX''ME|X''XX' src/*.c src/*.h)"

# A comment that names a symbol of ours must name one that exists
ok 'symbols named in comments exist' "$(grep -ohE 'rstar_[a-z_]+(\(\))?' src/*.c src/*.h src/README.md |
	sed 's/()$//' | sort -u | while read -r symbol; do
	grep -qE "(^|[^a-z_])$symbol[^a-z_]" <(sed -E 's@/\*.*\*/@@; s@^ \*.*@@' src/*.c src/*.h) ||
		case $symbol in *_) ;; *) echo "$symbol" ;; esac
done)"

# Every header compiles alone
if command -v "${PG_CONFIG:-pg_config}" >/dev/null; then
	include=$("${PG_CONFIG:-pg_config}" --includedir-server)
	for header in src/*.h; do
		ok "$header compiles alone" "$(gcc -fsyntax-only -x c -std=gnu99 -I"$include" -include "$header" /dev/null 2>&1)"
	done
fi

ok 'every SQL object has a comment' "$(awk '
	/^CREATE (FUNCTION|TABLE|VIEW|SCHEMA|PROCEDURE|AGGREGATE|FOREIGN DATA WRAPPER)/ {
		name = $0; sub(/^CREATE (FOREIGN DATA WRAPPER|[A-Z]+) /, "", name); sub(/[ (;].*/, "", name); made[name] = 1 }
	/^COMMENT ON (FUNCTION|TABLE|VIEW|SCHEMA|PROCEDURE|AGGREGATE|FOREIGN DATA WRAPPER)/ {
		name = $0; sub(/^COMMENT ON (FOREIGN DATA WRAPPER|[A-Z]+) /, "", name); sub(/[ (;].*/, "", name); said[name] = 1 }
	END { for (name in made) if (!(name in said)) print name }' sql/retrostar--*.sql)"

echo "source: $passed passed, $failed failed"
[ "$failed" = 0 ]
